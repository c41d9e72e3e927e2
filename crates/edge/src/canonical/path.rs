//! The path that a request means.

use std::borrow::Cow;

use portway_model::site::{PathRules, Spelling};

use super::RequestFault;

/// The spellings that programs understand differently, as far as a path has them. They keep their
/// escapes in the one form, and nothing is routed by what they stand for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spellings(u8);

impl Spellings {
    const ENCODED_SLASH: u8 = 1;
    const BACKSLASH: u8 = 2;
    const NUL: u8 = 4;
    const DOUBLE_ENCODING: u8 = 8;

    /// Tells whether the path has none.
    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Tells whether something in the path is encoded twice.
    pub(super) fn are_encoded_twice(self) -> bool {
        self.has(Self::DOUBLE_ENCODING)
    }

    /// Returns the first that is not allowed.
    pub(crate) fn refused_by(self, rules: PathRules) -> Option<RequestFault> {
        [
            (Self::ENCODED_SLASH, rules.encoded_slash, RequestFault::EncodedSlash),
            (Self::BACKSLASH, rules.backslash, RequestFault::Backslash),
            (Self::NUL, rules.nul, RequestFault::Control),
            (Self::DOUBLE_ENCODING, rules.double_encoding, RequestFault::DoubleEncoding),
        ]
        .into_iter()
        .find_map(|(bit, rule, fault)| (self.has(bit) && rule == Spelling::Refuse).then_some(fault))
    }

    fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    fn add(&mut self, bit: u8) {
        self.0 |= bit;
    }
}

/// Returns the one form of a path that has no odd spelling.
pub(crate) fn path(raw: &str) -> Result<Cow<'_, str>, RequestFault> {
    let (path, spellings) = spelled(raw)?;
    spellings.refused_by(PathRules::default()).map_or(Ok(path), Err)
}

/// Returns the one form of a path: escapes of unreserved characters decoded, the others in upper
/// case, what RFC 3986 does not allow in a path escaped, slashes merged, dot segments removed.
/// Reserved characters keep the spelling they came in, since some applications sign it.
///
/// Odd spellings are told of, as the site decides about them: an encoded slash stays `%2F`, a
/// backslash becomes `%5C`.
pub(crate) fn spelled(raw: &str) -> Result<(Cow<'_, str>, Spellings), RequestFault> {
    if !raw.starts_with('/') {
        return Err(RequestFault::NotAbsolute);
    }
    if is_plain(raw) {
        return Ok((Cow::Borrowed(raw), Spellings::default()));
    }
    let mut spellings = Spellings::default();
    let escaped = normalize_escapes(raw.as_bytes(), &mut spellings)?;
    if is_encoded_twice(&escaped) {
        spellings.add(Spellings::DOUBLE_ENCODING);
    }
    refuse_invalid_utf8(&escaped)?;
    refuse_dot_parameters(&escaped)?;
    Ok((Cow::Owned(remove_dot_segments(&escaped)), spellings))
}

/// Returns a canonical path with its escapes decoded, for what speaks no URL, such as a file system,
/// and for routes. Odd spellings stay escaped, so that no separator or control character comes of it.
pub(crate) fn decode(canonical: &str) -> Result<Cow<'_, str>, RequestFault> {
    if !canonical.contains('%') {
        return Ok(Cow::Borrowed(canonical));
    }
    let mut out = Vec::with_capacity(canonical.len());
    let mut rest = canonical;
    while let Some((plain, after)) = rest.split_once('%') {
        out.extend_from_slice(plain.as_bytes());
        let mut digits = after.bytes();
        let byte = escape(digits.next(), digits.next())?;
        rest = after.get(2..).unwrap_or_default();
        let stays = matches!(byte, b'/' | b'\\' | 0) || (byte == b'%' && begins_escape(rest));
        if stays {
            out.push(b'%');
            out.extend(after.bytes().take(2));
        } else {
            out.push(byte);
        }
    }
    out.extend_from_slice(rest.as_bytes());
    String::from_utf8(out).map(Cow::Owned).map_err(|_| RequestFault::NotUtf8)
}

/// Tells whether a path is in its one form for sure, which nearly all are.
fn is_plain(raw: &str) -> bool {
    let mut previous = 0;
    raw.bytes().all(|byte| {
        let segment_start = previous == b'/' && matches!(byte, b'/' | b'.');
        previous = byte;
        !segment_start && (byte == b'/' || (is_pchar(byte) && byte != b'%'))
    })
}

fn normalize_escapes(raw: &[u8], spellings: &mut Spellings) -> Result<String, RequestFault> {
    let mut out = String::with_capacity(raw.len() + 8);
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        let (byte, escaped) = match byte {
            b'%' => (escape(bytes.next(), bytes.next())?, true),
            byte => (byte, false),
        };
        match byte {
            b'/' if escaped => spellings.add(Spellings::ENCODED_SLASH),
            b'\\' => spellings.add(Spellings::BACKSLASH),
            0 if escaped => spellings.add(Spellings::NUL),
            0..=0x1f | 0x7f => return Err(RequestFault::Control),
            _ => {}
        }
        match byte {
            b'/' if escaped => push_escape(&mut out, byte),
            byte if is_unreserved(byte) || (!escaped && (byte == b'/' || is_pchar(byte))) => {
                out.push(char::from(byte));
            }
            byte => push_escape(&mut out, byte),
        }
    }
    Ok(out)
}

