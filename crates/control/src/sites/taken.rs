//! Hosts that other sites have already: several sites may share a host as long as no two routes take
//! the same requests.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, HostPattern, Id, Name, ResourceKind, Site,
};
use portway_store::{HostUse, SiteRow, Visible};

use super::{
    prepare::Owner,
    view::{checked, spec_of},
};
use crate::{Control, ControlError};

/// Who has the hosts of some sites, read at once for all of them.
#[derive(Debug)]
pub(super) struct Taken {
    by_host: BTreeMap<HostPattern, Vec<HostUse>>,
    rows: BTreeMap<Id<Site>, SiteRow>,
    /// What the rows mean, as far as it was asked.
    sites: BTreeMap<Id<Site>, Site>,
}

impl Control {
    /// Reads who has the hosts of `sites`. Those `beside` are changed too, so that what they have at
    /// present does not count.
    pub(super) async fn taken(
        &self,
        sites: &[(Id<Site>, &Site)],
        beside: &BTreeSet<&Name>,
    ) -> Result<Taken, ControlError> {
        let store = self.inner.store.sites();
        let hosts: BTreeSet<&HostPattern> =
            sites.iter().flat_map(|(_, site)| &site.hosts).collect();
        let hosts: Vec<HostPattern> = hosts.into_iter().cloned().collect();
        let mut by_host: BTreeMap<HostPattern, Vec<HostUse>> = BTreeMap::new();
        for used in store.using_hosts(&hosts).await? {
            if !beside.contains(&used.name) {
                by_host.entry(used.host.clone()).or_default().push(used);
            }
        }
        let mut others = BTreeSet::new();
        for (id, site) in sites {
            let uses = site.hosts.iter().filter_map(|host| by_host.get(host)).flatten();
            others.extend(uses.map(|used| used.site).filter(|other| other != id));
        }
        let others: Vec<_> = others.into_iter().collect();
        let rows = store.by_ids(Visible::All, &others).await?;
        Ok(Taken { by_host, rows, sites: BTreeMap::new() })
    }
}

impl Taken {
    /// Returns what of a site others have already, ordered by host and by the others' names.
    pub(super) fn judge(
        &mut self,
        id: Id<Site>,
        site: &Site,
        owner: &Owner,
    ) -> Result<Vec<Finding>, ControlError> {
        let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
        let hosts: BTreeMap<String, &HostPattern> =
            site.hosts.iter().map(|host| (host.to_string(), host)).collect();
        for host in hosts.into_values() {
            let at = site.hosts.iter().position(|other| other == host).unwrap_or_default();
            let path = FieldPath::root().key("hosts").index(at);
            let uses = self.by_host.get(host).map(Vec::as_slice).unwrap_or_default();
            for used in uses.iter().filter(|used| used.site != id) {
                // The other owner's site is not named: it is not the actor's to see.
                if used.owner != owner.id && owner.client.is_some() {
                    findings
                        .error(
                            FindingCode::HostTaken,
                            &path,
                            format!("`{host}` belongs to someone else"),
                        )
                        .remedy("use another host, or ask an administrator");
                    continue;
                }
                let Some(other) = meaning(&self.rows, &mut self.sites, used.site)? else {
                    continue;
                };
                if let Some(route) = shared_route(site, other) {
                    findings
                        .error(
                            FindingCode::RouteTaken,
                            &path,
                            format!(
                                "site `{}` already answers `{host}{}`",
                                other.name, route.matches.path
                            ),
                        )
                        .remedy("give one of the sites another host or path, or remove the other");
                }
            }
        }
        let mut list = findings.into_vec();
        list.dedup();
        Ok(list)
    }
}

/// Returns what a stored site means; nothing when it was removed in the meantime.
fn meaning<'a>(
    rows: &BTreeMap<Id<Site>, SiteRow>,
    sites: &'a mut BTreeMap<Id<Site>, Site>,
    id: Id<Site>,
) -> Result<Option<&'a Site>, ControlError> {
    let Some(row) = rows.get(&id) else { return Ok(None) };
    if let std::collections::btree_map::Entry::Vacant(place) = sites.entry(id) {
        place.insert(checked(&row.name, &spec_of(row)?)?.0);
    }
    Ok(sites.get(&id))
}

fn shared_route<'a>(site: &'a Site, other: &Site) -> Option<&'a portway_model::site::Route> {
    let is_taken = |route: &&portway_model::site::Route| {
        other.routes.iter().any(|theirs| theirs.matches == route.matches)
    };
    site.routes.iter().find(is_taken)
}
