//! Deployments to a real nginx on this machine.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on has failed")]

mod access;
mod bed;
mod faulty;
mod fences;
mod matrix;
mod meddled;
mod ordinary;
mod surveys;
