//! Brings every active node that somebody declared to what it should have: files for nginx, Caddy and
//! Traefik, changes over the control socket for edges (`edge`).
//!
//! What a node should have is made from what is declared (`wanted`), what it has is read from it. Every
//! manager looks; on each node one of them works at a time, under a lease whose number the node knows.
//! A node that is away, or new, gets what it lacks when it is back, as an ordinary deployment. A site
//! whose new version fails there is held there, at the version that was proven, and nothing sends the
//! failed version again until it is changed.

mod adopt;
mod bring;
mod check;
mod clean;
mod connect;
mod cut_off;
mod drift;
mod edge;
mod engines;
mod errand;
mod exec;
mod hands;
mod hold;
mod hosts;
mod install;
mod journal;
mod made;
mod pin;
mod progress;
mod proof;
mod reads;
mod release;
mod round;
mod scan;
mod service;
mod sudoers;
mod veil;
mod wanted;
mod worker;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use portway_deploy::{CameAs, Survey, holes};
use portway_engine::Engine;
use portway_model::{EngineKind, Finding, Id, Node, RevisionNumber, Site, rollout::Gate};
use portway_store::NodeRow;
use tokio::sync::watch;

pub(crate) use self::{
    connect::{Reach, ReachError},
    hosts::{Hosts, hosts_kept},
    made::render,
    pin::waits,
    proof::{OnEdge, doors_of, probes_of, proof_of},
    reads::facts_kept,
    wanted::{name_of, settings_of},
};
use self::{edge::Edges, made::Made, round::Freshness, worker::Workers};
use crate::{
    Control,
    deploy::lock,
    rollout::{Gates, NodeGates},
};

/// The name of the task that looks after nodes.
pub(crate) const TASK: &str = "bring-nodes";
/// The wait after a first trouble with a node; it doubles with each, up to `LONGEST_WAIT`.
const FIRST_WAIT: SignedDuration = SignedDuration::from_secs(2);
const LONGEST_WAIT: SignedDuration = SignedDuration::from_secs(300);

/// What was seen of a node is good for so long where something is planned by it.
const LATELY: SignedDuration = SignedDuration::from_secs(60);

/// What is remembered of nodes between two looks. All of it can be lost.
#[derive(Default)]
pub(crate) struct Fleet {
    pub(crate) workers: Workers,
    reaches: Mutex<BTreeMap<Id<NodeRow>, Reached>>,
    surveys: Mutex<BTreeMap<Id<NodeRow>, Arc<Survey>>>,
    made: Made,
    edges: Edges,
    troubles: Mutex<BTreeMap<Id<NodeRow>, Trouble>>,
    freshness: Freshness,
    /// What rollouts last said of each node.
    gates: Mutex<BTreeMap<Id<NodeRow>, BTreeMap<RevisionNumber, Gate>>>,
    /// Up to which revision each node was brought, or found to be.
    reached: watch::Sender<BTreeMap<Id<NodeRow>, RevisionNumber>>,
}

/// A way to a node, and what it was made from.
struct Reached {
    revision: RevisionNumber,
    reach: Arc<Reach>,
}

/// A node that could not be brought to what it should have.
#[derive(Clone, Debug)]
struct Trouble {
    times: u32,
    last_at: Timestamp,
    again_at: Timestamp,
    /// The newest revision when that was tried, where that is known. A later one that is for the node has
    /// it tried again.
    tried: Option<RevisionNumber>,
}

impl Fleet {
    /// Has these sites made anew, and looks at the nodes that they are on.
    fn look_at(&self, sites: &BTreeSet<Id<Site>>) {
        self.made.forget(sites);
        self.freshness.touch(sites);
        self.edges.look_at(sites);
    }

    /// Tells whether a node has a revision, as far as it can have it.
    pub(crate) fn has(&self, node: Id<NodeRow>, revision: RevisionNumber) -> bool {
        self.reached.borrow().get(&node).is_some_and(|so_far| *so_far >= revision)
    }

    fn look_at_all(&self) {
        self.made.forget_all();
        self.freshness.touch_all();
    }

