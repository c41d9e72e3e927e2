//! An upstream as it is written into objects: what has its default is left out, so that objects are
//! small and an upstream without newer settings has the bytes it always had.

use serde::{Deserialize, Serialize};

use super::{
    Balance, ClientCertificate, Ejection, Health, HostHeader, Pool, ProxyProtocol, Queue, Retries,
    Sticky, Upstream, UpstreamProtocol, UpstreamTls, WeightedTarget,
};
use crate::{ByteSize, Seconds, site::Timeouts};

#[derive(Serialize, Deserialize)]
pub(super) struct UpstreamObject {
    targets: Vec<WeightedTarget>,
    protocol: UpstreamProtocol,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tls: Option<UpstreamTls>,
    host: HostHeader,
    timeouts: Timeouts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_in_flight: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_in_flight_per_target: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    queue: Option<Switch<Queue>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    client: Option<ClientCertificate>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    balance: Option<Balance>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sticky: Option<Sticky>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    health: Option<Health>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eject: Option<Switch<Ejection>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    slow_start: Option<Seconds>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retries: Option<Retries>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    buffer: Option<ByteSize>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pool: Option<Pool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy_protocol: Option<ProxyProtocol>,
}

/// A setting that can be off although it is on by default: `false`, or its value.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Switch<T> {
    Is(bool),
    On(T),
}

impl From<Upstream> for UpstreamObject {
    fn from(upstream: Upstream) -> Self {
        let usual = Upstream::new(upstream.targets.clone(), upstream.protocol);
        let queue = Queue::usual(upstream.max_in_flight, upstream.max_in_flight_per_target);
        Self {
            targets: upstream.targets,
            protocol: upstream.protocol,
            tls: upstream.tls,
            host: upstream.host,
            timeouts: upstream.timeouts,
            max_in_flight: upstream.max_in_flight,
            max_in_flight_per_target: upstream.max_in_flight_per_target,
            queue: Switch::unless_usual(upstream.queue, queue.as_ref()),
            client: upstream.client,
            balance: unless_usual(upstream.balance, &usual.balance),
            sticky: upstream.sticky,
            health: upstream.health,
            eject: Switch::unless_usual(upstream.eject, usual.eject.as_ref()),
            slow_start: unless_usual(upstream.slow_start, &usual.slow_start),
            retries: unless_usual(upstream.retries, &usual.retries),
            buffer: unless_usual(upstream.buffer, &usual.buffer),
            pool: unless_usual(upstream.pool, &usual.pool),
            proxy_protocol: upstream.proxy_protocol,
        }
    }
}

impl From<UpstreamObject> for Upstream {
    fn from(object: UpstreamObject) -> Self {
        let usual = Self::new(object.targets, object.protocol);
        let queue = Queue::usual(object.max_in_flight, object.max_in_flight_per_target);
        Self {
            tls: object.tls,
            client: object.client,
            host: object.host,
            timeouts: object.timeouts,
            balance: object.balance.unwrap_or(usual.balance),
            sticky: object.sticky,
            health: object.health,
            eject: Switch::or(object.eject, usual.eject),
            slow_start: object.slow_start.unwrap_or(usual.slow_start),
            retries: object.retries.unwrap_or(usual.retries),
            max_in_flight: object.max_in_flight,
            max_in_flight_per_target: object.max_in_flight_per_target,
            queue: Switch::or(object.queue, queue),
            buffer: object.buffer.unwrap_or(usual.buffer),
            pool: object.pool.unwrap_or(usual.pool),
            proxy_protocol: object.proxy_protocol,
            targets: usual.targets,
            protocol: usual.protocol,
        }
    }
}

fn unless_usual<T: PartialEq>(value: T, usual: &T) -> Option<T> {
    (value != *usual).then_some(value)
}

impl<T: PartialEq> Switch<T> {
    fn unless_usual(value: Option<T>, usual: Option<&T>) -> Option<Self> {
        if value.as_ref() == usual {
            return None;
        }
        Some(value.map_or(Self::Is(false), Self::On))
    }

    fn or(written: Option<Self>, usual: Option<T>) -> Option<T> {
        match written {
            None | Some(Self::Is(true)) => usual,
            Some(Self::Is(false)) => None,
            Some(Self::On(value)) => Some(value),
        }
    }
}
