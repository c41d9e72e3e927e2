//! Nodes that are no longer declared, and from which Portway's is to be taken away.

use portway_deploy::{ByOthers, Cleaned, Deployment, Unwritten, clean, survey};
use portway_model::{Node, node::check};
use portway_store::{NodeRemoval, NodeRow, PageRequest};
use tracing::{info, warn};

use super::{bring::BringError, engine_of, reads::empty_release};
use crate::{Control, ControlError};

impl Control {
    /// Returns the removed nodes from which Portway's is to be taken away and was not yet.
    pub(super) async fn removals_due(&self) -> Result<Vec<NodeRemoval>, ControlError> {
        let request = PageRequest::first(portway_store::MAX_LIMIT);
        let mut removals = self.inner.store.nodes().removals(&request).await?.items;
        let now = self.now();
        removals.retain(|removal| self.inner.fleet.is_due(removal.id, now));
        Ok(removals)
    }

    /// Takes Portway's away from a node that was removed so. One that is away stays in the list.
    pub(super) async fn clean(&self, removal: &NodeRemoval) {
        let fleet = &self.inner.fleet;
        match self.clean_node(removal).await {
            Ok(true) => fleet.well(removal.id),
            Ok(false) => {}
            Err(error) => {
                warn!(node.name = %removal.name, "the node cannot be cleaned: {}", error.told());
                fleet.trouble(removal.id, None, self.now());
            }
        }
    }

    async fn clean_node(&self, removal: &NodeRemoval) -> Result<bool, BringError> {
        let Some(node) = node_of(removal)? else { return Ok(true) };
        let row = self.row_of(removal);
        let Some(engine) = engine_of(node.engine) else {
            return self.clean_edge(removal, &row, &node).await;
        };
        let reach = self.reach(&row, &node).await?;
        let Some(hold) = self.take(row.id).await? else { return Ok(false) };
        let cleaned = async {
            let survey = survey(&*reach, &node, || self.now()).await?;
            let Some(facts) = survey.facts(&node) else {
                return Err(BringError::Unfit("its engine is not there any more".to_owned()));
            };
            let release = empty_release(engine, &facts)?;
            let owner = self.owner(row.id, hold.fence()).await?;
            let it = Deployment {
                transport: &*reach,
                engine,
                facts: &facts,
                release: &release,
                owner: &owner,
                by_others: ByOthers::Overwrite,
                proofs: &[],
            };
            tell(removal, &clean(&it, &Unwritten).await?);
            self.inner.store.nodes().cleaned(removal.id).await?;
            Ok(true)
        }
        .await;
        hold.let_go().await?;
        cleaned
    }

    fn row_of(&self, removal: &NodeRemoval) -> NodeRow {
        NodeRow {
            id: removal.id,
            name: removal.name.clone(),
            engine: String::new(),
            deployed: portway_model::RevisionNumber(0),
            digest: None,
            created_at: self.now(),
            updated_at: self.now(),
            declared: None,
        }
    }
}

fn tell(removal: &NodeRemoval, cleaned: &Cleaned) {
    let name = &removal.name;
    match cleaned {
        Cleaned::Wholly => info!(node.name = %name, "took Portway's away from the node"),
        Cleaned::ButEntrance { top_level, reached_by } => info!(
            node.name = %name,
            "took Portway's away from the node, all but the empty file {reached_by}, which {top_level} names; remove that line, then the file"
        ),
        Cleaned::Another { node } => warn!(
            node.name = %name,
            "the node is not cleaned: node {node} was declared in its place, and has what lies there"
        ),
    }
}

fn node_of(removal: &NodeRemoval) -> Result<Option<Node>, ControlError> {
    let spec = serde_json::from_value(removal.spec.clone())
        .map_err(|error| ControlError::internal("reading a removed node", error))?;
    Ok(check(&removal.name, &spec).0)
}
