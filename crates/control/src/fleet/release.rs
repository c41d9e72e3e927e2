//! The release that a node is brought to, and how: what differs is deployed together, and where that
//! fails, it is found out which sites are at fault. They are held, and the others go on.

use std::collections::BTreeSet;

use portway_deploy::{
    ByOthers, Deployment, Ended, Proof, Standing, StepError, Survey, Unwritten, deploy, look,
    rehearse,
};
use portway_engine::Release;
use portway_model::{Finding, FindingCode, Id, Location, ResourceKind, Site, Stage};
use portway_store::{DeploymentRow, NodeSiteRow};
use portway_telemetry::DeploymentOutcome;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    bring::{BringError, Held, about, unserved},
    journal::Noting,
    proof::on_node,
    wanted::{Asking, Wanted, held},
};
use crate::{Control, fleet::Reach};

impl Held<'_> {
    fn asking(&self) -> Asking<'_> {
        // Whoever asks for a deployment wants what failed before to be tried again; not what failed in it.
        let tries_again = self.by_others == ByOthers::Overwrite;
        Asking {
            row: self.row,
            node: self.node,
            engine: self.engine,
            facts: &self.facts,
            tries_held_before: tries_again.then_some(self.begun),
        }
    }

    fn deployment<'a>(
        &'a self,
        release: &'a Release,
        proofs: &'a [Proof],
    ) -> Deployment<'a, Reach> {
        Deployment {
            transport: &*self.reach,
            engine: self.engine,
            facts: &self.facts,
            release,
            owner: &self.owner,
            by_others: self.by_others,
            proofs,
        }
    }

    fn changed(&self, what: String) -> BringError {
        BringError::Changed { what, node: self.row.name.to_string() }
    }

    /// Returns what the engine says against a release; nothing where it serves it.
    ///
    /// # Errors
    /// Where the engine had no part in it: a connection that was lost says nothing of a site.
    fn verdict(&self, ended: Ended) -> Result<Option<Verdict>, BringError> {
        match ended {
            Ended::Live { .. } => Ok(None),
            Ended::Refused { findings, output } => {
                Ok(Some(Verdict { findings, output, rolled_back: None }))
            }
            Ended::RolledBack(StepError::Worse { findings }) => Ok(Some(Verdict {
                findings: on_node(&self.row.name, findings.clone()),
                output: String::new(),
                rolled_back: Some(StepError::Worse { findings }),
            })),
            Ended::RolledBack(error) if error.is_verdict() => Ok(Some(Verdict {
                findings: Vec::new(),
                output: error.to_string(),
                rolled_back: Some(error),
            })),
            Ended::Failed(StepError::Changed { what }) => Err(self.changed(what)),
            Ended::RolledBack(error) | Ended::Failed(error) => Err(error.into()),
            Ended::Stuck { error, undo } => {
                Err(BringError::Stuck { error: Box::new(error), undo: Box::new(undo) })
            }
        }
    }
}

/// What an engine says against a release.
struct Verdict {
    findings: Vec<Finding>,
    output: String,
    /// Why it was switched back; nothing where the engine's test refused it.
    rolled_back: Option<StepError>,
}

impl From<Verdict> for BringError {
    fn from(verdict: Verdict) -> Self {
        match verdict.rolled_back {
            Some(error) => error.into(),
            None => Self::Refused(verdict.output),
        }
    }
}

impl Control {
    /// Deploys what differs, group by group: all changed sites together at first, and where the
    /// engine's test does not say which of them is at fault, by halves.
    pub(super) async fn bring_files(
        &self,
        it: &Held<'_>,
        survey: &Survey,
    ) -> Result<(), BringError> {
        let generation = self.inner.fleet.freshness.generation();
        let asking = it.asking();
        let mut wanted = self.wanted(&asking, &BTreeSet::new()).await?;
        let mut groups = vec![wanted.changed()];
        self.close_cut_off(&it.deployment(&wanted.release, &[]), it.row).await?;
        let (mut is_first, mut is_sure) = (true, false);
        while let Some(group) = groups.pop() {
            let put_off: BTreeSet<_> = groups.iter().flatten().copied().collect();
            if !std::mem::take(&mut is_first) {
                wanted = self.wanted(&asking, &put_off).await?;
            }
            let Some(ended) = self.deploy_release(it, &wanted, &group).await? else { continue };
            let Some(verdict) = it.verdict(ended)? else { continue };
            if group.is_empty() {
                return Err(verdict.into());
            }
            let Verdict { findings, output, rolled_back } = verdict;
            let blamed = blamed(&wanted, &group, &findings);
            if !blamed.is_empty() {
                self.hold(it, &wanted, &blamed, &findings, &output).await?;
                groups.push(group.difference(&blamed).copied().collect());
                continue;
            }
            if !std::mem::replace(&mut is_sure, true) {
                let put_off = put_off.union(&group).copied().collect();
                Box::pin(self.make_sure(it, &put_off)).await?;
                if rolled_back.is_none() {
                    // What broke a test in passing, such as a want of memory, may be over.
                    groups.push(group);
                    continue;
                }
            }
            if group.len() == 1 {
                self.hold(it, &wanted, &group, &findings, &output).await?;
                groups.push(BTreeSet::new());
            } else {
                groups.extend(halves(&group));
            }
        }
        self.note_read(it, &wanted, survey).await?;
        self.inner.fleet.freshness.brought(it.row.id, wanted.revision, generation);
        self.inner.fleet.reached(it.row.id, wanted.revision);
        Ok(())
    }

