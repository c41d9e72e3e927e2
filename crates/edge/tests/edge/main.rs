//! The edge as its users meet it: in this process, over real sockets.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod access;
mod admission;
mod answers_http2;
mod balance;
mod bodies;
mod caching;
mod changes;
mod checks;
mod claims;
mod connections;
mod control;
mod corpus;
mod crowds;
mod explaining;
mod failing;
mod files;
mod frames;
mod http2;
mod limits;
mod mirrors;
mod names;
mod paths;
mod proxying;
mod routing;
mod secure;
mod streams;
mod strict;
mod succession;
mod support;
mod telling;
mod timing;
mod upstreams;
mod websocket;
