//! Memory and descriptors of a process over time, and whether they stay as they are.

use std::{fmt, fs, path::PathBuf, time::Duration};

use anyhow::Context as _;

use super::tally::float;

/// What is seen before does not count: one third of the run, and no more than this.
const LONGEST_WARM_UP: Duration = Duration::from_secs(600);
/// How much more memory a process may take at the end than after it was warm, in KiB.
const MEMORY: u64 = 4 * 1024;
/// How many KiB more for each KiB by which its database grew: SQLite keeps pages in memory, up to 16 MiB
/// for each connection, and the history of the sites grows with each change.
const MEMORY_OF_HISTORY: u64 = 2;
/// How many more descriptors a process may hold.
const DESCRIPTORS: u64 = 12;

/// What a process takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Usage {
    /// Resident memory, in KiB.
    memory: u64,
    /// Open descriptors.
    descriptors: u64,
    /// The size of its database in KiB; nothing where it has none of its own.
    database: u64,
}

/// How something went after the process was warm.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Trend {
    /// The median of the first fifth of the time.
    pub first: u64,
    /// The median of the last fifth.
    pub last: u64,
    /// The most.
    pub most: u64,
    /// How much it grew in an hour, from the middle of the first fifth to the middle of the last.
    pub hourly: f64,
}

/// How a process went.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// Its resident memory, in KiB.
    pub memory: Trend,
    /// Its open descriptors.
    pub descriptors: Trend,
    /// The size of its database file, in KiB.
    pub database: Trend,
    /// How many it held before the first request.
    pub before: u64,
    /// How many it held when the last client had been gone for a while.
    pub after: u64,
}

/// Looks at a process.
#[derive(Debug)]
pub(super) struct Watch {
    pid: u32,
    database: Option<PathBuf>,
    warm: Duration,
    seen: Vec<(Duration, Usage)>,
    before: u64,
    latest: Usage,
}

impl Usage {
    fn of(pid: u32, database: Option<&PathBuf>) -> anyhow::Result<Self> {
        let status = format!("/proc/{pid}/status");
        let text = fs::read_to_string(&status).with_context(|| format!("cannot read {status}"))?;
        let memory = resident(&text).with_context(|| format!("{status} tells no memory"))?;
        let folder = format!("/proc/{pid}/fd");
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {folder}"))?;
        let descriptors = u64::try_from(entries.count())?;
        let file = database.map(fs::metadata).transpose().context("the database is gone")?;
        Ok(Self { memory, descriptors, database: file.map_or(0, |file| file.len() / 1024) })
    }
}

fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

impl Watch {
    /// Returns a watch for a run of this length, of a process and of the database that it may have.
    pub(super) fn new(pid: u32, database: Option<PathBuf>, run: Duration) -> Self {
        let latest = Usage { memory: 0, descriptors: 0, database: 0 };
        let warm = (run / 3).min(LONGEST_WARM_UP);
        Self { pid, database, warm, seen: Vec::new(), before: 0, latest }
    }

    /// Notes what the process holds before anything is done.
    pub(super) fn begin(&mut self) -> anyhow::Result<()> {
        self.latest = Usage::of(self.pid, self.database.as_ref())?;
        self.before = self.latest.descriptors;
        Ok(())
    }

    /// Looks at the process, this long after the first request.
    pub(super) fn look(&mut self, at: Duration) -> anyhow::Result<()> {
        self.latest = Usage::of(self.pid, self.database.as_ref())?;
        if at >= self.warm {
            self.seen.push((at, self.latest));
        }
        Ok(())
    }

    /// Tells whether the process holds no more than before anything was done.
    pub(super) fn has_let_go(&mut self) -> anyhow::Result<bool> {
        self.latest = Usage::of(self.pid, self.database.as_ref())?;
        Ok(self.latest.descriptors <= self.before + DESCRIPTORS)
    }

    /// Returns what was seen.
    pub(super) fn end(self) -> Process {
        let trend = |value: fn(&Usage) -> u64| {
            Trend::of(&self.seen.iter().map(|(at, usage)| (*at, value(usage))).collect::<Vec<_>>())
        };
        Process {
            memory: trend(|usage| usage.memory),
            descriptors: trend(|usage| usage.descriptors),
            database: trend(|usage| usage.database),
            before: self.before,
            after: self.latest.descriptors,
        }
    }
}

