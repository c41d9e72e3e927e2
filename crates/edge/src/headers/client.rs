//! Who asks, as trusted proxies tell it.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, header};

use super::forwarded;

/// The chain of those who asked.
pub(super) const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The right-most address that is no trusted proxy; what stands left of it may be invented. Where
/// `Forwarded` is read, also whether that client came by HTTPS.
///
/// A proxy that knows only `X-Forwarded-For` passes on a `Forwarded` that its client made up, so the
/// latter is read only where the former is missing.
pub(crate) fn last_stranger(
    headers: &HeaderMap,
    peer: IpAddr,
    trusts: impl Fn(&IpAddr) -> bool,
) -> (IpAddr, Option<bool>) {
    let mut last = (peer, None);
    if headers.contains_key(&FORWARDED_FOR) {
        let values = headers.get_all(FORWARDED_FOR).iter().rev();
        let items = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for item in items {
            let Some(address) = parse_address(item.trim()) else { break };
            last.0 = address;
            if !trusts(&address) {
                break;
            }
        }
        return last;
    }
    if !headers.contains_key(header::FORWARDED) {
        return last;
    }
    for hop in forwarded::parse(headers).unwrap_or_default().iter().rev() {
        let Some(address) = hop.asked_by else { break };
        last = (address, hop.https);
        if !trusts(&address) {
            break;
        }
    }
    last
}

/// Reads an address, with or without port and brackets.
pub(super) fn parse_address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().ok();
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    address.or_else(with_port).map(|address: IpAddr| address.to_canonical())
}
