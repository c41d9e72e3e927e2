//! One run of the deployer on one edge.

use std::collections::BTreeSet;

use portway_model::{Finding, Id, RevisionNumber, Site, Stage};
use portway_policy::{
    Digest, Index, Owner,
    bundle::{Change, ChangeReport, PROTOCOL},
};
use portway_store::{DeploymentRow, NodeRow, NodeSiteRow, PageRequest, SiteRow, Visible};
use portway_telemetry::DeploymentOutcome;
use tracing::warn;
use uuid::Uuid;

use super::{
    Done, Known, State, Sweep,
    batch::Batch,
    lock,
    proof::{Judged, Said},
    target::{Target, Whose},
};
use crate::{Control, ControlError, edge_client::EdgeClientError, tasks::TaskReport};

/// As many sites as go into one change: large enough to be quick, small enough to let others in.
const BATCH: u32 = 200;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RunError {
    #[error(transparent)]
    Edge(#[from] EdgeClientError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("the edge answered with the digest {got}, but it should be {expected}")]
    Digest { expected: Digest, got: Digest },
    #[error(
        "the edge is driven by another installation of Portway (manager `{0}`); remove the node there, or `portway edge --disown` on the node helps if that installation is gone"
    )]
    Foreign(String),
    #[error("the edge is node `{0}` of this installation already; remove one of the two")]
    Twice(String),
    #[error(
        "the edge, of version {0}, is too old for this manager; `portway node install` upgrades it"
    )]
    TooOld(String),
    #[error("{0}")]
    NotOurs(String),
}

impl From<portway_store::StoreError> for RunError {
    fn from(error: portway_store::StoreError) -> Self {
        Self::Control(error.into())
    }
}

impl Control {
    /// Brings this machine's edge to what is declared, as far as one run goes.
    pub(crate) async fn deploy(&self) -> TaskReport {
        let deploy = &self.inner.deploy;
        let report = match self.deploy_own().await {
            Ok(done) => {
                if done.goes_on {
                    deploy.poke();
                }
                Ok(format!(
                    "{} site(s) deployed, {} removed, {} held",
                    done.put, done.removed, done.held
                ))
            }
            Err(error) => Err(chain(&error)),
        };
        *lock(&deploy.fault) = report.as_ref().err().cloned();
        report
    }

    async fn deploy_own(&self) -> Result<Done, RunError> {
        let target = Target {
            client: &self.inner.edge,
            deploy: &self.inner.deploy,
            node: self.inner.node,
            name: &self.inner.node_name,
            owner: self.edge_owner(self.inner.node, 0).await?,
            whose: Whose::Own,
        };
        self.bring_edge_up(&target).await
    }

    /// Returns this manager as the owner of a node's edge.
    pub(crate) async fn edge_owner(
        &self,
        node: Id<NodeRow>,
        turn: u64,
    ) -> Result<Owner, ControlError> {
        let found = self.inner.store.installation().get().await?;
        let row = found
            .ok_or_else(|| ControlError::internal("finding the installation", "it is gone"))?;
        let manager = self.inner.manager.name.to_string();
        Ok(Owner { installation: row.id, node: node.uuid(), manager, turn })
    }

    /// Brings an edge to what is declared, as far as one run goes.
    pub(crate) async fn bring_edge_up(&self, it: &Target<'_>) -> Result<Done, RunError> {
        let mut state = it.deploy.state.lock().await;
        let done = Run { control: self, it }.run(&mut state).await;
        if done.is_err() {
            // Whatever the edge has now is read anew.
            state.known = None;
        }
        done
    }
}

/// A run on an edge.
pub(super) struct Run<'a> {
    pub(super) control: &'a Control,
    pub(super) it: &'a Target<'a>,
}

