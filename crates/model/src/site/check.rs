//! From what was written to what is meant: checks a site and says all that is wrong with it at
//! once. It reads no file and asks no name server; whether a target answers is found out elsewhere.

mod access;
mod action;
mod cache;
mod headers;
mod limits;
mod nodes;
mod order;
mod probes;
mod rate;
mod route;
mod settings;
mod shaping;
mod snippets;
mod target;
mod traffic;
mod upstream;
mod values;

use std::collections::BTreeSet;

use super::{
    Access, Cache, ConnectionLimit, HeaderEdits, LimitScope, Mirror, RateLimit, Route, Site,
    defaults,
    spec::{HeadersSpec, SiteSpec},
};
use crate::{
    ByteSize, FieldPath, Finding, FindingCode, Findings, HostError, HostPattern, Name,
    RemedyAction, ResourceKind,
};

/// What was read is wrong; the findings say why.
struct Faulty;

type Checked<T> = Result<T, Faulty>;

/// What routes take from their site where they say nothing themselves.
struct Shared {
    log: Name,
    access: Option<Access>,
    headers: HeaderPair,
    compress: bool,
    max_body: ByteSize,
    mirror: Option<Box<Mirror>>,
    rate_limits: Vec<RateLimit>,
    connection_limit: Option<ConnectionLimit>,
    security_headers: bool,
    hsts: Option<String>,
    cache: Option<Box<Cache>>,
}

/// Changes of request and response.
#[derive(Clone, Default)]
struct HeaderPair {
    request: HeaderEdits,
    response: HeaderEdits,
}

/// Checks a site. Returns it with every default filled in, unless something is wrong, and all that
/// is wrong or deserves attention.
pub fn check(name: &Name, spec: &SiteSpec) -> (Option<Site>, Vec<Finding>) {
    let mut findings = Findings::about(ResourceKind::Site, name.as_str());
    let site = read(name, spec, &mut findings).ok();
    let sound = !findings.has_errors();
    (site.filter(|_| sound), findings.into_vec())
}

/// Every part is read before the first fault ends it, so that all faults are found.
fn read(name: &Name, spec: &SiteSpec, findings: &mut Findings) -> Checked<Site> {
    let root = FieldPath::root();
    let hosts = hosts(&spec.hosts, &root.key("hosts"), findings);
    let https = settings::https(spec.https.as_ref(), &root.key("https"), findings);
    let log = settings::log(spec.log.as_ref(), &root.key("log"), findings);
    let access = access::read(spec.access.as_ref(), name, &root.key("access"), findings);
    let headers = header_pair(spec.headers.as_ref(), &root.key("headers"), findings);
    let max_body = settings::size_or(
        spec.max_body.as_ref(),
        defaults::MAX_BODY,
        &root.key("max_body"),
        findings,
    );
    let mirror = mirror(spec, &root, findings);
    let (of_site, rate) = (LimitScope::Site, root.key("rate_limit"));
    let rate_limits = rate::rates(spec.rate_limit.as_ref(), of_site, &rate, findings);
    let connections = root.key("connection_limit");
    let connection_limit =
        rate::connections(spec.connection_limit.as_ref(), of_site, &connections, findings);
    let cache = cache(spec, &root, findings);
    let limits = limits::limits(spec.limits.as_ref(), &root.key("limits"), findings);
    let paths = limits::paths(spec.paths.as_ref(), &root.key("paths"), findings);
    let nodes = nodes::read(spec.nodes.as_deref(), &root.key("nodes"), findings);
    let maintenance =
        shaping::maintenance(spec.maintenance.as_ref(), &root.key("maintenance"), findings);
    let routes = route::read_all(name, spec, findings);
    let snippets = snippets::read(spec.snippets.as_ref(), &root.key("snippets"), findings);
    let probes = match (&hosts, &https) {
        (Ok(hosts), Ok(https)) => {
            let site = probes::Asked { hosts, https: https.as_ref() };
            probes::read(&spec.probes, site, &root.key("probes"), findings)
        }
        _ => Err(Faulty),
    };
    let redirects = shaping::redirects(spec.redirects.as_ref(), &root.key("redirects"), findings);

    let https = https?;
    let promise = shaping::hsts(spec.https.as_ref(), https.as_ref(), &root.key("https"), findings);
    let (log_name, log) = log?;
    let shared = Shared {
        log: log_name,
        access: access?,
        headers: headers?,
        compress: spec.compress.unwrap_or(true),
        max_body: max_body?,
        mirror: mirror?,
        rate_limits: rate_limits?.unwrap_or_default(),
        connection_limit: connection_limit?.or(None),
        security_headers: spec.security_headers.unwrap_or(false),
        hsts: promise?,
        cache: cache?,
    };
    let mut drafts = routes?;
    drafts.extend(redirects?);
    Ok(Site {
        name: name.clone(),
        description: spec.description.clone(),
        tags: spec.tags.clone(),
        hosts: hosts?,
        https,
        nodes: nodes?,
        log,
        limits: limits?,
        paths: paths?,
        probes: probes?,
        snippets: snippets?,
        maintenance: maintenance?,
        routes: finish(drafts, &shared, findings),
    })
}

