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

pub(crate) use self::{deadline::Deadline, wire::Prefixed};
