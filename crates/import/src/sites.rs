//! From drafts to sites that apply cleanly: names, hosts that two drafts want, what all routes have
//! in common, and what the checks of a site refuse.

use std::collections::BTreeSet;

use indexmap::IndexMap;
use portway_model::{
    Finding, FindingCode, Location, Name, SiteSpec, Step,
    site::{
        check,
        spec::{AccessRulesSpec, AccessSpec, RespondSpec, RouteSpec},
    },
};

use crate::{
    options::Options,
    report::{Id, Ledger},
};

/// A site under construction.
#[derive(Clone, Debug)]
pub(crate) struct Draft {
    /// What it was made from.
    pub(crate) id: Id,
    /// The site; its actions stand in routes.
    pub(crate) spec: SiteSpec,
    /// What each route was made from.
    pub(crate) routes: Vec<Id>,
}

impl Draft {
    pub(crate) fn new(id: Id, spec: SiteSpec) -> Self {
        Self { id, spec, routes: Vec::new() }
    }

    pub(crate) fn push(&mut self, id: Id, route: RouteSpec) {
        self.routes.push(id);
        self.spec.routes.push(route);
    }

    fn remove_route(&mut self, index: usize) {
        self.spec.routes.remove(index);
        self.routes.remove(index);
    }

    /// Removes a route that an earlier one leaves nothing to. Where others are let in by that, it lets
    /// in nobody.
    fn merge_route(&mut self, index: usize) {
        let Some(lost) = self.spec.routes.get(index).cloned() else { return };
        self.remove_route(index);
        let refuses = |route: &RouteSpec| {
            let status = route.respond.as_ref().and_then(|respond| respond.status);
            status.is_some_and(|status| status >= 400)
        };
        for route in &mut self.spec.routes {
            let is_stricter = (lost.access.is_some() && lost.access != route.access)
                || refuses(&lost) != refuses(route);
            if is_alike(route, &lost) && is_stricter {
                route.access = Some(nobody());
            }
        }
    }

    fn close(&mut self) {
        self.spec.access = Some(nobody());
        for route in &mut self.spec.routes {
            route.access = None;
        }
    }
}

/// Tells whether two routes match the same requests.
pub(crate) fn is_alike(one: &RouteSpec, other: &RouteSpec) -> bool {
    let path = |route: &RouteSpec| {
        let is_prefix = route.exact.is_none() && route.regex.is_none();
        is_prefix.then(|| route.path.as_deref().unwrap_or("/").trim_end_matches('/').to_owned())
    };
    path(one) == path(other)
        && one.exact == other.exact
        && one.regex == other.regex
        && one.methods == other.methods
        && one.match_headers == other.match_headers
        && one.match_query == other.match_query
}

/// Returns rules that let nobody in.
pub(crate) fn nobody() -> AccessSpec {
    AccessSpec::Rules(AccessRulesSpec { allow: Some(Vec::new()), ..AccessRulesSpec::default() })
}

/// Returns an answer of a status alone.
pub(crate) fn status(status: u16) -> RespondSpec {
    RespondSpec { status: Some(status), ..RespondSpec::default() }
}

/// Returns the answer of a route whose action there is not.
pub(crate) fn unavailable(what: &str) -> RespondSpec {
    RespondSpec {
        status: Some(503),
        body: Some(format!("Not converted: {what}\n")),
        content_type: None,
    }
}

/// Returns the sites. A host belongs to the first draft that has it.
pub(crate) fn finish(
    drafts: Vec<Draft>,
    options: &Options,
    ledger: &mut Ledger,
) -> IndexMap<Name, SiteSpec> {
    let mut sites = IndexMap::new();
    let mut names: BTreeSet<String> = options.taken.iter().cloned().collect();
    let mut hosts: BTreeSet<String> = BTreeSet::new();
    for mut draft in drafts {
        keep_free_hosts(&mut draft, &mut hosts, ledger);
        if draft.spec.hosts.is_empty() {
            continue;
        }
        if !options.nodes.is_empty() {
            draft.spec.nodes = Some(options.nodes.clone());
        }
        let Some(name) = new_name(&draft, &mut names, ledger) else { continue };
        let ids: BTreeSet<Id> = draft.routes.iter().copied().chain([draft.id]).collect();
        if let Some(spec) = sound(&name, draft, ledger) {
            for id in &ids {
                ledger.about(*id, &name);
            }
            sites.insert(name, spec);
        }
    }
    sites
}

fn keep_free_hosts(draft: &mut Draft, hosts: &mut BTreeSet<String>, ledger: &mut Ledger) {
    let id = draft.id;
    draft.spec.hosts.retain(|host| {
        let is_free = hosts.insert(host.to_ascii_lowercase());
        if !is_free {
            let note = format!("`{host}` is answered by a site that was read before");
            ledger.not_converted(id, note);
        }
        is_free
    });
    if draft.spec.hosts.is_empty() {
        ledger.not_converted(id, "no site is made of it: it has no host of its own");
    }
}

fn new_name(draft: &Draft, names: &mut BTreeSet<String>, ledger: &mut Ledger) -> Option<Name> {
    let host = draft.spec.hosts.first()?;
    let wanted = match host.as_str() {
        "*" => "default",
        host => host.strip_prefix("*.").unwrap_or(host),
    };
    let base = Name::suggest(wanted).or_else(|| Name::suggest("site"))?;
    for number in 1..=names.len() + 2 {
        let text = if number == 1 {
            base.to_string()
        } else {
            let short: String = base.as_str().chars().take(56).collect();
            format!("{}-{number}", short.trim_end_matches(['-', '_', '.']))
        };
        if names.insert(text.clone()) {
            if number > 1 {
                let note = format!("there is a site `{base}` already, so this one is `{text}`");
                ledger.approximated(draft.id, note);
            }
            return text.parse().ok();
        }
    }
    None
}

