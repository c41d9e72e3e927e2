//! How far the nodes are with a revision.

use std::{collections::BTreeSet, time::Duration};

use portway_model::{Id, NodeSelector, ResourceKind, RevisionNumber, Site};
use portway_store::{NodeFilter, NodeRow, PageRequest, Visible};
use portway_wire::deploy::DeploymentStep;
use tokio::time::Instant;
use uuid::Uuid;

use crate::{Control, ControlError, nodes, rights::Overseer, rollout::step_view};

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
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let changes =
            self.inner.store.revisions().changes_of(Visible::All, revision, &request).await?.items;
        let sites: Vec<Id<Site>> = changes
            .iter()
            .filter(|change| change.kind == ResourceKind::Site)
            .map(|change| Id::from_uuid(change.id))
            .collect();
        if sites.is_empty() {
            return Ok(BTreeSet::new());
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
        let mut concerned = BTreeSet::new();
        for row in self.all_nodes(&filter).await? {
            let has_one = on.keys().any(|(_, node)| *node == row.id);
            let chosen = match nodes::declared(&row)? {
                Some(node) => NodeSelector::any_chooses(&selectors, node.traits()),
                None => false,
            };
            if has_one || chosen {
                concerned.insert(row.id);
            }
        }
        Ok(concerned)
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
