//! From a policy to a site that is ready for requests. What is wrong is a list of findings, all of
//! them at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    sync::Arc,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use portway_model::{
    FieldPath, FindingCode, Findings, Name, ResourceKind,
    site::{
        Access, Action, BasicAuth, Cache, CacheQuery, Filters, HeaderEdits, HostHeader,
        LogSettings, Match, Mirror, Password, Redirect, Respond, Route, Split, Upstream, defaults,
    },
};
use portway_policy::{NetworkGuard, SitePolicy};

use super::{
    conditions::{self, Conditions},
    mirror::CompiledMirror,
    routes::RouteTable,
    site::{
        AccessRule, BasicRule, CacheRole, CompiledAction, CompiledRedirect, CompiledRespond,
        CompiledRoute, CompiledSite, CompiledSplit, CompiledUpstream, Edits, HttpsRule, SiteLimits,
        SiteRuntime,
    },
};
use crate::{
    admission::Admission,
    balance::{Balancer, Moment, Splitter, StickyKey},
    cache::CompiledCache,
    checks::{Plan, QuestionError},
    log::SiteLog,
    proxy::{Peer, PeerError, UpstreamTlsError},
};

/// What a site is compiled with, beside its policy.
pub(crate) struct Ground<'a> {
    /// What outlives a change of the site.
    pub(crate) runtime: &'a Arc<SiteRuntime>,
    /// Signs cookies.
    pub(crate) key: &'a StickyKey,
    /// The time.
    pub(crate) now: Moment,
}

/// Compiles a policy, or says everything that is wrong with it.
pub(crate) fn compile(
    policy: SitePolicy,
    ground: &Ground<'_>,
) -> Result<CompiledSite, Vec<portway_model::Finding>> {
    let mut compiler = Compiler {
        findings: Findings::about(ResourceKind::Site, policy.name.as_str()),
        ground,
        scope: policy.id.to_string(),
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
        paths.push((route.matches.path.clone(), conditions::count(&route.matches)));
        routes.extend(compiler.route(route, &at.index(index)));
    }
    let table = RouteTable::build(&mut compiler.findings, &paths);
    if compiler.findings.has_errors() {
        return Err(compiler.findings.into_vec());
    }
    ground.runtime.states.forget_unused();
    let cache_queries = clear_with(&mut routes);
    Ok(CompiledSite {
        id: policy.id,
        name: policy.name,
        https: policy.https.map(|https| HttpsRule { redirect: https.redirect }),
        maintenance: policy.maintenance,
        blocked: policy.blocked,
        limits: SiteLimits::from(&policy.limits),
        paths: policy.paths,
        routes,
        table: Arc::new(table),
        log,
        cache_queries,
        runtime: Arc::clone(ground.runtime),
    })
}

/// What a route asks of its upstream in another way is another answer.
fn keeps(cache: Cache, place: &str, way: (&HeaderEdits, bool)) -> CacheRole {
    let added = (&cache.key.headers, &cache.key.cookies);
    let scope = scope(&(place, way, added));
    CacheRole::Keeps(Arc::new(CompiledCache::of(cache).within(scope)))
}

/// Sums up what sets kept answers apart: the same for the same, whatever else of the site changes.
fn scope(what: &impl std::fmt::Debug) -> u64 {
    let mut hasher = DefaultHasher::new();
    format!("{what:?}").hash(&mut hasher);
    hasher.finish()
}

/// Lets every route to an upstream clear what others keep, where any does. Returns the ways in which
/// queries count.
fn clear_with(routes: &mut [CompiledRoute]) -> Vec<CacheQuery> {
    let keeping = routes.iter().filter_map(|route| match &route.cache {
        Some(CacheRole::Keeps(cache)) => Some(cache.settings.key.query.clone()),
        Some(CacheRole::Clears) | None => None,
    });
    let queries: BTreeSet<CacheQuery> = keeping.collect();
    if !queries.is_empty() {
        for route in routes {
            let proxied =
                matches!(route.action, CompiledAction::Proxy(_) | CompiledAction::Split(_));
            if route.cache.is_none() && proxied {
                route.cache = Some(CacheRole::Clears);
            }
        }
    }
    queries.into_iter().collect()
}

struct Compiler<'a> {
    findings: Findings,
    ground: &'a Ground<'a>,
    /// Sets the site's cookies apart from those of others.
    scope: String,
    guard: Option<&'a NetworkGuard>,
    folder: String,
    log: LogSettings,
    logs: HashMap<Name, Arc<SiteLog>>,
}

