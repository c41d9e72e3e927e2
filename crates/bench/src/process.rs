//! Processes that were started here: what memory they take, and how they are ended.

use std::{fs, time::Duration};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use tokio::time::Instant;

/// How often a condition is looked at.
pub(crate) const EVERY: Duration = Duration::from_millis(10);

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
