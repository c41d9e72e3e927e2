//! One node, brought to what it should have.

use std::{collections::BTreeSet, sync::Arc};

use jiff::SignedDuration;
use portway_deploy::{
    Deployment, Ended, Owner, StepError, Survey, deploy, look, preflight, survey,
};
use portway_engine::EngineFacts;
use portway_model::{
    Finding, FindingCode, Id, Location, Node, Remedy, ResourceKind, ResourceRef, Severity, Site,
    Stage,
};
use portway_store::{DeploymentRow, Lease, NodeRow, NodeSiteRow, PageRequest};
use portway_telemetry::DeploymentOutcome;
use portway_transport::TransportError;
use tracing::{info, warn};
use uuid::Uuid;

use super::{
    Brought,
    connect::{Reach, ReachError},
    engine_of,
    journal::Noting,
    wanted::{Asking, Wanted, held},
};
use crate::{
    Control, ControlError,
    deploy::{chain, lock},
    nodes,
};

/// How long a node is held; each stage of a deployment holds it for as long again.
const LEASE: SignedDuration = SignedDuration::from_mins(2);
/// How old what is known of a node's machine may be.
const SURVEY_AGE: SignedDuration = SignedDuration::from_mins(10);
/// How old what is known of a node's content may be before it is read again.
const READ_AGE: SignedDuration = SignedDuration::from_mins(5);

/// Why a node could not be looked after.
#[derive(Debug, thiserror::Error)]
pub(super) enum BringError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the node is not fit for it: {0}")]
    Unfit(String),
    #[error("it was changed since it was deployed to: {0}; `portway node deploy` overwrites that")]
    Drift(String),
    #[error("its engine refuses what it should serve: {0}")]
    Refused(String),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("{error}; and it could not be undone: {undo}")]
    Stuck { error: StepError, undo: StepError },
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<portway_store::StoreError> for BringError {
    fn from(error: portway_store::StoreError) -> Self {
        Self::Control(error.into())
    }
}

impl BringError {
    /// Returns what kept the manager from speaking with the node, if that was it.
    pub(super) fn transport(&self) -> Option<&TransportError> {
        if let Self::Transport(error) | Self::Step(StepError::Transport(error)) = self {
            return Some(error);
        }
        None
    }

    /// Returns what went wrong and what helps.
    pub(super) fn told(&self) -> String {
        match self.transport() {
            Some(error) => format!("{error}; {}", error.remedy()),
            None => chain(self),
        }
    }
}

/// A node in this manager's hands.
struct Held<'a> {
    row: &'a NodeRow,
    node: &'a Node,
    reach: Arc<Reach>,
    facts: EngineFacts,
    owner: Owner,
    engine: &'static dyn portway_engine::Engine,
}

impl Control {
    /// Brings a node to what it should have.
    pub(super) async fn bring(&self, row: &NodeRow) -> Result<Brought, BringError> {
        let Some(node) = nodes::declared(row)? else { return Ok(Brought::AsItShouldBe) };
        let Some(engine) = engine_of(node.engine) else { return Ok(Brought::AsItShouldBe) };
        let reach = match self.reach(row, &node).await {
            Err(ReachError::Elsewhere(_)) => return Ok(Brought::Busy),
            reach => reach?,
        };
        if self.is_fresh(row, &node).await? {
            return Ok(Brought::AsItShouldBe);
        }
        let Some(fence) = self.take(row).await? else { return Ok(Brought::Busy) };
        let brought = async {
            self.close_cut_off(row).await?;
            let survey = self.surveyed(row, &node, &reach).await?;
            let unfit: Vec<_> =
                preflight(&node, &survey).into_iter().filter(Finding::is_error).collect();
            let Some(facts) = survey.facts(&node).filter(|_| unfit.is_empty()) else {
                lock(&self.inner.fleet.surveys).remove(&row.id);
                return Err(BringError::Unfit(in_one_line(&unfit)));
            };
            let owner = Owner {
                installation: self.installation_id().await?,
                manager: self.inner.manager.name.to_string(),
                fence: u64::try_from(fence).unwrap_or(0),
            };
            let held = Held { row, node: &node, reach, facts, owner, engine };
            self.bring_held(&held, &survey).await
        }
        .await;
        self.inner.store.nodes().let_go(row.id, fence, self.now()).await?;
        brought
    }