    /// Forgets what is known of a node and of what went wrong with it, because something about it
    /// changed. It is looked at with the next round, over the connection that stands.
    pub(crate) fn look_at_node(&self, node: Id<NodeRow>) {
        lock(&self.surveys).remove(&node);
        self.bring_anew(node);
    }

    /// Forgets the way to a node as well: how it is reached, or what a login may do there, changed.
    pub(crate) fn log_in_anew(&self, node: Id<NodeRow>) {
        lock(&self.reaches).remove(&node);
        self.look_at_node(node);
    }

    /// Forgets what is known of what a node has, and of what went wrong with it. What its machine is like
    /// stands, and so does the connection; one that failed is tried again.
    fn bring_anew(&self, node: Id<NodeRow>) {
        lock(&self.troubles).remove(&node);
        self.connect_anew(node);
        self.freshness.touch_node(node);
        self.edges.forget(node);
    }

    /// Has the next attempt to connect to a node made at once, if one has failed.
    fn connect_anew(&self, node: Id<NodeRow>) {
        if let Some(reached) = lock(&self.reaches).get(&node) {
            reached.reach.forget_failure();
        }
    }

    /// Prepares for a node to be brought to what it should have because somebody asks for it. After a
    /// trouble everything is looked at, for somebody may have mended anything.
    fn asked_to_bring(&self, node: Id<NodeRow>, now: Timestamp) {
        if self.is_in_trouble(node) {
            self.log_in_anew(node);
        } else if self.seen_lately(node, now).is_none() {
            self.look_at_node(node);
        } else {
            self.bring_anew(node);
        }
    }

    /// Returns where the program of a node's engine was seen.
    pub(crate) fn program(&self, node: Id<NodeRow>) -> Option<Utf8PathBuf> {
        let survey = lock(&self.surveys).get(&node).map(Arc::clone)?;
        survey.program.as_ref().ok().cloned()
    }

    /// Returns what was seen of a node just before: when it is shown what would be done, and then done.
    fn seen_lately(&self, node: Id<NodeRow>, now: Timestamp) -> Option<Arc<Survey>> {
        let survey = lock(&self.surveys).get(&node).map(Arc::clone)?;
        (now.duration_since(survey.at) < LATELY).then_some(survey)
    }

    /// Returns what a node's engine came as, as far as somebody looked.
    pub(crate) fn came_as(&self, node: Id<NodeRow>) -> CameAs {
        let survey = lock(&self.surveys).get(&node).map(Arc::clone);
        survey.map(|survey| survey.came_as()).unwrap_or_default()
    }

    /// Tells of holes that the version of a node's engine is known to have, where somebody looked.
    pub(crate) fn known_holes(&self, id: Id<NodeRow>, node: &Node) -> Option<Finding> {
        let survey = lock(&self.surveys).get(&id).map(Arc::clone)?;
        holes(node, survey.engine.as_ref().ok()?.version, &survey.came_as())
    }

    /// Notes what rollouts said of a node when it was last made out what it should have.
    fn heard(&self, gates: &NodeGates, node: Id<NodeRow>) {
        lock(&self.gates).insert(node, gates.said());
    }

    /// Has a node looked at with the next round, whatever went wrong with it, where rollouts say
    /// something else of it than before.
    fn heed(&self, gates: &Gates, node: Id<NodeRow>) {
        let said = gates.of_node(node);
        let mut all = lock(&self.gates);
        let before = all.entry(node).or_default();
        if *before != said {
            *before = said;
            lock(&self.troubles).remove(&node);
            self.freshness.touch_node(node);
        }
    }

    fn reached(&self, node: Id<NodeRow>, revision: RevisionNumber) {
        self.reached.send_modify(|reached| {
            let so_far = reached.entry(node).or_insert(revision);
            *so_far = revision.max(*so_far);
        });
    }

    /// Notes that a node could not be brought to a revision.
    fn trouble(&self, node: Id<NodeRow>, tried: Option<RevisionNumber>, now: Timestamp) {
        let mut troubles = lock(&self.troubles);
        let new = Trouble { times: 0, last_at: now, again_at: now, tried };
        let trouble = troubles.entry(node).or_insert(new);
        let doublings = trouble.times.min(16);
        let wait = FIRST_WAIT.checked_mul(1 << doublings).unwrap_or(LONGEST_WAIT).min(LONGEST_WAIT);
        trouble.times = trouble.times.saturating_add(1);
        trouble.again_at = now.saturating_add(wait).unwrap_or(now);
        trouble.last_at = now;
        trouble.tried = tried;
    }

