//! A site as an operator writes it, in a site file or through the API. Nothing here is checked
//! beyond its shape; [`super::check()`] turns it into a [`super::Site`].

mod cache;
mod limits;
mod probes;
mod rate;
mod shaping;
mod snippets;
mod traffic;
mod upstream;

use std::collections::BTreeMap;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    cache::*, limits::*, probes::*, rate::*, shaping::*, snippets::*, traffic::*, upstream::*,
};
use crate::FieldPath;

/// A site. Two facts make one: a host and a target. Exactly one of `to`, `split`, `files`,
/// `redirect`, `respond` and `routes` says what it does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SiteSpec {
    /// Host names the site answers to: `app.example.org`, `*.example.org` (one label), an IP
    /// address, or `*` for every host that no other site has.
    pub hosts: Vec<String>,
    /// Where requests go: `127.0.0.1:5000`, `https://app.internal`, `h2c://127.0.0.1:9000`,
    /// `unix:/run/app.sock`, several of them, or an upstream with settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ToSpec>,
    /// Upstreams between which requests are divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// A folder whose files are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// An address to which clients are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// A fixed answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<RespondSpec>,
    /// What happens to which requests. The most specific route wins: `exact` before `regex` before
    /// the longest `path`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<RouteSpec>,
    /// Where old addresses lead: redirects that stand beside whatever else the site does.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirects: Option<RedirectListSpec>,
    /// HTTPS: `true` (the default), `false`, or settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub https: Option<HttpsSpec>,
    /// Who may use the site. A route with its own `access` replaces it for that route.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,
    /// Headers that are set, added or removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersSpec>,
    /// Set `X-Content-Type-Options`, `X-Frame-Options` and `Referrer-Policy` and remove `X-Powered-By`,
    /// unless `headers` says something else of them (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<bool>,
    /// Compress answers with gzip, Brotli or Zstandard when the client accepts it (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// The largest request body, for example `50MB` (default `100MB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<SizeSpec>,
    /// Who gets copies of the requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// How many requests may come in a time, such as `100/min` of each client; more are answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
    /// How many requests, of each client, may be answered at the same time; more are answered 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<ConnectionLimitSpec>,
    /// Which answers of upstreams are kept and given again: `true` for those that say how long,
    /// `10m` also for those that say nothing, or settings (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSpec>,
    /// How much and how fast clients may send and must take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limits: Option<LimitsSpec>,
    /// Which spellings of a path are taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paths: Option<PathsSpec>,
    /// Answer every request 503 while the site is worked on: `true`, or settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub maintenance: Option<MaintenanceSpec>,
    /// The access and error log: a name, `false` for no access log, or settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<LogSpec>,
    /// The nodes that serve the site: names, `group:NAME`, `label:KEY=VALUE`, `zone:NAME`, and
    /// `local` for the managers' own edges (default `[local]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nodes: Option<Vec<String>>,
    /// Requests by which each deployment of the site is proven: asked before and after. What is worse
    /// afterwards takes the site back to what it was.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeSpec>,
    /// Directives in the languages of engines, which go as they are into what the engine is given.
    /// Only administrators may write or change them; Portway does not understand them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snippets: Option<SnippetsSpec>,
    /// What the site is, for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Words by which sites are found and grouped.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A route: what it matches and what happens then. Settings that are not given come from the site.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteSpec {
    /// A path prefix of whole segments: `/open` matches `/open` and `/open/x` (default `/`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A whole path, instead of a prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// A regular expression that the path must match, instead of a prefix. Anchored only where it
    /// says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// Methods; all when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<String>,
    /// Request headers that must have these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_headers: BTreeMap<String, String>,
    /// Query parameters that must have these values.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub match_query: BTreeMap<String, String>,
    /// Take the matched prefix away before the upstream sees the path (default `false`; files are
    /// always looked up below the prefix). `X-Forwarded-Prefix` tells the upstream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub strip_prefix: Option<bool>,
    /// Where requests go.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ToSpec>,
    /// Upstreams between which requests are divided.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<SplitSpec>,
    /// A folder whose files are served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<FilesSpec>,
    /// An address to which clients are sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<RedirectSpec>,
    /// A fixed answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub respond: Option<RespondSpec>,
    /// Who may use the route; replaces the site's `access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<AccessSpec>,
    /// Headers that are set, added or removed; replaces the site's `headers`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<HeadersSpec>,
    /// As in the site (default: as the site).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub security_headers: Option<bool>,
    /// Compress answers (default: as the site).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compress: Option<bool>,
    /// The largest request body (default: as the site).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<SizeSpec>,
    /// Who gets copies of the requests; replaces the site's `mirror`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mirror: Option<MirrorSpec>,
    /// How many requests may come in a time; replaces the site's `rate_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<RateLimitSpec>,
    /// How many requests may be answered at the same time; replaces the site's `connection_limit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connection_limit: Option<ConnectionLimitSpec>,
    /// Which answers are kept; replaces the site's `cache`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<CacheSpec>,
    /// The name of the log that requests of this route are written to (default: as the site).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

