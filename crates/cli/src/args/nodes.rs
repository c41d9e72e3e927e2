//! Options of the commands about nodes.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use portway_model::{
    EngineKind, Name,
    node::{HostKeyPin, TrustedProxy},
};

use super::{
    ImportOptions,
    join::{CloudInitArgs, JoinTokenCommand},
};

/// `portway node …`
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// Add a node
    Add(Box<NodeAdd>),
    /// List nodes
    #[command(visible_alias = "ls")]
    List(NodeList),
    /// Show a node
    Show {
        /// Name or id
        node: String,
    },
    /// Change a node; what is given replaces what was
    Set(Box<NodeSet>),
    /// Remove a node that no site names
    #[command(visible_alias = "rm")]
    Remove(NodeRemove),
    /// Have a node brought to what it should have
    Activate {
        /// Name or id
        node: String,
    },
    /// Leave a node as it is: it serves on, and no change comes to it
    Deactivate {
        /// Name or id
        node: String,
    },
    /// Have balancers in front of a node told to send it nothing new; it serves on
    Drain {
        /// Name or id
        node: String,
    },
    /// Have balancers in front of a node told to send it requests again
    Undrain {
        /// Name or id
        node: String,
    },
    /// Look at a node: what it is like, and what is in the way
    Check {
        /// Name or id
        node: String,
    },
    /// Make site files of what the node's engine was told before Portway
    Scan {
        /// Name or id
        node: String,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Show what is measured on nodes: processors, memory, disks, network, the engine
    Stats(NodeStats),
    /// Bring a node to what it should have now, over what somebody changed on it
    Deploy {
        /// Name or id
        node: String,
    },
    /// Show what somebody changed on a node of what Portway put there
    Drift {
        /// Name or id
        node: String,
    },
    /// Take over what somebody changed on a node: its sites are changed so that they say it
    Adopt(NodeAdopt),
    /// Run a command on a node, as whoever logs in there; no shell reads its words
    Exec(NodeExec),
    /// Start the engine of a node
    Start {
        /// Name or id
        node: String,
    },
    /// Stop the engine of a node: its sites are gone until it is started again
    Stop {
        /// Name or id
        node: String,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
    /// Have the engine of a node read its configuration anew
    Reload {
        /// Name or id
        node: String,
    },
    /// Stop and start the engine of a node
    Restart {
        /// Name or id
        node: String,
    },
    /// Make, list and end the tokens by which machines make themselves nodes
    #[command(subcommand)]
    Token(JoinTokenCommand),
    /// Print user-data for cloud-init that makes a new machine a node; it holds a token
    CloudInit(Box<CloudInitArgs>),
    /// Print the rules of sudo that the login of a node needs
    Sudoers(NodeSudoersArgs),
    /// Install the engine of a node and start it, or upgrade the one that is there
    Install(NodeInstallArgs),
    /// Keep a node's sites as they were at a revision, until it is released
    Pin {
        /// Name or id
        node: String,
        /// The revision; without it the one that the node has
        #[arg(long, value_name = "NUMBER")]
        revision: Option<i64>,
        /// Why
        #[arg(short, long)]
        message: Option<String>,
    },
    /// Let a pinned node follow what is declared again
    Release {
        /// Name or id
        node: String,
    },
    /// Bring a node back to what it served before its last deployment, and pin it there
    Rollback {
        /// Name or id
        node: String,
    },
    /// Confirm the key of a node's host, after comparing it with the host's own
    Confirm {
        /// Name or id
        node: String,
        /// Its fingerprint, as `ssh-keygen -lf` prints it on the host; without it the one that the
        /// host showed is asked about
        #[arg(long, value_name = "SHA256:…")]
        host_key: Option<HostKeyPin>,
        /// The jump host whose key it is, by its address; without it, it is the node's own
        #[arg(long, value_name = "HOST:PORT", requires = "host_key")]
        jump: Option<String>,
        /// Leave the keys that were confirmed before beside it
        #[arg(long)]
        keep: bool,
    },
    /// Print the public key with which Portway logs in to nodes
    Key,
    /// Have the manager read its nodes.yaml again; it does so by itself when the file changes
    Discover,
    /// Take over the nodes of a file
    Import {
        /// The file, as `node export` writes it
        file: Utf8PathBuf,
        /// The name under which the nodes are taken over (default: the file's path)
        #[arg(long, value_name = "NAME")]
        source: Option<String>,
        /// Overwrite also what was changed by hand since
        #[arg(long)]
        overwrite: bool,
    },
    /// Write all nodes as a nodes.yaml
    Export {
        /// The file to write; standard output without it
        #[arg(short = 'o', long = "to-file", value_name = "FILE")]
        file: Option<Utf8PathBuf>,
    },
}

/// Options of `node stats`.
#[derive(Debug, Args)]
pub(crate) struct NodeStats {
    /// Name or id; all nodes in short without it
    pub(crate) node: Option<String>,
}

/// Options of `node add`.
#[derive(Debug, Args)]
pub(crate) struct NodeAdd {
    /// The node's name
    pub(crate) name: Name,
    /// What serves the sites there: `nginx`, `caddy`, `traefik` or `edge`
    #[arg(long)]
    pub(crate) engine: EngineKind,
    /// Leave the node as it is until it is activated
    #[arg(long)]
    pub(crate) inactive: bool,
    #[command(flatten)]
    pub(crate) options: NodeOptions,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
}

/// Options of `node set`.
#[derive(Debug, Args)]
pub(crate) struct NodeSet {
    /// Name or id
    pub(crate) node: String,
    /// What serves the sites there: `nginx`, `caddy`, `traefik` or `edge`
    #[arg(long)]
    pub(crate) engine: Option<EngineKind>,
    #[command(flatten)]
    pub(crate) options: NodeOptions,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
}

/// What a node is.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct NodeOptions {
    /// How it is reached: `deploy@192.0.2.7` or `root@web.example.org:2222`; without it the engine
    /// is on the manager's own machine
    #[arg(long, value_name = "USER@HOST[:PORT]", help_heading = "SSH")]
    pub(crate) ssh: Option<String>,
    /// The fingerprint of the host's key, as `ssh-keygen -lf` prints it there
    #[arg(long = "host-key", value_name = "SHA256:…", help_heading = "SSH")]
    pub(crate) host_keys: Vec<HostKeyPin>,
    /// An SSH server before it, the nearest first; its key behind a comma:
    /// `ops@bastion,SHA256:…`
    #[arg(long, value_name = "USER@HOST[:PORT][,KEY]", help_heading = "SSH")]
    pub(crate) jump: Vec<String>,
    /// Log in with the keys of the agent that the manager was started with
    #[arg(long, conflicts_with_all = ["identity", "password_file"], help_heading = "SSH")]
    pub(crate) agent: bool,
    /// Log in with the private key in this file, which is sent to the manager and sealed there
    #[arg(long, value_name = "FILE", conflicts_with = "password_file", help_heading = "SSH")]
    pub(crate) identity: Option<Utf8PathBuf>,
    /// What opens that key, in a file
    #[arg(long, value_name = "FILE", requires = "identity", help_heading = "SSH")]
    pub(crate) passphrase_file: Option<Utf8PathBuf>,
    /// Log in with the password in this file, which is sent to the manager and sealed there
    #[arg(long, value_name = "FILE", help_heading = "SSH")]
    pub(crate) password_file: Option<Utf8PathBuf>,
    /// Put `sudo -n` before what only root may do (default: unless the user is root)
    #[arg(long, value_name = "true|false", help_heading = "SSH")]
    pub(crate) sudo: Option<bool>,
    /// A word with a value, by which sites choose it: `label:KEY=VALUE`
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Where it stands, what fails together: `zone:NAME`
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<Name>,
    /// A group that it belongs to: `group:NAME`
    #[arg(long = "group", value_name = "NAME")]
    pub(crate) groups: Vec<Name>,
    /// What it is, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A network whose `X-Forwarded-*` headers the engine believes, or `cloudflare`, `fastly`
    #[arg(long = "trusted-proxy", value_name = "NETWORK", help_heading = "Engine")]
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// The port of plain HTTP (default: 80)
    #[arg(long, value_name = "PORT", help_heading = "Engine")]
    pub(crate) http_port: Option<u16>,
    /// The port of HTTPS (default: 443)
    #[arg(long, value_name = "PORT", help_heading = "Engine")]
    pub(crate) https_port: Option<u16>,
    /// The port on loopback on which it tells what it runs (default: 8911)
    #[arg(long, value_name = "PORT", help_heading = "Engine")]
    pub(crate) probe_port: Option<u16>,
    /// The folder of what is Portway's own there (default: `/var/lib/portway`)
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub(crate) home: Option<String>,
    /// What the engine reads first (default: where its packages put it)
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    pub(crate) config: Option<String>,
    /// What stands in the engine's own configuration for Portway's
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    pub(crate) include: Option<String>,
    /// The folder of the logs of sites there
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub(crate) logs: Option<String>,
    /// The control socket of an edge there (default: `/run/portway-edge/edge.sock`)
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    pub(crate) control_socket: Option<String>,
    /// The engine's program there, where it is in none of the usual folders for programs
    #[arg(long, value_name = "FILE", help_heading = "Engine")]
    pub(crate) program: Option<String>,
    /// The least that should be left of each disk, in percent (default: 10)
    #[arg(long, value_name = "PERCENT", help_heading = "Health")]
    pub(crate) least_disk: Option<u8>,
    /// The least memory that programs should still get, in percent (default: 5)
    #[arg(long, value_name = "PERCENT", help_heading = "Health")]
    pub(crate) least_memory: Option<u8>,
    /// The least time that certificates should be good for (default: 7d)
    #[arg(long, value_name = "DURATION", help_heading = "Health")]
    pub(crate) least_certificate: Option<String>,
    /// The most by which its clock may be off (default: 30s)
    #[arg(long, value_name = "DURATION", help_heading = "Health")]
    pub(crate) most_clock: Option<String>,
    /// So many readings in a row change its health (default: 2)
    #[arg(long, value_name = "N", help_heading = "Health")]
    pub(crate) readings: Option<u32>,
}

