//! What can go wrong between the manager and a node, and what helps.

use std::{io, sync::Arc, time::Duration};

use portway_model::node::HostKeyPin;

use crate::{HostKey, argv::ArgvError};

/// Why something was not done on a node. A variant per remedy; [`TransportError::remedy`] says it.
///
/// A command that ran and failed is none of these: it has an [`Output`](crate::Output).
#[derive(Clone, Debug, thiserror::Error)]
pub enum TransportError {
    /// No connection to the machine came about.
    #[error("cannot reach {address}: {reason}")]
    Unreachable {
        /// Where the machine should be.
        address: String,
        /// What the network said.
        reason: String,
    },
    /// Something took longer than it may.
    #[error("{what} took longer than {} s", .deadline.as_secs_f32())]
    TimedOut {
        /// What was being done.
        what: String,
        /// How long it may take.
        deadline: Duration,
    },
    /// The machine is not known yet. Nothing was sent that proves who we are.
    #[error("the host key of {address} is not known yet; it offers {offered}")]
    HostKeyUnknown {
        /// Where the machine is.
        address: String,
        /// The key it offers.
        offered: HostKey,
    },
    /// The machine is not the one that was confirmed. Nothing was sent that proves who we are.
    #[error("the host key of {address} has changed: known is {}, it offers {offered}", keys(.pinned))]
    HostKeyChanged {
        /// Where the machine is.
        address: String,
        /// The keys that were confirmed; at least one.
        pinned: Vec<HostKeyPin>,
        /// The key it offers.
        offered: HostKey,
    },
    /// The machine knows none of the ways in which we logged in.
    #[error("{address} does not let {user} in with {}; it takes {}", list(.tried), list(.takes))]
    LoginRefused {
        /// Where the machine is.
        address: String,
        /// Who wanted to log in.
        user: String,
        /// With what, one by one.
        tried: Vec<String>,
        /// What the machine says it takes.
        takes: Vec<String>,
    },
    /// The agent that holds the keys cannot be used.
    #[error("cannot use the SSH agent at {socket}: {reason}")]
    Agent {
        /// Where the agent should listen.
        socket: String,
        /// What it, or the system, said.
        reason: String,
    },
    /// Both sides have no way to speak that both find safe.
    #[error("cannot agree with {address} on how to speak: {reason}")]
    Incompatible {
        /// Where the machine is.
        address: String,
        /// What is missing.
        reason: String,
    },
    /// The connection ended while something was under way.
    #[error("the connection to {address} was lost while {what}: {reason}")]
    Lost {
        /// Where the machine is.
        address: String,
        /// What was being done; it may or may not have been done.
        what: String,
        /// How it ended, as far as it is known.
        reason: String,
    },
    /// The machine allows no further session on the connection.
    #[error("{address} allows no session on its connection")]
    NoSession {
        /// Where the machine is.
        address: String,
    },
    /// The user's shell does not take commands as shells of the POSIX family do.
    #[error("the login shell of {user} on {address} cannot be used: {reason}")]
    OddLoginShell {
        /// Where the machine is.
        address: String,
        /// Who logs in.
        user: String,
        /// What it did.
        reason: String,
    },
    /// The user may not run this as root, or is not to try.
    #[error("{user} may not run `{command}` by sudo: {refusal}")]
    Sudo {
        /// The command.
        command: String,
        /// Who wanted to run it.
        user: String,
        /// Why not.
        refusal: SudoRefusal,
    },
    /// A program is missing.
    #[error("there is no program `{program}` on {address}")]
    NoProgram {
        /// Where the machine is.
        address: String,
        /// The program.
        program: String,
    },
    /// These words are no command.
    #[error(transparent)]
    Argv(#[from] ArgvError),
    /// A path, or a name that was found, could be read in more than one way.
    #[error("`{}` cannot be used as a path: {why}", .path.escape_debug())]
    OddPath {
        /// The path or name.
        path: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// There is no room.
    #[error("no room is left for {path}")]
    DiskFull {
        /// What was to be written.
        path: String,
    },
    /// The file system takes no changes.
    #[error("{path} lies on a file system that is mounted read-only")]
    ReadOnly {
        /// What was to be written.
        path: String,
    },
    /// The user may not touch this.
    #[error("{user} may not touch {path}")]
    Permission {
        /// Who tried.
        user: String,
        /// What was to be read or written.
        path: String,
    },
    /// A folder is missing.
    #[error("there is no folder {path}")]
    NoFolder {
        /// The folder.
        path: String,
    },
    /// Something with files failed in another way.
    #[error("cannot {doing} {path}: {said}")]
    File {
        /// What was tried: `read`, `write`, `list`, `remove`, `link`.
        doing: &'static str,
        /// The file or folder.
        path: String,
        /// What the node said.
        said: String,
    },
    /// A command printed, or a file holds, more than is taken.
    #[error("{what} is longer than {}", size(*.limit))]
    TooLong {
        /// What it is.
        what: String,
        /// How much is taken, in bytes.
        limit: usize,
    },
    /// Nothing answers there on the node.
    #[error("nothing answers at {target} on {address}: {reason}")]
    Refused {
        /// Where the machine is.
        address: String,
        /// What was dialled.
        target: String,
        /// What the node said.
        reason: String,
    },
    /// The node's SSH server forwards nothing.
    #[error("{address} does not let {user} reach {target} through SSH")]
    ForwardingForbidden {
        /// Where the machine is.
        address: String,
        /// Who logs in.
        user: String,
        /// What was dialled.
        target: String,
    },
    /// This machine could not do its own part.
    #[error("cannot {doing} on this machine")]
    Here {
        /// What was tried.
        doing: String,
        /// What the system said.
        #[source]
        source: Arc<io::Error>,
    },
}

/// Why something was not run by sudo.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SudoRefusal {
    /// It is not installed.
    #[error("it is not installed")]
    Missing,
    /// It asks for a password, so that no rule without one fits.
    #[error("it asks for a password")]
    PasswordWanted,
    /// The rules of the user allow other commands.
    #[error("its rules do not allow this command")]
    NotAllowed,
    /// The node is declared with `sudo: false`.
    #[error("Portway is not to use it on this node")]
    SwitchedOff,
    /// There are no rules for the user.
    #[error("it has no rules for the user")]
    NoRules,
}

impl TransportError {
    /// Returns what the operator can do about it.
    pub fn remedy(&self) -> String {
        match self {
            Self::Unreachable { address, .. } => format!(
                "see whether the machine runs, its SSH server listens at {address}, and no firewall is between"
            ),
            Self::TimedOut { .. } => {
                "see what keeps the node busy (`uptime`, `df`), then try again; what ran there was ended".to_owned()
            }
            Self::HostKeyUnknown { offered, .. } => format!(
                "on the machine itself, `ssh-keygen -lf /etc/ssh/ssh_host_{}_key.pub` prints the fingerprint; confirm it if it is the same",
                file_of(offered.algorithm())
            ),
            Self::HostKeyChanged { .. } => {
                "find out why before anything else: the machine was set up anew, or someone stands between; confirm the new key only if you know".to_owned()
            }
            Self::LoginRefused { user, .. } => format!(
                "add the manager's public key to ~{user}/.ssh/authorized_keys on the node, or give another way to log in"
            ),
            Self::Agent { .. } => {
                "start the agent and add the key (`ssh-add`), or let the manager use a key of its own".to_owned()
            }
            Self::Incompatible { .. } => "bring the SSH server of the node up to date".to_owned(),
            Self::Lost { .. } => {
                "try again; what was under way is read anew from the node, and ends by its own deadline".to_owned()
            }
            Self::NoSession { .. } => {
                "raise `MaxSessions` in the node's sshd_config; 10 is its usual value".to_owned()
            }
            Self::OddLoginShell { user, .. } => {
                format!("give {user} a shell of the POSIX family on the node: `usermod -s /bin/sh {user}`")
            }
            Self::Sudo { command, user, refusal } => remedy_of_sudo(command, user, *refusal),
            Self::NoProgram { program, .. } => format!("install `{program}` on the node"),
            Self::Argv(_) | Self::OddPath { .. } => "choose another name".to_owned(),
            Self::DiskFull { path } => format!("make room where {path} lies; `df` shows how full it is"),
            Self::ReadOnly { path } => {
                format!("mount the file system of {path} for writing, or choose another folder")
            }
            Self::Permission { user, path } => {
                format!("let {user} own the folder of {path}, or log in as a user who may touch it")
            }
            Self::NoFolder { path } => format!("make it: `mkdir -p {path}`"),
            Self::File { path, .. } => format!("look at {path} on the node"),
            Self::TooLong { .. } => "ask for less at once".to_owned(),
            Self::Refused { target, .. } => format!("see whether something listens at {target} on the node"),
            Self::ForwardingForbidden { user, .. } => format!(
                "set `AllowTcpForwarding` and `AllowStreamLocalForwarding` to `yes` or `local` for {user} in the node's sshd_config"
            ),
            Self::Here { .. } => "see what the manager may do, and whether it has files and memory left".to_owned(),
        }
    }