fn escape(high: Option<u8>, low: Option<u8>) -> Result<u8, RequestFault> {
    let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
    let (Some(high), Some(low)) = (digit(high), digit(low)) else {
        return Err(RequestFault::BadEscape);
    };
    u8::try_from(high * 16 + low).map_err(|_| RequestFault::BadEscape)
}

fn push_escape(out: &mut String, byte: u8) {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];
    out.push('%');
    out.extend(DIGITS.get(usize::from(byte >> 4)));
    out.extend(DIGITS.get(usize::from(byte & 15)));
}

fn decode_bytes(text: &[u8]) -> Result<Vec<u8>, RequestFault> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'%' { escape(bytes.next(), bytes.next())? } else { byte });
    }
    Ok(out)
}

/// Looks at what decoding left, so that an escape cannot be pieced together from two.
fn is_encoded_twice(path: &str) -> bool {
    path.split("%25").skip(1).any(begins_escape)
}

/// Tells whether two hexadecimal digits follow, which make an escape of a percent sign.
fn begins_escape(rest: &str) -> bool {
    rest.bytes().take(2).filter(u8::is_ascii_hexdigit).count() == 2
}

fn refuse_invalid_utf8(path: &str) -> Result<(), RequestFault> {
    std::str::from_utf8(&decode_bytes(path.as_bytes())?)
        .map(drop)
        .map_err(|_| RequestFault::NotUtf8)
}

/// Servers that know path parameters (RFC 3986 §3.3) take `..;x` for `..`.
pub(super) fn refuse_dot_parameters(path: &str) -> Result<(), RequestFault> {
    let is_dots = |segment: &str| {
        let end = segment.find(';').or_else(|| segment.find("%3B"));
        matches!(end.and_then(|end| segment.get(..end)), Some("." | ".."))
    };
    if path.split('/').any(is_dots) { Err(RequestFault::DotParameters) } else { Ok(()) }
}

