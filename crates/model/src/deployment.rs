//! The life of a deployment on one node, as one pure function.

use serde::{Deserialize, Serialize};

/// The work in hand, so that a restart knows what to resume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// Waits for its turn on the node.
    Queued,
    /// Objects are compiled and sent.
    Staging,
    /// The engine judges what was staged.
    Testing,
    /// The node is switched to what was staged.
    Activating,
    /// The node is asked until it answers with the new digest.
    Probing,
    /// The node serves what it should. The end.
    Live,
    /// The node is switched back.
    RollingBack,
    /// The node serves what it served before. The end.
    RolledBack,
    /// The engine refused what was staged; nothing was switched. The end.
    Rejected,
    /// The node could not be brought to a known state. The end, until someone acts.
    Stuck,
}

/// How the work of a stage ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Ok,
    /// Refused by the engine.
    Refused,
    /// Failed for a reason of the world: unreachable, full, too slow.
    Failed,
}

impl Stage {
    /// Returns the stage that follows, or `None` at an end.
    pub fn next(self, outcome: Outcome) -> Option<Self> {
        use Outcome::{Failed, Ok, Refused};
        match (self, outcome) {
            (Self::Queued, Ok) => Some(Self::Staging),
            (Self::Staging, Ok) => Some(Self::Testing),
            (Self::Testing, Ok) => Some(Self::Activating),
            (Self::Activating, Ok) => Some(Self::Probing),
            (Self::Probing, Ok) => Some(Self::Live),
            // Before the switch nothing has changed on the node, so there is nothing to undo.
            (Self::Queued | Self::Staging | Self::Testing, Refused | Failed) => {
                Some(Self::Rejected)
            }
            (Self::Activating | Self::Probing, Refused | Failed) => Some(Self::RollingBack),
            (Self::RollingBack, Ok) => Some(Self::RolledBack),
            (Self::RollingBack, Refused | Failed) => Some(Self::Stuck),
            (Self::Live | Self::RolledBack | Self::Rejected | Self::Stuck, _) => None,
        }
    }

    /// Tells whether nothing more will happen.
    pub fn is_end(self) -> bool {
        self.next(Outcome::Ok).is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_ends_and_only_proof_ends_live() {
        fn walk(stage: Stage, depth: usize) {
            assert!(depth < 10, "{stage:?} does not end");
            for outcome in [Outcome::Ok, Outcome::Refused, Outcome::Failed] {
                if let Some(next) = stage.next(outcome) {
                    assert_eq!(
                        next == Stage::Live,
                        (stage, outcome) == (Stage::Probing, Outcome::Ok)
                    );
                    walk(next, depth + 1);
                }
            }
        }
        walk(Stage::Queued, 0);
    }
}