/// Returns the site as it can be applied, or nothing where none is left.
fn sound(name: &Name, mut draft: Draft, ledger: &mut Ledger) -> Option<SiteSpec> {
    let most = draft.spec.routes.len() * 2 + draft.spec.hosts.len() + 4;
    for _ in 0..most {
        let (_, findings) = check(name, &draft.spec);
        let Some(finding) = findings.into_iter().find(Finding::is_error) else {
            return Some(tidy(draft.spec));
        };
        if !mend(&mut draft, &finding, ledger) {
            ledger.closes(draft.id, format!("no site is made of it: {}", finding.text));
            return None;
        }
    }
    ledger.closes(draft.id, "no site is made of it: too much in it cannot be a site");
    None
}

/// Takes away what was refused, never so that more is open than before.
fn mend(draft: &mut Draft, finding: &Finding, ledger: &mut Ledger) -> bool {
    let Location::Field { path, .. } = &finding.at else { return false };
    let (field, index, part) = match path.steps() {
        [Step::Key(field), Step::Index(index)] => (field.as_str(), *index, ""),
        [Step::Key(field), Step::Index(index), Step::Key(part), ..] => {
            (field.as_str(), *index, part.as_str())
        }
        _ => return false,
    };
    let reason = finding.text.clone();
    match field {
        "hosts" if index < draft.spec.hosts.len() => {
            draft.spec.hosts.remove(index);
            ledger.not_converted(draft.id, reason);
            true
        }
        "routes" => {
            let Some(id) = draft.routes.get(index).copied() else { return false };
            mend_route(draft, index, id, part, finding.code, &reason, ledger);
            true
        }
        _ => false,
    }
}

fn mend_route(
    draft: &mut Draft,
    index: usize,
    id: Id,
    part: &str,
    code: FindingCode,
    reason: &str,
    ledger: &mut Ledger,
) {
    let Some(route) = draft.spec.routes.get_mut(index) else { return };
    match part {
        "" if code == FindingCode::RouteTaken => {
            ledger.approximated(id, "an earlier one takes all of its requests");
            draft.merge_route(index);
        }
        "path" | "exact" | "regex" => {
            let what =
                "which requests it is about cannot be said here, so the whole site lets nobody in";
            ledger.closes(id, format!("{reason}; {what}"));
            draft.remove_route(index);
            if draft.spec.routes.is_empty() {
                let route =
                    RouteSpec { respond: Some(unavailable("routes")), ..RouteSpec::default() };
                draft.push(id, route);
            }
            draft.close();
        }
        "access" => {
            ledger.closes(id, format!("{reason}; nobody is let in"));
            route.access = Some(nobody());
        }
        "headers" | "mirror" | "max_body" | "log" | "methods" | "match_headers" => {
            ledger.closes(id, format!("{reason}; nobody is let in"));
            *route = RouteSpec {
                path: route.path.take(),
                exact: route.exact.take(),
                regex: route.regex.take(),
                respond: Some(unavailable(reason)),
                access: Some(nobody()),
                ..RouteSpec::default()
            };
        }
        _ => {
            ledger.not_converted(id, format!("{reason}; its requests are answered 503"));
            *route = RouteSpec {
                path: route.path.take(),
                exact: route.exact.take(),
                regex: route.regex.take(),
                methods: std::mem::take(&mut route.methods),
                match_headers: std::mem::take(&mut route.match_headers),
                match_query: std::mem::take(&mut route.match_query),
                access: route.access.take(),
                respond: Some(unavailable("its action")),
                ..RouteSpec::default()
            };
        }
    }
}

/// Says once what all routes say, and leaves the route away where there is only one for all paths.
fn tidy(mut spec: SiteSpec) -> SiteSpec {
    lift(&mut spec.routes, &mut spec.access, |route| &mut route.access);
    lift(&mut spec.routes, &mut spec.headers, |route| &mut route.headers);
    lift(&mut spec.routes, &mut spec.compress, |route| &mut route.compress);
    lift(&mut spec.routes, &mut spec.max_body, |route| &mut route.max_body);
    let [only] = spec.routes.as_mut_slice() else { return spec };
    let is_plain = only.path.as_deref().is_none_or(|path| path == "/")
        && only.exact.is_none()
        && only.regex.is_none()
        && only.methods.is_empty()
        && only.match_headers.is_empty()
        && only.match_query.is_empty()
        && only.access.is_none()
        && only.headers.is_none()
        && only.log.is_none()
        && only.mirror.is_none();
    if is_plain {
        spec.to = only.to.take();
        spec.split = only.split.take();
        spec.files = only.files.take();
        spec.redirect = only.redirect.take();
        spec.respond = only.respond.take();
        spec.routes.clear();
    }
    spec
}

fn lift<T: Clone + PartialEq>(
    routes: &mut [RouteSpec],
    of_site: &mut Option<T>,
    of_route: fn(&mut RouteSpec) -> &mut Option<T>,
) {
    let Some(first) = routes.first_mut().and_then(|route| of_route(route).clone()) else { return };
    if of_site.is_some() || !routes.iter_mut().all(|route| of_route(route).as_ref() == Some(&first))
    {
        return;
    }
    for route in routes {
        *of_route(route) = None;
    }
    *of_site = Some(first);
}
