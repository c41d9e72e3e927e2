//! What somebody changed on nodes, and taking it over.

use axum::{Json, extract::State};
use portway_control::Resource;
use portway_wire::drift::{AdoptNode, Adopted, Adoption, NodeDrift};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path},
    state::ApiState,
};

/// Shows what somebody changed on a node of what Portway put there.
///
/// The node is read for it, and nothing is changed there. Files with passwords and keys are named and
/// never shown.
#[utoipa::path(
    get, path = "/nodes/{node}/drift", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "What differs.", body = NodeDrift)),
)]
pub(crate) async fn node_drift(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<NodeDrift> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.check").await?;
    Ok(Json(operator.node_drift(&node).await?))
}

/// Shows what would be taken over of what somebody changed on a node.
///
/// A site is changed so that it says what is there, where that can be proven; what cannot be taken over
/// is listed with the reason. Nothing is changed.
#[utoipa::path(
    get, path = "/nodes/{node}/adopt", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "What would be done.", body = Adoption)),
)]
pub(crate) async fn plan_adoption(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
) -> Answer<Adoption> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.check").await?;
    Ok(Json(operator.plan_adoption(&node).await?))
}

/// Takes over what somebody changed on a node: its sites are changed so that they say it.
///
/// Each site gets an ordinary revision, for every node that it is on. The answer comes when this node
/// was brought to that, and tells how in `facts`.
#[utoipa::path(
    post, path = "/nodes/{node}/adopt", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = AdoptNode,
    responses((status = 200, description = "What was done.", body = Adopted)),
)]
pub(crate) async fn adopt_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(adopt): Body<AdoptNode>,
) -> Answer<Adopted> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.adopt").await?;
    Ok(Json(operator.adopt_node(&node, &adopt).await?))
}
