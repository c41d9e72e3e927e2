//! How one of several targets is chosen.

use serde::{Deserialize, Serialize};

use crate::Seconds;

/// How one of several targets is chosen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Balance {
    /// In turn, by weight, as evenly as can be.
    #[default]
    RoundRobin,
    /// The one with the fewest requests in flight for its weight.
    LeastRequests,
    /// The less busy one of two that are drawn by weight.
    TwoChoices,
    /// The same one for the same key, as long as it can be.
    Hash(HashKey),
}

/// What stays with one target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HashKey {
    /// The address of the client.
    Client,
    /// The value of a header, its name in lower case.
    Header(String),
    /// The value of a cookie.
    Cookie(String),
}

/// A cookie that keeps a client where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sticky {
    /// Its name.
    pub cookie: String,
    /// How long it is kept; nothing means until the browser is closed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
}
