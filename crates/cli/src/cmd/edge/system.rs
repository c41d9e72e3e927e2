//! The machine on which an edge is installed: what runs its services, and the commands that do.

use std::process::Stdio;

use camino::Utf8Path;
use tokio::process::Command;

use crate::{
    cmd::serve::install::units,
    exit::{Exit, Failure},
};

/// A machine with systemd.
pub(super) struct System;

impl System {
    /// Proves that systemd runs here, and that the machine is no manager's, which has its own edge.
    pub(super) fn look() -> Result<(), Failure> {
        if Utf8Path::new("/run/systemd/system").is_dir() {
            return Self::refuse_manager();
        }
        Err(Failure::failed("systemd does not run on this machine").help(
            "let whatever runs services here start `portway edge`, and name its --control-socket to the manager",
        ))
    }

    fn refuse_manager() -> Result<(), Failure> {
        if Utf8Path::new(units::MANAGER_UNIT).exists() {
            return Err(Failure::new(
                Exit::Conflict,
                "this machine has a manager, which has its own edge",
            )
            .help("`portway serve --install` upgrades both; sites without `nodes` are there"));
        }
        Ok(())
    }

    /// Runs a command that must succeed.
    pub(super) async fn must(words: &[&str]) -> Result<(), Failure> {
        let output = Self::run(words).await?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(Failure::failed(format!("`{}` failed: {said}", words.join(" ")))
            .help("`journalctl -u portway-edge` tells more"))
    }

    /// Tells whether a command succeeds.
    pub(super) async fn holds(words: &[&str]) -> Result<bool, Failure> {
        Self::run(words).await.map(|output| output.status.success())
    }

    async fn run(words: &[&str]) -> Result<std::process::Output, Failure> {
        let Some((program, arguments)) = words.split_first() else {
            return Err(Failure::failed("there is nothing to run"));
        };
        let mut command = Command::new(program);
        let output = command.args(arguments).stdin(Stdio::null()).output().await;
        output.map_err(|error| Failure::failed(format!("cannot run `{program}`")).because(&error))
    }
}

/// Refuses to whoever is not root.
pub(super) fn require_root(command: &str) -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    Err(Failure::new(Exit::NotAllowed, "services are installed by root")
        .help(format!("sudo portway {command}")))
}
