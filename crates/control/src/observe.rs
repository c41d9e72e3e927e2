//! How nodes fare: each is read on a schedule, without an agent, over the connection that deployments
//! use too.
//!
//! A reading is one command and one connection to the engine. Nodes are read at the same time and apart
//! from each other, so that one that hangs delays nobody. What was read last is kept in memory by the
//! manager that reads, and now and then in the store, for the others. Of several managers one reads the
//! nodes that are reached over SSH; each reads those on its own machine.

pub(crate) mod health;
mod own;
mod read;
mod rotate;
mod samples;
mod view;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use jiff::{SignedDuration, Timestamp};
use portway_model::{
    Id, Node,
    node::{Connection, HealthState, Measures},
};
use portway_observe::{Health, Sample, Seen};
use portway_store::{NodeFilter, NodeReading, NodeRow};
use portway_wire::node::NodeService;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{Control, ControlError, deploy::lock, nodes, tasks::TaskReport};

/// Over this time, or half of a round, its readings are spread.
const SPREAD: Duration = Duration::from_secs(8);
/// A reading that takes longer has failed.
const DEADLINE: Duration = Duration::from_secs(40);
/// How often what was read is noted for other managers.
const NOTE: SignedDuration = SignedDuration::from_secs(60);
/// What was read longer ago is looked for in the store: another manager may have read since.
const STALE: SignedDuration = SignedDuration::from_secs(45);

/// Whose nodes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Whose {
    /// Those that are reached over SSH; one manager does.
    Reached,
    /// Those on the machine of this manager.
    Own,
}

/// What is known of nodes. All of it can be lost.
#[derive(Default)]
pub(crate) struct Observer {
    known: Mutex<BTreeMap<Id<NodeRow>, Known>>,
    /// The readings that are under way.
    readers: Mutex<JoinSet<()>>,
    stop: OnceLock<CancellationToken>,
}

/// What this manager knows of a node.
#[derive(Default)]
struct Known {
    observed: Option<Arc<Observed>>,
    /// The last reading that told something, for what needs two.
    last: Option<Sample>,
    under_way: bool,
    /// How often it was read.
    readings: u32,
    noted_at: Option<Timestamp>,
    is_noted_as: Option<HealthState>,
    certificate: Option<(Timestamp, Seen<Timestamp>)>,
}

/// What was seen of a node. Other managers read it from the store.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Observed {
    /// When it was tried.
    pub(crate) read_at: Timestamp,
    /// By whom.
    pub(crate) manager: String,
    /// The numbers.
    pub(crate) values: Measures,
    /// The engine as a service, where that was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) service: Option<NodeService>,
    /// Whether it is well; nothing of the edge of a manager, which `portway health` looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) health: Option<Health>,
}

/// Something to be read.
pub(super) enum Target {
    /// A node that somebody declared.
    Declared(Box<Node>),
    /// The edge of this manager.
    OwnEdge,
}

impl Observer {
    /// Has readings end when `stop` is cancelled. Returns what waits for them.
    pub(crate) fn begin(&self, stop: &CancellationToken) {
        if self.stop.set(stop.clone()).is_err() {
            warn!("reading nodes was begun twice");
        }
    }

    /// Ends all readings.
    pub(crate) async fn end(&self) {
        let mut readers = std::mem::take(&mut *lock(&self.readers));
        readers.shutdown().await;
    }

    fn observed(&self, node: Id<NodeRow>) -> Option<Arc<Observed>> {
        lock(&self.known).get(&node).and_then(|known| known.observed.as_ref().map(Arc::clone))
    }

    /// Begins a reading, unless one is under way. Returns whether the node was read before.
    fn start(&self, node: Id<NodeRow>) -> Option<bool> {
        let mut all = lock(&self.known);
        let known = all.entry(node).or_default();
        (!std::mem::replace(&mut known.under_way, true)).then_some(known.observed.is_some())
    }

    fn ended(&self, node: Id<NodeRow>) {
        if let Some(known) = lock(&self.known).get_mut(&node) {
            known.under_way = false;
        }
    }
}

impl Control {
    /// Begins to read the nodes that are due. Those of the round before that hang are left alone.
    pub(crate) async fn observe_nodes(&self, whose: Whose) -> TaskReport {
        self.try_observe(whose).await.map_err(|error| error.to_string())
    }

    async fn try_observe(&self, whose: Whose) -> Result<String, ControlError> {
        let rows = self.all_nodes(&NodeFilter::default()).await?;
        if whose == Whose::Reached {
            lock(&self.inner.observer.known).retain(|id, _| rows.iter().any(|row| row.id == *id));
        }
        let (mut begun, mut hang) = (0_usize, 0_usize);
        for row in rows {
            let Some(target) = self.target(&row, whose) else { continue };
            match self.inner.observer.start(row.id) {
                None => hang += 1,
                Some(was_read) => {
                    let pause = if was_read { self.pause_of(row.id) } else { Duration::ZERO };
                    self.read_soon(row, target, pause);
                    begun += 1;
                }
            }
        }
        Ok(format!("{begun} node(s) read, {hang} not done with the reading before"))
    }

