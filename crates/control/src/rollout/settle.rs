//! Writing down where a rollout comes to: nodes are let in with what they had, and it is told.

use jiff::Timestamp;
use portway_model::rollout::{RolloutState, Standing};
use portway_store::{EventDraft, RolloutRow};
use tracing::info;

use super::{drive::Wrote, sight::Sight, view};
use crate::{Control, ControlError};

/// The kind of the events that tell of rollouts.
pub(super) const KIND: &str = "rollout";

impl Control {
    /// Writes a rollout down as it was seen, at `state`. `was` is what the store knows of it.
    pub(super) async fn settle(
        &self,
        was: &RolloutRow,
        mut rollout: RolloutRow,
        state: RolloutState,
        sight: &Sight,
    ) -> Result<Wrote, ControlError> {
        let is_new = state != was.state;
        if is_new {
            enter(&mut rollout, state, sight);
        }
        if rollout == *was {
            return Ok(Wrote::Nothing);
        }
        let mut events = Vec::new();
        if is_new {
            let body = serde_json::to_value(view::event(&rollout))
                .map_err(|error| ControlError::internal("writing an event", error))?;
            let revision = Some(rollout.revision);
            events.push(EventDraft { at: sight.now(), kind: KIND.to_owned(), revision, body });
        }
        if !self.inner.store.rollouts().record(was, &rollout, &events).await? {
            return Ok(Wrote::Overtaken);
        }
        self.inner.rollouts.changed.send_modify(|count| *count = count.wrapping_add(1));
        if is_new {
            info!("the rollout of revision {} is {}", rollout.revision, state.word());
        }
        Ok(if is_new { Wrote::State } else { Wrote::Nodes })
    }
}

fn enter(rollout: &mut RolloutRow, state: RolloutState, sight: &Sight) {
    let now = sight.now();
    rollout.state = state;
    rollout.updated_at = now;
    rollout.finished_at = state.is_end().then_some(now);
    rollout.decides = state.decides();
    if let Some(wave) = state.wave() {
        let_in(rollout, wave, now, sight);
    }
    if let RolloutState::GoingBack { .. } = state {
        for place in rollout.nodes.iter_mut().filter(|place| place.let_in_at.is_some()) {
            if place.standing != Standing::Left {
                (place.standing, place.since) = (Standing::Working, now);
            }
        }
    }
    if let RolloutState::Done | RolloutState::Partial = state {
        // Nobody goes back from here.
        rollout.nodes.iter_mut().for_each(|place| place.before.clear());
    }
}

fn let_in(rollout: &mut RolloutRow, up_to: u32, now: Timestamp, sight: &Sight) {
    let is_new = |place: &&mut portway_store::RolloutNodeRow| {
        place.wave <= up_to && place.let_in_at.is_none()
    };
    for place in rollout.nodes.iter_mut().filter(is_new) {
        place.before = sight.before(place.node);
        place.let_in_at = Some(now);
        if place.standing != Standing::Left {
            (place.standing, place.since) = (Standing::Working, now);
        }
    }
}
