//! From a declared site to the policy that the edge is given.

use std::collections::{BTreeMap, btree_map::Entry};

use portway_model::{Finding, HostPattern, Role, Site, site::check};
use portway_policy::{Blocked, CertificateObject, CompileInput, SitePolicy, compile};
use portway_store::SiteRow;

use super::Owners;
use crate::{Control, ControlError, bounds, certificates::with_digest, sites::spec_of};

/// With these words begins what stands for a secret or a certificate that is not made yet.
pub(crate) const TO_COME: &str = "made when it is applied:";

/// A site as the edge is given it.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) policy: SitePolicy,
    pub(crate) certificate: Option<CertificateObject>,
    /// What an edge does not carry out.
    pub(crate) findings: Vec<Finding>,
}

/// A site as it would be given to a node.
pub(crate) struct Proposed {
    pub(crate) compiled: Compiled,
    /// The names of its certificate, and whether there is one already.
    pub(crate) certificate: Option<(Vec<HostPattern>, bool)>,
    /// What in it must not be shown.
    pub(crate) secrets: Vec<String>,
}

/// What must be at hand to compile a site.
struct Given {
    certificate: Option<CertificateObject>,
    hashes: BTreeMap<String, String>,
    client_keys: BTreeMap<String, String>,
}

impl Control {
    /// Compiles a site for this machine's own edge, which alone leads to the console.
    pub(super) async fn compile_own(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Result<Compiled, Vec<Finding>>, ControlError> {
        let mut outcome = self.compile_site(row, owners).await?;
        if let (Ok(compiled), Some(console)) = (&mut outcome, &self.inner.config.console) {
            console.introduce(&mut compiled.policy);
        }
        Ok(outcome)
    }

    /// Compiles a site. What keeps it from being compiled are findings; it is held with them.
    pub(crate) async fn compile_site(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Result<Compiled, Vec<Finding>>, ControlError> {
        let (site, findings) = check(&row.name, &spec_of(row)?);
        let Some(site) = site else { return Ok(Err(findings)) };
        let certificate = match &site.https {
            Some(_) => Some(self.certificate_of(Some(row.id), &site.hosts).await?),
            None => None,
        };
        let given = Given {
            certificate,
            hashes: self.open_hashes(&site).await?,
            client_keys: self.open_client_keys(row.id, &site).await?,
        };
        self.compile_given(row, &site, owners, given).await
    }

    /// Compiles a site that may never come to be. Nothing is issued or written: in the place of what
    /// is made only when a site is written, secrets (`to_come`, by reference) and a certificate, stand
    /// words that say so.
    pub(crate) async fn compile_proposed(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
        to_come: &BTreeMap<String, String>,
    ) -> Result<Result<Proposed, Vec<Finding>>, ControlError> {
        let (site, findings) = check(&row.name, &spec_of(row)?);
        let Some(site) = site else { return Ok(Err(findings)) };
        let (mut certificate, mut names) = (None, None);
        if site.https.is_some() {
            let (of, kept) = self.certificate_kept(&site.hosts).await?;
            names = Some((of.clone(), kept.is_some()));
            certificate = Some(kept.unwrap_or_else(|| to_be_issued(&of)));
        }
        let mut given = Given {
            certificate,
            hashes: self.open_hashes(&site).await?,
            client_keys: self.open_client_keys(row.id, &site).await?,
        };
        for (reference, words) in to_come {
            given.hashes.entry(reference.clone()).or_insert_with(|| words.clone());
            given.client_keys.entry(reference.clone()).or_insert_with(|| words.clone());
        }
        let secrets = given.hashes.values().chain(given.client_keys.values()).cloned().collect();
        let compiled = self.compile_given(row, &site, owners, given).await?;
        Ok(compiled.map(|compiled| Proposed { compiled, certificate: names, secrets }))
    }

    async fn compile_given(
        &self,
        row: &SiteRow,
        site: &Site,
        owners: &mut Owners,
        given: Given,
    ) -> Result<Result<Compiled, Vec<Finding>>, ControlError> {
        let certificate = given.certificate.map(with_digest);
        let input = CompileInput {
            hashes: given.hashes,
            client_keys: given.client_keys,
            certificate: certificate.as_ref().map(|(digest, _)| *digest),
            blocked: row.blocked.as_ref().map(|block| Blocked { reason: block.reason.clone() }),
            guard: self.guard_of(row, owners).await?,
        };
        let (policy, findings) = compile(row.id, site, &input);
        if findings.iter().any(Finding::is_error) {
            return Ok(Err(findings));
        }
        let certificate = certificate.map(|(_, object)| object);
        Ok(Ok(Compiled { policy, certificate, findings: Vec::new() }))
    }

    async fn guard_of(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Option<portway_policy::NetworkGuard>, ControlError> {
        let Some(id) = row.owner else { return Ok(None) };
        let owner = match owners.entry(id) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(place) => place.insert(self.user_with(id).await?),
        };
        Ok(owner
            .as_ref()
            .filter(|user| user.role == Role::Client)
            .map(|user| bounds::guard(&user.bounds, &self.own_addresses())))
    }
}

/// Returns what stands for a certificate that is issued when it is needed.
fn to_be_issued(names: &[HostPattern]) -> CertificateObject {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    let words = format!("{TO_COME} the certificate of {}", names.join(" "));
    CertificateObject { key_pem: words.clone(), chain_pem: words }
}
