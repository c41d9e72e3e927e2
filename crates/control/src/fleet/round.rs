//! One round over all nodes: which of them are to be looked at. The work itself is the workers', and
//! a round waits for none of them.
//!
//! A node that was found as it should be is read again after a while, and before that only when
//! something that concerns it changed: the node itself, a site that is on it or chosen for it, or what
//! such a site is made from. So a change costs what the nodes cost that it is for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::SignedDuration;
use portway_model::{Change, Id, NodeSelector, RevisionNumber, Site};
use portway_store::{NodeFilter, NodeRow, PageRequest};

use super::worker::Job;
use crate::{Control, ControlError, deploy::lock, nodes, tasks::TaskReport};

/// How old what is known of a node's content may be before it is read again.
const READ_AGE: SignedDuration = SignedDuration::from_mins(5);
/// Where more sites than these changed since a node was looked at, it is looked at without asking
/// whether they concern it.
const MOST_CHANGES: usize = 2000;

/// Up to when each node is known to be as it should be.
#[derive(Default)]
pub(super) struct Freshness {
    /// Grows whenever something changed that no revision tells of.
    generation: AtomicU64,
    /// What changed so, and is not put down to nodes yet.
    touched: Mutex<Touched>,
    nodes: Mutex<BTreeMap<Id<NodeRow>, Fresh>>,
}

#[derive(Default)]
struct Touched {
    all: bool,
    sites: BTreeSet<Id<Site>>,
}

/// What is known of one node.
#[derive(Clone, Copy, Default)]
struct Fresh {
    /// The revision and the generation that it was brought to.
    brought: Option<(RevisionNumber, u64)>,
    /// The generation that it must have been brought to.
    needed: u64,
}

impl Freshness {
    pub(super) fn touch(&self, sites: &BTreeSet<Id<Site>>) {
        lock(&self.touched).sites.extend(sites);
    }

    pub(super) fn touch_all(&self) {
        lock(&self.touched).all = true;
    }

    pub(super) fn touch_node(&self, node: Id<NodeRow>) {
        let needed = self.next_generation();
        lock(&self.nodes).entry(node).or_default().needed = needed;
    }

    /// Returns the generation in which work on a node begins.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::SeqCst)
    }

    /// Notes that a node is as it should be at a revision, from what was known in a generation.
    pub(super) fn brought(&self, node: Id<NodeRow>, revision: RevisionNumber, generation: u64) {
        lock(&self.nodes).entry(node).or_default().brought = Some((revision, generation));
    }

    fn next_generation(&self) -> u64 {
        self.generation.fetch_add(1, Ordering::SeqCst).saturating_add(1)
    }

    fn of(&self, node: Id<NodeRow>) -> Fresh {
        lock(&self.nodes).get(&node).copied().unwrap_or_default()
    }

    fn put_back(&self, touched: Touched) {
        let mut all = lock(&self.touched);
        all.all |= touched.all;
        all.sites.extend(touched.sites);
    }
}

impl Fresh {
    /// Returns the revision up to which the node is known to be as it should be, as far as revisions
    /// tell.
    fn since(self) -> Option<RevisionNumber> {
        self.brought.filter(|(_, generation)| *generation >= self.needed).map(|(at, _)| at)
    }
}

impl Control {
    /// Has every active node looked at that may not be as it should be, and every removed one cleaned.
    pub(crate) async fn bring_nodes(&self) -> TaskReport {
        self.try_bring_nodes().await.map_err(|error| error.to_string())
    }

    async fn try_bring_nodes(&self) -> Result<String, ControlError> {
        let filter =
            NodeFilter { declared: Some(true), active: Some(true), ..NodeFilter::default() };
        let rows = self.all_nodes(&filter).await?;
        let gates = self.gates().await?;
        for row in &rows {
            self.inner.fleet.heed(&gates, row.id);
        }
        let all = rows.len();
        let due = self.tried_again(rows).await?;
        let waiting = all.saturating_sub(due.len());
        self.put_down_touched().await?;
        let needing = self.needing(due).await?;
        let begun = needing.len();
        for row in needing {
            self.begin_work(Job::Bring(row));
        }
        for removal in self.removals_due().await? {
            self.begin_work(Job::Clean(removal));
        }
        Ok(format!(
            "{all} node(s): {begun} looked at, {waiting} in trouble, the others as they should be"
        ))
    }

    /// Returns those nodes that nothing went wrong with, or long enough ago. Whoever changes what is for
    /// a node in trouble is there to see whether it is well again: it is not made to wait.
    pub(super) async fn tried_again(
        &self,
        rows: Vec<NodeRow>,
    ) -> Result<Vec<NodeRow>, ControlError> {
        let (now, fleet) = (self.now(), &self.inner.fleet);
        let (mut due, mut tried) = (Vec::new(), Vec::new());
        for row in rows {
            if fleet.is_due(row.id, now) {
                due.push(row);
            } else if let Some(before) = fleet.tried_before(row.id, now) {
                tried.push((row, before));
            }
        }
        if !tried.is_empty() {
            let latest = self.inner.store.revisions().latest().await?;
            tried.retain(|(_, before)| *before < latest);
            due.extend(self.concerned(tried).await?.0);
        }
        Ok(due)
    }

