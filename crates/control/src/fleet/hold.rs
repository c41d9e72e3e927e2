//! A node that is held for this manager. That is said anew for as long as it is worked on, and the node
//! is given back at the end, also where the work is dropped in the middle. A manager that died says
//! nothing more, and another one has the node within the lease.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use portway_model::Id;
use portway_store::{Lease, NodeRow};
use tokio::{
    runtime::Handle,
    task::JoinHandle,
    time::{Instant, MissedTickBehavior, interval_at},
};
use tracing::{debug, warn};

use super::bring::BringError;
use crate::Control;

/// How long a node is held, and how often that is said anew: a third may be lost to a slow database,
/// another to clocks that differ.
const LEASE: SignedDuration = SignedDuration::from_secs(30);
const RENEWAL: Duration = Duration::from_secs(10);

/// A node that is held.
pub(super) struct Hold {
    control: Control,
    node: Id<NodeRow>,
    fence: i64,
    /// Says it anew; nothing once the node was given back.
    renewal: Option<JoinHandle<()>>,
}

impl Hold {
    /// Returns the number of the turn.
    pub(super) const fn fence(&self) -> i64 {
        self.fence
    }

    /// Gives the node back.
    pub(super) async fn let_go(mut self) -> Result<(), BringError> {
        if let Some(renewal) = &mut self.renewal {
            ended(renewal).await;
        }
        let nodes = self.control.inner.store.nodes();
        nodes.let_go(self.node, self.fence, self.control.now()).await?;
        self.renewal = None;
        Ok(())
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let Some(mut renewal) = self.renewal.take() else { return };
        renewal.abort();
        // Where nothing runs any more, the lease ends by itself.
        let Ok(runtime) = Handle::try_current() else { return };
        let (control, node, fence) = (self.control.clone(), self.node, self.fence);
        let give_back = async move {
            ended(&mut renewal).await;
            let given = control.inner.store.nodes().let_go(node, fence, control.now()).await;
            if let Err(error) = given {
                warn!(node.id = %node, %error, "a node cannot be given back; it is free when its lease ends");
            }
        };
        match self.control.inner.fleet.workers.tracker() {
            Some(tracker) => drop(tracker.spawn_on(give_back, &runtime)),
            None => drop(runtime.spawn(give_back)),
        }
    }
}

/// Ends a task, and waits until it has.
async fn ended(task: &mut JoinHandle<()>) {
    task.abort();
    if let Err(error) = task.await
        && !error.is_cancelled()
    {
        warn!(%error, "the task that holds a node has failed");
    }
}

impl Control {
    /// Takes a node for this manager, unless another one has it.
    pub(super) async fn take(&self, node: Id<NodeRow>) -> Result<Option<Hold>, BringError> {
        let now = self.now();
        let name = self.inner.manager.name.to_string();
        let lease = Lease { holder: self.inner.manager.id, manager: &name, until: end(now) };
        let Some(fence) = self.inner.store.nodes().hold(node, lease, now).await? else {
            debug!(node.id = %node, "another manager works on the node");
            return Ok(None);
        };
        let renewal = Some(tokio::spawn(renew(self.clone(), node, fence)));
        Ok(Some(Hold { control: self.clone(), node, fence, renewal }))
    }

    /// Holds a node on for another while. Fails when another manager has it.
    pub(crate) async fn keep_hold(&self, node: Id<NodeRow>, fence: i64) -> Result<(), String> {
        match self.inner.store.nodes().hold_on(node, fence, end(self.now())).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("another manager has taken the node over".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Returns how long a node is held from now on.
pub(super) fn end(now: Timestamp) -> Timestamp {
    now.saturating_add(LEASE).unwrap_or(now)
}

/// Says again and again that a node is held. Where it is not any more, the next stage finds that out.
async fn renew(control: Control, node: Id<NodeRow>, fence: i64) {
    let mut beat = interval_at(Instant::now() + RENEWAL, RENEWAL);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        beat.tick().await;
        if let Err(error) = control.keep_hold(node, fence).await {
            warn!(node.id = %node, "a node cannot be held on: {error}");
        }
    }
}
