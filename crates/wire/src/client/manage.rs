//! The operations by which the machines behind nodes are managed.

use std::time::Duration;

use super::{Client, error::ClientError, operations::node_path, with_query};
use crate::manage::{ExecNode, NodeExecuted, NodeServiced, NodeSudoers, ServiceNode, SudoersQuery};

type Answer<T> = Result<T, ClientError>;

/// How long the manager may take beyond the deadline of a command.
const BEYOND: Duration = Duration::from_secs(60);
/// How long what is done to a service may take.
const SERVICE: Duration = Duration::from_secs(300);

impl Client {
    /// Runs a command on a node.
    pub async fn exec_node(&self, node: &str, exec: &ExecNode) -> Answer<NodeExecuted> {
        let deadline = Duration::from_secs(exec.deadline_seconds.unwrap_or(30).into());
        self.patient(deadline + BEYOND).post(&node_path(node, "/exec"), exec).await
    }

    /// Starts, stops, reloads or restarts the engine of a node.
    pub async fn service_node(&self, node: &str, service: &ServiceNode) -> Answer<NodeServiced> {
        self.patient(SERVICE).post(&node_path(node, "/service"), service).await
    }

    /// Returns the rules of sudo that the login of a node needs.
    pub async fn node_sudoers(&self, node: &str, query: &SudoersQuery) -> Answer<NodeSudoers> {
        let path = with_query(&node_path(node, "/sudoers"), query)?;
        self.post(&path, &serde_json::json!({})).await
    }

    /// Returns a client that waits longer for answers.
    pub(super) fn patient(&self, answer: Duration) -> Self {
        let mut client = self.clone();
        client.deadlines.answer = client.deadlines.answer.max(answer);
        client
    }
}
