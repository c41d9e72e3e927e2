//! A site that is being worked on.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Seconds;

/// While it is there, every request is answered 503.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// What visitors read.
    pub message: String,
    /// When they may come again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Seconds>,
    /// Networks for which the site works all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
}
