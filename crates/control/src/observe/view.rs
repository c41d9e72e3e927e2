//! What is measured on nodes, as the API shows it.

use portway_model::node::Connection;
use portway_observe::unseen;
use portway_store::NodeRow;
use portway_wire::{
    Page,
    node::{NodeQuery, NodeStatistics},
};

use super::Observed;
use crate::{ControlError, nodes, page, rights::Overseer};

impl Overseer<'_> {
    /// Returns what is measured on a node.
    pub async fn node_statistics(&self, node: &str) -> Result<NodeStatistics, ControlError> {
        let row = self.control.node_named(node).await?;
        let observed = self.control.observed(&[row.id]).await?;
        Ok(statistics(&row, observed.get(&row.id).map(|seen| &**seen)))
    }

    /// Lists what is measured on nodes, by name.
    pub async fn statistics(&self, query: NodeQuery) -> Result<Page<NodeStatistics>, ControlError> {
        let request = page::request(query.limit, query.cursor.as_deref())?;
        let store = self.control.inner.store.nodes();
        let found = store.find(&nodes::filter(&query)?, &request).await?;
        let ids: Vec<_> = found.items.iter().map(|row| row.id).collect();
        let observed = self.control.observed(&ids).await?;
        let of = |row: &NodeRow| statistics(row, observed.get(&row.id).map(|seen| &**seen));
        let items = found.items.iter().map(of).collect();
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }
}

fn statistics(row: &NodeRow, observed: Option<&Observed>) -> NodeStatistics {
    let kept_back = why_not_read(row);
    let observed = observed.filter(|_| kept_back.is_none());
    let values = match observed {
        Some(observed) => observed.values.clone(),
        None => {
            let changed = row.declared.as_ref().map_or(row.created_at, |it| it.changed_at);
            unseen(None, kept_back.unwrap_or("nobody has read it yet"), changed)
        }
    };
    NodeStatistics {
        node: row.name.to_string(),
        engine: row.engine.clone(),
        read_at: observed.map(|observed| observed.read_at),
        manager: observed.map(|observed| observed.manager.clone()),
        service: observed.and_then(|observed| observed.service.clone()),
        values,
    }
}

/// Says why a node is not read; nothing where it is.
pub(super) fn why_not_read(row: &NodeRow) -> Option<&'static str> {
    let Ok(node) = nodes::understood(row) else {
        return Some("what is declared of the node is not understood by this manager");
    };
    let node = node?;
    let is_confirmed = match &node.connection {
        Connection::Ssh(ssh) => nodes::is_confirmed(ssh),
        Connection::Local(_) => true,
    };
    if !node.active {
        Some("the node is not active, so it is not read")
    } else if !is_confirmed {
        Some(
            "a key of its host is not confirmed, so it is not spoken with; `portway node confirm` does",
        )
    } else {
        None
    }
}