impl fmt::Display for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} KiB, {} descriptors", self.latest.memory, self.latest.descriptors)
    }
}

impl Trend {
    fn of(seen: &[(Duration, u64)]) -> Self {
        let fifth = (seen.len() / 5).max(1);
        let (first, last) = (
            middle(seen.iter().copied().take(fifth)),
            middle(seen.iter().copied().rev().take(fifth)),
        );
        let hours = last.0.saturating_sub(first.0).as_secs_f64() / 3600.0;
        let grown = float(last.1) - float(first.1);
        Self {
            first: first.1,
            last: last.1,
            most: seen.iter().map(|(_, value)| *value).max().unwrap_or(0),
            hourly: if hours > 0.0 { grown / hours } else { 0.0 },
        }
    }

    /// Returns how much it grew.
    pub fn grown(&self) -> u64 {
        self.last.saturating_sub(self.first)
    }
}

/// Returns the median of the times, and that of the values.
fn middle(seen: impl Iterator<Item = (Duration, u64)>) -> (Duration, u64) {
    let (mut times, mut values): (Vec<_>, Vec<_>) = seen.unzip();
    times.sort_unstable();
    values.sort_unstable();
    let median = times.len() / 2;
    (
        times.get(median).copied().unwrap_or_default(),
        values.get(median).copied().unwrap_or_default(),
    )
}

impl Process {
    /// Returns what is wrong.
    pub(super) fn faults(&self) -> Vec<String> {
        let mut faults = Vec::new();
        let Self { memory, descriptors, database, before, after } = self;
        let fine = MEMORY + MEMORY_OF_HISTORY * database.grown();
        if memory.grown() > fine {
            faults.push(format!(
                "memory grew from {} to {} KiB after it was warm; at most {fine} KiB more are fine",
                memory.first, memory.last
            ));
        }
        if descriptors.grown() > DESCRIPTORS {
            faults.push(format!(
                "descriptors grew from {} to {}; at most {DESCRIPTORS} more are fine",
                descriptors.first, descriptors.last
            ));
        }
        if *after > before + DESCRIPTORS {
            faults.push(format!(
                "{after} descriptors are held after the last client has gone, {before} before the first"
            ));
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_this_process_takes_is_known() {
        let one = Usage::of(std::process::id(), None).unwrap();
        let file = fs::File::open("/proc/self/status").unwrap();
        let two = Usage::of(std::process::id(), None).unwrap();
        drop(file);
        assert!(one.memory > 100 && two.descriptors > 0, "{one:?} {two:?}");
    }

    fn of(values: impl Fn(u64) -> u64) -> Trend {
        Trend::of(&(0..3600).map(|at| (Duration::from_secs(at), values(at))).collect::<Vec<_>>())
    }

    #[test]
    fn a_leak_is_told_and_what_swings_is_none() {
        let leak = of(|second| 10_000 + second * 2);
        assert!((leak.hourly - 7200.0).abs() < 5.0, "{leak:?}");
        assert_eq!(leak.grown(), 2 * 2880);
        let swings = of(|second| 10_000 + second % 50 * 100);
        assert!(swings.grown() < 200 && swings.most == 14_900, "{swings:?}");
        let flat = of(|_| 40);
        let process =
            Process { memory: leak, descriptors: flat, database: flat, before: 5, after: 30 };
        let faults = process.faults();
        assert_eq!(faults.len(), 2, "{faults:?}");
        assert!(faults[0].contains("memory grew") && faults[1].contains("30 descriptors"));
        let history = Process { database: of(|second| 500 + second / 2), after: 5, ..process };
        assert_eq!(history.faults(), [""; 0], "pages of a history that grows are kept");
    }

    #[test]
    fn what_is_seen_while_it_warms_up_does_not_count() {
        let mut watch = Watch::new(std::process::id(), None, Duration::from_secs(30));
        watch.begin().unwrap();
        for second in [0, 9, 10, 11] {
            watch.look(Duration::from_secs(second)).unwrap();
        }
        assert_eq!(watch.seen.len(), 2);
        assert!(watch.end().before > 0);
    }
}
