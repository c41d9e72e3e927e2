//! Private keys of client certificates in sites: taken out and replaced by references, to be sealed
//! as passwords are.

use std::collections::BTreeMap;

use portway_model::{
    Id, Site, SiteSpec, User,
    site::{
        ClientKey, Route,
        spec::{ClientKeySpec, KeptKeySpec},
    },
};
use portway_secrets::{Context, Reference, SecretKind};

use super::seal::{NewPassword, NewSecret, Password};
use crate::{Control, ControlError};

impl Control {
    /// Replaces every key of a client certificate in `spec` by a reference.
    pub(super) fn take_client_keys(
        &self,
        id: Id<Site>,
        owner: Option<Id<User>>,
        spec: &mut SiteSpec,
    ) -> Vec<Password> {
        let scope = format!("site {id} client key");
        let mut all = Vec::new();
        for (path, key) in spec.client_keys_mut() {
            let pem = match key {
                ClientKeySpec::Pem(pem) => std::mem::take(pem),
                ClientKeySpec::Kept(kept) => {
                    let reference = kept.secret.clone();
                    let instead = "give the private key itself in PEM";
                    all.push(Password::Known { reference, path, instead });
                    continue;
                }
            };
            let reference =
                self.inner.fingerprints.reference(SecretKind::Credential, &scope, pem.as_bytes());
            *key = ClientKeySpec::Kept(KeptKeySpec { secret: reference.as_str().to_owned() });
            let value = NewPassword::Key(pem);
            all.push(Password::New(NewSecret { reference, site: id, owner, value }));
        }
        all
    }

    /// Opens the keys of client certificates that a checked site refers to.
    pub(crate) async fn open_client_keys(
        &self,
        id: Id<Site>,
        site: &Site,
    ) -> Result<BTreeMap<String, String>, ControlError> {
        let references = references_of(site);
        if references.is_empty() {
            return Ok(BTreeMap::new());
        }
        let mut keys = BTreeMap::new();
        for (text, secret) in self.inner.store.secrets().get(&references).await? {
            // A secret serves the site that it was made for, and as what it was made.
            let is_key = secret.kind == portway_store::SecretKind::UpstreamCredential;
            if !is_key || secret.site != Some(id) {
                continue;
            }
            let reference: Reference = text
                .parse()
                .map_err(|error| ControlError::internal("reading a secret's reference", error))?;
            let key = self
                .keys()
                .open_text(&Context::secret(&reference), &secret.sealed)
                .map_err(|error| ControlError::internal("opening a private key", error))?;
            keys.insert(text, key.expose().clone());
        }
        Ok(keys)
    }
}

fn references_of(site: &Site) -> Vec<&str> {
    let upstreams = site.routes.iter().flat_map(Route::upstreams);
    let mut references: Vec<&str> = upstreams
        .filter_map(|upstream| match &upstream.client.as_ref()?.key {
            ClientKey::Secret(reference) => Some(reference.as_str()),
            ClientKey::Pem(_) => None,
        })
        .collect();
    references.sort_unstable();
    references.dedup();
    references
}
