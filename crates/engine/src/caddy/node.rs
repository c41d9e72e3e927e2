//! A node: the probe, the sites, and what no site answers to.

use std::{collections::BTreeSet, sync::Arc};

use portway_model::{FieldPath, Finding, FindingCode, Findings, ResourceKind, node::READY_PATH};
use portway_policy::NodeSettings;

use super::{
    print::Printer,
    site::{JUDGES_ADDRESSES, bind},
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::{EngineFacts, Extension, Release, RenderError, Rendered};

/// Where the engine tells which release it serves.
pub(super) const PROBE_PATH: &str = "/portway/digest";

/// Where it tells what it counts.
const METRICS_PATH: &str = "/portway/metrics";

/// Puts the release of a node together.
pub(super) fn render(
    sites: &[Arc<Rendered>],
    settings: &NodeSettings,
    facts: &EngineFacts,
) -> Result<Release, RenderError> {
    let mut taken: BTreeSet<&str> = BTreeSet::new();
    let (mut served, mut held) = (Vec::new(), Vec::new());
    for site in sites {
        let finding = why_held(site, settings, &taken);
        if let Some(finding) = finding {
            held.push((site.id, vec![finding]));
            continue;
        }
        taken.extend(site.claims.iter().map(String::as_str));
        served.push(Arc::clone(site));
    }
    let (first, last) = frame(facts, settings, taken.contains("*"))
        .map_err(|error| RenderError::Node { what: "layout".to_owned(), why: error.to_string() })?;
    let entry = |digest: &str| {
        let sites: Vec<&str> = served.iter().flat_map(|site| ["\n", &site.entry]).collect();
        format!("{}{}{last}", first.replace(DIGEST, digest), sites.concat())
    };
    Ok(Release::build(Extension::Caddy, &served, [], held, entry))
}

/// Stands for the digest until it is known.
const DIGEST: &str = "PORTWAY_DIGEST";

/// Returns what stands before the sites and after them.
fn frame(
    facts: &EngineFacts,
    settings: &NodeSettings,
    is_every_host_taken: bool,
) -> Result<(String, String), Unwritable> {
    let probe = Directive::new([Word::from(format!("http://:{}", facts.ports.probe))]).with(vec![
        Directive::new(["bind", "127.0.0.1"]),
        Directive::new([
            Word::ours("respond"),
            Word::ours(PROBE_PATH),
            Word::ours(DIGEST),
            Word::ours("200"),
        ]),
        // What Caddy counts; `counts` tells this server from those of sites by it.
        Directive::new([Word::ours("metrics"), Word::ours(METRICS_PATH)]),
        Directive::new(["@portway_other", "not", "path", METRICS_PATH]),
        Directive::new(["respond", "@portway_other", "404 Not found", "404"]),
    ]);
    let mut first = Printer::default();
    first.comment("Written by Portway. Changes by hand are lost; sites are changed in Portway.");
    first.print(&[probe], 0)?;
    let mut last = Printer::default();
    if !is_every_host_taken {
        let mut inner = Vec::new();
        if !facts.ports.addresses.is_empty() {
            inner.push(bind(facts));
        }
        // Balancers are told whether to send requests.
        let (text, status) = if settings.draining { ("draining", "503") } else { ("ready", "200") };
        inner.push(Directive::new(["respond", READY_PATH, text, status]));
        inner.push(Directive::new(["@portway_other", "not", "path", READY_PATH]));
        inner.push(Directive::new(["respond", "@portway_other", "404 No such site", "404"]));
        let other = Directive::new([Word::from(format!("http://:{}", facts.ports.http))]);
        last.print(&[other.with(inner)], 0)?;
    }
    let (last, _) = last.finish();
    let last = if last.is_empty() { last } else { format!("\n{last}") };
    Ok((first.finish().0, last))
}

/// Tells why a site cannot be served beside those before it.
fn why_held(site: &Rendered, settings: &NodeSettings, taken: &BTreeSet<&str>) -> Option<Finding> {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    let root = FieldPath::root();
    if let Some(host) = site.claims.iter().find(|host| taken.contains(host.as_str())) {
        let text = format!(
            "another site answers to `{host}` on this node, and Caddy cannot divide a host"
        );
        findings
            .error(FindingCode::HostTaken, &root.key("hosts"), text)
            .remedy("make it one site, or assign it to an edge");
    } else if !settings.trusted_proxies.is_empty() && site.entry.contains(JUDGES_ADDRESSES) {
        let text = "Caddy judges the address of the connection here, which behind a trusted proxy is not that of the client";
        findings
            .error(FindingCode::Unsupported, &root.key("access"), text)
            .remedy("assign this site to an edge, or set no trusted proxies for this node");
    }
    findings.into_vec().into_iter().next()
}
