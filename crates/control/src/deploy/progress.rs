//! How far revisions have come.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{Finding, Id, Name, RevisionNumber, Site};
use portway_store::{DeploymentRow, NodeRow, NodeSiteRow, PageRequest, Visible};
use portway_wire::{Page, PageQuery, deploy::DeploymentView};
use uuid::Uuid;

use crate::{
    Control, ControlError, page,
    rights::{Overseer, leave_out_nodes},
};

impl Overseer<'_> {
    /// Lists deployments, the newest first.
    pub async fn deployments(
        &self,
        query: PageQuery,
    ) -> Result<Page<DeploymentView>, ControlError> {
        let deployments = self.control.inner.store.deployments();
        let found = deployments.list(None, &page::of(&query)?).await?;
        let nodes = self.control.nodes().await?;
        Ok(page::map(found, |row| view(row, &nodes)))
    }

    /// Returns one deployment.
    pub async fn deployment(&self, id: Uuid) -> Result<DeploymentView, ControlError> {
        let found = self.control.inner.store.deployments().get(Id::from_uuid(id)).await?;
        let nodes = self.control.nodes().await?;
        found
            .map(|row| view(row, &nodes))
            .ok_or_else(|| ControlError::NotFound { what: "deployment", name: id.to_string() })
    }
}

/// The nodes with their names.
type Nodes = BTreeMap<Id<NodeRow>, Name>;

fn view(row: DeploymentRow, nodes: &Nodes) -> DeploymentView {
    DeploymentView {
        id: row.id.uuid(),
        node: nodes.get(&row.node).map(ToString::to_string).unwrap_or_default(),
        from_revision: row.from.0,
        to_revision: row.to.0,
        stage: row.stage,
        started_at: row.started_at,
        finished_at: row.finished_at,
        findings: row.findings,
    }
}

impl Control {
    /// Returns what the edge has of these sites.
    pub(crate) async fn on_edge(
        &self,
        sites: &[Id<Site>],
    ) -> Result<BTreeMap<Id<Site>, NodeSiteRow>, ControlError> {
        self.on_node(self.inner.node, sites).await
    }

    /// Returns what a node has of these sites.
    pub(crate) async fn on_node(
        &self,
        node: Id<NodeRow>,
        sites: &[Id<Site>],
    ) -> Result<BTreeMap<Id<Site>, NodeSiteRow>, ControlError> {
        Ok(self.inner.store.nodes().on_node(node, sites).await?)
    }

    async fn nodes(&self) -> Result<Nodes, ControlError> {
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let found = self.inner.store.nodes().list(&request).await?;
        Ok(found.items.into_iter().map(|node| (node.id, node.name)).collect())
    }

    /// Returns why visible sites of a revision are held.
    pub(crate) async fn held_of(
        &self,
        visible: Visible,
        revision: RevisionNumber,
    ) -> Result<Vec<Finding>, ControlError> {
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let changes = self.inner.store.revisions().changes_of(visible, revision, &request).await?;
        let touched: BTreeSet<_> = changes.items.iter().map(|change| change.id).collect();
        let mut nodes = self.nodes_of_revision(revision).await?;
        nodes.insert(self.inner.node);
        let mut findings = Vec::new();
        for node in nodes {
            let held = self.inner.store.nodes().held(visible, node, &request).await?.items;
            let held = held.into_iter().filter(|row| touched.contains(&row.site.uuid()));
            for finding in held.flat_map(|row| row.findings) {
                // What a rollout says, it says of each node.
                if !findings.contains(&finding) {
                    findings.push(finding);
                }
            }
        }
        leave_out_nodes(visible, &mut findings);
        Ok(findings)
    }

    /// Returns the latest deployments that carried a revision; for administrators and viewers.
    pub(crate) async fn deployments_of(
        &self,
        visible: Visible,
        revision: RevisionNumber,
    ) -> Result<Vec<DeploymentView>, ControlError> {
        if visible != Visible::All {
            return Ok(Vec::new());
        }
        let request = PageRequest::first(20);
        let found = self.inner.store.deployments().list(None, &request).await?;
        let carried = |row: &DeploymentRow| row.from < revision && revision <= row.to;
        let nodes = self.nodes().await?;
        Ok(found.items.into_iter().filter(carried).map(|row| view(row, &nodes)).collect())
    }
}
