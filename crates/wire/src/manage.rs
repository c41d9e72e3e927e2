//! Managing the machines behind nodes: commands, services, rules of sudo.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::node::InstallNode;

/// A command to be run on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecNode {
    /// The program and its arguments. No shell reads them. They stand in the audit log, so secrets do
    /// not belong here.
    #[schema(min_items = 1)]
    pub argv: Vec<String>,
    /// The seconds after which the node itself ends it (1 to 600, default 30).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 600)]
    pub deadline_seconds: Option<u32>,
}

/// What became of a command on a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeExecuted {
    /// The node.
    pub node: String,
    /// The code with which it ended; nothing where a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<u32>,
    /// The signal that ended it, without `SIG`: `KILL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<String>,
    /// Whether it was ended because its time was over.
    pub timed_out: bool,
    /// What it printed; what is no UTF-8 is replaced.
    pub stdout: String,
    /// The bytes that it printed beyond that, which are left out here.
    pub stdout_cut: u64,
    /// What it said beside that; what is no UTF-8 is replaced.
    pub stderr: String,
    /// The bytes that it said beyond that, which are left out here.
    pub stderr_cut: u64,
    /// How long it took, the way there and back included, in milliseconds.
    pub duration_ms: u64,
}

/// Something to be done to the engine of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ServiceNode {
    /// `start`, `stop`, `reload` or `restart`.
    pub action: String,
}

/// What was done to the engine of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct NodeServiced {
    /// The node.
    pub node: String,
    /// What was to be done.
    pub action: String,
    /// Whether every command succeeded and the engine is as it should be.
    pub done: bool,
    /// What looks after the engine: `systemd`, `OpenRC`, or `the engine's own program`.
    pub by: String,
    /// How the engine was before.
    pub before: ServiceStateView,
    /// How it is now.
    pub after: ServiceStateView,
    /// The commands that were run, in their order.
    pub commands: Vec<RanCommand>,
}

/// How an engine is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServiceStateView {
    /// Whether it runs.
    pub runs: bool,
    /// The same in the words of what looks after it.
    pub words: String,
}

/// A command that was run on a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RanCommand {
    /// The command, as one would type it.
    pub command: String,
    /// How it ended.
    pub status: String,
    /// What it printed last.
    pub output: String,
}

/// Which rules of sudo are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default, deny_unknown_fields)]
pub struct SudoersQuery {
    /// Those of one installation of the engine; otherwise those of all that is done later.
    pub install: bool,
    /// The installation is an upgrade.
    pub upgrade: bool,
    /// The file on the node that is to be the engine's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
}

impl SudoersQuery {
    /// Returns the installation that the rules are for.
    pub fn how(&self) -> InstallNode {
        InstallNode { upgrade: self.upgrade, program: self.program.clone(), sha256: None }
    }
}

/// The rules of sudo that the login of a node needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct NodeSudoers {
    /// The node.
    pub node: String,
    /// Who logs in there.
    pub user: String,
    /// Where the rules belong on the node.
    pub path: String,
    /// The commands that are run as root there, as sudo is given them.
    pub commands: Vec<String>,
    /// The file, as `visudo` takes it.
    pub text: String,
}
