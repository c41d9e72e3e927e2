//! Options of `import`.

use camino::Utf8PathBuf;
use clap::{Args, Subcommand};

use super::Waiting;

/// Whose configuration is taken over.
#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Make site files of nginx's configuration
    Nginx {
        /// nginx.conf, the folder that it stands in, or a file with servers
        #[arg(default_value = "/etc/nginx/nginx.conf")]
        path: Utf8PathBuf,
        /// A node that is to serve the sites; can be given several times
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Make site files of a Caddyfile
    Caddy {
        /// The Caddyfile, or the folder that it stands in
        #[arg(default_value = "/etc/caddy/Caddyfile")]
        path: Utf8PathBuf,
        /// A node that is to serve the sites; can be given several times
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        options: ImportOptions,
    },
    /// Make site files of the files of Traefik's file provider
    Traefik {
        /// The folder of the files (YAML and TOML), or one of them
        path: Utf8PathBuf,
        /// A node that is to serve the sites; can be given several times
        #[arg(long = "node", value_name = "NODE")]
        nodes: Vec<String>,
        #[command(flatten)]
        options: ImportOptions,
    },
}

/// What is done with what was taken over.
#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct ImportOptions {
    /// The folder into which a site file for each site and the whole report are written; without it,
    /// one site file goes to standard output
    #[arg(long, value_name = "FOLDER")]
    pub(crate) to: Option<Utf8PathBuf>,
    /// Show what applying the sites would change, ask, and apply them
    #[arg(long)]
    pub(crate) apply: bool,
    /// Apply without asking
    #[arg(short, long, requires = "apply")]
    pub(crate) yes: bool,
    /// Show what was converted as it is, too
    #[arg(long)]
    pub(crate) all: bool,
    /// Open what limits of requests protected, instead of closing it: such limits are not converted
    #[arg(long)]
    pub(crate) without_limits: bool,
    #[command(flatten)]
    pub(crate) waiting: Waiting,
}
