//! Options of the commands about set-up, logins, certificates and keys.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

/// Options of `setup`.
#[derive(Debug, Args)]
pub(crate) struct Setup {
    /// The administrator's name (default: `admin`)
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The administrator's mail address
    #[arg(long)]
    pub(crate) email: Option<String>,
    /// Read the password from standard input instead of asking
    #[arg(long)]
    pub(crate) password_stdin: bool,
    /// The set-up link or its token, as `portway serve` printed it; on the manager's own machine
    /// it is not needed
    #[arg(long, value_name = "LINK")]
    pub(crate) link: Option<String>,
    /// Publish API and console through the edge under this name; the loopback address stays as
    /// the way back
    #[arg(long, value_name = "NAME")]
    pub(crate) console_host: Option<String>,
}

/// Options of `login`.
#[derive(Debug, Args)]
pub(crate) struct Login {
    /// The manager's address, for example `https://portway.example.org` (default: --server)
    pub(crate) url: Option<String>,
    /// Your name
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Read the password from standard input instead of asking
    #[arg(long)]
    pub(crate) password_stdin: bool,
}

/// Options of `logout`.
#[derive(Debug, Args)]
pub(crate) struct Logout {
    /// The manager's address (default: --server)
    pub(crate) url: Option<String>,
}

/// `portway cert …`
#[derive(Debug, Subcommand)]
pub(crate) enum CertCommand {
    /// List certificates
    #[command(visible_alias = "ls")]
    List,
}

/// `portway ca …`
#[derive(Debug, Subcommand)]
pub(crate) enum CaCommand {
    /// Write the root certificates (PEM)
    Show,
    /// List the roots: the one that issues, its successor, those before it
    #[command(visible_alias = "ls")]
    List,
    /// Make the root's successor; it issues once it is activated
    Renew {
        /// Let the successor issue, and issue every certificate anew; devices must trust it by then
        #[arg(long)]
        activate: bool,
    },
    /// Have this machine and its browsers trust the roots
    Trust {
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// Take the trust back
    Untrust {
        /// Only show what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// `portway key …`
#[derive(Debug, Subcommand)]
pub(crate) enum KeyCommand {
    /// Write the key, protected by a passphrase, to be kept apart from backups of the data
    Export {
        /// The file to write; standard output without it
        #[arg(short = 'o', long = "to-file", value_name = "FILE")]
        file: Option<Utf8PathBuf>,
        /// Read the passphrase from standard input instead of asking
        #[arg(long)]
        passphrase_stdin: bool,
    },
    /// Bring a key that was exported, for a store that is sealed with it
    Import {
        /// The file that `key export` wrote
        file: Utf8PathBuf,
        /// Read the passphrase from standard input instead of asking
        #[arg(long)]
        passphrase_stdin: bool,
    },
    /// Make a new key and seal everything anew; the manager must be stopped
    Rotate {
        /// The database [default: the one that the manager used last]
        #[arg(long, value_name = "URL", env = "PORTWAY_DATABASE", hide_env_values = true)]
        database: Option<String>,
        /// Do not ask
        #[arg(short, long)]
        yes: bool,
    },
}
