//! Options of the commands by which machines make themselves nodes.

use clap::{Args, Subcommand};
use portway_model::{EngineKind, Name};
use uuid::Uuid;

use super::nodes::label;

/// `portway node token …`
#[derive(Debug, Subcommand)]
pub(crate) enum JoinTokenCommand {
    /// Make a token by which one machine becomes a node
    Create(JoinOptions),
    /// List tokens, those that were used or have ended too
    #[command(visible_alias = "ls")]
    List,
    /// End a token by which no machine has joined yet
    Revoke {
        /// Its id
        id: Uuid,
    },
}

/// What a node will be that joins.
#[derive(Clone, Debug, Args)]
pub(crate) struct JoinOptions {
    /// What serves the sites there: `nginx`, `caddy` or `traefik`
    #[arg(long)]
    pub(crate) engine: EngineKind,
    /// The only name that the node may have (default: the machine says its own)
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<Name>,
    /// Who logs in there (default: portway)
    #[arg(long, value_name = "USER")]
    pub(crate) user: Option<String>,
    /// The port of its SSH server (default: 22)
    #[arg(long, value_name = "PORT")]
    pub(crate) ssh_port: Option<u16>,
    /// A word with a value, by which sites choose it: `label:KEY=VALUE`
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(crate) labels: Vec<(String, String)>,
    /// Where it stands, what fails together: `zone:NAME`
    #[arg(long, value_name = "NAME")]
    pub(crate) zone: Option<Name>,
    /// A group that it belongs to: `group:NAME`
    #[arg(long = "group", value_name = "NAME")]
    pub(crate) groups: Vec<Name>,
    /// Bring it to what it should have as soon as it has joined; otherwise it waits for
    /// `portway node activate`
    #[arg(long)]
    pub(crate) active: bool,
    /// Let it be on the manager's own machine, or have a link-local address
    #[arg(long)]
    pub(crate) allow_local: bool,
    /// How long the token works: `30m`, `1h`, `7d`
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = minutes)]
    pub(crate) expires: u32,
}

/// Options of `node cloud-init`.
#[derive(Debug, Args)]
pub(crate) struct CloudInitArgs {
    #[command(flatten)]
    pub(crate) join: JoinOptions,
    /// Where the machine reaches this manager (default: the published console)
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The certificate there is from an authority that machines trust anyway
    #[arg(long)]
    pub(crate) public_ca: bool,
}

/// Reads minutes, hours or days.
fn minutes(text: &str) -> Result<u32, String> {
    let units = [('m', 1), ('h', 60), ('d', 24 * 60)];
    let read = |(unit, minutes): (char, u32)| {
        text.strip_suffix(unit)?.parse::<u32>().ok()?.checked_mul(minutes)
    };
    units
        .into_iter()
        .find_map(read)
        .filter(|minutes| (1..=7 * 24 * 60).contains(minutes))
        .ok_or_else(|| "write a time of 1m to 7d".to_owned())
}
