//! Certificates of sites, issued by the local authority of this installation.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use portway_cert::{CertificateNames, Lifetime, renew_at, renew_due, renewal_horizon};
use portway_model::{Certificate, HostPattern, Id, Site};
use portway_policy::{CertificateObject, Digest};
use portway_secrets::Context;
use portway_store::{PageRequest, SealedCertificate, StoreError};
use portway_wire::{Page, PageQuery, system::CertificateView};
use uuid::Uuid;

use crate::{
    Control, ControlError, deploy::lock, page, rights::Overseer, roots::IssuingRoot,
    tasks::TaskReport,
};

/// Names under which the machine itself is reached, for sites that answer to everything.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

impl Overseer<'_> {
    /// Lists certificates, the first to expire first.
    pub async fn certificates(
        &self,
        query: PageQuery,
    ) -> Result<Page<CertificateView>, ControlError> {
        let visible = portway_store::Visible::All;
        let found =
            self.control.inner.store.certificates().list(visible, &page::of(&query)?).await?;
        Ok(page::map(found, |certificate| view(&certificate)))
    }
}

fn view(certificate: &Certificate) -> CertificateView {
    CertificateView {
        id: certificate.id.uuid(),
        source: match certificate.source {
            portway_model::CertificateSource::Local => "local",
            portway_model::CertificateSource::LocalRoot => "local_root",
        }
        .to_owned(),
        names: certificate.names.iter().map(ToString::to_string).collect(),
        issuer: portway_cert::inspect(&certificate.chain_pem).ok().map(|leaf| leaf.issuer),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: certificate.fingerprint.clone(),
    }
}

/// The place at which a certificate's key is sealed.
pub(crate) fn key_context(id: Id<Certificate>) -> Context {
    Context::new("certificate-key", id)
}

/// Returns the names under which the machine itself is reached.
pub(crate) fn machine_names() -> Vec<HostPattern> {
    let name = machine_name();
    LOCAL_NAMES
        .iter()
        .copied()
        .chain([name.as_str()])
        .filter_map(|name| name.parse().ok())
        .collect()
}

/// Returns the name of this machine.
pub(crate) fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

/// What this manager knows of leaves beside what the store tells.
#[derive(Debug, Default)]
pub(crate) struct Leaves {
    /// Leaves that were made of late and that this machine's edge has been offered, by when that
    /// was noted.
    offered: BTreeMap<Id<Certificate>, Timestamp>,
    /// When the leaves of sites that answer to everything are due: they carry the names of this
    /// machine, so no other manager renews them.
    own: BTreeMap<Id<Site>, Timestamp>,
    /// When the certificate for unknown names is due.
    fallback: Option<Timestamp>,
}

/// Managers whose clocks differ by less than this miss nothing of each other.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

impl Control {
    /// Returns the certificate of a site, made now where there is none that will do.
    pub(crate) async fn certificate_of(
        &self,
        site: Option<Id<Site>>,
        hosts: &[HostPattern],
    ) -> Result<CertificateObject, ControlError> {
        let names = CertificateNames::choose(hosts, &machine_names())
            .map_err(|error| ControlError::internal("choosing names for a certificate", error))?;
        let (leaf, object) = match self.leaf_for(site, &names).await? {
            Some(kept) => kept,
            None => self.issue_once(site, &names).await?,
        };
        if hosts.contains(&HostPattern::Any) {
            let mut leaves = lock(&self.inner.leaves);
            match site {
                Some(site) => drop(leaves.own.insert(site, renew_at(&leaf))),
                None => leaves.fallback = Some(renew_at(&leaf)),
            }
        }
        Ok(object)
    }

    /// Returns the names that the certificate of these hosts has, and the certificate where one is kept
    /// that will do. Nothing is issued.
    pub(crate) async fn certificate_kept(
        &self,
        hosts: &[HostPattern],
    ) -> Result<(Vec<HostPattern>, Option<CertificateObject>), ControlError> {
        let names = CertificateNames::choose(hosts, &machine_names())
            .map_err(|error| ControlError::internal("choosing names for a certificate", error))?;
        let kept = self.usable(&names).await?;
        let object = kept.map(|kept| self.open_certificate(&kept)).transpose()?;
        Ok((names.as_slice().to_vec(), object))
    }

