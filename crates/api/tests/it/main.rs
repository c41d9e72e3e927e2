//! The API as a whole, in process, on a real control plane with SQLite in a folder of its own.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod authorisation;
mod description;
mod login;
mod managers;
mod pages;
mod protocol;
mod serving;
mod sites;
mod support;
