//! Sites as nodes are given them, kept so that nodes with equal engines share what was made, and a
//! change of one site makes only that one anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use portway_engine::{Engine, EngineFacts, RenderError, Rendered, judge};
use portway_model::{Finding, Id, RevisionNumber, Site};
use portway_policy::{CertificateObject, Digest, SitePolicy};
use portway_store::SiteRow;

use crate::{
    Control, ControlError,
    deploy::{Owners, lock},
};

/// So many kinds of engines each site is kept for. Those of one installation are few; what nodes say of
/// themselves may be anything.
const MOST_TARGETS: usize = 32;

/// Compiled sites and what they were rendered to.
#[derive(Default)]
pub(super) struct Made {
    compiled: Mutex<BTreeMap<Id<Site>, Compiled>>,
    rendered: Mutex<BTreeMap<Id<Site>, BTreeMap<Target, Kept>>>,
    /// How often something was rendered.
    numbers: AtomicU64,
    /// How often something was forgotten: what was begun before that is not kept.
    forgotten: AtomicU64,
}

/// The versions of a site that were compiled: the newest, and where that one is held the proven one.
type Compiled = BTreeMap<(RevisionNumber, bool), Arc<Outcome>>;
/// What a site is rendered for: an engine by its name, and what is known of it.
type Target = (&'static str, EngineFacts);
type Outcome = Result<Parts, Vec<Finding>>;

/// A compiled site.
struct Parts {
    policy: SitePolicy,
    certificate: Option<CertificateObject>,
}

struct Kept {
    policy: Digest,
    rendered: Result<Arc<Rendered>, Vec<Finding>>,
    /// The greater, the later it was made.
    number: u64,
}

impl Made {
    pub(super) fn forget_all(&self) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        lock(&self.compiled).clear();
        lock(&self.rendered).clear();
    }

    pub(super) fn forget(&self, sites: &BTreeSet<Id<Site>>) {
        self.forgotten.fetch_add(1, Ordering::SeqCst);
        lock(&self.compiled).retain(|id, _| !sites.contains(id));
        lock(&self.rendered).retain(|id, _| !sites.contains(id));
    }
}

impl Control {
    /// Makes of a site what an engine is given, or says why it cannot be. What a site's owner should
    /// know beside that is in [`Rendered::findings`].
    pub(super) async fn make(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
        engine: &dyn Engine,
        facts: &EngineFacts,
    ) -> Result<Result<Arc<Rendered>, Vec<Finding>>, ControlError> {
        let compiled = self.compiled(row, owners).await?;
        let parts = match &*compiled {
            Ok(parts) => parts,
            Err(findings) => return Ok(Err(findings.clone())),
        };
        let policy = parts.policy.digest();
        let key = (engine.name(), facts.clone());
        if let Some(kept) = lock(&self.inner.fleet.made.rendered)
            .get(&row.id)
            .and_then(|kept| kept.get(&key))
            .filter(|kept| kept.policy == policy)
        {
            return Ok(kept.rendered.clone());
        }
        let rendered = render(&parts.policy, parts.certificate.as_ref(), engine, facts)?;
        let made = &self.inner.fleet.made;
        let number = made.numbers.fetch_add(1, Ordering::Relaxed);
        let kept = Kept { policy, rendered: rendered.clone(), number };
        keep(lock(&made.rendered).entry(row.id).or_default(), key, kept);
        Ok(rendered)
    }

    async fn compiled(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Arc<Outcome>, ControlError> {
        let key = (row.revision, row.blocked.is_some());
        let kept = |all: &BTreeMap<Id<Site>, Compiled>| {
            all.get(&row.id).and_then(|versions| versions.get(&key)).map(Arc::clone)
        };
        if let Some(kept) = kept(&lock(&self.inner.fleet.made.compiled)) {
            return Ok(kept);
        }
        let forgotten = || self.inner.fleet.made.forgotten.load(Ordering::SeqCst);
        let began = forgotten();
        let outcome = self
            .compile_site(row, owners)
            .await?
            .map(|compiled| Parts { policy: compiled.policy, certificate: compiled.certificate });
        let outcome = Arc::new(outcome);
        let mut all = lock(&self.inner.fleet.made.compiled);
        if forgotten() != began {
            return Ok(outcome);
        }
        let versions = all.entry(row.id).or_default();
        versions.insert(key, Arc::clone(&outcome));
        while versions.len() > 2 {
            versions.pop_first();
        }
        Ok(outcome)
    }
}

/// Keeps what a site was rendered to, in the place of what was made before all else where it is too much.
fn keep(targets: &mut BTreeMap<Target, Kept>, key: Target, kept: Kept) {
    targets.insert(key, kept);
    while targets.len() > MOST_TARGETS {
        let oldest = targets.iter().min_by_key(|(_, kept)| kept.number);
        let Some(key) = oldest.map(|(key, _)| key.clone()) else { return };
        targets.remove(&key);
    }
}

/// Writes a compiled site for an engine, or says why it cannot be.
pub(crate) fn render(
    policy: &SitePolicy,
    certificate: Option<&CertificateObject>,
    engine: &dyn Engine,
    facts: &EngineFacts,
) -> Result<Result<Arc<Rendered>, Vec<Finding>>, ControlError> {
    let findings = judge(engine, policy, facts);
    if findings.iter().any(Finding::is_error) {
        return Ok(Err(findings));
    }
    let certificates: BTreeMap<_, _> = certificate
        .into_iter()
        .map(|certificate| (certificate.digest(), certificate.clone()))
        .collect();
    match engine.render_site(policy, &certificates, facts) {
        Ok(rendered) => {
            let findings = findings.into_iter().chain(rendered.findings.iter().cloned()).collect();
            Ok(Ok(Arc::new(Rendered { findings, ..rendered })))
        }
        Err(RenderError::Refused(refused)) => Ok(Err(refused)),
        Err(error) => Err(ControlError::internal("writing a site for a node", error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nodes_say_of_themselves_fills_no_memory() {
        let mut targets = BTreeMap::new();
        let key = |number: u64| {
            let mut facts = portway_engine::nginx::usual_facts();
            // The newest sorts first.
            facts.modules.insert(format!("{:08}", 1_000_000 - number));
            ("nginx", facts)
        };
        for number in 0..1000 {
            let kept = Kept { policy: Digest::of(b"x"), rendered: Err(Vec::new()), number };
            keep(&mut targets, key(number), kept);
        }

        assert_eq!(targets.len(), MOST_TARGETS);
        assert!(targets.contains_key(&key(999)) && !targets.contains_key(&key(0)));
    }
}