/// RFC 3986 §5.2.4, and empty segments go too.
pub(super) fn remove_dot_segments(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    let mut folder = false;
    for segment in path.split('/').skip(1) {
        folder = matches!(segment, "" | "." | "..");
        match segment {
            "" | "." => {}
            ".." => drop(kept.pop()),
            segment => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path.len());
    for segment in &kept {
        out.push('/');
        out.push_str(segment);
    }
    if folder || kept.is_empty() {
        out.push('/');
    }
    out
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn is_pchar(byte: u8) -> bool {
    is_unreserved(byte)
        || matches!(
            byte,
            b'!' | b'$'
                | b'&'
                | b'\''
                | b'('
                | b')'
                | b'*'
                | b'+'
                | b','
                | b';'
                | b'='
                | b':'
                | b'@'
        )
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn one_path_has_one_form() {
        for (raw, form) in [
            ("/", "/"),
            ("/a/b.html", "/a/b.html"),
            ("/%61%2d%7E", "/a-~"),
            ("/%e4%bd%a0", "/%E4%BD%A0"),
            ("/ä", "/%C3%A4"),
            ("/{x}\"", "/%7Bx%7D%22"),
            ("//a///b/", "/a/b/"),
            ("/a/./b/../c", "/a/c"),
            ("/a/..", "/"),
            ("/a/.", "/a/"),
            ("/a/b/..", "/a/"),
            ("/../../x", "/x"),
            ("/a//../b", "/b"),
            ("/%2e%2E/x", "/x"),
            ("/.well-known/x", "/.well-known/x"),
            ("/...", "/..."),
            ("/!room%3Ahost", "/!room%3Ahost"),
            ("/100%25", "/100%25"),
            ("/100%25off", "/100%25off"),
            ("/a%3Fb", "/a%3Fb"),
        ] {
            assert_eq!(path(raw).as_deref(), Ok(form), "{raw}");
        }
    }

    #[test]
    fn what_has_no_safe_form_is_refused_with_its_reason() {
        for (raw, fault) in [
            ("x", RequestFault::NotAbsolute),
            ("*", RequestFault::NotAbsolute),
            ("", RequestFault::NotAbsolute),
            ("/a%2fb", RequestFault::EncodedSlash),
            ("/a%2Fb", RequestFault::EncodedSlash),
            ("/a\\b", RequestFault::Backslash),
            ("/a%5cb", RequestFault::Backslash),
            ("/%00", RequestFault::Control),
            ("/a%0d%0ab", RequestFault::Control),
            ("/\u{7f}", RequestFault::Control),
            ("/%", RequestFault::BadEscape),
            ("/%2", RequestFault::BadEscape),
            ("/%zz", RequestFault::BadEscape),
            ("/%u002f", RequestFault::BadEscape),
            ("/%+2", RequestFault::BadEscape),
            ("/%252e%252e/x", RequestFault::DoubleEncoding),
            ("/%25%32%66", RequestFault::DoubleEncoding),
            ("/%ff", RequestFault::NotUtf8),
            ("/%c0%af", RequestFault::NotUtf8),
            ("/a/..;/b", RequestFault::DotParameters),
            ("/a/%2e.%3bx/b", RequestFault::DotParameters),
        ] {
            assert_eq!(path(raw), Err(fault), "{raw}");
        }
    }

    #[test]
    fn a_plain_path_is_not_copied() {
        assert!(matches!(path("/a/b.c~d"), Ok(Cow::Borrowed(_))));
    }

    #[test]
    fn a_canonical_path_is_decoded_to_a_file_name() {
        assert_eq!(decode("/%C3%A4%20b/c").as_deref(), Ok("/ä b/c"));
        assert_eq!(decode("/plain").as_deref(), Ok("/plain"));
    }

    #[test]
    fn what_is_odd_keeps_its_escape_in_the_one_form_and_for_routes() {
        for (raw, form, read) in [
            ("/a%2fb", "/a%2Fb", "/a%2Fb"),
            ("/a\\b%5c", "/a%5Cb%5C", "/a%5Cb%5C"),
            ("/a%00", "/a%00", "/a%00"),
            ("/a%252fb%20c", "/a%252fb%20c", "/a%252fb c"),
            ("/a%25%32fb", "/a%252fb", "/a%252fb"),
        ] {
            let (path, spellings) = spelled(raw).unwrap();
            assert_eq!(path, form);
            assert_eq!(decode(&path).unwrap(), read, "{raw}");
            assert!(!spellings.is_empty());
            assert_eq!(spelled(form).unwrap(), (form.into(), spellings), "{raw} has one form");
        }
    }

    #[test]
    fn each_odd_spelling_has_its_own_switch() {
        let allow = Spelling::Allow;
        let all = PathRules {
            encoded_slash: allow,
            backslash: allow,
            nul: allow,
            double_encoding: allow,
        };
        let refuse = Spelling::Refuse;
        for (raw, rules, fault) in [
            ("/a%2Fb", PathRules { encoded_slash: refuse, ..all }, RequestFault::EncodedSlash),
            ("/a\\b", PathRules { backslash: refuse, ..all }, RequestFault::Backslash),
            ("/a%00", PathRules { nul: refuse, ..all }, RequestFault::Control),
            ("/a%252F", PathRules { double_encoding: refuse, ..all }, RequestFault::DoubleEncoding),
        ] {
            let (_, spellings) = spelled(raw).unwrap();
            assert_eq!(spellings.refused_by(rules), Some(fault), "{raw}");
            assert_eq!(spellings.refused_by(all), None, "{raw}");
        }
    }

    proptest! {
        #[test]
        fn a_form_is_its_own_form_and_holds_no_trap(raw in pathlike()) {
            if let Ok(form) = path(&raw) {
                prop_assert_eq!(path(&form), Ok(Cow::Borrowed(&*form)));
                for trap in ["//", "/./", "/../", "\\", "%2F", "%5C", "%00", "%2E"] {
                    prop_assert!(!form.contains(trap), "{form} holds {trap}");
                }
                prop_assert!(form.starts_with('/'));
                prop_assert!(!form.ends_with("/.") && !form.ends_with("/.."));
                prop_assert!(!decode(&form).unwrap().contains("/../"));
            }
        }

        #[test]
        fn a_naive_reference_agrees(raw in pathlike()) {
            if let Ok(form) = path(&raw) {
                let reference = reference(&raw);
                prop_assert_eq!(decode(&form).unwrap().into_owned(), reference);
            }
        }
    }

    /// Decodes everything at once, then resolves segment by segment.
    fn reference(raw: &str) -> String {
        let decoded = String::from_utf8(decode_bytes(raw.as_bytes()).unwrap()).unwrap();
        let mut stack = Vec::new();
        let segments: Vec<&str> = decoded.split('/').collect();
        for segment in &segments {
            match *segment {
                "" | "." => {}
                ".." => drop(stack.pop()),
                other => stack.push(other),
            }
        }
        let folder = matches!(*segments.last().unwrap(), "" | "." | "..");
        let slash = if folder && !stack.is_empty() { "/" } else { "" };
        format!("/{}{slash}", stack.join("/"))
    }

    pub(crate) fn pathlike() -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => Just("/".to_owned()),
            2 => Just(".".to_owned()),
            1 => Just("..".to_owned()),
            2 => "[a-z;@]{1,3}",
            1 => Just("%2e".to_owned()),
            1 => Just("%2F".to_owned()),
            1 => Just("%25".to_owned()),
            1 => Just("%c3%a4".to_owned()),
            2 => "%[0-9a-fA-F]{2}",
            1 => "\\PC",
        ];
        proptest::collection::vec(piece, 0..12).prop_map(|pieces| format!("/{}", pieces.concat()))
    }
}
