//! A site's policy made ready for requests: headers typed, expressions compiled, routes ordered.
//! What is wrong is a list of findings, all of them at once.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use ipnet::IpNet;
use portway_model::{
    FieldPath, FindingCode, Findings, Name, PathPrefix, ResourceKind,
    site::{
        Access, Action, BasicAuth, FileRoot, HeaderEdits, HostHeader, LogSettings, Match, Password,
        Redirect, Respond, Route, Upstream, defaults,
    },
};
use portway_policy::{Blocked, NetworkGuard, SitePolicy};

use super::routes::RouteTable;
use crate::{
    log::SiteLog,
    metrics::SiteMetrics,
    proxy::{Peer, UpstreamTlsError},
};

/// A site, ready for requests.
pub(crate) struct CompiledSite {
    /// Its name.
    pub(crate) name: Name,
    /// HTTPS; nothing means that it is served over plain HTTP only.
    pub(crate) https: Option<HttpsRule>,
    /// Set while every request is answered 403.
    pub(crate) blocked: Option<Blocked>,
    /// The routes as they were written.
    pub(crate) routes: Vec<CompiledRoute>,
    /// The routes as they are tried.
    pub(crate) table: Arc<RouteTable>,
    /// The log of what reaches no route.
    pub(crate) log: Arc<SiteLog>,
    /// What outlives a change.
    pub(crate) runtime: Arc<SiteRuntime>,
}

/// What is done with plain HTTP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HttpsRule {
    /// Whether it is sent on to HTTPS.
    pub(crate) redirect: bool,
}

/// A route, ready for requests.
pub(crate) struct CompiledRoute {
    /// What must hold beside the path.
    pub(crate) conditions: Conditions,
    /// The path, as people write it.
    pub(crate) label: Box<str>,
    /// The prefix, when the path is one.
    pub(crate) prefix: Option<PathPrefix>,
    /// The log of its requests.
    pub(crate) log: Arc<SiteLog>,
    /// Who may.
    pub(crate) access: Option<AccessRule>,
    /// The largest request body.
    pub(crate) max_body: u64,
    /// Whether upstreams see the path without the prefix.
    pub(crate) strip_prefix: bool,
    /// Changes of the request's headers.
    pub(crate) request_headers: Edits,
    /// Changes of the answer's headers.
    pub(crate) response_headers: Edits,
    /// Whether answers are compressed.
    pub(crate) compress: bool,
    /// Who answers.
    pub(crate) action: CompiledAction,
}

/// What must hold of a request beside its path.
#[derive(Debug, Default)]
pub(crate) struct Conditions {
    /// Methods; all when empty.
    pub(crate) methods: Vec<Method>,
    /// Headers and their values.
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Query parameters and their values, decoded.
    pub(crate) query: Vec<(String, String)>,
}

/// Who may use a route.
#[derive(Debug)]
pub(crate) struct AccessRule {
    /// The only networks that may; nothing means all.
    pub(crate) allow: Option<Vec<IpNet>>,
    /// Networks that may not.
    pub(crate) deny: Vec<IpNet>,
    /// Name and password.
    pub(crate) basic: Option<BasicRule>,
}

/// Name and password.
pub(crate) struct BasicRule {
    /// What the browser shows.
    pub(crate) realm: String,
    /// The bcrypt hash of each user.
    pub(crate) users: BTreeMap<String, Arc<str>>,
}

/// Changes of headers, in this order: remove, set, add.
#[derive(Debug, Default)]
pub(crate) struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// Who answers.
pub(crate) enum CompiledAction {
    /// An upstream.
    Proxy(Box<CompiledUpstream>),
    /// Files.
    Files(FileRoot),
    /// Nobody: the client is sent on.
    Redirect(CompiledRedirect),
    /// A fixed answer.
    Respond(CompiledRespond),
}

/// An upstream, ready to be dialled.
pub(crate) struct CompiledUpstream {
    /// What was written.
    pub(crate) settings: Upstream,
    /// Its targets.
    pub(crate) peers: Vec<Arc<Peer>>,
    /// The target whose turn is next.
    pub(crate) turn: AtomicUsize,
    /// Requests in flight; kept over changes of the site.
    pub(crate) in_flight: Arc<AtomicU32>,
}

/// Where a client is sent.
#[derive(Debug)]
pub(crate) struct CompiledRedirect {
    /// Where.
    pub(crate) to: String,
    /// The status.
    pub(crate) status: StatusCode,
    /// Whether path and query are appended.
    pub(crate) keep_path: bool,
}

/// A fixed answer.
#[derive(Debug)]
pub(crate) struct CompiledRespond {
    /// The status.
    pub(crate) status: StatusCode,
    /// The body.
    pub(crate) body: Bytes,
    /// Its type.
    pub(crate) content_type: HeaderValue,
}

