//! Managing the machines behind nodes.

use axum::{Json, extract::State};
use portway_control::Resource;
use portway_wire::manage::{
    ExecNode, NodeExecuted, NodeServiced, NodeSudoers, ServiceNode, SudoersQuery,
};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path, Query},
    state::ApiState,
};

/// Runs a command on a node, with the rights of whoever logs in there.
///
/// No shell reads its words. The node itself ends it at its deadline. Who ran what, and how it ended,
/// stands in the audit log. An installation can forbid it as a whole.
#[utoipa::path(
    post, path = "/nodes/{node}/exec", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = ExecNode,
    responses((status = 200, description = "It has ended, well or not.", body = NodeExecuted)),
)]
pub(crate) async fn exec_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(exec): Body<ExecNode>,
) -> Answer<NodeExecuted> {
    let commander = api.control().commander(&actor).await?;
    Ok(Json(Box::pin(commander.exec(&node, &exec)).await?))
}

/// Starts, stops, reloads or restarts the engine of a node.
///
/// The answer tells how it was before and is after, also where a command failed.
#[utoipa::path(
    post, path = "/nodes/{node}/service", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name.")),
    request_body = ServiceNode,
    responses((status = 200, description = "What was done.", body = NodeServiced)),
)]
pub(crate) async fn service_node(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Body(service): Body<ServiceNode>,
) -> Answer<NodeServiced> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.service").await?;
    Ok(Json(Box::pin(operator.service_node(&node, &service)).await?))
}

/// Returns the rules of sudo that the login of a node needs: exactly what is run as root there.
///
/// The node is asked where its programs are. Nothing is changed on it.
#[utoipa::path(
    post, path = "/nodes/{node}/sudoers", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name."), SudoersQuery),
    responses((status = 200, description = "The rules.", body = NodeSudoers)),
)]
pub(crate) async fn node_sudoers(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Query(query): Query<SudoersQuery>,
) -> Answer<NodeSudoers> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.sudoers").await?;
    Ok(Json(Box::pin(operator.node_sudoers(&node, &query)).await?))
}
