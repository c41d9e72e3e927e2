//! From a declared site to the policy that the edge is given.

use std::collections::btree_map::Entry;

use portway_model::{Finding, Role, site::check};
use portway_policy::{Blocked, CertificateObject, CompileInput, SitePolicy, compile};
use portway_store::SiteRow;

use super::Owners;
use crate::{Control, ControlError, bounds, certificates::with_digest, sites::spec_of};

/// A site as the edge is given it.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) policy: SitePolicy,
    pub(crate) certificate: Option<CertificateObject>,
}

impl Control {
    /// Compiles a site. What keeps it from being compiled are findings; it is held with them.
    pub(crate) async fn compile_site(
        &self,
        row: &SiteRow,
        owners: &mut Owners,
    ) -> Result<Result<Compiled, Vec<Finding>>, ControlError> {
        let (site, findings) = check(&row.name, &spec_of(row)?);
        let Some(site) = site else { return Ok(Err(findings)) };
        let guard = self.guard_of(row, owners).await?;
        let certificate = match &site.https {
            Some(_) => Some(with_digest(self.certificate_of(Some(row.id), &site.hosts).await?)),
            None => None,
        };
        let input = CompileInput {
            hashes: self.open_hashes(&site).await?,
            client_keys: self.open_client_keys(row.id, &site).await?,
            certificate: certificate.as_ref().map(|(digest, _)| *digest),
            blocked: row.blocked.as_ref().map(|block| Blocked { reason: block.reason.clone() }),
            guard,
        };
        let (mut policy, findings) = compile(row.id, &site, &input);
        if findings.iter().any(Finding::is_error) {
            return Ok(Err(findings));
        }
        if let Some(console) = &self.inner.config.console {
            console.introduce(&mut policy);
        }
        Ok(Ok(Compiled { policy, certificate: certificate.map(|(_, object)| object) }))
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
