//! How an engine comes to a machine, or to its newest version there: as steps that can be shown before
//! any of them is done.
//!
//! A package comes from where the machine gets its packages already; no source of packages is ever
//! added, as that is trust which only the machine's owner can give. Where there is no package, a program
//! that lies on the machine is put in its place, and looked after by a unit of ours ([`program`]).

mod packages;
mod program;

use camino::Utf8PathBuf;
use portway_model::EngineKind;
use portway_policy::Digest;

pub use self::{
    packages::{offered, package_plan},
    program::{ProgramPlace, program_plan},
};
use crate::Command;

/// What is wanted of an engine on a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// That it is there.
    Installed,
    /// That it is as new as the machine's packages have it.
    Upgraded,
}

/// How an engine comes to a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstallPlan {
    /// What it comes as, in words.
    pub by: String,
    /// What has the machine read anew which packages there are.
    pub refresh: Option<Command>,
    /// What tells the package and version that would come; it changes nothing.
    pub preview: Option<Command>,
    /// What is done, in this order.
    pub steps: Vec<InstallStep>,
    /// What puts back what was there, where a step or the proof fails.
    pub undo: Vec<Command>,
    /// So many steps must have been done before there is something to put back.
    pub undo_from: usize,
    /// What tidies up after everything went well.
    pub finish: Vec<Command>,
    /// What becomes of an engine that runs already, in words.
    pub interrupts: &'static str,
}

/// One step of an installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InstallStep {
    /// A command that must succeed.
    Run(Command),
    /// A file that whoever logs in writes into Portway's folder.
    Stage {
        /// Where.
        path: Utf8PathBuf,
        /// What stands in it.
        text: String,
    },
    /// A file must be these bytes.
    Prove {
        /// The file.
        path: Utf8PathBuf,
        /// Its SHA-256.
        digest: Digest,
    },
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The system installs programs in a way that is not known.
    #[error("it is not known how {0} installs packages")]
    System(String, EngineKind),
    /// Distributions have no such package.
    #[error("distributions have no package of {0}")]
    Package(EngineKind),
}

impl NoPlan {
    /// Returns what to do instead.
    pub fn remedy(&self, node: &str) -> String {
        match self {
            Self::System(_, engine @ (EngineKind::Caddy | EngineKind::Traefik)) => format!(
                "bring the program of {engine} to the machine, and `portway node install {node} --program FILE`; or install it there by hand"
            ),
            Self::System(_, engine) => format!("install {engine} there by hand"),
            Self::Package(engine) => format!(
                "bring the program of a release of {engine} to the machine, compare its SHA-256 with that of the release, and `portway node install {node} --program FILE`"
            ),
        }
    }
}

impl InstallStep {
    /// Returns it as people read it.
    pub fn told(&self) -> String {
        match self {
            Self::Run(command) => command.argv.join(" "),
            Self::Stage { path, text } => format!("write {path} ({} bytes)", text.len()),
            Self::Prove { path, digest } => format!("the SHA-256 of {path} must be {digest}"),
        }
    }
}

#[cfg(test)]
mod tests;
