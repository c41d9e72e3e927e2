//! Kept answers as an operator writes them.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationSpec, SizeSpec};

/// `true`, `false`, how long answers are fresh that say nothing of it, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CacheSpec {
    /// Answers are kept as long as they say, or nothing is kept.
    Enabled(bool),
    /// Seconds for which answers are fresh that say nothing of it.
    Seconds(u64),
    /// A duration such as `10m`.
    Text(String),
    /// Settings.
    Settings(Box<CacheSettingsSpec>),
}

/// Which answers of an upstream are kept, and for how long. Only GET and HEAD are answered from what
/// is kept. What sets a cookie, what is `private` or `no-store`, and what answers a request with
/// `Authorization` or cookies without saying that it is for everybody, is never kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheSettingsSpec {
    /// How long answers of the statuses 200, 203, 301 and 308 are fresh that say nothing of it
    /// (default: they are not kept).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationSpec>,
    /// The same for other statuses, or ranges of them: `{404: 1m, "500-599": 5s}`.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub statuses: IndexMap<String, DurationSpec>,
    /// Let `ttl` and `statuses` count also where an answer says another time (default `false`).
    /// `private`, `no-store`, `Set-Cookie` and `Vary` count all the same.
    #[serde(rename = "override", skip_serializing_if = "Option::is_none")]
    pub overrides: Option<bool>,
    /// How long after its time an answer may still be given while a new one is fetched, where it does
    /// not say so itself (default `0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_while_revalidate: Option<DurationSpec>,
    /// How long after its time an answer may still be given while the upstream fails, where it does
    /// not say so itself (default `0`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stale_if_error: Option<DurationSpec>,
    /// Requests that the cache has nothing to do with.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass: Option<CacheBypassSpec>,
    /// What sets answers apart, beside the URL and what they name in `Vary`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<CacheKeySpec>,
    /// Cookies that say nothing of who asks: `true` for all of them, or their names (default: every
    /// cookie makes a request somebody's own, whose answer is kept only where it is `public`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ignore_cookies: Option<IgnoredCookiesSpec>,
    /// The largest body that is kept (default `10MB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_object: Option<SizeSpec>,
    /// How long requests wait for the answer that another one fetches already; then they ask
    /// themselves (default `5s`, 0 for not at all).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wait: Option<DurationSpec>,
    /// Say in the header `Cache-Status` also why something was not kept (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub debug: Option<bool>,
}

/// Requests that a cache has nothing to do with: those with one of these cookies or headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheBypassSpec {
    /// Names of cookies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Names of headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

/// What sets kept answers apart, beside the URL and what they name in `Vary`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CacheKeySpec {
    /// Names of headers whose values count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Names of cookies whose values count.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// What of the query counts: `all` (the default), `none`, or names of parameters. What does not
    /// count is not passed on to the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub query: Option<CacheQuerySpec>,
}

/// A word, or names of parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum CacheQuerySpec {
    /// `all` or `none`.
    Word(String),
    /// Names of parameters.
    Listed(Vec<String>),
}

/// All cookies, or those of these names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum IgnoredCookiesSpec {
    /// `true`: all of them.
    All(bool),
    /// Their names.
    Listed(Vec<String>),
}
