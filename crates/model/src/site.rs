//! A site that has been checked: every value typed, every default filled in.

pub mod bounds;
mod cache;
mod check;
pub mod defaults;
mod limits;
mod maintenance;
mod probes;
mod rate;
mod snippets;
pub mod spec;
mod traffic;
mod upstream;

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use camino::Utf8PathBuf;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{
    cache::{Cache, CacheBypass, CacheKey, CacheQuery, CookieRule, StatusTtl},
    check::check,
    limits::{Limits, PathRules, Spelling},
    maintenance::Maintenance,
    probes::SiteProbe,
    rate::{ConnectionLimit, CountedBy, LimitScope, Rate, RateError, RateLimit},
    snippets::Snippets,
    spec::SiteSpec,
    traffic::{Mirror, Side, SideRule, Split, Wanted},
    upstream::{
        Balance, BodyMatch, ClientCertificate, ClientKey, Ejection, HashKey, Health, HostHeader,
        HttpProbe, Pool, Probe, ProxyProtocol, Queue, Retries, StatusRange, Sticky, Target,
        Upstream, UpstreamProtocol, UpstreamTls, WeightedTarget,
    },
};
use crate::{ByteSize, HostPattern, Name, NodeSelector, PathPrefix, Seconds};

/// A site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Site {
    /// The name, unique for its owner.
    pub name: Name,
    /// What it is, for people.
    pub description: Option<String>,
    /// Words by which it is found.
    pub tags: Vec<String>,
    /// What it answers to; at least one.
    pub hosts: Vec<HostPattern>,
    /// HTTPS; nothing means plain HTTP only.
    pub https: Option<Https>,
    /// The nodes that it is on; without any, the managers' own edges.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<NodeSelector>,
    /// How its logs are written.
    pub log: LogSettings,
    /// How much and how fast clients may send and must take.
    #[serde(default, skip_serializing_if = "Limits::are_usual")]
    pub limits: Limits,
    /// Which spellings of a path are taken.
    #[serde(default, skip_serializing_if = "PathRules::are_usual")]
    pub paths: PathRules,
    /// Set while the site is worked on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<Maintenance>,
    /// What happens to which requests; at least one, in the order in which they are tried.
    pub routes: Vec<Route>,
    /// What its deployments are proven by.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<SiteProbe>,
    /// What it brings in the languages of engines.
    #[serde(default, skip_serializing_if = "Snippets::is_empty")]
    pub snippets: Snippets,
}

/// How HTTPS is served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Https {
    /// Whether plain HTTP is sent on to HTTPS.
    pub redirect: bool,
    /// The oldest TLS version.
    pub min_version: TlsVersion,
    /// Whether HTTP/2 is offered.
    pub http2: bool,
}

/// A TLS version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// RFC 5246.
    #[serde(rename = "1.2")]
    V1_2,
    /// RFC 8446.
    #[serde(rename = "1.3")]
    V1_3,
}

/// How the logs of a site are written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogSettings {
    /// Whether requests are logged; errors always are.
    pub access: bool,
    /// The form of a line.
    pub format: LogFormat,
    /// The size at which a file is put aside.
    pub max_size: ByteSize,
    /// The age at which a file is put aside.
    pub max_age: Seconds,
    /// How many files that were put aside are kept.
    pub keep: u32,
}

/// The form of an access-log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// One JSON object.
    Json,
    /// nginx's `combined`.
    Combined,
}

/// What happens to the requests that it matches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Route {
    /// Which requests.
    #[serde(rename = "match")]
    pub matches: Match,
    /// The log they are written to.
    pub log: Name,
    /// What is done on the way; the edge applies it in its own fixed order.
    pub filters: Filters,
    /// Who answers.
    pub action: Action,
}

/// Which requests a route takes. All that is given must hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Match {
    /// The path.
    pub path: PathMatch,
    /// Methods; all when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Headers (names in lower case) and the values they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Query parameters and the values they must have.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub query: BTreeMap<String, String>,
}

/// How a path is matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PathMatch {
    /// The whole path.
    Exact(String),
    /// An expression of the `regex` crate, found anywhere in the path unless it is anchored.
    Regex(String),
    /// A prefix of whole segments.
    Prefix(PathPrefix),
}

/// What is done with a request on its way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Filters {
    /// Who may; nothing means everyone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<Access>,
    /// The largest request body.
    pub max_body: ByteSize,
    /// Whether the matched prefix is taken away before the upstream sees the path.
    pub strip_prefix: bool,
    /// Changes of the request's headers.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub request_headers: HeaderEdits,
    /// Changes of the answer's headers.
    #[serde(default, skip_serializing_if = "HeaderEdits::is_empty")]
    pub response_headers: HeaderEdits,
    /// Whether answers are compressed.
    pub compress: bool,
    /// Who gets copies of the requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mirror: Option<Box<Mirror>>,
    /// How many requests may come in a time; each limit must hold.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_limits: Vec<RateLimit>,
    /// How many requests may be answered at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<Box<ConnectionLimit>>,
    /// Which answers are kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Box<Cache>>,
}

/// Who may use a route. Everything that is given must hold; the address is judged first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Access {
    /// The only networks that may; nothing means all, an empty list none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<IpNet>>,
    /// Networks that may not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<IpNet>,
    /// Name and password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuth>,
}

