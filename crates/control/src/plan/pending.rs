//! What nodes still lack of what is declared: because they are away, in trouble, or hold it.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{Finding, FindingCode, Findings, Id, Name, ResourceKind, RevisionNumber, Site};
use portway_store::{PageRequest, SiteFilter, SiteRow, Visible};
use portway_wire::{plan::PlanQuery, site::Plan};

use super::{
    effects::{Looking, concerned},
    touched::{Declared, IN_FULL, Rows, TouchedSite},
    world::{Known, World},
};
use crate::{Control, ControlError, actor::Actor, nodes::selectors_of, rights::Overseer};

/// So many sites are looked at.
const MOST: usize = 5_000;

/// Sites that a node may lack.
#[derive(Default)]
struct Candidates {
    sites: BTreeSet<Id<Site>>,
    /// Of those that are no longer declared, the names.
    gone: BTreeMap<Id<Site>, Name>,
}

impl Overseer<'_> {
    /// Says what nodes still lack of what is declared.
    pub async fn pending(&self, actor: &Actor, query: PlanQuery) -> Result<Plan, ControlError> {
        if query.refresh {
            self.control.may_read_nodes(actor).await?;
        }
        self.control.pending(query).await
    }
}

impl Control {
    async fn pending(&self, query: PlanQuery) -> Result<Plan, ControlError> {
        let mut world = self.world(&[]).await?;
        if query.refresh {
            self.read_anew(&world.nodes.iter().collect::<Vec<_>>()).await;
        }
        let mut candidates = Candidates::default();
        for known in &world.nodes {
            self.candidates(known, &mut candidates).await?;
        }
        let mut ids: Vec<_> = candidates.sites.iter().copied().collect();
        let left_out = ids.len().saturating_sub(MOST);
        ids.truncate(MOST);
        world = self.world(&ids).await?;
        let touched = self.touched(&ids, &candidates.gone).await?;
        let effects = self.effects(&world, &touched, Looking::Behind).await?;
        Ok(Plan {
            effects,
            nodes: self.nodes_behind(&world, &touched).await?,
            findings: if left_out > 0 { vec![too_many(left_out)] } else { Vec::new() },
            made_at: Some(self.now()),
            ..Plan::default()
        })
    }

    /// Returns the nodes that lack something, and those with which something is wrong.
    async fn nodes_behind(
        &self,
        world: &World,
        touched: &[TouchedSite],
    ) -> Result<Vec<portway_wire::plan::PlannedNode>, ControlError> {
        let behind: BTreeSet<_> =
            concerned(world, touched, Looking::Behind).iter().map(|node| node.row.id).collect();
        let mut nodes = Vec::new();
        for known in &world.nodes {
            let planned = self.planned_node(known).await?;
            if behind.contains(&known.row.id)
                || planned.problem.is_some()
                || planned.common.is_some()
            {
                nodes.push(planned);
            }
        }
        Ok(nodes)
    }

    /// Adds the sites that a node may lack. What was brought to it lately is found by what was changed
    /// since; only of a node that is new or was declared anew all sites are looked at.
    async fn candidates(&self, known: &Known, all: &mut Candidates) -> Result<(), ControlError> {
        let declared = known.row.declared.as_ref().map(|declared| declared.revision);
        let is_new = known.row.deployed == RevisionNumber(0)
            || declared.is_some_and(|revision| revision > known.row.deployed);
        if is_new && let Some(node) = &known.node {
            let filter = SiteFilter { nodes: Some(node.selectors()), ..SiteFilter::default() };
            self.listed(&filter, all).await?;
        }
        if is_new {
            let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
            while let Some(page) = request.filter(|_| all.sites.len() <= MOST) {
                let found = self.inner.store.nodes().sites(known.row.id, &page).await?;
                request = page.next(&found);
                all.sites.extend(found.items.iter().map(|row| row.site));
            }
        }
        self.changed_since(known.row.deployed, all).await?;
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request.filter(|_| all.sites.len() <= MOST) {
            let nodes = self.inner.store.nodes();
            let found = nodes.held(Visible::All, known.row.id, &page).await?;
            request = page.next(&found);
            all.sites.extend(found.items.iter().map(|row| row.site));
        }
        Ok(())
    }

    async fn listed(&self, filter: &SiteFilter, all: &mut Candidates) -> Result<(), ControlError> {
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request.filter(|_| all.sites.len() <= MOST) {
            let found = self.inner.store.sites().list(Visible::All, filter, &page).await?;
            request = page.next(&found);
            all.sites.extend(found.items.iter().map(|row| row.id));
        }
        Ok(())
    }

    async fn changed_since(
        &self,
        revision: RevisionNumber,
        all: &mut Candidates,
    ) -> Result<(), ControlError> {
        if revision == RevisionNumber(0) {
            return Ok(());
        }
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request.filter(|_| all.sites.len() <= MOST) {
            let found = self.inner.store.revisions().changes_since(revision, &page).await?;
            request = page.next(&found);
            for change in &found.items {
                if change.kind != ResourceKind::Site {
                    continue;
                }
                let id = Id::from_uuid(change.id);
                all.sites.insert(id);
                if let (None, Ok(name)) = (&change.spec, change.name.parse()) {
                    all.gone.insert(id, name);
                }
            }
        }
        Ok(())
    }

    async fn touched(
        &self,
        ids: &[Id<Site>],
        gone: &BTreeMap<Id<Site>, Name>,
    ) -> Result<Vec<TouchedSite>, ControlError> {
        let mut rows = self.inner.store.sites().by_ids(Visible::All, ids).await?;
        let mut touched = Vec::with_capacity(ids.len());
        for id in ids {
            let is_in_full = touched.len() < IN_FULL;
            match (rows.remove(id), gone.get(id)) {
                (Some(row), _) => touched.push(declared(row, is_in_full)?),
                (None, Some(name)) => touched.push(removed(*id, name)),
                (None, None) => {}
            }
        }
        touched.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(touched)
    }
}

fn declared(row: SiteRow, is_in_full: bool) -> Result<TouchedSite, ControlError> {
    let nodes = selectors_of(&row)?;
    let (id, name, revision) = (row.id, row.name.clone(), row.revision);
    let rows = is_in_full.then(|| {
        let (before, after) = (Some(row.clone()), Some(row));
        Box::new(Rows { before, after, to_come: BTreeMap::new() })
    });
    let before = Some(Declared { revision, nodes: nodes.clone() });
    Ok(TouchedSite { id, name, before, after: Some(nodes), is_same: false, rows })
}

/// Nothing is declared of it any more, so only that it leaves can be told.
fn removed(id: Id<Site>, name: &Name) -> TouchedSite {
    let before = Some(Declared { revision: RevisionNumber(0), nodes: Vec::new() });
    TouchedSite { id, name: name.clone(), before, after: None, is_same: false, rows: None }
}

fn too_many(left_out: usize) -> Finding {
    let mut findings = Findings::about(ResourceKind::Node, "");
    findings.warning(
        FindingCode::Advice,
        &portway_model::FieldPath::root(),
        format!("{left_out} more site(s) may still be on their way and are not shown"),
    );
    findings.into_vec().remove(0)
}