    /// Closes deployments to this node whose manager ended in the middle: the node is in this one's
    /// hands, so nobody goes on with them. What they left is found by the next one.
    async fn close_cut_off(&self, row: &NodeRow) -> Result<(), BringError> {
        let deployments = self.inner.store.deployments();
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let open = deployments.unfinished(&request).await?.items;
        for mut cut in open.into_iter().filter(|cut| cut.node == row.id) {
            let text =
                "its manager ended in the middle; the next deployment went on from what it left";
            cut.findings.push(about(ResourceKind::Node, row.name.as_str(), text.to_owned()));
            cut.stage = Stage::Stuck;
            cut.finished_at = Some(self.now());
            deployments.record(&cut).await?;
        }
        Ok(())
    }

    pub(super) async fn installation_id(&self) -> Result<Uuid, BringError> {
        let found = self.inner.store.installation().get().await?;
        let row = found
            .ok_or_else(|| ControlError::internal("finding the installation", "it is gone"))?;
        Ok(row.id)
    }

    /// Takes a node for this manager. Returns the number of the turn, unless another one has it.
    pub(super) async fn take(&self, row: &NodeRow) -> Result<Option<i64>, BringError> {
        let now = self.now();
        let name = self.inner.manager.name.to_string();
        let lease = Lease {
            holder: self.inner.manager.id,
            manager: &name,
            until: now.saturating_add(LEASE).unwrap_or(now),
        };
        Ok(self.inner.store.nodes().hold(row.id, lease, now).await?)
    }

