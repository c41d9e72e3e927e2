//! What a record tells of the way of a request through the edge, where that was not the plain one:
//! over a kept connection to the first target that was asked.

use serde::{Deserialize, Serialize};

/// The way of a request through the edge.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Way {
    /// The stage that answered; nothing where a target did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stage: Option<Stage>,
    /// The stable name of what went wrong, as error pages and the error log have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// The network for whose sake the client's address was allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub network: Option<String>,
    /// The limit that it exceeded; where the limit is only tried out, it went on all the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<String>,
    /// How long its head took to arrive, where it did not come at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub head_ms: Option<f64>,
    /// How long the sites of its host took to load.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub load_ms: Option<f64>,
    /// How long its password took to check, where it was not remembered as right.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_ms: Option<f64>,
    /// How long it waited for the answer to another request for the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_ms: Option<f64>,
    /// How long its body was read before a target was taken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body_ms: Option<f64>,
    /// How long it waited for a disk, where files did not lie in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files_ms: Option<f64>,
    /// How long it waited in line for a place at a target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queued_ms: Option<f64>,
    /// How long the last connection that was made for it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connect_ms: Option<f64>,
    /// The targets that were asked and did not answer, in their order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed: Vec<Failed>,
    /// Why its answer was not kept, or the cache was passed by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncached: Option<String>,
}

/// A target that was asked and did not answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failed {
    /// The target.
    pub target: String,
    /// The stable name of what went wrong.
    pub code: String,
    /// What went wrong.
    pub reason: String,
    /// After how long.
    pub ms: f64,
}

/// A stage of a request, in the order in which they are passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stage {
    /// The request is read: one host and one path.
    Read,
    /// Methods that are never forwarded.
    Method,
    /// The host and its sites.
    Host,
    /// The size of the head.
    Head,
    /// Paths that programs read in different ways.
    Path,
    /// A connection that was made for another certificate.
    Connection,
    /// A site that an administrator blocked.
    Blocked,
    /// Plain HTTP that belongs to HTTPS.
    Https,
    /// A site that is being worked on.
    Maintenance,
    /// The route.
    Route,
    /// The client's address, then name and password.
    Access,
    /// How many requests may come, and at the same time.
    Limit,
    /// The size of the body.
    Body,
    /// What is kept of earlier answers.
    Cache,
    /// The action: an upstream.
    Upstream,
    /// The action: files.
    Files,
    /// The action: a redirect.
    Redirect,
    /// The action: a fixed answer.
    Respond,
}

impl Stage {
    /// Returns its name, as logs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Method => "method",
            Self::Host => "host",
            Self::Head => "head",
            Self::Path => "path",
            Self::Connection => "connection",
            Self::Blocked => "blocked",
            Self::Https => "https",
            Self::Maintenance => "maintenance",
            Self::Route => "route",
            Self::Access => "access",
            Self::Limit => "limit",
            Self::Body => "body",
            Self::Cache => "cache",
            Self::Upstream => "upstream",
            Self::Files => "files",
            Self::Redirect => "redirect",
            Self::Respond => "respond",
        }
    }
}
