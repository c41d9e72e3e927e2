//! What an upstream is told of the client, and which headers end here. Strangers' claims are
//! dropped; those of trusted proxies are believed and continued.

pub(crate) mod client;
pub(crate) mod forwarded;
pub(crate) mod hop_by_hop;

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue, header};
use ipnet::IpNet;
use jiff::Timestamp;
use portway_telemetry::{Caller, Onward, Place, RequestSpans, TraceContext, trace};

use self::client::{FORWARDED_FOR, last_stranger, parse_address};
pub(crate) use self::hop_by_hop::strip_hop_by_hop;
use crate::{
    random,
    request_id::{REQUEST_ID, RequestId},
};

/// See <https://www.w3.org/TR/trace-context/>.
const TRACEPARENT: HeaderName = HeaderName::from_static(trace::TRACEPARENT);
/// See [`TRACEPARENT`].
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static(trace::TRACESTATE);
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Who really asks, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The client's address.
    pub(crate) client: IpAddr,
    /// Whether the connection comes from a trusted proxy.
    pub(crate) trusted: bool,
    /// Whether the client speaks HTTPS, with us or with a trusted proxy in front.
    pub(crate) https: bool,
    /// When the request began.
    pub(crate) time: Timestamp,
    /// The id of the request.
    pub(crate) request_id: RequestId,
    /// Where it stands in its trace.
    pub(crate) place: Place,
}

impl Origin {
    /// Finds out who asks.
    pub(crate) fn of(
        headers: &HeaderMap,
        peer: SocketAddr,
        tls: bool,
        trusted_proxies: &[IpNet],
        spans: &RequestSpans,
    ) -> Self {
        let peer = peer.ip().to_canonical();
        let trusts = |address: &IpAddr| trusted_proxies.iter().any(|net| net.contains(address));
        let trusted = trusts(&peer);
        let (client, hop_https) =
            if trusted { last_stranger(headers, peer, trusts) } else { (peer, None) };
        let claimed = trusted.then(|| text(headers, &FORWARDED_PROTO)).flatten();
        let claimed = claimed.map(|proto| proto.eq_ignore_ascii_case("https")).or(hop_https);
        let request_id = trusted.then(|| RequestId::given(headers)).flatten();
        let time = Timestamp::now();
        let caller = if trusted { Caller::Trusted } else { Caller::Stranger };
        let incoming = TraceContext::from_headers(headers.get_all(TRACEPARENT));
        Self {
            client,
            trusted,
            https: claimed.unwrap_or(tls),
            time,
            request_id: request_id.unwrap_or_else(|| RequestId::new(time)),
            place: spans.place(incoming, caller, random::unique()),
        }
    }
}

/// What an upstream is told of how a request came in.
pub(crate) struct Arrival<'a> {
    /// Who asks.
    pub(crate) origin: &'a Origin,
    /// The address of the other end of the connection.
    pub(crate) peer: &'a HeaderValue,
    /// Host and port as the client named them.
    pub(crate) host: Option<&'a HeaderValue>,
    /// The port that the client uses.
    pub(crate) port: u16,
    /// The prefix that was taken off the path.
    pub(crate) stripped: Option<&'a str>,
}

