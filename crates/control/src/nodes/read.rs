//! Reading nodes.

use portway_model::{FindingCode, NodeSelector, ResourceKind, RevisionNumber};
use portway_store::{NodeFilter, NodeRow, PageRequest, Visible};
use portway_wire::{
    Page,
    node::{NodeQuery, NodeView, SshKeyView},
};

use super::view::view;
use crate::{Control, ControlError, page, rights::Overseer};

impl Overseer<'_> {
    /// Lists nodes by name, the managers' own edges too.
    pub async fn nodes(&self, query: NodeQuery) -> Result<Page<NodeView>, ControlError> {
        let store = self.control.inner.store.nodes();
        let request = page::request(query.limit, query.cursor.as_deref())?;
        let found = store.find(&filter(&query)?, &request).await?;
        let ids: Vec<_> = found.items.iter().map(|row| row.id).collect();
        let facts = store.facts(&ids).await?;
        let observed = self.control.observed(&ids).await?;
        let views = found.items.iter().map(|row| {
            let came_as = self.control.inner.fleet.came_as(row.id);
            view(row, facts.get(&row.id), observed.get(&row.id).map(|seen| &**seen), &came_as)
        });
        let items = views.collect();
        Ok(Page { items, next: found.next.map(|cursor| cursor.to_string()) })
    }

    /// Returns one node, by id or name.
    pub async fn node(&self, node: &str) -> Result<NodeView, ControlError> {
        let row = self.control.node_named(node).await?;
        self.control.node_view(&row).await
    }

    /// Returns the node that a revision made, for those whose answer was lost.
    pub async fn node_written_by(&self, revision: i64) -> Result<NodeView, ControlError> {
        let revisions = self.control.inner.store.revisions();
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let changes =
            revisions.changes_of(Visible::All, RevisionNumber(revision), &request).await?.items;
        let made = changes.into_iter().find(|change| change.kind == ResourceKind::Node);
        self.node(&made.map(|change| change.name).unwrap_or_default()).await
    }

    /// Returns the public half of the key with which managers log in to nodes.
    pub fn ssh_key(&self) -> SshKeyView {
        let key = &self.control.inner.ssh_key;
        SshKeyView { public_key: key.public_line(), fingerprint: key.fingerprint() }
    }
}

impl Control {
    pub(crate) async fn node_view(&self, row: &NodeRow) -> Result<NodeView, ControlError> {
        let nodes = self.inner.store.nodes();
        let facts = nodes.facts(&[row.id]).await?;
        let observed = self.observed(&[row.id]).await?;
        let observed = observed.get(&row.id).map(|seen| &**seen);
        let came_as = self.inner.fleet.came_as(row.id);
        let mut view = view(row, facts.get(&row.id), observed, &came_as);
        if view.spec.as_ref().is_some_and(|spec| spec.pinned.is_some()) {
            let request = PageRequest::first(portway_store::MAX_LIMIT);
            let held = nodes.held(Visible::All, row.id, &request).await?.items;
            let missed = held.into_iter().flat_map(|site| site.findings);
            view.findings.extend(missed.filter(|finding| finding.code == FindingCode::Pinned));
        }
        Ok(view)
    }
}

/// Returns the filter that a query means.
pub(crate) fn filter(query: &NodeQuery) -> Result<NodeFilter, ControlError> {
    let bad = |error: String| ControlError::BadRequest(error);
    let texts = query.select.as_deref().unwrap_or_default().split(',').map(str::trim);
    let chosen_by = texts
        .filter(|text| !text.is_empty())
        .map(|text| text.parse::<NodeSelector>().map_err(|error| bad(error.to_string())))
        .collect::<Result<_, _>>()?;
    let engine = query.engine.as_deref().filter(|engine| !engine.is_empty());
    let engine = engine
        .map(|engine| {
            engine.parse().map_err(|e: portway_model::node::UnknownEngine| bad(e.to_string()))
        })
        .transpose()?;
    Ok(NodeFilter { chosen_by, engine, active: query.active, declared: None })
}
