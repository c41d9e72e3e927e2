//! The release of a node: what stands once, and every site that can be served beside the others.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portway_model::{
    Finding, FindingCode, Id, Location, Remedy, ResourceKind, ResourceRef, Severity, Site,
    node::READY_PATH,
};
use portway_policy::{CertificateObject, Digest, NodeSettings};

use super::{
    candidate::WORKER,
    common,
    syntax::{Directive, line, print},
};
use crate::{EngineFacts, Extension, Object, Release, RenderError, Rendered, Secrecy};

pub(super) fn render(
    sites: &[Arc<Rendered>],
    settings: &NodeSettings,
    certificates: &BTreeMap<Digest, CertificateObject>,
    facts: &EngineFacts,
) -> Result<Release, RenderError> {
    common::check_layout(facts)?;
    let (mut served, held) = divide(sites);
    // Names that are expressions are tried in the order of the file; the star comes last.
    served.sort_by_key(|site| (site.claims.iter().any(|claim| claim == "the host *"), site.id));
    let of_node = print(&common::of_node(settings)).text;
    let of_node = Arc::new(Object::text(Extension::Conf, of_node, Vec::new()));
    let mut common_objects = vec![Arc::clone(&of_node)];
    let mut unknown = unknown_tls(facts);
    if let Some(digest) = settings.fallback_certificate {
        let found = certificates.get(&digest).ok_or(RenderError::NoCertificate(digest))?;
        let chain = found.chain_pem.clone().into_bytes();
        let key = found.key_pem.clone().into_bytes();
        let chain = Arc::new(Object::new(Extension::Crt, Secrecy::Open, chain));
        let key = Arc::new(Object::new(Extension::Key, Secrecy::Owner, key));
        unknown.push(line!("ssl_certificate", chain.path(&facts.layout)));
        unknown.push(line!("ssl_certificate_key", key.path(&facts.layout)));
        common_objects.extend([chain, key]);
    } else {
        unknown.push(line!("ssl_reject_handshake", "on"));
    }
    let include = format!("    {}", print(&[line!("include", of_node.path(&facts.layout))]).text);
    let sites: String = served
        .iter()
        .map(|site| site.entry.replace("server {\n", &format!("server {{\n{include}")))
        .collect();
    let once = print(&common::once(settings)).text;
    let doors = print(&[
        nobody(common::listen(facts, facts.ports.http, &[]), ready(settings)),
        nobody(unknown, []),
    ])
    .text;
    let entry = |digest: &str| {
        let probe = print(&[probe(facts, digest)]).text;
        format!(
            "# Portway: what this node serves. Change it in Portway, not here.\n{once}{probe}{doors}{sites}"
        )
    };
    Ok(Release::build(Extension::Conf, &served, common_objects, held, entry))
}

type Held = Vec<(Id<Site>, Vec<Finding>)>;

/// A name can be served by one site. Of several that claim it the oldest has it, and the others are
/// held: what they would do together, nginx cannot put together.
fn divide(sites: &[Arc<Rendered>]) -> (Vec<Arc<Rendered>>, Held) {
    let mut sites: Vec<&Arc<Rendered>> = sites.iter().collect();
    sites.sort_by_key(|site| site.id);
    let mut claimed: BTreeMap<&str, &str> = BTreeMap::new();
    let mut known = BTreeSet::new();
    let (mut served, mut held) = (Vec::new(), Vec::new());
    for site in sites {
        if !known.insert(site.id) {
            continue;
        }
        let taken = site
            .claims
            .iter()
            .find_map(|claim| claimed.get(claim.as_str()).map(|other| taken(site, claim, other)));
        if let Some(finding) = taken {
            held.push((site.id, vec![finding]));
            continue;
        }
        claimed.extend(site.claims.iter().map(|claim| (claim.as_str(), site.name.as_str())));
        served.push(Arc::clone(site));
    }
    (served, held)
}

fn taken(site: &Rendered, claim: &str, other: &str) -> Finding {
    let resource = ResourceRef { kind: ResourceKind::Site, name: site.name.to_string() };
    let path = portway_model::FieldPath::root().key("hosts");
    Finding {
        code: FindingCode::Unsupported,
        severity: Severity::Error,
        at: Location::Field { resource, path, source: None },
        text: format!("on nginx only one site can have {claim}, and the site `{other}` has it"),
        remedy: Some(Remedy {
            text: "write the routes of both into one site, or assign one of them to an edge"
                .to_owned(),
            action: None,
        }),
    }
}

/// Answers hosts that nobody has.
fn nobody(listen: Vec<Directive>, places: impl IntoIterator<Item = Directive>) -> Directive {
    let mut block = listen;
    block.push(line!("server_name", ""));
    block.extend(common::server_defaults());
    block.push(line!("client_header_timeout", "10s"));
    block.push(line!("access_log", "off"));
    let status = line!("return", "404");
    block.extend(common::refusals());
    block.extend(places);
    block.push(line!("location", "^~", "/").with(vec![status]));
    block.push(line!("location", super::routes::NONE).with(vec![line!("return", "404")]));
    line!("server").with(block)
}

/// Tells balancers whether to send requests.
fn ready(settings: &NodeSettings) -> [Directive; 1] {
    let (status, text) = if settings.draining { ("503", "draining\n") } else { ("200", "ready\n") };
    let answer = vec![line!("default_type", "text/plain"), line!("return", status, text)];
    [line!("location", "=", READY_PATH).with(answer)]
}

fn unknown_tls(facts: &EngineFacts) -> Vec<Directive> {
    let mut block = common::listen_tls(facts, true);
    block.push(line!("ssl_protocols", "TLSv1.2", "TLSv1.3"));
    block.extend(common::tls_defaults());
    block
}

/// Tells which release is served, and how busy nginx is, to this machine alone.
fn probe(facts: &EngineFacts, digest: &str) -> Directive {
    let digest_text = format!("{digest}\n");
    let answer = vec![
        line!("default_type", "text/plain"),
        line!("add_header", WORKER, "$pid"),
        line!("return", "200", digest_text),
    ];
    let mut block = vec![
        line!("listen", format!("127.0.0.1:{}", facts.ports.probe)),
        line!("server_name", ""),
        line!("access_log", "off"),
        line!("allow", "127.0.0.1"),
        line!("deny", "all"),
        line!("auth_basic", "off"),
        line!("location", "=", "/portway/digest").with(answer),
    ];
    if facts.has("http_stub_status_module") {
        block.push(line!("location", "=", "/portway/status").with(vec![line!("stub_status")]));
    }
    block.push(line!("location", "/").with(vec![line!("return", "404")]));
    line!("server").with(block)
}
