//! Header names that are known beforehand, found without hashing or copying them.
//!
//! Most headers of most messages have one of these names. Looking them up here costs a few
//! nanoseconds; a name that [`http`] does not know costs an allocation otherwise.

use http::HeaderName;

/// What a header means to the codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing.
    Plain,
    /// Nothing, but it must not stand among trailers.
    HeaderOnly,
    Connection,
    ContentLength,
    Expect,
    Host,
    TransferEncoding,
    Upgrade,
}

/// A known name.
pub(crate) struct Known {
    text: &'static str,
    pub(crate) name: HeaderName,
    pub(crate) role: Role,
}

/// Returns what is known by a name, which must be a token, in whatever case it is written.
#[inline]
pub(crate) fn find(name: &[u8]) -> Option<&'static Known> {
    let slot = slot(name)?;
    let known = KNOWN.get(usize::from(*SLOTS.get(slot)?))?;
    is_same(name, known.text.as_bytes()).then_some(known)
}

/// Compares a token with a known name, which has letters, digits and hyphens only. Where those
/// differ in the bit of the case alone, the other is a letter too, or no token at all.
#[inline]
fn is_same(name: &[u8], known: &[u8]) -> bool {
    const CASE: u8 = 0x20;
    const CASES: u64 = u64::from_ne_bytes([CASE; 8]);
    let (words, rest) = name.as_chunks::<8>();
    let (known_words, known_rest) = known.as_chunks::<8>();
    let differs = |(a, b): (&[u8; 8], &[u8; 8])| u64::from_ne_bytes(*a) ^ u64::from_ne_bytes(*b);
    let words = words.iter().zip(known_words).map(differs).fold(0, |all, one| all | one);
    let bytes = rest.iter().zip(known_rest).fold(0, |all, (a, b)| all | (a ^ b));
    name.len() == known.len() && words & !CASES == 0 && bytes & !CASE == 0
}

/// Whether a trailer may not have this name (RFC 9110 §6.5.1): it frames, routes, authenticates,
/// asks, or says how content is to be read, and would be believed after it was too late to check.
pub(crate) fn is_forbidden_in_trailers(name: &[u8]) -> bool {
    let begins = |prefix: &[u8]| {
        name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
    };
    match find(name).map(|known| known.role) {
        Some(Role::Plain) => false,
        Some(
            Role::HeaderOnly
            | Role::Connection
            | Role::ContentLength
            | Role::Expect
            | Role::Host
            | Role::TransferEncoding
            | Role::Upgrade,
        ) => true,
        None => HEADER_ONLY_PREFIXES.iter().any(|prefix| begins(prefix)),
    }
}

/// How families of names begin whose members do not belong among trailers.
const HEADER_ONLY_PREFIXES: [&[u8]; 6] =
    [b"access-control-", b"content-", b"if-", b"proxy-", b"sec-", b"x-forwarded-"];

macro_rules! names {
    ($($role:ident: $($name:literal)+;)+) => {
        const NAMES: &[&str] = &[$($($name,)+)+];

        /// A `static`, as each use of a `const` would have names of its own.
        static KNOWN: [Known; NAMES.len()] = [
            $($(Known { text: $name, name: HeaderName::from_static($name), role: Role::$role },)+)+
        ];
    };
}

