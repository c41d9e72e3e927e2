//! Options of `engine`.

use clap::Subcommand;
use portway_model::EngineKind;

/// `portway engine …`
#[derive(Debug, Subcommand)]
pub(crate) enum EngineCommand {
    /// List the engines, with how many settings each carries out
    List,
    /// Show what an engine makes of each setting
    #[command(after_help = "\
Examples:
  portway engine show caddy --field rate_limit
  portway engine show traefik --differing")]
    Show {
        /// nginx, caddy, traefik or edge
        engine: EngineKind,
        /// Only settings whose field begins so, such as `headers`
        #[arg(long, value_name = "FIELD")]
        field: Option<String>,
        /// Only what is not as on the edge
        #[arg(long)]
        differing: bool,
    },
}
