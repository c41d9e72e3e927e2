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
    /// The line as it was written.
    pub line: String,
}

/// Log lines, oldest first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LogLines {
    /// The lines.
    pub lines: Vec<LogLine>,
}
