//! HTTP/1.1 as the edge speaks it: the codec of `portway-http1` on real connections, towards clients
//! ([`server`]) and towards upstreams ([`client`]).
//!
//! Everything that happens to a request is polled from the task of its connection: the body of a
//! request is read from the connection when somebody asks for its next bytes, and the connection to
//! the upstream is moved by whoever reads its answer. So there are no channels, nothing is spawned,
//! and back-pressure needs no code.

pub(crate) mod client;
mod deadline;
pub(crate) mod server;
mod wire;

use portway_http1::Limits;
use portway_model::site::defaults;

pub(crate) use self::{deadline::Deadline, wire::Prefixed};

/// What is read as a head at most: what a site allows unless it says otherwise.
fn limits() -> Limits {
    let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
    Limits {
        head: size(defaults::HEADER_BYTES.0),
        fields: size(defaults::HEADERS.into()),
        target: size(defaults::TARGET_BYTES.0),
        ..Limits::default()
    }
}
