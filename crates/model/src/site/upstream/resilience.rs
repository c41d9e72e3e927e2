//! What keeps an upstream usable while something fails: ejection, retries, queues and pools.

use serde::{Deserialize, Serialize};

use super::StatusRange;
use crate::{Seconds, site::defaults};

/// When failures of requests take a target out for a while. What counts: no connection, no answer
/// in time, an answer that is none, and the statuses that are named here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ejection {
    /// How many failures.
    pub failures: u32,
    /// Within which time.
    pub within: Seconds,
    /// For how long the first time; each further time in a row takes longer.
    pub lasts: Seconds,
    /// Statuses that count as failures.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub statuses: Vec<StatusRange>,
}

/// When a request is tried again. Only what is safe is: nothing was sent, or the request may be
/// repeated and not a byte of the answer came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Retries {
    /// The most further attempts of one request; 0 means none.
    pub attempts: u32,
    /// Retries in percent of the requests of late; more are not made.
    pub budget: u8,
}

/// Where requests wait when as many are in flight as may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// The most that wait; more are answered 503 at once.
    pub length: u32,
    /// How long each waits at most.
    pub timeout: Seconds,
}

/// How connections to each target are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    /// The most idle connections.
    pub max_idle: u32,
    /// How long a connection may be idle.
    pub idle_timeout: Seconds,
    /// The most connections at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The most requests over one connection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

impl Retries {
    /// Returns the usual retries of an upstream with so many targets.
    pub fn usual(targets: usize) -> Self {
        let others = u32::try_from(targets.saturating_sub(1)).unwrap_or(u32::MAX);
        Self { attempts: others.min(defaults::RETRIES), budget: defaults::RETRY_BUDGET }
    }
}

impl Queue {
    /// Returns the usual queue: there is one where there is a maximum.
    pub fn usual(max_in_flight: Option<u32>, per_target: Option<u32>) -> Option<Self> {
        max_in_flight.or(per_target).map(|_| Self::default())
    }
}

impl Default for Ejection {
    fn default() -> Self {
        Self {
            failures: defaults::EJECT_FAILURES,
            within: defaults::EJECT_WITHIN,
            lasts: defaults::EJECT_FOR,
            statuses: Vec::new(),
        }
    }
}

impl Default for Queue {
    fn default() -> Self {
        Self { length: defaults::QUEUE_LENGTH, timeout: defaults::QUEUE_TIMEOUT }
    }
}

impl Default for Pool {
    fn default() -> Self {
        Self {
            max_idle: defaults::POOL_IDLE,
            idle_timeout: defaults::POOL_IDLE_TIMEOUT,
            max_connections: None,
            max_requests: None,
        }
    }
}