/// HTTP basic authentication.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BasicAuth {
    /// What the browser shows.
    pub realm: String,
    /// The users, by name.
    pub users: BTreeMap<String, Password>,
}

/// A password of basic authentication.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Password {
    /// A bcrypt hash.
    Hash(String),
    /// The password itself, on its way to be hashed.
    Plain(String),
    /// A reference to a sealed hash.
    Secret(String),
}

/// Changes of headers, applied in this order: remove, set, add. Names in lower case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct HeaderEdits {
    /// Taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
    /// Set to exactly this value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Added beside what is there.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
}

/// Who answers a request.
#[expect(
    clippy::large_enum_variant,
    reason = "most routes lead to an upstream, and a site is held only while it is compiled"
)]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An upstream.
    Proxy(Upstream),
    /// One of several upstreams, by share or by what the request has.
    Split(Split),
    /// Files of the node.
    Files(FileRoot),
    /// Nobody: the client is sent on.
    Redirect(Redirect),
    /// Portway, with a fixed answer.
    Respond(Respond),
}

/// How long to wait for an upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Seconds,
    /// From the last byte of the request to the first of the answer.
    pub first_byte: Seconds,
    /// Between two reads of the answer.
    pub silence: Seconds,
    /// Between two writes of the request.
    pub send: Seconds,
}

/// Files of the node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FileRoot {
    /// The folder, absolute.
    pub root: Utf8PathBuf,
    /// File names that stand for their folder, tried in order.
    pub index: Vec<String>,
    /// The `Cache-Control` of every file.
    pub cache_control: String,
    /// Whether the index of the root answers for paths without a file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub spa: bool,
    /// Whether folders without an index are listed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub listing: bool,
    /// Whether a compressed form beside a file, and not older, is sent in its place.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub precompressed: bool,
}

/// Where a client is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Redirect {
    /// An absolute URL or path.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Whether the path (without the matched prefix) and query of the request are appended.
    pub keep_path: bool,
}

/// A fixed answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Respond {
    /// The status.
    pub status: u16,
    /// The body.
    pub body: String,
    /// Its `Content-Type`.
    pub content_type: String,
}

impl Action {
    /// Returns the upstreams that may answer.
    pub fn upstreams(&self) -> Vec<&Upstream> {
        match self {
            Self::Proxy(upstream) => vec![upstream],
            Self::Split(split) => split.sides.iter().map(|side| &side.upstream).collect(),
            Self::Files(_) | Self::Redirect(_) | Self::Respond(_) => Vec::new(),
        }
    }
}

impl Route {
    /// Returns the upstreams that may get its requests, the mirror last.
    pub fn upstreams(&self) -> Vec<&Upstream> {
        let mirror = self.filters.mirror.as_deref().map(|mirror| &mirror.upstream);
        self.action.upstreams().into_iter().chain(mirror).collect()
    }

    /// Returns the upstreams that may get its requests, to be completed.
    pub fn upstreams_mut(&mut self) -> Vec<&mut Upstream> {
        let mut upstreams = match &mut self.action {
            Action::Proxy(upstream) => vec![upstream],
            Action::Split(split) => split.sides.iter_mut().map(|side| &mut side.upstream).collect(),
            Action::Files(_) | Action::Redirect(_) | Action::Respond(_) => Vec::new(),
        };
        upstreams.extend(self.filters.mirror.as_deref_mut().map(|mirror| &mut mirror.upstream));
        upstreams
    }
}

impl FileRoot {
    /// Returns a folder with every default.
    pub fn of(root: impl Into<Utf8PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: vec![defaults::INDEX.to_owned()],
            cache_control: defaults::CACHE_CONTROL.to_owned(),
            spa: false,
            listing: false,
            precompressed: true,
        }
    }
}

const fn yes() -> bool {
    true
}

impl Default for Timeouts {
    fn default() -> Self {
        let timeout = defaults::TIMEOUT;
        Self { connect: timeout, first_byte: timeout, silence: timeout, send: timeout }
    }
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            access: true,
            format: LogFormat::Json,
            max_size: defaults::LOG_MAX_SIZE,
            max_age: defaults::LOG_MAX_AGE,
            keep: defaults::LOG_KEEP,
        }
    }
}

impl Default for Https {
    fn default() -> Self {
        Self { redirect: true, min_version: TlsVersion::V1_2, http2: true }
    }
}

impl Timeouts {
    /// Returns the time allowed for connecting.
    pub fn connect(&self) -> Duration {
        self.connect.duration()
    }
}

impl HeaderEdits {
    /// Tells whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }
}

impl PathMatch {
    /// Returns the prefix, when it is one.
    pub fn prefix(&self) -> Option<&PathPrefix> {
        match self {
            Self::Prefix(prefix) => Some(prefix),
            Self::Exact(_) | Self::Regex(_) => None,
        }
    }
}

impl FromStr for TlsVersion {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text {
            "1.2" => Ok(Self::V1_2),
            "1.3" => Ok(Self::V1_3),
            _ => Err(()),
        }
    }
}

impl fmt::Display for PathMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(path) => write!(f, "= {path}"),
            Self::Regex(pattern) => write!(f, "~ {pattern}"),
            Self::Prefix(prefix) => write!(f, "{prefix}"),
        }
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hash(_) => f.write_str("Hash(…)"),
            Self::Plain(_) => f.write_str("Plain(…)"),
            Self::Secret(reference) => write!(f, "Secret({reference})"),
        }
    }
}
