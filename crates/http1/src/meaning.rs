//! What the headers of a message say about its framing and its connection, gathered line by line.
//!
//! Whatever contradicts is refused at the line that brings the contradiction.

use crate::{names::Role, octet, reject::Kind};

/// A version of HTTP/1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.0: no chunks, and connections end with the answer unless both sides ask otherwise.
    Http10,
    /// HTTP/1.1.
    Http11,
}

impl Version {
    /// Reads `HTTP/1.1` or `HTTP/1.0`, in exactly this form.
    pub(crate) fn parse(text: &[u8]) -> Result<Self, Kind> {
        match text {
            b"HTTP/1.1" => Ok(Self::Http11),
            b"HTTP/1.0" => Ok(Self::Http10),
            [b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9'] => {
                Err(Kind::UnsupportedVersion)
            }
            _ => Err(Kind::BadVersion),
        }
    }

    /// Returns the version as it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http10 => "HTTP/1.0",
            Self::Http11 => "HTTP/1.1",
        }
    }
}

impl From<Version> for http::Version {
    fn from(version: Version) -> Self {
        match version {
            Version::Http10 => Self::HTTP_10,
            Version::Http11 => Self::HTTP_11,
        }
    }
}

/// How the end of a body is found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is no body.
    None,
    /// The body has this many bytes.
    Length(u64),
    /// The body comes in chunks and may be followed by trailers.
    Chunked,
    /// The body ends when the connection does. Responses only.
    UntilClose,
}

/// The largest length of a body or chunk. Above it, signed and unsigned readers disagree.
pub(crate) const MAX_LENGTH: u64 = i64::MAX.cast_unsigned();

/// What the headers read so far say.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "a head says them in any combination")]
pub(crate) struct Meaning {
    pub(crate) version: Version,
    pub(crate) length: Option<u64>,
    pub(crate) chunked: bool,
    pub(crate) host: bool,
    pub(crate) continues: bool,
    close: bool,
    keep_alive: bool,
    connection_upgrade: bool,
    upgrade: bool,
}

impl Meaning {
    pub(crate) fn new(version: Version) -> Self {
        Self {
            version,
            length: None,
            chunked: false,
            host: false,
            continues: false,
            close: false,
            keep_alive: false,
            connection_upgrade: false,
            upgrade: false,
        }
    }

    /// Takes in a header that requests and responses have in common.
    pub(crate) fn note(&mut self, role: Role, value: &[u8]) -> Result<(), Kind> {
        match role {
            Role::Connection => self.note_connection(value),
            Role::ContentLength => self.note_length(value),
            Role::TransferEncoding => self.note_encoding(value),
            Role::Upgrade => self.note_upgrade(value),
            Role::Plain | Role::HeaderOnly | Role::Expect | Role::Host => Ok(()),
        }
    }

    /// Takes in Expect, which means something in requests only. HTTP/1.0 knows no interim answers,
    /// so 100-continue is ignored there, as RFC 9110 §10.1.1 says.
    pub(crate) fn note_expect(&mut self, value: &[u8]) -> Result<(), Kind> {
        if self.continues || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Kind::BadExpectation);
        }
        self.continues = true;
        Ok(())
    }

    /// Whether the connection may carry another message after this one.
    pub(crate) fn persistent(&self) -> bool {
        match self.version {
            Version::Http11 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }

    /// Whether the message offers or accepts another protocol. HTTP/1.0 has no such thing.
    pub(crate) fn upgrades(&self) -> bool {
        self.version == Version::Http11 && self.upgrade && self.connection_upgrade
    }

    fn note_connection(&mut self, value: &[u8]) -> Result<(), Kind> {
        for option in octet::list(value) {
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if option.eq_ignore_ascii_case(b"upgrade") {
                self.connection_upgrade = true;
            } else if !octet::TOKEN.is_word(option) {
                return Err(Kind::BadConnection);
            }
        }
        Ok(())
    }

    fn note_length(&mut self, value: &[u8]) -> Result<(), Kind> {
        if self.chunked {
            return Err(Kind::LengthAndEncoding);
        }
        if self.length.is_some() {
            return Err(Kind::SeveralLengths);
        }
        self.length = Some(parse_length(value)?);
        Ok(())
    }

    fn note_encoding(&mut self, value: &[u8]) -> Result<(), Kind> {
        if self.version == Version::Http10 {
            return Err(Kind::EncodingInHttp10);
        }
        if self.length.is_some() {
            return Err(Kind::LengthAndEncoding);
        }
        if self.chunked {
            return Err(Kind::SeveralEncodings);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(encoding_fault(value));
        }
        self.chunked = true;
        Ok(())
    }

    fn note_upgrade(&mut self, value: &[u8]) -> Result<(), Kind> {
        self.upgrade = true;
        let is_protocol =
            |text: &[u8]| text.split(|byte| *byte == b'/').all(|part| octet::TOKEN.is_word(part));
        let has_one_slash = |text: &[u8]| memchr::memchr_iter(b'/', text).count() <= 1;
        let mut protocols = octet::list(value).peekable();
        if protocols.peek().is_none() {
            return Err(Kind::BadUpgrade);
        }
        if protocols.all(|text| is_protocol(text) && has_one_slash(text)) {
            Ok(())
        } else {
            Err(Kind::BadUpgrade)
        }
    }
}

