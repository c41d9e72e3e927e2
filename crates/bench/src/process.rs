//! Processes that were started here: what memory they take, and how they are ended.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

/// How often a condition is looked at.
pub(crate) const EVERY: Duration = Duration::from_millis(10);

/// In how many parts Linux counts a second of a process (`USER_HZ`, the same wherever it runs).
const TICKS: u32 = 100;

/// How often a family is read whose members come and go.
const TRIES: usize = 20;

/// How much memory a process takes, in KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Memory {
    /// Resident, shared pages included.
    pub(crate) rss: u64,
    /// Resident, each shared page divided by those who share it.
    pub(crate) pss: u64,
}

impl Memory {
    /// Reads what a process takes now.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let path = format!("/proc/{pid}/smaps_rollup");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let field = |name| kib(&text, name).with_context(|| format!("{path} has no {name}"));
        Ok(Self { rss: field("Rss:")?, pss: field("Pss:")? })
    }
}

/// How much time of cores a process and its children have spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CpuTime(Duration);

impl CpuTime {
    /// Reads what a process and its children have spent by now, those that have ended included.
    pub(crate) fn of(pid: u32) -> anyhow::Result<Self> {
        let mut ticks = 0;
        for pid in family(pid)? {
            let path = format!("/proc/{pid}/stat");
            let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
            ticks += spent(&text).with_context(|| format!("{path} has no times"))?;
        }
        Ok(Self(Duration::from_secs(ticks) / TICKS))
    }

    /// Reads what a process and its children have spent by now, where children come and go meanwhile.
    pub(crate) fn of_changing(pid: u32) -> anyhow::Result<Duration> {
        let mut last = Self::of(pid);
        for _ in 1..TRIES {
            if let Ok(spent) = last {
                return Ok(spent.0);
            }
            last = Self::of(pid);
        }
        last.map(|spent| spent.0)
    }

    /// Returns what was spent since another time.
    pub(crate) fn since(self, before: Self) -> Duration {
        self.0.saturating_sub(before.0)
    }
}

/// Reads user and system time, of the process and of children that it waited for (proc(5)).
fn spent(stat: &str) -> Option<u64> {
    // The name in brackets may hold anything.
    let (_, fields) = stat.rsplit_once(") ")?;
    let times = fields.split(' ').skip(11).take(4);
    times.map(|ticks| ticks.parse::<u64>().ok()).sum()
}

/// Returns a process and its descendants.
pub(crate) fn family(pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut all = vec![pid];
    let mut next = 0;
    while let Some(pid) = all.get(next).copied() {
        next += 1;
        for task in fs::read_dir(format!("/proc/{pid}/task"))? {
            // A thread may end meanwhile.
            let children = fs::read_to_string(task?.path().join("children")).unwrap_or_default();
            all.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
        }
    }
    Ok(all)
}

fn kib(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Sends a signal; a process that is gone has its will.
pub(crate) fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    match kill_process(id(pid)?, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error).with_context(|| format!("cannot signal process {pid}")),
    }
}

/// Asks a process to end, waits, and kills it when it takes too long.
pub(crate) async fn end(pid: u32, patience: Duration) -> anyhow::Result<()> {
    signal(pid, Signal::TERM)?;
    let deadline = Instant::now() + patience;
    while is_alive(pid)? {
        if Instant::now() >= deadline {
            return signal(pid, Signal::KILL);
        }
        tokio::time::sleep(EVERY).await;
    }
    Ok(())
}

fn is_alive(pid: u32) -> anyhow::Result<bool> {
    if test_kill_process(id(pid)?).is_err() {
        return Ok(false);
    }
    // One that ended and was not waited for yet has no memory.
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    Ok(kib(&status, "VmRSS:").is_some())
}

fn id(pid: u32) -> anyhow::Result<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw).context("no process id")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_of_this_process_is_known() {
        let memory = Memory::of(std::process::id()).unwrap();
        assert!(memory.rss >= memory.pss && memory.pss > 0, "{memory:?}");
    }

    #[test]
    fn time_is_read_of_a_process_with_an_odd_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 9 8 7 6 12 30 2 1 20 0 5 0 99";
        assert_eq!(spent(stat), Some(45));
        let before = CpuTime::of(std::process::id()).unwrap();
        let mut sum = 0_u64;
        while CpuTime::of(std::process::id()).unwrap().since(before) < Duration::from_millis(20) {
            sum = std::hint::black_box(sum + 1);
        }
    }

    #[test]
    fn children_belong_to_the_family() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        assert!(family(std::process::id()).unwrap().contains(&child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[tokio::test]
    async fn a_process_that_ignores_its_end_is_killed() {
        let mut child = tokio::process::Command::new("sh")
            .args(["-c", "trap '' TERM; echo ready; while :; do read -r _; done"])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut ready = [0; 6];
        let mut out = child.stdout.take().unwrap();
        tokio::io::AsyncReadExt::read_exact(&mut out, &mut ready).await.unwrap();
        end(child.id().unwrap(), Duration::from_millis(50)).await.unwrap();
        let status = child.wait().await.unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(9));
    }
}