/// A duration: seconds, or text like `30s` or `1h30m`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum DurationSpec {
    /// Seconds.
    Seconds(u64),
    /// Text with units.
    Text(String),
}

/// A size: bytes, or text like `50MB`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SizeSpec {
    /// Bytes.
    Bytes(u64),
    /// Text with a unit.
    Text(String),
}

/// A folder, or a folder with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FilesSpec {
    /// The folder.
    Root(String),
    /// The folder with settings.
    Settings(FileSettingsSpec),
}

/// How the files of a folder are served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct FileSettingsSpec {
    /// The folder; in a site file relative to the file.
    pub root: String,
    /// Files that stand for their folder (default `[index.html]`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<Vec<String>>,
    /// The `Cache-Control` of every file (default `no-cache`: kept, and asked for anew each time).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_control: Option<String>,
    /// Answer paths without a file with the index of the root, for applications in the browser
    /// (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spa: Option<bool>,
    /// List folders without an index (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub listing: Option<bool>,
    /// Send `FILE.br`, `FILE.zst` or `FILE.gz` in the place of `FILE` when it is not older and the
    /// client takes it (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precompressed: Option<bool>,
}

/// An address, or a redirect with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RedirectSpec {
    /// The address.
    To(String),
    /// The address with settings.
    Settings(RedirectSettingsSpec),
}

/// Where and how clients are sent on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectSettingsSpec {
    /// An absolute URL or an absolute path.
    pub to: String,
    /// 301, 302, 303, 307 or 308 (default 302).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Append the path (without the matched prefix) and the query of the request (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep_path: Option<bool>,
}

/// A fixed answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RespondSpec {
    /// The status, 200 to 599 (default 200).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// The body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// The `Content-Type` (default `text/plain; charset=utf-8`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
}

/// A switch, or HTTPS with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HttpsSpec {
    /// On or off.
    Enabled(bool),
    /// On, with settings.
    Settings(HttpsSettingsSpec),
}

/// How HTTPS is served.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpsSettingsSpec {
    /// Send plain HTTP on to HTTPS (default `true`); `false` serves both.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<bool>,
    /// The oldest TLS version: `1.2` (the default) or `1.3`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_version: Option<String>,
    /// Tell browsers never to try plain HTTP again: `true`, or settings (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hsts: Option<HstsSpec>,
    /// Offer HTTP/2 (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2: Option<bool>,
}

/// `public`, or who may use a site or route. Everything that is given must hold; addresses are
/// judged before credentials.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum AccessSpec {
    /// `public`: everyone, also where the site says otherwise.
    Word(String),
    /// The rules.
    Rules(AccessRulesSpec),
}

/// Who may use a site or route.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AccessRulesSpec {
    /// Addresses and networks that may; all others may not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allow: Option<Vec<String>>,
    /// Addresses and networks that may not, also where `allow` has them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub deny: Vec<String>,
    /// Name and password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic: Option<BasicAuthSpec>,
}

/// HTTP basic authentication (RFC 7617).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuthSpec {
    /// What the browser shows (default: the site's name).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub realm: Option<String>,
    /// The users with their passwords.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub users: IndexMap<String, PasswordSpec>,
    /// A file with lines `name:hash` (bcrypt), in a site file; its users are taken over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub htpasswd: Option<String>,
}

/// A password: a bcrypt hash, the password itself, or one that Portway already keeps.
#[derive(Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum PasswordSpec {
    /// A bcrypt hash, as `htpasswd -B` makes it.
    Hash(String),
    /// A password or a reference.
    Value(PasswordValueSpec),
}

/// A password itself, or one that Portway already keeps. Exactly one is given.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PasswordValueSpec {
    /// The password; it is hashed at once and never kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<String>,
    /// A secret of this installation, as `export` writes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
}

/// Changes of headers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeadersSpec {
    /// Of the request, before the upstream sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<HeaderEditsSpec>,
    /// Of the answer, before the client sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<HeaderEditsSpec>,
}

