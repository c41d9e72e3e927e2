//! Pinned nodes: whose sites are kept as they were at a revision, and what they miss.
//!
//! Sites that were not there then, or not for the node, do not come; those that are no longer for it
//! leave, and a blocked one is blocked there too. Certificates, bounds of owners and what the node is
//! itself are never kept back.

use portway_deploy::ByOthers;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, Node, NodeSelector, NodeSpec, Remedy, ResourceKind,
    ResourceRef, RevisionNumber, Severity, Stage,
};
use portway_store::{NodeRow, NodeSiteRow, PageRequest, SiteRow, Visible};
use portway_wire::node::{NodeView, PinNode};

use super::errand::detached;
use crate::{Control, ControlError, nodes::selectors_of, rights::Operator};

/// The version of a site that a node is to have.
pub(crate) struct Due {
    /// It; nothing where the node is to do without the site.
    pub(crate) version: Option<SiteRow>,
    /// What tells of the newest version, where that is another one.
    pub(crate) waits: Option<Finding>,
}

/// Tells whether the version that is held back only waits for the node to be released.
pub(crate) fn waits(row: &NodeSiteRow) -> bool {
    row.findings.iter().any(|finding| finding.code == FindingCode::Pinned)
}

impl Control {
    /// Returns the version of a site that a node is to have: the newest, or that of the revision at
    /// which the node is pinned.
    pub(crate) async fn due(&self, node: &Node, row: &SiteRow) -> Result<Due, ControlError> {
        let newest = || Due { version: Some(row.clone()), waits: None };
        let Some(pin) = node.pinned.filter(|pin| row.revision > *pin) else { return Ok(newest()) };
        let revisions = self.inner.store.revisions();
        let then =
            revisions.version_at(Visible::All, ResourceKind::Site, row.id.uuid(), pin).await?;
        let then = then.and_then(|then| {
            Some(SiteRow { spec: then.spec?, revision: then.revision, ..row.clone() })
        });
        let version = match then {
            // Only something about it changed that is not kept back.
            Some(then) if then.spec == row.spec => return Ok(newest()),
            Some(then) => {
                let was_chosen = NodeSelector::any_chooses(&selectors_of(&then)?, node.traits());
                was_chosen.then_some(then)
            }
            None => None,
        };
        let text = format!(
            "node {} is pinned at revision {}: the version of revision {} waits",
            node.name, pin.0, row.revision.0
        );
        let waits = pinned(ResourceKind::Site, row.name.as_str(), text, node);
        Ok(Due { version, waits: Some(waits) })
    }

    /// Returns what a node's pin means, for whoever looks at the node.
    pub(crate) fn told_of_pin(node: &Node) -> Option<Finding> {
        let pin = node.pinned?;
        let text = format!(
            "its sites are kept as they were at revision {}; what is written since does not reach it, security mended or not",
            pin.0
        );
        Some(pinned(ResourceKind::Node, node.name.as_str(), text, node))
    }
}

fn pinned(kind: ResourceKind, name: &str, text: String, node: &Node) -> Finding {
    let resource = ResourceRef { kind, name: name.to_owned() };
    Finding {
        code: FindingCode::Pinned,
        severity: Severity::Warning,
        at: Location::Field { resource, path: FieldPath::root(), source: None },
        text,
        remedy: Some(Remedy {
            text: format!("`portway node release {}` lets the node follow again", node.name),
            action: None,
        }),
    }
}

impl Operator<'_> {
    /// Keeps a node's sites as they were at a revision, or as it has them. Returns when it has them.
    pub async fn pin_node(&self, node: &str, pin: PinNode) -> Result<NodeView, ControlError> {
        let row = self.control.node_named(node).await?;
        let at = pin.revision.map_or(row.deployed, RevisionNumber);
        let latest = self.control.inner.store.revisions().latest().await?;
        if at.0 < 1 {
            let text =
                format!("nothing was deployed to node {} that it could be kept at", row.name);
            return Err(ControlError::Conflict(text));
        }
        if at > latest {
            let text = format!("there is no revision {}; the newest is {}", at.0, latest.0);
            return Err(ControlError::BadRequest(text));
        }
        let message = pin.message.unwrap_or_else(|| format!("pin node {} at {}", row.name, at.0));
        self.set_pin(&row, Some(at), "node.pin", message).await
    }

    /// Lets a node follow what is declared again. Returns when it has that.
    pub async fn release_node(&self, node: &str) -> Result<NodeView, ControlError> {
        let row = self.control.node_named(node).await?;
        let message = format!("release node {}", row.name);
        self.set_pin(&row, None, "node.release", message).await
    }

    /// Brings a node back to what it served before its last deployment, and keeps it there.
    pub async fn roll_back_node(&self, node: &str) -> Result<NodeView, ControlError> {
        let row = self.control.node_named(node).await?;
        if let Some(pin) = crate::nodes::declared(&row)?.and_then(|node| node.pinned) {
            let text = format!(
                "node {} is pinned at revision {}; `portway node pin {} --revision N` chooses another one",
                row.name, pin.0, row.name
            );
            return Err(ControlError::Conflict(text));
        }
        let Some(at) = self.control.before_last_deployment(&row).await? else {
            let text = format!("there is no deployment to node {} to go back from", row.name);
            return Err(ControlError::Conflict(text));
        };
        let message = format!("take node {} back to revision {}", row.name, at.0);
        self.set_pin(&row, Some(at), "node.rollback", message).await
    }

    async fn set_pin(
        &self,
        row: &NodeRow,
        pin: Option<RevisionNumber>,
        action: &str,
        message: String,
    ) -> Result<NodeView, ControlError> {
        let change = |spec: NodeSpec| NodeSpec { pinned: pin.map(|pin| pin.0), ..spec };
        self.change_node(row.name.as_str(), change, action, message).await?;
        let row = self.control.node_named(row.name.as_str()).await?;
        let control = self.control.clone();
        detached(Box::pin(async move {
            let turn = control.inner.fleet.workers.turn(row.id).await;
            if row.declared.as_ref().is_some_and(|declared| declared.active) {
                control.look_after(&row, ByOthers::Respect).await;
            }
            drop(turn);
            control.node_view(&control.node_named(row.name.as_str()).await?).await
        }))
        .await
    }
}

impl Control {
    /// Returns the revision that a node had before its last deployment that brought it to another one.
    async fn before_last_deployment(
        &self,
        row: &NodeRow,
    ) -> Result<Option<RevisionNumber>, ControlError> {
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.deployments().list(Some(row.id), &page).await?;
            let last = found.items.iter().find(|deployment| {
                deployment.stage == Stage::Live && deployment.from < deployment.to
            });
            if let Some(last) = last {
                return Ok(Some(last.from).filter(|from| from.0 > 0));
            }
            request = page.next(&found);
        }
        Ok(None)
    }
}