/// What outlives a change of a site.
#[derive(Default)]
pub(crate) struct SiteRuntime {
    /// Counters, from the first request on.
    pub(crate) metrics: OnceLock<Arc<SiteMetrics>>,
    /// Requests in flight by upstream: its targets, joined.
    in_flight: Mutex<HashMap<String, Arc<AtomicU32>>>,
}

/// Compiles a policy, or says everything that is wrong with it.
pub(crate) fn compile(
    policy: SitePolicy,
    runtime: &Arc<SiteRuntime>,
) -> Result<CompiledSite, Vec<portway_model::Finding>> {
    let mut compiler = Compiler {
        findings: Findings::about(ResourceKind::Site, policy.name.as_str()),
        runtime,
        guard: policy.guard.as_ref(),
        folder: policy.log_folder(),
        log: policy.log.clone(),
        logs: HashMap::new(),
    };
    let at = FieldPath::root().key("routes");
    // The constant is a name; the site's own stands in where it were not.
    let log_name = defaults::LOG_NAME.parse().unwrap_or_else(|_| policy.name.clone());
    let log = compiler.named_log(&log_name);
    let mut routes = Vec::with_capacity(policy.routes.len());
    let mut paths = Vec::with_capacity(policy.routes.len());
    for (index, route) in policy.routes.into_iter().enumerate() {
        paths.push((route.matches.path.clone(), condition_count(&route.matches)));
        routes.extend(compiler.route(route, &at.index(index)));
    }
    let table = RouteTable::build(&mut compiler.findings, &paths);
    if compiler.findings.has_errors() {
        return Err(compiler.findings.into_vec());
    }
    Ok(CompiledSite {
        name: policy.name,
        https: policy.https.map(|https| HttpsRule { redirect: https.redirect }),
        blocked: policy.blocked,
        routes,
        table: Arc::new(table),
        log,
        runtime: Arc::clone(runtime),
    })
}

/// Returns how many things must hold beside the path.
fn condition_count(matches: &Match) -> usize {
    usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len()
}

struct Compiler<'a> {
    findings: Findings,
    runtime: &'a SiteRuntime,
    guard: Option<&'a NetworkGuard>,
    folder: String,
    log: LogSettings,
    logs: HashMap<Name, Arc<SiteLog>>,
}