    /// Makes sure that the engine still takes what is proven on the node: where it does not, somebody
    /// changed something else there, and no site is at fault. Sites that are `put_off` stay as they are
    /// there.
    async fn make_sure(
        &self,
        it: &Held<'_>,
        put_off: &BTreeSet<Id<Site>>,
    ) -> Result<(), BringError> {
        let proven = self.wanted(&it.asking(), put_off).await?;
        let ended = match self.deploy_release(it, &proven, &BTreeSet::new()).await? {
            Some(ended) => ended,
            None => {
                match Box::pin(rehearse(&it.deployment(&proven.release, &[]), &Unwritten)).await {
                    Ok(()) => return Ok(()),
                    Err(ended) => ended,
                }
            }
        };
        it.verdict(ended)?.map_or(Ok(()), |verdict| Err(verdict.into()))
    }

    /// Deploys a release, unless the node is known to serve it. Returns how that ended.
    async fn deploy_release(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        group: &BTreeSet<Id<Site>>,
    ) -> Result<Option<Ended>, BringError> {
        let nodes = self.inner.store.nodes();
        let known = nodes.facts(&[it.row.id]).await?.remove(&it.row.id).unwrap_or_default();
        let digest = wanted.release.digest.to_string();
        let proofs = self.proofs(wanted, group).await?;
        let deployment = it.deployment(&wanted.release, &proofs);
        if self.has_it(it, wanted, known.digest.as_deref()).await? {
            self.note_sites(it, wanted, &[]).await?;
            return Ok(None);
        }
        let mut row = self.new_deployment(it, wanted, known.digest.clone());
        self.inner.store.deployments().record(&row).await?;
        let (journal, steps) = Noting::new(self.clone(), &row);
        let deploying = async move {
            let ended = Box::pin(deploy(&deployment, &journal)).await;
            drop(journal);
            ended
        };
        let (ended, ()) = tokio::join!(deploying, steps.write());
        row.stage = stage_of(&ended);
        row.finished_at = Some(self.now());
        row.findings = findings_of(it, wanted, &ended);
        if let Ended::Live { told, .. } = &ended {
            row.digest = Some(digest);
            self.note_sites(it, wanted, &on_node(&it.row.name, told.clone())).await?;
            self.keep_proven(it.row, wanted.release.digest).await?;
        }
        self.inner.store.deployments().record(&row).await?;
        self.count_deployment(if row.stage == Stage::Live {
            DeploymentOutcome::Live
        } else {
            DeploymentOutcome::Rejected
        });
        info!(node.name = %it.row.name, "deployment {} ended {:?}", row.id, row.stage);
        Ok(Some(ended))
    }

    /// Tells whether a node serves a release, where that is likely enough to look. What it has is read,
    /// not remembered; what somebody changed there is theirs to decide on.
    async fn has_it(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        known: Option<&str>,
    ) -> Result<bool, BringError> {
        let release = &wanted.release;
        let is_known = known == Some(release.digest.to_string().as_str());
        if it.by_others == ByOthers::Overwrite
            || !(is_known || self.inner.fleet.is_in_trouble(it.row.id))
        {
            return Ok(false);
        }
        let look = look(&it.deployment(release, &[])).await?;
        self.keep_look(it.row, &look, &BTreeSet::new()).await?;
        match look.standing(release) {
            Standing::Serves => Ok(true),
            Standing::Behind => Ok(false),
            Standing::Changed(what) => Err(it.changed(what)),
        }
    }

    fn new_deployment(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        before: Option<String>,
    ) -> DeploymentRow {
        DeploymentRow {
            id: Id::from_uuid(Uuid::now_v7()),
            node: it.row.id,
            from: it.row.deployed,
            to: wanted.revision,
            stage: Stage::Queued,
            started_at: self.now(),
            finished_at: None,
            findings: Vec::new(),
            digest: None,
            release: Some(wanted.release.digest.to_string()),
            before,
            fence: i64::try_from(it.owner.fence).ok(),
        }
    }

