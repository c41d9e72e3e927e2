//! Upstreams as an operator writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationSpec;

/// One target, several, or an upstream with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ToSpec {
    /// One target.
    One(String),
    /// Several targets.
    Many(Vec<TargetSpec>),
    /// An upstream with settings.
    Upstream(Box<UpstreamSpec>),
}

/// A target, or a target with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum TargetSpec {
    /// The target.
    To(String),
    /// The target with settings.
    Settings(TargetSettingsSpec),
}

/// A target with its share.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetSettingsSpec {
    /// The target.
    pub to: String,
    /// Its share in relation to those of the others, 1 to 1000 (default 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Use it only while no other target can be used (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backup: Option<bool>,
}

/// An upstream: the targets that answer and how they are spoken to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamSpec {
    /// The targets, all of the same scheme.
    pub targets: Vec<TargetSpec>,
    /// How one of them is chosen: `round_robin`, `least_requests`, `two_choices`, or `hash`
    /// (default `round_robin`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub balance: Option<BalanceSpec>,
    /// Keep a client with its target by a signed cookie: `true` or settings (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
    /// Ask targets whether they are well: a path, or settings (default: they are not asked).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthSpec>,
    /// Take a target out after failures of requests: settings, or `false` (default: on when there
    /// are several targets).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eject: Option<EjectSpec>,
    /// The time over which a target that came back gets its whole share (default: at once).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_start: Option<DurationSpec>,
    /// Try a request again with another target where that is safe: settings, or `false` (default:
    /// on when there are several targets).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<RetriesSpec>,
    /// The Host header the upstream sees: `preserve` (the client's), `target`, or a name
    /// (default `preserve`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// What is spoken with the targets: `http1` or `http2` (default: as the scheme says, `http2` for
    /// `h2://` and `h2c://`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<String>,
    /// TLS to the upstream, for `https://` and `h2://` targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<UpstreamTlsSpec>,
    /// Begin each connection with the PROXY protocol, `v1` or `v2` (default: without).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<String>,
    /// How long to wait for what.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeouts: Option<TimeoutsSpec>,
    /// The most requests in flight at once; more wait in the queue (default: no limit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// The most requests in flight at once with each target; more wait in the queue (default: no
    /// limit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight_per_target: Option<u32>,
    /// Where requests wait when as many are in flight as may be: settings, or `false` (default: on
    /// when there is a maximum).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueSpec>,
    /// Read request bodies up to this size before a target is taken, or `false` (default `1MB`, and
    /// `false` over HTTP/2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub buffer: Option<SwitchableSizeSpec>,
    /// How connections are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pool: Option<PoolSpec>,
}

/// A word, or a key that stays with one target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BalanceSpec {
    /// A way without settings.
    Word(String),
    /// By a key.
    Hash(HashSpec),
}

/// Requests with the same key go to the same target, as long as it can be used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HashSpec {
    /// The key: `client` (its address), `{header: NAME}` or `{cookie: NAME}`.
    pub hash: HashKeySpec,
}

/// A word, or a part of the request.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HashKeySpec {
    /// `client`.
    Word(String),
    /// A header or cookie.
    Part(RequestPartSpec),
}

/// A header or a cookie. Exactly one is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestPartSpec {
    /// The name of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
}

/// A switch, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StickySpec {
    /// On or off.
    Enabled(bool),
    /// On, with settings.
    Settings(StickySettingsSpec),
}

/// The cookie that keeps a client where it is. It is signed and names no address.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StickySettingsSpec {
    /// Its name (default: `portway_target`, and `portway_side` in a split).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// How long it is kept (default: until the browser is closed).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<DurationSpec>,
}

/// `false`, the path that is asked for, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HealthSpec {
    /// `false`: targets are not asked.
    Enabled(bool),
    /// The path.
    Path(String),
    /// The check with settings.
    Settings(HealthSettingsSpec),
}

/// How targets are asked whether they are well. Exactly one of `path`, `tcp` and `tls` says what is
/// asked.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthSettingsSpec {
    /// The path that is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Only connect.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<bool>,
    /// Only complete a TLS handshake.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<bool>,
    /// How often, `1s` to `1h` (default `5s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<DurationSpec>,
    /// How long an answer may take, at most the interval (default `2s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationSpec>,
    /// Good answers in a row after which a target is used again, 1 to 100 (default 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rise: Option<u32>,
    /// Bad answers in a row after which a target is not used any more, 1 to 100 (default 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fall: Option<u32>,
    /// A status or range of statuses that is good, or several (default `200-399`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusesSpec>,
    /// What the body must have: a text, or behind `~` a regular expression. The first 64 KB are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The Host header (default: the target's own name).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The port that is asked (default: the target's).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// `http` or `https`, to ask in HTTP/1.1 over that (default: as requests are sent).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<String>,
}

