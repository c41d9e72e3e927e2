//! A gate before all that is run on a machine over SSH: it counts the steps, and at one of them has
//! something go wrong there.
//!
//! A step is an operation, just before it is done, or a command, just after it has ended: what is done
//! one after the other in one command is told apart by a look between its operations. So a test can
//! strike at each step in turn, without knowing what the steps are.

use std::fs;

use anyhow::Context as _;
use camino::{Utf8Path, Utf8PathBuf};

const COMMAND: &str = include_str!("gate/command.sh");
const HOOK: &str = include_str!("gate/hook.sh");

/// The gate of a server.
#[derive(Clone, Debug)]
pub struct Gate {
    folder: Utf8PathBuf,
}

impl Gate {
    /// Makes a gate in a folder of the server's.
    pub(crate) fn make(folder: &Utf8Path) -> anyhow::Result<()> {
        fs::create_dir(folder)?;
        fs::write(folder.join("command.sh"), COMMAND)?;
        fs::write(folder.join("hook.sh"), HOOK)?;
        Ok(())
    }

    pub(crate) fn in_folder(folder: Utf8PathBuf) -> Self {
        Self { folder }
    }

    /// Returns what a server must be told to run instead of every command.
    pub(crate) fn command(folder: &Utf8Path) -> String {
        format!("/bin/sh {folder}/command.sh")
    }

    /// Counts steps from now on; at the step `at`, counted from 1, lines of shell are run: `strike`. They
    /// know `$server`, the process of the SSH server, `sessions $server`, `cut_off` and `hold`, which
    /// waits until [`Gate::lift`]. Where they end with a failure, the command ends before that step.
    pub(crate) fn arm(&self, server: u32, at: usize, strike: &str) -> anyhow::Result<()> {
        self.lift()?;
        for name in ["steps", "struck"] {
            let path = self.folder.join(name);
            if path.exists() {
                fs::remove_file(path)?;
            }
        }
        fs::write(self.folder.join("server"), format!("{server}\n"))?;
        fs::write(self.folder.join("strike"), format!("{strike}\n"))?;
        // It counts as soon as this is there, whole.
        let next = self.folder.join("next");
        fs::write(&next, format!("{at}\n"))?;
        fs::rename(next, self.folder.join("at")).context("the gate cannot be armed")
    }

    /// Lets everything pass, and what is held go on.
    pub fn lift(&self) -> anyhow::Result<()> {
        let at = self.folder.join("at");
        if at.exists() {
            fs::remove_file(at)?;
        }
        Ok(())
    }

    /// Returns the steps that were counted, each with the beginning of what was to be done.
    pub fn steps(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("steps")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Tells whether it has struck.
    pub fn has_struck(&self) -> bool {
        self.folder.join("struck").exists()
    }
}