impl Run<'_> {
    async fn run(&self, state: &mut State) -> Result<Done, RunError> {
        let mut done = Done::default();
        let deploy = self.it.deploy;
        let wanted = deploy.take_wanted();
        if wanted.settings {
            state.known = None;
        }
        if state.known.is_none()
            && let Err(error) = self.meet(state).await
        {
            deploy.want_again(wanted);
            return Err(error);
        }
        if wanted.everything {
            state.sweep = Some(Sweep::default());
        }
        let Some(known) = state.known.as_mut() else { return Ok(done) };
        let latest = self.control.inner.store.revisions().latest().await?;
        // A look at all sites of a node has its changes in it; the own edge gets those at once.
        let swept = state.sweep.is_some() && !self.it.is_own();
        if swept {
            deploy.look_at(wanted.sites);
        } else if let Err(error) = self.changes(known, &wanted.sites, latest, &mut done).await {
            deploy.look_at(wanted.sites);
            return Err(error);
        }
        let Some(sweep) = state.sweep.as_mut() else {
            self.reached(latest, &mut done);
            return Ok(done);
        };
        let began = *sweep.from.get_or_insert(latest);
        if self.sweep(known, sweep, &mut done).await? {
            state.sweep = None;
            self.reached(if swept { began } else { began.max(latest) }, &mut done);
        } else {
            done.goes_on = true;
        }
        Ok(done)
    }

    fn reached(&self, revision: RevisionNumber, done: &mut Done) {
        self.it.deploy.note_reached(revision);
        done.reached = Some(revision);
    }

    pub(super) async fn node_row(&self) -> Result<NodeRow, ControlError> {
        let found = self.control.inner.store.nodes().get(self.it.node).await?;
        found.ok_or_else(|| ControlError::internal("finding the edge", "its row is gone"))
    }

    /// Deploys what was changed since the last time, and what was asked to be looked at.
    async fn changes(
        &self,
        known: &mut Known,
        also: &BTreeSet<Id<Site>>,
        latest: RevisionNumber,
        done: &mut Done,
    ) -> Result<(), RunError> {
        let node = self.node_row().await?;
        let mut touched = also.clone();
        let mut request = Some(PageRequest::first(BATCH));
        loop {
            let mut to = latest;
            if let Some(page) = request.take() {
                let found = self
                    .control
                    .inner
                    .store
                    .revisions()
                    .changes_since(node.deployed, &page)
                    .await?;
                touched.extend(found.items.iter().map(|change| Id::<Site>::from_uuid(change.id)));
                request = page.next(&found);
                // A page may end within a revision: it is done only when the next one is.
                if request.is_some() {
                    let last = found.items.last().map_or(0, |change| change.revision.0);
                    to = RevisionNumber((last - 1).max(node.deployed.0));
                }
            }
            let ids: Vec<_> = std::mem::take(&mut touched).into_iter().collect();
            let batch = self.batch(known, &ids, true).await?;
            if !batch.is_empty() || to > node.deployed {
                self.send(known, batch, node.deployed, to, done).await?;
            }
            if request.is_none() {
                return Ok(());
            }
        }
    }

    /// Looks at the next sites of a sweep. Returns whether it was the last part.
    async fn sweep(
        &self,
        known: &mut Known,
        sweep: &mut Sweep,
        done: &mut Done,
    ) -> Result<bool, RunError> {
        let began = sweep.from;
        let mut request = PageRequest::first(BATCH);
        if let Some(after) = sweep.after.take() {
            request = request.after(after);
        }
        let filter = self.it.filter();
        let found = self.control.inner.store.sites().list(Visible::All, &filter, &request).await?;
        let ids: Vec<_> = found.items.iter().map(|row| row.id).collect();
        sweep.seen.extend(&ids);
        let node = self.node_row().await?;
        let mut batch = self.batch(known, &ids, false).await?;
        sweep.after = found.next;
        let last = sweep.after.is_none();
        if last {
            let gone = self.gone(known, &sweep.seen).await?;
            batch.append(self.batch(known, &gone, false).await?);
        }
        // The own edge's changes were deployed as changes.
        let to = began.filter(|_| last && !self.it.is_own()).unwrap_or(node.deployed);
        if !batch.is_empty() || to > node.deployed {
            self.send(known, batch, node.deployed, to.max(node.deployed), done).await?;
        }
        Ok(last)
    }

    /// Returns the sites that the edge has, or is known to have, and that were not seen.
    async fn gone(
        &self,
        known: &Known,
        seen: &BTreeSet<Id<Site>>,
    ) -> Result<Vec<Id<Site>>, RunError> {
        let mut had: BTreeSet<_> = known.index.iter().map(|(id, _)| id).collect();
        if !self.it.is_own() {
            // A site that is only held there is in no index. From the own edge it goes as a change.
            had.extend(self.control.known_of(self.it.node).await?.into_keys());
        }
        Ok(had.difference(seen).copied().collect())
    }

    /// Sends a batch, proves what came of it, and writes it down.
    async fn send(
        &self,
        known: &mut Known,
        batch: Batch,
        from: RevisionNumber,
        to: RevisionNumber,
        done: &mut Done,
    ) -> Result<(), RunError> {
        let mut deployment = DeploymentRow {
            id: Id::from_uuid(Uuid::now_v7()),
            node: self.it.node,
            from,
            to,
            stage: Stage::Staging,
            started_at: self.control.now(),
            finished_at: None,
            findings: Vec::new(),
            digest: None,
            release: None,
            before: None,
            fence: self.it.fence(),
        };
        self.keep_turn().await?;
        let deployments = self.control.inner.store.deployments();
        if !batch.is_empty() {
            deployments.record(&deployment).await?;
        }
        let outcome = self.carried_out(known, &batch).await;
        let (report, judged) = match outcome {
            Ok(done) => done,
            Err(error) => {
                deployment.stage = Stage::Rejected;
                deployment.finished_at = Some(self.control.now());
                if !batch.is_empty() {
                    deployments.record(&deployment).await?;
                }
                self.control.count_deployment(DeploymentOutcome::Rejected);
                return Err(error);
            }
        };
        let mut refused = refused_by(&report);
        refused.extend(judged.worse);
        let rows = self.outcome_rows(&batch, &refused, &judged.told);
        let digest = judged.digest.unwrap_or(report.digest);
        let (digest, now) = (digest.to_string(), self.control.now());
        let nodes = self.control.inner.store.nodes();
        nodes.deployed(self.it.node, to, &digest, &rows, &batch.remove, now).await?;
        if batch.is_empty() {
            return Ok(());
        }
        self.control.poke_rollouts();
        done.held += rows.iter().filter(|row| row.held.is_some()).count();
        done.put += rows.iter().filter(|row| row.held.is_none()).count();
        done.removed += batch.remove.len();
        deployment.findings = rows.iter().flat_map(|row| row.findings.iter().cloned()).collect();
        deployment.stage = Stage::Live;
        deployment.finished_at = Some(self.control.now());
        deployment.digest = Some(digest);
        deployments.record(&deployment).await?;
        self.control.count_deployment(DeploymentOutcome::Live);
        Ok(())
    }

    /// Has the edge take a batch, and back what its sites' probes say is worse for it.
    async fn carried_out(
        &self,
        known: &mut Known,
        batch: &Batch,
    ) -> Result<(ChangeReport, Judged), RunError> {
        let asked = self.ask_before(batch).await?;
        let report = self.activate(known, batch).await?;
        let Some(asked) = asked else { return Ok((report, Judged::default())) };
        let judged = self.judge(known, batch, asked, &refused_by(&report)).await?;
        Ok((report, judged))
    }

    /// Holds the node on, where it is one's for a turn only.
    async fn keep_turn(&self) -> Result<(), RunError> {
        match self.it.fence() {
            None => Ok(()),
            Some(fence) => {
                self.control.keep_hold(self.it.node, fence).await.map_err(RunError::NotOurs)
            }
        }
    }

    /// Has the edge take a batch, and compares what it serves now with what it should.
    pub(super) async fn activate(
        &self,
        known: &mut Known,
        batch: &Batch,
    ) -> Result<ChangeReport, RunError> {
        let there = |id: &Id<Site>| known.index.get(*id).is_some();
        let remove: Vec<_> = batch.remove.iter().copied().filter(there).collect();
        if batch.put.is_empty() && remove.is_empty() {
            let digest = known.index.digest();
            return Ok(ChangeReport { digest, refused: Vec::new() });
        }
        let mut certificates = Vec::new();
        for certificate in
            batch.put.iter().filter_map(|(_, compiled)| compiled.certificate.as_ref())
        {
            if known.certificates.insert(certificate.digest()) {
                certificates.push(certificate.clone());
            }
        }
        let change = Change {
            format: PROTOCOL,
            base: Some(known.index.digest()),
            settings: None,
            certificates,
            put: batch.put.iter().map(|(_, compiled)| compiled.policy.clone()).collect(),
            remove,
            claim: self.it.claim(),
        };
        let report = self.it.client.change(&change).await?;
        let refused: BTreeSet<_> = report.refused.iter().map(|refused| refused.site).collect();
        let replaced = change.put.iter().any(|policy| known.index.get(policy.id).is_some());
        if replaced || !change.remove.is_empty() || !refused.is_empty() {
            // The edge forgets a certificate with the last site that has it, and takes none for a
            // site that it refuses. One that it has already costs nothing but its bytes.
            known.certificates.clear();
        }
        for site in &batch.remove {
            known.index.remove(*site);
        }
        for policy in change.put.iter().filter(|policy| !refused.contains(&policy.id)) {
            known.index.put(policy.id, policy.digest());
        }
        proven(&known.index, &report)?;
        Ok(report)
    }

    fn outcome_rows(&self, batch: &Batch, refused: &Said, told: &Said) -> Vec<NodeSiteRow> {
        let now = self.control.now();
        let held = |row: &SiteRow, findings: &[Finding]| {
            warn!(node.name = %self.it.name, site.name = %row.name, "the edge holds the site at its version before");
            let before = batch.before.get(&row.id);
            NodeSiteRow {
                site: row.id,
                revision: before.and_then(|before| before.revision),
                digest: before.and_then(|before| before.digest.clone()),
                held: Some(row.revision),
                findings: findings.to_vec(),
                updated_at: now,
            }
        };
        let sent = batch.put.iter().map(|(row, compiled)| match refused.get(&row.id) {
            Some(findings) => held(row, findings),
            None => NodeSiteRow {
                site: row.id,
                revision: Some(row.revision),
                digest: Some(compiled.policy.digest().to_string()),
                held: batch.kept.get(&row.id).and_then(|kept| kept.held),
                findings: {
                    let kept = batch.kept.get(&row.id).map(|kept| kept.findings.clone());
                    let told = told.get(&row.id).into_iter().flatten();
                    let also = compiled.findings.iter().chain(told).cloned();
                    kept.into_iter().flatten().chain(also).collect()
                },
                updated_at: now,
            },
        });
        let not_sent = batch.held.iter().map(|(row, findings)| held(row, findings));
        sent.chain(not_sent).chain(batch.notes.iter().cloned()).collect()
    }
}

fn refused_by(report: &ChangeReport) -> Said {
    report.refused.iter().map(|refused| (refused.site, refused.findings.clone())).collect()
}

pub(super) fn proven(index: &Index, report: &ChangeReport) -> Result<(), RunError> {
    let expected = index.digest();
    if report.digest == expected {
        Ok(())
    } else {
        Err(RunError::Digest { expected, got: report.digest })
    }
}

/// Returns an error with its causes in one line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
