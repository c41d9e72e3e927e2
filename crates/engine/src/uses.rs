//! Which settings a site uses. Every struct of the policy is taken apart here field by field, so that
//! the compiler finds this place when a setting is added.

mod action;
mod route;
mod upstream;

use portway_model::{
    FieldPath, HostPattern,
    site::{
        Limits, LogFormat, LogSettings, Maintenance, PathRules, RateLimit, Route, Spelling,
        Upstream,
    },
};
use portway_policy::{HttpsPolicy, SitePolicy};

use crate::Setting;

/// A setting that a site uses.
#[derive(Clone, Debug, PartialEq)]
pub struct Use<'a> {
    /// Which.
    pub setting: Setting,
    /// The field.
    pub at: FieldPath,
    /// What of its value matters.
    pub value: Value<'a>,
    /// Whether it is as it always is, so that nobody chose it.
    pub is_usual: bool,
    /// The site.
    pub site: &'a SitePolicy,
    /// The route it belongs to.
    pub route: Option<&'a Route>,
    /// The upstream it belongs to.
    pub upstream: Option<&'a Upstream>,
}

/// What of a setting's value matters to an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing but that it is used.
    Nothing,
    /// A text, such as a name or an expression.
    Text(&'a str),
    /// A name and the text that belongs to it, such as a header.
    Pair(&'a str, &'a str),
    /// A number: bytes, seconds, a count.
    Number(u64),
    /// A limit of requests in a time.
    Rate(&'a RateLimit),
}

/// Returns every setting that a site uses, in the order of its fields.
pub fn uses(site: &SitePolicy) -> Vec<Use<'_>> {
    let SitePolicy {
        format: _,
        id: _,
        name: _,
        hosts,
        https,
        log,
        routes,
        limits,
        paths,
        // Not a setting that could be carried out otherwise; see `snippet`.
        snippets: _,
        maintenance,
        blocked,
        guard,
    } = site;
    let mut list = List { site, route: None, upstream: None, uses: Vec::new() };
    let root = FieldPath::root();
    for (index, host) in hosts.iter().enumerate() {
        list.host(host, &root.key("hosts").index(index));
    }
    if let Some(https) = https {
        list.https(https, &root.key("https"));
    }
    list.log(log, &root.key("log"));
    list.limits(limits, &root.key("limits"));
    list.paths(*paths, &root.key("paths"));
    if let Some(maintenance) = maintenance {
        list.maintenance(maintenance, &root.key("maintenance"));
    }
    if blocked.is_some() {
        list.add(Setting::Blocked, &root);
    }
    if guard.is_some() {
        list.add(Setting::NetworkGuard, &root);
    }
    for (index, route) in routes.iter().enumerate() {
        list.route(route, &root.key("routes").index(index));
    }
    list.uses
}

/// The list under construction.
struct List<'a> {
    site: &'a SitePolicy,
    route: Option<&'a Route>,
    upstream: Option<&'a Upstream>,
    uses: Vec<Use<'a>>,
}

impl<'a> List<'a> {
    fn add(&mut self, setting: Setting, at: &FieldPath) {
        self.put(setting, at, Value::Nothing, false);
    }

    fn text(&mut self, setting: Setting, at: &FieldPath, text: &'a str) {
        self.put(setting, at, Value::Text(text), false);
    }

    fn number(&mut self, setting: Setting, at: &FieldPath, number: u64, usual: u64) {
        self.put(setting, at, Value::Number(number), number == usual);
    }

    fn usual(&mut self, setting: Setting, at: &FieldPath) {
        self.put(setting, at, Value::Nothing, true);
    }

    fn put(&mut self, setting: Setting, at: &FieldPath, value: Value<'a>, is_usual: bool) {
        let (site, route, upstream) = (self.site, self.route, self.upstream);
        self.uses.push(Use { setting, at: at.clone(), value, is_usual, site, route, upstream });
    }