/// Changes of the headers of one direction, in this order: remove, set, add.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HeaderEditsSpec {
    /// Headers that get exactly this value.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub set: BTreeMap<String, String>,
    /// Headers that get this value beside those they have.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub add: BTreeMap<String, String>,
    /// Headers that are taken away.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove: Vec<String>,
}

/// A switch, a name, or a log with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum LogSpec {
    /// `false`: no access log; errors are still logged.
    Enabled(bool),
    /// The name of the log (default `main`).
    Name(String),
    /// The log with settings.
    Settings(LogSettingsSpec),
}

/// How requests are logged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSettingsSpec {
    /// The name of the log (default `main`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `json` (the default) or `combined` (as nginx writes it).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub format: Option<String>,
    /// A file that grew to this size is put aside (default `100MB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_size: Option<SizeSpec>,
    /// A file is put aside after this time (default `1d`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationSpec>,
    /// How many files that were put aside are kept (default 14).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keep: Option<u32>,
}

impl std::fmt::Debug for PasswordSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordSpec(…)")
    }
}

impl std::fmt::Debug for PasswordValueSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordValueSpec(…)")
    }
}

impl SiteSpec {
    /// Returns the site that two facts make.
    pub fn proxy(host: impl Into<String>, target: impl Into<String>) -> Self {
        Self { hosts: vec![host.into()], to: Some(ToSpec::One(target.into())), ..Self::default() }
    }

    /// Returns every upstream in the site with the path that leads to it.
    pub fn upstreams_mut(&mut self) -> Vec<(FieldPath, &mut ToSpec)> {
        let root = FieldPath::root();
        let mut found = Vec::new();
        upstreams_at(&root, &mut self.to, &mut self.split, &mut self.mirror, &mut found);
        for (index, route) in self.routes.iter_mut().enumerate() {
            let path = root.key("routes").index(index);
            upstreams_at(&path, &mut route.to, &mut route.split, &mut route.mirror, &mut found);
        }
        found
    }

    /// Returns every key of a client certificate in the site with the path that leads to it.
    pub fn client_keys_mut(&mut self) -> Vec<(FieldPath, &mut ClientKeySpec)> {
        let keys = self.upstreams_mut().into_iter().filter_map(|(path, to)| match to {
            ToSpec::Upstream(upstream) => {
                let key = upstream.tls.as_mut()?.client_key.as_mut()?;
                Some((path.key("tls").key("client_key"), key))
            }
            ToSpec::One(_) | ToSpec::Many(_) => None,
        });
        keys.collect()
    }

    /// Returns every password in the site with the path that leads to it.
    pub fn passwords_mut(&mut self) -> Vec<(FieldPath, &mut PasswordSpec)> {
        let root = FieldPath::root();
        let of_site = (root.key("access"), self.access.as_mut());
        let of_routes = self.routes.iter_mut().enumerate().map(|(index, route)| {
            (root.key("routes").index(index).key("access"), route.access.as_mut())
        });
        let mut found = Vec::new();
        for (path, access) in std::iter::once(of_site).chain(of_routes) {
            let Some(AccessSpec::Rules(AccessRulesSpec { basic: Some(basic), .. })) = access else {
                continue;
            };
            let users = path.key("basic").key("users");
            found.extend(basic.users.iter_mut().map(|(name, value)| (users.key(name), value)));
        }
        found
    }
}

fn upstreams_at<'a>(
    path: &FieldPath,
    to: &'a mut Option<ToSpec>,
    split: &'a mut Option<SplitSpec>,
    mirror: &'a mut Option<MirrorSpec>,
    found: &mut Vec<(FieldPath, &'a mut ToSpec)>,
) {
    found.extend(to.as_mut().map(|to| (path.key("to"), to)));
    let split_path = path.key("split");
    let (sides, sides_path) = match split {
        Some(SplitSpec::Sides(sides)) => (sides.as_mut_slice(), split_path),
        Some(SplitSpec::Settings(settings)) => {
            (settings.sides.as_mut_slice(), split_path.key("sides"))
        }
        None => (&mut [][..], split_path),
    };
    for (index, side) in sides.iter_mut().enumerate() {
        found.extend(side.to.as_mut().map(|to| (sides_path.index(index).key("to"), to)));
    }
    if let Some(MirrorSpec::Settings(settings)) = mirror {
        found.extend(settings.to.as_mut().map(|to| (path.key("mirror").key("to"), to)));
    }
}
