//! Who works on nodes: one worker for each that is to be looked at, so that one that hangs delays no
//! other, and of this manager's own errands on a node one after the other.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use portway_deploy::ByOthers;
use portway_model::Id;
use portway_store::{NodeRemoval, NodeRow};
use tokio::sync::{Mutex as AsyncMutex, Semaphore};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

use super::bring::Brought;
use crate::{Control, ControlError, deploy::lock};

/// So many nodes are worked on at once.
const PLACES: usize = 32;
/// So many of those that were in trouble the last time. They have their own places: a node that hangs
/// holds its one for seconds.
const PLACES_IN_TROUBLE: usize = 16;
/// How long a worker may go on when the manager is to stop. What it leaves in the middle, the next
/// manager goes on with.
const GRACE: Duration = Duration::from_secs(15);

/// What is to be done with a node.
pub(super) enum Job {
    /// It is brought to what it should have.
    Bring(NodeRow),
    /// Portway's is taken away from it.
    Clean(NodeRemoval),
}

/// The workers.
pub(crate) struct Workers {
    hands: Mutex<BTreeMap<Id<NodeRow>, Hand>>,
    places: Arc<Semaphore>,
    places_in_trouble: Arc<Semaphore>,
    running: OnceLock<Running>,
}

/// Whether anybody works on a node.
#[derive(Default)]
struct Hand {
    /// Held by whoever of this manager works on the node.
    turn: Arc<AsyncMutex<()>>,
    is_working: bool,
    /// The node is to be looked at again when the work is done.
    again: bool,
}

struct Running {
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Default for Workers {
    fn default() -> Self {
        Self {
            hands: Mutex::default(),
            places: Arc::new(Semaphore::new(PLACES)),
            places_in_trouble: Arc::new(Semaphore::new(PLACES_IN_TROUBLE)),
            running: OnceLock::new(),
        }
    }
}

impl Workers {
    /// Says who waits for workers, and what tells them to stop.
    pub(crate) fn start(&self, tracker: &TaskTracker, stop: &CancellationToken) {
        let running = Running { tracker: tracker.clone(), stop: stop.clone() };
        if self.running.set(running).is_err() {
            warn!("the work on nodes was started twice");
        }
    }

    /// Returns who waits for workers, once they were started.
    pub(super) fn tracker(&self) -> Option<&TaskTracker> {
        self.running.get().map(|running| &running.tracker)
    }

    /// Tells whether the manager is to stop, so that nothing is begun that can be left.
    pub(super) fn are_stopping(&self) -> bool {
        self.running.get().is_some_and(|running| running.stop.is_cancelled())
    }

    /// Waits for this manager's turn on a node.
    pub(super) async fn turn(&self, node: Id<NodeRow>) -> tokio::sync::OwnedMutexGuard<()> {
        let turn = Arc::clone(&lock(&self.hands).entry(node).or_default().turn);
        turn.lock_owned().await
    }

    /// Tells whether a worker is to begin; where one is at it, it is told to look again.
    fn begins(&self, node: Id<NodeRow>) -> bool {
        let mut hands = lock(&self.hands);
        let hand = hands.entry(node).or_default();
        hand.again = hand.is_working;
        !std::mem::replace(&mut hand.is_working, true)
    }

    /// Tells whether a worker is to look again. Where not, it has ended.
    fn goes_on(&self, node: Id<NodeRow>) -> bool {
        let mut hands = lock(&self.hands);
        let hand = hands.entry(node).or_default();
        hand.is_working = std::mem::take(&mut hand.again);
        hand.is_working
    }
}

/// Gives the node free if the worker ends otherwise than by itself.
struct AtWork<'a> {
    workers: &'a Workers,
    node: Id<NodeRow>,
    has_ended: bool,
}

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        if !self.has_ended {
            lock(&self.workers.hands).entry(self.node).or_default().is_working = false;
        }
    }
}

impl Control {
    /// Has a worker do a job on a node, unless one is at it.
    pub(super) fn begin_work(&self, job: Job) {
        let workers = &self.inner.fleet.workers;
        let Some(running) = workers.running.get() else { return };
        let node = match &job {
            Job::Bring(row) => row.id,
            Job::Clean(removal) => removal.id,
        };
        if running.stop.is_cancelled() || !workers.begins(node) {
            return;
        }
        let (control, stop) = (self.clone(), running.stop.clone());
        running.tracker.spawn(async move {
            let late = async {
                stop.cancelled().await;
                tokio::time::sleep(GRACE).await;
            };
            // What is dropped in the middle is found by whoever comes next, like after a crash.
            tokio::select! {
                () = Box::pin(control.work(node, job)) => {}
                () = late => warn!(node.id = %node, "left the work on a node in the middle"),
            }
        });
    }

    async fn work(&self, node: Id<NodeRow>, job: Job) {
        let workers = &self.inner.fleet.workers;
        let mut at_work = AtWork { workers, node, has_ended: false };
        let mut next = Some(job);
        loop {
            if let Some(job) = next.take().filter(|_| !workers.are_stopping()) {
                self.carry_out(job).await;
            }
            if !workers.goes_on(node) {
                at_work.has_ended = true;
                return;
            }
            next = match self.still_needing(node).await {
                Ok(row) => row.map(Job::Bring),
                Err(error) => {
                    warn!(node.id = %node, %error, "cannot look whether the node is as it should be");
                    None
                }
            };
        }
    }

    async fn carry_out(&self, job: Job) {
        let fleet = &self.inner.fleet;
        let node = match &job {
            Job::Bring(row) => row.id,
            Job::Clean(removal) => removal.id,
        };
        let turn = fleet.workers.turn(node).await;
        let places = if fleet.is_in_trouble(node) {
            &fleet.workers.places_in_trouble
        } else {
            &fleet.workers.places
        };
        let place = places.acquire().await;
        match job {
            Job::Bring(row) => self.look_after(&row, ByOthers::Respect).await,
            Job::Clean(removal) => self.clean(&removal).await,
        }
        drop((turn, place));
    }

    /// Returns a node if it is there, due, and may not be as it should be.
    async fn still_needing(&self, node: Id<NodeRow>) -> Result<Option<NodeRow>, ControlError> {
        let row = self.inner.store.nodes().get(node).await?;
        let is_active =
            |row: &NodeRow| row.declared.as_ref().is_some_and(|declared| declared.active);
        let Some(row) = row.filter(is_active) else { return Ok(None) };
        let due = self.tried_again(vec![row]).await?;
        Ok(self.needing(due).await?.pop())
    }

    /// Brings one node to what it should have, and notes how that went. In this manager's turn only;
    /// see [`Workers::turn`].
    pub(super) async fn look_after(&self, row: &NodeRow, by_others: ByOthers) {
        self.try_look_after(row, by_others).await;
        self.poke_rollouts();
    }

    async fn try_look_after(&self, row: &NodeRow, by_others: ByOthers) {
        let fleet = &self.inner.fleet;
        let tried = self.inner.store.revisions().latest().await.ok();
        // When it is tried is decided already; what the way there says of an attempt before is no answer.
        fleet.connect_anew(row.id);
        let error = match self.bring(row, by_others).await {
            Ok(Brought::Busy) => return,
            Ok(Brought::Here) => return fleet.well(row.id),
            Err(error) => error,
        };
        warn!(node.name = %row.name, "the node is not as it should be: {}", error.told());
        fleet.trouble(row.id, tried, self.now());
        if let Err(error) = self.note_trouble(row, &error).await {
            warn!(node.name = %row.name, %error, "the trouble of a node cannot be noted");
        }
    }
}