/// A status or range of statuses, or a list of such.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusesSpec {
    /// A status.
    Status(u16),
    /// A status or range.
    Range(String),
    /// Several.
    Many(Vec<StatusSpec>),
}

/// A status like `503`, or a range like `500-599`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum StatusSpec {
    /// A status.
    Status(u16),
    /// A status or range.
    Range(String),
}

/// A switch, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum EjectSpec {
    /// On or off.
    Enabled(bool),
    /// On, with settings.
    Settings(EjectSettingsSpec),
}

/// When failures of requests take a target out: no connection, no answer in time, an answer that is
/// none, and the statuses that are named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EjectSettingsSpec {
    /// How many failures, 1 to 1000 (default 5).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u32>,
    /// Within which time, `1s` to `1h` (default `30s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<DurationSpec>,
    /// For how long the first time, `1s` to `1h`; each further time in a row takes longer, up to ten
    /// times as long (default `30s`).
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    pub lasts: Option<DurationSpec>,
    /// Statuses that count as failures, like `[500-599]` (default: none).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub statuses: Option<StatusesSpec>,
}

/// A switch, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RetriesSpec {
    /// On or off.
    Enabled(bool),
    /// On, with settings.
    Settings(RetriesSettingsSpec),
}

/// When a request is tried again. Only what is safe is: nothing was sent, or the method is
/// idempotent, the body is at hand and not a byte of the answer came.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetriesSettingsSpec {
    /// The most further attempts of a request, 1 to 10 (default: the number of other targets, at
    /// most 2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    /// Retries in percent of the requests of late, `1%` to `100%` (default `20%`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub budget: Option<String>,
}

/// A switch, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum QueueSpec {
    /// On or off.
    Enabled(bool),
    /// On, with settings.
    Settings(QueueSettingsSpec),
}

/// Where requests wait when as many are in flight as may be. What finds it full, or waits too long,
/// is answered 503 with `Retry-After`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct QueueSettingsSpec {
    /// The most that wait, 1 to 100000 (default 100).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length: Option<u32>,
    /// How long each waits at most, `1s` to `10m` (default `5s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationSpec>,
}

/// `false`, or a size: bytes, or text like `1MB`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SwitchableSizeSpec {
    /// `false`: off. `true`: the default.
    Enabled(bool),
    /// Bytes.
    Bytes(u64),
    /// Text with a unit.
    Text(String),
}

/// How connections to each target are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PoolSpec {
    /// The most idle connections, 0 to 10000 (default 64).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_idle: Option<u32>,
    /// How long a connection may be idle, `1s` to `1h`; less than the target allows (default `55s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idle_timeout: Option<DurationSpec>,
    /// The most connections at once, 1 to 100000 (default: no limit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// The most requests over one connection (default: no limit).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_requests: Option<u32>,
}

/// TLS to an upstream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTlsSpec {
    /// Verify the upstream's certificate (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// Authorities to trust instead of the machine's: PEM text, or in a site file the path of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// The name that is asked for and verified (default: the target's host).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// The certificate that Portway shows: PEM text, or in a site file the path of one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<String>,
    /// Its private key: PEM text, or in a site file the path of one. It is sealed at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_key: Option<ClientKeySpec>,
}

/// A private key, or one that Portway already keeps.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ClientKeySpec {
    /// The key in PEM.
    Pem(String),
    /// A reference.
    Kept(KeptKeySpec),
}

/// A private key that Portway already keeps.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KeptKeySpec {
    /// A secret of this installation, as `export` writes it.
    pub secret: String,
}

/// How long to wait for an upstream: 1 second to 1 day.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TimeoutsSpec {
    /// Until the connection stands (default `60s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect: Option<DurationSpec>,
    /// From the last byte of the request to the first of the answer (default `60s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_byte: Option<DurationSpec>,
    /// Between two reads of the answer (default `60s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub silence: Option<DurationSpec>,
    /// Between two writes of the request (default `60s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send: Option<DurationSpec>,
}

impl ToSpec {
    /// Returns the targets as they are written.
    pub fn targets(&self) -> Vec<&str> {
        match self {
            Self::One(target) => vec![target],
            Self::Many(targets) => targets.iter().map(TargetSpec::text).collect(),
            Self::Upstream(upstream) => upstream.targets.iter().map(TargetSpec::text).collect(),
        }
    }
}

impl TargetSpec {
    /// Returns the target as it is written.
    pub fn text(&self) -> &str {
        let (Self::To(text) | Self::Settings(TargetSettingsSpec { to: text, .. })) = self;
        text
    }

    /// Returns the target as it is written, to be changed.
    pub fn text_mut(&mut self) -> &mut String {
        let (Self::To(text) | Self::Settings(TargetSettingsSpec { to: text, .. })) = self;
        text
    }
}

impl From<String> for TargetSpec {
    fn from(text: String) -> Self {
        Self::To(text)
    }
}

impl std::fmt::Debug for ClientKeySpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ClientKeySpec(…)")
    }
}
