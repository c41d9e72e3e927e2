//! How far the nodes of a rollout are, as the store knows it.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use portway_model::{
    Finding, Id, Node, NodeSelector, ResourceKind, RevisionNumber, Severity, Site,
    node::Traits,
    rollout::{RolloutState, Seen, Standing},
};
use portway_store::{
    NodeFacts, NodeFilter, NodeRow, NodeSiteRow, PageRequest, RolloutNodeRow, RolloutRow, Visible,
};

use super::finding;
use crate::{
    Control, ControlError,
    nodes::{self, NotUnderstood},
};

/// What is seen of a rollout.
pub(super) struct Sight {
    /// Its sites that no later revision changed, with the choice of their nodes.
    pub(super) sites: BTreeMap<Id<Site>, Vec<NodeSelector>>,
    /// What nodes have of them.
    known: BTreeMap<(Id<Site>, Id<NodeRow>), NodeSiteRow>,
    nodes: BTreeMap<Id<NodeRow>, Known>,
    facts: BTreeMap<Id<NodeRow>, NodeFacts>,
    /// Since when this manager looks.
    began: Timestamp,
    now: Timestamp,
}

/// A node, read once for all the sites of a rollout.
struct Known {
    row: NodeRow,
    /// What is declared of it; nothing for the edge of a manager.
    node: Result<Option<Node>, NotUnderstood>,
}

impl Control {
    /// Looks at the nodes of a rollout.
    pub(super) async fn sight(&self, rollout: &RolloutRow) -> Result<Sight, ControlError> {
        let sites = self.live_sites(rollout.revision).await?;
        let ids: Vec<_> = sites.keys().copied().collect();
        let known = self.inner.store.nodes().of_sites(&ids).await?;
        let all = self.all_nodes(&NodeFilter::default()).await?;
        let nodes = all.into_iter().map(|row| {
            let node = nodes::understood(&row);
            (row.id, Known { row, node })
        });
        let nodes = nodes.collect();
        let concerned: Vec<_> = rollout.nodes.iter().map(|place| place.node).collect();
        let facts = self.inner.store.nodes().facts(&concerned).await?;
        let began = self.inner.rollouts.began;
        Ok(Sight { sites, known, nodes, facts, began, now: self.now() })
    }

    /// Returns the sites of a revision that no later one changed or removed.
    pub(super) async fn live_sites(
        &self,
        revision: RevisionNumber,
    ) -> Result<BTreeMap<Id<Site>, Vec<NodeSelector>>, ControlError> {
        let mut live = BTreeMap::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let revisions = self.inner.store.revisions();
            let found = revisions.changes_of(Visible::All, revision, &page).await?;
            request = page.next(&found);
            let ids: Vec<Id<Site>> = found
                .items
                .iter()
                .filter(|change| change.kind == ResourceKind::Site)
                .map(|change| Id::from_uuid(change.id))
                .collect();
            for (id, row) in self.inner.store.sites().by_ids(Visible::All, &ids).await? {
                if row.revision == revision {
                    live.insert(id, nodes::selectors_of(&row)?);
                }
            }
        }
        Ok(live)
    }
}

impl Sight {
    /// Brings what is written of the nodes up to what is seen, and counts them.
    pub(super) fn apply(&self, rollout: &mut RolloutRow) -> Seen {
        let (state, patience) = (rollout.state, rollout.strategy.patience);
        let (revision, came_here) = (rollout.revision, rollout.updated_at);
        for place in &mut rollout.nodes {
            let from =
                if state.is_back() { came_here } else { place.let_in_at.unwrap_or(self.now) };
            let limit = SignedDuration::from_secs(i64::from(patience));
            let is_late = self.now.duration_since(from.max(self.began)) > limit;
            let (standing, findings) = self.stand(place, revision, state, is_late, patience);
            if standing != place.standing {
                place.since = self.now;
            }
            (place.standing, place.findings) = (standing, findings);
        }
        self.count(rollout)
    }

    fn count(&self, rollout: &RolloutRow) -> Seen {
        let of = |standing: Standing| {
            let found = rollout.nodes.iter().filter(|place| place.standing == standing).count();
            u32::try_from(found).unwrap_or(u32::MAX)
        };
        let is_behind = rollout.state.is_back();
        let waves = rollout.nodes.iter().map(|place| place.wave + 1).max().unwrap_or(0);
        let on_the_way = || of(Standing::Working).saturating_add(self.soaking(rollout, waves));
        Seen {
            waves,
            pending: if is_behind { 0 } else { on_the_way() },
            failed: of(Standing::Failed),
            behind: if is_behind { of(Standing::Working) } else { 0 },
            superseded: self.sites.is_empty(),
        }
    }

