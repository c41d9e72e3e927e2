//! How far the nodes are with a revision.

use std::{collections::BTreeSet, time::Duration};

use jiff::{SignedDuration, Timestamp};
use portway_model::{Id, NodeSelector, ResourceKind, RevisionNumber, Site};
use portway_store::{NodeFilter, NodeRow, PageRequest, Visible};
use portway_wire::deploy::{DeploymentStep, MissingNode};
use tokio::time::Instant;
use uuid::Uuid;

use crate::{
    Control, ControlError,
    nodes::{self, NotUnderstood},
    rights::Overseer,
    rollout::step_view,
};

/// How long a node whose trouble is younger than a revision is waited for: it was tried more than once.
const TRIED: SignedDuration = SignedDuration::from_secs(8);
/// How long one is that was in trouble before.
const STILL_IN_TROUBLE: SignedDuration = SignedDuration::from_secs(20);

impl Overseer<'_> {
    /// Returns what was done on the node in a deployment, step by step.
    pub async fn deployment_steps(&self, id: Uuid) -> Result<Vec<DeploymentStep>, ControlError> {
        let deployment = self.deployment(id).await?;
        let deployments = self.control.inner.store.deployments();
        let steps = deployments.steps(Id::from_uuid(deployment.id), 0).await?;
        Ok(steps.into_iter().map(step_view).collect())
    }
}

impl Control {
    /// Returns the active nodes that a revision's sites are for, or are on.
    pub(crate) async fn nodes_of_revision(
        &self,
        revision: RevisionNumber,
    ) -> Result<BTreeSet<Id<NodeRow>>, ControlError> {
        Ok(self.rows_of_revision(revision).await?.into_iter().map(|row| row.id).collect())
    }

    async fn rows_of_revision(
        &self,
        revision: RevisionNumber,
    ) -> Result<Vec<NodeRow>, ControlError> {
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let changes =
            self.inner.store.revisions().changes_of(Visible::All, revision, &request).await?.items;
        let sites: Vec<Id<Site>> = changes
            .iter()
            .filter(|change| change.kind == ResourceKind::Site)
            .map(|change| Id::from_uuid(change.id))
            .collect();
        if sites.is_empty() {
            return Ok(Vec::new());
        }
        let selectors: Vec<NodeSelector> = changes
            .iter()
            .filter_map(|change| change.spec.as_ref()?.get("nodes"))
            .filter_map(|nodes| serde_json::from_value::<Vec<NodeSelector>>(nodes.clone()).ok())
            .flatten()
            .collect();
        let on = self.inner.store.nodes().of_sites(&sites).await?;
        let filter =
            NodeFilter { declared: Some(true), active: Some(true), ..NodeFilter::default() };
        let mut concerned = Vec::new();
        for row in self.all_nodes(&filter).await? {
            let has_one = on.keys().any(|(_, node)| *node == row.id);
            let chosen = match nodes::understood(&row) {
                Ok(Some(node)) => NodeSelector::any_chooses(&selectors, node.traits()),
                Ok(None) | Err(NotUnderstood) => false,
            };
            if has_one || chosen {
                concerned.push(row);
            }
        }
        Ok(concerned)
    }

    /// Returns the nodes of a revision's sites that do not have it yet, and what is in the way there.
    pub(crate) async fn lacking(
        &self,
        revision: RevisionNumber,
    ) -> Result<Vec<MissingNode>, ControlError> {
        let mut missing = self.rows_of_revision(revision).await?;
        missing.retain(|row| !self.inner.fleet.has(row.id, revision));
        let ids: Vec<_> = missing.iter().map(|row| row.id).collect();
        let facts = self.inner.store.nodes().facts(&ids).await?;
        let mut lacking: Vec<_> = missing
            .iter()
            .map(|row| {
                let facts = facts.get(&row.id);
                MissingNode {
                    node: row.name.to_string(),
                    trouble: facts.and_then(|facts| facts.error.clone()),
                    since: facts.and_then(|facts| facts.error_at),
                }
            })
            .collect();
        lacking.sort_by(|one, other| one.node.cmp(&other.node));
        if !self.inner.deploy.has(revision) {
            lacking.push(MissingNode {
                node: self.inner.node_name.to_string(),
                trouble: self.inner.deploy.fault(),
                since: None,
            });
        }
        Ok(lacking)
    }

    /// Tells whether what a revision lacks are nodes in trouble alone, and each had a chance since the
    /// revision was made.
    pub(crate) fn rests(&self, lacking: &[MissingNode], made: Timestamp) -> bool {
        let age = self.now().duration_since(made);
        let was_tried = |node: &MissingNode| {
            let is_new = node.since.is_none_or(|since| since >= made);
            node.trouble.is_some() && age >= if is_new { TRIED } else { STILL_IN_TROUBLE }
        };
        !lacking.is_empty() && lacking.iter().all(was_tried)
    }

    /// Waits until this machine's edge and the nodes of a revision's sites are brought to it, or its
    /// rollout rests, at most for `patience`. Returns whether they are.
    pub(crate) async fn wait_for_revision(
        &self,
        revision: RevisionNumber,
        patience: Duration,
    ) -> Result<bool, ControlError> {
        let end = Instant::now() + patience;
        if let Some(rests) = self.rollout_rests(revision, end).await? {
            return Ok(rests);
        }
        let nodes = self.nodes_of_revision(revision).await?;
        let edge = self.inner.deploy.wait_for(revision, patience).await;
        Ok(edge && self.nodes_reach(&nodes, revision, end).await)
    }
}
