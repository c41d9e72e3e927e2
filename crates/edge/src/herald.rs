//! Who supervises the process is told of its life: systemd, for example.

use std::fmt::Debug;

/// Tells a supervisor what becomes of the edge. What is told may block for a moment.
pub trait Herald: Debug + Send + Sync {
    /// It serves.
    fn ready(&self);
    /// Another process is on its way to take its place.
    fn reloading(&self) {}
    /// Another process, with this id, takes its place now. When this returns, the supervisor
    /// watches that one, and this one may end.
    fn succeeded_by(&self, _pid: u32) {}
    /// It stops after the requests in flight.
    fn stopping(&self) {}
}

/// Nobody supervises.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nobody;

impl Herald for Nobody {
    fn ready(&self) {}
}
