//! A site: its servers, and everything they need.

use std::collections::BTreeMap;

use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, HostPattern, ResourceKind,
    site::{LogFormat, TlsVersion},
};
use portway_policy::{CertificateObject, Digest, HttpsPolicy, SitePolicy};

use super::{
    Nginx, answers, common, maintenance,
    names::Draft,
    routes,
    syntax::{Directive, Printed, line, print},
    value::{in_regex, literal},
};
use crate::{EngineFacts, Extension, Object, Place, RenderError, Rendered, judge, nginx::headers};

/// Host names up to this length fit into the table that nginx makes of them unless it is told otherwise;
/// longer ones are written as expressions.
const LONGEST_NAME: usize = 40;

pub(super) fn render(
    engine: Nginx,
    site: &SitePolicy,
    certificates: &BTreeMap<Digest, CertificateObject>,
    facts: &EngineFacts,
) -> Result<Rendered, RenderError> {
    common::check_layout(facts)?;
    let findings = judge(&engine, site, facts);
    if findings.iter().any(Finding::is_error) {
        return Err(RenderError::Refused(findings));
    }
    let mut draft = Draft::new(site, facts, certificates);
    let servers = servers(&mut draft)?;
    let beside = std::mem::take(&mut draft.beside);
    let all: Vec<&Directive> = beside.iter().chain(servers.iter().flatten()).collect();
    refuse_long_words(site, &all)?;
    let mut objects = draft.into_objects();
    let mut keep = |directives: &[Directive]| {
        let object = object(site, directives);
        let include = line!("include", object.path(&facts.layout));
        objects.push(object.into());
        include
    };
    let mut entry = vec![keep(&beside)];
    entry.extend(servers.iter().map(|server| line!("server").with(vec![keep(server)])));
    Ok(Rendered {
        id: site.id,
        name: site.name.clone(),
        policy: site.digest(),
        objects,
        entry: print(&entry).text,
        folders: vec![facts.layout.site_logs(&site.log_folder())],
        claims: site.hosts.iter().map(|host| format!("the host {host}")).collect(),
        findings,
    })
}

fn object(site: &SitePolicy, directives: &[Directive]) -> Object {
    let Printed { text, places } = print(directives);
    let heading = format!("# Portway: the site {}\n", site.name);
    let below = |place: Place| Place { line: place.line + 1, ..place };
    Object::text(Extension::Conf, heading + &text, places.into_iter().map(below).collect())
}

fn refuse_long_words(site: &SitePolicy, directives: &[&Directive]) -> Result<(), RenderError> {
    let root = FieldPath::root();
    let Some(at) = directives.iter().find_map(|directive| directive.too_long(&root)) else {
        return Ok(());
    };
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    findings
        .error(FindingCode::Unsupported, at, "nginx reads no text as long as this one")
        .remedy("shorten it, or assign this site to an edge");
    Err(RenderError::Refused(findings.into_vec()))
}

/// Returns what stands in each of the site's servers.
fn servers(draft: &mut Draft<'_>) -> Result<Vec<Vec<Directive>>, RenderError> {
    let site = draft.site;
    let root = FieldPath::root();
    if let Some(blocked) = &site.blocked {
        let text = format!("This site was blocked by its administrator: {}", blocked.reason);
        let refusal = vec![
            line!("default_type", "text/plain; charset=utf-8"),
            line!("return", "403", literal(&text)),
        ];
        let all = line!("location", "^~", "/").with(refusal).from_field(&root);
        return Ok(vec![server(draft, Doors::all(site), vec![all])?]);
    }
    routes::choose(draft);
    for (index, route) in site.routes.iter().enumerate() {
        answers::carry_out(draft, index, route);
    }
    let mut locations = maintenance::of(draft);
    locations.append(&mut draft.locations);
    locations.extend(snippet(draft));
    if site.https.is_none() {
        let plain = server(draft, Doors::PLAIN, locations)?;
        return Ok(vec![plain, nobody_by_tls(draft)]);
    }
    let is_sent_on = site.https.as_ref().is_some_and(|https| https.redirect);
    if !is_sent_on {
        return Ok(vec![server(draft, Doors::all(site), locations)?]);
    }
    let plain = server(draft, Doors::PLAIN, to_https(draft.facts))?;
    Ok(vec![plain, server(draft, Doors::TLS, locations)?])
}

