//! Options of the commands about users, tokens and the audit log.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};
use portway_model::{HostPattern, NodeSelector, Role};
use uuid::Uuid;

/// `portway user …`
#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user; prints a one-time link with which the user sets a password
    Add(UserAdd),
    /// List users
    #[command(visible_alias = "ls")]
    List,
    /// Show a user
    Show {
        /// Name or id
        user: String,
    },
    /// Change a user
    Edit(UserEdit),
    /// Remove a user
    Rm {
        /// Name or id
        user: String,
    },
    /// Print a new invitation for a user who has not set a password yet
    Invite {
        /// Name or id
        user: String,
    },
    /// Print a one-time link for a new password; also rescues a lost administrator
    Reset {
        /// Name or id
        user: String,
    },
}

/// Options of `user add`.
#[derive(Debug, Args)]
pub(crate) struct UserAdd {
    /// The name used at login
    pub(crate) name: String,
    /// `admin`, `client` (own sites only) or `viewer`
    #[arg(long, default_value = "client")]
    pub(crate) role: Role,
    /// The mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Read a password instead of printing an invitation
    #[arg(long)]
    pub(crate) password_stdin: bool,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// Options of `user edit`.
#[derive(Debug, Args)]
pub(crate) struct UserEdit {
    /// Name or id
    pub(crate) user: String,
    /// `admin`, `client` or `viewer`
    #[arg(long)]
    pub(crate) role: Option<Role>,
    /// The mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Let the user log in
    #[arg(long, conflicts_with = "deactivate")]
    pub(crate) activate: bool,
    /// Keep the user from logging in; ends all sessions and tokens
    #[arg(long)]
    pub(crate) deactivate: bool,
    #[command(flatten)]
    pub(crate) bounds: BoundsArgs,
}

/// How far a client may reach. With `user edit`, what is given replaces what was.
#[derive(Debug, Args)]
#[command(next_help_heading = "Bounds of a client")]
pub(crate) struct BoundsArgs {
    /// A host or zone (`*.shop.example`) the client's sites may answer to
    #[arg(long = "host", value_name = "HOST")]
    pub(crate) hosts: Vec<HostPattern>,
    /// A network in which upstreams may lie
    #[arg(long = "network", value_name = "NETWORK")]
    pub(crate) networks: Vec<String>,
    /// The folder that holds all file roots
    #[arg(long = "files", value_name = "DIR")]
    pub(crate) files: Option<Utf8PathBuf>,
    /// A node, `group:NAME`, `label:KEY=VALUE` or `zone:NAME` on which the client's sites may be,
    /// beside the managers' own edges
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) nodes: Vec<NodeSelector>,
    /// How many sites
    #[arg(long, value_name = "N")]
    pub(crate) max_sites: Option<u32>,
}

/// `portway token …`
#[derive(Debug, Subcommand)]
pub(crate) enum TokenCommand {
    /// Make a token; its secret is printed once
    Add {
        /// What it is for
        name: String,
        /// The user to whom it belongs; on the manager's own machine. Otherwise it is yours
        #[arg(long, value_name = "USER")]
        user: Option<String>,
        /// What it may do: `read`, `write` or `*`, a colon, and `sites`, `nodes`, `logs`, `users`,
        /// `tokens`, `audit`, `revisions`, `system` or `*`
        #[arg(long = "scope", value_name = "SCOPE", required = true)]
        scopes: Vec<String>,
        /// Days until it ends
        #[arg(long, default_value_t = 90, value_parser = clap::value_parser!(u32).range(1..=3650))]
        days: u32,
    },
    /// List tokens
    #[command(visible_alias = "ls")]
    List,
    /// Remove a token; what uses it is refused at once
    Rm {
        /// The id, as `token list` shows it
        #[arg(value_parser = token_id)]
        id: Uuid,
    },
}

/// Options of `audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    /// Who
    #[arg(long)]
    pub(crate) actor: Option<String>,
    /// An action or its beginning, for example `site.`
    #[arg(long)]
    pub(crate) action: Option<String>,
    /// A thing, for example `site blog`
    #[arg(long)]
    pub(crate) resource: Option<String>,
    /// Only what was refused
    #[arg(long)]
    pub(crate) refused: bool,
    /// At most this many, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50, value_parser = super::count)]
    pub(crate) limit: usize,
}

fn token_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| "a token is named by its id, as `portway token list` shows it".into())
}