    /// Returns those nodes that may not be as they should be.
    pub(super) async fn needing(&self, rows: Vec<NodeRow>) -> Result<Vec<NodeRow>, ControlError> {
        let latest = self.inner.store.revisions().latest().await?;
        let ids: Vec<_> = rows.iter().map(|row| row.id).collect();
        let facts = self.inner.store.nodes().facts(&ids).await?;
        let now = self.now();
        let is_well = |row: &NodeRow| {
            facts.get(&row.id).filter(|facts| facts.error.is_none()).is_some_and(|facts| {
                facts.read_at.is_some_and(|at| now.duration_since(at) < READ_AGE)
            })
        };
        let (mut needing, mut known) = (Vec::new(), Vec::new());
        for row in rows {
            let declared = row.declared.as_ref().map(|declared| declared.revision);
            match self.inner.fleet.freshness.of(row.id).since() {
                Some(since) if is_well(&row) && declared <= Some(since) => {
                    known.push((row, since));
                }
                _ => needing.push(row),
            }
        }
        known.retain(|(_, since)| *since < latest);
        let generation = self.inner.fleet.freshness.generation();
        let (concerned, others) = self.concerned(known).await?;
        for (row, since) in others {
            let fleet = &self.inner.fleet;
            if fleet.freshness.of(row.id).since() == Some(since) {
                fleet.freshness.brought(row.id, latest, generation);
                fleet.reached(row.id, latest);
            }
        }
        needing.extend(concerned);
        Ok(needing)
    }

    /// Parts nodes in those that a change after the revision of each concerns, and the others.
    async fn concerned(
        &self,
        nodes: Vec<(NodeRow, RevisionNumber)>,
    ) -> Result<(Vec<NodeRow>, Vec<(NodeRow, RevisionNumber)>), ControlError> {
        let Some(oldest) = nodes.iter().map(|(_, since)| *since).min() else {
            return Ok((Vec::new(), nodes));
        };
        let Some(changes) = self.sites_changed_since(oldest).await? else {
            return Ok((nodes.into_iter().map(|(row, _)| row).collect(), Vec::new()));
        };
        let sites: Vec<Id<Site>> =
            changes.iter().map(|(change, _)| Id::from_uuid(change.id)).collect();
        let on = self.inner.store.nodes().of_sites(&sites).await?;
        let (mut concerned, mut others) = (Vec::new(), Vec::new());
        for (row, since) in nodes {
            let Ok(node) = nodes::understood(&row) else {
                // Whoever brings it says what is wrong with it.
                concerned.push(row);
                continue;
            };
            let is_for_it = |(change, selectors): &(Change, Vec<NodeSelector>)| {
                let is_new = change.revision > since;
                let is_on_it = on.contains_key(&(Id::from_uuid(change.id), row.id));
                let chooses =
                    |node| NodeSelector::any_chooses(selectors, portway_model::Node::traits(node));
                is_new && (is_on_it || node.as_ref().is_some_and(chooses))
            };
            if changes.iter().any(is_for_it) {
                concerned.push(row);
            } else {
                others.push((row, since));
            }
        }
        Ok((concerned, others))
    }

    /// Returns what became of sites after a revision, with what each says of its nodes; nothing where
    /// that is too much to read.
    async fn sites_changed_since(
        &self,
        since: RevisionNumber,
    ) -> Result<Option<Vec<(Change, Vec<NodeSelector>)>>, ControlError> {
        let mut all = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.revisions().changes_since(since, &page).await?;
            request = page.next(&found);
            for change in found.items {
                let selectors = change.spec.as_ref().and_then(|spec| spec.get("nodes"));
                let selectors = selectors
                    .and_then(|nodes| serde_json::from_value(nodes.clone()).ok())
                    .unwrap_or_default();
                all.push((change, selectors));
            }
            if all.len() > MOST_CHANGES {
                return Ok(None);
            }
        }
        Ok(Some(all))
    }

    /// Finds the nodes of the sites that changed in a way that no revision tells of.
    async fn put_down_touched(&self) -> Result<(), ControlError> {
        let freshness = &self.inner.fleet.freshness;
        let touched = std::mem::take(&mut *lock(&freshness.touched));
        if !touched.all && touched.sites.is_empty() {
            return Ok(());
        }
        let sites: Vec<_> = touched.sites.iter().copied().collect();
        let on = match self.inner.store.nodes().of_sites(&sites).await {
            Ok(on) => on,
            Err(error) => {
                freshness.put_back(touched);
                return Err(error.into());
            }
        };
        let needed = freshness.next_generation();
        let mut nodes = lock(&freshness.nodes);
        if touched.all {
            nodes.values_mut().for_each(|fresh| fresh.needed = needed);
        }
        for (_, node) in on.keys() {
            nodes.entry(*node).or_default().needed = needed;
        }
        Ok(())
    }
}
