//! Rollouts: how a revision comes to its nodes, and what is told of it.

use jiff::Timestamp;
use portway_model::{
    Finding, NodeSelector,
    rollout::{OnFailure, PATIENCE, PauseAfter, Standing, Strategy, WaveSize},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::FindingSchema;

/// How a revision is to come to its nodes. Without it, it comes to them as the installation does it with
/// every change: to all of them at once, unless `rollouts` of its configuration says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutStrategy {
    /// The nodes that get it first: names, `group:NAME`, `label:KEY=VALUE`, `zone:NAME`, `local`.
    #[schema(value_type = Vec<String>)]
    pub canary: Vec<NodeSelector>,
    /// How many nodes have it after each wave: a number, or a share such as `25%`. The last wave
    /// brings it to all that are left. Default: 1, 25%, 100%.
    #[schema(value_type = Vec<String>)]
    pub waves: Vec<WaveSize>,
    /// What becomes of it when a node cannot take it: `pause` (the default), `all_or_nothing` (every
    /// node goes back), `best_effort` (it goes on; but a canary that fails pauses it).
    #[schema(value_type = String)]
    pub on_failure: OnFailure,
    /// After which wave somebody has to resume it: `nothing` (the default), `canary`, `wave`.
    #[schema(value_type = String)]
    pub pause_after: PauseAfter,
    /// How many seconds a node may take before it counts as failed (default 300).
    #[schema(minimum = 1, maximum = 86400)]
    pub patience: u32,
    /// For how many seconds all nodes of a wave must have it before the next wave begins (default 0).
    #[schema(maximum = 86400)]
    #[serde(skip_serializing_if = "is_zero")]
    pub soak: u32,
    /// It comes to all nodes at once after all, also where the installation has every change come in
    /// waves. Nothing else is said then.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub at_once: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
const fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// How a change would come to its nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedRollout {
    /// How.
    pub strategy: RolloutStrategy,
    /// The nodes of each wave, by name. Nodes that are pinned are in none.
    pub waves: Vec<Vec<String>>,
    /// Whether that is what the installation does with every change of which nothing is said.
    pub usual: bool,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutView {
    /// The revision that comes to its nodes.
    pub revision: i64,
    /// Where it stands: `queued`, `running`, `paused`, `going_back`, or its end: `done`, `partial`,
    /// `undone`, `aborted`, `superseded`.
    pub state: String,
    /// Why it is paused or went back: `asked`, `wave_done`, `failure`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// The wave that was let in last; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// How many waves there are.
    pub waves: u32,
    /// Whether nothing more happens unless somebody says so.
    pub rests: bool,
    /// How it comes to its nodes.
    pub strategy: RolloutStrategy,
    /// Who started it.
    pub author: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it came where it stands.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// How many nodes are how far.
    pub counts: RolloutCounts,
    /// Its nodes, by wave; not for clients.
    pub nodes: Vec<RolloutNode>,
}

/// How many nodes are how far with a rollout.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutCounts {
    /// All nodes.
    pub nodes: u32,
    /// Those that have the revision.
    pub have: u32,
    /// Those that could not take it.
    pub failed: u32,
    /// Those that have what they had before, after they were let in.
    pub back: u32,
}

/// A node of a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RolloutNode {
    /// The node.
    pub node: String,
    /// Its wave; the first is 1.
    pub wave: u32,
    /// How far it is: `waiting`, `working`, `has`, `failed`, `back`, `behind`, `left`.
    #[schema(value_type = String)]
    pub standing: Standing,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// Why it failed, or could not go back.
    #[schema(value_type = Vec<FindingSchema>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// How a rollout is to be ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AbortRollout {
    /// Bring every node back to what it had; otherwise nodes keep what they have.
    pub back: bool,
}

/// What became of a rollout, for whoever listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolloutEvent {
    /// The revision.
    pub revision: i64,
    /// Where it stands.
    pub state: String,
    /// Why it is paused or went back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Whether it has ended.
    pub ended: bool,
    /// The wave that was let in last; the first is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wave: Option<u32>,
    /// How many waves there are.
    pub waves: u32,
    /// Who started it.
    pub author: String,
    /// How many nodes are how far.
    pub counts: RolloutCounts,
    /// The nodes that failed, or could not go back; not for clients.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<String>,
}

/// Something that became true.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its number, by which a listener who was away goes on (`Last-Event-ID`).
    pub id: i64,
    /// When it became true.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What kind of event it is: `rollout`.
    pub kind: String,
    /// What became of a rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutEvent>,
}

/// Which events are wanted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct EventQuery {
    /// Begin after this number; without it, and without `Last-Event-ID`, with what comes from now on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<i64>,
    /// Only what is about this revision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}

impl Default for RolloutStrategy {
    fn default() -> Self {
        Strategy::default().into()
    }
}

impl From<RolloutStrategy> for Strategy {
    fn from(written: RolloutStrategy) -> Self {
        let RolloutStrategy { canary, waves, on_failure, pause_after, patience, soak, at_once: _ } =
            written;
        Self { canary, waves, on_failure, pause_after, patience, soak }
    }
}

impl From<Strategy> for RolloutStrategy {
    fn from(strategy: Strategy) -> Self {
        let Strategy { canary, waves, on_failure, pause_after, patience, soak } = strategy;
        Self { canary, waves, on_failure, pause_after, patience, soak, at_once: false }
    }
}

const _: () = assert!(PATIENCE == 300, "the description of `patience` says so");
