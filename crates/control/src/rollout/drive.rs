//! Taking rollouts on, from state to state.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use portway_model::RevisionNumber;
use portway_store::RolloutRow;

use crate::{Control, ControlError, deploy::lock, tasks::TaskReport};

/// A rollout that ended is kept for as long as somebody may still hold a site as it was read.
const GRACE: SignedDuration = SignedDuration::from_mins(10);
/// How often it is looked whether a rollout that ended can be given up.
const GIVE_UP_EVERY: SignedDuration = SignedDuration::from_mins(1);

/// What was written of a rollout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wrote {
    /// Nothing: all is as it was.
    Nothing,
    /// How far its nodes are.
    Nodes,
    /// Where it stands.
    State,
    /// Nothing: another manager, or somebody's word, was faster.
    Overtaken,
}

impl Control {
    /// Takes every rollout as far as it goes now.
    pub(crate) async fn drive_rollouts(&self) -> TaskReport {
        self.try_drive_rollouts().await.map_err(|error| error.to_string())
    }

    async fn try_drive_rollouts(&self) -> Result<String, ControlError> {
        let rollouts = self.inner.store.rollouts().deciding().await?;
        let (mut under_way, mut moved) = (0_usize, false);
        for rollout in rollouts {
            if rollout.state.is_end() {
                continue;
            }
            under_way += 1;
            moved |= matches!(self.drive(&rollout).await?, Wrote::State | Wrote::Overtaken);
        }
        self.turn_own_edge().await?;
        if moved {
            self.poke_nodes();
            self.poke_rollouts();
        }
        self.give_up_ended().await?;
        Ok(format!("{under_way} rollout(s) under way"))
    }

    async fn drive(&self, was: &RolloutRow) -> Result<Wrote, ControlError> {
        let sight = self.sight(was).await?;
        let mut rollout = was.clone();
        let seen = sight.apply(&mut rollout);
        let state = was.state.next(&was.strategy, seen);
        self.settle(was, rollout, state, &sight).await
    }

    /// Has this machine's edge look at the sites of which rollouts say something else than before.
    pub(super) async fn turn_own_edge(&self) -> Result<(), ControlError> {
        let gates = self.gates().await?;
        let said = gates.of_node(self.inner.node);
        let before = std::mem::replace(&mut *lock(&self.inner.rollouts.edge), said.clone());
        let differs = |revision: &&RevisionNumber| said.get(revision) != before.get(revision);
        let turned: BTreeSet<RevisionNumber> =
            said.keys().chain(before.keys()).filter(differs).copied().collect();
        for revision in turned {
            self.inner.deploy.look_at(self.live_sites(revision).await?.into_keys());
        }
        Ok(())
    }

    /// Gives rollouts up that ended and of whose sites none is as they made it: nothing asks for them
    /// any more.
    async fn give_up_ended(&self) -> Result<(), ControlError> {
        let now = self.now();
        let is_due = |at: &jiff::Timestamp| now.duration_since(*at) >= GIVE_UP_EVERY;
        {
            let mut last = lock(&self.inner.rollouts.given_up_at);
            if !last.as_ref().is_none_or(is_due) {
                return Ok(());
            }
            *last = Some(now);
        }
        for rollout in self.inner.store.rollouts().deciding().await? {
            let is_old = now.duration_since(rollout.updated_at) >= GRACE;
            if rollout.state.is_end()
                && is_old
                && self.live_sites(rollout.revision).await?.is_empty()
            {
                let given_up = RolloutRow { decides: false, ..rollout.clone() };
                self.inner.store.rollouts().record(&rollout, &given_up, &[]).await?;
            }
        }
        Ok(())
    }
}
