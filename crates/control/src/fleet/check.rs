//! A look at a node on demand: what it is like, what is in the way, and what would be done about it.

use std::sync::Arc;

use portway_deploy::{ByOthers, Deployment, Seen, Survey, preflight, survey, way_in};
use portway_model::{EngineKind, Finding, Node, node::Connection};
use portway_store::{AuditOutcome, NodeFacts, NodeRow};
use portway_transport::TransportError;
use portway_wire::node::{NodeCheck, NodeView, Unseen};

use super::{
    bring::BringError, connect::ReachError, engine_of, hands::unreached, reads::empty_release,
};
use crate::{
    Control, ControlError,
    deploy::lock,
    nodes::{self, NotUnderstood},
    rights::Operator,
};

impl Operator<'_> {
    /// Looks at a node. Nothing is changed there. The host key that it shows, where that is not
    /// confirmed, is noted for whoever confirms it.
    pub async fn check_node(&self, node: &str) -> Result<NodeCheck, ControlError> {
        let row = self.control.node_named(node).await?;
        let Some(declared) = nodes::declared(&row)? else {
            let text = "the edge of a manager is looked at with `portway health`".to_owned();
            return Err(ControlError::BadRequest(text));
        };
        // Whether one can log in, and as which groups, is looked at too.
        self.control.inner.fleet.log_in_anew(row.id);
        let check = match self.control.look_at(&row, &declared).await {
            Ok(survey) => {
                let way_in = self.control.way_in(&row, &declared, &survey).await?;
                seen(&declared, &survey, way_in)
            }
            Err(error) => self.control.unseen(&row, &error).await?,
        };
        self.control.poke_nodes();
        Ok(check)
    }
}

impl Operator<'_> {
    /// Brings a node to what it should have now, over what somebody changed on it. Returns when that
    /// has ended, well or not; how, stands in what is known of the node.
    pub async fn deploy_node(&self, node: &str) -> Result<NodeView, ControlError> {
        let row = self.control.node_named(node).await?;
        let Some(declared) = nodes::declared(&row)? else {
            let text =
                "the edge of a manager is brought to what it should have by itself".to_owned();
            return Err(ControlError::BadRequest(text));
        };
        if !declared.active {
            let text =
                format!("node {} is not active; `portway node activate` comes first", row.name);
            return Err(ControlError::Conflict(text));
        }
        let (control, name) = (self.control.clone(), row.name.clone());
        let work = Box::pin(async move {
            let fleet = &control.inner.fleet;
            let turn = fleet.workers.turn(row.id).await;
            fleet.asked_to_bring(row.id, control.now());
            control.look_after(&row, ByOthers::Overwrite).await;
            drop(turn);
            control.node_view(&control.node_named(row.name.as_str()).await?).await
        });
        self.errand("node.deploy", &name, work, how_deployed).await
    }
}

fn how_deployed(node: &NodeView) -> (AuditOutcome, String) {
    match &node.facts.error {
        Some(error) => (AuditOutcome::Failed, error.clone()),
        None => (AuditOutcome::Done, format!("at revision {}", node.deployed_revision)),
    }
}

impl Control {
    pub(super) async fn look_at(&self, row: &NodeRow, node: &Node) -> Result<Survey, BringError> {
        let reach = self.reach(row, node).await?;
        let mut survey = survey(&*reach, node, || self.now()).await?;
        if node.engine == EngineKind::Edge {
            survey.engine = self.ask_edge(Arc::clone(&reach), node).await;
        }
        self.keep_survey(row, &survey).await?;
        lock(&self.inner.fleet.surveys).insert(row.id, Arc::new(survey.clone()));
        Ok(survey)
    }