    /// Returns what was the newest revision when a node in trouble was tried last, if that is long
    /// enough ago to try it for a newer one.
    fn tried_before(&self, node: Id<NodeRow>, now: Timestamp) -> Option<RevisionNumber> {
        let troubles = lock(&self.troubles);
        let trouble = troubles.get(&node)?;
        trouble.tried.filter(|_| now.duration_since(trouble.last_at) >= FIRST_WAIT)
    }

    fn is_due(&self, node: Id<NodeRow>, now: Timestamp) -> bool {
        lock(&self.troubles).get(&node).is_none_or(|trouble| trouble.again_at <= now)
    }

    fn is_in_trouble(&self, node: Id<NodeRow>) -> bool {
        lock(&self.troubles).contains_key(&node)
    }

    fn well(&self, node: Id<NodeRow>) {
        lock(&self.troubles).remove(&node);
    }
}

/// Returns what writes for an engine; nothing for the edge, which is given sites as they are.
pub(crate) fn engine_of(kind: EngineKind) -> Option<&'static dyn Engine> {
    match kind {
        EngineKind::Nginx => Some(&portway_engine::nginx::Nginx),
        EngineKind::Caddy => Some(&portway_engine::caddy::Caddy),
        EngineKind::Traefik => Some(&portway_engine::traefik::Traefik),
        EngineKind::Edge => None,
    }
}

impl Control {
    /// Has these sites compiled again for every node that they are on.
    pub(crate) fn look_at_sites(&self, sites: impl IntoIterator<Item = Id<Site>>) {
        let sites: BTreeSet<_> = sites.into_iter().collect();
        self.inner.fleet.look_at(&sites);
        self.inner.deploy.look_at(sites);
    }

    /// Has every site compiled again for every node that it is on.
    pub(crate) fn look_at_every_site(&self) {
        self.inner.fleet.look_at_all();
        self.inner.fleet.edges.look_at_everything();
        self.inner.deploy.look_at_everything();
    }

    /// Has the nodes looked at soon.
    pub(crate) fn poke_nodes(&self) {
        let mut tasks = self.task_handles().iter();
        if let Some(task) = tasks.find(|task| task.info().name == TASK) {
            task.poke();
        }
    }

    /// Waits until the nodes of a revision's sites were brought to it, at most until `end`. Returns
    /// whether they were.
    pub(crate) async fn nodes_reach(
        &self,
        nodes: &BTreeSet<Id<NodeRow>>,
        revision: RevisionNumber,
        end: tokio::time::Instant,
    ) -> bool {
        let mut reached = self.inner.fleet.reached.subscribe();
        let have = |reached: &BTreeMap<Id<NodeRow>, RevisionNumber>| {
            nodes.iter().all(|node| reached.get(node).is_some_and(|so_far| *so_far >= revision))
        };
        tokio::time::timeout_at(end, reached.wait_for(have))
            .await
            .is_ok_and(|result| result.is_ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_trouble_waits_longer_each_time_unless_there_is_a_later_revision() {
        let (fleet, node) = (Fleet::default(), Id::from_uuid(uuid::Uuid::now_v7()));
        let after = |seconds| Timestamp::UNIX_EPOCH + SignedDuration::from_secs(seconds);
        for begun in [0, 100, 200] {
            fleet.trouble(node, Some(RevisionNumber(5)), after(begun));
        }

        assert!(!fleet.is_due(node, after(207)));
        assert!(fleet.is_due(node, after(208)));
        assert_eq!(fleet.tried_before(node, after(201)), None, "it is not hammered");
        assert_eq!(fleet.tried_before(node, after(202)), Some(RevisionNumber(5)));

        fleet.well(node);
        assert!(fleet.is_due(node, after(203)));
        assert_eq!(fleet.tried_before(node, after(203)), None);
    }
}
