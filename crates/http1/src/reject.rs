//! Why a message is refused: one table of rules, each with its source, its status and a sentence.

use std::fmt;

use http::StatusCode;

/// A message that is refused, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reject {
    /// The rule that is broken.
    pub kind: Kind,
    /// The byte at fault, counted from the first byte of the head or of the body.
    pub offset: u64,
}

impl Reject {
    pub(crate) fn new(kind: Kind, offset: usize) -> Self {
        // A `usize` has at most 64 bits on every target Rust knows.
        Self { kind, offset: u64::try_from(offset).unwrap_or(u64::MAX) }
    }

    /// Moves the place by what stood before the part that was judged.
    pub(crate) fn after(self, before: u64) -> Self {
        Self { offset: self.offset.saturating_add(before), ..self }
    }

    /// Returns the status that answers a refused request. A refused response is answered with 502,
    /// whatever is wrong with it.
    pub fn status(self) -> StatusCode {
        self.kind.status()
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {}", self.kind, self.offset)
    }
}

impl std::error::Error for Reject {}

macro_rules! kinds {
    ($($kind:ident: $status:ident, $rule:literal, $text:literal;)*) => {
        /// A rule that a message breaks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Kind {
            $(#[doc = concat!("Refused because ", $text, " (", $rule, ").")] $kind,)*
        }

        impl Kind {
            /// All rules, in the order in which a message is read.
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// Returns the status that answers a request which breaks this rule.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$kind => StatusCode::$status,)* }
            }

            /// Returns where the rule stands.
            pub fn rule(self) -> &'static str {
                match self { $(Self::$kind => $rule,)* }
            }

            /// Returns the name of the rule, for logs and counters.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind),)* }
            }

            fn text(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

kinds! {
    // Lines.
    BareLf: BAD_REQUEST, "RFC 9112 §2.2", "a line ends with LF alone instead of CR LF";
    BareCr: BAD_REQUEST, "RFC 9112 §2.2", "a CR is not followed by LF";
    Nul: BAD_REQUEST, "RFC 9110 §5.5", "there is a NUL byte in the head";
    Control: BAD_REQUEST, "RFC 9110 §5.5", "there is a control character in the head";
    LeadingEmptyLine: BAD_REQUEST, "RFC 9112 §2.2", "there is an empty line before the message";
    HeadTooLarge: REQUEST_HEADER_FIELDS_TOO_LARGE, "RFC 6585 §5", "the head is too large";

    // The request line.
    BadMethod: BAD_REQUEST, "RFC 9110 §9.1", "the method is not a token";
    MethodTooLong: NOT_IMPLEMENTED, "RFC 9112 §3", "the method is longer than any that exists";
    MissingTarget: BAD_REQUEST, "RFC 9112 §3", "the request line has no target";
    TargetTooLong: URI_TOO_LONG, "RFC 9112 §3", "the target of the request is too long";
    BadTargetByte: BAD_REQUEST, "RFC 9112 §3.2", "the target has a character no target has";
    NonAsciiTarget: BAD_REQUEST, "RFC 3986 §2.1", "the target has a byte that must be percent-encoded";
    Fragment: BAD_REQUEST, "RFC 9110 §7.1", "the target has a fragment";
    BadTargetForm: BAD_REQUEST, "RFC 9112 §3.2", "the target is neither a path nor an http address";
    UnexpectedAsterisk: BAD_REQUEST, "RFC 9112 §3.2.4", "the target * belongs to OPTIONS only";
    BadConnectTarget: BAD_REQUEST, "RFC 9112 §3.2.3", "the target of CONNECT is not a host with a port";
    MissingVersion: BAD_REQUEST, "RFC 9112 §3", "the request line has no version, as in HTTP/0.9";
    BadVersion: BAD_REQUEST, "RFC 9112 §2.3", "the request line does not end with a version";
    UnsupportedVersion: HTTP_VERSION_NOT_SUPPORTED, "RFC 9110 §15.6.6", "the version is neither HTTP/1.1 nor HTTP/1.0";

    // The status line.
    BadStatusLine: BAD_GATEWAY, "RFC 9112 §4", "the answer does not begin with a version and a space";
    BadStatus: BAD_GATEWAY, "RFC 9110 §15", "the status is not a number from 100 to 599";
    BadReason: BAD_GATEWAY, "RFC 9112 §4", "the status is not followed by a space and a reason";

    // Header lines.
    ObsFold: BAD_REQUEST, "RFC 9112 §5.2", "a header line begins with white space";
    EmptyName: BAD_REQUEST, "RFC 9110 §5.1", "a header has no name";
    SpaceInName: BAD_REQUEST, "RFC 9112 §5.1", "a header has white space in its name or before its colon";
    BadName: BAD_REQUEST, "RFC 9110 §5.1", "the name of a header is not a token";
    MissingColon: BAD_REQUEST, "RFC 9112 §5", "a header line has no colon";
    TooManyFields: REQUEST_HEADER_FIELDS_TOO_LARGE, "RFC 6585 §5", "there are too many headers";

    // The host.
    MissingHost: BAD_REQUEST, "RFC 9112 §3.2", "there is no Host header";
    SeveralHosts: BAD_REQUEST, "RFC 9112 §3.2", "there is more than one Host header";
    BadHost: BAD_REQUEST, "RFC 9110 §7.2", "the host is not a name or address with a port or without";
    HostMismatch: BAD_REQUEST, "RFC 9112 §3.2.2", "the Host header differs from the host of the target";

    // Framing.
    BadLength: BAD_REQUEST, "RFC 9110 §8.6", "Content-Length is not a plain number";
    LengthOverflow: BAD_REQUEST, "RFC 9110 §8.6", "Content-Length is above what others can count to";
    SeveralLengths: BAD_REQUEST, "RFC 9112 §6.3", "there is more than one Content-Length";
    LengthAndEncoding: BAD_REQUEST, "RFC 9112 §6.1", "there are both Content-Length and Transfer-Encoding";
    BadEncoding: BAD_REQUEST, "RFC 9112 §6.1", "Transfer-Encoding is not exactly chunked";
    UnknownEncoding: NOT_IMPLEMENTED, "RFC 9112 §6.1", "Transfer-Encoding names a coding besides chunked";
    SeveralEncodings: BAD_REQUEST, "RFC 9112 §6.1", "there is more than one Transfer-Encoding";
    EncodingInHttp10: BAD_REQUEST, "RFC 9112 §6.1", "Transfer-Encoding stands in an HTTP/1.0 message";
    BodyOfConnect: BAD_REQUEST, "RFC 9110 §9.3.6", "a CONNECT request announces a body";
    BodyForbidden: BAD_GATEWAY, "RFC 9112 §6.3", "an answer that has no body announces one";

    // The connection.
    BadConnection: BAD_REQUEST, "RFC 9110 §7.6.1", "Connection is not a list of tokens";
    BadUpgrade: BAD_REQUEST, "RFC 9110 §7.8", "Upgrade is not a list of protocols";
    BadExpectation: EXPECTATION_FAILED, "RFC 9110 §10.1.1", "Expect asks for something else than 100-continue";
    UnexpectedUpgrade: BAD_GATEWAY, "RFC 9110 §7.8", "the answer changes a protocol that was not asked to change";
    TooManyInterim: BAD_GATEWAY, "RFC 9110 §15.2", "there are too many interim answers";

    // The body.
    BadChunkSize: BAD_REQUEST, "RFC 9112 §7.1", "a chunk's size is not a plain hexadecimal number and CR LF";
    ChunkSizeOverflow: BAD_REQUEST, "RFC 9112 §7.1", "a chunk's size is above what others can count to";
    BadChunkExtension: BAD_REQUEST, "RFC 9112 §7.1.1", "the extension of a chunk is malformed";
    ChunkExtensionTooLong: BAD_REQUEST, "RFC 9112 §7.1.1", "the extensions of a chunk are too long";
    ChunkOverhead: BAD_REQUEST, "RFC 9112 §7.1.1", "chunks take far more bytes than the data in them";
    MissingChunkEnd: BAD_REQUEST, "RFC 9112 §7.1", "the data of a chunk is not followed by CR LF";
    ForbiddenTrailer: BAD_REQUEST, "RFC 9110 §6.5.1", "a trailer has a name that is only for headers";
    TrailerTooLarge: REQUEST_HEADER_FIELDS_TOO_LARGE, "RFC 6585 §5", "the trailers are too large";
    TooManyTrailers: REQUEST_HEADER_FIELDS_TOO_LARGE, "RFC 6585 §5", "there are too many trailers";
    BodyTooLarge: PAYLOAD_TOO_LARGE, "RFC 9110 §15.5.14", "the body is too large";
    Truncated: BAD_REQUEST, "RFC 9112 §8", "the connection was closed in the middle of the body";
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_rule_has_a_sentence_of_its_own_and_a_source() {
        let texts: BTreeSet<_> = Kind::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(texts.len(), Kind::ALL.len());
        assert!(Kind::ALL.iter().all(|kind| kind.rule().starts_with("RFC ")));
    }

    #[test]
    fn a_refusal_says_what_and_where() {
        let reject = Reject::new(Kind::BareLf, 14).after(2);
        let text = "a line ends with LF alone instead of CR LF, at byte 16";
        assert_eq!(reject.to_string(), text);
        assert_eq!(reject.status(), StatusCode::BAD_REQUEST);
    }
}
