//! The history of intent.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A revision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RevisionView {
    /// The number.
    pub number: i64,
    /// Who made it.
    pub author: String,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Why, or what was done.
    pub message: String,
    /// Where it came from.
    pub origin: String,
    /// What it touched.
    pub changes: Vec<RevisionChange>,
}

/// What a revision did to one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RevisionChange {
    /// The kind of thing.
    pub kind: String,
    /// The thing's name.
    pub name: String,
    /// `create`, `update` or `remove`.
    pub action: super::site::PlannedAction,
    /// The difference to the version before, as a unified diff of YAML; only where one revision is
    /// asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}

/// Which revisions are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct RevisionQuery {
    /// Only those that touched this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
    /// The `next` of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many (1 to 500, default 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}

/// Which two states of the declaration are compared.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DiffQuery {
    /// The older state, by revision number.
    pub from: i64,
    /// The newer state; what is declared now when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// Only this site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub site: Option<String>,
}

/// The difference of two states.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Diff {
    /// What differs.
    pub changes: Vec<super::site::PlannedChange>,
}

/// What is to be restored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Revert {
    /// Restore also what others have changed since.
    pub even_if_changed: bool,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// The version to which a site is taken back.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RevertSite {
    /// The number of the revision whose state is restored.
    pub to: i64,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