/// Says who asks. What strangers claimed of it is dropped first; hop-by-hop headers must be gone
/// already, so that `Connection` cannot name what is set here.
pub(crate) fn set_forwarded(headers: &mut HeaderMap, arrival: &Arrival<'_>) {
    let origin = arrival.origin;
    let mut chain = Vec::new();
    if origin.trusted {
        let values = headers.get_all(FORWARDED_FOR).iter();
        chain.extend(values.filter_map(|value| value.to_str().ok()).map(str::to_owned));
    }
    // Only who sent one knows it; the others do not pay for it.
    let forwarded = if headers.contains_key(header::FORWARDED) {
        Some(continue_forwarded(headers, &mut chain, arrival))
    } else {
        None
    };
    drop_claims(headers, origin.trusted);
    if let Some(forwarded) = forwarded {
        set(headers, header::FORWARDED, forwarded.as_bytes());
    }
    headers.insert(FORWARDED_FOR, continued(&chain, arrival.peer));
    headers.insert(REAL_IP, real_ip(arrival));
    let scheme = if origin.https { "https" } else { "http" };
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static(scheme));
    if !headers.contains_key(&FORWARDED_HOST)
        && let Some(host) = arrival.host
    {
        headers.insert(FORWARDED_HOST, host.clone());
    }
    if !headers.contains_key(&FORWARDED_PORT) {
        headers.insert(FORWARDED_PORT, port(arrival.port));
    }
    if let Some(prefix) = arrival.stripped {
        let outer = origin.trusted.then(|| text(headers, &FORWARDED_PREFIX)).flatten();
        let whole = format!("{}{prefix}", outer.unwrap_or_default().trim_end_matches('/'));
        set(headers, FORWARDED_PREFIX, whole.as_bytes());
    }
    headers.insert(REQUEST_ID, origin.request_id.value());
    set_trace(headers, origin.place.onward());
}

/// Returns the `Forwarded` for the upstream: that of a trusted proxy extended, a stranger's replaced. If
/// the proxy sent no `X-Forwarded-For`, `chain` becomes what `Forwarded` says; if it did and the two
/// tell different stories, `X-Forwarded-For` counts, as it does for everything else.
fn continue_forwarded(
    headers: &HeaderMap,
    chain: &mut Vec<String>,
    arrival: &Arrival<'_>,
) -> String {
    let peer = arrival.peer.to_str().unwrap_or_default();
    let host = arrival.host.and_then(|host| host.to_str().ok());
    if !arrival.origin.trusted {
        return forwarded::write(peer, host, Some(arrival.origin.https));
    }
    let own = forwarded::write(peer, host, None);
    let hops = forwarded::parse(headers);
    let told = chain.iter().flat_map(|list| list.split(',')).map(|item| item.trim().to_owned());
    let told: Vec<String> = told.collect();
    let same = |hops: &Vec<forwarded::Element>| {
        let of_hops = hops.iter().map(|hop| hop.asked_by);
        told.is_empty() || of_hops.eq(told.iter().map(|item| parse_address(item)))
    };
    if let Some(hops) = hops.filter(same) {
        if told.is_empty() {
            chain.extend(hops.iter().filter_map(|hop| hop.asked_by).map(|by| by.to_string()));
        }
        let values = headers.get_all(header::FORWARDED).iter();
        let came = values.filter_map(|value| value.to_str().ok()).collect::<Vec<_>>().join(", ");
        return format!("{came}, {own}");
    }
    let mut text: String =
        told.iter().map(|item| forwarded::write(item, None, None) + ", ").collect();
    text.push_str(&own);
    text
}

/// Returns what a trusted proxy says of those in front of it, continued by itself.
fn continued(chain: &[String], peer: &HeaderValue) -> HeaderValue {
    if chain.is_empty() {
        return peer.clone();
    }
    let whole = [chain.join(", ").as_bytes(), b", ", peer.as_bytes()].concat();
    // Parts of headers, joined by what may stand in one.
    HeaderValue::try_from(whole).unwrap_or_else(|_| peer.clone())
}

fn real_ip(arrival: &Arrival<'_>) -> HeaderValue {
    if !arrival.origin.trusted {
        // The client is the other end of the connection.
        return arrival.peer.clone();
    }
    address_value(arrival.origin.client)
}

/// Returns an address as a header's value.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    // The text of an address is a header's value.
    let value = HeaderValue::try_from(address.to_string());
    value.unwrap_or_else(|_| HeaderValue::from_static("unknown"))
}

fn port(port: u16) -> HeaderValue {
    match port {
        80 => HeaderValue::from_static("80"),
        443 => HeaderValue::from_static("443"),
        port => HeaderValue::from(port),
    }
}

