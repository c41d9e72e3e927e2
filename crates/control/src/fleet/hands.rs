//! A node in somebody's hands: for what an administrator does to one machine at a time.

use std::sync::Arc;

use portway_model::{Node, node::Connection};
use portway_store::NodeRow;

use super::{
    bring::BringError,
    connect::{Reach, ReachError},
};
use crate::{Control, ControlError, nodes};

/// A node and the way to it.
pub(super) struct Hands {
    pub(super) row: NodeRow,
    pub(super) node: Node,
    pub(super) reach: Arc<Reach>,
}

impl Hands {
    /// Returns who logs in; nothing on the machine of a manager.
    pub(super) fn login(&self) -> Option<&portway_model::node::SshUser> {
        match &self.node.connection {
            Connection::Local(_) => None,
            Connection::Ssh(ssh) => Some(&ssh.to.user),
        }
    }
}

impl Control {
    /// Returns a declared node, by id or name, with the way to it.
    pub(super) async fn hands(&self, node: &str) -> Result<Hands, ControlError> {
        let row = self.node_named(node).await?;
        let Some(node) = nodes::declared(&row)? else {
            return Err(ControlError::Conflict(format!(
                "`{}` is the edge of a manager, which is looked after on its own machine",
                row.name
            )));
        };
        let reach = self.reach(&row, &node).await.map_err(unreached)?;
        Ok(Hands { row, node, reach })
    }
}

/// Tells why something was not done on a node: what the world did is a contradiction to what was asked.
pub(super) fn unreached(error: impl Into<BringError>) -> ControlError {
    let error = error.into();
    let told = error.told();
    if let BringError::Control(error) | BringError::Reach(ReachError::Control(error)) = error {
        return error;
    }
    ControlError::Conflict(told)
}
