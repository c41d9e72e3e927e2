//! Certificates of sites, issued by the local authority of this installation.

use jiff::Timestamp;
use portway_cert::{Authority, CertificateNames, Lifetime, renew_due};
use portway_model::{Certificate, HostPattern, Id, Site};
use portway_policy::{CertificateObject, Digest};
use portway_secrets::{Context, KeyRing};
use portway_store::{PageRequest, SealedCertificate, Store, StoreError};
use portway_wire::{Page, PageQuery, system::CertificateView};
use tracing::info;
use uuid::Uuid;

use crate::{Control, ControlError, page, rights::Overseer, tasks::TaskReport};

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
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint: certificate.fingerprint.clone(),
    }
}

/// Loads the installation's authority, or makes it at the first start.
pub(crate) async fn authority(
    store: &Store,
    keys: &KeyRing,
    now: Timestamp,
) -> Result<Authority, ControlError> {
    let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
        ControlError::internal("loading the local authority", error)
    };
    if let Some(kept) = store.certificates().local_root().await? {
        let key = keys
            .open_text(&key_context(kept.certificate.id), &kept.sealed_key)
            .map_err(|error| internal(error.into()))?;
        return Authority::load(&kept.certificate.chain_pem, &key)
            .map_err(|error| internal(error.into()));
    }
    let authority =
        Authority::create(&machine_name(), now).map_err(|error| internal(error.into()))?;
    let id = Id::from_uuid(Uuid::now_v7());
    let sealed = keys
        .seal(&key_context(id), authority.key_pem().expose().as_bytes())
        .map_err(|error| internal(error.into()))?;
    let kept = SealedCertificate {
        certificate: authority.record(id),
        key_id: sealed.key_id().to_string(),
        sealed_key: sealed.to_bytes(),
    };
    store.certificates().put(&kept, &[], now).await?;
    info!("made the local certificate authority");
    Ok(authority)
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

fn machine_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().to_lowercase()
}

impl Control {
    /// Returns the root of the local authority in PEM.
    pub fn local_root_pem(&self) -> String {
        self.inner.authority.root_pem().to_owned()
    }

    /// Returns the certificate of a site, made now where there is none that will do.
    pub(crate) async fn certificate_of(
        &self,
        site: Option<Id<Site>>,
        hosts: &[HostPattern],
    ) -> Result<CertificateObject, ControlError> {
        let names = CertificateNames::choose(hosts, &machine_names())
            .map_err(|error| ControlError::internal("choosing names for a certificate", error))?;
        let certificates = self.inner.store.certificates();
        let now = self.now();
        let root_ends = self.inner.authority.root().not_after;
        if let Some(kept) = certificates.by_names(names.as_slice()).await?
            && (!renew_due(&kept.certificate, now) || kept.certificate.not_after >= root_ends)
        {
            if let Some(site) = site {
                self.assign(kept.certificate.id, site).await?;
            }
            return self.open_certificate(&kept);
        }
        self.issue(site, &names, now).await
    }

    async fn issue(
        &self,
        site: Option<Id<Site>>,
        names: &CertificateNames,
        now: Timestamp,
    ) -> Result<CertificateObject, ControlError> {
        let issued = self
            .inner
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
        let sites: Vec<_> = site.into_iter().collect();
        let put = self.inner.store.certificates().put(&kept, &sites, now).await;
        ignore_gone(put)?;
        Ok(issued.object())
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

    /// Has every site looked at whose certificate is due; the deployment makes the new one.
    pub(crate) async fn renew_certificates(&self) -> TaskReport {
        let due = self.due_sites().await.map_err(|error| error.to_string())?;
        let count = due.len();
        if count > 0 {
            self.inner.deploy.look_at(due);
        }
        Ok(format!("{count} site(s) need a new certificate"))
    }

    async fn due_sites(&self) -> Result<Vec<Id<Site>>, ControlError> {
        let now = self.now();
        let horizon =
            now.checked_add(jiff::SignedDuration::from_hours(24 * 133)).unwrap_or(Timestamp::MAX);
        let certificates = self.inner.store.certificates();
        let mut sites = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = certificates.expiring(horizon, &page).await?;
            for due in found.items.iter().filter(|certificate| renew_due(certificate, now)) {
                let mut of_sites = Some(PageRequest::first(portway_store::MAX_LIMIT));
                while let Some(page) = of_sites {
                    let found = certificates.sites_of(due.id, &page).await?;
                    sites.extend(&found.items);
                    of_sites = page.next(&found);
                }
            }
            request = page.next(&found);
        }
        Ok(sites)
    }
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