names! {
    Connection: "connection";
    ContentLength: "content-length";
    Expect: "expect";
    Host: "host";
    TransferEncoding: "transfer-encoding";
    Upgrade: "upgrade";
    // RFC 9530 §2 allows Content-Digest among trailers, unlike the rest of its family.
    Plain:
        "accept-ranges" "allow" "alt-svc" "cf-connecting-ip" "cf-ray" "clear-site-data"
        "content-digest" "cross-origin-embedder-policy" "cross-origin-opener-policy"
        "cross-origin-resource-policy" "dnt" "early-data" "etag" "grpc-encoding" "grpc-message"
        "grpc-status" "grpc-timeout" "idempotency-key" "last-modified" "link" "nel"
        "permissions-policy" "priority" "referrer-policy" "report-to" "server" "server-timing"
        "strict-transport-security" "traceparent" "tracestate" "via" "x-amzn-trace-id" "x-cache"
        "x-content-type-options" "x-correlation-id" "x-frame-options" "x-powered-by"
        "x-ratelimit-limit" "x-ratelimit-remaining" "x-ratelimit-reset" "x-request-id"
        "x-request-start" "x-response-time" "x-runtime" "x-xss-protection";
    HeaderOnly:
        "accept" "accept-charset" "accept-encoding" "accept-language"
        "access-control-allow-credentials" "access-control-allow-headers"
        "access-control-allow-methods" "access-control-allow-origin"
        "access-control-expose-headers" "access-control-max-age" "access-control-request-headers"
        "access-control-request-method" "age" "authorization" "cache-control"
        "content-disposition" "content-encoding" "content-language" "content-location"
        "content-range" "content-security-policy" "content-security-policy-report-only"
        "content-type" "cookie" "date" "expires" "forwarded" "from" "http2-settings" "if-match"
        "if-modified-since" "if-none-match" "if-range" "if-unmodified-since" "keep-alive"
        "location" "max-forwards" "origin" "pragma" "proxy-authenticate" "proxy-authorization"
        "proxy-connection" "range" "referer" "retry-after" "sec-ch-ua" "sec-ch-ua-mobile"
        "sec-ch-ua-platform" "sec-fetch-dest" "sec-fetch-mode" "sec-fetch-site" "sec-fetch-user"
        "sec-gpc" "sec-websocket-accept" "sec-websocket-extensions" "sec-websocket-key"
        "sec-websocket-protocol" "sec-websocket-version" "set-cookie" "te" "trailer"
        "upgrade-insecure-requests" "user-agent" "vary" "www-authenticate" "x-api-key"
        "x-csrf-token" "x-forwarded-for" "x-forwarded-host" "x-forwarded-port" "x-forwarded-proto"
        "x-real-ip" "x-requested-with";
}

const BITS: u32 = 11;

/// Stands in a slot that belongs to no name; above every place in [`KNOWN`].
const FREE: u8 = u8::MAX;

/// The place in [`KNOWN`] of the name of each slot.
static SLOTS: [u8; 1 << BITS] = slots(SEED);

/// Sends every known name to a slot of its own; found by trying, and checked by the compiler.
const SEED: u64 = 0x9b81_0e76_6ec9_d287;

/// Returns the slot of a name by its length and four of its letters, in lower case. A name of one
/// letter has none.
#[inline]
fn slot(name: &[u8]) -> Option<usize> {
    let [first, .., last] = name else { return None };
    let middle = name.get(name.len() / 2)?;
    let near_end = name.get(name.len().saturating_sub(4))?;
    Some(mix(SEED, name.len(), [*first, *middle, *near_end, *last]))
}

#[inline]
const fn mix(seed: u64, length: usize, letters: [u8; 4]) -> usize {
    let key = (u32::from_le_bytes(letters) | 0x2020_2020) as u64 ^ ((length as u64) << 32);
    (key.wrapping_mul(seed) >> (64 - BITS)) as usize
}

#[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
#[expect(clippy::cast_possible_truncation, reason = "there are fewer than 255 names")]
const fn slots(seed: u64) -> [u8; 1 << BITS] {
    let mut slots = [FREE; 1 << BITS];
    let mut at = 0;
    while at < NAMES.len() {
        let name = NAMES[at].as_bytes();
        let near_end = name[name.len().saturating_sub(4)];
        let letters = [name[0], name[name.len() / 2], near_end, name[name.len() - 1]];
        let slot = mix(seed, name.len(), letters);
        assert!(slots[slot] == FREE, "two names share a slot: choose another SEED");
        slots[slot] = at as u8;
        at += 1;
    }
    slots
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_name_is_found_in_any_case() {
        for (name, known) in NAMES.iter().zip(&KNOWN) {
            for written in [name.to_lowercase(), name.to_uppercase()] {
                let found = find(written.as_bytes()).unwrap();
                assert_eq!((&found.name, found.role), (&known.name, known.role), "{written}");
            }
        }
    }

    #[test]
    fn names_that_only_resemble_a_known_one_are_not_found() {
        for name in ["", "x", "hos", "h_st", "content-lengtx", "cONtent_length"] {
            assert!(find(name.as_bytes()).is_none(), "{name}");
        }
    }

    #[test]
    fn what_frames_routes_or_authenticates_is_forbidden_among_trailers() {
        for name in [
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Trailer",
            "TE",
            "Upgrade",
            "Expect",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "Content-Type",
            "Content-Encoding",
            "Content-Range",
            "Content-Anything",
            "Cache-Control",
            "X-Forwarded-For",
            "Forwarded",
            "X-Forwarded-Anything",
            "Proxy-Anything",
            "If-Anything",
            "Keep-Alive",
            "X-Real-IP",
        ] {
            assert!(is_forbidden_in_trailers(name.as_bytes()), "{name}");
        }
        for name in ["grpc-status", "ETag", "Content-Digest", "Server-Timing", "X-Checksum"] {
            assert!(!is_forbidden_in_trailers(name.as_bytes()), "{name}");
        }
    }
}