    /// Holds a node on for another while. Fails when another manager has it.
    pub(super) async fn keep_hold(&self, node: Id<NodeRow>, fence: i64) -> Result<(), String> {
        let now = self.now();
        let until = now.saturating_add(LEASE).unwrap_or(now);
        match self.inner.store.nodes().hold_on(node, fence, until).await {
            Ok(true) => Ok(()),
            Ok(false) => Err("another manager has taken the node over".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// Tells whether a node was found as it should be a short while ago, and nothing was written since.
    async fn is_fresh(&self, row: &NodeRow, _node: &Node) -> Result<bool, BringError> {
        let latest = self.inner.store.revisions().latest().await?;
        let facts = self.inner.store.nodes().facts(&[row.id]).await?.remove(&row.id);
        let Some(facts) = facts.filter(|facts| facts.error.is_none()) else { return Ok(false) };
        let now = self.now();
        let is_young = facts.read_at.is_some_and(|at| now.duration_since(at) < READ_AGE);
        let is_known =
            self.inner.fleet.reached.borrow().get(&row.id).is_some_and(|at| *at >= latest);
        Ok(is_young && is_known && !self.inner.fleet.is_asked_for(row.id))
    }

    async fn surveyed(
        &self,
        row: &NodeRow,
        node: &Node,
        reach: &Arc<Reach>,
    ) -> Result<Arc<Survey>, BringError> {
        let kept = lock(&self.inner.fleet.surveys).get(&row.id).map(Arc::clone);
        let is_young = |kept: &Arc<Survey>| self.now().duration_since(kept.at) < SURVEY_AGE;
        if let Some(kept) = kept.filter(is_young) {
            return Ok(kept);
        }
        let fresh = Arc::new(survey(&**reach, node, || self.now()).await?);
        lock(&self.inner.fleet.surveys).insert(row.id, Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Deploys what differs, group by group: all changed sites together at first, and where the
    /// engine's test does not say which of them is at fault, by halves.
    async fn bring_held(&self, it: &Held<'_>, survey: &Survey) -> Result<Brought, BringError> {
        let asking = Asking { row: it.row, node: it.node, engine: it.engine, facts: &it.facts };
        let mut wanted = self.wanted(&asking, &BTreeSet::new()).await?;
        let mut groups = vec![wanted.changed()];
        let mut brought = Brought::AsItShouldBe;
        let mut is_first = true;
        while let Some(group) = groups.pop() {
            if !std::mem::take(&mut is_first) {
                let put_off = groups.iter().flatten().copied().collect();
                wanted = self.wanted(&asking, &put_off).await?;
            }
            match self.deploy_release(it, &wanted).await? {
                None => {}
                Some(Ended::Live { .. }) => brought = Brought::Changed,
                Some(Ended::Refused { findings, output }) => {
                    let blamed = blamed(&wanted, &group, &findings);
                    if group.is_empty() {
                        return Err(BringError::Refused(output));
                    } else if !blamed.is_empty() {
                        self.hold(it, &wanted, &blamed, &findings, &output).await?;
                        groups.push(group.difference(&blamed).copied().collect());
                    } else if group.len() == 1 {
                        self.hold(it, &wanted, &group, &findings, &output).await?;
                        groups.push(BTreeSet::new());
                    } else {
                        groups.extend(halves(&group));
                    }
                }
                Some(Ended::RolledBack(error)) if !group.is_empty() => {
                    self.hold(it, &wanted, &group, &[], &error.to_string()).await?;
                    groups.push(BTreeSet::new());
                }
                Some(Ended::RolledBack(error) | Ended::Failed(error)) => {
                    return Err(error.into());
                }
                Some(Ended::Stuck { error, undo }) => {
                    return Err(BringError::Stuck { error, undo });
                }
            }
        }
        self.note_read(it, &wanted, survey).await?;
        self.inner.fleet.reached(it.row.id, wanted.revision);
        Ok(brought)
    }

    /// Deploys a release, unless the node is known to serve it. Returns how that ended.
    async fn deploy_release(
        &self,
        it: &Held<'_>,
        wanted: &Wanted,
    ) -> Result<Option<Ended>, BringError> {
        let nodes = self.inner.store.nodes();
        let known = nodes.facts(&[it.row.id]).await?.remove(&it.row.id).unwrap_or_default();
        let digest = wanted.release.digest.to_string();
        let deployment = Deployment {
            transport: &*it.reach,
            engine: it.engine,
            facts: &it.facts,
            release: &wanted.release,
            owner: &it.owner,
        };
        if known.digest.as_deref() == Some(&digest) && !self.inner.fleet.is_asked_for(it.row.id) {
            // What it has is read, not remembered; what somebody changed there is theirs to decide on.
            if let Some(drift) = look(&deployment).await?.drift_from(&wanted.release) {
                return Err(BringError::Drift(drift));
            }
            self.note_sites(it, wanted).await?;
            return Ok(None);
        }
        let mut row = self.new_deployment(it, wanted, known.digest.clone());
        self.inner.store.deployments().record(&row).await?;
        let journal = Noting::new(self.clone(), &row);
        let ended = Box::pin(deploy(&deployment, &journal)).await;
        row.stage = stage_of(&ended);
        row.finished_at = Some(self.now());
        row.findings = findings_of(it, wanted, &ended);
        if matches!(ended, Ended::Live { .. }) {
            row.digest = Some(digest);
            self.note_sites(it, wanted).await?;
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
    async fn note_sites(&self, it: &Held<'_>, wanted: &Wanted) -> Result<(), BringError> {
        let digest = wanted.release.digest.to_string();
        let rows: Vec<_> = wanted
            .sites
            .values()
            .filter(|row| wanted.before.get(&row.site).is_none_or(|before| !is_same(before, row)))
            .cloned()
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
        self.inner.fleet.asked_for(it.row.id, false);
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
                    let text = format!("node {} could not serve it: {output}", it.row.name);
                    why.push(about(ResourceKind::Site, &name, text));
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
        Ended::Live { .. } => {
            wanted.sites.values().flat_map(|row| row.findings.iter().cloned()).collect()
        }
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

fn about(kind: ResourceKind, name: &str, text: String) -> Finding {
    Finding {
        code: FindingCode::Held,
        severity: Severity::Error,
        at: Location::Field {
            resource: ResourceRef { kind, name: name.to_owned() },
            path: portway_model::FieldPath::root(),
            source: None,
        },
        text,
        remedy: None::<Remedy>,
    }
}

fn in_one_line(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| match &finding.remedy {
        Some(remedy) => format!("{} ({})", finding.text, remedy.text),
        None => finding.text.clone(),
    });
    told.collect::<Vec<_>>().join("; ")
}
