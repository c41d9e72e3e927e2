//! Nodes: where sites are served, as an operator declares them. A node is an engine and a way to
//! reach it.
//!
//! What is found out about a node (its version, what is on it, whether it answers) is observed and
//! stands elsewhere. The edges of the managers themselves are nodes that nobody declares.

mod check;
mod connection;
mod engine;
mod health;
mod measured;
mod select;
pub mod spec;
mod trusted;

use std::collections::{BTreeMap, BTreeSet};

use camino::Utf8PathBuf;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{
    check::{MANAGER_EDGE_PREFIX, check, check_thresholds},
    connection::{
        Connection, HostKeyPin, HostKeyPinError, Login, NodeSecret, Ssh, SshHop, SshUser,
        SshUserError,
    },
    engine::{EngineKind, UnknownEngine},
    health::{HealthState, Thresholds},
    measured::{Measured, Measures, Quantity},
    select::{NodeSelector, NodeSelectorError, OWN_EDGES, Traits},
    spec::NodeSpec,
    trusted::{Cdn, TrustedProxy, UnknownProxy},
};
use crate::{Name, RevisionNumber};

/// Where a node says over plain HTTP, to whoever asks for a host that no site has, whether balancers in
/// front of it should send it requests: 200, or 503 while it is draining.
pub const READY_PATH: &str = "/.well-known/portway/ready";
/// The port on which a node's engine says what it runs, for the manager alone.
pub const PROBE_PORT: u16 = 8911;
/// Where the edge that Portway installs has its control socket.
pub const EDGE_SOCKET: &str = "/run/portway-edge/edge.sock";
/// Where Portway keeps what is its own on a node.
pub const HOME: &str = "/var/lib/portway";

/// A node that has been checked: every value typed, every default filled in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// The name, unique among nodes.
    pub name: Name,
    /// What serves the sites there.
    pub engine: EngineKind,
    /// How it is reached.
    pub connection: Connection,
    /// Words with values, by which sites choose nodes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<Name, Name>,
    /// Where it stands: what fails together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<Name>,
    /// The groups that it belongs to.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub groups: BTreeSet<Name>,
    /// Whether it is brought to what it should have. An inactive one serves on what it has.
    pub active: bool,
    /// The revision at which its sites are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<RevisionNumber>,
    /// Whether balancers in front of it are told to send it nothing new.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Where its engine listens.
    pub ports: Ports,
    /// Where its files are.
    pub paths: NodePaths,
    /// Networks whose `X-Forwarded-*` headers the engine believes; what names of CDNs stand for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<IpNet>,
    /// From where on something about it deserves attention.
    #[serde(default)]
    pub health: Thresholds,
    /// What it is, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

impl Node {
    /// Tells whether two nodes are one place: the same engine on the same machine, reached in the same
    /// way, with Portway's files in the same folder. That two addresses lead to one machine is not
    /// known.
    pub fn is_in_place_of(&self, other: &Self) -> bool {
        self.engine == other.engine
            && self.paths.home == other.paths.home
            && self.connection.leads_where(&other.connection)
    }
}

/// Where an engine listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    /// Plain HTTP.
    pub http: u16,
    /// HTTPS.
    pub https: u16,
    /// What it runs, told on loopback only.
    pub probe: u16,
}

/// Where the files of a node are. What is not given is where the engine's packages put it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodePaths {
    /// The folder of what is Portway's own.
    pub home: Utf8PathBuf,
    /// What the engine reads first: `nginx.conf`, the Caddyfile, Traefik's static configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Utf8PathBuf>,
    /// What stands in the engine's own configuration for Portway's: a file that nginx includes, or
    /// one in the folder that Traefik watches.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub include: Option<Utf8PathBuf>,
    /// The folder of the logs of sites.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub logs: Option<Utf8PathBuf>,
    /// The control socket of an edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub socket: Option<Utf8PathBuf>,
    /// The engine's program, where it is in none of the usual folders for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<Utf8PathBuf>,
}

impl Default for Ports {
    fn default() -> Self {
        Self { http: 80, https: 443, probe: PROBE_PORT }
    }
}

impl Default for NodePaths {
    fn default() -> Self {
        Self {
            home: Utf8PathBuf::from(HOME),
            config: None,
            include: None,
            logs: None,
            socket: None,
            program: None,
        }
    }
}

impl Node {
    /// Returns where the node's edge, if that is its engine, has its control socket.
    pub fn control_socket(&self) -> Utf8PathBuf {
        self.paths.socket.clone().unwrap_or_else(|| Utf8PathBuf::from(EDGE_SOCKET))
    }

    /// Returns what selectors look at.
    pub fn traits(&self) -> Traits<'_> {
        Traits::Declared {
            name: &self.name,
            groups: &self.groups,
            labels: &self.labels,
            zone: self.zone.as_ref(),
        }
    }

    /// Returns every choice that chooses it.
    pub fn selectors(&self) -> Vec<NodeSelector> {
        let name = NodeSelector::Name(self.name.clone());
        let groups = self.groups.iter().cloned().map(NodeSelector::Group);
        let labels = self.labels.iter();
        let labels = labels.map(|(key, value)| NodeSelector::Label(key.clone(), value.clone()));
        let zone = self.zone.iter().cloned().map(NodeSelector::Zone);
        std::iter::once(name).chain(groups).chain(labels).chain(zone).collect()
    }
}
