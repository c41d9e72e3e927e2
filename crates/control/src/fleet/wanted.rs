//! What a node should have, made from what is declared.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use jiff::Timestamp;
use portway_engine::{Engine, EngineFacts, Release, Rendered};
use portway_model::{Finding, Id, Node, ResourceKind, RevisionNumber, Site};
use portway_policy::{Digest, NodeSettings};
use portway_store::{NodeRow, NodeSiteRow, PageRequest, SiteFilter, SiteRow, Visible};

use super::{pin::waits, proof::still_told};
use crate::{
    Control, ControlError,
    deploy::Owners,
    rollout::{Choice, Kept},
};

/// What a node should have.
pub(super) struct Wanted {
    /// What its engine is to serve.
    pub(super) release: Release,
    /// What is to be known of each of its sites once that is proven.
    pub(super) sites: BTreeMap<Id<Site>, NodeSiteRow>,
    /// What the node was known to have.
    pub(super) before: BTreeMap<Id<Site>, NodeSiteRow>,
    /// The newest revision when it was made.
    pub(super) revision: RevisionNumber,
}

impl Wanted {
    /// Returns the sites that the node is to serve in another version than it is known to have.
    pub(super) fn changed(&self) -> BTreeSet<Id<Site>> {
        let is_new = |row: &NodeSiteRow| {
            row.digest.is_some()
                && self.before.get(&row.site).is_none_or(|before| before.digest != row.digest)
        };
        self.sites.values().filter(|row| is_new(row)).map(|row| row.site).collect()
    }

    /// Returns the sites that the node is known to have and should not.
    pub(super) fn removed(&self) -> Vec<Id<Site>> {
        self.before.keys().filter(|id| !self.sites.contains_key(id)).copied().collect()
    }
}

/// Who asks for what is wanted.
pub(super) struct Asking<'a> {
    pub(super) row: &'a NodeRow,
    pub(super) node: &'a Node,
    pub(super) engine: &'static dyn Engine,
    pub(super) facts: &'a EngineFacts,
    /// What the node held before this time is tried again.
    pub(super) tries_held_before: Option<Timestamp>,
}

/// A site of which a version is to be made for a node.
#[derive(Clone, Copy)]
struct Version<'a> {
    row: &'a SiteRow,
    known: Option<&'a NodeSiteRow>,
    choice: &'a Choice,
    /// It stays as it is there.
    put_off: bool,
}

impl Control {
    /// Makes what a node should have. Sites that are `put_off` stay as they are there.
    pub(super) async fn wanted(
        &self,
        asking: &Asking<'_>,
        put_off: &BTreeSet<Id<Site>>,
    ) -> Result<Wanted, ControlError> {
        let revision = self.inner.store.revisions().latest().await?;
        let before = self.known_of(asking.row.id).await?;
        let mut owners = Owners::new();
        let mut sites = BTreeMap::new();
        let mut rendered = Vec::new();
        let mut rows = self.sites_of(asking.node).await?;
        let moved_away = self.moved_away(&rows, &before).await?;
        // Read after the sites (see `Gates`).
        let gates = self.gates_of(asking.row.id).await?;
        self.inner.fleet.heard(&gates, asking.row.id);
        let is_for = rows.len();
        rows.extend(moved_away);
        for (index, row) in rows.iter().enumerate() {
            let known = before.get(&row.id);
            let choice = self.choice(&gates, row, known).await?;
            if index >= is_for && choice == Choice::Newest {
                continue;
            }
            let version =
                Version { row, known, choice: &choice, put_off: put_off.contains(&row.id) };
            let (made, entry) = self.version_for(asking, &version, &mut owners).await?;
            if entry.revision.is_some() || entry.held.is_some() {
                sites.insert(row.id, entry);
            }
            rendered.extend(made);
        }
        let release = asking
            .engine
            .render_node(&rendered, &settings_of(asking.node), &BTreeMap::new(), asking.facts)
            .map_err(|error| ControlError::internal("writing what a node is to serve", error))?;
        for (id, findings) in &release.held {
            if let Some(entry) = sites.get_mut(id) {
                entry.findings.extend(findings.iter().cloned());
                entry.held = entry.held.or(entry.revision);
                (entry.revision, entry.digest) = (None, None);
            }
        }
        Ok(Wanted { release, sites, before, revision })
    }

