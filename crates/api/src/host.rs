//! For whom a request was meant.
//!
//! A page somewhere can let its own name resolve to 127.0.0.1 and then speak to this API from a
//! browser on this machine, as the same origin (DNS rebinding). Such a request still carries the
//! page's name, so only names are answered that can mean nothing but this API.

use http::{HeaderMap, StatusCode, Uri, header};
use portway_wire::ProblemCode;

use crate::{peer::Peer, problem::Refusal, state::Console};

/// The header by which the edge proves itself.
pub(crate) const EDGE_KEY: &str = "x-portway-edge";

/// The way a request took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Over the local socket.
    Socket,
    /// From this machine to the loopback listener.
    Loopback,
    /// From anywhere, through the edge.
    Edge,
}

/// Returns the way of a request, or refuses it where its name is not one of ours.
pub(crate) fn judge(
    peer: &Peer,
    uri: &Uri,
    headers: &HeaderMap,
    console: Option<&Console>,
) -> Result<Way, Refusal> {
    if matches!(peer, Peer::Unix { .. }) {
        return Ok(Way::Socket);
    }
    let host = named(uri, headers)?;
    let key = headers.get(EDGE_KEY);
    if let (Some(console), Some(key)) = (console, key)
        && console.is_key(key.as_bytes())
    {
        return if host == console.host { Ok(Way::Edge) } else { Err(misdirected(&host)) };
    }
    if matches!(host.as_str(), "localhost" | "127.0.0.1" | "[::1]") {
        Ok(Way::Loopback)
    } else {
        Err(misdirected(&host))
    }
}

/// Returns the host that the request names, in lower case and without a port.
fn named(uri: &Uri, headers: &HeaderMap) -> Result<String, Refusal> {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err(Refusal::new(ProblemCode::BadRequest, "a request has exactly one Host header"));
    };
    let host = host.to_str().unwrap_or_default();
    // In absolute form the target overrides the header (RFC 9112 §3.2.2); we want both the same.
    if uri.authority().is_some_and(|authority| authority.as_str() != host) {
        return Err(misdirected(host));
    }
    Ok(without_port(host).to_ascii_lowercase())
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        Some(_) | None => host,
    }
}

fn misdirected(host: &str) -> Refusal {
    let detail = format!(
        "this is not the address `{}`; use http://localhost with the port, or the console's name",
        host.escape_default()
    );
    Refusal::new(ProblemCode::BadRequest, detail).status(StatusCode::MISDIRECTED_REQUEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(host: &str, key: Option<&str>) -> Option<Way> {
        let peer = Peer::Tcp("127.0.0.1:5".parse().unwrap());
        let console = Console { host: "console.example".to_owned(), key: "k".repeat(32) };
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(key) = key {
            headers.insert(EDGE_KEY, key.parse().unwrap());
        }
        judge(&peer, &Uri::from_static("/"), &headers, Some(&console)).ok()
    }

    #[test]
    fn only_names_of_this_machine_are_answered() {
        for host in ["localhost", "LOCALHOST:8900", "127.0.0.1:8900", "[::1]", "[::1]:8900"] {
            assert_eq!(judged(host, None), Some(Way::Loopback), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8900",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "localhost:8900:1",
            "localhost.",
            "a@localhost",
            "::1",
            "0.0.0.0",
        ] {
            assert_eq!(judged(host, None), None, "{host}");
        }
    }

    #[test]
    fn the_console_is_reached_through_the_edge_alone() {
        let key = "k".repeat(32);
        assert_eq!(judged("console.example", Some(&key)), Some(Way::Edge));
        assert_eq!(judged("console.example:8443", Some(&key)), Some(Way::Edge));
        assert_eq!(judged("console.example", None), None);
        assert_eq!(judged("console.example", Some("wrong")), None);
        assert_eq!(judged("localhost", Some(&key)), None);
    }

    #[test]
    fn a_target_in_absolute_form_names_the_same_host() {
        let peer = Peer::Tcp("127.0.0.1:5".parse().unwrap());
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "localhost".parse().unwrap());
        let judged = |uri: &'static str| judge(&peer, &Uri::from_static(uri), &headers, None);
        assert!(judged("http://localhost/api").is_ok());
        assert!(judged("http://evil.example/api").is_err());
    }
}
