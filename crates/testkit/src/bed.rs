//! Machines that are reached over SSH, made by `scripts/testbed/bed.sh`: each with users, network and
//! host key of its own.

use std::{
    fs::File,
    process::{Command, Output, Stdio},
};

use anyhow::{Context as _, anyhow, ensure};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::{
    fd::AsFd as _,
    thread::{LinkNameSpaceType, move_into_link_name_space},
};
use tempfile::TempDir;

use crate::skip::{repository, skip};

/// The user of each machine who is not root.
pub const USER: &str = "deploy";

/// Machines that run, numbered from 1, and a hub that reaches them. They end with this.
#[derive(Debug)]
pub struct Bed {
    folder: TempDir,
    base: Utf8PathBuf,
}

impl Bed {
    /// Starts machines. Nothing where this machine cannot, and the test may be left out.
    pub fn up(test: &str, count: u16) -> anyhow::Result<Option<Self>> {
        let check = Command::new(script()?).arg("check").stdin(Stdio::null()).output()?;
        if !check.status.success() {
            skip(test, String::from_utf8_lossy(&check.stderr).trim())?;
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("portway-bed-").tempdir()?;
        let base = Utf8PathBuf::from_path_buf(folder.path().canonicalize()?)
            .map_err(|path| anyhow!("{} is not readable", path.display()))?;
        let bed = Self { folder, base };
        let (count, pid) = (count.to_string(), std::process::id().to_string());
        bed.call("up", &[&count, "--while", &pid])?;
        Ok(Some(bed))
    }

    /// Moves this thread to the hub, from where the machines can be reached: what it connects to from
    /// now on, it connects to from there. The other threads stay where they are.
    pub fn enter(&self) -> anyhow::Result<()> {
        let file = self.call("hub-file", &[])?;
        let hub = File::open(file.trim())?;
        Ok(move_into_link_name_space(hub.as_fd(), Some(LinkNameSpaceType::Network))?)
    }

    /// Returns the address of a machine.
    pub fn address(&self, machine: u16) -> anyhow::Result<String> {
        Ok(self.call("address", &[&machine.to_string()])?.trim().to_owned())
    }

    /// Returns the fingerprint of a machine's host key.
    pub fn fingerprint(&self, machine: u16) -> anyhow::Result<String> {
        let printed = self.sh(machine, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub")?;
        let fingerprint = printed.split_whitespace().nth(1).context("ssh-keygen prints none")?;
        Ok(fingerprint.to_owned())
    }

    /// Returns the file of the key by which root and [`USER`] log in.
    pub fn key(&self) -> Utf8PathBuf {
        self.base.join("id")
    }

    /// Returns the folder of the bed, for `bed.sh`.
    pub fn folder(&self) -> &Utf8Path {
        &self.base
    }

    /// Runs a line of shell on a machine as root, which must succeed, and returns what it printed.
    pub fn sh(&self, machine: u16, line: &str) -> anyhow::Result<String> {
        self.call("run", &[&machine.to_string(), "sh", "-c", line])
    }

    /// Returns a command that runs on the hub.
    pub fn on_hub(&self, words: &[&str]) -> anyhow::Result<Command> {
        let mut command = Command::new(script()?);
        command.args(["hub", self.base.as_str()]).args(words);
        Ok(command)
    }

    /// Takes out a machine's cable: what is sent is lost, and nobody is told.
    pub fn cut(&self, machine: u16) -> anyhow::Result<()> {
        self.call("cut", &[&machine.to_string()]).map(drop)
    }

    /// Puts the cable in again.
    pub fn heal(&self, machine: u16) -> anyhow::Result<()> {
        self.call("heal", &[&machine.to_string()]).map(drop)
    }

    /// Stops all that runs on a machine.
    pub fn freeze(&self, machine: u16) -> anyhow::Result<()> {
        self.call("freeze", &[&machine.to_string()]).map(drop)
    }

    /// Lets it go on.
    pub fn thaw(&self, machine: u16) -> anyhow::Result<()> {
        self.call("thaw", &[&machine.to_string()]).map(drop)
    }

    /// Ends a machine's SSH server and all its sessions.
    pub fn kill_sshd(&self, machine: u16) -> anyhow::Result<()> {
        self.call("kill-sshd", &[&machine.to_string()]).map(drop)
    }

    /// Starts a machine's SSH server.
    pub fn start_sshd(&self, machine: u16) -> anyhow::Result<()> {
        self.call("start-sshd", &[&machine.to_string()]).map(drop)
    }

    fn call(&self, verb: &str, words: &[&str]) -> anyhow::Result<String> {
        let mut command = Command::new(script()?);
        command.args([verb, self.base.as_str()]).args(words).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output()?;
        ensure!(status.success(), "{verb} {words:?}: {}", String::from_utf8_lossy(&stderr));
        Ok(String::from_utf8(stdout)?)
    }
}

impl Drop for Bed {
    #[expect(clippy::print_stderr, reason = "machines that are left behind are told of")]
    fn drop(&mut self) {
        if let Err(error) = self.call("down", &[]) {
            eprintln!("the bed in {} was not ended: {error}", self.folder.path().display());
        }
    }
}

fn script() -> anyhow::Result<Utf8PathBuf> {
    Ok(repository()?.join("scripts/testbed/bed.sh"))
}