impl Compiler<'_> {
    /// Returns nothing where a finding says why.
    fn route(&mut self, route: Route, at: &FieldPath) -> Option<CompiledRoute> {
        let label = route.matches.path.to_string().into_boxed_str();
        let prefix = route.matches.path.prefix().cloned();
        let conditions = self.conditions(&route.matches, &at.key("match"));
        let filters = route.filters;
        let access = filters.access.map(|access| self.access(access, &at.key("access")));
        let edits = at.key("headers");
        let request_headers = self.edits(&filters.request_headers, &edits.key("request"));
        let response_headers = self.edits(&filters.response_headers, &edits.key("response"));
        let action = self.action(route.action, at)?;
        Some(CompiledRoute {
            conditions,
            label,
            prefix,
            log: self.named_log(&route.log),
            access,
            max_body: filters.max_body.0,
            strip_prefix: filters.strip_prefix,
            request_headers,
            response_headers,
            compress: filters.compress,
            action,
        })
    }

    /// Routes with the same log share one handle.
    fn named_log(&mut self, name: &Name) -> Arc<SiteLog> {
        if let Some(log) = self.logs.get(name) {
            return Arc::clone(log);
        }
        let log = Arc::new(SiteLog::new(self.folder.clone(), name, self.log.clone()));
        self.logs.insert(name.clone(), Arc::clone(&log));
        log
    }

    fn conditions(&mut self, matches: &Match, at: &FieldPath) -> Conditions {
        let mut conditions = Conditions {
            query: matches.query.clone().into_iter().collect(),
            headers: self.headers(&matches.headers, &at.key("headers")),
            methods: Vec::with_capacity(matches.methods.len()),
        };
        for (index, method) in matches.methods.iter().enumerate() {
            match Method::from_bytes(method.as_bytes()) {
                Ok(method) => conditions.methods.push(method),
                Err(_) => {
                    let at = at.key("methods").index(index);
                    let text = format!("`{method}` is not a method");
                    self.findings.error(FindingCode::InvalidValue, &at, text);
                }
            }
        }
        conditions
    }

    fn access(&mut self, access: Access, at: &FieldPath) -> AccessRule {
        let basic = access.basic.map(|basic| self.basic(basic, &at.key("basic")));
        AccessRule { allow: access.allow, deny: access.deny, basic }
    }

    fn basic(&mut self, basic: BasicAuth, at: &FieldPath) -> BasicRule {
        let mut users = BTreeMap::new();
        for (name, password) in basic.users {
            match password {
                Password::Hash(hash) if hash.parse::<bcrypt::HashParts>().is_ok() => {
                    users.insert(name, hash.into());
                }
                Password::Hash(_) | Password::Plain(_) | Password::Secret(_) => {
                    let text = format!("the password of `{name}` is not a bcrypt hash");
                    let at = at.key("users").key(name);
                    self.findings.error(FindingCode::InvalidHash, &at, text);
                }
            }
        }
        BasicRule { realm: basic.realm, users }
    }

    fn edits(&mut self, edits: &HeaderEdits, at: &FieldPath) -> Edits {
        let mut remove = Vec::with_capacity(edits.remove.len());
        for (index, name) in edits.remove.iter().enumerate() {
            remove.extend(self.header_name(name, &at.key("remove").index(index)));
        }
        Edits {
            remove,
            set: self.headers(&edits.set, &at.key("set")),
            add: self.headers(&edits.add, &at.key("add")),
        }
    }

    fn headers(
        &mut self,
        headers: &BTreeMap<String, String>,
        at: &FieldPath,
    ) -> Vec<(HeaderName, HeaderValue)> {
        let mut typed = Vec::with_capacity(headers.len());
        for (name, value) in headers {
            let at = at.key(name);
            let name = self.header_name(name, &at);
            let value = self.header_value(value, &at);
            typed.extend(name.zip(value));
        }
        typed
    }

    fn header_name(&mut self, name: &str, at: &FieldPath) -> Option<HeaderName> {
        let typed = HeaderName::from_bytes(name.as_bytes()).ok();
        if typed.is_none() {
            let text = format!("`{name}` is not a header name");
            self.findings.error(FindingCode::InvalidName, at, text);
        }
        typed
    }

    fn header_value(&mut self, value: &str, at: &FieldPath) -> Option<HeaderValue> {
        let typed = HeaderValue::from_str(value).ok();
        if typed.is_none() {
            let text = "a header cannot carry this value";
            self.findings.error(FindingCode::InvalidValue, at, text);
        }
        typed
    }

    fn action(&mut self, action: Action, at: &FieldPath) -> Option<CompiledAction> {
        Some(match action {
            Action::Proxy(upstream) => {
                CompiledAction::Proxy(Box::new(self.upstream(upstream, &at.key("to"))?))
            }
            Action::Files(root) => CompiledAction::Files(root),
            Action::Redirect(redirect) => {
                CompiledAction::Redirect(self.redirect(redirect, &at.key("redirect"))?)
            }
            Action::Respond(respond) => {
                CompiledAction::Respond(self.respond(respond, &at.key("respond"))?)
            }
        })
    }

    fn redirect(&mut self, redirect: Redirect, at: &FieldPath) -> Option<CompiledRedirect> {
        self.header_value(&redirect.to, &at.key("to"))?;
        let status = self.status(redirect.status, &at.key("status"))?;
        Some(CompiledRedirect { to: redirect.to, status, keep_path: redirect.keep_path })
    }

    fn respond(&mut self, respond: Respond, at: &FieldPath) -> Option<CompiledRespond> {
        let status = self.status(respond.status, &at.key("status"))?;
        let content_type = self.header_value(&respond.content_type, &at.key("content_type"))?;
        Some(CompiledRespond { status, body: Bytes::from(respond.body), content_type })
    }

    fn status(&mut self, status: u16, at: &FieldPath) -> Option<StatusCode> {
        let typed = StatusCode::from_u16(status).ok().filter(|s| (200..=599).contains(&s.as_u16()));
        if typed.is_none() {
            let text = format!("{status} is not a status that can be answered (200 to 599)");
            self.findings.error(FindingCode::InvalidValue, at, text);
        }
        typed
    }

    fn upstream(&mut self, upstream: Upstream, at: &FieldPath) -> Option<CompiledUpstream> {
        let mut peers = Vec::with_capacity(upstream.targets.len());
        for (index, target) in upstream.targets.iter().enumerate() {
            match Peer::of(target, &upstream, self.guard) {
                Ok(peer) => peers.push(Arc::new(peer)),
                Err(error) => self.bad_peer(&error, at, index),
            }
        }
        if let HostHeader::Set(host) = &upstream.host {
            self.header_value(host, &at.key("host"));
        }
        if upstream.targets.is_empty() {
            self.findings.error(FindingCode::MissingField, at, "an upstream has no target");
        }
        let in_flight = self.runtime.in_flight(&upstream);
        let turn = AtomicUsize::new(0);
        (!peers.is_empty()).then_some(CompiledUpstream {
            settings: upstream,
            peers,
            turn,
            in_flight,
        })
    }

    fn bad_peer(&mut self, error: &UpstreamTlsError, at: &FieldPath, index: usize) {
        let at = match error {
            UpstreamTlsError::BadAuthority(_) | UpstreamTlsError::NoAuthority => {
                at.key("tls").key("ca")
            }
            UpstreamTlsError::BadServerName(_) => at.key("tls").key("server_name"),
            UpstreamTlsError::BadHost(_) => at.key("targets").index(index),
            UpstreamTlsError::Config(_) => at.key("tls"),
        };
        self.findings.error(FindingCode::InvalidTarget, &at, crate::body::chain(error));
    }
}

