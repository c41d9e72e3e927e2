//! In which waves a change would come to its nodes, for plans.

use portway_model::rollout::Strategy;
use portway_store::RolloutDraft;
use portway_wire::rollout::PlannedRollout;

use super::draft::Subject;
use crate::{Control, ControlError, actor::Actor, plan::TouchedSite};

impl Control {
    /// Says in which waves a change would come to its nodes; nothing where it comes to all of them at
    /// once.
    pub(crate) async fn planned_rollout(
        &self,
        actor: &Actor,
        strategy: Option<Strategy>,
        touched: &[TouchedSite],
    ) -> Result<Option<PlannedRollout>, ControlError> {
        let Some(strategy) = strategy.filter(|_| actor.sees_nodes()) else { return Ok(None) };
        let draft = self.rollout_of(actor, strategy, &Subject::of_touched(touched)).await?;
        Ok(draft.map(planned))
    }
}

fn planned(draft: RolloutDraft) -> PlannedRollout {
    let RolloutDraft { strategy, nodes } = draft;
    let count = nodes.iter().map(|(_, _, wave)| wave + 1).max().unwrap_or(0);
    let of_wave = |wave: u32| {
        let its = nodes.iter().filter(|(_, _, of)| *of == wave);
        its.map(|(_, name, _)| name.to_string()).collect()
    };
    PlannedRollout { waves: (0..count).map(of_wave).collect(), strategy: strategy.into() }
}