/// A site without HTTPS is not there for who comes by TLS, nor is another one in its place whose star
/// covers its name.
fn nobody_by_tls(draft: &Draft<'_>) -> Vec<Directive> {
    let mut block = common::listen_tls(draft.facts, true);
    block.push(Directive::new(names(draft.site)));
    block.push(line!("ssl_reject_handshake", "on"));
    block.push(line!("access_log", "off"));
    block.extend(common::server_defaults());
    block.extend(common::refusals());
    block.push(line!("location", "^~", "/").with(vec![line!("return", "404")]));
    block.push(line!("location", routes::NONE).with(vec![line!("return", "404")]));
    block
}

/// What the site brings of its own is a file of its own, which nginx reads as a whole: a brace too many
/// is its end, and not that of the server. No two sites share it, so that what nginx says of it is said of
/// this one.
fn snippet(draft: &mut Draft<'_>) -> Option<Directive> {
    let site = draft.site;
    let text = site.snippets.nginx.as_deref()?;
    let field = crate::snippet::field(EngineKind::Nginx);
    let text = format!("# Portway: a snippet of the site {} ({})\n{text}", site.name, site.id);
    let path = draft.keep_text(text, vec![Place { line: 1, field: field.clone() }]);
    Some(line!("include", path).from_field(&field))
}

fn names(site: &SitePolicy) -> Vec<String> {
    let names = site.hosts.iter().flat_map(server_names);
    std::iter::once("server_name".to_owned()).chain(names).collect()
}

/// The doors that a server has.
#[derive(Clone, Copy)]
struct Doors {
    plain: bool,
    tls: bool,
}

impl Doors {
    const PLAIN: Self = Self { plain: true, tls: false };
    const TLS: Self = Self { plain: false, tls: true };

    fn all(site: &SitePolicy) -> Self {
        Self { plain: true, tls: site.https.is_some() }
    }
}

/// 301 lets caches remember; 308 makes clients repeat other methods than GET and HEAD.
fn to_https(facts: &EngineFacts) -> Vec<Directive> {
    let port = match facts.ports.https {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let target = format!("https://$host{port}$request_uri");
    let once = line!("return", "308", target);
    let other = line!("if", "(", "$request_method", "!~", "\\A(?:GET|HEAD)\\z", ")");
    vec![
        line!("location", "^~", "/")
            .with(vec![other.with(vec![once]), line!("return", "301", target)]),
    ]
}

fn server(
    draft: &mut Draft<'_>,
    doors: Doors,
    locations: Vec<Directive>,
) -> Result<Vec<Directive>, RenderError> {
    let site = draft.site;
    let root = FieldPath::root();
    let mut block = Vec::new();
    if doors.plain {
        block.extend(common::listen(draft.facts, draft.facts.ports.http, &[]));
    }
    if doors.tls {
        block.extend(tls(draft, site.https.as_ref())?);
    }
    for (index, host) in site.hosts.iter().enumerate() {
        let field = root.key("hosts").index(index);
        let mut words = vec!["server_name".to_owned()];
        words.extend(server_names(host));
        block.push(Directive::new(words).from_field(&field));
    }
    block.extend(logs(draft));
    block.extend(common::server_defaults());
    block.extend(limits(draft));
    block.extend(common::refusals());
    if doors.tls {
        block.push(misdirected(draft));
    }
    block.extend(locations);
    Ok(block)
}

/// Exactly one label stands for a star, which nginx says only by an expression.
fn server_names(host: &HostPattern) -> Vec<String> {
    match host {
        HostPattern::Exact(name) if name.as_str().len() <= LONGEST_NAME => {
            vec![name.as_str().to_owned()]
        }
        HostPattern::Exact(name) => vec![format!("~^{}$", in_regex(name.as_str()))],
        HostPattern::Wildcard(name) => vec![format!("~^[^.]+\\.{}$", in_regex(name.as_str()))],
        HostPattern::Ip(std::net::IpAddr::V6(address)) => vec![format!("[{address}]")],
        HostPattern::Ip(std::net::IpAddr::V4(address)) => vec![address.to_string()],
        HostPattern::Any => vec!["~.".to_owned(), String::new()],
    }
}

fn tls(draft: &mut Draft<'_>, https: Option<&HttpsPolicy>) -> Result<Vec<Directive>, RenderError> {
    let Some(https) = https else { return Ok(Vec::new()) };
    let HttpsPolicy { redirect: _, min_version, http2, certificate } = https;
    let facts = draft.facts;
    let at = FieldPath::root().key("https");
    let mut block = common::listen_tls(facts, *http2);
    match certificate {
        Some(digest) => {
            let (chain, key) = draft.keep_certificate(*digest)?;
            block.push(line!("ssl_certificate", chain).from_field(&at));
            block.push(line!("ssl_certificate_key", key).from_field(&at));
        }
        None => block.push(line!("ssl_reject_handshake", "on").from_field(&at)),
    }
    let mut protocols = vec!["ssl_protocols".to_owned()];
    if *min_version == TlsVersion::V1_2 {
        protocols.push("TLSv1.2".to_owned());
    }
    protocols.push("TLSv1.3".to_owned());
    block.push(Directive::new(protocols).from_field(&at.key("min_version")));
    block.extend(common::tls_defaults());
    let streams = draft.site.limits.http2_streams;
    block.push(line!("http2_max_concurrent_streams", streams));
    Ok(block)
}

/// Refuses what came over a connection that was made for another site, or with a version of TLS that
/// this site does not take: nginx chooses the version before it knows the site.
fn misdirected(draft: &mut Draft<'_>) -> Directive {
    let site = draft.site;
    let min_version = site.https.as_ref().map(|https| https.min_version);
    let versions = match min_version {
        Some(TlsVersion::V1_2) | None => "TLSv1\\.[23]",
        Some(TlsVersion::V1_3) => "TLSv1\\.3",
    };
    let names: Vec<String> = site.hosts.iter().map(handshake_name).collect();
    let over_tls = format!("\\A{versions} (?i:{})\\z", names.join("|"));
    let at = FieldPath::root().key("https");
    let fits = [("\\A \\z".to_owned(), String::new()), (over_tls, String::new())];
    let variable = draft.map("tls", "$ssl_protocol $ssl_server_name", fits, "421", &at);
    line!("if", "(", variable, ")").with(vec![line!("return", "421")])
}

fn handshake_name(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => in_regex(name.as_str()),
        HostPattern::Wildcard(name) => format!("[^.]+\\.{}", in_regex(name.as_str())),
        // Clients name no address in a handshake.
        HostPattern::Ip(_) => String::new(),
        HostPattern::Any => ".*".to_owned(),
    }
}

