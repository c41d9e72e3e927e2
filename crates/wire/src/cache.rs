//! What edges keep of the answers of a site's upstreams.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Which kept answers of a site are to go. Exactly one of the fields is given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PurgeCache {
    /// All of them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub all: bool,
    /// Those to one URL with exactly this query, or to one path under every host of the site.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Those to URLs, or paths, that begin so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Those to which the upstream gave one of these tags in `Cache-Tag` or `Surrogate-Key`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// What was purged.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CachePurged {
    /// How many answers went, on all nodes.
    pub purged: u64,
    /// The same for each node.
    pub nodes: Vec<NodePurged>,
}

/// What was purged on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodePurged {
    /// The node.
    pub node: String,
    /// How many answers went.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub purged: Option<u64>,
    /// Why nothing was purged there, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// What is kept of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CacheView {
    /// The same for each node.
    pub nodes: Vec<NodeCache>,
}

/// What is kept of a site on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeCache {
    /// The node.
    pub node: String,
    /// The number of kept answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// The memory in bytes that they take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// The memory in bytes that those of all sites take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub used: Option<u64>,
    /// The memory in bytes that they may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capacity: Option<u64>,
    /// Requests since the edge started, by what the cache did: `hit`, `stale`, `stale_if_error`,
    /// `revalidated`, `miss`, `bypass`, `only_if_cached`.
    pub requests: BTreeMap<String, u64>,
    /// Why nothing is known, where that is so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
