//! Use cases through the public API of the control plane.

mod bounds;
mod history;
mod support;
