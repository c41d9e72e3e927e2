//! Deployments.

use jiff::Timestamp;
use portway_model::{Finding, Stage};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{FindingSchema, rollout::RolloutView};

/// The carrying out of changes on one node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentView {
    /// The id.
    pub id: Uuid,
    /// The node.
    pub node: String,
    /// The first revision that is carried out.
    pub from_revision: i64,
    /// The last one.
    pub to_revision: i64,
    /// The work in hand, or the end.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// Sites that were held, with the reasons.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// A step of a deployment, as it was done on the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DeploymentStep {
    /// The work in hand.
    #[schema(value_type = String)]
    pub stage: Stage,
    /// What was done: a command with its arguments, or words.
    pub action: String,
    /// What it printed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub output: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
    /// Its number; the first is 1.
    #[serde(default)]
    pub number: u32,
    /// When it ended.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// How long to wait for a revision to be carried out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct WaitQuery {
    /// Seconds, at most 60 (default 30).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(maximum = 60)]
    pub timeout: Option<u64>,
}

/// How far a revision has come.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RevisionProgress {
    /// Whether every node has been brought to it, or holds the sites that failed.
    pub done: bool,
    /// Each node's deployment.
    pub deployments: Vec<DeploymentView>,
    /// Sites of the revision that are held, with the reasons.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
    /// How far its rollout is, where it has one. It is `done` when that rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutView>,
    /// Nodes that do not have it yet; for administrators and viewers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingNode>,
    /// Whether nobody need wait any longer: it is done, or what is missing are nodes in trouble. They
    /// get it when they are out of that.
    #[serde(default)]
    pub rests: bool,
}

/// A node that does not have a revision yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct MissingNode {
    /// The node.
    pub node: String,
    /// What was in the way the last time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// When that was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}
