//! What an administrator has done on a node: written down before it begins and after it has ended, and
//! carried to its end though whoever asked goes away.

use portway_model::{Name, ResourceKind};
use portway_store::AuditOutcome;
use tracing::Instrument as _;

use crate::{ControlError, audit::Record, deploy::chain, rights::Operator};

impl Operator<'_> {
    /// Does something on a node. The audit log has `action` before it begins, and `action.end` with what
    /// `how` says of it afterwards.
    pub(super) async fn errand<T: Send + 'static>(
        &self,
        action: &'static str,
        node: &Name,
        work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
        how: fn(&T) -> (AuditOutcome, String),
    ) -> Result<T, ControlError> {
        let (control, actor, node) = (self.control.clone(), self.actor.clone(), node.clone());
        detached(async move {
            let record = |action: &str| {
                Record::of(&actor, action).resource(ResourceKind::Node, node.as_str())
            };
            // What is not written down is not done.
            control.write_audit(record(action)).await?;
            let done = work.await;
            let (outcome, detail) = match &done {
                Ok(done) => how(done),
                Err(error) => (AuditOutcome::Failed, chain(error)),
            };
            let end = record(&format!("{action}.end")).outcome(outcome).detail(detail);
            control.write_audit(end).await?;
            done
        })
        .await
    }
}

/// Does something to its end, though whoever waits for it goes away.
pub(super) async fn detached<T: Send + 'static>(
    work: impl Future<Output = Result<T, ControlError>> + Send + 'static,
) -> Result<T, ControlError> {
    tokio::spawn(work.in_current_span())
        .await
        .map_err(|error| ControlError::internal("working on a node", error))?
}
