//! Where a request came from and how it is known.

use std::net::IpAddr;

use axum::extract::FromRequestParts;
use http::{HeaderMap, header, request::Parts};
use portway_control::ClientInfo;
use portway_wire::ProblemCode;
use uuid::Uuid;

use crate::{host::Way, peer::Peer, problem::Refusal};

/// The header that carries the id of a request.
pub(crate) const REQUEST_ID: &str = "x-request-id";
/// The most characters of a request id that is taken over.
const MAX_REQUEST_ID: usize = 64;

/// What is known of a request beside what it asks for.
#[derive(Clone, Debug)]
pub(crate) struct Context {
    /// The address it came from, or `local`.
    pub(crate) from: String,
    /// The way it took.
    pub(crate) way: Way,
    /// Whether the browser sees TLS.
    pub(crate) secure: bool,
    /// The program that sent it, in its own words.
    pub(crate) agent: Option<String>,
    /// Its id in all logs.
    pub(crate) request_id: String,
}

impl Context {
    /// Returns the context of a request. Forwarding headers count only when the edge sent them; it
    /// says in `X-Real-IP` whom it took for the client, also behind proxies that it trusts.
    pub(crate) fn new(peer: &Peer, way: Way, headers: &HeaderMap, request_id: String) -> Self {
        let forwarded = |name| (way == Way::Edge).then(|| text(headers, name)).flatten();
        let proto = forwarded("x-forwarded-proto");
        Self {
            from: forwarded("x-real-ip")
                .and_then(|text| text.trim().parse::<IpAddr>().ok())
                .map_or_else(|| address(peer), |ip| ip.to_canonical().to_string()),
            way,
            secure: proto == Some("https"),
            agent: text(headers, header::USER_AGENT.as_str())
                .map(|agent| agent.chars().filter(|c| !c.is_control()).take(200).collect()),
            request_id,
        }
    }

    /// Returns what the control plane wants to know of whoever logs in.
    pub(crate) fn client(&self) -> ClientInfo {
        ClientInfo {
            from: self.from.clone(),
            agent: self.agent.clone(),
            request_id: Some(self.request_id.clone()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Context {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        parts.extensions.get().cloned().ok_or_else(|| {
            Refusal::new(ProblemCode::Internal, "the request did not come through the entrance")
        })
    }
}

/// Returns the id of a request: the one it carries where that is one, else a new one.
pub(crate) fn request_id(headers: &HeaderMap) -> String {
    let is_id = |text: &&str| {
        (8..=MAX_REQUEST_ID).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    let carried = text(headers, REQUEST_ID).filter(is_id);
    carried.map_or_else(|| Uuid::now_v7().simple().to_string(), str::to_owned)
}

/// All of 127.0.0.0/8 is this machine: whoever sits on it must not pass for millions of addresses.
fn address(peer: &Peer) -> String {
    match peer {
        Peer::Tcp(address) if address.ip().to_canonical().is_loopback() => "127.0.0.1".to_owned(),
        Peer::Tcp(address) => address.ip().to_canonical().to_string(),
        Peer::Unix { .. } => "local".to_owned(),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn forwarding_headers_count_from_the_edge_alone() {
        let peer = Peer::Tcp("127.0.0.9:5".parse().unwrap());
        let headers = headers(&[
            ("x-forwarded-for", "203.0.113.1, 198.51.100.7, 10.0.0.1"),
            ("x-real-ip", "::ffff:198.51.100.7"),
            ("x-forwarded-proto", "https"),
        ]);
        let direct = Context::new(&peer, Way::Loopback, &headers, String::new());
        assert_eq!((direct.from.as_str(), direct.secure), ("127.0.0.1", false));
        let through = Context::new(&peer, Way::Edge, &headers, String::new());
        assert_eq!((through.from.as_str(), through.secure), ("198.51.100.7", true));
    }

    #[test]
    fn a_request_id_is_kept_where_it_is_one() {
        let kept = request_id(&headers(&[(REQUEST_ID, "0af7651916cd43dd8448eb211c80319c")]));
        assert_eq!(kept, "0af7651916cd43dd8448eb211c80319c");
        for odd in ["short", "with blanks inside", "a\"quoted\"one", &"x".repeat(65)] {
            let made = request_id(&headers(&[(REQUEST_ID, odd)]));
            assert!(made != odd && made.len() == 32, "{made}");
        }
    }
}
