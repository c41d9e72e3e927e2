//! Options of `serve` and `edge`.

use std::net::{IpAddr, SocketAddr};

use camino::Utf8PathBuf;
use clap::{Args, ValueEnum};
use portway_model::node::TrustedProxy;
use serde::Deserialize;

/// Options of `serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    #[command(flatten)]
    pub(crate) options: ServeOptions,
    /// Write systemd units for manager and edge instead of starting
    #[arg(long)]
    pub(crate) install: bool,
    /// With --install: only show what would be written
    #[arg(long, requires = "install")]
    pub(crate) dry_run: bool,
}

/// What can also stand in `config.yaml` in the data folder, under the same names.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct ServeOptions {
    #[command(flatten)]
    pub(crate) listeners: Listeners,
    /// Where API and console listen; only on this machine [default: 127.0.0.1:8900]
    #[arg(long, value_name = "ADDR", env = "PORTWAY_API")]
    pub(crate) api: Option<SocketAddr>,
    /// The database: postgres://… or sqlite://… [default: SQLite in the data folder]
    #[arg(long, value_name = "URL", env = "PORTWAY_DATABASE", hide_env_values = true)]
    pub(crate) database: Option<String>,
    /// How the manager logs
    #[arg(long, value_enum, value_name = "FORMAT", env = "PORTWAY_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// The control socket of an edge that something else starts, for example systemd
    #[arg(long, value_name = "PATH", env = "PORTWAY_EDGE_SOCKET")]
    pub(crate) edge_socket: Option<Utf8PathBuf>,
    /// Members of this group of the system are administrators on the local socket
    #[arg(long, value_name = "GROUP", env = "PORTWAY_ADMIN_GROUP")]
    pub(crate) admin_group: Option<String>,
    /// Networks of proxies in front of the edge, whose X-Forwarded-* headers are believed, or `cloudflare`, `fastly`
    #[arg(long, value_name = "NETWORK", env = "PORTWAY_TRUSTED_PROXIES", value_delimiter = ',')]
    pub(crate) trusted_proxies: Vec<TrustedProxy>,
    /// Let administrators run commands on nodes (`portway node exec`) [default: true]
    #[arg(long, value_name = "true|false", env = "PORTWAY_NODE_EXEC")]
    pub(crate) node_exec: Option<bool>,
    /// The log folder of an edge that something else starts
    #[arg(long, value_name = "DIR", env = "PORTWAY_EDGE_LOGS", requires = "edge_socket")]
    pub(crate) edge_logs: Option<Utf8PathBuf>,
    /// How often nodes are read, in seconds [default: 15]
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PORTWAY_OBSERVE_EVERY",
        value_parser = clap::value_parser!(u16).range(1..=3600)
    )]
    pub(crate) observe_every: Option<u16>,
}

/// Where the edge listens.
#[derive(Clone, Debug, Default, PartialEq, Args)]
pub(crate) struct Listeners {
    /// The port for HTTP [default: 80 as root, otherwise 8080]
    #[arg(long, value_name = "PORT", env = "PORTWAY_HTTP_PORT")]
    pub(crate) http_port: Option<u16>,
    /// The port for HTTPS [default: 443 as root, otherwise 8443]
    #[arg(long, value_name = "PORT", env = "PORTWAY_HTTPS_PORT")]
    pub(crate) https_port: Option<u16>,
    /// The port under which clients reach HTTPS, where something forwards to it
    #[arg(long, value_name = "PORT", env = "PORTWAY_PUBLIC_HTTPS_PORT")]
    pub(crate) public_https_port: Option<u16>,
    /// An address to listen on; can be given several times [default: all]
    #[arg(long, value_name = "ADDR", env = "PORTWAY_BIND", value_delimiter = ',')]
    pub(crate) bind: Vec<IpAddr>,
    /// How many threads serve requests [default: one for each core]
    #[arg(long, value_name = "N", env = "PORTWAY_WORKERS")]
    pub(crate) workers: Option<usize>,
    /// A name server, like 10.0.0.2:53, that is asked for the names of upstreams, and nobody else; can
    /// be given several times [default: as the machine looks up names]
    #[arg(long, value_name = "ADDR", env = "PORTWAY_NAME_SERVER", value_delimiter = ',')]
    pub(crate) name_server: Vec<SocketAddr>,
}

/// Options of `edge`.
#[derive(Debug, Args)]
pub(crate) struct Edge {
    #[command(flatten)]
    pub(crate) listeners: Listeners,
    /// Where the edge keeps what it serves [default: `edge` in the data folder]
    #[arg(long, value_name = "DIR")]
    pub(crate) state: Option<Utf8PathBuf>,
    /// Where the edge writes the logs of sites [default: `log` in its state]
    #[arg(long, value_name = "DIR")]
    pub(crate) log_dir: Option<Utf8PathBuf>,
    /// The socket through which the manager changes it [default: `control.sock` in its state]
    #[arg(long, value_name = "PATH")]
    pub(crate) control_socket: Option<Utf8PathBuf>,
    /// How the edge logs
    #[arg(long, value_enum, value_name = "FORMAT", env = "PORTWAY_LOG_FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
    /// Tell the edge that runs to stop after the requests in flight
    #[arg(long)]
    pub(crate) stop: bool,
    /// Put this program in the place of the edge that runs, without losing a request. It is given
    /// the options of the edge that runs, unless others are given
    #[arg(long, conflicts_with = "stop")]
    pub(crate) upgrade: bool,
    #[command(flatten)]
    pub(crate) setting_up: SettingUp,
    #[command(flatten)]
    pub(crate) started: Started,
}

/// How an edge comes to a machine that has no manager, and leaves it.
#[derive(Clone, Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
pub(crate) struct SettingUp {
    /// Install this program here as a service of systemd that is an edge alone, start it, or upgrade
    /// the one that runs without losing a request; a manager on another machine drives it over SSH
    #[arg(long, conflicts_with_all = ["stop", "upgrade", "uninstall", "disown"])]
    pub(crate) install: bool,
    /// With --install: only show what would be done
    #[arg(long, requires = "install")]
    pub(crate) dry_run: bool,
    /// With --install: let this user, as whom managers log in, open the control socket
    #[arg(long, value_name = "USER", requires = "install")]
    pub(crate) admit: Option<portway_model::node::SshUser>,
    /// Stop the edge that --install put here, and remove it with all that it keeps
    #[arg(long, conflicts_with_all = ["stop", "upgrade", "disown"])]
    pub(crate) uninstall: bool,
    /// Have the edge that runs forget which installation drives it, so that another one may
    #[arg(long, conflicts_with_all = ["stop", "upgrade"])]
    pub(crate) disown: bool,
}

/// What one process says to an edge that it starts.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Started {
    /// Take the place of the edge that answers on the control socket
    #[arg(long, hide = true, conflicts_with_all = ["stop", "upgrade"])]
    pub(crate) succeed: bool,
    /// Write where that edge writes
    #[arg(long, hide = true, requires = "succeed")]
    pub(crate) same_outputs: bool,
    /// Leave the session of the process that started it
    #[arg(long, hide = true)]
    pub(crate) detached: bool,
}

/// The form of a process's own log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// For programs
    Json,
}
