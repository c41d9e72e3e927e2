//! Nodes: declaring them, and the key that logs in to them. What brings them to what they should have
//! is not done here.

mod cloud_init;
mod discover;
mod import;
mod join;
mod read;
mod seal;
mod ssh_key;
#[cfg(test)]
mod tests;
mod view;
mod write;

use portway_model::{
    Name, Node, NodeSelector, NodeSpec,
    node::{Traits, check},
};
use portway_store::{NodeFilter, NodeRow, PageRequest, SiteRow};
use tracing::debug;

pub(crate) use self::{discover::Discovery, read::filter, ssh_key::SshKey, view::is_confirmed};
use crate::{Control, ControlError};

/// Returns a node as it is meant; nothing for the edge of a manager, which nobody declares.
pub(crate) fn declared(row: &NodeRow) -> Result<Option<Node>, ControlError> {
    let Some(spec) = spec_of(row)? else { return Ok(None) };
    match check(&row.name, &spec) {
        (Some(node), _) => Ok(Some(node)),
        (None, findings) => Err(ControlError::Invalid(findings)),
    }
}

/// A node whose declaration this manager does not understand: a newer one wrote it.
#[derive(Debug)]
pub(crate) struct NotUnderstood;

/// Returns a node as it is meant, as [`declared`] does, where many nodes are looked at: one that is not
/// understood stops nothing that concerns the others. It is told of where that node is brought to what
/// it should have, and where it is shown.
pub(crate) fn understood(row: &NodeRow) -> Result<Option<Node>, NotUnderstood> {
    declared(row).map_err(|error| {
        debug!(node.name = %row.name, %error, "a node is left out that is not understood");
        NotUnderstood
    })
}

/// Returns a node as it was written; nothing for the edge of a manager.
pub(crate) fn spec_of(row: &NodeRow) -> Result<Option<NodeSpec>, ControlError> {
    let Some(declared) = &row.declared else { return Ok(None) };
    serde_json::from_value(declared.spec.clone()).map(Some).map_err(|error| {
        ControlError::Conflict(format!(
            "what is declared of node {} is not understood by this manager ({error}); a newer one wrote it: upgrade this one, or write the node anew",
            row.name
        ))
    })
}

/// Returns what a stored site says of its nodes, without reading the rest of it.
pub(crate) fn selectors_of(row: &SiteRow) -> Result<Vec<NodeSelector>, ControlError> {
    match row.spec.get("nodes") {
        None | Some(serde_json::Value::Null) => Ok(Vec::new()),
        Some(nodes) => serde_json::from_value(nodes.clone())
            .map_err(|error| ControlError::internal("reading the nodes of a stored site", error)),
    }
}

/// Tells whether choices choose the edge of this name.
pub(crate) fn choose_edge(selectors: &[NodeSelector], edge: &Name) -> bool {
    NodeSelector::any_chooses(selectors, Traits::OwnEdge { name: edge })
}

impl Control {
    /// Returns all nodes of a filter.
    pub(crate) async fn all_nodes(
        &self,
        filter: &NodeFilter,
    ) -> Result<Vec<NodeRow>, ControlError> {
        let mut all = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.nodes().find(filter, &page).await?;
            request = page.next(&found);
            all.extend(found.items);
        }
        Ok(all)
    }

    /// Returns a node, by id or name.
    pub(crate) async fn node_named(&self, node: &str) -> Result<NodeRow, ControlError> {
        let nodes = self.inner.store.nodes();
        let found = match node.parse() {
            Ok(id) => nodes.get(id).await?,
            Err(_) => match node.parse::<Name>() {
                Ok(name) => nodes.by_name(&name).await?,
                Err(_) => None,
            },
        };
        found.ok_or_else(|| ControlError::NotFound { what: "node", name: node.to_owned() })
    }
}
