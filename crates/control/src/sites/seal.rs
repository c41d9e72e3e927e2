//! Passwords in sites: hashed, sealed, and replaced by references before anything is stored. The keys
//! of client certificates (`seal_keys`) go the same way, but for the hash.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, Name, ResourceKind, Site, SiteSpec, Step, User,
    site::spec::{PasswordSpec, PasswordValueSpec},
};
use portway_secrets::{Context, Reference, SecretKind};
use portway_store::SealedSecret;

use crate::{Control, ControlError};

/// The cost of the hashes that Portway makes: 2^10 rounds, some 50 ms. Verified logins are
/// remembered by the edge, so it is not paid for every request.
const BCRYPT_COST: u32 = 10;

/// A password that was taken out of a site.
pub(super) enum Password {
    /// A hash or a password to be hashed, with its reference.
    New(NewSecret),
    /// A reference that must be known already.
    Known { reference: String, path: FieldPath, instead: &'static str },
}

/// A password that is to be sealed.
pub(super) struct NewSecret {
    pub(super) reference: Reference,
    pub(super) site: Id<Site>,
    pub(super) owner: Option<Id<User>>,
    pub(super) value: NewPassword,
}

pub(super) enum NewPassword {
    Hash(String),
    Plain(String),
    /// No password but a private key.
    Key(String),
}

/// Secrets that are there already, with the sites they belong to.
pub(super) struct KnownSecrets(BTreeMap<String, Option<Id<Site>>>);

/// What became of the passwords of a site.
pub(super) struct Resolved {
    /// Those that are not there yet.
    pub(super) new: Vec<NewSecret>,
    /// What could not be resolved.
    pub(super) findings: Vec<Finding>,
}

impl KnownSecrets {
    /// Tells new passwords from those that are there already.
    pub(super) fn resolve(
        &self,
        name: &Name,
        site: Id<Site>,
        passwords: Vec<Password>,
    ) -> Resolved {
        let mut new = Vec::new();
        let mut findings = Findings::about(ResourceKind::Site, name.as_str());
        for password in passwords {
            match password {
                Password::Known { reference, path, instead } if !self.has(site, &reference) => {
                    findings
                        .error(
                            FindingCode::UnknownSecret,
                            &path,
                            format!("`{reference}` is not a secret of this site"),
                        )
                        .remedy(instead);
                }
                Password::New(secret) if !self.has(site, secret.reference.as_str()) => {
                    new.push(secret);
                }
                Password::Known { .. } | Password::New(_) => {}
            }
        }
        Resolved { new, findings: findings.into_vec() }
    }

    /// A secret serves the site that it was made for and no other.
    fn has(&self, site: Id<Site>, reference: &str) -> bool {
        self.0.get(reference) == Some(&Some(site))
    }
}

impl Control {
    /// Replaces every password and private key in `spec` by a reference. References depend on the secret, so
    /// that applying the same file again changes nothing; they tell nothing without the key.
    pub(super) fn take_passwords(
        &self,
        id: Id<Site>,
        owner: Option<Id<User>>,
        spec: &mut SiteSpec,
    ) -> Vec<Password> {
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
            let (reference, value) = match password {
                PasswordSpec::Hash(hash) => {
                    (reference("hash", hash), NewPassword::Hash(hash.clone()))
                }
                PasswordSpec::Value(PasswordValueSpec { password: Some(plain), .. }) => {
                    (reference("plain", plain), NewPassword::Plain(plain.clone()))
                }
                PasswordSpec::Value(PasswordValueSpec { secret, .. }) => {
                    let reference = secret.clone().unwrap_or_default();
                    let instead = "give the password or its bcrypt hash instead";
                    all.push(Password::Known { reference, path, instead });
                    continue;
                }
            };
            *password = PasswordSpec::Value(PasswordValueSpec {
                password: None,
                secret: Some(reference.as_str().to_owned()),
            });
            all.push(Password::New(NewSecret { reference, site: id, owner, value }));
        }
        all.extend(self.take_client_keys(id, owner, spec));
        all
    }

    /// Reads which of the secrets of some sites are there already.
    pub(super) async fn known_secrets(
        &self,
        passwords: &[Vec<Password>],
    ) -> Result<KnownSecrets, ControlError> {
        let references = passwords.iter().flatten().map(|password| match password {
            Password::New(secret) => secret.reference.as_str(),
            Password::Known { reference, .. } => reference,
        });
        let references: Vec<&str> = references.collect::<BTreeSet<_>>().into_iter().collect();
        let secrets = self.inner.store.secrets().get(&references).await?;
        Ok(KnownSecrets(secrets.into_iter().map(|(name, secret)| (name, secret.site)).collect()))
    }

    /// Hashes what is not hashed yet and seals it, for what is about to be written.
    pub(super) async fn seal_passwords(
        &self,
        new: Vec<NewSecret>,
    ) -> Result<Vec<SealedSecret>, ControlError> {
        let mut sealed: BTreeMap<String, SealedSecret> = BTreeMap::new();
        for NewSecret { reference, site, owner, value } in new {
            // One user may stand in several places of a site, with one password.
            if !sealed.contains_key(reference.as_str()) {
                let hash = self.hashed(value).await?;
                let secret = self.seal(&reference, site, owner, &hash)?;
                sealed.insert(secret.reference.clone(), secret);
            }
        }
        Ok(sealed.into_values().collect())
    }

    async fn hashed(&self, value: NewPassword) -> Result<String, ControlError> {
        match value {
            NewPassword::Hash(text) | NewPassword::Key(text) => Ok(text),
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
            kind: match reference.kind() {
                Some(SecretKind::Credential) => portway_store::SecretKind::UpstreamCredential,
                Some(SecretKind::PrivateKey) => portway_store::SecretKind::PrivateKey,
                Some(SecretKind::Password) | None => portway_store::SecretKind::PasswordHash,
            },
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