    /// Returns the kept leaf for these names, if it will do, and lets the site use it.
    async fn leaf_for(
        &self,
        site: Option<Id<Site>>,
        names: &CertificateNames,
    ) -> Result<Option<(Certificate, CertificateObject)>, ControlError> {
        let Some(kept) = self.usable(names).await? else { return Ok(None) };
        if let Some(site) = site {
            self.assign(kept.certificate.id, site).await?;
        }
        let object = self.open_certificate(&kept)?;
        Ok(Some((kept.certificate, object)))
    }

    /// Issues a leaf, unless somebody did meanwhile: a site that goes to several nodes at once has one
    /// certificate on all of them.
    async fn issue_once(
        &self,
        site: Option<Id<Site>>,
        names: &CertificateNames,
    ) -> Result<(Certificate, CertificateObject), ControlError> {
        let _turn = self.inner.issuing.lock().await;
        match self.leaf_for(site, names).await? {
            Some(kept) => Ok(kept),
            None => self.issue(&site.into_iter().collect::<Vec<_>>(), names).await,
        }
    }

    /// Returns the kept leaf for these names, if it will do.
    async fn usable(
        &self,
        names: &CertificateNames,
    ) -> Result<Option<SealedCertificate>, ControlError> {
        let kept = self.inner.store.certificates().by_names(names.as_slice()).await?;
        let root = self.inner.authority.current();
        Ok(kept.filter(|kept| !is_due(&kept.certificate, &root, self.now())))
    }

    /// Issues a leaf, and lets these sites use it.
    async fn issue(
        &self,
        sites: &[Id<Site>],
        names: &CertificateNames,
    ) -> Result<(Certificate, CertificateObject), ControlError> {
        let root = self.issuing_root().await?;
        let now = self.now();
        let issued = root
            .authority
            .issue(names, now, Lifetime::default())
            .map_err(|error| ControlError::internal("issuing a certificate", error))?;
        let id = Id::from_uuid(Uuid::now_v7());
        let sealed = self
            .keys()
            .seal(&key_context(id), issued.key_pem.expose().as_bytes())
            .map_err(|error| ControlError::internal("sealing a certificate's key", error))?;
        let kept = SealedCertificate {
            certificate: issued.record(id),
            key_id: sealed.key_id().to_string(),
            sealed_key: sealed.to_bytes(),
        };
        lock(&self.inner.leaves).offered.insert(id, now);
        ignore_gone(self.inner.store.certificates().put(&kept, sites, now).await)?;
        Ok((kept.certificate, issued.object()))
    }

    async fn assign(&self, id: Id<Certificate>, site: Id<Site>) -> Result<(), ControlError> {
        let certificates = self.inner.store.certificates();
        if certificates.of_sites(&[site]).await?.get(&site) == Some(&id) {
            return Ok(());
        }
        ignore_gone(certificates.assign(id, &[site]).await)
    }

    fn open_certificate(
        &self,
        kept: &SealedCertificate,
    ) -> Result<CertificateObject, ControlError> {
        let key = self
            .keys()
            .open_text(&key_context(kept.certificate.id), &kept.sealed_key)
            .map_err(|error| ControlError::internal("opening a certificate's key", error))?;
        Ok(CertificateObject {
            chain_pem: kept.certificate.chain_pem.clone(),
            key_pem: key.expose().clone(),
        })
    }

    /// Issues anew what is due, for all managers; each gives it to its own edge.
    pub(crate) async fn renew_certificates(&self) -> TaskReport {
        let renewed = async {
            self.succeed_in_time().await?;
            self.renew_due_leaves().await
        };
        let (renewed, failed) = renewed.await.map_err(|error| error.to_string())?;
        let done = format!("{renewed} certificate(s) renewed");
        match failed {
            None => Ok(done),
            Some(error) => Err(format!("{done}; others were not: {error}")),
        }
    }

