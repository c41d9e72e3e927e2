//! Starting, stopping and reloading the engine of a node, for administrators.

use portway_deploy::{Acted, ServiceError, ServiceState, StepError, act};
use portway_engine::Action;
use portway_store::AuditOutcome;
use portway_wire::manage::{NodeServiced, RanCommand, ServiceNode, ServiceStateView};

use super::hands::unreached;
use crate::{ControlError, rights::Operator};

impl Operator<'_> {
    /// Does something to the engine of a node, and tells how it was before and is after.
    pub async fn service_node(
        &self,
        node: &str,
        service: &ServiceNode,
    ) -> Result<NodeServiced, ControlError> {
        let action: Action =
            service.action.parse().map_err(|error: portway_engine::UnknownAction| {
                ControlError::BadRequest(error.to_string())
            })?;
        let hands = self.control.hands(node).await?;
        let (control, name) = (self.control.clone(), hands.row.name.clone());
        let work = Box::pin(async move {
            let fleet = &control.inner.fleet;
            // This manager's other errands on the node wait, and it waits for them.
            let turn = fleet.workers.turn(hands.row.id).await;
            let acted = Box::pin(act(&*hands.reach, &hands.node, action)).await;
            drop(turn);
            // What is known of it may be so no longer.
            fleet.look_at_node(hands.row.id);
            control.poke_nodes();
            acted.map(|acted| serviced(hands.row.name.as_str(), action, acted)).map_err(told)
        });
        self.errand(audit_action(action), &name, work, how).await
    }
}

fn how(serviced: &NodeServiced) -> (AuditOutcome, String) {
    let outcome = if serviced.done { AuditOutcome::Done } else { AuditOutcome::Failed };
    (outcome, serviced.after.words.clone())
}

const fn audit_action(action: Action) -> &'static str {
    match action {
        Action::Start => "node.start",
        Action::Stop => "node.stop",
        Action::Reload => "node.reload",
        Action::Restart => "node.restart",
    }
}

fn told(error: ServiceError) -> ControlError {
    match error {
        ServiceError::Step(StepError::Transport(error)) => unreached(error),
        ServiceError::Step(error) => unreached(error),
        other @ (ServiceError::NoWay(_) | ServiceError::NoProgram(_)) => {
            ControlError::Conflict(other.to_string())
        }
    }
}

fn serviced(node: &str, action: Action, acted: Acted) -> NodeServiced {
    let view = |state: ServiceState| ServiceStateView { runs: state.runs, words: state.words };
    let commands = acted.ran.into_iter().map(|ran| RanCommand {
        command: ran.command,
        status: ran.status,
        output: ran.output,
    });
    NodeServiced {
        node: node.to_owned(),
        action: action.to_string(),
        done: acted.is_done,
        by: acted.supervisor.to_string(),
        before: view(acted.before),
        after: view(acted.after),
        commands: commands.collect(),
    }
}
