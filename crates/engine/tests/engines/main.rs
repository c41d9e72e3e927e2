//! Real engines, started with what is rendered for them, and compared with the edge.
//!
//! `tests/conformance` holds the table: one file for each set of sites, with the requests that are asked.
//! Each engine must answer as the edge does: status, headers, body, and what the application was sent. What an
//! engine refuses is taken away and stands in the table; where it differs otherwise, the engine's code or its
//! page must say so, and the table names the difference and who tells it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bed;
mod cases;
mod client;
mod compare;
mod edge;
mod hostile;
mod nginx;
mod others;
mod suite;
mod told;
