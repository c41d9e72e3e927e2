//! The headers that end with one connection (RFC 9110 §7.6.1).

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::lists::names;

/// Removes the headers of one connection, and those that `Connection` names.
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    let ending: Vec<HeaderName> =
        headers.keys().filter(|name| is_hop_by_hop(name.as_str())).cloned().collect();
    if ending.is_empty() {
        return;
    }
    // Who takes trailers says so in `TE`, and names it in `Connection` (RFC 9110 §10.1.4).
    let trailers = names(headers, &header::TE, "trailers");
    for name in named_by_connection(headers) {
        headers.remove(name);
    }
    for name in ending {
        headers.remove(name);
    }
    if trailers {
        headers.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// Tells whether a header is one connection's (RFC 9110 §7.6.1), whatever `Connection` says.
pub(crate) fn is_hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "http2-settings"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "transfer-encoding"
            | "upgrade"
    )
}

/// Returns the headers that `Connection` names, but for words that are hardly ever headers.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(header::CONNECTION).iter().map(HeaderValue::to_str);
    let options = lists.flat_map(|list| list.unwrap_or_default().split(',')).map(str::trim);
    options
        .filter(|option| !matches!(*option, "close" | "keep-alive" | "Keep-Alive"))
        .filter_map(|option| HeaderName::from_bytes(option.as_bytes()).ok())
        .collect()
}
