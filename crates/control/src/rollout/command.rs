//! What administrators want of a rollout.

use portway_model::{RevisionNumber, rollout::Command};
use portway_store::RolloutRow;
use portway_wire::rollout::RolloutView;

use super::{drive::Wrote, view};
use crate::{Control, ControlError, audit::Record, rights::Operator};

/// So often something else may be faster.
const TRIES: usize = 20;

impl Operator<'_> {
    /// Lets no further node in.
    pub async fn pause_rollout(&self, revision: i64) -> Result<RolloutView, ControlError> {
        self.command(revision, Command::Pause, "rollout.pause").await
    }

    /// Has a rollout go on.
    pub async fn resume_rollout(&self, revision: i64) -> Result<RolloutView, ControlError> {
        self.command(revision, Command::Resume, "rollout.resume").await
    }

    /// Ends a rollout where it stands, or brings every node back.
    pub async fn abort_rollout(
        &self,
        revision: i64,
        command: Command,
    ) -> Result<RolloutView, ControlError> {
        self.command(revision, command, "rollout.abort").await
    }

    async fn command(
        &self,
        revision: i64,
        command: Command,
        action: &'static str,
    ) -> Result<RolloutView, ControlError> {
        let control = self.control;
        for _ in 0..TRIES {
            let was = control.rollout(RevisionNumber(revision)).await?;
            let Some(rollout) = control.try_command(&was, command).await? else { continue };
            let back = if command == Command::GoBack { " and back" } else { "" };
            let detail = format!("revision {revision}{back}");
            let record = Record::of(self.actor, action).detail(detail);
            control.write_audit(record).await?;
            control.poke_nodes();
            control.poke_rollouts();
            return Ok(view::view(&rollout));
        }
        Err(ControlError::Conflict(format!(
            "the rollout of revision {revision} changes too fast; try again"
        )))
    }
}

impl Control {
    pub(super) async fn rollout(
        &self,
        revision: RevisionNumber,
    ) -> Result<RolloutRow, ControlError> {
        let found = self.inner.store.rollouts().get(revision).await?;
        found.ok_or_else(|| ControlError::NotFound {
            what: "rollout of revision",
            name: revision.to_string(),
        })
    }

    /// Returns the rollout after the command, unless something else was faster.
    async fn try_command(
        &self,
        was: &RolloutRow,
        command: Command,
    ) -> Result<Option<RolloutRow>, ControlError> {
        let sight = self.sight(was).await?;
        let mut rollout = was.clone();
        let failed = sight.apply(&mut rollout).failed;
        let state = was.state.command(command, failed).map_err(|error| {
            ControlError::Conflict(format!("revision {}: {error}", was.revision))
        })?;
        match self.settle(was, rollout, state, &sight).await? {
            Wrote::Overtaken => Ok(None),
            Wrote::Nothing | Wrote::Nodes | Wrote::State => {
                Ok(Some(self.rollout(was.revision).await?))
            }
        }
    }
}
