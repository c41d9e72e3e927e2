//! Where a deployment is written down while it happens.

use std::{future::Future, time::Duration};

use portway_model::Stage;

/// Writes down what a deployment does. A stage is noted before it begins, so that a restart knows
/// what may have been done.
pub trait Journal: Send + Sync {
    /// Notes that a stage begins. When that fails, the stage does not begin.
    fn enter(&self, stage: Stage) -> impl Future<Output = Result<(), JournalError>> + Send;

    /// Notes a step that was done on the node. What cannot be noted is lost; the deployment goes on.
    fn step(&self, step: StepRecord);
}

/// Writes nothing down: for looks, which change nothing.
#[derive(Clone, Copy, Debug)]
pub struct Unwritten;

impl Journal for Unwritten {
    async fn enter(&self, _: Stage) -> Result<(), JournalError> {
        Ok(())
    }

    fn step(&self, _: StepRecord) {}
}

/// A step that was done on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRecord {
    /// The stage it belongs to.
    pub stage: Stage,
    /// What was done: a command with its arguments, or words such as `sent 3 files (12 KiB)`.
    pub action: String,
    /// What it printed, cut at a length that people read.
    pub output: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took.
    pub took: Duration,
}

/// A stage could not be noted.
#[derive(Debug, thiserror::Error)]
#[error("the deployment cannot be written down: {0}")]
pub struct JournalError(pub String);
