//! Nodes as the API shows them.

use portway_deploy::{CameAs, holes};
use portway_engine::Version;
use portway_model::{
    EngineKind, FieldPath, Finding, FindingCode, Findings, Location, Node, ResourceKind,
    ResourceRef, Severity,
    node::{Connection, READY_PATH, Ssh, check},
};
use portway_store::{NodeFacts, NodeRow};
use portway_wire::node::{NodeFactsView, NodeState, NodeView};

use super::spec_of;
use crate::{
    Control, ControlError,
    observe::{Observed, health},
};

/// Returns a node with what is known of it.
pub(super) fn view(
    row: &NodeRow,
    facts: Option<&NodeFacts>,
    observed: Option<&Observed>,
    came_as: &CameAs,
) -> NodeView {
    let (spec, error) = match spec_of(row) {
        Ok(spec) => (spec, None),
        Err(error) => (None, Some(error)),
    };
    let (node, mut findings) = match &spec {
        Some(spec) => check(&row.name, spec),
        None => (None, Vec::new()),
    };
    let is_odd = row.declared.is_some() && node.is_none();
    findings.extend(error.map(|error| not_understood(row, &error)));
    findings.extend(node.as_ref().and_then(Control::told_of_pin));
    findings.extend(node.as_ref().and_then(told_of_drain));
    let facts = facts.cloned().unwrap_or_default();
    findings.extend(node.as_ref().and_then(|node| newer_program(node, &facts)));
    let version = facts.engine_version.as_deref().and_then(|version| version.parse().ok());
    findings.extend(node.as_ref().zip(version).and_then(|(node, v)| holes(node, v, came_as)));
    let declared = row.declared.as_ref();
    NodeView {
        id: row.id.uuid(),
        name: row.name.to_string(),
        engine: row.engine.clone(),
        address: if is_odd { String::new() } else { address(node.as_ref()) },
        state: if is_odd { NodeState::Failed } else { state(node.as_ref(), row, &facts) },
        spec,
        origin: declared.map(|declared| declared.origin.clone()),
        revision: declared.map(|declared| declared.revision.0),
        deployed_revision: row.deployed.0,
        health: observed
            .filter(|_| node.as_ref().is_some_and(|node| node.active))
            .and_then(health::view),
        facts: facts_view(facts, row),
        findings,
        created_at: row.created_at,
    }
}

fn not_understood(row: &NodeRow, error: &ControlError) -> Finding {
    let text = error.to_string();
    Finding {
        code: FindingCode::NodeUnfit,
        severity: Severity::Error,
        at: Location::Field {
            resource: ResourceRef { kind: ResourceKind::Node, name: row.name.to_string() },
            path: FieldPath::root(),
            source: None,
        },
        text,
        remedy: None,
    }
}

/// Tells what draining means, for whoever looks at the node.
pub(super) fn told_of_drain(node: &Node) -> Option<Finding> {
    if !node.draining {
        return None;
    }
    let mut findings = Findings::about(ResourceKind::Node, node.name.as_str());
    let path = FieldPath::root().key("draining");
    let remedy = format!("`portway node undrain {}` ends that", node.name);
    let text = match node.engine {
        EngineKind::Traefik => {
            "it is draining: no rollout begins with it. Traefik answers nothing of its own, so balancers in front of it must be told otherwise".to_owned()
        }
        EngineKind::Edge | EngineKind::Nginx | EngineKind::Caddy => format!(
            "it is draining: balancers that ask http://ADDRESS:{}{READY_PATH} are answered 503, and no rollout begins with it; it serves on",
            node.ports.http
        ),
    };
    findings.warning(FindingCode::Advice, &path, text).remedy(remedy);
    findings.into_vec().pop()
}

/// Offers this manager's program where the node's edge is of an earlier version.
fn newer_program(node: &Node, facts: &NodeFacts) -> Option<Finding> {
    let own = env!("CARGO_PKG_VERSION");
    let theirs = facts.engine_version.as_deref()?;
    let is_older = |theirs: Version, own: Version| theirs < own;
    if node.engine != EngineKind::Edge || !is_older(theirs.parse().ok()?, own.parse().ok()?) {
        return None;
    }
    let mut findings = Findings::about(ResourceKind::Node, node.name.as_str());
    let text = format!("its edge is of version {theirs}, and this manager of version {own}");
    findings
        .warning(FindingCode::NodeUnfit, &FieldPath::root().key("engine"), text)
        .remedy(format!("`portway node install {}` upgrades it; no request is lost", node.name));
    findings.into_vec().pop()
}

fn address(node: Option<&Node>) -> String {
    match node.map(|node| &node.connection) {
        Some(Connection::Ssh(ssh)) => format!("{}@{}", ssh.to.user, ssh.to.address),
        Some(Connection::Local(Some(manager))) => format!("on {manager}"),
        Some(Connection::Local(None)) | None => "local".to_owned(),
    }
}

fn state(node: Option<&Node>, row: &NodeRow, facts: &NodeFacts) -> NodeState {
    let is_confirmed = node.is_none_or(|node| match &node.connection {
        Connection::Local(_) => true,
        Connection::Ssh(ssh) => is_confirmed(ssh),
    });
    if node.is_some_and(|node| !node.active) {
        NodeState::Inactive
    } else if !is_confirmed || facts.offered_key.is_some() {
        NodeState::Unconfirmed
    } else if facts.error_at.is_some_and(|error| facts.read_at.is_none_or(|read| error > read)) {
        NodeState::Failed
    } else if facts.read_at.is_some() || row.digest.is_some() {
        NodeState::Ready
    } else {
        NodeState::Unknown
    }
}

/// Tells whether a key of the host, and of each before it, is known.
pub(crate) fn is_confirmed(ssh: &Ssh) -> bool {
    std::iter::once(&ssh.to).chain(&ssh.jump).all(|hop| !hop.host_keys.is_empty())
}

/// What an edge serves is known from what it answered when it was last given something.
fn facts_view(facts: NodeFacts, row: &NodeRow) -> NodeFactsView {
    NodeFactsView {
        engine_version: facts.engine_version,
        digest: facts.digest.or_else(|| row.digest.clone()),
        read_at: facts.read_at,
        error: facts.error,
        error_at: facts.error_at,
        offered_host_key: facts.offered_key,
        offered_by: facts.offered_by,
    }
}