    fn host(&mut self, host: &'a HostPattern, at: &FieldPath) {
        match host {
            HostPattern::Exact(name) => self.text(Setting::HostExact, at, name.as_str()),
            HostPattern::Wildcard(name) => self.text(Setting::HostWildcard, at, name.as_str()),
            HostPattern::Ip(_) => self.add(Setting::HostIp, at),
            HostPattern::Any => self.add(Setting::HostAny, at),
        }
    }

    fn https(&mut self, https: &'a HttpsPolicy, at: &FieldPath) {
        let HttpsPolicy { redirect, min_version, http2, certificate: _ } = https;
        self.usual(Setting::Certificate, at);
        if *redirect {
            self.usual(Setting::HttpsRedirect, &at.key("redirect"));
        }
        let is_usual = *min_version == portway_model::site::TlsVersion::V1_2;
        self.put(Setting::TlsMinVersion, &at.key("min_version"), Value::Nothing, is_usual);
        self.put(Setting::Http2, &at.key("http2"), Value::Nothing, *http2);
    }

    fn log(&mut self, log: &'a LogSettings, at: &FieldPath) {
        let LogSettings { access, format, max_size, max_age, keep } = log;
        if *access {
            self.usual(Setting::AccessLog, at);
            match format {
                LogFormat::Json => self.usual(Setting::LogJson, &at.key("format")),
                LogFormat::Combined => self.add(Setting::LogCombined, &at.key("format")),
            }
        }
        let usual = LogSettings::default();
        let is_usual = (*max_size, *max_age, *keep) == (usual.max_size, usual.max_age, usual.keep);
        self.put(Setting::LogRotation, at, Value::Nothing, is_usual);
    }

    fn limits(&mut self, limits: &'a Limits, at: &FieldPath) {
        let Limits {
            header_bytes,
            headers,
            target_bytes,
            header_time,
            body_rate,
            body_grace,
            write_stall,
            http2_streams,
        } = limits;
        let usual = Limits::default();
        for (setting, field, value, usual) in [
            (Setting::HeaderBytes, "header_bytes", header_bytes.0, usual.header_bytes.0),
            (Setting::HeaderCount, "headers", (*headers).into(), usual.headers.into()),
            (Setting::TargetBytes, "target_bytes", target_bytes.0, usual.target_bytes.0),
            (Setting::HeaderTime, "header_time", header_time.0, usual.header_time.0),
            (Setting::BodyRate, "body_rate", body_rate.0, usual.body_rate.0),
            (Setting::BodyGrace, "body_grace", body_grace.0, usual.body_grace.0),
            (Setting::WriteStall, "write_stall", write_stall.0, usual.write_stall.0),
            (
                Setting::Http2Streams,
                "http2_streams",
                (*http2_streams).into(),
                usual.http2_streams.into(),
            ),
        ] {
            self.number(setting, &at.key(field), value, usual);
        }
    }

    fn maintenance(&mut self, maintenance: &'a Maintenance, at: &FieldPath) {
        let Maintenance { message, retry_after: _, allow } = maintenance;
        self.text(Setting::Maintenance, at, message);
        if !allow.is_empty() {
            self.add(Setting::MaintenanceAllow, &at.key("allow"));
        }
    }

    /// What is refused is refused on every engine; only what is allowed is a choice.
    fn paths(&mut self, paths: PathRules, at: &FieldPath) {
        let PathRules { encoded_slash, backslash, nul, double_encoding } = paths;
        for (setting, field, spelling) in [
            (Setting::EncodedSlash, "encoded_slash", encoded_slash),
            (Setting::Backslash, "backslash", backslash),
            (Setting::Nul, "nul", nul),
            (Setting::DoubleEncoding, "double_encoding", double_encoding),
        ] {
            match spelling {
                Spelling::Refuse => {}
                Spelling::Allow => self.add(setting, &at.key(field)),
            }
        }
    }
}

#[cfg(test)]
mod tests;