    /// Counts the nodes of the wave that have the revision and not for long enough. After the last wave
    /// nobody waits for that.
    fn soaking(&self, rollout: &RolloutRow, waves: u32) -> u32 {
        let Some(wave) = rollout.state.wave().filter(|wave| wave.saturating_add(1) < waves) else {
            return 0;
        };
        let soak = SignedDuration::from_secs(i64::from(rollout.strategy.soak));
        let is_soaking = |place: &&RolloutNodeRow| {
            let is_its = place.wave == wave && place.standing == Standing::Has;
            is_its && self.now.duration_since(place.since) < soak
        };
        u32::try_from(rollout.nodes.iter().filter(is_soaking).count()).unwrap_or(u32::MAX)
    }

    fn stand(
        &self,
        place: &RolloutNodeRow,
        revision: RevisionNumber,
        state: RolloutState,
        is_late: bool,
        patience: u32,
    ) -> (Standing, Vec<Finding>) {
        if !self.takes_part(place.node, revision) {
            return (Standing::Left, Vec::new());
        }
        if place.let_in_at.is_none() {
            return (Standing::Waiting, Vec::new());
        }
        if state.is_back() {
            return match (self.is_back(place, revision), is_late) {
                (true, _) => (Standing::Back, Vec::new()),
                (false, false) => (Standing::Working, Vec::new()),
                (false, true) => (Standing::Behind, self.late(place, "go back", patience)),
            };
        }
        match self.has(place, revision) {
            Has::All => (Standing::Has, Vec::new()),
            Has::Held(findings) => (Standing::Failed, findings),
            // Who failed once has failed until it has all of it.
            Has::NotYet if place.standing == Standing::Failed => {
                (Standing::Failed, place.findings.clone())
            }
            Has::NotYet if is_late => (Standing::Failed, self.late(place, "take it", patience)),
            Has::NotYet => (Standing::Working, Vec::new()),
        }
    }

    /// Tells whether a node is one that the revision can come to: it is active, and not kept at an earlier
    /// one.
    fn takes_part(&self, node: Id<NodeRow>, revision: RevisionNumber) -> bool {
        let Some(Known { row, node }) = self.nodes.get(&node) else { return false };
        let is_active = row.declared.as_ref().is_none_or(|declared| declared.active);
        let pin = node.as_ref().ok().and_then(|node| node.as_ref()?.pinned);
        is_active && pin.is_none_or(|pin| pin >= revision)
    }

    /// Tells whether a node is for a site.
    fn is_for(&self, node: Id<NodeRow>, selectors: &[NodeSelector]) -> bool {
        let Some(Known { row, node }) = self.nodes.get(&node) else { return false };
        match node {
            Ok(Some(node)) => NodeSelector::any_chooses(selectors, node.traits()),
            Ok(None) => NodeSelector::any_chooses(selectors, Traits::OwnEdge { name: &row.name }),
            Err(NotUnderstood) => false,
        }
    }

    fn has(&self, place: &RolloutNodeRow, revision: RevisionNumber) -> Has {
        let mut not_yet = false;
        let mut held = Vec::new();
        for (site, selectors) in &self.sites {
            let known = self.known.get(&(*site, place.node));
            if !self.is_for(place.node, selectors) {
                not_yet |= known.is_some();
            } else if let Some(known) = known.filter(|known| known.held == Some(revision)) {
                held.extend(known.findings.iter().cloned());
            } else {
                not_yet |= known.and_then(|known| known.revision) != Some(revision);
            }
        }
        if !held.is_empty() {
            Has::Held(held)
        } else if not_yet {
            Has::NotYet
        } else {
            Has::All
        }
    }

    fn is_back(&self, place: &RolloutNodeRow, revision: RevisionNumber) -> bool {
        place.before.iter().filter(|(site, _)| self.sites.contains_key(*site)).all(
            |(site, before)| {
                let known = self.known.get(&(*site, place.node));
                known.is_some_and(|known| known.revision == *before && known.held == Some(revision))
            },
        )
    }

    fn late(&self, place: &RolloutNodeRow, what: &str, patience: u32) -> Vec<Finding> {
        let name = place.name.as_str();
        let error = self.facts.get(&place.node).and_then(|facts| facts.error.as_deref());
        let why = error.map(|error| format!(": {error}")).unwrap_or_default();
        let text = format!("node {name} did not {what} within {patience} s{why}");
        vec![finding(ResourceKind::Node, name, Severity::Error, text)]
    }

    /// Returns what a node has of the sites, to be given back to it.
    pub(super) fn before(&self, node: Id<NodeRow>) -> BTreeMap<Id<Site>, Option<RevisionNumber>> {
        let mut before = BTreeMap::new();
        for (site, selectors) in &self.sites {
            let known = self.known.get(&(*site, node));
            if known.is_some() || self.is_for(node, selectors) {
                before.insert(*site, known.and_then(|known| known.revision));
            }
        }
        before
    }

    pub(super) fn now(&self) -> Timestamp {
        self.now
    }
}

/// How far a node is with the sites of a rollout.
enum Has {
    All,
    NotYet,
    Held(Vec<Finding>),
}