    /// Notes what the node has, proven.
    /// `told` is what its deployment said of its sites beside that.
    async fn note_sites(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        told: &[Finding],
    ) -> Result<(), BringError> {
        let digest = wanted.release.digest.to_string();
        let with_told = |row: &NodeSiteRow| {
            let mut row = row.clone();
            if told.is_empty() {
                return row;
            }
            row.findings.retain(|finding| finding.code != FindingCode::ProbeFailed);
            let own = told.iter().filter(|finding| is_about(wanted, finding, row.site));
            row.findings.extend(own.cloned());
            row
        };
        let rows: Vec<_> = wanted
            .sites
            .values()
            .map(with_told)
            .filter(|row| wanted.before.get(&row.site).is_none_or(|before| !is_same(before, row)))
            .collect();
        let (removed, now) = (wanted.removed(), self.now());
        let nodes = self.inner.store.nodes();
        nodes.deployed(it.row.id, wanted.revision, &digest, &rows, &removed, now).await?;
        Ok(())
    }

    async fn note_read(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        survey: &Survey,
    ) -> Result<(), BringError> {
        let engine_version = survey.engine.as_ref().ok().map(|engine| engine.version.to_string());
        let facts = portway_store::NodeFacts {
            engine_version,
            digest: Some(wanted.release.digest.to_string()),
            read_at: Some(self.now()),
            ..portway_store::NodeFacts::default()
        };
        self.inner.store.nodes().put_facts(it.row.id, &facts).await?;
        Ok(())
    }

    /// Holds sites on a node at the version that was proven there.
    async fn hold(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
        sites: &BTreeSet<Id<Site>>,
        findings: &[Finding],
        output: &str,
    ) -> Result<(), BringError> {
        let rows: Vec<NodeSiteRow> = sites
            .iter()
            .filter_map(|id| {
                let version = wanted.sites.get(id)?.revision?;
                let known = wanted.before.get(id).cloned().unwrap_or_else(|| NodeSiteRow {
                    site: *id,
                    revision: None,
                    digest: None,
                    held: None,
                    findings: Vec::new(),
                    updated_at: self.now(),
                });
                let mut why: Vec<_> =
                    findings.iter().filter(|finding| is_about(wanted, finding, *id)).cloned().collect();
                if why.is_empty() {
                    let name = name_in(wanted, *id);
                    why.extend(unserved(&it.row.name, &name, output));
                }
                warn!(node.name = %it.row.name, site.id = %id, "the node holds the site at its version before");
                Some(NodeSiteRow { updated_at: self.now(), ..held(&known, why, version) })
            })
            .collect();
        self.inner.store.nodes().put_sites(it.row.id, &rows).await?;
        Ok(())
    }
}

fn findings_of(it: &Held<'_>, wanted: &Wanted, ended: &Ended) -> Vec<Finding> {
    let about_node = |text: String| vec![about(ResourceKind::Node, it.row.name.as_str(), text)];
    match ended {
        Ended::Live { told, .. } => {
            let of_sites = wanted.sites.values().flat_map(|row| row.findings.iter().cloned());
            of_sites.chain(on_node(&it.row.name, told.clone())).collect()
        }
        Ended::RolledBack(StepError::Worse { findings }) => on_node(&it.row.name, findings.clone()),
        Ended::Refused { findings, output } if findings.is_empty() => about_node(output.clone()),
        Ended::Refused { findings, .. } => findings.clone(),
        Ended::Failed(error) | Ended::RolledBack(error) => about_node(error.to_string()),
        Ended::Stuck { error, undo } => about_node(format!("{error}; then: {undo}")),
    }
}

fn is_same(one: &NodeSiteRow, other: &NodeSiteRow) -> bool {
    let NodeSiteRow { site: _, revision, digest, held, findings, updated_at: _ } = one;
    (*revision, digest, *held, findings)
        == (other.revision, &other.digest, other.held, &other.findings)
}

fn stage_of(ended: &Ended) -> Stage {
    match ended {
        Ended::Live { .. } => Stage::Live,
        Ended::Refused { .. } | Ended::Failed(_) => Stage::Rejected,
        Ended::RolledBack(_) => Stage::RolledBack,
        Ended::Stuck { .. } => Stage::Stuck,
    }
}

/// Returns those of a group that findings name.
fn blamed(wanted: &Wanted, group: &BTreeSet<Id<Site>>, findings: &[Finding]) -> BTreeSet<Id<Site>> {
    let named = |id: &&Id<Site>| findings.iter().any(|finding| is_about(wanted, finding, **id));
    group.iter().filter(named).copied().collect()
}

fn is_about(wanted: &Wanted, finding: &Finding, site: Id<Site>) -> bool {
    let Location::Field { resource, .. } = &finding.at else { return false };
    resource.kind == ResourceKind::Site && resource.name == name_in(wanted, site)
}

fn name_in(wanted: &Wanted, site: Id<Site>) -> String {
    let found = wanted.release.sites.iter().find(|served| served.id == site);
    found.map(|served| served.name.to_string()).unwrap_or_default()
}

fn halves(group: &BTreeSet<Id<Site>>) -> [BTreeSet<Id<Site>>; 2] {
    let (first, second) = (group.iter().take(group.len() / 2), group.iter().skip(group.len() / 2));
    [first.copied().collect(), second.copied().collect()]
}
