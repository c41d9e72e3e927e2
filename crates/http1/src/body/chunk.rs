//! The line in front of a chunk: its size and extensions (RFC 9112 §7.1).
//!
//! The white space that old senders put around extensions is refused: it is only there to be
//! understood by recipients that know of it, and those that do not have been made to see other
//! chunks.

use crate::{
    meaning::MAX_LENGTH,
    octet,
    reject::{Kind, Reject},
};

/// The most digits a size is written with; leading zeros count.
const MAX_DIGITS: usize = 16;

/// A line that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SizeLine {
    /// The bytes of data in the chunk.
    pub(super) size: u64,
    /// The bytes of the line, with its CR LF.
    pub(super) length: usize,
}

/// Reads the line at the front of `input`, whose extensions have at most `max_extension` bytes;
/// `None` if it is not complete. Extensions mean nothing here and are passed over.
pub(super) fn parse(input: &[u8], max_extension: usize) -> Result<Option<SizeLine>, Reject> {
    // Bounds what is searched again when bytes come one by one.
    let most = MAX_DIGITS + max_extension + 2;
    let window = input.get(..most).unwrap_or(input);
    let Some(end) = memchr::memchr(b'\n', window) else {
        return if input.len() < most { Ok(None) } else { Err(long_line_fault(window)) };
    };
    let (digits, size) = parse_size(window)?;
    let Some(line) = window.get(..end).and_then(|line| line.strip_suffix(b"\r")) else {
        return Err(Reject::new(Kind::BareLf, end));
    };
    let extension = line.get(digits..).unwrap_or_default();
    if extension.len() > max_extension {
        return Err(Reject::new(Kind::ChunkExtensionTooLong, digits + max_extension));
    }
    match fault_of_extensions(extension) {
        Some(place) => Err(fault(line, Kind::BadChunkExtension, digits + place)),
        None => Ok(Some(SizeLine { size, length: end + 1 })),
    }
}

/// Reads the digits of a size, and returns how many there are. CR or a semicolon must follow.
fn parse_size(line: &[u8]) -> Result<(usize, u64), Reject> {
    let digits = line.iter().position(|byte| !byte.is_ascii_hexdigit()).unwrap_or(line.len());
    if digits > MAX_DIGITS {
        return Err(Reject::new(Kind::ChunkSizeOverflow, 0));
    }
    if line.starts_with(b"\r\n") {
        return Err(Reject::new(Kind::BadChunkSize, 0));
    }
    if digits == 0 || !matches!(line.get(digits), Some(b'\r' | b'\n' | b';')) {
        return Err(fault(line, Kind::BadChunkSize, digits));
    }
    let size = line.iter().take(digits).fold(0, |size, digit| size << 4 | value_of(*digit));
    if size > MAX_LENGTH {
        return Err(Reject::new(Kind::ChunkSizeOverflow, 0));
    }
    Ok((digits, size))
}

fn value_of(digit: u8) -> u64 {
    char::from(digit).to_digit(16).map_or(0, u64::from)
}

/// Returns where extensions stop being `*( ";" name [ "=" ( token / quoted-string ) ] )`.
fn fault_of_extensions(text: &[u8]) -> Option<usize> {
    let mut rest = text;
    while !rest.is_empty() {
        match after_extension(rest) {
            Ok(after) => rest = after,
            Err(wrong) => return Some(text.len() - wrong.len()),
        }
    }
    None
}

/// Returns what follows the first extension, or what is wrong in it to the end.
fn after_extension(text: &[u8]) -> Result<&[u8], &[u8]> {
    let [b';', rest @ ..] = text else { return Err(text) };
    match after_token(rest)? {
        [b'=', b'"', rest @ ..] => after_quoted(rest),
        [b'=', rest @ ..] => after_token(rest),
        rest => Ok(rest),
    }
}

fn after_token(text: &[u8]) -> Result<&[u8], &[u8]> {
    let end = octet::TOKEN.first_outside(text).unwrap_or(text.len());
    match text.get(end..) {
        Some(rest) if end > 0 => Ok(rest),
        Some(_) | None => Err(text),
    }
}

/// Returns what follows the closing quote.
fn after_quoted(mut text: &[u8]) -> Result<&[u8], &[u8]> {
    loop {
        text = match text {
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', escaped, rest @ ..] if octet::TEXT.has(*escaped) => rest,
            [byte, rest @ ..] if octet::QUOTED.has(*byte) => rest,
            wrong => return Err(wrong),
        };
    }
}