impl Compiler<'_> {
    /// Returns nothing where a finding says why.
    fn route(&mut self, route: Route, at: &FieldPath) -> Option<CompiledRoute> {
        let label = route.matches.path.to_string().into();
        let prefix = route.matches.path.prefix().cloned();
        let conditions = self.conditions(&route.matches, &at.key("match"));
        let filters = route.filters;
        // Named by what it takes, so that a route keeps its states when others come and go.
        let place = format!("{:?}", route.matches);
        let admission = self.admission(&filters, &place, at);
        let access = filters.access.map(|access| self.access(access, &at.key("access")));
        let edits = at.key("headers");
        let request_headers = self.edits(&filters.request_headers, &edits.key("request"));
        let response_headers = self.edits(&filters.response_headers, &edits.key("response"));
        let action = self.action(route.action, &place, at)?;
        let way = (&filters.request_headers, filters.strip_prefix);
        let cache = filters.cache.map(|cache| keeps(*cache, &place, way));
        let mirror = filters.mirror.map(|mirror| self.mirror(*mirror, &place, &at.key("mirror")));
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
            admission: admission.map(Box::new),
            mirror: mirror.flatten(),
            cache,
        })
    }

    fn admission(&mut self, filters: &Filters, place: &str, at: &FieldPath) -> Option<Admission> {
        let connections = filters.connection_limit.as_deref();
        let compiled = Admission::compile(&filters.rate_limits, connections, place);
        compiled.unwrap_or_else(|error| {
            let at = at.key("rate_limit");
            self.findings.error(FindingCode::InvalidName, &at, error.to_string());
            None
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

    fn action(&mut self, action: Action, place: &str, at: &FieldPath) -> Option<CompiledAction> {
        Some(match action {
            Action::Proxy(upstream) => {
                CompiledAction::Proxy(Arc::new(self.upstream(upstream, place, &at.key("to"))?))
            }
            Action::Split(split) => {
                CompiledAction::Split(Box::new(self.split(split, place, &at.key("split"))?))
            }
            Action::Files(root) => CompiledAction::Files(Arc::new(root)),
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

    fn split(&mut self, split: Split, place: &str, at: &FieldPath) -> Option<CompiledSplit> {
        let splitter = Splitter::new(&split, self.ground.key, &self.scope);
        if splitter.is_none() {
            let text = "a rule names a header that is none";
            self.findings.error(FindingCode::InvalidName, at, text);
        }
        let mut sides = Vec::with_capacity(split.sides.len());
        for (index, side) in split.sides.into_iter().enumerate() {
            let at = at.key("sides").index(index).key("to");
            let place = format!("{place} {}", side.name);
            sides.push((side.name, Arc::new(self.upstream(side.upstream, &place, &at)?)));
        }
        Some(CompiledSplit { splitter: splitter?, sides })
    }

    fn mirror(
        &mut self,
        mirror: Mirror,
        place: &str,
        at: &FieldPath,
    ) -> Option<Arc<CompiledMirror>> {
        let upstream = self.upstream(mirror.upstream, &format!("{place} mirror"), &at.key("to"))?;
        Some(Arc::new(CompiledMirror::new(upstream, mirror.percent, mirror.max_body.0)))
    }

    fn upstream(
        &mut self,
        upstream: Upstream,
        place: &str,
        at: &FieldPath,
    ) -> Option<CompiledUpstream> {
        let mut peers = Vec::with_capacity(upstream.targets.len());
        for (index, target) in upstream.targets.iter().enumerate() {
            match Peer::of(&target.to, &upstream, self.guard) {
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
        if peers.is_empty() || peers.len() != upstream.targets.len() {
            return None;
        }
        let checks = Plan::of(&upstream, self.guard);
        let checks = checks.map_err(|error| self.bad_check(&error, &at.key("health"))).ok()?;
        let scope = scope(&(place, &upstream.targets, &upstream.host));
        let Ground { runtime, key, now } = self.ground;
        let settings = Arc::new(upstream);
        let balancer = Balancer::new(settings, &runtime.states, place, key, &self.scope, *now);
        Some(CompiledUpstream { balancer: Arc::new(balancer), peers, checks, scope })
    }

    fn bad_check(&mut self, error: &QuestionError, at: &FieldPath) {
        let at = match error {
            QuestionError::BadPath(_) => at.key("path"),
            QuestionError::BadHost(_) => at.key("host"),
            QuestionError::BadBody(_) => at.key("body"),
            QuestionError::Peer(_) => at.clone(),
        };
        self.findings.error(FindingCode::InvalidValue, &at, crate::body::chain(error));
    }

    fn bad_peer(&mut self, error: &PeerError, at: &FieldPath, index: usize) {
        let tls = at.key("tls");
        let at = match error {
            PeerError::BadHost(_) => at.key("targets").index(index),
            PeerError::Tls(error) => match error {
                UpstreamTlsError::BadAuthority(_) | UpstreamTlsError::NoAuthority => tls.key("ca"),
                UpstreamTlsError::BadServerName(_) => tls.key("server_name"),
                UpstreamTlsError::BadClientCertificate(_) => tls.key("client_certificate"),
                UpstreamTlsError::BadClientKey(_) | UpstreamTlsError::KeyMismatch => {
                    tls.key("client_key")
                }
                UpstreamTlsError::Config(_) => tls,
            },
        };
        self.findings.error(FindingCode::InvalidTarget, &at, crate::body::chain(error));
    }
}
