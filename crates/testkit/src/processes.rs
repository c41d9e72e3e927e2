//! A table of processes that is a machine's own: whoever is in it sees nothing of all the others, as it is
//! on a machine of its own. Only root can make one.

use std::{
    fs,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

/// How long it may take to make one.
const PATIENCE: Duration = Duration::from_secs(20);
/// Its first process takes in the orphans, and waits.
const FIRST: &str = "while :; do sleep 60; done";

/// A process table. All that is in it ends when it is dropped.
#[derive(Debug)]
pub struct ProcessTable {
    keeper: Child,
    first: u32,
}

impl ProcessTable {
    /// Makes one.
    pub fn make() -> anyhow::Result<Self> {
        let keeper = Command::new("unshare")
            .args(["--fork", "--pid", "--mount-proc", "--kill-child", "sh", "-c", FIRST])
            .stdin(Stdio::null())
            .spawn()
            .context("`unshare` of util-linux is missing")?;
        let mut table = Self { keeper, first: 0 };
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(first) = table.ready() {
                table.first = first;
                return Ok(table);
            }
            if let Some(status) = table.keeper.try_wait()? {
                bail!("a process table cannot be made ({status}); it takes root");
            }
            if Instant::now() > end {
                bail!("a process table cannot be made in time");
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }

    /// Returns the words before a command that is to run in it.
    pub fn entering(&self) -> Vec<String> {
        let target = self.first.to_string();
        ["nsenter", "--target", &target, "--pid", "--mount", "--"].map(str::to_owned).to_vec()
    }

    /// Returns its first process, once that runs what it is there for.
    fn ready(&self) -> Option<u32> {
        let keeper = self.keeper.id();
        let children = fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children")).ok()?;
        let first = children.split_whitespace().next()?.parse().ok()?;
        let name = fs::read_to_string(format!("/proc/{first}/comm")).ok()?;
        (name.trim() == "sh").then_some(first)
    }
}

impl Drop for ProcessTable {
    fn drop(&mut self) {
        // With the first process all of them end, and the keeper waits for that.
        let _gone = match i32::try_from(self.first).ok().and_then(Pid::from_raw) {
            Some(first) => kill_process(first, Signal::KILL).map_err(Into::into),
            None => self.keeper.kill(),
        };
        let _ended = self.keeper.wait();
    }
}

/// Returns a command that begins with these words, where there are some.
pub(crate) fn command(before: &[String], program: &str) -> Command {
    match before {
        [] => Command::new(program),
        [first, rest @ ..] => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{nginx::Nginx, skip, sshd::SshdOptions};

    #[test]
    fn who_is_in_it_sees_its_own_alone() {
        const TEST: &str = "portway-testkit processes::tests::who_is_in_it_sees_its_own_alone";
        if !rustix::process::geteuid().is_root() {
            return skip::skip(TEST, "only root can make a process table").unwrap();
        }
        let table = ProcessTable::make().unwrap();
        let nginx = Nginx::start_in(Some(&table)).unwrap();
        let sshd = SshdOptions::default().within(&table).start().unwrap();

        let listed = command(&table.entering(), "ps").args(["-e", "-o", "comm="]).output().unwrap();

        let listed = String::from_utf8(listed.stdout).unwrap();
        for name in ["sh", "nginx", "sshd"] {
            assert!(listed.lines().any(|line| line == name), "{name}: {listed}");
        }
        let own = std::process::id().to_string();
        assert!(!fs::exists(format!("/proc/{}/root/proc/{own}/stat", table.first)).unwrap());
        let first = table.first;
        drop((sshd, nginx, table));
        assert!(!fs::exists(format!("/proc/{first}/stat")).unwrap(), "nothing is left");
    }
}
