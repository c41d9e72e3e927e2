//! What the control plane and an edge say to each other over the edge's control socket: HTTP/1.1
//! with JSON over a unix socket.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/status` | [`Status`] |
//! | `GET /v1/index` | [`IndexListing`] |
//! | `POST /v1/change` with [`Change`] | [`ChangeReport`]; 409 with [`Conflict`] when the base is another, 423 with [`Owner`] when the edge is somebody else's |
//! | `GET /v1/targets` | list of [`TargetStatus`] |
//! | `POST /v1/explain` with [`Trial`] | [`TrialReport`]; 400 when it is no request |
//! | `POST /v1/cache/purge` with [`Purge`] | [`PurgeReport`]; 400 when what is to go has no meaning |
//! | `POST /v1/cache/stats` with [`CacheQuestion`] | [`CacheStats`] |
//! | `GET /v1/metrics` | Prometheus text |
//! | `POST /v1/stop` | 202; the edge stops after the requests in flight |
//! | `POST /v1/succeed` with `Upgrade: portway-succession` | 101; another edge takes its place, see `portway_edge` |
//!
//! An edge whose place another one has taken answers 503 with the code [`SUCCEEDED`]; the same
//! request, sent again, reaches the other one.

use std::{collections::BTreeMap, net::IpAddr};

use jiff::Timestamp;
use portway_model::{Finding, Id, Site};
use serde::{Deserialize, Serialize};

use crate::{CertificateObject, Claim, Digest, NodeSettings, Owner, SitePolicy};

/// The version of what is said over the control socket. The sites in it carry
/// [a version of their own](crate::FORMAT), so that one of a later format is refused alone.
pub const PROTOCOL: u32 = 1;

/// The code of an answer by an edge whose place another one has taken: nothing was done.
pub const SUCCEEDED: &str = "succeeded";

/// What an edge says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The format of sites it writes; see [`crate::FORMAT`].
    pub format: u32,
    /// The version of the binary.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// The digest over everything it serves.
    pub digest: Digest,
    /// The number of sites it has.
    pub sites: usize,
    /// The addresses on which it listens, as bound.
    pub listeners: Vec<ListenerStatus>,
    /// Open connections of clients.
    pub connections: u64,
    /// How it was started; nothing is known of an edge of an earlier version.
    #[serde(default)]
    pub invocation: Invocation,
    /// The last attempt to put another edge in its place, where that failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed_upgrade: Option<FailedUpgrade>,
    /// Whether it keeps in mind whose it is; one of an earlier version does not.
    #[serde(default)]
    pub keeps_owner: bool,
    /// Whose it is; nobody's before the first claim.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<Owner>,
}

/// How an edge was started.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Invocation {
    /// The program that runs, as the file that it was: device, inode, size and time of writing.
    pub program: String,
    /// What was typed after the program.
    pub arguments: Vec<String>,
}

/// An edge that was to take the place of another one, and did not.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FailedUpgrade {
    /// When it failed.
    pub at: Timestamp,
    /// The version of its binary, as far as it is known.
    pub version: String,
    /// Why.
    pub reason: String,
}

/// What an edge found out about a target that is declared to be checked. Targets are checked from the
/// first request of their site on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetStatus {
    /// The site.
    pub site: Id<Site>,
    /// The target, as it is written.
    pub target: String,
    /// Whether it is used, by what checks found.
    pub healthy: bool,
    /// When it was asked last.
    pub checked_at: Timestamp,
    /// What was wrong then, if anything was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Kept answers of a site that are to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// The site.
    pub site: Id<Site>,
    /// Which of them.
    pub what: PurgeWhat,
}

/// Which kept answers are to go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PurgeWhat {
    /// All of them.
    All,
    /// Those to one URL, or to one path with its query under every host of the site.
    Url(String),
    /// Those to URLs, or paths, that begin so.
    Prefix(String),
    /// Those that their upstream gave one of these tags.
    Tags(Vec<String>),
}

/// How many kept answers went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeReport {
    /// How many.
    pub purged: u64,
}

/// A site of which it is asked what is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheQuestion {
    /// The site.
    pub site: Id<Site>,
}

/// What an edge keeps of a site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheStats {
    /// The number of kept answers.
    pub objects: u64,
    /// The memory that they take.
    pub bytes: u64,
    /// The memory that those of all sites take.
    pub used: u64,
    /// The memory that they may take.
    pub capacity: u64,
    /// Requests since the edge started, by what the cache did.
    pub requests: BTreeMap<String, u64>,
}

/// A listening socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// The address with the real port.
    pub address: std::net::SocketAddr,
    /// Whether it speaks TLS.
    pub tls: bool,
}

/// A request that is not sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Trial {
    /// Whose it would be.
    pub from: IpAddr,
    /// The method.
    pub method: String,
    /// Scheme, host, path and query.
    pub url: String,
    /// Its headers.
    #[serde(default)]
    pub headers: Vec<(String, String)>,
}

/// What would become of a request.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct TrialReport {
    /// The name of the site; nothing where none answers to the host.
    pub site: Option<String>,
    /// The match of the route.
    pub route: Option<String>,
    /// The last stage that it would reach.
    pub stage: Option<String>,
    /// The stable name of what would go wrong.
    pub code: Option<String>,
    /// The status, where no target decides it.
    pub status: Option<u16>,
    /// What each stage would decide.
    pub steps: Vec<TrialStep>,
}

/// What a stage would decide.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrialStep {
    /// The stage.
    pub stage: String,
    /// What it would decide.
    pub text: String,
}

/// Everything an edge has, by digest.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IndexListing {
    /// The digest over everything.
    pub digest: Digest,
    /// The digest of its settings.
    pub settings: Digest,
    /// Each site's policy.
    pub sites: BTreeMap<Id<Site>, Digest>,
    /// The certificates it holds.
    pub certificates: Vec<Digest>,
}

/// A change of an edge's content. It is durable before it is answered, and live at once: requests
/// that began before keep what they began with.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// [`PROTOCOL`] of the writer.
    pub format: u32,
    /// The digest the sender believes the edge to have; another one is a conflict and changes
    /// nothing.
    pub base: Option<Digest>,
    /// New settings of the node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<NodeSettings>,
    /// Certificates that the edge may not have yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<CertificateObject>,
    /// Sites that are new or changed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub put: Vec<SitePolicy>,
    /// Sites that are gone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<Id<Site>>,
    /// Whose the edge is. A claim that does not count changes nothing, and nothing else of the change
    /// is carried out. An edge of an earlier version does not read it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub claim: Option<Claim>,
}

/// What became of a change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeReport {
    /// The digest over everything, as it serves now.
    pub digest: Digest,
    /// Sites that could not be taken, with the reasons; their last version serves on.
    pub refused: Vec<Refused>,
}

/// A site that an edge could not take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Refused {
    /// The site.
    pub site: Id<Site>,
    /// Why.
    pub findings: Vec<Finding>,
}

/// The answer to a change whose base is not what the edge has.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Conflict {
    /// What the edge has.
    pub digest: Digest,
}
