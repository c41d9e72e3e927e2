//! Rollouts: a revision that comes to its nodes one wave after the other.
//!
//! A rollout is written with its revision. From then on whoever brings a node to what it should have
//! asks the gates (`gates`), which say whether the node gets the revision, keeps what it has, or gets
//! what it had before. Every manager drives every rollout (`drive`): it reads from the store how far
//! the nodes are (`sight`), asks the rules of the model what follows, and writes that down under the
//! version that it read, so that of several managers one does. What a node is let in for is written
//! before it is let in; so a manager can end anywhere, and the next one goes on.

mod command;
mod draft;
mod drive;
mod events;
mod gates;
mod planned;
mod settle;
mod sight;
mod usual;
mod view;

use std::{collections::BTreeMap, sync::Mutex};

use jiff::Timestamp;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, ResourceKind, ResourceRef, RevisionNumber, Severity,
    rollout::Gate,
};
use tokio::sync::watch;

pub(crate) use self::{
    draft::removed_at_once,
    events::step_view,
    gates::{Choice, Gates, Kept, NodeGates},
    usual::How,
};
use crate::{Control, deploy::lock};

/// The name of the task that takes rollouts on.
pub(crate) const TASK: &str = "drive-rollouts";

/// What is remembered of rollouts. All of it can be lost.
pub(crate) struct Rollouts {
    /// When this manager began: what it did not see before, it does not hold against a node.
    began: Timestamp,
    /// Changes whenever this manager wrote what has become of a rollout.
    changed: watch::Sender<u64>,
    /// What was said of this machine's edge when it was last looked at.
    edge: Mutex<BTreeMap<RevisionNumber, Gate>>,
    /// When it was last looked whether a rollout that ended can be given up.
    given_up_at: Mutex<Option<Timestamp>>,
}

impl Rollouts {
    pub(crate) fn new(began: Timestamp) -> Self {
        Self {
            began,
            changed: watch::Sender::new(0),
            edge: Mutex::default(),
            given_up_at: Mutex::default(),
        }
    }
}

impl Rollouts {
    /// Notes what was said of this machine's edge when it was made out what it should have.
    pub(crate) fn heard(&self, gates: &NodeGates) {
        lock(&self.edge).extend(gates.said());
    }
}

impl Control {
    /// Has rollouts looked at soon.
    pub(crate) fn poke_rollouts(&self) {
        let mut tasks = self.task_handles().iter();
        if let Some(task) = tasks.find(|task| task.info().name == TASK) {
            task.poke();
        }
    }
}

/// Returns what a rollout says about a thing.
fn finding(kind: ResourceKind, name: &str, severity: Severity, text: String) -> Finding {
    Finding {
        code: if severity == Severity::Error { FindingCode::Held } else { FindingCode::Advice },
        severity,
        at: Location::Field {
            resource: ResourceRef { kind, name: name.to_owned() },
            path: FieldPath::root(),
            source: None,
        },
        text,
        remedy: None,
    }
}