/// Says what is wrong with a line that does not end where it must.
#[cold]
fn long_line_fault(window: &[u8]) -> Reject {
    match parse_size(window) {
        Err(reject) => reject,
        Ok((digits, _)) if window.get(digits) == Some(&b'\r') => Reject::new(Kind::BareCr, digits),
        Ok(_) => Reject::new(Kind::ChunkExtensionTooLong, window.len()),
    }
}

fn fault(line: &[u8], otherwise: Kind, place: usize) -> Reject {
    let kind = line.get(place).map_or(otherwise, |byte| octet::fault_of(*byte, otherwise));
    Reject::new(kind, place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(line: &str) -> Result<u64, (Kind, u64)> {
        let parsed = parse(line.as_bytes(), 32).map_err(|it| (it.kind, it.offset))?;
        let parsed = parsed.unwrap();
        assert_eq!(parsed.length, line.len());
        Ok(parsed.size)
    }

    #[test]
    fn sizes_are_hexadecimal() {
        for (line, expected) in [
            ("0\r\n", 0),
            ("a\r\n", 10),
            ("fF\r\n", 255),
            ("0000000000000010\r\n", 16),
            ("7fffffffffffffff\r\n", MAX_LENGTH),
        ] {
            assert_eq!(size(line), Ok(expected), "{line}");
        }
    }

    #[test]
    fn malformed_sizes_are_refused() {
        for (line, kind, place) in [
            ("\r\n", Kind::BadChunkSize, 0),
            ("\n", Kind::BareLf, 0),
            ("5\n", Kind::BareLf, 1),
            ("5\rx\r\n", Kind::BareCr, 1),
            ("0x5\r\n", Kind::BadChunkSize, 1),
            ("+5\r\n", Kind::BadChunkSize, 0),
            ("-5\r\n", Kind::BadChunkSize, 0),
            (" 5\r\n", Kind::BadChunkSize, 0),
            ("5 \r\n", Kind::BadChunkSize, 1),
            ("5\t\r\n", Kind::Control, 1),
            ("5 ;a\r\n", Kind::BadChunkSize, 1),
            ("g\r\n", Kind::BadChunkSize, 0),
            (";a\r\n", Kind::BadChunkSize, 0),
            ("5,5\r\n", Kind::BadChunkSize, 1),
            ("5\0\r\n", Kind::Nul, 1),
            ("8000000000000000\r\n", Kind::ChunkSizeOverflow, 0),
            ("ffffffffffffffff\r\n", Kind::ChunkSizeOverflow, 0),
            ("00000000000000005\r\n", Kind::ChunkSizeOverflow, 0),
        ] {
            assert_eq!(size(line), Err((kind, place)), "{line:?}");
        }
    }

    #[test]
    fn well_formed_extensions_are_passed_over() {
        for line in ["1;a\r\n", "1;a=b;c=\"d;\\\"e\"\r\n", "1;a=\"\"\r\n", "1;a=\"\u{e4}\t\"\r\n"] {
            assert_eq!(size(line), Ok(1), "{line}");
        }
    }

    #[test]
    fn malformed_extensions_are_refused() {
        for (line, kind, place) in [
            ("1;\r\n", Kind::BadChunkExtension, 2),
            ("1;;a\r\n", Kind::BadChunkExtension, 2),
            ("1; a\r\n", Kind::BadChunkExtension, 2),
            ("1;a =b\r\n", Kind::BadChunkExtension, 3),
            ("1;a=\r\n", Kind::BadChunkExtension, 4),
            ("1;a=\"b\r\n", Kind::BadChunkExtension, 6),
            ("1;a=\"b\"c\r\n", Kind::BadChunkExtension, 7),
            ("1;a\rb\r\n", Kind::BareCr, 3),
            ("1;a\nb\r\n", Kind::BareLf, 3),
            ("1;a=\"\x01\"\r\n", Kind::Control, 5),
        ] {
            assert_eq!(size(line), Err((kind, place)), "{line:?}");
        }
    }

    #[test]
    fn extensions_have_a_bound() {
        let line = |bytes: usize| format!("1;{}\r\n", "a".repeat(bytes - 1));
        assert_eq!(size(&line(32)), Ok(1));
        assert_eq!(size(&line(33)), Err((Kind::ChunkExtensionTooLong, 33)));
        let unfinished = format!("1;{}", "a".repeat(100));
        let reject = parse(unfinished.as_bytes(), 32).unwrap_err();
        assert_eq!(reject.kind, Kind::ChunkExtensionTooLong);
        assert_eq!(parse(b"1;aaa", 32), Ok(None));
    }
}
