//! Rollouts: how a revision comes to its nodes one wave after the other, and what becomes of it when
//! a node cannot take it. All rules are here, as functions of what is known; who asks the nodes and
//! who writes it down is not.

mod plan;
mod state;

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

pub use self::{
    plan::waves_of,
    state::{Command, Gate, NotNow, RolloutState, Seen, Standing, WhyBack, WhyPaused},
};
use crate::NodeSelector;

/// How long a node may take to come to what it should have, unless something else is said: longer
/// than another manager may hold it after it died.
pub const PATIENCE: u32 = 300;
/// The longest that a node is waited for, in seconds.
pub const MAX_PATIENCE: u32 = 86_400;
/// The most waves that a rollout may have.
pub const MAX_WAVES: usize = 20;

/// How a revision comes to its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Strategy {
    /// The nodes that get it first, as sites choose nodes.
    pub canary: Vec<NodeSelector>,
    /// How many nodes have it after each wave; the last wave brings it to all that are left.
    pub waves: Vec<WaveSize>,
    /// What becomes of it when a node cannot take it.
    pub on_failure: OnFailure,
    /// After which wave somebody has to say that it goes on.
    pub pause_after: PauseAfter,
    /// How many seconds a node may take before it counts as one that cannot take it.
    pub patience: u32,
    /// For how many seconds all nodes of a wave must have it before the next one begins.
    #[serde(skip_serializing_if = "is_zero")]
    pub soak: u32,
}

/// How many nodes have a revision after a wave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum WaveSize {
    /// So many.
    Count(u32),
    /// So many of a hundred, rounded up.
    Percent(u8),
}

/// A text that says no size of a wave.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no wave; write a number of nodes from 1 on, or 1% to 100%")]
pub struct WaveSizeError(String);

/// What becomes of a rollout when a node cannot take the revision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnFailure {
    /// It waits for somebody to decide.
    #[default]
    Pause,
    /// Every node goes back to what it had.
    AllOrNothing,
    /// It goes on, and the nodes that failed are listed. A canary that fails pauses it all the same.
    BestEffort,
}

/// After which wave a rollout waits for somebody to say that it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseAfter {
    /// After none.
    #[default]
    Nothing,
    /// After the first one.
    Canary,
    /// After each one.
    Wave,
}

impl Default for Strategy {
    fn default() -> Self {
        Self {
            canary: Vec::new(),
            waves: Vec::new(),
            on_failure: OnFailure::default(),
            pause_after: PauseAfter::default(),
            patience: PATIENCE,
            soak: 0,
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

impl Strategy {
    /// Tells whether its first wave is one to be heeded above all.
    pub fn has_canary(&self) -> bool {
        !self.canary.is_empty()
    }

    /// Returns the sizes of its waves: those that were said, or one node, a quarter, all.
    pub fn sizes(&self) -> Vec<WaveSize> {
        if self.waves.is_empty() {
            return vec![WaveSize::Count(1), WaveSize::Percent(25), WaveSize::Percent(100)];
        }
        self.waves.clone()
    }
}

impl WaveSize {
    /// Returns how many of `all` nodes it means.
    pub fn of(self, all: usize) -> usize {
        match self {
            Self::Count(count) => usize::try_from(count).unwrap_or(usize::MAX).min(all),
            Self::Percent(percent) => {
                all.saturating_mul(usize::from(percent)).div_ceil(100).min(all)
            }
        }
    }
}

impl FromStr for WaveSize {
    type Err = WaveSizeError;

    fn from_str(text: &str) -> Result<Self, WaveSizeError> {
        let wrong = || WaveSizeError(text.to_owned());
        match text.strip_suffix('%') {
            Some(percent) => match percent.parse() {
                Ok(percent @ 1..=100) => Ok(Self::Percent(percent)),
                Ok(_) | Err(_) => Err(wrong()),
            },
            None => match text.parse() {
                Ok(0) | Err(_) => Err(wrong()),
                Ok(count) => Ok(Self::Count(count)),
            },
        }
    }
}

impl TryFrom<String> for WaveSize {
    type Error = WaveSizeError;

    fn try_from(text: String) -> Result<Self, WaveSizeError> {
        text.parse()
    }
}

impl From<WaveSize> for String {
    fn from(size: WaveSize) -> Self {
        size.to_string()
    }
}

impl fmt::Display for WaveSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Count(count) => count.fmt(f),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}
