//! In which waves a change would come to its nodes, for plans.

use portway_store::RolloutDraft;
use portway_wire::rollout::PlannedRollout;

/// Returns a rollout as a plan shows it. `usual` tells whether it is what the installation does with every
/// change of which nothing is said.
pub(super) fn planned(draft: RolloutDraft, usual: bool) -> PlannedRollout {
    let RolloutDraft { strategy, nodes } = draft;
    let count = nodes.iter().map(|(_, _, wave)| wave + 1).max().unwrap_or(0);
    let of_wave = |wave: u32| {
        let its = nodes.iter().filter(|(_, _, of)| *of == wave);
        its.map(|(_, name, _)| name.to_string()).collect()
    };
    PlannedRollout { waves: (0..count).map(of_wave).collect(), strategy: strategy.into(), usual }
}
