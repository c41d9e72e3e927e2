//! From readings to numbers: what needs two readings, and what is not known and since when.

use jiff::Timestamp;
use portway_model::node::{Measured, Measures, Quantity};

use crate::sample::{Cpu, Disk, Folder, Sample, Seen};

/// Returns what a reading says. `last` is the last one before it that said something, `known` what was
/// known before. `certificate` is when the first certificate of the sites there ends.
pub fn measures(
    last: Option<&Sample>,
    known: Option<&Measures>,
    sample: &Sample,
    certificate: Seen<Timestamp>,
) -> Measures {
    let told = |(quantity, value): (Quantity, Seen<f64>)| {
        let measured = match value {
            Ok(value) => Measured::Known { value, at: sample.at },
            Err(why) => unknown(known, quantity, why, sample.at),
        };
        (quantity, measured)
    };
    values(last, sample, certificate).into_iter().map(told).collect()
}

/// Returns that nothing is known, and why.
pub fn unseen(before: Option<&Measures>, why: &str, now: Timestamp) -> Measures {
    let told = |quantity| (quantity, unknown(before, quantity, why.to_owned(), now));
    Quantity::ALL.into_iter().map(told).collect()
}

fn unknown(
    before: Option<&Measures>,
    quantity: Quantity,
    unknown: String,
    now: Timestamp,
) -> Measured {
    let since = match before.and_then(|known| known.get(&quantity)) {
        Some(Measured::Unknown { since, .. }) => *since,
        Some(Measured::Known { .. }) | None => now,
    };
    Measured::Unknown { unknown, since }
}

fn values(
    last: Option<&Sample>,
    sample: &Sample,
    certificate: Seen<Timestamp>,
) -> Vec<(Quantity, Seen<f64>)> {
    use Quantity as Q;
    let load = |index: usize| {
        let load = sample.load.as_ref().map_err(Clone::clone)?;
        load.get(index).copied().ok_or_else(|| "it is not told".to_owned())
    };
    let memory = sample.memory.as_ref().map_err(Clone::clone);
    let network = sample.network.as_ref().map_err(Clone::clone);
    let service = sample.service.as_ref().map_err(Clone::clone);
    let since = |at: Timestamp| sample.at.duration_since(at).as_secs_f64();
    let received =
        |of: &Sample| of.network.as_ref().map(|traffic| traffic.received).map_err(Clone::clone);
    let sent = |of: &Sample| of.network.as_ref().map(|traffic| traffic.sent).map_err(Clone::clone);
    let mut values = vec![
        (Q::CpuPercent, cpu(last, sample)),
        (Q::Load1, load(0)),
        (Q::Load5, load(1)),
        (Q::Load15, load(2)),
        (Q::MemoryTotal, memory.clone().map(|memory| number(memory.total))),
        (Q::MemoryAvailable, memory.map(|memory| number(memory.available))),
        (Q::NetworkReceived, network.clone().map(|traffic| number(traffic.received))),
        (Q::NetworkSent, network.map(|traffic| number(traffic.sent))),
        (Q::NetworkReceivedRate, rate(last, sample, received)),
        (Q::NetworkSentRate, rate(last, sample, sent)),
        (Q::Uptime, sample.uptime.clone()),
        (Q::ClockAhead, sample.clock.clone()),
        (Q::ServiceUp, service.clone().map(|service| if service.running { 1.0 } else { 0.0 })),
        (
            Q::ServiceTime,
            service.and_then(|service| {
                service.since.map(since).ok_or_else(|| "since when is not told there".to_owned())
            }),
        ),
        (Q::Connections, sample.counts.connections.clone().map(number)),
        (Q::Requests, sample.counts.requests.clone().map(number)),
        (Q::RequestsRate, rate(last, sample, |of| of.counts.requests.clone())),
        (Q::CertificateLeft, certificate.map(|end| -since(end))),
    ];
    for (folder, total, free) in [
        (Folder::Home, Q::HomeTotal, Q::HomeFree),
        (Folder::Logs, Q::LogsTotal, Q::LogsFree),
        (Folder::Root, Q::RootTotal, Q::RootFree),
    ] {
        let disk = sample.disks.get(&folder).cloned();
        let disk: Seen<Disk> = disk.unwrap_or_else(|| Err("it was not looked at".to_owned()));
        values.push((total, disk.clone().map(|disk| number(disk.total))));
        values.push((free, disk.map(|disk| number(disk.free))));
    }
    values
}

/// How much of the time between two readings the processors were busy, in percent.
fn cpu(last: Option<&Sample>, sample: &Sample) -> Seen<f64> {
    let now = sample.cpu.clone()?;
    let last = last.ok_or_else(needs_two)?.cpu.clone().map_err(|_| needs_two())?;
    let difference = |of: fn(&Cpu) -> u64| of(&now).checked_sub(of(&last));
    match (difference(|cpu| cpu.busy), difference(|cpu| cpu.total)) {
        (Some(busy), Some(total)) if total > 0 => Ok(number(busy) / number(total) * 100.0),
        (Some(_), Some(_)) => Err(needs_two()),
        (_, _) => Err("the machine was started anew since the reading before".to_owned()),
    }
}

/// How much a counter grew each second between two readings.
fn rate(
    last: Option<&Sample>,
    sample: &Sample,
    counter: impl Fn(&Sample) -> Seen<u64>,
) -> Seen<f64> {
    let now = counter(sample)?;
    let last = last.ok_or_else(needs_two)?;
    let before = counter(last).map_err(|_| needs_two())?;
    let seconds = sample.at.duration_since(last.at).as_secs_f64();
    match now.checked_sub(before) {
        Some(grown) if seconds > 0.0 => Ok(number(grown) / seconds),
        Some(_) => Err(needs_two()),
        None => Err("it began to count anew since the reading before".to_owned()),
    }
}

fn needs_two() -> String {
    "two readings are needed to tell".to_owned()
}

#[expect(clippy::cast_precision_loss, reason = "beyond 2^53 the last digits do not matter")]
const fn number(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests;