/// Reads `1*DIGIT`: no sign, no space, no list, nothing that others could not count to.
fn parse_length(value: &[u8]) -> Result<u64, Kind> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(Kind::BadLength);
    }
    let length = value.iter().try_fold(0_u64, |length, digit| {
        length.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    length.filter(|length| *length <= MAX_LENGTH).ok_or(Kind::LengthOverflow)
}

/// Tells a coding that is merely not known here from a list that is malformed or ends otherwise
/// than in one `chunked` (RFC 9112 §6.1).
#[cold]
fn encoding_fault(value: &[u8]) -> Kind {
    let is_chunked = |coding: &&[u8]| coding.eq_ignore_ascii_case(b"chunked");
    let codings: Vec<&[u8]> = value.split(|byte| *byte == b',').map(octet::trim).collect();
    let well_formed = codings.iter().all(|coding| octet::TOKEN.is_word(coding));
    let once = codings.iter().filter(|coding| is_chunked(coding)).count() == 1;
    match codings.last() {
        Some(last) if well_formed && once && is_chunked(last) => Kind::UnknownEncoding,
        Some(_) | None => Kind::BadEncoding,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(version: Version, fields: &[(Role, &str)]) -> Result<Meaning, Kind> {
        let mut meaning = Meaning::new(version);
        for (role, value) in fields {
            meaning.note(*role, value.as_bytes())?;
        }
        Ok(meaning)
    }

    #[test]
    fn a_length_is_a_plain_number() {
        assert_eq!(parse_length(b"0"), Ok(0));
        assert_eq!(parse_length(b"0042"), Ok(42));
        assert_eq!(parse_length(b"9223372036854775807"), Ok(MAX_LENGTH));
        for over in ["9223372036854775808", "18446744073709551616", "99999999999999999999999"] {
            assert_eq!(parse_length(over.as_bytes()), Err(Kind::LengthOverflow), "{over}");
        }
        for bad in ["", "+1", "-1", "1 1", "1,1", "1, 1", "0x1", "1.0", "1e1", "\u{661}", "a"] {
            assert_eq!(parse_length(bad.as_bytes()), Err(Kind::BadLength), "{bad}");
        }
    }

    #[test]
    fn length_and_encoding_contradict_in_either_order_and_by_repetition() {
        let length = (Role::ContentLength, "5");
        let chunked = (Role::TransferEncoding, "chunked");
        for (fields, kind) in [
            ([length, chunked], Kind::LengthAndEncoding),
            ([chunked, length], Kind::LengthAndEncoding),
            ([length, length], Kind::SeveralLengths),
            ([chunked, chunked], Kind::SeveralEncodings),
        ] {
            assert_eq!(noted(Version::Http11, &fields).unwrap_err(), kind);
        }
        assert_eq!(noted(Version::Http10, &[chunked]).unwrap_err(), Kind::EncodingInHttp10);
    }

    #[test]
    fn only_chunked_is_an_encoding() {
        assert!(noted(Version::Http11, &[(Role::TransferEncoding, "CHUNKED")]).unwrap().chunked);
        for (value, kind) in [
            ("gzip, chunked", Kind::UnknownEncoding),
            ("gzip", Kind::BadEncoding),
            ("identity", Kind::BadEncoding),
            ("chunked, gzip", Kind::BadEncoding),
            ("chunked, chunked", Kind::BadEncoding),
            ("chunked,", Kind::BadEncoding),
            (", chunked", Kind::BadEncoding),
            ("chunked;q=1", Kind::BadEncoding),
            ("\"chunked\"", Kind::BadEncoding),
            ("xchunked", Kind::BadEncoding),
            ("chunked\x0b", Kind::BadEncoding),
            ("", Kind::BadEncoding),
        ] {
            let fields = [(Role::TransferEncoding, value)];
            assert_eq!(noted(Version::Http11, &fields).unwrap_err(), kind, "{value}");
        }
    }

    #[test]
    fn connections_persist_by_version_and_option() {
        let persistent = |version, value| {
            noted(version, &[(Role::Connection, value)]).map(|meaning| meaning.persistent())
        };
        assert_eq!(persistent(Version::Http11, ""), Ok(true));
        assert_eq!(persistent(Version::Http11, "x, ,Close"), Ok(false));
        assert_eq!(persistent(Version::Http10, "x"), Ok(false));
        assert_eq!(persistent(Version::Http10, "Keep-Alive"), Ok(true));
        assert_eq!(persistent(Version::Http10, "keep-alive, close"), Ok(false));
        assert_eq!(persistent(Version::Http11, "clo se"), Err(Kind::BadConnection));
    }

    #[test]
    fn an_upgrade_needs_both_headers_and_version_1_1() {
        let connection = (Role::Connection, "keep-alive, Upgrade");
        let upgrade = (Role::Upgrade, "websocket, h2c/2");
        let upgrades = |version, fields: &[_]| noted(version, fields).map(|it| it.upgrades());
        assert_eq!(upgrades(Version::Http11, &[upgrade, connection]), Ok(true));
        assert_eq!(upgrades(Version::Http10, &[upgrade, connection]), Ok(false));
        assert_eq!(upgrades(Version::Http11, &[upgrade]), Ok(false));
        assert_eq!(upgrades(Version::Http11, &[connection]), Ok(false));
        for bad in ["", ",", "web socket", "a/b/c", "a/", "/a"] {
            let fields = [(Role::Upgrade, bad)];
            assert_eq!(upgrades(Version::Http11, &fields), Err(Kind::BadUpgrade), "{bad}");
        }
    }

    #[test]
    fn nothing_but_100_continue_can_be_expected() {
        let mut meaning = Meaning::new(Version::Http11);
        assert_eq!(meaning.note_expect(b"100-Continue"), Ok(()));
        assert_eq!(meaning.note_expect(b"100-continue"), Err(Kind::BadExpectation));
        for bad in ["", "100-continue, 100-continue", "200-ok"] {
            let mut meaning = Meaning::new(Version::Http11);
            assert_eq!(meaning.note_expect(bad.as_bytes()), Err(Kind::BadExpectation), "{bad}");
        }
    }

    #[test]
    fn versions_have_one_form() {
        assert_eq!(Version::parse(b"HTTP/1.1"), Ok(Version::Http11));
        assert_eq!(Version::parse(b"HTTP/1.0"), Ok(Version::Http10));
        for text in ["HTTP/0.9", "HTTP/1.2", "HTTP/2.0", "HTTP/3.0"] {
            assert_eq!(Version::parse(text.as_bytes()), Err(Kind::UnsupportedVersion), "{text}");
        }
        for text in ["http/1.1", "HTTP/1.10", "HTTP/01.1", "HTTP/1", "HTTP/1.1 ", "HTTP 1.1", ""] {
            assert_eq!(Version::parse(text.as_bytes()), Err(Kind::BadVersion), "{text}");
        }
    }
}
