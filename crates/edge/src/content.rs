//! What the edge serves: on disk, in memory, and how it changes.
//!
//! Memory holds what routing needs of each site; policies and certificates are read when they are
//! first asked for. A change is checked, written to the disk, and only then made live by swapping
//! one pointer; requests that began before keep what they began with.

mod change;
mod compile;
mod conditions;
#[cfg(test)]
mod lookups;
#[cfg(test)]
mod made;
mod mirror;
mod reading;
mod routes;
mod site;
mod snapshot;
mod state;

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use arc_swap::ArcSwap;
use camino::Utf8Path;
use portway_model::{Finding, Id, Site};
use portway_policy::{
    CertificateObject, Digest, Index, Owner, SitePolicy, StickyKey,
    bundle::{IndexListing, TargetStatus},
};

pub use self::state::StateError;
pub(crate) use self::{
    change::{ChangeError, IncomingChange},
    mirror::{CompiledMirror, MirrorPlace},
    reading::Reading,
    routes::{HostTable, Located, passed_over},
    site::{
        AccessRule, BasicRule, CacheRole, CompiledAction, CompiledRedirect, CompiledRespond,
        CompiledRoute, CompiledSite, CompiledSplit, CompiledUpstream,
    },
    snapshot::{HostEntry, Slot, Snapshot, TlsChoice},
};
use self::{
    compile::Ground,
    state::{Head, State},
};
use crate::{checks::Checks, clock::Clock, metrics::SiteUpstreams};

/// Everything the edge serves.
pub(crate) struct Content {
    state: State,
    snapshot: ArcSwap<Snapshot>,
    ledger: Mutex<Ledger>,
    /// The clock by which targets are judged.
    pub(crate) clock: Clock,
    /// Signs cookies until a key is given.
    own_key: StickyKey,
    /// Where targets are handed over to be checked.
    checks: Checks,
    /// Held by whoever changes something, or gives everything to another edge.
    turn: Mutex<Turn>,
}

/// Whose turn it is to change things.
enum Turn {
    /// This edge's.
    Ours,
    /// This edge's, but the state has to be opened again before.
    Astray,
    /// The successor's.
    Theirs,
}

/// Content that is being given to a successor. No change is made meanwhile; those that come wait.
pub(crate) struct Giving<'a> {
    content: &'a Content,
    turn: MutexGuard<'a, Turn>,
}

/// The books of the one who changes things; requests never look here.
struct Ledger {
    index: Index,
    /// How many sites, and the settings, refer to each certificate that is held.
    certificates: HashMap<Digest, usize>,
    owner: Option<Owner>,
}

/// How often it is looked again for what a change took away meanwhile. Each time, a whole change was
/// carried out between the look and the load.
pub(crate) const LOOKS: usize = 10;

