//! What a change would come to on nodes, without speaking with any: from what is declared, and from
//! what was last seen of the nodes. What is shown holds no secret.

mod basis;
mod clash;
mod effects;
mod pending;
mod refresh;
mod side;
#[cfg(test)]
pub(crate) mod tests;
mod text;
mod touched;
mod world;

use portway_wire::plan::{NodeEffect, PlanBasis, PlanQuery, PlannedNode};

pub(crate) use self::touched::{Declared, IN_FULL, Rows, TouchedSite};
use self::{
    basis::basis,
    effects::{Looking, concerned, ids},
};
use crate::{Control, ControlError, actor::Actor};

/// What a plan says beside what changes in what is declared.
#[derive(Debug)]
pub(crate) struct OnNodes {
    pub(crate) effects: Vec<NodeEffect>,
    pub(crate) nodes: Vec<PlannedNode>,
    pub(crate) basis: PlanBasis,
}

impl Control {
    /// Returns what becomes of sites on the nodes that the actor may see. `proposed` tells what is to
    /// be applied apart from everything else.
    pub(crate) async fn plan_on_nodes(
        &self,
        actor: &Actor,
        proposed: String,
        touched: &[TouchedSite],
        query: PlanQuery,
    ) -> Result<OnNodes, ControlError> {
        if !actor.sees_nodes() || touched.is_empty() {
            let basis = basis(proposed, touched, &[]);
            return Ok(OnNodes { effects: Vec::new(), nodes: Vec::new(), basis });
        }
        let mut world = self.world(&ids(touched)).await?;
        if query.refresh {
            self.read_anew(&concerned(&world, touched, Looking::Ahead)).await;
            world = self.world(&ids(touched)).await?;
        }
        let concerned = concerned(&world, touched, Looking::Ahead);
        let mut nodes = Vec::with_capacity(concerned.len());
        for known in &concerned {
            nodes.push(self.planned_node(known).await?);
        }
        let basis = basis(proposed, touched, &concerned);
        Ok(OnNodes { effects: self.effects(&world, touched, Looking::Ahead).await?, nodes, basis })
    }
}
