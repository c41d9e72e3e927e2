//! A node: the probe and the sites.

use std::{collections::BTreeSet, sync::Arc};

use portway_model::{FieldPath, Finding, FindingCode, Findings, ResourceKind};
use portway_policy::NodeSettings;
use serde_json::{Map, Value, json};

use super::{NOBODY, PROBE, access, document::Document, route, site::JUDGES_ADDRESSES, yaml};
use crate::{Extension, Release, RenderError, Rendered};

/// The header by which the probe is answered: Traefik answers nothing of its own but headers.
pub(super) const DIGEST_HEADER: &str = "X-Portway-Digest";

/// Puts the release of a node together.
pub(super) fn render(
    sites: &[Arc<Rendered>],
    settings: &NodeSettings,
) -> Result<Release, RenderError> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let (mut served, mut held) = (Vec::new(), Vec::new());
    let mut whole = Document::default();
    for site in sites {
        let (document, judges_addresses) = read(site)?;
        if let Some(finding) = why_held(site, judges_addresses, settings, &taken) {
            held.push((site.id, vec![finding]));
            continue;
        }
        taken.extend(site.claims.iter().map(String::as_str));
        whole.extend(document);
        served.push(Arc::clone(site));
    }
    let entry = |digest: &str| {
        let mut document = common(digest);
        document.extend(whole.clone());
        let note =
            "# Written by Portway. Changes by hand are lost; sites are changed in Portway.\n";
        format!("{note}{}", yaml::write(&document.whole()))
    };
    Ok(Release::build(Extension::Yml, &served, [], held, entry))
}

/// Reads what a site said of itself.
fn read(site: &Rendered) -> Result<(Document, bool), RenderError> {
    let unreadable = |error: serde_json::Error| RenderError::Node {
        what: site.name.to_string(),
        why: error.to_string(),
    };
    let mut entry: Map<String, Value> = serde_json::from_str(&site.entry).map_err(unreadable)?;
    let judges_addresses = entry.get(JUDGES_ADDRESSES).and_then(Value::as_bool).unwrap_or(true);
    let parts = entry.remove("parts").unwrap_or_default();
    Ok((serde_json::from_value(parts).map_err(unreadable)?, judges_addresses))
}

/// Returns what answers the probe, and that nothing else is answered there.
fn common(digest: &str) -> Document {
    let mut document = Document::default();
    let (router, headers) = route::probe(PROBE, digest);
    let others = json!({"entryPoints": [PROBE], "rule": "PathRegexp(\"^\")", "priority": 1,
        "service": NOBODY, "middlewares": ["portway-nobody"]});
    let nobody = json!({"ipAllowList": {"sourceRange": [access::NO_NETWORK]}});
    document.routers.insert("portway-digest".to_owned(), router);
    document.routers.insert("portway-nothing".to_owned(), others);
    document.middlewares.insert("portway-digest".to_owned(), headers);
    document.middlewares.insert("portway-nobody".to_owned(), nobody);
    document
}

/// Tells why a site cannot be served beside those before it.
fn why_held(
    site: &Rendered,
    judges_addresses: bool,
    settings: &NodeSettings,
    taken: &BTreeSet<&str>,
) -> Option<Finding> {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    let root = FieldPath::root();
    if let Some(host) = site.claims.iter().find(|host| taken.contains(host.as_str())) {
        let text = format!(
            "another site answers to `{host}` on this node; routes of several sites are not put in order there"
        );
        findings
            .error(FindingCode::HostTaken, &root.key("hosts"), text)
            .remedy("make it one site, or assign it to an edge");
    } else if !settings.trusted_proxies.is_empty() && judges_addresses {
        let text = "Traefik judges the address of the connection here, which behind a trusted proxy is not that of the client";
        findings
            .error(FindingCode::Unsupported, &root.key("access"), text)
            .remedy("assign this site to an edge, or set no trusted proxies for this node");
    }
    findings.into_vec().into_iter().next()
}
