//! The edge as its users meet it: in this process, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod access;
mod changes;
mod control;
mod files;
mod frames;
mod limits;
mod paths;
mod proxying;
mod routing;
mod secure;
mod strict;
mod support;
mod telling;
mod upstreams;
