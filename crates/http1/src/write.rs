//! What the writers of requests and responses have in common.
//!
//! Names and values cannot carry line ends, as [`http`] has checked them. The headers that frame a
//! message or speak of its connection are left out of what is given, and written from typed fields.

use std::fmt;

use bytes::BufMut;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::meaning::{Framing, Version};

/// Why a head is not written. Nothing was written then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteError {
    /// The target has a byte or a form that its method does not allow.
    Target,
    /// A request needs exactly one Host header, and one that is a host. HTTP/1.0 may go without.
    Host,
    /// HTTP/1.0 knows no chunks.
    ChunkedInHttp10,
    /// A request cannot end with its connection, as the answer still has to come over it.
    RequestUntilClose,
    /// Another protocol is offered or accepted, but there is no Upgrade header that names it, or the
    /// version is HTTP/1.0.
    Upgrade,
    /// CONNECT has no body, nor have 2xx answers to it, answers to HEAD, and those of 1xx, 204 and 304.
    BodyForbidden,
    /// The answer has a body by its nature, so [`Framing::None`] would not end it. An empty body is
    /// [`Framing::Length`] of 0.
    BodyMissing,
    /// The number of the status is not from 100 to 599.
    Status,
}

impl fmt::Display for WriteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Target => "the target cannot be written",
            Self::Host => "the request has no valid Host header, or several",
            Self::ChunkedInHttp10 => "chunks cannot be written in HTTP/1.0",
            Self::RequestUntilClose => "a request cannot end with its connection",
            Self::Upgrade => "an upgrade names no protocol, or is written in HTTP/1.0",
            Self::BodyForbidden => "this message can have no body",
            Self::BodyMissing => "this answer needs the framing of a body",
            Self::Status => "the status is not from 100 to 599",
        })
    }
}

impl std::error::Error for WriteError {}

/// What Connection says, in the order it is written.
#[derive(Debug, Clone, Copy, Default)]
#[expect(clippy::struct_excessive_bools, reason = "they are said in any combination")]
pub(crate) struct Options {
    pub(crate) close: bool,
    pub(crate) keep_alive: bool,
    pub(crate) upgrade: bool,
    pub(crate) te: bool,
}

impl Options {
    /// Returns what must be said for a connection to persist or not, in a version.
    pub(crate) fn new(version: Version, persistent: bool) -> Self {
        let keep_alive = persistent && version == Version::Http10;
        Self { close: !persistent, keep_alive, ..Self::default() }
    }

    /// Writes the header, unless there is nothing to say.
    pub(crate) fn write(self, out: &mut Vec<u8>) {
        let options = [
            (self.close, "close"),
            (self.keep_alive, "keep-alive"),
            (self.upgrade, "upgrade"),
            (self.te, "te"),
        ];
        let mut before = "connection: ";
        for (said, option) in options {
            if said {
                out.put_slice(before.as_bytes());
                out.put_slice(option.as_bytes());
                before = ", ";
            }
        }
        if before == ", " {
            out.put_slice(b"\r\n");
        }
    }
}

/// What becomes of a header that is given to a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Part {
    /// It is written as it is.
    Free,
    /// It is written by the codec, or by nobody.
    Owned,
    Host,
    Te,
    Upgrade,
}

#[inline]
pub(crate) fn part(name: &HeaderName) -> Part {
    match name.as_str() {
        "host" => Part::Host,
        "te" => Part::Te,
        "upgrade" => Part::Upgrade,
        "connection" | "content-length" | "expect" | "keep-alive" | "proxy-connection"
        | "transfer-encoding" => Part::Owned,
        _ => Part::Free,
    }
}

/// Returns memory for headers and what the codec adds to them, so that writing allocates once. A
/// head is put together there and then appended at once: a vector takes its many small parts with
/// less ado than the buffer of a connection.
pub(crate) fn room(headers: &HeaderMap, first_line: usize) -> Vec<u8> {
    /// Bytes for what the codec writes itself, at most.
    const OWN: usize = 160;
    let line = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + 4;
    Vec::with_capacity(first_line + OWN + headers.iter().map(line).sum::<usize>())
}

/// Writes one header line.
#[inline]
pub(crate) fn field(out: &mut impl BufMut, name: &str, value: &[u8]) {
    out.put_slice(name.as_bytes());
    out.put_slice(b": ");
    out.put_slice(value);
    out.put_slice(b"\r\n");
}

/// Writes the header that frames the body.
pub(crate) fn framing(out: &mut Vec<u8>, framing: Framing) {
    match framing {
        Framing::None | Framing::UntilClose => {}
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::Length(length) => {
            out.put_slice(b"content-length: ");
            decimal(out, length);
            out.put_slice(b"\r\n");
        }
    }
}

/// Writes a number in decimal digits.
pub(crate) fn decimal(out: &mut Vec<u8>, mut number: u64) {
    /// As many as the largest number has.
    const MOST: usize = 20;
    let mut text = [b'0'; MOST];
    let mut length = 1;
    for (place, slot) in (1..).zip(text.iter_mut().rev()) {
        if number == 0 {
            break;
        }
        *slot = digit(number % 10);
        number /= 10;
        length = place;
    }
    out.put_slice(text.get(MOST - length..).unwrap_or_default());
}

/// Writes a number in lower-case hexadecimal digits, with the CR LF of a chunk's line, to the front
/// of `line`; returns how many bytes that took.
pub(crate) fn size_line(line: &mut [u8; 18], number: u64) -> u8 {
    let count = 16 - (number | 1).leading_zeros() / 4;
    let digits = (0..count).rev().map(|place| digit(number >> (4 * place) & 15));
    for (slot, byte) in line.iter_mut().zip(digits.chain(*b"\r\n")) {
        *slot = byte;
    }
    u8::try_from(count + 2).unwrap_or_default()
}

/// Returns the digit of a number below 16.
fn digit(number: u64) -> u8 {
    let number = u8::try_from(number).unwrap_or_default();
    if number < 10 { b'0' + number } else { b'a' + (number - 10) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_the_standard_library_would() {
        for number in [0, 1, 9, 10, 15, 16, 255, 4096, u64::from(u32::MAX), u64::MAX] {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(out, number.to_string().as_bytes());
            let mut line = [0; 18];
            let length = size_line(&mut line, number);
            assert_eq!(line[..usize::from(length)], *format!("{number:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn connection_is_written_only_when_there_is_something_to_say() {
        let text = |options: Options| {
            let mut out = Vec::new();
            options.write(&mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(text(Options::new(Version::Http11, true)), "");
        assert_eq!(text(Options::new(Version::Http11, false)), "connection: close\r\n");
        assert_eq!(text(Options::new(Version::Http10, true)), "connection: keep-alive\r\n");
        let both = Options { upgrade: true, te: true, ..Options::new(Version::Http11, true) };
        assert_eq!(text(both), "connection: upgrade, te\r\n");
    }
}
