//! One turn on a node: whose it is, what is found there first, and why it may not be brought to what
//! it should have. What is brought is not decided here.

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use portway_deploy::{ByOthers, Owner, StepError, Survey, preflight, survey};
use portway_engine::{Engine, EngineFacts};
use portway_model::{
    Finding, FindingCode, Id, Location, Name, Node, Remedy, ResourceKind, ResourceRef, Severity,
};
use portway_store::NodeRow;
use portway_transport::TransportError;
use uuid::Uuid;

use super::{
    connect::{Reach, ReachError},
    edge::transport_of,
    engine_of,
};
use crate::{
    Control, ControlError,
    deploy::{RunError, chain, lock},
    nodes,
};

/// How old what is known of a node's machine may be.
const SURVEY_AGE: SignedDuration = SignedDuration::from_mins(10);

/// How a turn on a node ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// It has what it should have.
    Here,
    /// Another manager works on it.
    Busy,
}

/// Why a node could not be looked after.
#[derive(Debug, thiserror::Error)]
pub(super) enum BringError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error("the node is not fit for it: {0}")]
    Unfit(String),
    #[error("it was changed there: {what}; `portway node deploy {node}` overwrites that")]
    Changed { what: String, node: String },
    #[error("its engine refuses what it should serve: {0}")]
    Refused(String),
    #[error(transparent)]
    Step(#[from] StepError),
    #[error("{error}; and it could not be undone: {undo}")]
    Stuck { error: Box<StepError>, undo: Box<StepError> },
    #[error(transparent)]
    Edge(#[from] RunError),
    #[error(transparent)]
    Control(#[from] ControlError),
}

impl From<crate::EdgeClientError> for BringError {
    fn from(error: crate::EdgeClientError) -> Self {
        Self::Edge(error.into())
    }
}

impl From<portway_store::StoreError> for BringError {
    fn from(error: portway_store::StoreError) -> Self {
        Self::Control(error.into())
    }
}

impl BringError {
    /// Returns what kept the manager from speaking with the node, if that was it.
    pub(super) fn transport(&self) -> Option<&TransportError> {
        if let Self::Transport(error) | Self::Step(StepError::Transport(error)) = self {
            return Some(error);
        }
        if let Self::Edge(error) = self {
            return transport_of(error);
        }
        None
    }

    /// Returns what went wrong and what helps.
    pub(super) fn told(&self) -> String {
        match self.transport() {
            Some(error) => format!("{error}; {}", error.remedy()),
            None => chain(self),
        }
    }
}

/// A node in this manager's hands.
pub(super) struct Held<'a> {
    pub(super) row: &'a NodeRow,
    pub(super) node: &'a Node,
    pub(super) reach: Arc<Reach>,
    pub(super) facts: EngineFacts,
    pub(super) owner: Owner,
    pub(super) engine: &'static dyn Engine,
    /// What becomes of what somebody changed there.
    pub(super) by_others: ByOthers,
    /// When the work began.
    pub(super) begun: Timestamp,
}

impl Control {
    /// Brings a node to what it should have.
    pub(super) async fn bring(
        &self,
        row: &NodeRow,
        by_others: ByOthers,
    ) -> Result<Brought, BringError> {
        let Some(node) = nodes::declared(row)? else { return Ok(Brought::Here) };
        let Some(engine) = engine_of(node.engine) else {
            return self.bring_edge(row, &node, by_others).await;
        };
        let reach = match self.reach(row, &node).await {
            Err(ReachError::Elsewhere(_)) => return Ok(Brought::Busy),
            reach => reach?,
        };
        let Some(taken) = self.take(row.id).await? else { return Ok(Brought::Busy) };
        let brought = async {
            let survey = self.surveyed(row, &node, &reach).await?;
            let unfit: Vec<_> =
                preflight(&node, &survey).into_iter().filter(Finding::is_error).collect();
            let Some(facts) = survey.facts(&node).filter(|_| unfit.is_empty()) else {
                lock(&self.inner.fleet.surveys).remove(&row.id);
                return Err(BringError::Unfit(in_one_line(&unfit)));
            };
            let owner = self.owner(row.id, taken.fence()).await?;
            let begun = self.now();
            let held = Held { row, node: &node, reach, facts, owner, engine, by_others, begun };
            self.bring_files(&held, &survey).await?;
            Ok(Brought::Here)
        }
        .await;
        taken.let_go().await?;
        brought
    }

    /// Returns whose turn it is on a node that was [taken](Self::take).
    pub(super) async fn owner(&self, node: Id<NodeRow>, fence: i64) -> Result<Owner, BringError> {
        Ok(Owner {
            node: node.uuid(),
            installation: self.installation_id().await?,
            manager: self.inner.manager.name.to_string(),
            fence: u64::try_from(fence).unwrap_or(0),
        })
    }

    async fn installation_id(&self) -> Result<Uuid, BringError> {
        let found = self.inner.store.installation().get().await?;
        let row = found
            .ok_or_else(|| ControlError::internal("finding the installation", "it is gone"))?;
        Ok(row.id)
    }

    /// Returns what a node's machine is like, as it was seen not long ago.
    pub(super) async fn surveyed(
        &self,
        row: &NodeRow,
        node: &Node,
        reach: &Arc<Reach>,
    ) -> Result<Arc<Survey>, BringError> {
        let kept = lock(&self.inner.fleet.surveys).get(&row.id).map(Arc::clone);
        let is_young = |kept: &Arc<Survey>| self.now().duration_since(kept.at) < SURVEY_AGE;
        if let Some(kept) = kept.filter(is_young) {
            return Ok(kept);
        }
        let fresh = Arc::new(survey(&**reach, node, || self.now()).await?);
        self.keep_survey(row, &fresh).await?;
        lock(&self.inner.fleet.surveys).insert(row.id, Arc::clone(&fresh));
        Ok(fresh)
    }
}

/// Returns a finding about a whole site or node.
pub(super) fn about(kind: ResourceKind, name: &str, text: String) -> Finding {
    Finding {
        code: FindingCode::Held,
        severity: Severity::Error,
        at: Location::Field {
            resource: ResourceRef { kind, name: name.to_owned() },
            path: portway_model::FieldPath::root(),
            source: None,
        },
        text,
        remedy: None::<Remedy>,
    }
}

/// Returns why a site is held that an engine does not serve. What the engine says may be about other
/// sites, too, so it is told of the node, to those who may see nodes.
pub(super) fn unserved(node: &Name, site: &str, output: &str) -> [Finding; 2] {
    let text = format!("node {node} could not serve it");
    [
        about(ResourceKind::Site, site, text),
        about(ResourceKind::Node, node.as_str(), output.to_owned()),
    ]
}

fn in_one_line(findings: &[Finding]) -> String {
    let told = findings.iter().map(|finding| match &finding.remedy {
        Some(remedy) => format!("{} ({})", finding.text, remedy.text),
        None => finding.text.clone(),
    });
    told.collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use portway_store::Visible;
    use uuid::Uuid;

    use super::*;
    use crate::rights::leave_out_nodes;

    #[test]
    fn what_an_engine_says_of_a_node_is_not_for_clients() {
        let node = "web-1".parse().unwrap();
        let said = "conflicting server name \"other-tenant.example\"";
        let mut findings = Vec::from(unserved(&node, "shop", said));
        assert!(findings.iter().any(|finding| finding.text == said));

        leave_out_nodes(Visible::All, &mut findings);
        assert_eq!(findings.len(), 2);
        leave_out_nodes(Visible::Owner(Id::from_uuid(Uuid::nil())), &mut findings);

        let texts: Vec<_> = findings.iter().map(|finding| finding.text.as_str()).collect();
        assert_eq!(texts, ["node web-1 could not serve it"]);
    }
}
