//! One reading of a node, and how what the machine says is read.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_engine::Counts;

use crate::{
    sections::{Sections, unreadable},
    service::{self, Service},
};

/// What was seen, or why nothing was.
pub type Seen<T> = Result<T, String>;

/// One reading of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// When it was read.
    pub at: Timestamp,
    /// What the processors did since the machine started.
    pub cpu: Seen<Cpu>,
    /// The load of the last minute, five and fifteen minutes.
    pub load: Seen<[f64; 3]>,
    /// The memory.
    pub memory: Seen<Memory>,
    /// The disks, by what lies on them.
    pub disks: BTreeMap<Folder, Seen<Disk>>,
    /// What went over the network.
    pub network: Seen<Traffic>,
    /// The seconds since the machine started.
    pub uptime: Seen<f64>,
    /// The seconds by which its clock is ahead of the manager's.
    pub clock: Seen<f64>,
    /// The engine as a service.
    pub service: Seen<Service>,
    /// What the engine counts.
    pub counts: Counts,
    /// The release that the engine says it serves.
    pub answer: Seen<String>,
    /// Whether somebody listens on the ports that the engine should have.
    pub ports: Vec<(u16, Seen<()>)>,
    /// Whether the node's SSH server lets nobody reach what listens there.
    pub forbids_forwarding: bool,
}

/// What the processors did, in ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu {
    /// Time in which something was done, or the host kept it for others.
    pub busy: u64,
    /// All time.
    pub total: u64,
}

/// Memory in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What the machine has.
    pub total: u64,
    /// What programs could still get.
    pub available: u64,
}

/// A disk, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disk {
    /// Its size.
    pub total: u64,
    /// What is left.
    pub free: u64,
}

/// What went over the network, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traffic {
    /// What arrived.
    pub received: u64,
    /// What was sent.
    pub sent: u64,
}

/// What a disk is looked at for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Folder {
    /// Portway's own folder.
    Home,
    /// The logs of sites.
    Logs,
    /// The machine's root.
    Root,
}

/// What the machine says, read.
pub(crate) struct Machine {
    pub(crate) time: Seen<i64>,
    pub(crate) cpu: Seen<Cpu>,
    pub(crate) load: Seen<[f64; 3]>,
    pub(crate) memory: Seen<Memory>,
    pub(crate) network: Seen<Traffic>,
    pub(crate) uptime: Seen<f64>,
    pub(crate) disks: Vec<Seen<Disk>>,
    pub(crate) service: Seen<Service>,
}

/// Reads what the reading script printed at `now`. `config` is the engine's own configuration.
pub(crate) fn machine(printed: &str, folders: &[&str], config: &str, now: Timestamp) -> Machine {
    let sections = Sections::of(printed);
    let read = |name: &str, parse: fn(&str) -> Option<_>| parsed(&sections, name, parse);
    Machine {
        time: parsed(&sections, "time", |text| text.trim().parse().ok()),
        cpu: parsed(&sections, "stat", cpu),
        load: read("load", load),
        memory: parsed(&sections, "memory", memory),
        network: parsed(&sections, "network", traffic),
        uptime: parsed(&sections, "uptime", first_number),
        disks: folders
            .iter()
            .map(|folder| parsed(&sections, &format!("disk {folder}"), disk))
            .collect(),
        service: service::read(&sections, config, now),
    }
}

fn parsed<T>(sections: &Sections<'_>, name: &str, parse: impl Fn(&str) -> Option<T>) -> Seen<T> {
    let text = sections.get(name)?;
    parse(text).ok_or_else(|| unreadable(name, text))
}

/// Reads `cpu  user nice system idle iowait irq softirq steal …`; what guests use is part of `user`.
fn cpu(text: &str) -> Option<Cpu> {
    let mut words = text.lines().next()?.split_whitespace();
    words.next().filter(|word| *word == "cpu")?;
    let ticks: Vec<u64> = words.take(8).map(str::parse).collect::<Result<_, _>>().ok()?;
    let [_, _, _, idle, waiting, ..] = ticks.as_slice() else { return None };
    let total: u64 = ticks.iter().sum();
    Some(Cpu { busy: total.checked_sub(idle + waiting)?, total })
}

fn load(text: &str) -> Option<[f64; 3]> {
    let mut numbers = text.split_whitespace().map(|word| word.parse::<f64>().ok());
    Some([numbers.next()??, numbers.next()??, numbers.next()??])
}

fn memory(text: &str) -> Option<Memory> {
    let line = |name: &str| {
        let rest = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Memory { total: line("MemTotal")?, available: line("MemAvailable")? })
}

/// Reads `/proc/net/dev`. Interfaces that only pass on what others carry are left out, so that nothing
/// is counted twice.
fn traffic(text: &str) -> Option<Traffic> {
    const INNER: [&str; 13] = [
        "lo", "veth", "docker", "br-", "virbr", "cni", "flannel", "cali", "ifb", "tun", "tap",
        "wg", "dummy",
    ];
    let mut all = Traffic { received: 0, sent: 0 };
    let mut lines = text.lines().filter(|line| line.contains(':')).peekable();
    lines.peek()?;
    for line in lines {
        let (name, numbers) = line.split_once(':')?;
        let name = name.trim();
        let numbers: Vec<u64> =
            numbers.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        if !INNER.iter().any(|inner| name.starts_with(inner)) {
            all.received += numbers.first()?;
            all.sent += numbers.get(8)?;
        }
    }
    Some(all)
}

fn first_number(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// Reads the last line of `df -P -k`.
fn disk(text: &str) -> Option<Disk> {
    let words: Vec<&str> = text.trim_end().lines().last()?.split_whitespace().collect();
    // A device may have spaces in its name; the path, on which it is, has none of ours.
    let percent = words.iter().rposition(|word| word.ends_with('%') || *word == "-")?;
    let number = |back: usize| {
        let at = percent.checked_sub(back)?;
        words.get(at)?.parse::<u64>().ok()?.checked_mul(1024)
    };
    Some(Disk { total: number(3)?, free: number(1)? })
}

#[cfg(test)]
mod tests;