    /// Returns what is to be read of a node; nothing where that is not this manager's.
    fn target(&self, row: &NodeRow, whose: Whose) -> Option<Target> {
        let Some(node) = nodes::understood(row).ok()? else {
            let is_own = row.id == self.inner.node && whose == Whose::Own;
            return is_own.then_some(Target::OwnEdge);
        };
        let is_ours = match &node.connection {
            Connection::Ssh(ssh) => whose == Whose::Reached && nodes::is_confirmed(ssh),
            Connection::Local(manager) => {
                let is_here = manager.as_ref().is_none_or(|name| *name == self.inner.manager.name);
                whose == Whose::Own && is_here
            }
        };
        (is_ours && node.active).then(|| Target::Declared(Box::new(node)))
    }

    /// Each node has a place of its own in a round, so that not all are read at once.
    fn pause_of(&self, node: Id<NodeRow>) -> Duration {
        let [.., high, low] = node.uuid().into_bytes();
        let spread = SPREAD.min(self.inner.config.observe_every / 2);
        spread * u32::from(u16::from_be_bytes([high, low])) / u32::from(u16::MAX)
    }

    fn read_soon(&self, row: NodeRow, target: Target, pause: Duration) {
        let control = self.clone();
        let stop = self.inner.observer.stop.get().cloned().unwrap_or_default();
        let mut readers = lock(&self.inner.observer.readers);
        // What has ended is let go.
        while readers.try_join_next().is_some() {}
        readers.spawn(async move {
            let reading = Box::pin(async {
                tokio::time::sleep(pause).await;
                control.read_node(&row, &target).await;
            });
            let ended = stop.run_until_cancelled(tokio::time::timeout(DEADLINE, reading)).await;
            if let Some(Err(_)) = ended {
                let why = format!("it did not answer within {} s", DEADLINE.as_secs());
                control.not_seen(&row, &target, &why, None).await;
            }
            control.inner.observer.ended(row.id);
        });
    }

    /// Notes what was seen of a node: here, and sometimes for other managers.
    pub(super) async fn note_observed(
        &self,
        row: &NodeRow,
        observed: Observed,
        sample: Option<Sample>,
    ) {
        let observed = Arc::new(observed);
        let is_due = {
            let mut all = lock(&self.inner.observer.known);
            let known = all.entry(row.id).or_default();
            known.observed = Some(Arc::clone(&observed));
            known.last = sample.or_else(|| known.last.take());
            let now = observed.read_at;
            let is_new = known.is_noted_as != observed.health.as_ref().map(|health| health.state);
            known.is_noted_as = observed.health.as_ref().map(|health| health.state);
            let is_due = is_new || known.noted_at.is_none_or(|at| now.duration_since(at) >= NOTE);
            if is_due {
                known.noted_at = Some(now);
            }
            is_due
        };
        if !is_due {
            return;
        }
        let reading = match serde_json::to_value(&*observed) {
            Ok(reading) => NodeReading { read_at: observed.read_at, reading },
            Err(error) => return warn!(%error, "a reading of a node cannot be written"),
        };
        if let Err(error) = self.inner.store.nodes().put_reading(row.id, &reading).await {
            // A node may have been removed meanwhile.
            debug!(node.name = %row.name, %error, "a reading of a node cannot be noted");
        }
    }

    /// Returns what is known of some nodes: what this manager read, or another one later.
    pub(crate) async fn observed(
        &self,
        nodes: &[Id<NodeRow>],
    ) -> Result<BTreeMap<Id<NodeRow>, Arc<Observed>>, ControlError> {
        let now = self.now();
        let mut found = BTreeMap::new();
        let mut others = Vec::new();
        for node in nodes {
            let observed = self.inner.observer.observed(*node);
            let is_fresh = |seen: &Arc<Observed>| now.duration_since(seen.read_at) < STALE;
            if !observed.as_ref().is_some_and(is_fresh) {
                others.push(*node);
            }
            found.extend(observed.map(|observed| (*node, observed)));
        }
        if others.is_empty() {
            return Ok(found);
        }
        for (node, row) in self.inner.store.nodes().readings(&others).await? {
            let own = found.get(&node).map(|observed: &Arc<Observed>| observed.read_at);
            if own.is_some_and(|own| own >= row.read_at) {
                continue;
            }
            match serde_json::from_value::<Observed>(row.reading) {
                Ok(observed) => {
                    found.insert(node, Arc::new(observed));
                }
                // One of another version; the next reading takes its place.
                Err(error) => debug!(%error, "a reading of a node is not understood"),
            }
        }
        Ok(found)
    }
}
