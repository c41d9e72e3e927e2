//! What a plan says of nodes, and what it was made of.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::Finding;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::FindingSchema;

/// How a plan is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct PlanQuery {
    /// Read the nodes first, instead of using what was last read from them. For administrators.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub refresh: bool,
}

/// What becomes of sites on some nodes: the same on all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeEffect {
    /// The sites; more than one only where nothing but the action is told.
    pub sites: Vec<String>,
    /// The nodes, by name.
    pub nodes: Vec<String>,
    /// What serves sites there: `edge`, `nginx`, `caddy` or `traefik`.
    pub engine: String,
    /// What becomes of the sites there.
    pub action: EffectAction,
    /// The texts that differ. An edge is given what is declared and has none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileDiff>,
    /// Files that come and go without being shown: they hold secrets or certificates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hidden: Vec<HiddenFile>,
    /// The certificates that come and go.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<PlannedCertificate>,
    /// What the engine refuses or does otherwise.
    #[schema(value_type = Vec<FindingSchema>)]
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What the deployment is proven by, before and after: the probes of the site, in words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<String>,
    /// What else should be known: that what is there was written by another version of Portway, for
    /// example.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Whether the texts were left out because there are too many.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub shortened: bool,
}

/// What becomes of a site on a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EffectAction {
    /// It comes there.
    Add,
    /// It is there and changes.
    Change,
    /// It leaves.
    Remove,
    /// It stays as it is: what changes does not matter to the engine.
    Unchanged,
    /// The engine refuses it. What is there of it stays.
    Hold,
    /// Nothing can be said, because nothing is known of the node.
    Unknown,
    /// The node is pinned: it keeps what it has until it is released.
    Keep,
}

/// How a text on a node changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FileDiff {
    /// What it is called in this plan: `entry` is what stands of the site in the file that names all
    /// others. On a node files are named by their content.
    pub file: String,
    /// A unified diff.
    pub diff: String,
}

/// A file that is not shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HiddenFile {
    /// The first digits of its digest and what it is: `3f1c99ab12de.htpasswd`; `new.htpasswd` where it
    /// is made when the plan is applied.
    pub file: String,
    /// Whether it comes; otherwise it goes.
    pub comes: bool,
}

/// A certificate that comes to nodes, or leaves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedCertificate {
    /// Its names.
    pub names: Vec<String>,
    /// Whether it comes; otherwise it goes.
    pub comes: bool,
    /// The first digits of its digest; nothing where it is yet to be issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// A node of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PlannedNode {
    /// The name.
    pub name: String,
    /// What serves sites there.
    pub engine: String,
    /// The version of its engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub engine_version: Option<String>,
    /// When it was last read; nothing where it never was, and for edges, which tell by themselves what
    /// they serve.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub read_at: Option<Timestamp>,
    /// The digest over what it was last given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// Whether it is draining: it gets what the others get, and in a rollout it comes last.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Why it could not be read or changed since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// What is there that Portway did not put there, or that somebody changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
    /// How the part of its configuration changes that belongs to no site, because the node itself was
    /// declared anew. A unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common: Option<String>,
}

/// What a plan was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PlanBasis {
    /// A digest over what was to be applied. It tells nothing without a key of the installation.
    pub proposed: String,
    /// The sites that would be touched, with their revisions; nothing for new ones.
    pub sites: BTreeMap<String, Option<i64>>,
    /// The nodes to which something would come.
    #[serde(default)]
    pub nodes: BTreeMap<String, NodeBasis>,
}

/// What a plan knew of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeBasis {
    /// The revision of its declaration; nothing for the edge of a manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
    /// The digest over what it was last given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// The release that its engine said it serves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serves: Option<String>,
    /// What was there that Portway did not put there, or that somebody changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub foreign: Vec<String>,
    /// Whether it could be read when it was last spoken with.
    pub readable: bool,
}
