//! Where a rollout stands, and where it goes from there.

use serde::{Deserialize, Serialize};

use super::{OnFailure, PauseAfter, Strategy};

/// Where a rollout stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum RolloutState {
    /// It is written, and no node has been let in.
    Queued,
    /// The nodes up to this wave get the revision.
    Running {
        /// The wave.
        wave: u32,
        /// So many nodes may have failed: somebody saw them and had it go on.
        forgiven: u32,
    },
    /// The nodes up to this wave have the revision or get it, and no other one until somebody says so.
    Paused {
        /// The wave.
        wave: u32,
        /// So many nodes may have failed.
        forgiven: u32,
        /// Why.
        why: WhyPaused,
    },
    /// Every node goes back to what it had.
    GoingBack {
        /// Why.
        why: WhyBack,
    },
    /// Every node has the revision. The end.
    Done,
    /// Every node but those that failed has the revision. The end.
    Partial,
    /// Every node has what it had before. The end.
    Undone {
        /// Why.
        why: WhyBack,
    },
    /// The nodes up to this wave have the revision, and no other one gets it. The end.
    Aborted {
        /// The wave; nothing when it had not begun.
        wave: Option<u32>,
    },
    /// Each of its sites was changed or removed by a later revision. The end.
    Superseded {
        /// The wave up to which nodes had been let in.
        wave: Option<u32>,
    },
}

/// Why a rollout waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyPaused {
    /// Somebody had it wait.
    Asked,
    /// A wave is done.
    WaveDone,
    /// A node failed.
    Failure,
}

/// Why a rollout goes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WhyBack {
    /// A node failed.
    Failure,
    /// Somebody had it go back.
    Asked,
}

/// What a rollout says of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gate {
    /// It gets the revision.
    Open,
    /// It keeps what it has for now.
    Wait,
    /// It keeps what it has.
    Stay,
    /// It gets what it had before.
    Back,
}

/// How far a node is with a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It was not let in yet.
    Waiting,
    /// It was let in, or goes back.
    Working,
    /// It has the revision.
    Has,
    /// It could not take the revision.
    Failed,
    /// It has what it had before.
    Back,
    /// It could not be brought back in time; it is as soon as it can be.
    Behind,
    /// It is no longer a node of these sites, is not active, or was pinned meanwhile.
    Left,
}

/// What somebody wants of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Lets no further node in.
    Pause,
    /// Goes on.
    Resume,
    /// Ends it where it stands.
    Abort,
    /// Ends it, and brings every node back to what it had.
    GoBack,
}

/// The rollout is not where this can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the rollout {0}")]
pub struct NotNow(&'static str);

/// What is seen of a rollout's nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Seen {
    /// How many waves there are.
    pub waves: u32,
    /// So many of the nodes let in have not come to an end yet.
    pub pending: u32,
    /// So many of the nodes let in failed.
    pub failed: u32,
    /// So many nodes have not come back yet, of those that can be waited for.
    pub behind: u32,
    /// Each of its sites was changed or removed by a later revision.
    pub superseded: bool,
}

impl RolloutState {
    /// Returns where the rollout stands after what is seen. It is asked again until it says the same.
    pub fn next(self, strategy: &Strategy, seen: Seen) -> Self {
        match self {
            Self::Queued | Self::Running { .. } | Self::Paused { .. } | Self::GoingBack { .. }
                if seen.superseded =>
            {
                Self::Superseded { wave: self.wave() }
            }
            Self::Queued if seen.waves == 0 => Self::Done,
            Self::Queued => Self::Running { wave: 0, forgiven: 0 },
            Self::Running { wave, forgiven } => running(wave, forgiven, strategy, seen),
            Self::Paused { forgiven, .. }
                if seen.failed > forgiven && strategy.on_failure == OnFailure::AllOrNothing =>
            {
                Self::GoingBack { why: WhyBack::Failure }
            }
            Self::GoingBack { why } if seen.behind == 0 => Self::Undone { why },
            Self::Paused { .. }
            | Self::GoingBack { .. }
            | Self::Done
            | Self::Partial
            | Self::Undone { .. }
            | Self::Aborted { .. }
            | Self::Superseded { .. } => self,
        }
    }

