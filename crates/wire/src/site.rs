//! Sites, plans and applications of site files.

use indexmap::IndexMap;
use jiff::Timestamp;
use portway_model::{Finding, Id, Name, Origin, Site, SiteSpec};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::{
    FindingSchema, SiteSpecSchema,
    plan::{NodeEffect, PlanBasis, PlannedNode},
    rollout::{PlannedRollout, RolloutStrategy},
};

/// A site in a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteSummary {
    /// The id.
    #[schema(value_type = Uuid)]
    pub id: Id<Site>,
    /// The name.
    pub name: String,
    /// What it answers to.
    pub hosts: Vec<String>,
    /// Where requests go, in short.
    pub target: String,
    /// Words by which it is found.
    pub tags: Vec<String>,
    /// The owner's name; nothing for sites of the installation.
    pub owner: Option<String>,
    /// How it stands on its node.
    pub state: SiteState,
    /// The number of its last revision; also its entity tag.
    pub revision: i64,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: Timestamp,
}

/// How a site stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiteState {
    /// The node serves its last revision.
    Live,
    /// A change is on its way.
    Pending,
    /// The last revision failed on the node; the one before serves.
    Held,
    /// An administrator keeps it from being used.
    Blocked,
}

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SiteView {
    /// What a list shows.
    #[serde(flatten)]
    pub summary: SiteSummary,
    /// As it was written; passwords are references.
    #[schema(value_type = SiteSpecSchema)]
    pub spec: SiteSpec,
    /// As it is meant, with every default.
    #[schema(value_type = Object)]
    pub effective: Site,
    /// Where the declaration came from.
    #[schema(value_type = Object)]
    pub origin: Origin,
    /// Why it is blocked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocked_reason: Option<String>,
    /// What should be known about it.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// Which sites are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct SiteQuery {
    /// Text in the name or a host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub search: Option<String>,
    /// A tag.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// The owner's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// The `next` of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many (1 to 500, default 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// A site to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSite {
    /// The name; made from the first host when it is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The owner's name; the caller when a client makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// What it is.
    #[schema(value_type = SiteSpecSchema)]
    pub spec: serde_json::Value,
    /// Why it is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it comes to its nodes, where not as usual here. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStrategy>,
}

/// A site to be changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EditSite {
    /// What it is to be.
    #[schema(value_type = SiteSpecSchema)]
    pub spec: serde_json::Value,
    /// Why it is changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it comes to its nodes, where not as usual here. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStrategy>,
}

/// The answer to a change: its revision and the deployment that carries it out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Changed {
    /// The number of the revision; nothing when nothing was to be changed.
    pub revision: Option<i64>,
    /// The sites that were touched, by name.
    pub sites: Vec<String>,
    /// What should be known about them.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

/// Why a site is blocked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockSite {
    /// What visitors read.
    #[serde(default)]
    pub reason: String,
}

/// Sites as a site file declares them, to be planned or applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ApplySites {
    /// The name under which the file is applied; sites that came from the same name and are gone
    /// from it can be pruned.
    pub source: String,
    /// The sites by name.
    #[schema(value_type = std::collections::BTreeMap<String, SiteSpecSchema>)]
    pub sites: IndexMap<Name, serde_json::Value>,
    /// Remove sites that came from the same source and are not declared.
    #[serde(default)]
    pub prune: bool,
    /// The owner of new sites; the caller when a client applies.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// How it comes to its nodes, where not as usual here. For administrators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<RolloutStrategy>,
    /// Of a plan, what it was made of: where anything of it has moved on since, nothing is applied.
    /// A plan itself takes no notice of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<PlanBasis>,
}

/// What an application would do.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Plan {
    /// The sites that would be touched, in the order of the file.
    pub changes: Vec<PlannedChange>,
    /// How many declared sites are as they should be.
    pub unchanged: usize,
    /// What is wrong or should be known; with an error nothing can be applied.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
    /// When it was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub made_at: Option<Timestamp>,
    /// What would come to nodes, for whoever may see nodes. Nodes to which the same comes stand
    /// together.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub effects: Vec<NodeEffect>,
    /// The nodes to which something would come, and how fresh is what is known of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<PlannedNode>,
    /// In which waves it would come to nodes, where it does not come to all of them at once; for whoever
    /// may see nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<PlannedRollout>,
    /// What the plan was made of. Sent back with `POST /apply`, exactly this plan is carried out or
    /// nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basis: Option<PlanBasis>,
}

/// What would become of one site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlannedChange {
    /// The site.
    pub site: String,
    /// What would be done.
    pub action: PlannedAction,
    /// The difference of what is written, as a unified diff of YAML.
    pub diff: String,
}

/// What would be done with a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PlannedAction {
    /// It is new.
    Create,
    /// It exists and differs.
    Update,
    /// It is no longer declared.
    Remove,
}

/// Sites as they are declared, to be applied again here or elsewhere.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// The sites by name; passwords are references to this installation's secrets.
    #[schema(value_type = std::collections::BTreeMap<String, SiteSpecSchema>)]
    pub sites: IndexMap<Name, SiteSpec>,
}
