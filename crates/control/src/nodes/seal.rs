//! Secrets of nodes: taken out of what was sent, sealed, and replaced by references before anything is
//! stored.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{
    FieldPath, FindingCode, Findings, Id, NodeSpec, Step,
    node::spec::{KeptSecretSpec, NodeSecretSpec},
};
use portway_secrets::{Context, Redacted, Reference, SecretKind};
use portway_store::{NodeRow, SealedSecret};

use crate::{Control, ControlError};

impl Control {
    /// Replaces every secret in `spec` by a reference, and returns what is to be sealed. References
    /// depend on the secret, so that sending the same node again changes nothing. A reference that
    /// was sent must be one that the node has already: a secret serves the node that it was made for
    /// and no other.
    pub(super) fn take_secrets(
        &self,
        id: Id<NodeRow>,
        spec: &mut NodeSpec,
        before: Option<&NodeSpec>,
        findings: &mut Findings,
    ) -> Result<Vec<SealedSecret>, ControlError> {
        let known = references_of(before);
        let mut sealed = BTreeMap::new();
        for (path, secret) in spec.secrets_mut() {
            let value = match secret {
                NodeSecretSpec::Kept(kept) if known.contains(&kept.secret) => continue,
                NodeSecretSpec::Kept(kept) => {
                    findings
                        .error(
                            FindingCode::UnknownSecret,
                            &path.key("secret"),
                            format!("`{}` is not a secret of this node", kept.secret),
                        )
                        .remedy("give the key or password itself");
                    continue;
                }
                NodeSecretSpec::Plain(value) => std::mem::take(value),
            };
            let scope = format!("node {id} {}", last(&path));
            let kind = kind_of(&path);
            let reference = self.inner.fingerprints.reference(kind, &scope, value.as_bytes());
            *secret =
                NodeSecretSpec::Kept(KeptSecretSpec { secret: reference.as_str().to_owned() });
            sealed.insert(reference.as_str().to_owned(), self.seal_secret(&reference, &value)?);
        }
        Ok(sealed.into_values().collect())
    }

    fn seal_secret(
        &self,
        reference: &Reference,
        value: &str,
    ) -> Result<SealedSecret, ControlError> {
        let sealed = self
            .keys()
            .seal(&Context::secret(reference), value.as_bytes())
            .map_err(|error| ControlError::internal("sealing a secret of a node", error))?;
        Ok(SealedSecret {
            reference: reference.as_str().to_owned(),
            kind: match reference.kind() {
                Some(SecretKind::PrivateKey) => portway_store::SecretKind::PrivateKey,
                Some(SecretKind::Credential | SecretKind::Password) | None => {
                    portway_store::SecretKind::UpstreamCredential
                }
            },
            owner: None,
            site: None,
            key_id: sealed.key_id().to_string(),
            sealed: sealed.to_bytes(),
            created_at: self.now(),
        })
    }

    /// Opens a secret to which a declared node refers.
    pub(crate) async fn open_node_secret(
        &self,
        reference: &str,
    ) -> Result<Redacted<String>, ControlError> {
        let internal = |error: Box<dyn std::error::Error + Send + Sync>| {
            ControlError::internal("opening a secret of a node", error)
        };
        let found = self.inner.store.secrets().get(&[reference]).await?;
        let secret =
            found.get(reference).ok_or_else(|| internal("it is not in the database".into()))?;
        let reference: Reference =
            reference.parse().map_err(|_| internal("its reference is none".into()))?;
        self.keys()
            .open_text(&Context::secret(&reference), &secret.sealed)
            .map_err(|error| internal(error.into()))
    }
}

/// Returns the references of a node as it stands.
fn references_of(spec: Option<&NodeSpec>) -> BTreeSet<String> {
    let mut spec = spec.cloned().unwrap_or_default();
    let kept = spec.secrets_mut().into_iter().filter_map(|(_, secret)| match secret {
        NodeSecretSpec::Kept(kept) => Some(std::mem::take(&mut kept.secret)),
        NodeSecretSpec::Plain(_) => None,
    });
    kept.collect()
}

fn last(path: &FieldPath) -> &str {
    match path.steps().last() {
        Some(Step::Key(key)) => key,
        Some(Step::Index(_)) | None => "",
    }
}

fn kind_of(path: &FieldPath) -> SecretKind {
    if last(path) == "key" { SecretKind::PrivateKey } else { SecretKind::Credential }
}
