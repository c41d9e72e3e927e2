//! A site, ready for requests: headers typed, expressions compiled, routes ordered. How it comes to
//! be is in [`super::compile`].

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};
use ipnet::IpNet;
use portway_model::{
    Id, Name, PathPrefix, Site,
    site::{CacheQuery, FileRoot, Limits, Maintenance, PathRules},
};
use portway_policy::Blocked;
use portway_telemetry::access::Stage;

use super::{conditions::Conditions, mirror::CompiledMirror, reading::Reading, routes::RouteTable};
use crate::{
    admission::{Admission, Tally},
    balance::{Balancer, Splitter, States},
    body::Pace,
    cache::CompiledCache,
    checks::{Checks, Plan, Watches},
    log::SiteLog,
    metrics::SiteMetrics,
    proxy::Peer,
};

/// A site, ready for requests.
pub(crate) struct CompiledSite {
    /// Its id.
    pub(crate) id: Id<Site>,
    /// Its name.
    pub(crate) name: Name,
    /// HTTPS; nothing means that it is served over plain HTTP only.
    pub(crate) https: Option<HttpsRule>,
    /// Set while every request is answered 403.
    pub(crate) blocked: Option<Blocked>,
    /// Set while the site is worked on.
    pub(crate) maintenance: Option<Maintenance>,
    /// How much and how fast clients may send and must take.
    pub(crate) limits: SiteLimits,
    /// Which spellings of a path are taken.
    pub(crate) paths: PathRules,
    /// The routes as they were written.
    pub(crate) routes: Vec<CompiledRoute>,
    /// The routes as they are tried.
    pub(crate) table: Arc<RouteTable>,
    /// The log of what reaches no route.
    pub(crate) log: Arc<SiteLog>,
    /// What counts of queries where answers are kept; each way once.
    pub(crate) cache_queries: Vec<CacheQuery>,
    /// What outlives a change.
    pub(crate) runtime: Arc<SiteRuntime>,
}

/// How much and how fast clients may send and must take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SiteLimits {
    /// The largest head, and the longest time for one.
    pub(crate) reading: Reading,
    /// How fast a body must come; nothing means at any pace.
    pub(crate) pace: Option<Pace>,
    /// How long a client may take nothing of its answer.
    pub(crate) write_stall: Duration,
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
    pub(crate) label: Arc<str>,
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
    /// How many requests may come; nothing means any number.
    pub(crate) admission: Option<Box<Admission>>,
    /// Who gets copies of the requests.
    pub(crate) mirror: Option<Arc<CompiledMirror>>,
    /// What it has to do with kept answers.
    pub(crate) cache: Option<CacheRole>,
}

/// What a route has to do with kept answers.
pub(crate) enum CacheRole {
    /// Those of its upstream are kept.
    Keeps(Arc<CompiledCache>),
    /// What it does takes away those that other routes keep.
    Clears,
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
    pub(super) remove: Vec<HeaderName>,
    pub(super) set: Vec<(HeaderName, HeaderValue)>,
    pub(super) add: Vec<(HeaderName, HeaderValue)>,
}

/// Who answers.
pub(crate) enum CompiledAction {
    /// An upstream.
    Proxy(Arc<CompiledUpstream>),
    /// One of several upstreams.
    Split(Box<CompiledSplit>),
    /// Files.
    Files(Arc<FileRoot>),
    /// Nobody: the client is sent on.
    Redirect(CompiledRedirect),
    /// A fixed answer.
    Respond(CompiledRespond),
}

/// An upstream, ready to be dialled.
pub(crate) struct CompiledUpstream {
    /// Chooses targets, and has what was written.
    pub(crate) balancer: Arc<Balancer>,
    /// The targets as they are dialled, in the same order.
    pub(crate) peers: Vec<Arc<Peer>>,
    /// How they are checked.
    pub(crate) checks: Option<Plan>,
    /// Sets kept answers of it apart from those of others.
    pub(crate) scope: u64,
}

/// Upstreams between which requests are divided.
pub(crate) struct CompiledSplit {
    /// Chooses one.
    pub(crate) splitter: Splitter,
    /// The upstreams with the names of their sides, in the order of their declaration.
    pub(crate) sides: Vec<(Name, Arc<CompiledUpstream>)>,
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
    /// How targets are, and who waits.
    pub(crate) states: States,
    /// The targets that are asked whether they are well.
    pub(crate) watches: Watches,
    /// What is counted for limits, from the first request on.
    tally: OnceLock<Arc<Tally>>,
}

impl SiteRuntime {
    /// Returns what is counted for limits.
    pub(crate) fn tally(&self) -> &Arc<Tally> {
        self.tally.get_or_init(Arc::default)
    }
}

impl From<&Limits> for SiteLimits {
    fn from(limits: &Limits) -> Self {
        let pace = Pace { rate: limits.body_rate.0, grace: limits.body_grace.duration() };
        Self {
            reading: Reading::of(limits),
            pace: (pace.rate > 0).then_some(pace),
            write_stall: limits.write_stall.duration(),
        }
    }
}

impl Edits {
    /// Says what is changed; nothing where nothing is.
    pub(crate) fn in_words(&self) -> Option<String> {
        let of = |list: &[(HeaderName, HeaderValue)]| {
            list.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
        };
        let (set, add) = (of(&self.set), of(&self.add));
        let names = |list: &[HeaderName]| {
            list.iter().map(HeaderName::as_str).collect::<Vec<_>>().join(", ")
        };
        let all = [("removed", names(&self.remove)), ("set", names(&set)), ("added", names(&add))];
        let told: Vec<String> = all
            .into_iter()
            .filter(|(_, names)| !names.is_empty())
            .map(|(what, names)| format!("{names} {what}"))
            .collect();
        (!told.is_empty()).then(|| told.join("; "))
    }

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

impl CompiledSite {
    /// Returns the targets of all its upstreams.
    pub(super) fn targets(&self) -> BTreeSet<String> {
        let peers = self.upstreams().flat_map(|upstream| &upstream.peers);
        peers.map(|peer| peer.target.to_string()).collect()
    }

    /// Begins to ask the targets that are to be checked; those that are asked already go on.
    pub(super) fn begin_checks(&self, checks: &Checks) {
        for upstream in self.upstreams() {
            if let Some(plan) = &upstream.checks {
                plan.begin(checks, self, &upstream.balancer);
            }
        }
    }

    /// Tells whether a target is to be checked.
    pub(super) fn is_checked(&self) -> bool {
        self.upstreams().any(|upstream| upstream.checks.is_some())
    }

    /// Returns all its upstreams.
    pub(crate) fn upstreams(&self) -> impl Iterator<Item = &CompiledUpstream> {
        self.routes.iter().flat_map(|route| {
            let mirror = route.mirror.as_ref().map(|mirror| &mirror.upstream);
            route.action.upstreams().into_iter().chain(mirror)
        })
    }
}

impl CompiledAction {
    /// Returns the stage that carries it out.
    pub(crate) fn stage(&self) -> Stage {
        match self {
            Self::Proxy(_) | Self::Split(_) => Stage::Upstream,
            Self::Files(_) => Stage::Files,
            Self::Redirect(_) => Stage::Redirect,
            Self::Respond(_) => Stage::Respond,
        }
    }

    /// Returns the upstreams that may answer.
    fn upstreams(&self) -> Vec<&CompiledUpstream> {
        match self {
            Self::Proxy(upstream) => vec![upstream],
            Self::Split(split) => split.sides.iter().map(|(_, upstream)| &**upstream).collect(),
            Self::Files(_) | Self::Redirect(_) | Self::Respond(_) => Vec::new(),
        }
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
