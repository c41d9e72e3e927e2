//! Brings an edge to what is declared: changes first, then whatever else differs. The edge is this
//! machine's own, or that of a node, which `fleet` brings up with the same driver.
//!
//! The edge's own index is the truth about what it has; it is read when the manager meets the edge
//! and whenever the digests disagree. A change costs what the touched sites cost.

mod batch;
mod compile;
mod meet;
mod progress;
mod proof;
mod run;
mod target;

pub(crate) use self::{
    compile::{Proposed, TO_COME},
    run::{RunError, chain},
    target::{Target, Whose},
};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Mutex,
    time::Duration,
};

use portway_model::{Id, RevisionNumber, Site};
use portway_policy::{Digest, Index, bundle::Status};
use portway_store::Cursor;
use tokio::sync::{Notify, watch};

/// What is known of an edge, and what the deployer shares with those who wait for it.
#[derive(Debug)]
pub(crate) struct Deploy {
    wake: Notify,
    /// The last revision that the edge has, as far as it can have it.
    reached: watch::Sender<RevisionNumber>,
    wanted: Mutex<Wanted>,
    /// What went wrong when the edge was last spoken to.
    fault: Mutex<Option<String>>,
    state: tokio::sync::Mutex<State>,
}

/// What is to be looked at beside what was changed.
#[derive(Debug, Default)]
struct Wanted {
    sites: BTreeSet<Id<Site>>,
    everything: bool,
    settings: bool,
}

/// What is known of the edge.
#[derive(Debug, Default)]
struct State {
    known: Option<Known>,
    /// Where the look at everything goes on; nothing when there is none under way.
    sweep: Option<Sweep>,
}

#[derive(Debug)]
struct Known {
    index: Index,
    certificates: BTreeSet<Digest>,
}

/// A look at every site.
#[derive(Debug, Default)]
struct Sweep {
    after: Option<Cursor>,
    seen: BTreeSet<Id<Site>>,
    /// The newest revision when it began.
    from: Option<RevisionNumber>,
}

/// What a run did.
#[derive(Debug, Default)]
pub(crate) struct Done {
    pub(crate) put: usize,
    pub(crate) removed: usize,
    pub(crate) held: usize,
    /// Up to which revision the edge has everything, as far as it can have it.
    pub(crate) reached: Option<RevisionNumber>,
    /// Whether there is more to look at.
    pub(crate) goes_on: bool,
}

impl Deploy {
    pub(crate) fn new() -> Self {
        Self {
            wake: Notify::new(),
            reached: watch::Sender::new(RevisionNumber(0)),
            wanted: Mutex::default(),
            fault: Mutex::default(),
            state: tokio::sync::Mutex::default(),
        }
    }

    /// Has the deployer run soon.
    pub(crate) fn poke(&self) {
        self.wake.notify_one();
    }

    /// Has these sites compiled again.
    pub(crate) fn look_at(&self, sites: impl IntoIterator<Item = Id<Site>>) {
        lock(&self.wanted).sites.extend(sites);
        self.poke();
    }

    /// Has every site compiled again.
    pub(crate) fn look_at_everything(&self) {
        lock(&self.wanted).everything = true;
        self.poke();
    }

    /// Has the edge's settings compared again, and every site with them.
    pub(crate) fn look_at_settings(&self) {
        lock(&self.wanted).settings = true;
        self.poke();
    }

    /// Waits until the edge has a revision, at most for `patience`. Returns whether it has.
    pub(crate) async fn wait_for(&self, revision: RevisionNumber, patience: Duration) -> bool {
        let mut reached = self.reached.subscribe();
        let wait = reached.wait_for(|reached| *reached >= revision);
        tokio::time::timeout(patience, wait).await.is_ok_and(|result| result.is_ok())
    }

    /// Tells whether the edge has a revision, as far as it can have it.
    pub(crate) fn has(&self, revision: RevisionNumber) -> bool {
        *self.reached.borrow() >= revision
    }

    /// Returns what went wrong when the edge was last spoken to, if anything did.
    pub(crate) fn fault(&self) -> Option<String> {
        lock(&self.fault).clone()
    }

    /// Tells whether something is to be looked at beside what was changed.
    pub(crate) fn is_to_look(&self) -> bool {
        let wanted = lock(&self.wanted);
        wanted.everything || wanted.settings || !wanted.sites.is_empty()
    }

    /// Waits until there is something to do.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Keeps for the next run what this one did not come to.
    fn want_again(&self, wanted: Wanted) {
        let mut all = lock(&self.wanted);
        all.sites.extend(wanted.sites);
        all.everything |= wanted.everything;
        all.settings |= wanted.settings;
    }

    /// Forgets what the edge has, unless it is what it says.
    pub(crate) async fn expect(&self, status: &Status) {
        let mut state = self.state.lock().await;
        let is_so = |known: &Known| known.index.digest() == status.digest;
        if !state.known.as_ref().is_some_and(is_so) {
            state.known = None;
        }
    }

    /// Returns the digest over everything that the edge has, where that is known.
    pub(crate) async fn digest(&self) -> Option<Digest> {
        self.state.lock().await.known.as_ref().map(|known| known.index.digest())
    }

    fn note_reached(&self, revision: RevisionNumber) {
        self.reached.send_if_modified(|reached| {
            let later = revision > *reached;
            *reached = revision.max(*reached);
            later
        });
    }

    fn take_wanted(&self) -> Wanted {
        std::mem::take(&mut lock(&self.wanted))
    }
}

/// A panic while the lock was held leaves plain data behind, which is as good as any.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// The bounds of owners, read once a run.
pub(crate) type Owners = BTreeMap<Id<portway_model::User>, Option<portway_model::User>>;
