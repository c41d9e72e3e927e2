//! How a change comes to its nodes: as somebody says, or as this installation does it with every change
//! of which nothing is said.

use portway_model::{Role, rollout::Strategy};
use portway_store::{ChangeDraft, RolloutDraft};
use portway_wire::rollout::{PlannedRollout, RolloutStrategy};

use super::{draft::Subject, planned::planned};
use crate::{
    Control, ControlError,
    actor::{Actor, Identity},
    plan::TouchedSite,
};

/// How a change comes to its nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// To all of them at once.
    AtOnce,
    /// As this installation does it.
    AsUsual,
    /// As somebody says.
    By(Strategy),
}

impl How {
    /// Reads what somebody says of it.
    pub(crate) fn read(said: Option<RolloutStrategy>) -> Result<Self, ControlError> {
        let Some(said) = said else { return Ok(Self::AsUsual) };
        if !said.at_once {
            return Ok(Self::By(said.into()));
        }
        if said == (RolloutStrategy { at_once: true, ..RolloutStrategy::default() }) {
            return Ok(Self::AtOnce);
        }
        let text =
            "`at_once` brings a change to all nodes at once; leave the rest of `rollout` away";
        Err(ControlError::BadRequest(text.to_owned()))
    }
}

impl Control {
    /// Makes the rollout of changes that are to be written; nothing where they come to all nodes at once.
    pub(crate) async fn rollout_for(
        &self,
        actor: &Actor,
        how: How,
        changes: &[ChangeDraft],
    ) -> Result<Option<RolloutDraft>, ControlError> {
        self.rollout_how(actor, how, &Subject::of_changes(changes)).await
    }

    /// Says in which waves a change would come to its nodes, for who may see nodes; nothing where it
    /// comes to all of them at once.
    pub(crate) async fn planned_rollout(
        &self,
        actor: &Actor,
        how: How,
        touched: &[TouchedSite],
    ) -> Result<Option<PlannedRollout>, ControlError> {
        if !actor.sees_nodes() {
            return Ok(None);
        }
        let is_usual = how == How::AsUsual;
        let draft = self.rollout_how(actor, how, &Subject::of_touched(touched)).await?;
        Ok(draft.map(|draft| planned(draft, is_usual)))
    }

    async fn rollout_how(
        &self,
        actor: &Actor,
        how: How,
        subjects: &[Subject<'_>],
    ) -> Result<Option<RolloutDraft>, ControlError> {
        match how {
            How::AtOnce => Ok(None),
            How::By(strategy) => self.rollout_of(actor, strategy, subjects).await,
            How::AsUsual => match self.usual_for(actor) {
                Some(usual) => self.usual_rollout(actor, usual, subjects).await,
                None => Ok(None),
            },
        }
    }

    /// Tells whether a change may come to its nodes one after the other.
    pub(crate) fn may_have_waves(&self, actor: &Actor, how: &How) -> bool {
        match how {
            How::AtOnce => false,
            How::By(_) => true,
            How::AsUsual => self.usual_for(actor).is_some(),
        }
    }

    /// What clients change, and what Portway itself does, comes to its nodes at once.
    fn usual_for(&self, actor: &Actor) -> Option<Strategy> {
        let is_system = matches!(actor.identity, Identity::System);
        // A viewer comes here with a plan only, and is told what it would be for an administrator.
        let is_client = actor.role() == Role::Client;
        self.inner.config.rollouts.clone().filter(|_| !is_client && !is_system)
    }

    /// One node alone has no waves, and a canary that is none of the nodes is left away: what is said once
    /// for all changes need not fit each of them.
    async fn usual_rollout(
        &self,
        actor: &Actor,
        mut usual: Strategy,
        subjects: &[Subject<'_>],
    ) -> Result<Option<RolloutDraft>, ControlError> {
        let nodes = self.nodes_of(subjects, &usual).await?;
        if nodes.len() < 2 {
            return Ok(None);
        }
        if nodes.iter().all(|(_, is_canary)| !is_canary) {
            usual.canary.clear();
        }
        self.rollout_of(actor, usual, subjects).await
    }
}
