//! How a node is, in a word, and from where on something about it deserves attention.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Seconds;

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthState {
    /// It serves what it should, and has what it needs.
    Healthy,
    /// It serves, and something deserves attention.
    Degraded,
    /// It does not serve.
    Down,
    /// It cannot be looked at.
    Unknown,
}

/// From where on something about a node deserves attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// The least that should be left of a disk, in percent.
    pub disk: u8,
    /// The least memory that programs should still get, in percent.
    pub memory: u8,
    /// The least time that certificates should be good for.
    pub certificate: Seconds,
    /// The most by which its clock may be off.
    pub clock: Seconds,
    /// So many readings in a row change its state.
    pub readings: u32,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            disk: 10,
            memory: 5,
            certificate: Seconds(7 * 86_400),
            clock: Seconds(30),
            readings: 2,
        }
    }
}

impl HealthState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Healthy, Self::Degraded, Self::Down, Self::Unknown];

    /// Returns the word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Down => "down",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for HealthState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
