//! Options of the commands about sites, site files and their history.

use camino::Utf8PathBuf;
use clap::{ArgGroup, Args, Subcommand};

use super::RolloutArgs;

/// `portway site …`
#[derive(Debug, Subcommand)]
pub(crate) enum SiteCommand {
    /// Add a site
    Add(Box<SiteAdd>),
    /// List sites
    #[command(visible_alias = "ls")]
    List(SiteList),
    /// Show a site with every default
    Show {
        /// Name or id
        site: String,
    },
    /// Change a site in your editor ($VISUAL or $EDITOR)
    Edit(Edit),
    /// Remove a site
    Rm {
        /// Name or id
        site: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Keep a site from being used; only an administrator can
    Block {
        /// Name or id
        site: String,
        /// What visitors read
        #[arg(long, default_value = "")]
        reason: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Let a blocked site be used again
    Unblock {
        /// Name or id
        site: String,
        #[command(flatten)]
        waiting: Waiting,
    },
    /// Take a site back to an earlier version
    Revert {
        /// Name or id
        site: String,
        /// The number of the revision whose state is restored; see `portway history --site`
        #[arg(long, value_name = "N")]
        to: i64,
        /// Why
        #[arg(short, long)]
        message: Option<String>,
        #[command(flatten)]
        waiting: Waiting,
    },
}

/// Options of `site add`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("action").required(true).args(["to", "files", "redirect"]))]
pub(crate) struct SiteAdd {
    /// What the site answers to: names, `*.example.org`, addresses, or `*`
    #[arg(required = true, value_name = "HOST")]
    pub(crate) hosts: Vec<String>,
    /// Where requests go: `5000` (a port of this machine), `10.0.0.2:8080`, `https://app.internal`,
    /// `unix:/run/app.sock`; several are used in turn
    #[arg(long, value_name = "TARGET")]
    pub(crate) to: Vec<String>,
    /// A folder whose files are served
    #[arg(long, value_name = "DIR")]
    pub(crate) files: Option<Utf8PathBuf>,
    /// An address to which clients are sent
    #[arg(long, value_name = "URL")]
    pub(crate) redirect: Option<String>,
    /// The site's name (default: made from the first host)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The user who owns the site
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
    /// What the site is, for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) description: Option<String>,
    /// A word by which the site is found; can be given several times
    #[arg(long = "tag", value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// A node on which the site is served: a name, `group:NAME`, `label:KEY=VALUE`, `zone:NAME`, or
    /// `local`, the managers' own edges (the default); can be given several times
    #[arg(long = "node", value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
    /// Serve plain HTTP only
    #[arg(long)]
    pub(crate) no_https: bool,
    /// The largest request body, for example 50MB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_body: Option<String>,
    /// Only these addresses and networks may use the site
    #[arg(long, value_name = "NETWORK")]
    pub(crate) allow: Vec<String>,
    /// These addresses and networks may not use the site
    #[arg(long, value_name = "NETWORK")]
    pub(crate) deny: Vec<String>,
    /// A user for basic authentication; the password is asked for. Or USER:HASH with a bcrypt hash
    #[arg(long = "basic", value_name = "USER")]
    pub(crate) basic: Vec<String>,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Options of `site list`.
#[derive(Debug, Args)]
pub(crate) struct SiteList {
    /// Text in the name or a host
    pub(crate) search: Option<String>,
    /// Only sites with this tag
    #[arg(long)]
    pub(crate) tag: Option<String>,
    /// Only sites of this user
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
    /// At most this many
    #[arg(short = 'n', long, value_name = "N", value_parser = super::count)]
    pub(crate) limit: Option<usize>,
}

/// Options of `site edit`.
#[derive(Debug, Args)]
pub(crate) struct Edit {
    /// Name or id
    pub(crate) site: String,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Whether a command waits until its change is carried out.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Waiting {
    /// Wait until the change is carried out (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Return as soon as the change is written
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
}

impl Waiting {
    /// Returns that a command waits.
    pub(crate) fn yes() -> Self {
        Self { wait: true, no_wait: false }
    }

    /// Tells whether to wait.
    pub(crate) fn waits(self) -> bool {
        self.wait || !self.no_wait
    }
}

/// Which site files are read, and how.
#[derive(Debug, Args)]
pub(crate) struct FileArgs {
    /// A site file; `-` reads standard input; later files are laid over earlier ones
    #[arg(short, long = "file", value_name = "FILE")]
    pub(crate) files: Vec<Utf8PathBuf>,
    /// An environment of the files
    #[arg(long, value_name = "NAME")]
    pub(crate) env: Option<String>,
    /// A value for a parameter; wins over the environment and over defaults
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = assignment)]
    pub(crate) set: Vec<(String, String)>,
}

/// Under which name site files are applied.
#[derive(Debug, Args)]
pub(crate) struct SourceArgs {
    /// The name under which the files are applied; --prune removes only what came from the same
    /// name (default: the path of the first file)
    #[arg(long, value_name = "NAME")]
    pub(crate) source: Option<String>,
    /// Also remove sites that came from the same source and are no longer in it
    #[arg(long)]
    pub(crate) prune: bool,
    /// The user who owns new sites
    #[arg(long, value_name = "USER")]
    pub(crate) owner: Option<String>,
}

/// Options of `plan`.
#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Keep the plan in a file, to be carried out by `portway apply --plan`
    #[arg(long, value_name = "FILE", requires = "files")]
    pub(crate) keep: Option<Utf8PathBuf>,
    /// Read the nodes first, instead of using what was last read from them
    #[arg(long)]
    pub(crate) refresh: bool,
    /// Show long differences whole
    #[arg(long)]
    pub(crate) full: bool,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
}

/// Options of `apply`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["files", "plan"]))]
pub(crate) struct Apply {
    #[command(flatten)]
    pub(crate) files: FileArgs,
    #[command(flatten)]
    pub(crate) source: SourceArgs,
    /// Carry out a plan that was kept: exactly that, or nothing where something has moved on since.
    /// The site files that it names are read again
    #[arg(long, value_name = "FILE", conflicts_with_all = ["env", "source", "prune", "owner", "dry_run"])]
    pub(crate) plan: Option<Utf8PathBuf>,
    /// Remove sites without asking
    #[arg(short, long)]
    pub(crate) yes: bool,
    /// Change nothing; the same as `plan`
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) rollout: RolloutArgs,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

/// Options of `check`.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["files"]))]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) files: FileArgs,
}