    /// Says what the engine's own configuration lacks for Portway's part to be read. Of one that was not
    /// seen, the survey says enough.
    async fn way_in(
        &self,
        row: &NodeRow,
        node: &Node,
        survey: &Survey,
    ) -> Result<Option<Finding>, ControlError> {
        let (Some(engine), Some(facts)) = (engine_of(node.engine), survey.facts(node)) else {
            return Ok(None);
        };
        if survey.top_level != Ok(true) {
            return Ok(None);
        }
        let reach = self.reach(row, node).await.map_err(unreached)?;
        self.look_at_hosts(row, node, &reach).await?;
        let release = empty_release(engine, &facts)?;
        let owner = self.owner(row.id, 0).await.map_err(unreached)?;
        let it = Deployment::to_look(&*reach, engine, &facts, &release, &owner);
        Ok(way_in(&it, node).await)
    }

    /// Tells why a node could not be looked at, and notes it.
    async fn unseen(&self, row: &NodeRow, error: &BringError) -> Result<NodeCheck, ControlError> {
        if let BringError::Control(error) | BringError::Reach(ReachError::Control(error)) = error {
            return Err(ControlError::internal("looking at a node", error.to_string()));
        }
        self.note_trouble(row, error).await?;
        let (offered_host_key, offered_by) = offered(error, row);
        let unseen = match (&offered_host_key, error.transport()) {
            (Some(_), _) => Unseen::HostKey,
            (None, Some(_)) => Unseen::Unreachable,
            (None, None) => Unseen::NoWay,
        };
        Ok(NodeCheck {
            unseen: Some(unseen),
            problem: Some(error.to_string()),
            remedy: error.transport().map(TransportError::remedy),
            offered_host_key,
            offered_by,
            ..NodeCheck::default()
        })
    }

    /// Notes why a node could not be looked after, and the host key that it showed.
    pub(super) async fn note_trouble(
        &self,
        row: &NodeRow,
        error: &BringError,
    ) -> Result<(), ControlError> {
        let store = self.inner.store.nodes();
        let known = store.facts(&[row.id]).await?.remove(&row.id).unwrap_or_default();
        let (offered_key, offered_by) = offered(error, row);
        let facts = NodeFacts {
            error: Some(error.told()),
            error_at: Some(self.now()),
            offered_key,
            offered_by,
            ..known
        };
        store.put_facts(row.id, &facts).await?;
        Ok(())
    }
}

/// Returns the fingerprint of the key that a host showed and nobody confirmed, and the address of that
/// host where it is not the node itself but one before it.
fn offered(error: &BringError, row: &NodeRow) -> (Option<String>, Option<String>) {
    let Some(
        TransportError::HostKeyUnknown { address, offered }
        | TransportError::HostKeyChanged { address, offered, .. },
    ) = error.transport()
    else {
        return (None, None);
    };
    let is_before = match nodes::understood(row) {
        Ok(Some(node)) => is_jump_host(&node, address),
        Ok(None) | Err(NotUnderstood) => false,
    };
    (Some(offered.fingerprint().to_string()), is_before.then(|| address.clone()))
}

fn is_jump_host(node: &Node, address: &str) -> bool {
    match &node.connection {
        Connection::Ssh(ssh) => ssh.jump.iter().any(|hop| hop.address.to_string() == address),
        Connection::Local(_) => false,
    }
}

fn seen(node: &Node, survey: &Survey, way_in: Option<Finding>) -> NodeCheck {
    let findings: Vec<_> = preflight(node, survey).into_iter().chain(way_in).collect();
    let engine = survey.engine.as_ref().ok();
    NodeCheck {
        ready: !findings.iter().any(Finding::is_error),
        system: survey.system.as_ref().ok().map(|system| system.name.clone()),
        engine_version: engine.map(|engine| engine.version.to_string()),
        modules: engine.map(|engine| engine.modules.iter().cloned().collect()).unwrap_or_default(),
        user: known(&survey.user),
        free_bytes: known(&survey.free),
        clock_ahead_seconds: known(&survey.clock),
        findings,
        ..NodeCheck::default()
    }
}

/// What was not seen is left out, never made up.
fn known<T: Clone>(seen: &Seen<T>) -> Option<T> {
    seen.as_ref().ok().cloned()
}
