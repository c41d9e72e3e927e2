//! What every transport promises, proven on each; and what SSH alone can do wrong, against real
//! servers.
#![expect(clippy::panic, reason = "a failed assumption fails the test")]
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]

mod bed;
mod conformance;
mod far;
mod faults;
mod identity;
mod local;
mod login;
mod shells;
mod ssh;
