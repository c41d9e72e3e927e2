//! The figures, one module each.

pub(crate) mod api;
pub(crate) mod changes;
pub(crate) mod closing;
pub(crate) mod edge;
mod failing;
pub(crate) mod first;
pub(crate) mod kills;
pub(crate) mod memory;
pub(crate) mod nodes;
pub(crate) mod plan;
pub(crate) mod publish;
pub(crate) mod rollouts;
pub(crate) mod soak;
pub(crate) mod toggle;
pub(crate) mod upgrade;
pub(crate) mod workers;

use std::path::PathBuf;

/// What all figures are told.
#[derive(Debug)]
pub(crate) struct Settings {
    /// The program to measure.
    pub(crate) program: PathBuf,
    /// Smaller numbers, for a look rather than a figure.
    pub(crate) quick: bool,
}

impl Settings {
    /// Returns the whole number, or the small one for a look.
    pub(crate) fn choose(&self, whole: usize, small: usize) -> usize {
        if self.quick { small } else { whole }
    }
}