    /// Carries out what somebody wants. `failed` nodes are known to have failed.
    pub fn command(self, command: Command, failed: u32) -> Result<Self, NotNow> {
        match (self, command) {
            (Self::Queued, Command::Pause) => Err(NotNow("begins at this moment; try again")),
            (Self::Running { wave, forgiven }, Command::Pause) => {
                Ok(Self::Paused { wave, forgiven, why: WhyPaused::Asked })
            }
            (Self::Paused { .. }, Command::Pause) => Err(NotNow("is paused already")),
            (Self::Queued | Self::Running { .. }, Command::Resume) => Err(NotNow("is not paused")),
            (Self::Paused { wave, why, .. }, Command::Resume) => Ok(match why {
                WhyPaused::WaveDone => {
                    Self::Running { wave: wave.saturating_add(1), forgiven: failed }
                }
                WhyPaused::Asked | WhyPaused::Failure => Self::Running { wave, forgiven: failed },
            }),
            (Self::Queued | Self::Running { .. } | Self::Paused { .. }, Command::Abort) => {
                Ok(Self::Aborted { wave: self.wave() })
            }
            (
                Self::Queued | Self::Running { .. } | Self::Paused { .. } | Self::Aborted { .. },
                Command::GoBack,
            ) => Ok(Self::GoingBack { why: WhyBack::Asked }),
            (Self::GoingBack { .. }, _) => Err(NotNow("goes back already")),
            (Self::Done | Self::Partial | Self::Undone { .. } | Self::Superseded { .. }, _)
            | (Self::Aborted { .. }, Command::Pause | Command::Resume | Command::Abort) => {
                Err(NotNow("has ended; `portway revert` takes its revision back"))
            }
        }
    }

    /// Returns what a node gets that is in `wave`; nothing for one that came later, and so is in none.
    pub fn gate(self, wave: Option<u32>) -> Gate {
        let is_in = |up_to: Option<u32>| match (wave, up_to) {
            (Some(wave), Some(up_to)) => wave <= up_to,
            (None, _) | (_, None) => false,
        };
        match self {
            Self::Done | Self::Partial => Gate::Open,
            Self::GoingBack { .. } | Self::Undone { .. } => Gate::Back,
            Self::Queued
            | Self::Running { .. }
            | Self::Paused { .. }
            | Self::Aborted { .. }
            | Self::Superseded { .. }
                if is_in(self.wave()) =>
            {
                Gate::Open
            }
            Self::Aborted { .. } => Gate::Stay,
            Self::Queued | Self::Running { .. } | Self::Paused { .. } | Self::Superseded { .. } => {
                Gate::Wait
            }
        }
    }

    /// Returns the wave up to which nodes were let in.
    pub fn wave(self) -> Option<u32> {
        match self {
            Self::Running { wave, .. } | Self::Paused { wave, .. } => Some(wave),
            Self::Aborted { wave } | Self::Superseded { wave } => wave,
            Self::Queued
            | Self::GoingBack { .. }
            | Self::Done
            | Self::Partial
            | Self::Undone { .. } => None,
        }
    }

    /// Tells whether nothing more will happen by itself, ever.
    pub fn is_end(self) -> bool {
        match self {
            Self::Done
            | Self::Partial
            | Self::Undone { .. }
            | Self::Aborted { .. }
            | Self::Superseded { .. } => true,
            Self::Queued | Self::Running { .. } | Self::Paused { .. } | Self::GoingBack { .. } => {
                false
            }
        }
    }

    /// Tells whether it rests: nothing more happens unless somebody says so.
    pub fn rests(self) -> bool {
        self.is_end() || matches!(self, Self::Paused { .. })
    }

    /// Tells whether it decides what nodes get. One that ended with every node let in does not.
    pub fn decides(self) -> bool {
        !matches!(self, Self::Done | Self::Partial)
    }

    /// Tells whether its nodes get what they had before.
    pub fn is_back(self) -> bool {
        matches!(self, Self::GoingBack { .. } | Self::Undone { .. })
    }

    /// Returns the word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running { .. } => "running",
            Self::Paused { .. } => "paused",
            Self::GoingBack { .. } => "going_back",
            Self::Done => "done",
            Self::Partial => "partial",
            Self::Undone { .. } => "undone",
            Self::Aborted { .. } => "aborted",
            Self::Superseded { .. } => "superseded",
        }
    }
}

fn running(wave: u32, forgiven: u32, strategy: &Strategy, seen: Seen) -> RolloutState {
    let paused = |why| RolloutState::Paused { wave, forgiven, why };
    if seen.failed > forgiven {
        match strategy.on_failure {
            OnFailure::AllOrNothing => return RolloutState::GoingBack { why: WhyBack::Failure },
            OnFailure::Pause => return paused(WhyPaused::Failure),
            OnFailure::BestEffort if wave == 0 && strategy.has_canary() => {
                return paused(WhyPaused::Failure);
            }
            OnFailure::BestEffort => {}
        }
    }
    if seen.pending > 0 {
        return RolloutState::Running { wave, forgiven };
    }
    if wave.saturating_add(1) >= seen.waves {
        return if seen.failed == 0 { RolloutState::Done } else { RolloutState::Partial };
    }
    match strategy.pause_after {
        PauseAfter::Wave => paused(WhyPaused::WaveDone),
        PauseAfter::Canary if wave == 0 => paused(WhyPaused::WaveDone),
        PauseAfter::Canary | PauseAfter::Nothing => {
            RolloutState::Running { wave: wave.saturating_add(1), forgiven }
        }
    }
}

#[cfg(test)]
mod tests;
