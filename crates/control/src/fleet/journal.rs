//! A deployment on a node, written down in the store while it happens.

use std::sync::Mutex;

use portway_deploy::{Journal, JournalError, StepRecord};
use portway_model::{Id, Stage};
use portway_store::{DeploymentRow, NodeRow};
use tracing::{debug, warn};

use crate::{Control, deploy::lock};

/// Writes one deployment down.
pub(super) struct Noting {
    control: Control,
    node: Id<NodeRow>,
    fence: i64,
    id: Id<DeploymentRow>,
    stage: Mutex<Stage>,
}

impl Noting {
    /// Goes on from the stage in which the deployment stands in the store.
    pub(super) fn new(control: Control, row: &DeploymentRow) -> Self {
        let fence = row.fence.unwrap_or_default();
        Self { control, node: row.node, fence, id: row.id, stage: Mutex::new(row.stage) }
    }
}

impl Journal for Noting {
    async fn enter(&self, stage: Stage) -> Result<(), JournalError> {
        let from = *lock(&self.stage);
        let now = self.control.now();
        let can_be_left = matches!(stage, Stage::Staging | Stage::Testing | Stage::Activating);
        if can_be_left && self.control.inner.fleet.workers.are_stopping() {
            return Err(JournalError("the manager is being stopped".to_owned()));
        }
        self.control.keep_hold(self.node, self.fence).await.map_err(JournalError)?;
        let advanced =
            self.control.inner.store.deployments().advance(self.id, from, stage, now).await;
        match advanced {
            Ok(true) => {
                *lock(&self.stage) = stage;
                Ok(())
            }
            Ok(false) => Err(JournalError("another manager has gone on with it".to_owned())),
            Err(error) => Err(JournalError(error.to_string())),
        }
    }

    fn step(&self, step: StepRecord) {
        if step.ok {
            debug!(deployment.id = %self.id, "{}", step.action);
        } else {
            warn!(deployment.id = %self.id, "{} failed: {}", step.action, step.output);
        }
        self.control.inner.fleet.note_step(self.id, step);
    }
}
