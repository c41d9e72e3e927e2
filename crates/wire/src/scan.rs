//! What an engine on a node was told before Portway, as sites.

use indexmap::IndexMap;
use portway_model::{Name, SiteSpec};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::SiteSpecSchema;

/// How a node is scanned.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct ScanNode {
    /// Open what limits of requests protected, instead of closing it.
    pub without_limits: bool,
}

/// What a scan found. Nothing of it is applied.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Scanned {
    /// The file or folder with which the engine's configuration begins.
    pub from: String,
    /// The sites, as written, for this node; each can be applied.
    #[schema(value_type = std::collections::BTreeMap<String, SiteSpecSchema>)]
    pub sites: IndexMap<Name, SiteSpec>,
    /// Every directive, in the order in which files were read.
    pub report: Vec<ScanEntry>,
}

/// A directive and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScanEntry {
    /// The file.
    pub file: String,
    /// The line, counted from 1.
    pub line: usize,
    /// The directive, without what may be secret in it.
    pub text: String,
    /// What became of it.
    pub outcome: ScanOutcome,
    /// How it differs, or why it is not converted.
    #[serde(default)]
    pub notes: Vec<String>,
    /// Whether sites or routes let nobody in because of it.
    #[serde(default)]
    pub closes: bool,
    /// The sites that it is about.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub sites: Vec<Name>,
}

/// What became of a directive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScanOutcome {
    /// The sites do the same.
    Converted,
    /// The sites do nearly the same.
    Approximated,
    /// The sites do not do it.
    NotConverted,
}
