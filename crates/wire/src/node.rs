//! Nodes: what is declared of them, and what is known.

use indexmap::IndexMap;
use jiff::Timestamp;
use portway_model::{
    Finding, Name, NodeSpec, Origin,
    node::{HealthState, Measures},
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{FindingSchema, NodeSpecSchema};

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeView {
    /// The id.
    pub id: Uuid,
    /// The name.
    pub name: String,
    /// What serves the sites there: `edge`, `nginx`, `caddy` or `traefik`.
    pub engine: String,
    /// How it is reached, in short: `deploy@192.0.2.7:22`, or the machine of a manager.
    pub address: String,
    /// How it stands.
    pub state: NodeState,
    /// As it was written; secrets are references. Nothing for the edge of a manager, which nobody
    /// declares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<NodeSpecSchema>)]
    pub spec: Option<NodeSpec>,
    /// Where the declaration came from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub origin: Option<Origin>,
    /// The number of its last revision; also its entity tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The revision up to which it was given everything; 0 at first.
    pub deployed_revision: i64,
    /// Whether it is well; nothing where nobody looked, and of the edge of a manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<NodeHealth>,
    /// What was read there.
    pub facts: NodeFactsView,
    /// What should be known about it.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// How a node stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NodeState {
    /// It answered when it was last asked.
    Ready,
    /// Nobody has asked it yet.
    Unknown,
    /// A key of its host, or of one before it, is not confirmed. Nothing is sent to it.
    Unconfirmed,
    /// It could not be read or changed the last time.
    Failed,
    /// It is left as it is.
    Inactive,
}

/// What was read on a node. What is not there was never known.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeFactsView {
    /// The version of its engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// The digest over what it says it runs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// When it was last read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// Why it could not be read or changed the last time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When that was.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub error_at: Option<Timestamp>,
    /// The fingerprint of a host key that it showed and that nobody has confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_host_key: Option<String>,
    /// The address of the jump host that showed it; nothing where it was the node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_by: Option<String>,
}

/// Which nodes are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct NodeQuery {
    /// Those that each of these chooses, with commas between them: a name, `group:NAME`,
    /// `label:KEY=VALUE`, `zone:NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub select: Option<String>,
    /// Those with this engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Those that are brought to what they should have, or those that are not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
    /// The `next` of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many (1 to 500, default 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// A node to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewNode {
    /// The name.
    pub name: String,
    /// What it is.
    #[schema(value_type = NodeSpecSchema)]
    pub spec: serde_json::Value,
    /// Why it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A node to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditNode {
    /// What it is to be.
    #[schema(value_type = NodeSpecSchema)]
    pub spec: serde_json::Value,
    /// Why it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// How a node is removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct RemoveNode {
    /// Remove it although sites name it.
    pub even_if_named: bool,
    /// Take away what Portway put there; otherwise it serves on.
    pub clean: bool,
}

/// Where a node's sites are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PinNode {
    /// The revision; without it the one that the node has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What a look at a node found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeCheck {
    /// Whether the node can be deployed to.
    pub ready: bool,
    /// Why the node could not be looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
    /// The same in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
    /// The fingerprint of a host key that it showed and that nobody has confirmed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_host_key: Option<String>,
    /// The address of the jump host that showed it; nothing where it was the node itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub offered_by: Option<String>,
    /// Its system, as it calls itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The version of its engine.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// What the engine was built with or loads.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules: Vec<String>,
    /// The numeric user who is logged in as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<u32>,
    /// The bytes left where Portway's folder lies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    /// The seconds by which its clock is ahead of the manager's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// What is in the way, and what deserves attention, each with its remedy.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// How an engine is to come to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct InstallNode {
    /// It is there, and the newest is to come.
    pub upgrade: bool,
    /// A file on the node that is to be the engine's program; without it, its package comes. The edge
    /// comes from the manager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// The SHA-256 that this file must have; with another nothing is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// How an engine comes to a node.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeInstall {
    /// The engine.
    pub engine: String,
    /// What it comes as, in words.
    pub by: String,
    /// The version that comes, as the package manager or the program itself says; nothing where that is
    /// known only after the lists of packages were read anew.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The version that is there; of an edge, the one that answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub installed: Option<String>,
    /// How the engine is, in words.
    pub state: String,
    /// What becomes of connections to an engine that runs.
    pub interrupts: String,
    /// What is done, in its order; with how it ended where it was.
    pub steps: Vec<NodeInstallStep>,
    /// The program that is sent, or put in its place; nothing of packages.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<NodeProgram>,
    /// What the package manager says beforehand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// Whether it is done; otherwise this is what would be done.
    pub done: bool,
    /// What is in the way, each with its remedy, and what deserves attention. With an error among them
    /// nothing is done, or what was done failed.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// A step of an installation.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeInstallStep {
    /// The command with its arguments, or what is done in words.
    pub action: String,
    /// Whether it needs root.
    pub as_root: bool,
    /// When the node itself ends it, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deadline_seconds: Option<u64>,
    /// When it is done, where it is not done each time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub only: Option<String>,
    /// How it ended; nothing of what was not done yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// What it printed last.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub output: String,
}

