//! What can be typed: the commands, their options, and their help.

mod access;
mod cache;
mod engines;
mod explain;
mod import;
mod join;
mod logs;
mod nodes;
mod rollouts;
mod serve;
mod sites;
mod users;

use camino::Utf8PathBuf;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

pub(crate) use self::{
    access::{CaCommand, CertCommand, KeyCommand, Login, Logout, Setup},
    cache::{CacheCommand, CachePurge},
    engines::EngineCommand,
    explain::Explain,
    import::{ImportCommand, ImportOptions},
    join::{CloudInitArgs, JoinOptions, JoinTokenCommand},
    logs::Logs,
    nodes::{
        NodeAdd, NodeAdopt, NodeCommand, NodeExec, NodeInstallArgs, NodeList, NodeOptions,
        NodeRemove, NodeSet, NodeStats, NodeSudoersArgs,
    },
    rollouts::{RolloutArgs, RolloutCommand},
    serve::{Edge, Listeners, LogFormat, Serve, ServeOptions},
    sites::{
        Apply, Check, Diff, Edit, Export, FileArgs, History, Plan, Revert, SiteAdd, SiteCommand,
        SiteList, SourceArgs, Waiting,
    },
    users::{Audit, BoundsArgs, TokenCommand, UserAdd, UserCommand, UserEdit},
};

/// Manages reverse proxies: publishes web applications with HTTPS, from one place.
#[derive(Debug, Parser)]
#[command(name = "portway", version, max_term_width = 100, arg_required_else_help = true)]
#[command(after_help = "\
First steps:
  portway serve                                     start Portway
  portway setup                                     make the first administrator
  portway site add app.localhost --to 127.0.0.1:5000

`portway help COMMAND` says more; `portway help exit-codes` lists the exit codes.")]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// How results are written: tables for people, JSON for programs
    #[arg(long, global = true, value_enum, default_value_t, env = "PORTWAY_OUTPUT")]
    pub(crate) output: Format,
    /// The manager's address; without it, the manager on this machine
    #[arg(long, global = true, value_name = "URL", env = "PORTWAY_SERVER")]
    pub(crate) server: Option<String>,
    /// A token instead of a saved login; `ps` does not show it when it is given as `PORTWAY_TOKEN`
    #[arg(
        long,
        global = true,
        value_name = "TOKEN",
        env = "PORTWAY_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<String>,
    /// The local socket of the manager on this machine
    #[arg(long, global = true, value_name = "PATH", env = "PORTWAY_SOCKET")]
    pub(crate) socket: Option<Utf8PathBuf>,
    /// Where Portway keeps its data
    #[arg(long, global = true, value_name = "DIR", env = "PORTWAY_DATA")]
    pub(crate) data: Option<Utf8PathBuf>,
    /// Certificate authorities (PEM) to trust beside the machine's, for --server
    #[arg(long, global = true, value_name = "FILE", env = "PORTWAY_CA_FILE")]
    pub(crate) ca_file: Option<Utf8PathBuf>,
    /// No colours; `NO_COLOR` does the same
    #[arg(long, global = true)]
    pub(crate) no_color: bool,
    /// Only results and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
}

/// How results are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    #[default]
    Table,
    /// For programs
    Json,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start Portway: the manager, and the edge where none runs
    Serve(Box<Serve>),
    /// Start the edge alone; `serve` does this by itself
    Edge(Edge),
    /// Make the first administrator, or publish the console under a name
    Setup(Setup),
    /// Log in to a manager on another machine
    Login(Login),
    /// End a login
    Logout(Logout),
    /// Show who you are to the manager
    Whoami,
    /// Add, show and change sites
    #[command(subcommand)]
    Site(SiteCommand),
    /// Add, show and change nodes: where sites are served
    #[command(subcommand)]
    Node(NodeCommand),
    /// Show what each engine makes of what a site can have
    #[command(subcommand)]
    Engine(EngineCommand),
    /// Show what applying site files would change, or what nodes still lack
    Plan(Plan),
    /// Make sites as site files declare them
    Apply(Apply),
    /// Check site files without a manager
    Check(Check),
    /// Write all sites as a site file
    Export(Export),
    /// Make site files of what nginx, Caddy or Traefik was told
    #[command(subcommand)]
    Import(ImportCommand),
    /// Compare two states of what is declared
    Diff(Diff),
    /// List the revisions
    History(History),
    /// Take back a revision, or one site to an earlier version
    Revert(Revert),
    /// Show, pause, resume and end rollouts: changes that come to their nodes one after the other
    #[command(subcommand)]
    Rollout(RolloutCommand),
    /// Add, show and change users
    #[command(subcommand)]
    User(UserCommand),
    /// Add, list and remove API tokens
    #[command(subcommand)]
    Token(TokenCommand),
    /// List who did what, and what was refused
    Audit(Audit),
    /// Show how Portway is
    Status,
    /// List the background tasks
    Tasks,
    /// Show a site's access or error log
    Logs(Logs),
    /// Show and purge what is kept of a site's answers
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Tell why a request was answered as it was, or would be
    Explain(Explain),
    /// Show certificates
    #[command(subcommand)]
    Cert(CertCommand),
    /// Show and trust Portway's own certificate authority
    #[command(subcommand)]
    Ca(CaCommand),
    /// Keep, bring and change the key that seals secrets
    #[command(subcommand)]
    Key(KeyCommand),
    /// Write completions for a shell
    Completions {
        /// The shell
        shell: Shell,
    },
    /// List the exit codes
    #[command(hide = true, long_about = crate::exit::help())]
    ExitCodes,
    /// Write what is generated from the code
    #[command(hide = true)]
    Generate(Generate),
}

/// Options of `generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// Change nothing; fail with the list of files that are out of date
    #[arg(long, conflicts_with = "write")]
    pub(crate) check: bool,
    /// Write the files (the default)
    #[arg(long)]
    pub(crate) write: bool,
    /// The root of the repository
    #[arg(long, default_value = ".")]
    pub(crate) root: Utf8PathBuf,
}

/// Reads how many are wanted; none are of no use.
fn count(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        Ok(_) | Err(_) => Err("write a number from 1 on".to_owned()),
    }
}
