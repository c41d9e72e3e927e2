//! Use cases through the public API of the control plane.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod bounds;
mod console;
mod deploy;
mod history;
mod managers;
mod nodes;
mod snippets;
mod support;