fn logs(draft: &Draft<'_>) -> Vec<Directive> {
    let at = FieldPath::root().key("log");
    let name = portway_model::site::defaults::LOG_NAME;
    vec![
        access_log(draft, name).from_field(&at),
        line!("error_log", draft.log_file(&format!("{name}.error.log")), "error").from_field(&at),
    ]
}

/// Returns where requests are logged.
pub(super) fn access_log(draft: &Draft<'_>, name: &str) -> Directive {
    let log = &draft.site.log;
    if !log.access {
        return line!("access_log", "off");
    }
    let format = match log.format {
        LogFormat::Json => common::JSON_LOG,
        LogFormat::Combined => common::COMBINED_LOG,
    };
    line!("access_log", draft.log_file(&format!("{name}.access.log")), format)
}

fn limits(draft: &mut Draft<'_>) -> Vec<Directive> {
    let site = draft.site;
    let at = FieldPath::root().key("limits");
    let limits = &site.limits;
    // Without a rate a client may pause as long as it likes.
    let pause = if limits.body_rate.0 == 0 { 86_400 } else { limits.body_grace.0 };
    let mut block = vec![
        line!("client_body_timeout", format!("{pause}s")),
        line!("send_timeout", format!("{}s", limits.write_stall.0)),
        line!("client_header_timeout", format!("{}s", limits.header_time.0)),
    ];
    let usual = portway_model::site::Limits::default();
    if limits.target_bytes != usual.target_bytes {
        let field = at.key("target_bytes");
        // Expressions of PCRE repeat at most 65,535 times.
        let longer = format!("(?s)\\A.{{{}}}", limits.target_bytes.0 + 1);
        let entry = [(longer, "1".to_owned())];
        let variable = draft.map("target", "$request_uri", entry, "0", &field);
        block.push(
            line!("if", "(", variable, ")").with(vec![line!("return", "414")]).from_field(&field),
        );
    }
    block
}

/// Returns what stands first in every location of a route.
pub(super) fn route_block(draft: &Draft<'_>, index: usize) -> Vec<Directive> {
    let Some(route) = draft.site.routes.get(index) else { return Vec::new() };
    let mut block = Vec::new();
    if route.log.as_str() != portway_model::site::defaults::LOG_NAME {
        block.push(access_log(draft, route.log.as_str()));
    }
    block.extend(common::compression(route.filters.compress));
    block.push(headers::request_id());
    block
}
