//! Limits of requests as an operator writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `false`, a rate such as `100/min`, a limit with settings, or several of which each must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RateLimitSpec {
    /// `false`: none, also where the site says otherwise.
    Enabled(bool),
    /// The requests of a client's address in a time: `10/s`, `100/min`, `1000/h`, `5/10s`.
    Rate(String),
    /// A limit with settings.
    Settings(RateSettingsSpec),
    /// Several limits; each must hold.
    Several(Vec<OneRateSpec>),
}

/// A rate, or a limit with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum OneRateSpec {
    /// The requests of a client's address in a time.
    Rate(String),
    /// A limit with settings.
    Settings(RateSettingsSpec),
}

/// How many requests may come in a time; more are answered 429.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateSettingsSpec {
    /// How many in which time: `10/s`, `100/min`, `1000/h`, `5/10s`; up to 100,000 in up to a day.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<String>,
    /// How many at once after a pause, up to 100,000 (default: as many as `rate` names).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
    /// What is counted together: `client` (its address, the default), `{header: NAME}` or `site`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<CountedBySpec>,
    /// With `by: client`, the length of the IPv6 networks that are one client, a multiple of 8 from 32
    /// to 128 (default 64).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<u32>,
    /// Addresses and networks whose requests are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
    /// Only log and count what would be too much (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
    /// Tell in the headers `RateLimit` and `RateLimit-Policy` how much is left (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<bool>,
}

/// `false`, a number, or a limit with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ConnectionLimitSpec {
    /// `false`: none, also where the site says otherwise.
    Enabled(bool),
    /// The requests of a client's address that are answered at the same time.
    Most(u32),
    /// A limit with settings.
    Settings(ConnectionSettingsSpec),
}

/// How many requests may be answered at the same time; more are answered 429. Over HTTP/1.1 each has a
/// connection, over HTTP/2 a stream; connections on which nothing happens do not count.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ConnectionSettingsSpec {
    /// How many, 1 to 100,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub most: Option<u32>,
    /// What is counted together: `client` (its address, the default), `{header: NAME}` or `site`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<CountedBySpec>,
    /// With `by: client`, the length of the IPv6 networks that are one client, a multiple of 8 from 32
    /// to 128 (default 64).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ipv6_prefix: Option<u32>,
    /// Addresses and networks whose requests are not counted.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<String>,
    /// Only log and count what would be too much (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dry_run: Option<bool>,
}

/// A word, or a header.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CountedBySpec {
    /// `client` or `site`.
    Word(String),
    /// A header.
    Header(CountedHeaderSpec),
}

/// A header whose values are counted apart; requests without it are counted together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CountedHeaderSpec {
    /// Its name.
    pub header: String,
}
