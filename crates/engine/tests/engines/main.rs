//! Real engines, started with what is rendered for them, and compared with the edge.
//!
//! `tests/conformance` holds the table: one file for each set of sites, with the requests that are asked.
//! Each engine must answer as the edge does, or refuse the site and be named as one that does.

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
mod edge;
mod hostile;
mod nginx;
mod others;
