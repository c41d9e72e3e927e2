//! Deployments whose manager ended in the middle. The node is in this manager's hands, so nobody goes
//! on with them; what became of each is read from the node.

use portway_deploy::{Deployment, Resume, look, resume};
use portway_model::{ResourceKind, Stage};
use portway_store::{DeploymentRow, NodeRow, PageRequest};

use super::{
    Reach,
    bring::{BringError, about},
};
use crate::Control;

impl Control {
    /// Closes the deployments to a node that were cut off.
    pub(super) async fn close_cut_off(
        &self,
        it: &Deployment<'_, Reach>,
        row: &NodeRow,
    ) -> Result<(), BringError> {
        let deployments = self.inner.store.deployments();
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let open = deployments.unfinished(&request).await?.items;
        for mut cut in open.into_iter().filter(|cut| cut.node == row.id) {
            let (stage, text) = self.end_of(it, &cut).await?;
            if stage == Stage::Live {
                cut.digest.clone_from(&cut.release);
            } else {
                let text = format!("its manager ended in the middle: {text}");
                cut.findings.push(about(ResourceKind::Node, row.name.as_str(), text));
            }
            cut.stage = stage;
            cut.finished_at = Some(self.now());
            deployments.record(&cut).await?;
        }
        Ok(())
    }

    /// Returns how a deployment ended that nobody saw the end of, and what that means.
    async fn end_of(
        &self,
        it: &Deployment<'_, Reach>,
        cut: &DeploymentRow,
    ) -> Result<(Stage, &'static str), BringError> {
        match cut.stage {
            Stage::Queued | Stage::Staging | Stage::Testing => {
                return Ok((Stage::Rejected, "nothing was switched yet"));
            }
            Stage::Activating | Stage::Probing | Stage::RollingBack => {}
            Stage::Live | Stage::RolledBack | Stage::Rejected | Stage::Stuck => {
                return Ok((cut.stage, "it had ended"));
            }
        }
        let Some(release) = cut.release.as_deref().and_then(|release| release.parse().ok()) else {
            return Ok((Stage::Stuck, "what it was to bring is not known"));
        };
        Ok(match resume(release, &look(it).await?) {
            Resume::Live => (Stage::Live, "the node serves it"),
            Resume::NotSwitched => (Stage::RolledBack, "the node has what it had before"),
            Resume::Prove => (
                Stage::Stuck,
                "the node was switched and did not serve it yet; the next one goes on",
            ),
            Resume::Replaced => {
                (Stage::RolledBack, "the node was switched to something else since")
            }
        })
    }
}
