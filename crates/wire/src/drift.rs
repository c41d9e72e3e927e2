//! What somebody changed on a node of what Portway put there, and taking it over.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::{node::NodeView, site::Plan};

/// What differs on a node from what Portway put there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeDrift {
    /// The node.
    pub node: String,
    /// Its engine.
    pub engine: String,
    /// When it was read.
    #[schema(value_type = String, format = DateTime)]
    pub read_at: Timestamp,
    /// The release that was proven there last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What differs. Nothing means that all is as Portway left it.
    pub files: Vec<DriftedFile>,
    /// Files that are not Portway's and that the engine reads too. They are left alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub beside: Vec<String>,
    /// A digest over all that was found, which says to a later request what was seen.
    pub seen: String,
}

/// A file, or a site of an edge, that is not as Portway left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DriftedFile {
    /// Its path on the node; of an edge the site.
    pub path: String,
    /// What became of it.
    pub what: Drifted,
    /// The site that it belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// A unified diff from what was deployed to what is there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Why no difference is shown, or what else should be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Drifted {
    /// Its content is another one.
    Changed,
    /// It is not there any more.
    Gone,
    /// It is not Portway's.
    Unknown,
}

/// What would be taken over from a node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adoption {
    /// What differs there.
    pub drift: NodeDrift,
    /// The sites that would be changed so that they say what is there.
    pub sites: Vec<String>,
    /// What that would do, on every node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<Plan>,
    /// What cannot be taken over. It is overwritten only where that is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left: Vec<NotAdopted>,
}

/// Something that cannot be taken over.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NotAdopted {
    /// The file.
    pub path: String,
    /// The line there, counted from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
    /// What stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Why it cannot be taken over.
    pub why: String,
    /// What can be done about it.
    pub remedy: String,
}

/// How what was found on a node is taken over.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AdoptNode {
    /// What was seen there (`seen` of the drift). Where something else is there by now, nothing is done.
    pub seen: String,
    /// Overwrite what cannot be taken over. Without it, nothing is done where there is such.
    #[serde(default)]
    pub overwrite_rest: bool,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// What was taken over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Adopted {
    /// The sites that were changed, each with its revision.
    pub sites: Vec<AdoptedSite>,
    /// The node as it is known now.
    pub node: NodeView,
}

/// A site that says what was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AdoptedSite {
    /// Its name.
    pub site: String,
    /// The revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<i64>,
}
