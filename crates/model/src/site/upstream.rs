//! Upstreams that have been checked: the targets that answer, how one of them is chosen, how they
//! are watched, and how they are spoken to.
//!
//! The numbers a careful engineer would choose stand in [`super::defaults`]; some follow from other
//! settings, so [`Upstream::new`] fills them in. What has its default is not written: an object
//! without a setting means the default, and an edge that does not know the setting reads on.

mod balance;
mod health;
mod object;
mod resilience;

use std::fmt;

use camino::Utf8PathBuf;
use serde::{Deserialize, Serialize};

pub use self::{
    balance::{Balance, HashKey, Sticky},
    health::{BodyMatch, Health, HttpProbe, Probe, StatusRange},
    resilience::{Ejection, Pool, Queue, Retries},
};
use super::{Timeouts, defaults};
use crate::{ByteSize, HostPort, Seconds};

/// The targets that answer and how they are spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "object::UpstreamObject", into = "object::UpstreamObject")]
pub struct Upstream {
    /// The targets; at least one that is no backup.
    pub targets: Vec<WeightedTarget>,
    /// What is spoken with them.
    pub protocol: UpstreamProtocol,
    /// TLS to them; nothing means plain.
    pub tls: Option<UpstreamTls>,
    /// Who Portway is towards them, where TLS asks for it.
    pub client: Option<ClientCertificate>,
    /// The Host header they see.
    pub host: HostHeader,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// How one of them is chosen.
    pub balance: Balance,
    /// The cookie that keeps a client with its target.
    pub sticky: Option<Sticky>,
    /// How they are asked whether they are well; nothing means that they are not asked.
    pub health: Option<Health>,
    /// When failures of requests take a target out for a while; nothing means never.
    pub eject: Option<Ejection>,
    /// The time over which a target that came back gets its whole share.
    pub slow_start: Seconds,
    /// When a request is tried again with another target.
    pub retries: Retries,
    /// The most requests in flight at once.
    pub max_in_flight: Option<u32>,
    /// The most requests in flight at once with each target.
    pub max_in_flight_per_target: Option<u32>,
    /// Where requests wait when as many are in flight as may be; nothing means that they do not.
    pub queue: Option<Queue>,
    /// Bodies up to this size are read before a target is taken; 0 means that none is.
    pub buffer: ByteSize,
    /// How connections are kept.
    pub pool: Pool,
    /// The PROXY protocol that begins each connection.
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// A target with its share. Written as the target alone where the share is the usual one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct WeightedTarget {
    /// Where it is.
    #[serde(flatten)]
    pub to: Target,
    /// Its share, in relation to those of the others.
    #[serde(default = "usual_weight", skip_serializing_if = "is_usual_weight")]
    pub weight: u32,
    /// Whether it is used only while no other target can be.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backup: bool,
}

/// Something that answers requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// A TCP address.
    Tcp(HostPort),
    /// A unix socket of the node.
    Unix(Utf8PathBuf),
}

/// What is spoken with an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpstreamProtocol {
    /// HTTP/1.1 (RFC 9112).
    Http1,
    /// HTTP/2 (RFC 9113): by ALPN over TLS, with prior knowledge (§3.3) without.
    H2c,
}

/// TLS to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UpstreamTls {
    /// Whether its certificate is verified.
    pub verify: bool,
    /// Authorities trusted instead of the machine's, in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_pem: Option<String>,
    /// The name asked for and verified; nothing means the target's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

/// The certificate that Portway shows to an upstream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClientCertificate {
    /// The chain in PEM, leaf first.
    pub chain_pem: String,
    /// Its private key.
    pub key: ClientKey,
}

/// The private key of a client certificate.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKey {
    /// The key itself, in PEM.
    Pem(String),
    /// A reference to a sealed key.
    Secret(String),
}

/// The Host header that an upstream sees.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostHeader {
    /// The client's.
    Preserve,
    /// The target's own.
    Target,
    /// This one.
    Set(String),
}

/// A version of the PROXY protocol, with which proxies tell each other who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProxyProtocol {
    /// A line of text.
    V1,
    /// Binary.
    V2,
}

impl Upstream {
    /// Returns an upstream with every default.
    pub fn new(targets: Vec<WeightedTarget>, protocol: UpstreamProtocol) -> Self {
        Self {
            eject: (targets.len() > 1).then(Ejection::default),
            retries: Retries::usual(targets.len()),
            buffer: defaults::buffer(protocol),
            targets,
            protocol,
            tls: None,
            client: None,
            host: HostHeader::Preserve,
            timeouts: Timeouts::default(),
            balance: Balance::RoundRobin,
            sticky: None,
            health: None,
            slow_start: Seconds(0),
            max_in_flight: None,
            max_in_flight_per_target: None,
            queue: None,
            pool: Pool::default(),
            proxy_protocol: None,
        }
    }

    /// Returns the upstream of one target with every default.
    pub fn of(target: Target) -> Self {
        Self::new(vec![target.into()], UpstreamProtocol::Http1)
    }

    /// Returns this upstream as an edge of the first format understood it: with the settings of
    /// then, and the usual value of all others.
    pub fn of_first_format(&self) -> Self {
        let targets = self.targets.iter().map(|target| target.to.clone().into()).collect();
        let usual = Self::new(targets, self.protocol);
        Self {
            tls: self.tls.clone(),
            host: self.host.clone(),
            timeouts: self.timeouts,
            max_in_flight: self.max_in_flight,
            queue: Queue::usual(self.max_in_flight, None),
            ..usual
        }
    }
}

impl From<Target> for WeightedTarget {
    fn from(to: Target) -> Self {
        Self { to, weight: usual_weight(), backup: false }
    }
}

const fn usual_weight() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_usual_weight(weight: &u32) -> bool {
    *weight == usual_weight()
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
        }
    }
}

impl fmt::Display for WeightedTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to, f)
    }
}

impl fmt::Debug for ClientKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(_) => f.write_str("Pem(…)"),
            Self::Secret(reference) => write!(f, "Secret({reference})"),
        }
    }
}

#[cfg(test)]
mod tests;