/// Options of `node install`.
#[derive(Debug, Args)]
pub(crate) struct NodeInstallArgs {
    /// Name or id
    pub(crate) node: String,
    /// Bring the newest in the place of what is there; an edge gets this manager's program either way
    #[arg(long)]
    pub(crate) upgrade: bool,
    /// A file on the node that is to be the program of Caddy or Traefik; without it a package comes
    #[arg(long, value_name = "FILE")]
    pub(crate) program: Option<String>,
    /// The SHA-256 that this file must have, as its release tells
    #[arg(long, value_name = "HEX", requires = "program")]
    pub(crate) sha256: Option<String>,
    /// Do not ask
    #[arg(long)]
    pub(crate) yes: bool,
    /// Only show what would be done
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

/// Options of `node sudoers`.
#[derive(Debug, Args)]
pub(crate) struct NodeSudoersArgs {
    /// Name or id
    pub(crate) node: String,
    /// Print those that `node install` needs once, instead
    #[arg(long)]
    pub(crate) install: bool,
    /// For `node install --upgrade`
    #[arg(long, requires = "install")]
    pub(crate) upgrade: bool,
    /// For `node install --program`
    #[arg(long, value_name = "FILE", requires = "install")]
    pub(crate) program: Option<String>,
}

/// Options of `node adopt`.
#[derive(Debug, Args)]
pub(crate) struct NodeAdopt {
    /// Name or id
    pub(crate) node: String,
    /// Show what would be done, and do nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Overwrite what no site says; without it nothing is done where there is such
    #[arg(long)]
    pub(crate) overwrite_rest: bool,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
}

/// Options of `node exec`.
#[derive(Debug, Args)]
pub(crate) struct NodeExec {
    /// Name or id
    pub(crate) node: String,
    /// When the node itself ends the command: `30s`, `5m`; at most 10m
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = deadline)]
    pub(crate) deadline: u32,
    /// The program and its arguments; secrets do not belong here
    #[arg(required = true, last = true, value_name = "ARGV")]
    pub(crate) argv: Vec<String>,
}

