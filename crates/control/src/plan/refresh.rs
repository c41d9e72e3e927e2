//! Reading nodes when somebody wants to know how they are now. Nothing is changed there.

use tokio::task::JoinSet;
use tracing::warn;

use super::world::Known;
use crate::Control;

impl Control {
    /// Reads nodes, all at once. What could not be read, and why, stands with what is known of the
    /// node.
    pub(super) async fn read_anew(&self, nodes: &[&Known]) {
        let mut reading = JoinSet::new();
        for known in nodes {
            let Some(node) = known.node.clone() else { continue };
            let (control, row) = (self.clone(), known.row.clone());
            reading.spawn(async move {
                if let Err(error) = control.look_anew(&row, &node).await {
                    warn!(node.name = %row.name, %error, "what was read on a node cannot be kept");
                }
            });
        }
        while reading.join_next().await.is_some() {}
    }
}