/// A program that comes to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeProgram {
    /// Where on the node it is sent, or lies.
    pub path: String,
    /// Its SHA-256.
    pub digest: String,
    /// Its length in bytes, of one that is sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// Why a node could not be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unseen {
    /// A host key is not confirmed, or another one than was confirmed.
    HostKey,
    /// It could not be reached or logged in to.
    Unreachable,
    /// What is declared of the connection leads nowhere from this manager.
    NoWay,
}

/// A host key that somebody has compared with the host's own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ConfirmHostKey {
    /// Its fingerprint, `SHA256:…`.
    pub fingerprint: String,
    /// The address of the jump host whose key it is, as it is declared (`host:port`); without it, it is
    /// the key of the node itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<String>,
    /// Leave the keys that were confirmed before beside it; otherwise it takes their place.
    #[serde(default)]
    pub keep: bool,
}

/// The answer to a change of a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeChanged {
    /// The number of the revision; nothing when nothing was to be changed.
    pub revision: Option<i64>,
    /// The node.
    pub node: String,
    /// What should be known about it.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// The key with which the managers log in to nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshKeyView {
    /// The line for `~/.ssh/authorized_keys`.
    pub public_key: String,
    /// Its fingerprint, as `ssh-keygen -lf` prints it.
    pub fingerprint: String,
}

/// Nodes of a `nodes.yaml`, to be taken over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ImportNodes {
    /// The name under which they are taken over.
    pub source: String,
    /// The nodes by name.
    #[schema(value_type = std::collections::BTreeMap<String, NodeSpecSchema>)]
    pub nodes: IndexMap<Name, serde_json::Value>,
    /// Overwrite also what was changed by hand since.
    #[serde(default)]
    pub overwrite: bool,
}

/// What came of taking nodes over.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodesImported {
    /// What became of each entry, and which nodes of the same source are no longer in it.
    pub nodes: Vec<NodeImported>,
    /// What is wrong with entries or should be known about them.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// What became of one entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeImported {
    /// The node.
    pub node: String,
    /// What became of it.
    pub outcome: ImportOutcome,
}

/// What became of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ImportOutcome {
    /// The node is new.
    Created,
    /// The node was changed.
    Updated,
    /// The node is as it should be.
    Unchanged,
    /// The node was changed by hand, or made elsewhere, and is left as it is.
    Kept,
    /// The entry is wrong; the findings say how.
    Refused,
    /// The node came from the same source and is no longer in it. It is left as it is.
    Gone,
}

/// What is measured on a node. Each value is a number with its time, or not known, with the reason and
/// since when.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeStatistics {
    /// The node.
    pub node: String,
    /// What serves the sites there.
    pub engine: String,
    /// When somebody last tried to read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// The manager that did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<String>,
    /// The engine as a service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<NodeService>,
    /// The values by name: `cpu_percent`, `load1`, `load5`, `load15`, `memory_total`,
    /// `memory_available`, `home_total`, `home_free`, `logs_total`, `logs_free`, `root_total`,
    /// `root_free` (bytes), `network_received`, `network_sent` (bytes), `network_received_rate`,
    /// `network_sent_rate` (bytes each second), `uptime`, `clock_ahead` (seconds), `service_up`,
    /// `service_time` (seconds), `connections`, `requests`, `requests_rate` (each second) and
    /// `certificate_left` (seconds).
    #[schema(value_type = std::collections::BTreeMap<String, MeasuredView>)]
    pub values: Measures,
}

/// The engine of a node as a service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeService {
    /// Whether it runs.
    pub running: bool,
    /// In the words of who says so: `active (running)`.
    pub state: String,
    /// Who says so: `systemd`, `openrc`, `processes`, or `edge`.
    pub told_by: String,
    /// Since when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

/// A value with its time, or why it is not known and since when.
#[derive(Clone, Debug, Serialize, Deserialize, ToSchema)]
pub struct MeasuredView {
    /// The number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<f64>,
    /// When it was so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
    /// Why it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
    /// Since when it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

/// Whether a node is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeHealth {
    /// In a word: `healthy`, `degraded`, `down` or `unknown`. It changes when several readings agree.
    #[schema(value_type = String)]
    pub state: HealthState,
    /// Since when.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it was last looked at.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
    /// What that look found.
    pub checks: Vec<NodeHealthCheck>,
}

/// Something that was looked at on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeHealthCheck {
    /// `ssh`, `service`, `port`, `probe`, `disk`, `memory`, `certificate`, `clock` or `version`.
    pub check: String,
    /// `ok`, `warning`, `failed` or `unknown`.
    pub verdict: String,
    /// What was found.
    pub text: String,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}
