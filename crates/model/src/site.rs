//! A site that has been checked: every value typed, every default filled in.

mod check;
pub mod spec;

use std::{collections::BTreeMap, fmt, str::FromStr, time::Duration};

use camino::Utf8PathBuf;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

pub use self::{check::check, spec::SiteSpec};
use crate::{ByteSize, HostPattern, HostPort, Name, PathPrefix, Seconds};

/// What a careful engineer would choose where the operator chose nothing. Shown in the reference.
pub mod defaults {
    use super::{ByteSize, Seconds};

    /// The largest request body.
    pub const MAX_BODY: ByteSize = ByteSize(100_000_000);
    /// Each of an upstream's timeouts.
    pub const TIMEOUT: Seconds = Seconds(60);
    /// The name of a site's log.
    pub const LOG_NAME: &str = "main";
    /// The size at which a log file is put aside.
    pub const LOG_MAX_SIZE: ByteSize = ByteSize(100_000_000);
    /// The age at which a log file is put aside.
    pub const LOG_MAX_AGE: Seconds = Seconds(86_400);
    /// How many log files that were put aside are kept.
    pub const LOG_KEEP: u32 = 14;
    /// The file that stands for its folder.
    pub const INDEX: &str = "index.html";
    /// Files may be kept by the client, but are asked for anew each time, so that an edit shows.
    pub const CACHE_CONTROL: &str = "no-cache";
    /// The status of a redirect.
    pub const REDIRECT_STATUS: u16 = 302;
}

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
    /// How its logs are written.
    pub log: LogSettings,
    /// What happens to which requests; at least one, in the order in which they are tried.
    pub routes: Vec<Route>,
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// An upstream.
    Proxy(Upstream),
    /// Files of the node.
    Files(FileRoot),
    /// Nobody: the client is sent on.
    Redirect(Redirect),
    /// Portway, with a fixed answer.
    Respond(Respond),
}

/// The targets that answer and how they are spoken to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Upstream {
    /// The targets, used in turn; at least one.
    pub targets: Vec<Target>,
    /// What is spoken with them.
    pub protocol: UpstreamProtocol,
    /// TLS to them; nothing means plain.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTls>,
    /// The Host header they see.
    pub host: HostHeader,
    /// How long to wait for what.
    pub timeouts: Timeouts,
    /// The most requests in flight at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
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
    /// HTTP/2 without TLS, with prior knowledge (RFC 9113 §3.3).
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

impl Upstream {
    /// Returns the upstream of one target with every default.
    pub fn of(target: Target) -> Self {
        Self {
            targets: vec![target],
            protocol: UpstreamProtocol::Http1,
            tls: None,
            host: HostHeader::Preserve,
            timeouts: Timeouts::default(),
            max_in_flight: None,
        }
    }
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

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{path}"),
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
