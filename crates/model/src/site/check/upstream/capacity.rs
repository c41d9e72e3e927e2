//! How much an upstream takes at once: maxima, the queue before them, buffers and connections.

use super::{
    Checked, Faulty,
    values::{self, Said},
};
use crate::{
    ByteSize, FieldPath, FindingCode, Findings, Seconds,
    site::{
        Pool, Queue, UpstreamProtocol, defaults,
        spec::{PoolSpec, QueueSettingsSpec, QueueSpec, SwitchableSizeSpec, UpstreamSpec},
    },
};

const QUEUE_LENGTH: [u32; 2] = [1, 100_000];
const QUEUE_TIMEOUT: [Seconds; 2] = [Seconds(1), Seconds(600)];
/// Every request may hold as much memory.
const BUFFER: [ByteSize; 2] = [ByteSize(0), ByteSize(64_000_000)];
const MAX_IDLE: [u32; 2] = [0, 10_000];
const IDLE_TIMEOUT: [Seconds; 2] = [Seconds(1), Seconds(3_600)];
const MAX_CONNECTIONS: [u32; 2] = [1, 100_000];
const MAX_REQUESTS: [u32; 2] = [1, u32::MAX];

/// How much an upstream takes at once, and what happens to more.
pub(super) struct Capacity {
    pub(super) max_in_flight: Option<u32>,
    pub(super) per_target: Option<u32>,
    pub(super) queue: Option<Queue>,
}

/// Reads how many requests may be in flight, and where more of them wait.
pub(super) fn read(
    spec: &UpstreamSpec,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Capacity> {
    let max_in_flight = maximum(spec.max_in_flight, &path.key("max_in_flight"), findings);
    let per_target_path = path.key("max_in_flight_per_target");
    let per_target = maximum(spec.max_in_flight_per_target, &per_target_path, findings);
    let queue_path = path.key("queue");
    let queue = queue(spec.queue.as_ref(), &queue_path, findings);
    let (max_in_flight, per_target) = (max_in_flight?, per_target?);
    let queue = queue?;
    let is_bounded = max_in_flight.is_some() || per_target.is_some();
    if matches!(queue, Said::On(_)) && !is_bounded {
        findings
            .error(FindingCode::Conflict, &queue_path, "without a maximum nothing ever waits")
            .remedy("add `max_in_flight` or `max_in_flight_per_target`, or remove `queue`");
        return Err(Faulty);
    }
    let queue = queue.or(Queue::usual(max_in_flight, per_target));
    Ok(Capacity { max_in_flight, per_target, queue })
}

fn maximum(limit: Option<u32>, path: &FieldPath, findings: &mut Findings) -> Checked<Option<u32>> {
    if limit != Some(0) {
        return Ok(limit);
    }
    findings
        .error(FindingCode::InvalidValue, path, "with 0 every request would be answered 503")
        .remedy("write a number from 1, or remove the field for no limit");
    Err(Faulty)
}

fn queue(
    spec: Option<&QueueSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Said<Queue>> {
    let QueueSettingsSpec { length, timeout } = match spec {
        None => return Ok(Said::Nothing),
        Some(QueueSpec::Enabled(false)) => return Ok(Said::Off),
        Some(QueueSpec::Enabled(true)) => return Ok(Said::On(Queue::default())),
        Some(QueueSpec::Settings(settings)) => settings,
    };
    let length_path = path.key("length");
    let length =
        values::count_or(*length, defaults::QUEUE_LENGTH, QUEUE_LENGTH, &length_path, findings);
    let timeout = values::duration_or(
        timeout.as_ref(),
        defaults::QUEUE_TIMEOUT,
        QUEUE_TIMEOUT,
        &path.key("timeout"),
        findings,
    );
    Ok(Said::On(Queue { length: length?, timeout: timeout? }))
}

/// Reads the size up to which bodies are read before a target is taken.
pub(super) fn buffer(
    spec: Option<&SwitchableSizeSpec>,
    protocol: UpstreamProtocol,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<ByteSize> {
    values::switchable_size_or(spec, defaults::buffer(protocol), BUFFER, path, findings)
}

/// Reads how connections are kept.
pub(super) fn pool(
    spec: Option<&PoolSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Pool> {
    let usual = Pool::default();
    let Some(spec) = spec else {
        return Ok(usual);
    };
    let max_idle =
        values::count_or(spec.max_idle, usual.max_idle, MAX_IDLE, &path.key("max_idle"), findings);
    let idle_timeout = values::duration_or(
        spec.idle_timeout.as_ref(),
        usual.idle_timeout,
        IDLE_TIMEOUT,
        &path.key("idle_timeout"),
        findings,
    );
    let mut optional = |count: Option<u32>, bounds, name: &str| {
        let path = path.key(name);
        count.map(|count| values::count_or(Some(count), count, bounds, &path, findings)).transpose()
    };
    let max_connections = optional(spec.max_connections, MAX_CONNECTIONS, "max_connections");
    let max_requests = optional(spec.max_requests, MAX_REQUESTS, "max_requests");
    Ok(Pool {
        max_idle: max_idle?,
        idle_timeout: idle_timeout?,
        max_connections: max_connections?,
        max_requests: max_requests?,
    })
}
