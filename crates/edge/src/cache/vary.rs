//! What tells the answers of one URL apart.

use http::{HeaderMap, HeaderName, header};

use crate::lists::items;

/// Headers that the edge itself sets from what the key holds already.
const KEYED: [&str; 5] =
    ["host", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto"];

/// Headers that the edge makes for each request or client. An answer that depends on one is nobody
/// else's.
const OURS: [&str; 7] = [
    "forwarded",
    "traceparent",
    "tracestate",
    "via",
    "x-forwarded-for",
    "x-real-ip",
    "x-request-id",
];

/// More headers than any honest answer depends on.
const MOST_NAMES: usize = 16;
/// More bytes than the values of such headers have.
const MOST_BYTES: usize = 4_096;

/// Tells one answer of a URL from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Variant {
    /// What the route asks, and the values that its key adds.
    pub(super) own: Own,
    /// The headers on which the answer depends.
    names: Box<[HeaderName]>,
    /// What they were in the request that it answers.
    values: Box<[u8]>,
}

/// What tells answers apart before anything is known of them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Own {
    /// What the route asks.
    pub(super) scope: u64,
    /// The values that its key adds.
    pub(super) added: Box<[u8]>,
}

impl Variant {
    /// Finds what tells an answer apart; nothing where it can be nobody else's.
    pub(crate) fn of(own: Own, request: &HeaderMap, answer: &HeaderMap) -> Option<Self> {
        let mut names = Vec::new();
        if answer.get_all(header::VARY).iter().any(|line| line.to_str().is_err()) {
            return None;
        }
        for item in items(answer, &header::VARY) {
            let name = HeaderName::from_bytes(item.as_bytes()).ok().filter(|_| item != "*")?;
            if OURS.contains(&name.as_str()) {
                return None;
            }
            if !KEYED.contains(&name.as_str()) && !names.contains(&name) {
                names.push(name);
            }
        }
        // A coded answer is for those who take that coding, also where it does not say so.
        let coded = answer.contains_key(header::CONTENT_ENCODING);
        if coded && !names.contains(&header::ACCEPT_ENCODING) {
            names.push(header::ACCEPT_ENCODING);
        }
        names.sort_by(|a, b| a.as_str().cmp(b.as_str()));
        let values = values(&names, request);
        let bounded = names.len() <= MOST_NAMES && values.len() <= MOST_BYTES;
        bounded.then(|| Self { own, names: names.into(), values: values.into() })
    }

    /// Tells whether it is the one for a request.
    pub(super) fn fits(&self, own: &Own, request: &HeaderMap) -> bool {
        self.own == *own && (self.names.is_empty() || *self.values == *values(&self.names, request))
    }

    /// Returns about how many bytes it takes.
    pub(super) fn weight(&self) -> usize {
        self.own.added.len() + self.values.len() + self.names.len() * 32
    }
}

fn values(names: &[HeaderName], request: &HeaderMap) -> Vec<u8> {
    let mut values = Vec::new();
    for name in names {
        append(&mut values, name, request);
    }
    values
}

/// Appends what a request has of a header, so that no two requests that differ give the same bytes.
pub(super) fn append(values: &mut Vec<u8>, name: &HeaderName, request: &HeaderMap) {
    if *name == header::ACCEPT_ENCODING {
        values.extend_from_slice(codings(request).as_bytes());
    } else {
        for line in request.get_all(name) {
            // A header has no control characters but tabs.
            values.extend_from_slice(line.as_bytes());
            values.push(1);
        }
    }
    values.push(0);
}

/// Returns the codings that a client takes, whatever their order: `br,gzip`.
fn codings(request: &HeaderMap) -> String {
    let mut found: Vec<String> = Vec::new();
    for item in items(request, &header::ACCEPT_ENCODING) {
        let (name, rest) = item.split_once(';').unwrap_or((item, ""));
        let rest = rest.trim();
        let quality = rest.strip_prefix("q=").or_else(|| rest.strip_prefix("Q=")).unwrap_or("1");
        let refused = quality.starts_with('0') && quality.bytes().all(|b| matches!(b, b'0' | b'.'));
        let name = name.trim().to_ascii_lowercase();
        found.push(if refused { format!("-{name}") } else { name });
    }
    found.sort();
    found.dedup();
    found.join(",")
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    fn own() -> Own {
        Own { scope: 1, added: Box::default() }
    }

    #[test]
    fn an_answer_fits_requests_that_are_alike_in_what_it_depends_on() {
        let answer = headers(&[("vary", "Accept-Language, x-a")]);
        let asked = headers(&[("accept-language", "de"), ("user-agent", "one")]);
        let variant = Variant::of(own(), &asked, &answer).unwrap();
        for (request, fits) in [
            (&[("accept-language", "de")][..], true),
            (&[("accept-language", "de"), ("user-agent", "two")], true),
            (&[("accept-language", "fr")], false),
            (&[], false),
            (&[("accept-language", "de"), ("x-a", "")], false),
        ] {
            assert_eq!(variant.fits(&own(), &headers(request)), fits, "{request:?}");
        }
        let other = Own { scope: 2, ..own() };
        assert!(!variant.fits(&other, &asked), "another route");
    }

    #[test]
    fn what_depends_on_everything_or_on_what_is_each_clients_own_has_no_variant() {
        for vary in ["*", "accept, *", "x-forwarded-for", "X-Real-IP", "a b"] {
            assert!(Variant::of(own(), &headers(&[]), &headers(&[("vary", vary)])).is_none());
        }
        assert!(Variant::of(own(), &headers(&[]), &headers(&[("vary", "host")])).is_some());
    }

    #[test]
    fn the_order_of_codings_is_no_difference_and_a_refusal_is() {
        let answer = headers(&[("content-encoding", "gzip")]);
        let asked = headers(&[("accept-encoding", "gzip, br;q=0.5")]);
        let variant = Variant::of(own(), &asked, &answer).unwrap();
        let fits = |value| variant.fits(&own(), &headers(&[("accept-encoding", value)]));
        assert!(fits("br, GZIP;q=1"));
        assert!(!fits("br, gzip;q=0") && !fits("br, gzip; Q=0.0"));
        assert!(!fits("identity"));
        assert!(!variant.fits(&own(), &headers(&[])), "who takes no coding gets none");
    }

    #[test]
    fn values_of_neighbours_do_not_run_into_each_other() {
        let names = [HeaderName::from_static("a"), HeaderName::from_static("b")];
        let bytes = |pairs: &[(&'static str, &'static str)]| values(&names, &headers(pairs));
        assert_ne!(bytes(&[("a", "xy")]), bytes(&[("a", "x"), ("b", "y")]));
        assert_ne!(bytes(&[("a", "")]), bytes(&[]));
    }

    proptest! {
        #[test]
        fn an_answer_fits_the_request_that_it_was_given_to(
            vary in "([a-z-]{1,6}|Accept-Encoding|\\*|[ -~]|,){0,6}", values in proptest::array::uniform3("[ -~]{0,8}"),
        ) {
            let line = |text: &str| HeaderValue::from_str(text).unwrap();
            let answer = HeaderMap::from_iter([(header::VARY, line(&vary))]);
            let names = [header::ACCEPT_ENCODING, header::ACCEPT_LANGUAGE, HeaderName::from_static("a")];
            let request: HeaderMap = names.into_iter().zip(values.iter().map(|text| line(text))).collect();
            if let Some(variant) = Variant::of(own(), &request, &answer) {
                prop_assert!(variant.fits(&own(), &request));
                prop_assert!(variant.values.len() <= MOST_BYTES && variant.names.len() <= MOST_NAMES);
            }
        }
    }
}