fn set_trace(headers: &mut HeaderMap, onward: Onward) {
    match onward {
        Onward::AsItCame => {}
        Onward::Continued(context) => set(headers, TRACEPARENT, &context.header()),
        Onward::Begun(context) => {
            headers.remove(TRACESTATE);
            set(headers, TRACEPARENT, &context.header());
        }
    }
}

/// Removes what says who asks, and how: `X-Portway-Edge` says that a request came through here, and
/// only the console's site says so. Applications read `X_Forwarded_For` as `X-Forwarded-For`, so such
/// spellings go too, whoever sent them.
fn drop_claims(headers: &mut HeaderMap, trusted: bool) {
    let kept_from_proxies = [&FORWARDED_HOST, &FORWARDED_PORT, &FORWARDED_PREFIX];
    let claims: Vec<HeaderName> = headers
        .keys()
        .filter(|name| is_claim(name.as_str()))
        .filter(|name| !(trusted && kept_from_proxies.contains(name)))
        .cloned()
        .collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Tells whether a header says who asks, also with underscores for its hyphens.
fn is_claim(name: &str) -> bool {
    const PREFIX: &str = "x-forwarded-";
    let reads = |name: &str, claim: &str| {
        let same = |(byte, claim): (u8, u8)| byte == claim || (claim == b'-' && byte == b'_');
        name.len() == claim.len() && name.bytes().zip(claim.bytes()).all(same)
    };
    match name.as_bytes().first() {
        Some(b'x') => {
            name.get(..PREFIX.len()).is_some_and(|start| reads(start, PREFIX))
                || ["x-real-ip", "x-request-id", "x-portway-edge", "x-portway-mirror"]
                    .iter()
                    .any(|claim| reads(name, claim))
        }
        Some(b'f') => name == "forwarded",
        Some(_) | None => false,
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &[u8]) {
    if let Ok(value) = HeaderValue::from_bytes(value) {
        headers.insert(name, value);
    }
}

/// Returns the text of a header that is there exactly once.
fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    value.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STRANGER: &str = "192.0.2.9:1000";
    const PROXY: &str = "10.0.0.1:1000";

    #[test]
    fn a_stranger_cannot_claim_to_be_someone_else() {
        let headers = map(&[
            ("x-forwarded-for", "127.0.0.1"),
            ("x_forwarded_for", "127.0.0.1"),
            ("x-real-ip", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.example"),
            ("forwarded", "for=127.0.0.1"),
            ("x-request-id", "mine-mine-mine"),
            ("x-portway-edge", "guessed"),
            ("x_portway_edge", "guessed"),
        ]);
        let (origin, sent) = forward(headers, STRANGER);
        assert_eq!(origin.client.to_string(), "192.0.2.9");
        assert_eq!(sent["x-forwarded-for"], "192.0.2.9");
        assert_eq!(sent["x-real-ip"], "192.0.2.9");
        assert_eq!(sent["x-forwarded-proto"], "http");
        assert_eq!(sent["x-forwarded-host"], "a.example");
        assert_ne!(sent["x-request-id"], "mine-mine-mine");
        assert_eq!(sent["forwarded"], "for=192.0.2.9;host=a.example;proto=http");
        assert!(!sent.contains_key("x_forwarded_for"));
        assert!(!sent.keys().any(|name| name.as_str().contains("portway")), "{sent:?}");
    }

    #[test]
    fn a_trusted_proxy_is_believed_up_to_the_first_stranger() {
        let headers = map(&[
            ("x-forwarded-for", "6.6.6.6, 198.51.100.7, 10.0.0.2"),
            ("x-forwarded-proto", "https"),
            ("x-request-id", "outer-request-1"),
        ]);
        let (origin, sent) = forward(headers, PROXY);
        assert_eq!(origin.client.to_string(), "198.51.100.7");
        assert!(origin.https);
        assert_eq!(sent["x-forwarded-for"], "6.6.6.6, 198.51.100.7, 10.0.0.2, 10.0.0.1");
        assert_eq!(sent["x-request-id"], "outer-request-1");
    }

    #[test]
    fn forwarded_of_a_trusted_proxy_is_believed_and_extended() {
        let came = "for=6.6.6.6, for=198.51.100.7;proto=https, for=10.0.0.2";
        let (origin, sent) = forward(map(&[("forwarded", came)]), PROXY);
        assert_eq!(origin.client.to_string(), "198.51.100.7");
        assert!(origin.https);
        assert_eq!(sent["forwarded"], format!("{came}, for=10.0.0.1;host=a.example"));
        assert_eq!(sent["x-forwarded-for"], "6.6.6.6, 198.51.100.7, 10.0.0.2, 10.0.0.1");
        assert_eq!(sent["x-forwarded-proto"], "https");
        assert_eq!(sent["x-real-ip"], "198.51.100.7");
    }

    #[test]
    fn forwarded_that_a_trusted_proxy_only_passed_on_is_replaced() {
        for forged in ["for=127.0.0.1", "for=127.0.0.1;proto=https", "nonsense"] {
            let headers = map(&[("x-forwarded-for", "198.51.100.7"), ("forwarded", forged)]);
            let (origin, sent) = forward(headers, PROXY);
            assert_eq!(origin.client.to_string(), "198.51.100.7");
            assert!(!origin.https);
            let made = "for=198.51.100.7, for=10.0.0.1;host=a.example";
            assert_eq!(sent["forwarded"], made, "{forged}");
        }
        let both = [("x-forwarded-for", "198.51.100.7"), ("forwarded", "for=198.51.100.7;by=_x")];
        let (_, sent) = forward(map(&both), PROXY);
        assert_eq!(sent["forwarded"], "for=198.51.100.7;by=_x, for=10.0.0.1;host=a.example");
    }

    #[test]
    fn who_sends_no_forwarded_gets_none() {
        assert!(!forward(HeaderMap::new(), STRANGER).1.contains_key("forwarded"));
        assert!(
            !forward(map(&[("x-forwarded-for", "6.6.6.6")]), PROXY).1.contains_key("forwarded")
        );
    }

    #[test]
    fn connection_takes_its_headers_away_but_not_ours() {
        let mut headers = map(&[
            ("connection", "close, x-secret, x-forwarded-for, te"),
            ("x-secret", "1"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("keep-alive", "1"),
        ]);
        strip_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]), "what the edge passes on itself");
        let (_, sent) = forward(headers, STRANGER);
        assert_eq!(sent["x-forwarded-for"], "192.0.2.9");
    }

    #[test]
    fn a_trusted_proxys_trace_is_kept_and_any_other_begun_anew() {
        let valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let sent = |value: &str, peer| {
            forward(map(&[("traceparent", value), ("tracestate", "vendor=1")]), peer).1
        };
        let kept = sent(valid, PROXY);
        assert_eq!(kept["traceparent"], valid);
        assert_eq!(kept["tracestate"], "vendor=1");
        for (wrong, peer) in [
            (valid, STRANGER),
            ("", PROXY),
            ("00-0-0-0", PROXY),
            (&valid.to_uppercase(), PROXY),
            (&valid.replace("0af7", "zzzz"), PROXY),
        ] {
            let begun = sent(wrong, peer);
            assert!(!begun.contains_key("tracestate"), "{wrong}");
            let context = TraceContext::from_headers(begun.get_all("traceparent")).unwrap();
            assert!(!valid.contains(&context.trace_id().to_string()), "{wrong}");
        }
    }

    fn forward(mut headers: HeaderMap, peer: &str) -> (Origin, HeaderMap) {
        let peer: SocketAddr = peer.parse().unwrap();
        let trusted = ["10.0.0.0/8".parse().unwrap()];
        let origin = Origin::of(&headers, peer, false, &trusted, &RequestSpans::default());
        let host = HeaderValue::from_static("a.example");
        let peer = address_value(peer.ip());
        let arrival =
            Arrival { origin: &origin, peer: &peer, host: Some(&host), port: 80, stripped: None };
        set_forwarded(&mut headers, &arrival);
        (origin, headers)
    }

    fn map(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let typed = |(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(typed).collect()
    }
}
