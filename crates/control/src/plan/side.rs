//! A version of a site on an engine, before or after.

use std::collections::BTreeMap;

use portway_engine::{Engine, EngineFacts};
use portway_model::{Finding, HostPattern, RevisionNumber};
use portway_policy::Digest;
use portway_store::SiteRow;
use portway_wire::plan::PlannedCertificate;

use super::{
    text::{Shown, short},
    touched::Rows,
};
use crate::{
    Control, ControlError,
    deploy::{Owners, Proposed},
    fleet::{name_of, render},
};

type Outcome = Result<Proposed, Vec<Finding>>;

/// The versions of one site, each compiled once.
pub(super) struct Versions<'a> {
    control: &'a Control,
    rows: &'a Rows,
    owners: Owners,
    after: Option<Outcome>,
    proven: BTreeMap<RevisionNumber, Option<Outcome>>,
}

/// A version as it is written for an engine.
pub(super) struct Side {
    pub(super) shown: Shown,
    /// What tells it apart from every other.
    pub(super) name: String,
    pub(super) certificate: Option<PlannedCertificate>,
    pub(super) findings: Vec<Finding>,
}

impl<'a> Versions<'a> {
    pub(super) fn new(control: &'a Control, rows: &'a Rows) -> Self {
        Self { control, rows, owners: Owners::new(), after: None, proven: BTreeMap::new() }
    }

    /// Returns what the site is to come to; nothing where it goes.
    pub(super) async fn after(
        &mut self,
        engine: &dyn Engine,
        facts: &EngineFacts,
    ) -> Result<Option<Result<Side, Vec<Finding>>>, ControlError> {
        let Some(row) = &self.rows.after else { return Ok(None) };
        if self.after.is_none() {
            let to_come = &self.rows.to_come;
            let compiled = self.control.compile_proposed(row, &mut self.owners, to_come).await?;
            self.after = Some(compiled);
        }
        let Some(compiled) = &self.after else { return Ok(None) };
        side(compiled, engine, facts).map(Some)
    }

    /// Returns what the version that a node is known to have comes to today; nothing where that cannot
    /// be said any more.
    pub(super) async fn proven(
        &mut self,
        revision: RevisionNumber,
        engine: &dyn Engine,
        facts: &EngineFacts,
    ) -> Result<Option<Side>, ControlError> {
        if !self.proven.contains_key(&revision) {
            let compiled = match self.version(revision).await? {
                Some(row) => {
                    let nothing = BTreeMap::new();
                    Some(self.control.compile_proposed(&row, &mut self.owners, &nothing).await?)
                }
                None => None,
            };
            self.proven.insert(revision, compiled);
        }
        let Some(Some(compiled)) = self.proven.get(&revision) else { return Ok(None) };
        Ok(side(compiled, engine, facts)?.ok())
    }

    async fn version(&self, revision: RevisionNumber) -> Result<Option<SiteRow>, ControlError> {
        match &self.rows.before {
            Some(row) => self.control.version_of(row, revision).await,
            None => Ok(None),
        }
    }
}

fn side(
    compiled: &Outcome,
    engine: &dyn Engine,
    facts: &EngineFacts,
) -> Result<Result<Side, Vec<Finding>>, ControlError> {
    let proposed = match compiled {
        Ok(proposed) => proposed,
        Err(findings) => return Ok(Err(findings.clone())),
    };
    let Proposed { compiled, certificate, secrets } = proposed;
    let rendered = match render(&compiled.policy, compiled.certificate.as_ref(), engine, facts)? {
        Ok(rendered) => rendered,
        Err(findings) => return Ok(Err(findings)),
    };
    let chain = compiled.certificate.as_ref().map(|object| object.chain_pem.as_str());
    Ok(Ok(Side {
        shown: Shown::of(&rendered.entry, &rendered.objects, secrets),
        name: name_of(&rendered),
        certificate: certificate.as_ref().map(|names| planned(names, chain)),
        findings: rendered.findings.clone(),
    }))
}

fn planned(
    (names, is_there): &(Vec<HostPattern>, bool),
    chain: Option<&str>,
) -> PlannedCertificate {
    let digest = chain.filter(|_| *is_there).map(|chain| short(Digest::of(chain.as_bytes())));
    PlannedCertificate {
        names: names.iter().map(ToString::to_string).collect(),
        comes: true,
        digest,
    }
}