    /// One that cannot be renewed does not keep the others from it.
    async fn renew_due_leaves(&self) -> Result<(usize, Option<ControlError>), ControlError> {
        let now = self.now();
        let root = self.issuing_root().await?;
        let horizon =
            if root.has_predecessors_leaves(now) { Timestamp::MAX } else { renewal_horizon(now) };
        let certificates = self.inner.store.certificates();
        let (mut renewed, mut failed) = (0, None);
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = certificates.expiring(horizon, &page).await?;
            for due in found.items.iter().filter(|leaf| is_due(leaf, &root, now)) {
                match self.renew(due).await {
                    Ok(()) => renewed += 1,
                    Err(error) => failed = Some(error),
                }
            }
            request = page.next(&found);
        }
        Ok((renewed, failed))
    }

    async fn renew(&self, due: &Certificate) -> Result<(), ControlError> {
        let names = CertificateNames::choose(&due.names, &[])
            .map_err(|error| ControlError::internal("choosing names for a certificate", error))?;
        let using = self.inner.store.certificates().sites_using(&[due.id]).await?;
        let sites: Vec<_> = using.into_iter().map(|(site, _)| site).collect();
        self.issue(&sites, &names).await?;
        self.look_at_sites(sites);
        Ok(())
    }

    /// Has this machine's edge given what was renewed elsewhere, and what is this machine's own.
    pub(crate) async fn follow_certificates(&self) -> TaskReport {
        let followed = self.follow().await.map_err(|error| error.to_string())?;
        Ok(format!("{followed} site(s) have a new certificate"))
    }

    async fn follow(&self) -> Result<usize, ControlError> {
        self.issuing_root().await?;
        let now = self.now();
        let since = now.checked_sub(CLOCKS).unwrap_or(Timestamp::MIN);
        let certificates = self.inner.store.certificates();
        let mut sites = BTreeSet::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let made = certificates.made_since(since, &page).await?;
            let known = |id: &Id<Certificate>| lock(&self.inner.leaves).offered.contains_key(id);
            let new: Vec<_> = made.items.iter().copied().filter(|id| !known(id)).collect();
            // One that no site uses yet may be given to one in a moment: it stays new.
            for (site, id) in certificates.sites_using(&new).await? {
                sites.insert(site);
                lock(&self.inner.leaves).offered.insert(id, now);
            }
            request = page.next(&made);
        }
        let (own, fallback) = lock(&self.inner.leaves).take_due(now);
        sites.extend(own);
        if fallback {
            self.inner.deploy.look_at_settings();
        }
        let count = sites.len();
        if count > 0 {
            self.look_at_sites(sites);
        }
        Ok(count)
    }
}

impl Leaves {
    /// Takes what is due out, sites and whether the fallback is, and forgets what is old.
    fn take_due(&mut self, now: Timestamp) -> (Vec<Id<Site>>, bool) {
        self.offered.retain(|_, at| now.duration_since(*at) < 3 * CLOCKS);
        let due: Vec<_> =
            self.own.iter().filter(|(_, at)| **at <= now).map(|(site, _)| *site).collect();
        for site in &due {
            self.own.remove(site);
        }
        (due, self.fallback.take_if(|at| *at <= now).is_some())
    }
}

/// Tells whether a leaf is to be issued anew: in time before its end, unless it ends with its root
/// anyway; and when another root issues by now.
fn is_due(leaf: &Certificate, root: &IssuingRoot, now: Timestamp) -> bool {
    let ends_with_root = leaf.not_after >= root.authority.root().not_after;
    (renew_due(leaf, now) && !ends_with_root)
        || (root.has_predecessors_leaves(now) && !root.authority.issued(leaf))
}

/// A site that was removed meanwhile needs no certificate.
fn ignore_gone(result: Result<(), StoreError>) -> Result<(), ControlError> {
    match result {
        Ok(()) | Err(StoreError::Conflict { .. }) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Returns the digest and object of a certificate.
pub(crate) fn with_digest(object: CertificateObject) -> (Digest, CertificateObject) {
    (object.digest(), object)
}
