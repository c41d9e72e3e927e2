//! Hosts that two have on the same node: an edge tells the requests of two sites apart by route, and other
//! engines have a host once. There the older site has it, and the other one is held. What somebody else
//! wrote into the engine's own configuration is told, as far as it was read.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, HostPattern, Id, Name, NodeSelector,
    ResourceKind, Site,
};
use portway_store::{SiteRow, Visible};

use super::{touched::TouchedSite, world::Known};
use crate::{Control, ControlError, nodes::selectors_of, sites::spec_of};

/// What helps where two sites have one host.
const REMEDY: &str = "write the routes of both into one site, or assign one of them to an edge";

/// Which sites have the hosts of those that a plan is about, as they are and are to be.
#[derive(Default)]
pub(super) struct Clashes {
    by_host: BTreeMap<HostPattern, Vec<Having>>,
    /// The hosts that those are to have.
    hosts: BTreeMap<Id<Site>, Vec<HostPattern>>,
}

/// A site that has a host.
struct Having {
    site: Id<Site>,
    name: Name,
    nodes: Vec<NodeSelector>,
}

/// What becomes of a site whose host another one has on the same node.
pub(super) struct Clash {
    /// Whether it is this site that is held.
    pub(super) is_held: bool,
    pub(super) finding: Finding,
}

impl Control {
    /// Reads who has the hosts of these sites.
    pub(super) async fn clashes(&self, touched: &[TouchedSite]) -> Result<Clashes, ControlError> {
        let mut clashes = Clashes::default();
        let mut hosts = BTreeSet::new();
        for site in touched {
            let Some(row) = site.rows.as_ref().and_then(|rows| rows.after.as_ref()) else {
                continue;
            };
            let own = hosts_of(row)?;
            for host in &own {
                hosts.insert(host.clone());
                clashes.note(host.clone(), row)?;
            }
            clashes.hosts.insert(site.id, own);
        }
        let hosts: Vec<_> = hosts.into_iter().collect();
        let store = self.inner.store.sites();
        let uses = store.using_hosts(&hosts).await?;
        let is_touched = |id: Id<Site>| touched.iter().any(|site| site.id == id);
        let others: BTreeSet<_> =
            uses.iter().map(|used| used.site).filter(|id| !is_touched(*id)).collect();
        let others: Vec<_> = others.into_iter().collect();
        let rows = store.by_ids(Visible::All, &others).await?;
        for used in uses {
            if let Some(row) = rows.get(&used.site) {
                clashes.note(used.host, row)?;
            }
        }
        Ok(clashes)
    }
}

fn hosts_of(row: &SiteRow) -> Result<Vec<HostPattern>, ControlError> {
    let hosts = spec_of(row)?.hosts;
    Ok(hosts.iter().filter_map(|host| host.parse().ok()).collect())
}

impl Clashes {
    fn note(&mut self, host: HostPattern, row: &SiteRow) -> Result<(), ControlError> {
        let having = Having { site: row.id, name: row.name.clone(), nodes: selectors_of(row)? };
        self.by_host.entry(host).or_default().push(having);
        Ok(())
    }

    /// Returns what becomes of a site on a node whose engine has a host once.
    pub(super) fn of(&self, site: &TouchedSite, node: &Known) -> Vec<Clash> {
        if node.engine().is_none() {
            return Vec::new();
        }
        let hosts = self.hosts.get(&site.id).map(Vec::as_slice).unwrap_or_default();
        let mut all: Vec<Clash> =
            hosts.iter().flat_map(|host| self.of_host(site, node, host)).collect();
        if let Some(at) = all.iter().position(|clash| clash.is_held) {
            return vec![all.swap_remove(at)];
        }
        all.extend(hosts.iter().filter_map(|host| foreign(site, node, host)));
        all
    }

    /// Returns the sites that have a host on the node too.
    fn of_host(&self, site: &TouchedSite, node: &Known, host: &HostPattern) -> Vec<Clash> {
        let all = self.by_host.get(host).map(Vec::as_slice).unwrap_or_default();
        let others = all.iter().filter(|it| it.site != site.id && node.is_chosen(&it.nodes));
        let engine = node.engine_name();
        let clash = |other: &Having| {
            let is_held = other.site < site.id;
            let text = if is_held {
                format!(
                    "on {engine} only one site can have the host {host}, and the site `{}` has it",
                    other.name
                )
            } else {
                format!(
                    "the site `{}` has the host {host} on this node too: it would be held there, as \
                     {engine} has a host once",
                    other.name
                )
            };
            Clash { is_held, finding: finding(site, is_held, text, REMEDY.to_owned()) }
        };
        others.map(clash).collect()
    }
}

/// Returns what the node's own configuration means for a host, as it was last read.
fn foreign(site: &TouchedSite, node: &Known, host: &HostPattern) -> Option<Clash> {
    let file = node.foreign_host(host)?;
    let means = match node.node.as_ref()?.engine {
        EngineKind::Nginx => {
            "of two servers with one name on one port nginx uses the first it reads"
        }
        EngineKind::Caddy => "Caddy refuses two blocks for one address, and holds the site then",
        EngineKind::Traefik => "which of the two Traefik asks depends on the length of their rules",
        EngineKind::Edge => return None,
    };
    let name = &node.row.name;
    let text = format!("{file} on node {name} has the host {host} too: {means}");
    let remedy =
        format!("take it away there; `portway node scan {name}` makes a site of what it does");
    Some(Clash { is_held: false, finding: finding(site, false, text, remedy) })
}

fn finding(site: &TouchedSite, is_error: bool, text: String, remedy: String) -> Finding {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    let path = FieldPath::root().key("hosts");
    let made = if is_error {
        findings.error(FindingCode::Unsupported, &path, text)
    } else {
        findings.warning(FindingCode::Unsupported, &path, text)
    };
    made.remedy(remedy);
    made.clone()
}
