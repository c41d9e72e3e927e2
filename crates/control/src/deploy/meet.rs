//! Meeting an edge: what it has is read, whose it is is settled, and it is given its node's settings.

use portway_model::Id;
use portway_policy::{
    CertificateObject, Claim, Index, NodeSettings, STICKY_SINCE, StickyKey,
    bundle::{Change, ChangeReport, IndexListing, PROTOCOL, Status},
};
use portway_secrets::Purpose;
use tracing::info;

use super::{
    Known, State, Sweep,
    run::{Run, RunError, proven},
};

impl Run<'_> {
    /// Reads what the edge has, gives it the node's settings, and has everything looked at.
    pub(super) async fn meet(&self, state: &mut State) -> Result<(), RunError> {
        let client = self.it.client;
        let status = client.status().await?;
        let claim = self.claim_on_meeting(&status).await?;
        let listing: IndexListing = client.index().await?;
        let mut known = Known {
            index: Index::from_sites(listing.settings, listing.sites),
            certificates: listing.certificates.into_iter().collect(),
        };
        let (settings, certificates) = self.settings(status.format).await?;
        let is_other = settings.digest() != listing.settings;
        if is_other || claim.is_some() {
            known.index.set_settings(settings.digest());
            let change = Change {
                format: PROTOCOL,
                base: Some(listing.digest),
                certificates: if is_other { certificates } else { Vec::new() },
                settings: is_other.then_some(settings),
                claim: claim.or_else(|| self.it.claim()),
                ..Change::default()
            };
            let report = client.change(&change).await?;
            proven(&known.index, &report)?;
        } else {
            let report = ChangeReport { digest: listing.digest, refused: Vec::new() };
            proven(&known.index, &report)?;
        }
        info!(node.name = %self.it.name, "met the edge: it has {} site(s)", known.index.len());
        let node = self.node_row().await?;
        if node.digest.as_deref() == Some(known.index.digest().to_string().as_str()) {
            // It is as this installation left it: what was deployed is still there.
            self.it.deploy.note_reached(node.deployed);
        }
        state.known = Some(known);
        state.sweep = Some(Sweep::default());
        Ok(())
    }

    /// Decides whether this manager may drive an edge that it meets, and what the edge is to be told
    /// for it; nothing where it knows.
    async fn claim_on_meeting(&self, status: &Status) -> Result<Option<Claim>, RunError> {
        let owner = self.it.owner.clone();
        let kept = status.owner.as_ref();
        if self.it.is_own() {
            let is_known = kept.is_some_and(|kept| kept.is_same_node(&owner));
            let is_to_be_told = status.keeps_owner && !is_known;
            return Ok(is_to_be_told.then_some(Claim::TakeOver(owner)));
        }
        if !status.keeps_owner {
            return Err(RunError::TooOld(status.version.clone()));
        }
        let Some(kept) = kept else { return Ok(Some(Claim::Hold(owner))) };
        if kept.is_same_node(&owner) {
            return Ok(None);
        }
        if kept.installation != owner.installation {
            return Err(RunError::Foreign(kept.manager.clone()));
        }
        // The same machine under another name, or one that was removed and left as it was.
        match self.control.inner.store.nodes().get(Id::from_uuid(kept.node)).await? {
            Some(other) => Err(RunError::Twice(other.name.to_string())),
            None => Ok(Some(Claim::TakeOver(owner))),
        }
    }

    /// Returns the settings as an edge of a format knows them, and the certificates that they name.
    /// One of before ignores a sticky key, and would have another digest.
    async fn settings(
        &self,
        format: u32,
    ) -> Result<(NodeSettings, Vec<CertificateObject>), RunError> {
        let control = self.control;
        let mut certificates = Vec::new();
        if self.it.is_own() {
            // It has the names of this machine. Who names no site on another one is shown none.
            let hosts = [portway_model::HostPattern::Any];
            certificates.push(control.certificate_of(None, &hosts).await?);
        }
        let sticky = control.keys().derive(Purpose::StickyCookies);
        let settings = NodeSettings {
            trusted_proxies: self.it.trusted_proxies(control),
            fallback_certificate: certificates.first().map(CertificateObject::digest),
            sticky_key: (format >= STICKY_SINCE).then(|| StickyKey::new(*sticky.expose())),
            draining: self.it.is_draining(),
        };
        Ok((settings, certificates))
    }
}