    /// Chooses the version of a site that a node gets: the one that is due, or where that one fails the
    /// one that was proven there.
    async fn version_for(
        &self,
        asking: &Asking<'_>,
        version: &Version<'_>,
        owners: &mut Owners,
    ) -> Result<(Option<Arc<Rendered>>, NodeSiteRow), ControlError> {
        let Version { row, known, choice, put_off } = *version;
        let due = self.due(asking.node, row).await?;
        // A node that is pinned takes no part in rollouts of what is newer.
        if due.waits.is_none()
            && let Choice::Kept(kept) = choice
        {
            return self.kept_for(asking, version, kept, owners).await;
        }
        let mut entry = NodeSiteRow {
            site: row.id,
            revision: None,
            digest: None,
            held: due.waits.as_ref().map(|_| row.revision),
            findings: due.waits.into_iter().collect(),
            updated_at: self.now(),
        };
        let Some(due) = due.version else { return Ok((None, entry)) };
        let is_held = |known: &&NodeSiteRow| {
            known.held == Some(due.revision)
                && !waits(known)
                && asking.tries_held_before.is_none_or(|before| known.updated_at >= before)
        };
        let held = known.filter(is_held);
        if let Some(held) = held {
            (entry.held, entry.findings) = (held.held, held.findings.clone());
        } else if !put_off {
            match self.make(&due, owners, asking.engine, asking.facts).await? {
                Ok(made) => {
                    entry.findings.extend(made.findings.iter().cloned());
                    entry.revision = Some(due.revision);
                    entry.digest = Some(name_of(&made));
                    let told = known.map(|known| still_told(known, entry.digest.as_deref()));
                    entry.findings.extend(told.unwrap_or_default());
                    return Ok((Some(made), entry));
                }
                Err(findings) => {
                    entry.held = Some(due.revision);
                    entry.findings = findings;
                }
            }
        }
        let Some(proven) = known.and_then(|known| known.revision) else { return Ok((None, entry)) };
        let Some(row) = self.version_of(row, proven).await? else { return Ok((None, entry)) };
        if let Ok(made) = self.make(&row, owners, asking.engine, asking.facts).await? {
            entry.revision = Some(proven);
            entry.digest = Some(name_of(&made));
            return Ok((Some(made), entry));
        }
        Ok((None, entry))
    }

    /// Makes the version of a site that a rollout has a node keep.
    async fn kept_for(
        &self,
        asking: &Asking<'_>,
        version: &Version<'_>,
        kept: &Kept,
        owners: &mut Owners,
    ) -> Result<(Option<Arc<Rendered>>, NodeSiteRow), ControlError> {
        let mut entry = NodeSiteRow {
            site: version.row.id,
            revision: None,
            digest: None,
            held: kept.held,
            findings: kept.findings.clone(),
            updated_at: self.now(),
        };
        let has = version.known.and_then(|known| known.revision);
        let Some(number) = (if version.put_off { has } else { kept.revision }) else {
            return Ok((None, entry));
        };
        let Some(row) = self.version_of(version.row, number).await? else {
            return Ok((None, entry));
        };
        match self.make(&row, owners, asking.engine, asking.facts).await? {
            Ok(made) => {
                entry.revision = Some(number);
                entry.digest = Some(name_of(&made));
                Ok((Some(made), entry))
            }
            Err(findings) => {
                entry.findings.extend(findings);
                Ok((None, entry))
            }
        }
    }

    /// Returns the sites that a node has and that are not for it any more.
    async fn moved_away(
        &self,
        rows: &[SiteRow],
        known: &BTreeMap<Id<Site>, NodeSiteRow>,
    ) -> Result<Vec<SiteRow>, ControlError> {
        let here: BTreeSet<_> = rows.iter().map(|row| row.id).collect();
        let gone: Vec<_> = known.keys().filter(|id| !here.contains(*id)).copied().collect();
        let found = self.inner.store.sites().by_ids(Visible::All, &gone).await?;
        Ok(found.into_values().collect())
    }

    /// Returns a site as it was at an earlier revision.
    pub(crate) async fn version_of(
        &self,
        row: &SiteRow,
        number: RevisionNumber,
    ) -> Result<Option<SiteRow>, ControlError> {
        if number == row.revision {
            return Ok(Some(row.clone()));
        }
        let revisions = self.inner.store.revisions();
        let found =
            revisions.version_at(Visible::All, ResourceKind::Site, row.id.uuid(), number).await?;
        let spec = found.and_then(|change| change.spec);
        Ok(spec.map(|spec| SiteRow { spec, revision: number, ..row.clone() }))
    }

    /// Returns the sites that are for a node.
    pub(crate) async fn sites_of(&self, node: &Node) -> Result<Vec<SiteRow>, ControlError> {
        let filter = SiteFilter { nodes: Some(node.selectors()), ..SiteFilter::default() };
        let mut all = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.sites().list(Visible::All, &filter, &page).await?;
            request = page.next(&found);
            all.extend(found.items);
        }
        Ok(all)
    }

    /// Returns what a node is known to have.
    pub(crate) async fn known_of(
        &self,
        node: Id<NodeRow>,
    ) -> Result<BTreeMap<Id<Site>, NodeSiteRow>, ControlError> {
        let mut all = BTreeMap::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.nodes().sites(node, &page).await?;
            request = page.next(&found);
            all.extend(found.items.into_iter().map(|row| (row.site, row)));
        }
        Ok(all)
    }
}

/// Returns what holds for a node as a whole. Who names no site is shown no certificate; cookies that
/// bind to a target are the edge's.
pub(crate) fn settings_of(node: &Node) -> NodeSettings {
    NodeSettings {
        trusted_proxies: node.trusted_proxies.clone(),
        fallback_certificate: None,
        sticky_key: None,
        draining: node.draining,
    }
}

/// Returns what tells a rendered site apart from every other: its policy and its bytes.
pub(crate) fn name_of(made: &Rendered) -> String {
    let mut bytes = made.entry.clone().into_bytes();
    for object in &made.objects {
        bytes.extend_from_slice(object.digest().as_bytes());
    }
    Digest::of(&bytes).to_string()
}

/// Returns what keeps a site back, as it is noted.
pub(super) fn held(
    row: &NodeSiteRow,
    findings: Vec<Finding>,
    wanted: RevisionNumber,
) -> NodeSiteRow {
    NodeSiteRow { held: Some(wanted), findings, ..row.clone() }
}