impl Conditions {
    /// Tells whether all of them hold.
    pub(crate) fn hold(&self, request: &http::request::Parts) -> bool {
        let method = self.methods.is_empty() || self.methods.contains(&request.method);
        let header = |(name, value): &(HeaderName, HeaderValue)| {
            request.headers.get_all(name).iter().any(|found| found == value)
        };
        method
            && self.headers.iter().all(header)
            && (self.query.is_empty() || self.query_holds(request.uri.query().unwrap_or_default()))
    }

    fn query_holds(&self, query: &str) -> bool {
        let has = |name: &str, value: &str| {
            query.split('&').any(|pair| {
                let (found, its) = pair.split_once('=').unwrap_or((pair, ""));
                form_decode(found) == name.as_bytes() && form_decode(its) == value.as_bytes()
            })
        };
        self.query.iter().all(|(name, value)| has(name, value))
    }
}

/// Decodes a part of a query as forms encode it; a broken escape stands for itself.
fn form_decode(text: &str) -> Vec<u8> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        let escape = || {
            let (digits, tail) = tail.split_at_checked(2)?;
            let digit = |byte: &u8| char::from(*byte).to_digit(16);
            let mut value = 0;
            for byte in digits {
                value = value * 16 + digit(byte)?;
            }
            Some((u8::try_from(value).ok()?, tail))
        };
        match (byte, escape()) {
            (b'+', _) => decoded.push(b' '),
            (b'%', Some((value, tail))) => {
                decoded.push(value);
                rest = tail;
            }
            (byte, _) => decoded.push(byte),
        }
    }
    decoded
}

impl Edits {
    /// Carries the changes out.
    pub(crate) fn apply(&self, headers: &mut http::HeaderMap) {
        for name in &self.remove {
            headers.remove(name);
        }
        for (name, value) in &self.set {
            headers.insert(name, value.clone());
        }
        for (name, value) in &self.add {
            headers.append(name, value.clone());
        }
    }
}

impl SiteRuntime {
    fn in_flight(&self, upstream: &Upstream) -> Arc<AtomicU32> {
        let targets: Vec<String> = upstream.targets.iter().map(ToString::to_string).collect();
        let mut counters = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        // Counters of upstreams that are gone and idle are not kept.
        counters
            .retain(|_, count| Arc::strong_count(count) > 1 || count.load(Ordering::Relaxed) > 0);
        Arc::clone(counters.entry(targets.join(" ")).or_default())
    }
}

impl std::fmt::Debug for BasicRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BasicRule").field("realm", &self.realm).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_compared_decoded() {
        let conditions =
            Conditions { query: vec![("a b".into(), "ü".into())], ..Conditions::default() };
        let request = |query: &str| {
            let uri = format!("http://h/?{query}");
            http::Request::get(uri).body(()).unwrap().into_parts().0
        };
        assert!(conditions.hold(&request("x=1&a+b=%C3%BC")));
        assert!(conditions.hold(&request("a%20b=%c3%bc")));
        assert!(!conditions.hold(&request("a+b=u")));
        assert!(!conditions.hold(&request("")));
    }

    #[test]
    fn edits_are_applied_in_their_order() {
        let name = |text: &'static str| HeaderName::from_static(text);
        let value = |text: &'static str| HeaderValue::from_static(text);
        let edits = Edits {
            remove: vec![name("a")],
            set: vec![(name("b"), value("2"))],
            add: vec![(name("a"), value("3")), (name("b"), value("4"))],
        };
        let mut headers = http::HeaderMap::new();
        headers.insert("a", value("0"));
        headers.insert("b", value("1"));

        edits.apply(&mut headers);

        let all = |name: &str| headers.get_all(name).iter().cloned().collect::<Vec<_>>();
        assert_eq!(all("a"), ["3"]);
        assert_eq!(all("b"), ["2", "4"]);
    }
}