/// Fills in what the site says for all routes and puts them in the order in which they are tried.
fn finish(drafts: Vec<route::Draft>, shared: &Shared, findings: &mut Findings) -> Vec<Route> {
    let mut routes: Vec<(FieldPath, Route)> =
        drafts.into_iter().map(|draft| (draft.path.clone(), draft.complete(shared))).collect();
    order::sort(&mut routes);
    order::review(&routes, findings);
    routes.into_iter().map(|(_, route)| route).collect()
}

/// Reads who gets copies of the requests of all routes that have an upstream.
fn mirror(
    spec: &SiteSpec,
    root: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Box<Mirror>>> {
    let mirror = traffic::mirror(spec.mirror.as_ref(), &root.key("mirror"), findings)?.or(None);
    if mirror.is_some() && !is_proxied(spec) {
        traffic::advise_on_idle_mirror(root, findings);
    }
    Ok(mirror)
}

/// Reads what is kept of the answers of all routes that have an upstream.
fn cache(
    spec: &SiteSpec,
    root: &FieldPath,
    findings: &mut Findings,
) -> Checked<Option<Box<Cache>>> {
    let cache = cache::read(spec.cache.as_ref(), &root.key("cache"), findings)?.or(None);
    if cache.is_some() && !is_proxied(spec) {
        cache::advise_on_idle_cache(root, findings);
    }
    Ok(cache)
}

/// Tells whether anything of a site is answered by an upstream.
fn is_proxied(spec: &SiteSpec) -> bool {
    let proxied = |route| action::Written::in_route(route).is_proxied();
    action::Written::in_site(spec).is_proxied() || spec.routes.iter().any(proxied)
}

fn hosts(
    written: &[String],
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<Vec<HostPattern>> {
    if written.is_empty() {
        findings
            .error(FindingCode::MissingField, path, "the site has no host")
            .remedy("say what it answers to, for example `hosts: [app.example.org]`, or `*`");
        return Err(Faulty);
    }
    let mut seen = BTreeSet::new();
    each(written, path, |text, path| {
        let host: HostPattern =
            text.parse().map_err(|error| refuse_host(text, &error, path, findings))?;
        if !seen.insert(host.clone()) {
            findings
                .error(FindingCode::DuplicateField, path, format!("`{text}` stands here twice"))
                .remedy("remove one of them");
            return Err(Faulty);
        }
        Ok(host)
    })
}

fn refuse_host(text: &str, error: &HostError, path: &FieldPath, findings: &mut Findings) -> Faulty {
    let finding = findings.error(FindingCode::InvalidHost, path, error.to_string());
    let bare = bare_host(text);
    match error {
        HostError::Url(_) | HostError::Port(_) if bare.parse::<HostPattern>().is_ok() => {
            finding.remedy_action(
                format!("write `{bare}`"),
                RemedyAction::ReplaceValue(bare.to_owned()),
            );
        }
        HostError::Label(_) if text.contains('_') => {
            finding.remedy("host names have no underscore; use `-`");
        }
        HostError::Wildcard => finding.remedy("write `*.example.org`, or `*` for every host"),
        HostError::Empty
        | HostError::Length
        | HostError::Label(_)
        | HostError::Url(_)
        | HostError::Port(_)
        | HostError::BadPort(_) => {
            finding.remedy("write a name like `app.example.org`, an IP address, or `*`");
        }
    }
    Faulty
}

/// Returns the host of a URL or of a host with a port.
fn bare_host(text: &str) -> &str {
    let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or(rest);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if let Some((address, _)) = authority.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return address;
    }
    authority.split(':').next().unwrap_or(authority)
}

fn header_pair(
    spec: Option<&HeadersSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<HeaderPair> {
    let Some(spec) = spec else {
        return Ok(HeaderPair::default());
    };
    let request = headers::edits(spec.request.as_ref(), &path.key("request"), findings);
    let response = headers::edits(spec.response.as_ref(), &path.key("response"), findings);
    Ok(HeaderPair { request: request?, response: response? })
}

/// Reads every element, also those after a wrong one.
fn each<T, U>(
    items: &[T],
    path: &FieldPath,
    mut read: impl FnMut(&T, &FieldPath) -> Checked<U>,
) -> Checked<Vec<U>> {
    let results: Vec<Checked<U>> =
        items.iter().enumerate().map(|(index, item)| read(item, &path.index(index))).collect();
    results.into_iter().collect()
}

#[cfg(test)]
mod tests;
