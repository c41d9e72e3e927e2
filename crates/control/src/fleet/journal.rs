//! A deployment on a node, written down in the store while it happens.

use std::sync::Mutex;

use portway_deploy::{Journal, JournalError, StepRecord};
use portway_model::{Id, Stage};
use portway_store::{Advanced, DeploymentRow, MAX_STEPS, StepRow};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::hold;
use crate::{Control, deploy::lock};

/// Writes one deployment down.
pub(super) struct Noting {
    control: Control,
    row: DeploymentRow,
    stage: Mutex<Stage>,
    number: Mutex<u32>,
    steps: mpsc::Sender<StepRow>,
}

/// Writes the steps of one deployment down, beside it: it waits for none of them.
pub(super) struct Steps {
    control: Control,
    id: Id<DeploymentRow>,
    receiver: mpsc::Receiver<StepRow>,
}

impl Noting {
    /// Goes on from the stage in which the deployment stands in the store. The steps are written
    /// until the first of the two is dropped.
    pub(super) fn new(control: Control, row: &DeploymentRow) -> (Self, Steps) {
        let (sender, receiver) = mpsc::channel(MAX_STEPS as usize);
        let steps = Steps { control: control.clone(), id: row.id, receiver };
        let noting = Self {
            control,
            row: row.clone(),
            stage: Mutex::new(row.stage),
            number: Mutex::new(0),
            steps: sender,
        };
        (noting, steps)
    }
}

impl Steps {
    /// Writes steps down as they come, until the deployment has ended. One that cannot be written is
    /// missing in the log; the deployment goes on.
    pub(super) async fn write(mut self) {
        while let Some(first) = self.receiver.recv().await {
            let mut steps = vec![first];
            while let Ok(next) = self.receiver.try_recv() {
                steps.push(next);
            }
            let written = self.control.inner.store.deployments().add_steps(self.id, &steps).await;
            if let Err(error) = written {
                warn!(deployment.id = %self.id, %error, "steps cannot be written down");
            }
        }
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
        let deployments = self.control.inner.store.deployments();
        match deployments.advance(&self.row, from, stage, hold::end(now), now).await {
            Ok(Advanced::Yes) => {
                *lock(&self.stage) = stage;
                Ok(())
            }
            Ok(Advanced::NotHeld) => {
                Err(JournalError("another manager has taken the node over".to_owned()))
            }
            Ok(Advanced::GoneOn) => {
                Err(JournalError("another manager has gone on with it".to_owned()))
            }
            Err(error) => Err(JournalError(error.to_string())),
        }
    }

    fn step(&self, step: StepRecord) {
        if step.ok {
            debug!(deployment.id = %self.row.id, "{}", step.action);
        } else {
            warn!(deployment.id = %self.row.id, "{} failed: {}", step.action, step.output);
        }
        let number = {
            let mut number = lock(&self.number);
            *number = number.saturating_add(1);
            *number
        };
        let row = StepRow {
            number,
            at: self.control.now(),
            stage: step.stage,
            action: step.action,
            output: step.output,
            ok: step.ok,
            milliseconds: u64::try_from(step.took.as_millis()).unwrap_or(u64::MAX),
        };
        if self.steps.try_send(row).is_err() {
            debug!(deployment.id = %self.row.id, "step {number} is beyond what is kept");
        }
    }
}
