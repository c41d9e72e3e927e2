//! Answers that are kept and given again (RFC 9111).

use serde::{Deserialize, Serialize};

use super::{StatusRange, defaults};
use crate::{ByteSize, Seconds};

/// Statuses by which an upstream judges a request: that it is malformed, too long, too early, or one of
/// too many.
const ABOUT_REQUEST: [u16; 16] =
    [400, 401, 407, 408, 411, 413, 414, 416, 417, 421, 425, 426, 428, 429, 431, 511];

/// Which answers of a route's upstream are kept, and for how long.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cache {
    /// How long an answer is fresh that says nothing of it; without, such an answer is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Seconds>,
    /// The same for answers with other statuses than those of success and of lasting redirects.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<StatusTtl>,
    /// Whether these times count also where an answer says another.
    #[serde(default, rename = "override", skip_serializing_if = "std::ops::Not::not")]
    pub overrides: bool,
    /// How long an answer may be given after its time while a new one is fetched.
    pub stale_while_revalidate: Seconds,
    /// How long an answer may be given after its time when there is no new one.
    pub stale_if_error: Seconds,
    /// Requests that the cache has nothing to do with.
    #[serde(default, skip_serializing_if = "CacheBypass::is_empty")]
    pub bypass: CacheBypass,
    /// What sets answers apart, beside the URL and what they name in `Vary`.
    #[serde(default, skip_serializing_if = "CacheKey::is_usual")]
    pub key: CacheKey,
    /// Which cookies make a request somebody's own.
    #[serde(default, skip_serializing_if = "CookieRule::is_usual")]
    pub cookies: CookieRule,
    /// The largest body that is kept.
    pub max_object: ByteSize,
    /// How long requests wait for the answer that another one fetches already.
    pub wait: Seconds,
    /// Whether `Cache-Status` also says why.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub debug: bool,
}

/// How long answers with some statuses are fresh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusTtl {
    /// The statuses.
    pub statuses: StatusRange,
    /// How long.
    pub ttl: Seconds,
}

/// Requests that pass a cache by: what they name need only be there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheBypass {
    /// Names of cookies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// Names of headers, in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
}

/// What sets answers apart, beside the URL and what they name in `Vary`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheKey {
    /// Names of headers, in lower case.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<String>,
    /// Names of cookies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cookies: Vec<String>,
    /// What of the query.
    pub query: CacheQuery,
}

/// What of a query sets answers apart. What does not is not passed on to the upstream either, so that
/// nothing can change an answer that is not part of what it is kept under.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheQuery {
    /// All of it, as it was sent.
    #[default]
    All,
    /// Nothing.
    None,
    /// Parameters of these names.
    Listed(Vec<String>),
}

/// Which cookies make a request somebody's own. The answer to such a request is kept, and a kept one
/// given to it, only where the answer says that it is for everybody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CookieRule {
    /// Any cookie.
    #[default]
    Any,
    /// Any but these.
    AllBut(Vec<String>),
    /// None.
    None,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl: None,
            statuses: Vec::new(),
            overrides: false,
            stale_while_revalidate: Seconds(0),
            stale_if_error: Seconds(0),
            bypass: CacheBypass::default(),
            key: CacheKey::default(),
            cookies: CookieRule::Any,
            max_object: defaults::CACHE_MAX_OBJECT,
            wait: defaults::CACHE_WAIT,
            debug: false,
        }
    }
}

impl Cache {
    /// Returns how long an answer with a status is fresh that says nothing of it. What a status says of
    /// one request, and not of its URL, has no such time: somebody could plant it for everybody.
    pub fn ttl_of(&self, status: u16) -> Option<Seconds> {
        if ABOUT_REQUEST.contains(&status) {
            return None;
        }
        let own = self.statuses.iter().find(|own| own.statuses.contains(status));
        let usual = || self.ttl.filter(|_| matches!(status, 200 | 203 | 301 | 308));
        own.map(|own| own.ttl).or_else(usual)
    }
}

impl CacheBypass {
    /// Tells whether it names nothing.
    pub fn is_empty(&self) -> bool {
        self.cookies.is_empty() && self.headers.is_empty()
    }
}

impl CacheKey {
    /// Tells whether it is the usual one: the whole URL and nothing beside it.
    pub fn is_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl CookieRule {
    /// Tells whether it is the usual one.
    pub fn is_usual(&self) -> bool {
        *self == Self::Any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_of_its_own_wins_over_the_usual_time() {
        let cache = Cache {
            ttl: Some(Seconds(600)),
            statuses: vec![
                StatusTtl { statuses: StatusRange::from_to(404, 404), ttl: Seconds(60) },
                StatusTtl { statuses: StatusRange::from_to(300, 399), ttl: Seconds(5) },
            ],
            ..Cache::default()
        };
        for (status, ttl) in
            [(200, Some(600)), (203, Some(600)), (301, Some(5)), (404, Some(60)), (500, None)]
        {
            assert_eq!(cache.ttl_of(status), ttl.map(Seconds), "{status}");
        }
        assert_eq!(Cache::default().ttl_of(200), None);
    }

    #[test]
    fn what_is_said_of_one_request_has_no_time() {
        let statuses = StatusRange::from_to(400, 499);
        let statuses = vec![StatusTtl { statuses, ttl: Seconds(60) }];
        let cache = Cache { statuses, ..Cache::default() };
        for (status, ttl) in
            [(404, Some(60)), (410, Some(60)), (400, None), (414, None), (429, None)]
        {
            assert_eq!(cache.ttl_of(status), ttl.map(Seconds), "{status}");
        }
    }
}
