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

/// Compiled sites and what they were rendered to.
#[derive(Default)]
pub(super) struct Made {
    compiled: Mutex<BTreeMap<Id<Site>, Compiled>>,
    rendered: Mutex<BTreeMap<Id<Site>, BTreeMap<Target, Kept>>>,
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
        let kept = Kept { policy, rendered: rendered.clone() };
        lock(&self.inner.fleet.made.rendered).entry(row.id).or_default().insert(key, kept);
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
