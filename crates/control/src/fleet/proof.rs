//! What deployments of sites are proven by: the probes that the sites declare, asked on each node before
//! and after.

use std::collections::{BTreeMap, BTreeSet};

use portway_deploy::{Answers, Doors, Proof, Verdict};
use portway_model::{
    Finding, FindingCode, Id, Name, Node, RevisionNumber, Site,
    site::{SiteProbe, check},
};
use portway_store::{NodeSiteRow, SiteRow, Visible};
use portway_transport::Target;

use super::wanted::Wanted;
use crate::{Control, ControlError, EdgeClient, sites::spec_of};

/// Returns the probes that a version of a site declares. Most sites declare none, and are not read for it.
/// A site that is blocked or being worked on answers otherwise than its application, as it should.
pub(crate) fn probes_of(row: &SiteRow) -> Result<Vec<SiteProbe>, ControlError> {
    if row.spec.get("probes").is_none() || row.blocked.is_some() {
        return Ok(Vec::new());
    }
    let site = check(&row.name, &spec_of(row)?).0.filter(|site| site.maintenance.is_none());
    Ok(site.map(|site| site.probes).unwrap_or_default())
}

/// Says of findings on which node they were made.
pub(crate) fn on_node(node: &Name, findings: Vec<Finding>) -> Vec<Finding> {
    let told =
        |finding: Finding| Finding { text: format!("on node {node}, {}", finding.text), ..finding };
    findings.into_iter().map(told).collect()
}

/// Returns what probes said of a version that a node still has.
pub(super) fn still_told(known: &NodeSiteRow, digest: Option<&str>) -> Vec<Finding> {
    let findings = known.findings.iter().filter(|finding| {
        finding.code == FindingCode::ProbeFailed && known.digest.as_deref() == digest
    });
    findings.cloned().collect()
}

impl Control {
    /// Returns what a deployment of sites to a node is proven by. What comes there in an earlier version,
    /// because of a rollout or a pin, is the way back, and not judged.
    pub(super) async fn proofs(
        &self,
        wanted: &Wanted,
        group: &BTreeSet<Id<Site>>,
    ) -> Result<Vec<Proof>, ControlError> {
        let is_newest = |id: &&Id<Site>| {
            wanted.sites.get(*id).is_some_and(|row| row.held.is_none() && row.revision.is_some())
        };
        let ids: Vec<_> = group.iter().filter(is_newest).copied().collect();
        let rows = self.inner.store.sites().by_ids(Visible::All, &ids).await?;
        let mut proofs = Vec::new();
        for (id, row) in rows {
            let revision = wanted.sites.get(&id).and_then(|wanted| wanted.revision);
            let Some(row) = self.version_of(&row, revision.unwrap_or(RevisionNumber(0))).await?
            else {
                continue;
            };
            let was = wanted.before.get(&id).and_then(|before| before.digest.as_ref());
            proofs.extend(proof_of(&row, was.is_none())?);
        }
        Ok(proofs)
    }
}

/// Returns what a site's deployment is proven by, where it declares anything.
pub(crate) fn proof_of(row: &SiteRow, is_new: bool) -> Result<Option<Proof>, ControlError> {
    let probes = probes_of(row)?;
    let is_proven = !probes.is_empty();
    Ok(is_proven.then(|| Proof { site: row.id, name: row.name.clone(), is_new, probes }))
}

/// Probes of sites on an edge: its own ports are asked, on its machine.
pub(crate) struct OnEdge<'a> {
    pub(crate) client: &'a EdgeClient,
    pub(crate) doors: Doors,
    pub(crate) proofs: Vec<Proof>,
}

impl OnEdge<'_> {
    /// Asks before a change.
    pub(crate) async fn before(&self) -> Answers {
        self.client.probe_before(&self.doors, &self.proofs).await
    }

    /// Asks after a change, and compares.
    pub(crate) async fn judge(&self, before: &Answers, node: &Name) -> Verdict {
        let after = self.client.probe_after(&self.doors, &self.proofs).await;
        let verdict = portway_deploy::compare(&self.proofs, before, &after);
        Verdict { worse: on_node(node, verdict.worse), told: on_node(node, verdict.told) }
    }

    /// Returns findings by the site that they are about.
    pub(crate) fn by_site(&self, findings: Vec<Finding>) -> BTreeMap<Id<Site>, Vec<Finding>> {
        let mut all: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for finding in findings {
            let portway_model::Location::Field { resource, .. } = &finding.at else { continue };
            let name = &resource.name;
            let of = self.proofs.iter().find(|proof| proof.name.as_str() == name.as_str());
            if let Some(proof) = of {
                all.entry(proof.site).or_default().push(finding);
            }
        }
        all
    }
}

/// Returns where a node serves sites, as the node itself reaches it.
pub(crate) fn doors_of(node: &Node) -> Doors {
    let door = |port| Target::Tcp { host: "127.0.0.1".to_owned(), port };
    Doors { http: door(node.ports.http), https: door(node.ports.https) }
}
