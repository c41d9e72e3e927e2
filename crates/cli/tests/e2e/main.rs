//! Portway as its users meet it: the real program with manager and edge, over real TLS, on ports
//! and in folders of its own. Each test has an installation of its own.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]
#![expect(clippy::expect_used, reason = "a failed assumption fails the test")]
#![expect(clippy::panic, reason = "a failed assumption fails the test")]
#![expect(clippy::indexing_slicing, reason = "a missing field of JSON is null")]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod balance;
mod bodies;
mod browser;
mod caching;
mod choices;
mod cli;
mod crowds;
mod edges;
mod example;
mod explain;
mod failing;
mod files;
mod fleet;
mod forwarded;
mod import;
mod isolation;
mod join;
mod jwt_api;
mod life;
mod limits;
mod load;
mod logs;
mod lookups;
mod manage;
mod nodes;
mod observe;
mod observe_logs;
mod postgres;
mod rates;
mod settings;
mod shaping;
mod soak;
mod streams;
mod strict;
mod support;
mod tls;
mod traces;
mod tunnels;
mod upgrade;
mod upstreams;
mod web;
