//! Requests by which a deployment of a site is proven.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{BodyMatch, StatusRange};
use crate::Seconds;

/// A request that every deployment of the site must leave no worse than it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteProbe {
    /// The host that is asked for, as a request and a handshake name it.
    pub host: String,
    /// Whether it is asked over TLS.
    pub over_tls: bool,
    /// The path with its query.
    pub path: String,
    /// The statuses that are good.
    pub statuses: Vec<StatusRange>,
    /// What the body must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyMatch>,
    /// How long an answer may take.
    pub timeout: Seconds,
    /// How often it is asked until an answer is good.
    pub tries: u32,
}

impl SiteProbe {
    /// Returns what is asked for, as one would type it.
    pub fn url(&self) -> String {
        let scheme = if self.over_tls { "https" } else { "http" };
        format!("{scheme}://{}{}", self.host, self.path)
    }
}

/// What is asked, and what must come.
impl fmt::Display for SiteProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let statuses: Vec<_> = self.statuses.iter().map(ToString::to_string).collect();
        write!(f, "{} answers {}", self.url(), statuses.join(" or "))?;
        match &self.body {
            None => Ok(()),
            Some(BodyMatch::Contains(text)) => write!(f, " with `{}`", text.escape_debug()),
            Some(BodyMatch::Regex(pattern)) => write!(f, " with `~{}`", pattern.escape_debug()),
        }
    }
}
