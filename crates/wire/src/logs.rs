//! Access and error logs of sites.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// Which log lines are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct LogQuery {
    /// The log's name, as the route names it; all when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
    /// Errors instead of requests.
    pub errors: bool,
    /// At most this many lines, the newest (1 to 10000, default 100).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 10000)]
    pub lines: Option<u32>,
    /// Not before: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Not after: RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// A status (`404`) or a class (`5xx`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// One request.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Of this node alone; of the managers' edges and of every node of the site when it is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Stay connected and send lines as they are written, as server-sent events.
    pub follow: bool,
}

/// A log line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLine {
    /// The site.
    pub site: String,
    /// The log.
    pub log: String,
    /// The line as it was written; where another engine wrote it, as the edge would have.
    pub line: String,
    /// The node, where it is not an edge of a manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Instead of a line: why the logs of the node cannot be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Log lines, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// The lines.
    pub lines: Vec<LogLine>,
    /// The nodes whose logs cannot be read.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<LogProblem>,
}

/// A node whose logs cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LogProblem {
    /// The node.
    pub node: String,
    /// Why.
    pub problem: String,
}

/// Which lines of the log of a node's engine are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct EngineLogQuery {
    /// At most this many lines, the last (1 to 10000, default 100).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 10000)]
    pub lines: Option<u32>,
    /// Stay connected and send lines as they are written, as server-sent events.
    pub follow: bool,
}