/// Options of `export`.
#[derive(Debug, Args)]
pub(crate) struct Export {
    /// The file to write; standard output without it
    #[arg(short = 'o', long = "to-file", value_name = "FILE")]
    pub(crate) file: Option<Utf8PathBuf>,
}

/// Options of `diff`.
#[derive(Debug, Args)]
pub(crate) struct Diff {
    /// The older state, by revision number (default: the one before the last)
    pub(crate) from: Option<i64>,
    /// The newer state (default: what is declared now)
    pub(crate) to: Option<i64>,
    /// Only this site
    #[arg(long)]
    pub(crate) site: Option<String>,
}

/// Options of `history`.
#[derive(Debug, Args)]
pub(crate) struct History {
    /// Only revisions that touched this site
    #[arg(long)]
    pub(crate) site: Option<String>,
    /// At most this many, the newest
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20, value_parser = super::count)]
    pub(crate) limit: usize,
}

/// Options of `revert`.
#[derive(Debug, Args)]
pub(crate) struct Revert {
    /// The revision to take back
    #[arg(value_name = "N", required_unless_present = "site")]
    pub(crate) number: Option<i64>,
    /// A site to take back to an earlier version, with --to
    #[arg(long, requires = "to", conflicts_with = "number")]
    pub(crate) site: Option<String>,
    /// The revision whose state of the site is restored
    #[arg(long, value_name = "N", requires = "site")]
    pub(crate) to: Option<i64>,
    /// Restore also what others have changed since
    #[arg(long, conflicts_with = "site")]
    pub(crate) even_if_changed: bool,
    /// Why
    #[arg(short, long)]
    pub(crate) message: Option<String>,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}

fn assignment(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        Some(_) | None => Err("write NAME=VALUE".to_owned()),
    }
}
