//! Where an owner's upstreams may lie, on engines that cannot judge the address that is dialled.

use portway_model::HostPort;
use portway_policy::NetworkGuard;

/// Tells why a target may not be rendered.
pub(crate) fn why_not(guard: &NetworkGuard, target: &HostPort) -> Option<String> {
    match target.ip() {
        Some(address) if guard.permits(address) => None,
        Some(address) => Some(format!("{address} is out of the bounds of the owner")),
        None => Some(format!(
            "where `{}` leads is known only when it is dialled, and then nobody judges it; write an address",
            target.host
        )),
    }
}
