//! Use cases through the public API of the control plane.

mod bounds;
mod deploy;
mod history;
mod support;