/// Options of `node list`.
#[derive(Debug, Args)]
pub(crate) struct NodeList {
    /// Only nodes that this chooses: a name, `group:NAME`, `label:KEY=VALUE`, `zone:NAME`
    pub(crate) select: Vec<String>,
    /// Only nodes with this engine
    #[arg(long)]
    pub(crate) engine: Option<EngineKind>,
    /// Only active nodes
    #[arg(long, conflicts_with = "inactive")]
    pub(crate) active: bool,
    /// Only inactive nodes
    #[arg(long)]
    pub(crate) inactive: bool,
}

/// Options of `node remove`.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct NodeRemove {
    /// Name or id
    pub(crate) node: String,
    /// Leave on it what Portway put there; it serves on (the default)
    #[arg(long, conflicts_with = "clean")]
    pub(crate) leave: bool,
    /// Take away what Portway put there
    #[arg(long)]
    pub(crate) clean: bool,
    /// Do not ask before an edge is stopped
    #[arg(long)]
    pub(crate) yes: bool,
    /// Remove it although sites name it
    #[arg(long)]
    pub(crate) even_if_named: bool,
}

/// Reads seconds or minutes.
fn deadline(text: &str) -> Result<u32, String> {
    let (number, unit) = match text.strip_suffix('m') {
        Some(minutes) => (minutes, 60),
        None => (text.strip_suffix('s').unwrap_or(text), 1),
    };
    let seconds = number.parse::<u32>().ok().and_then(|number| number.checked_mul(unit));
    seconds
        .filter(|seconds| (1..=600).contains(seconds))
        .ok_or_else(|| "write a time of 1s to 10m".to_owned())
}

pub(super) fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it like `tier=front`")?;
    Ok((key.to_owned(), value.to_owned()))
}