    /// Whether the same may succeed soon although nobody changes anything.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::TimedOut { .. } | Self::Lost { .. })
    }
}

fn remedy_of_sudo(command: &str, user: &str, refusal: SudoRefusal) -> String {
    match refusal {
        SudoRefusal::SwitchedOff => {
            "let Portway use sudo on the node (`portway node set NAME --sudo true`), or have it log in as root".to_owned()
        }
        SudoRefusal::Missing => "install sudo on the node, or log in as root".to_owned(),
        SudoRefusal::PasswordWanted | SudoRefusal::NotAllowed | SudoRefusal::NoRules => format!(
            "allow it in /etc/sudoers.d/portway (edit with `visudo -f`): `{user} ALL=(root) NOPASSWD: {command}`, with absolute paths"
        ),
    }
}

/// The name of a key's kind in the names of OpenSSH's files.
fn file_of(algorithm: &str) -> &str {
    match algorithm {
        "ssh-rsa" => "rsa",
        name if name.starts_with("ecdsa") => "ecdsa",
        _ => "ed25519",
    }
}

fn keys(pinned: &[HostKeyPin]) -> String {
    list(&pinned.iter().map(ToString::to_string).collect::<Vec<_>>())
}

fn size(bytes: usize) -> String {
    if bytes >= 1 << 20 {
        format!("{} MiB", bytes >> 20)
    } else if bytes >= 1 << 10 {
        format!("{} KiB", bytes >> 10)
    } else {
        format!("{bytes} bytes")
    }
}

fn list(words: &[String]) -> String {
    if words.is_empty() { "nothing".to_owned() } else { words.join(", ") }
}
