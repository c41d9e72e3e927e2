//! Rendered sites on the real Caddy and Traefik: requests, path tricks, hostile texts.

#![expect(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]
#![expect(clippy::print_stderr, reason = "a skipped test says why")]

mod bed;
mod caddy;
mod client;
mod counts;
mod hostile;
mod origin;
mod running;
mod secure;
mod traefik;