/// Why something that the index names cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LoadError {
    /// A change took it away meanwhile; the snapshot that is live now has another.
    #[error("it was replaced meanwhile")]
    Gone,
    /// The disk.
    #[error(transparent)]
    State(#[from] StateError),
    /// Not what was written there.
    #[error("object {digest} on the disk is damaged")]
    Damaged {
        /// The object.
        digest: Digest,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Not valid to this version of the edge.
    #[error("the site is not valid: {}", first_text(.0))]
    Invalid(Vec<Finding>),
    /// The edge is stopping.
    #[error("the edge is stopping")]
    Stopping,
}

impl Content {
    /// Opens what a folder holds. Targets that are to be checked are handed over once their site is
    /// used.
    pub(crate) fn open(dir: &Utf8Path, checks: Checks) -> Result<Self, StateError> {
        let state = State::open(dir)?;
        let loaded = state.load()?;
        for (site, error) in &loaded.damaged {
            tracing::error!(site.id = %site, %error, "cannot read a site from the disk, it is not served");
        }
        let digests = loaded.sites.iter().map(|(id, head)| (*id, head.digest));
        let index = Index::from_sites(loaded.settings.digest(), digests);
        let mut certificates: HashMap<Digest, usize> =
            loaded.certificates.iter().map(|digest| (*digest, 0)).collect();
        let fallback = loaded.settings.fallback_certificate;
        for digest in loaded.sites.iter().filter_map(|(_, head)| head.certificate()).chain(fallback)
        {
            *certificates.entry(digest).or_default() += 1;
        }
        let mut snapshot = Snapshot::empty(loaded.settings, index.digest());
        for (id, head) in loaded.sites {
            snapshot.put(id, head);
        }
        Ok(Self {
            state,
            snapshot: ArcSwap::from_pointee(snapshot),
            ledger: Mutex::new(Ledger { index, certificates, owner: loaded.owner }),
            clock: Clock::start(),
            own_key: StickyKey::new(rand::random()),
            checks,
            turn: Mutex::new(Turn::Ours),
        })
    }

    /// Lets another process have the state. Waits for a change that is under way, and copies what
    /// this one may still have to read. What is served does not change by it.
    pub(crate) fn give(&self) -> Result<Giving<'_>, ChangeError> {
        let mut turn = self.turn()?;
        self.state.give()?;
        *turn = Turn::Astray;
        Ok(Giving { content: self, turn })
    }

    /// Waits until it is this edge's turn to change something.
    fn turn(&self) -> Result<MutexGuard<'_, Turn>, ChangeError> {
        let mut turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        match *turn {
            Turn::Ours => {}
            Turn::Astray => {
                self.state.take_back()?;
                *turn = Turn::Ours;
            }
            Turn::Theirs => return Err(ChangeError::Succeeded),
        }
        Ok(turn)
    }

    /// Returns what is served now.
    pub(crate) fn snapshot(&self) -> arc_swap::Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// Returns everything by digest.
    pub(crate) fn listing(&self) -> IndexListing {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        let mut certificates: Vec<Digest> = ledger.certificates.keys().copied().collect();
        certificates.sort_unstable();
        IndexListing {
            digest: ledger.index.digest(),
            settings: self.snapshot.load().settings.digest(),
            sites: ledger.index.iter().collect(),
            certificates,
        }
    }

    /// Returns how the targets of the sites are that get requests.
    pub(crate) fn upstreams(&self) -> Vec<SiteUpstreams> {
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let compiled = snapshot.slots().filter_map(|slot| slot.compiled.get());
        compiled.filter_map(|site| SiteUpstreams::of(site, now)).collect()
    }

    /// Returns what checks found out about targets.
    pub(crate) fn targets(&self) -> Vec<TargetStatus> {
        let snapshot = self.snapshot.load();
        let compiled = snapshot.slots().filter_map(|slot| Some((slot.id, slot.compiled.get()?)));
        compiled
            .flat_map(|(id, site)| {
                let plans = site.upstreams().filter_map(|upstream| upstream.checks.as_ref());
                plans.flat_map(move |plan| plan.statuses(id)).collect::<Vec<_>>()
            })
            .collect()
    }

    /// Returns what the cache did for requests of a site.
    pub(crate) fn cache_counts(&self, id: Id<Site>) -> Vec<(&'static str, u64)> {
        let snapshot = self.snapshot.load();
        let site = snapshot.slot(id).and_then(|slot| slot.compiled.get());
        let metrics = site.and_then(|site| site.runtime.metrics.get());
        metrics.map(|metrics| metrics.cache_counts().collect()).unwrap_or_default()
    }

    /// Goes on with the checks of sites of which a change made new versions: they are made ready at
    /// once, and not only by their next request.
    fn go_on_checking(&self, before: &Snapshot, ids: impl Iterator<Item = Id<Site>>) {
        let live = self.snapshot.load_full();
        for id in ids {
            let was_checked =
                |slot: &&Arc<Slot>| slot.compiled.get().is_some_and(|site| site.is_checked());
            let (Some(_), Some(slot)) = (before.slot(id).filter(was_checked), live.slot(id)) else {
                continue;
            };
            if let Err(error) = self.load(slot) {
                let error = crate::body::chain(&error);
                tracing::error!(site.id = %id, error, "the checks of a site end until its next request");
            }
        }
    }

    /// Returns the digest over everything and the number of sites.
    pub(crate) fn summary(&self) -> (Digest, usize) {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        (ledger.index.digest(), ledger.index.len())
    }

    /// Returns whose the edge is.
    pub(crate) fn owner(&self) -> Option<Owner> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner).owner.clone()
    }

    /// Returns the sites and routes of a host. The first call for a host reads the disk, on a
    /// thread for that.
    pub(crate) async fn table(
        self: &Arc<Self>,
        entry: &Arc<HostEntry>,
    ) -> Result<Arc<HostTable>, LoadError> {
        if let Some(table) = entry.table.get() {
            return Ok(Arc::clone(table));
        }
        let (content, entry) = (Arc::clone(self), Arc::clone(entry));
        let load = move || {
            let sites = entry.slots.iter().map(|slot| content.load(slot));
            let sites = sites.collect::<Result<_, _>>();
            let table = HostTable { sites: sites.inspect_err(|error| content.await_live(error))? };
            Ok(Arc::clone(entry.table.get_or_init(|| Arc::new(table))))
        };
        tokio::task::spawn_blocking(load).await.unwrap_or(Err(LoadError::Stopping))
    }

    /// Tells whether a certificate is still needed.
    pub(crate) fn holds_certificate(&self, digest: Digest) -> bool {
        let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        ledger.certificates.contains_key(&digest)
    }

    /// Returns a certificate. Reads the disk.
    pub(crate) fn certificate(&self, digest: Digest) -> Result<CertificateObject, LoadError> {
        let bytes = self.state.certificate(digest)?.ok_or(LoadError::Gone);
        let bytes = bytes.inspect_err(|error| self.await_live(error))?;
        serde_json::from_slice(&bytes).map_err(|source| LoadError::Damaged { digest, source })
    }

    /// Waits, where a change took away what was looked for, until that change is live: it is written
    /// first, so whoever looks again at once could find what was there before. Blocks.
    fn await_live(&self, error: &LoadError) {
        if matches!(error, LoadError::Gone) {
            // Held by a change from before it is written until after it is live.
            drop(self.ledger.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Returns the compiled site of a slot. Reads the disk.
    fn load(&self, slot: &Slot) -> Result<Arc<CompiledSite>, LoadError> {
        if let Some(site) = slot.compiled.get() {
            return Ok(Arc::clone(site));
        }
        let digest = slot.head.digest;
        let bytes = self.state.policy(digest)?.ok_or(LoadError::Gone)?;
        let policy: SitePolicy = serde_json::from_slice(&bytes)
            .map_err(|source| LoadError::Damaged { digest, source })?;
        let settings = Arc::clone(&self.snapshot.load().settings);
        let key = settings.sticky_key.as_ref().unwrap_or(&self.own_key);
        let ground = Ground { runtime: &slot.runtime, key, now: self.clock.now() };
        let site = compile::compile(policy, &ground).map_err(LoadError::Invalid)?;
        let site = slot.compiled.get_or_init(|| Arc::new(site));
        site.begin_checks(&self.checks);
        Ok(Arc::clone(site))
    }
}

impl Giving<'_> {
    /// It is the successor's from now on.
    pub(crate) fn conclude(mut self) {
        *self.turn = Turn::Theirs;
    }

    /// The successor failed: the state is opened again. Where that does not succeed, the next
    /// change tries again.
    pub(crate) fn take_back(mut self) -> Result<(), StateError> {
        self.content.state.take_back()?;
        *self.turn = Turn::Ours;
        Ok(())
    }
}

impl Ledger {
    /// Counts a reference more.
    fn refer(&mut self, certificate: Option<Digest>) {
        if let Some(digest) = certificate {
            *self.certificates.entry(digest).or_default() += 1;
        }
    }

    /// Counts a reference less.
    fn release(&mut self, certificate: Option<Digest>) {
        if let Some(count) = certificate.and_then(|digest| self.certificates.get_mut(&digest)) {
            *count = count.saturating_sub(1);
        }
    }
}

/// Returns what a list of findings begins with, for a log line.
fn first_text(findings: &[Finding]) -> &str {
    findings.first().map_or("no reason was given", |finding| finding.text.as_str())
}

/// A site that is on its way in: checked, with the bytes of its policy.
struct Candidate {
    id: Id<Site>,
    head: Head,
    policy: Vec<u8>,
    /// The targets of its upstreams.
    targets: BTreeSet<String>,
}
