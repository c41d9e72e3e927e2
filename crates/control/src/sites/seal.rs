//! Passwords in sites: hashed, sealed, and replaced by references before anything is stored.

use std::collections::BTreeMap;

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, ResourceKind, Site, SiteSpec, Step, User,
    site::spec::{PasswordSpec, PasswordValueSpec},
};
use portway_secrets::{Context, Reference, SecretKind};
use portway_store::SealedSecret;

use crate::{Control, ControlError};

/// The cost of the hashes that Portway makes: 2^10 rounds, some 50 ms. Verified logins are
/// remembered by the edge, so it is not paid for every request.
const BCRYPT_COST: u32 = 10;

/// Passwords that were taken out of a site.
#[derive(Debug, Default)]
pub(super) struct SealedPasswords {
    /// What is to be stored with the site.
    pub(super) secrets: Vec<SealedSecret>,
    /// What could not be resolved.
    pub(super) findings: Vec<Finding>,
}

/// A password found in a site.
enum Found {
    /// A hash or a password to be hashed, with its reference.
    New { reference: Reference, value: NewPassword },
    /// A reference that must be known already.
    Known { reference: String, path: FieldPath },
}

enum NewPassword {
    Hash(String),
    Plain(String),
}

impl Control {
    /// Replaces every password in `spec` by a reference. References depend on the password, so
    /// that applying the same file again changes nothing; they tell nothing without the key.
    pub(super) async fn seal_passwords(
        &self,
        name: &str,
        id: Id<Site>,
        owner: Option<Id<User>>,
        spec: &mut SiteSpec,
    ) -> Result<SealedPasswords, ControlError> {
        let found = self.take_passwords(id, spec);
        if found.is_empty() {
            return Ok(SealedPasswords::default());
        }
        let known = self.known_secrets(id, &found).await?;
        let mut sealed = SealedPasswords::default();
        let mut findings = Findings::about(ResourceKind::Site, name);
        for item in found {
            match item {
                Found::Known { reference, path } => {
                    if !known.contains_key(&reference) {
                        findings
                            .error(
                                FindingCode::UnknownSecret,
                                &path,
                                format!("`{reference}` is not a secret of this site"),
                            )
                            .remedy("give the password or its bcrypt hash instead");
                    }
                }
                Found::New { reference, value } => {
                    if !known.contains_key(reference.as_str()) {
                        let hash = self.hashed(value).await?;
                        sealed.secrets.push(self.seal(&reference, id, owner, &hash)?);
                    }
                }
            }
        }
        sealed.findings = findings.into_vec();
        Ok(sealed)
    }

    fn take_passwords(&self, id: Id<Site>, spec: &mut SiteSpec) -> Vec<Found> {
        let mut all = Vec::new();
        for (path, password) in spec.passwords_mut() {
            let user = match path.steps().last() {
                Some(Step::Key(user)) => user.clone(),
                Some(Step::Index(_)) | None => String::new(),
            };
            let scope = format!("site {id} user {user}");
            let reference = |tag: &str, value: &str| {
                let value = format!("{tag}:{value}");
                self.inner.fingerprints.reference(SecretKind::Password, &scope, value.as_bytes())
            };
            let found = match password {
                PasswordSpec::Hash(hash) => Found::New {
                    reference: reference("hash", hash),
                    value: NewPassword::Hash(hash.clone()),
                },
                PasswordSpec::Value(PasswordValueSpec { password: Some(plain), .. }) => {
                    Found::New {
                        reference: reference("plain", plain),
                        value: NewPassword::Plain(plain.clone()),
                    }
                }
                PasswordSpec::Value(PasswordValueSpec { secret, .. }) => {
                    Found::Known { reference: secret.clone().unwrap_or_default(), path }
                }
            };
            if let Found::New { reference, .. } = &found {
                *password = PasswordSpec::Value(PasswordValueSpec {
                    password: None,
                    secret: Some(reference.as_str().to_owned()),
                });
            }
            all.push(found);
        }
        all
    }

    /// Reads the secrets that are there already and belong to this very site.
    async fn known_secrets(
        &self,
        id: Id<Site>,
        found: &[Found],
    ) -> Result<BTreeMap<String, SealedSecret>, ControlError> {
        let references: Vec<String> = found
            .iter()
            .map(|found| match found {
                Found::New { reference, .. } => reference.as_str().to_owned(),
                Found::Known { reference, .. } => reference.clone(),
            })
            .collect();
        let references: Vec<&str> = references.iter().map(String::as_str).collect();
        let secrets = self.inner.store.secrets().get(&references).await?;
        Ok(secrets.into_iter().filter(|(_, secret)| secret.site == Some(id)).collect())
    }

    async fn hashed(&self, value: NewPassword) -> Result<String, ControlError> {
        match value {
            NewPassword::Hash(hash) => Ok(hash),
            NewPassword::Plain(plain) => {
                let work = move || bcrypt::hash(plain, BCRYPT_COST);
                tokio::task::spawn_blocking(work)
                    .await
                    .map_err(|error| ControlError::internal("hashing a password", error))?
                    .map_err(|error| ControlError::internal("hashing a password", error))
            }
        }
    }

    fn seal(
        &self,
        reference: &Reference,
        id: Id<Site>,
        owner: Option<Id<User>>,
        hash: &str,
    ) -> Result<SealedSecret, ControlError> {
        let keys = self.keys();
        let sealed = keys
            .seal(&Context::secret(reference), hash.as_bytes())
            .map_err(|error| ControlError::internal("sealing a password", error))?;
        Ok(SealedSecret {
            reference: reference.as_str().to_owned(),
            kind: portway_store::SecretKind::PasswordHash,
            owner,
            site: Some(id),
            key_id: sealed.key_id().to_string(),
            sealed: sealed.to_bytes(),
            created_at: self.now(),
        })
    }

    /// Opens the password hashes that a checked site refers to.
    pub(crate) async fn open_hashes(
        &self,
        site: &Site,
    ) -> Result<BTreeMap<String, String>, ControlError> {
        let references = references_of(site);
        if references.is_empty() {
            return Ok(BTreeMap::new());
        }
        let texts: Vec<&str> = references.iter().map(String::as_str).collect();
        let secrets = self.inner.store.secrets().get(&texts).await?;
        let mut hashes = BTreeMap::new();
        for (text, secret) in secrets {
            let reference: Reference = text
                .parse()
                .map_err(|error| ControlError::internal("reading a secret's reference", error))?;
            let hash = self
                .keys()
                .open_text(&Context::secret(&reference), &secret.sealed)
                .map_err(|error| ControlError::internal("opening a password hash", error))?;
            hashes.insert(text, hash.expose().clone());
        }
        Ok(hashes)
    }
}

fn references_of(site: &Site) -> Vec<String> {
    let basics =
        site.routes.iter().filter_map(|route| route.filters.access.as_ref()?.basic.as_ref());
    let mut references: Vec<String> = basics
        .flat_map(|basic| basic.users.values())
        .filter_map(|password| match password {
            portway_model::site::Password::Secret(reference) => Some(reference.clone()),
            portway_model::site::Password::Hash(_) | portway_model::site::Password::Plain(_) => {
                None
            }
        })
        .collect();
    references.sort();
    references.dedup();
    references
}
