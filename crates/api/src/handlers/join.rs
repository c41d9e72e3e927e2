//! Machines that make themselves nodes, and the tokens by which they do.

use axum::{Json, extract::State, response::IntoResponse};
use http::StatusCode;
use portway_control::Resource;
use portway_wire::{
    Page, PageQuery,
    join::{CreatedJoinToken, JoinNode, JoinTokenView, NewJoinToken, NodeJoined},
};
use uuid::Uuid;

use super::Answer;
use crate::{
    auth::Caller,
    context::Context,
    extract::{Body, Brief, Path, Query},
    problem::Refusal,
    state::ApiState,
};

/// Makes a node of the machine that asks.
///
/// It is proven by a join token, which works once; a machine that did not get the answer may ask again.
/// The host keys that it names are taken for confirmed. A name that a node has already is refused. A
/// machine that names another address than the one it calls from is left inactive.
#[utoipa::path(
    post, path = "/join", tag = "nodes", security(()),
    request_body = JoinNode,
    responses((status = 201, description = "It is a node.", body = NodeJoined)),
)]
pub(crate) async fn join_node(
    State(api): State<ApiState>,
    context: Context,
    Brief(join): Brief<JoinNode>,
) -> Result<impl IntoResponse, Refusal> {
    let joined = Box::pin(api.control().join(&join, &context.client())).await?;
    Ok((StatusCode::CREATED, Json(joined)))
}

/// Lists the tokens by which machines join, the newest first; those that were used or have ended too.
#[utoipa::path(
    get, path = "/join-tokens", tag = "nodes", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<JoinTokenView>)),
)]
pub(crate) async fn list_join_tokens(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<Page<JoinTokenView>> {
    let operator = api.control().operator(&actor, Resource::Nodes, "join_token.read").await?;
    Ok(Json(operator.join_tokens(query).await?))
}

/// Makes a token by which one machine joins.
///
/// It says what the node will be. With `cloud_init`, the answer has user-data for cloud-init too: it
/// makes the login with the manager's key and its rules of sudo, installs the engine, and joins.
#[utoipa::path(
    post, path = "/join-tokens", tag = "nodes",
    request_body = NewJoinToken,
    responses((
        status = 201, description = "The token, here and nowhere else.", body = CreatedJoinToken,
    )),
)]
pub(crate) async fn create_join_token(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Body(new): Body<NewJoinToken>,
) -> Result<impl IntoResponse, Refusal> {
    let operator = api.control().operator(&actor, Resource::Nodes, "join_token.create").await?;
    Ok((StatusCode::CREATED, Json(operator.create_join_token(new).await?)))
}

/// Ends a token by which no machine has joined yet.
#[utoipa::path(
    delete, path = "/join-tokens/{id}", tag = "nodes",
    params(("id" = Uuid, Path, description = "The token.")),
    responses((status = 204, description = "It opens nothing any more.")),
)]
pub(crate) async fn revoke_join_token(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Refusal> {
    let operator = api.control().operator(&actor, Resource::Nodes, "join_token.revoke").await?;
    operator.revoke_join_token(id).await?;
    Ok(StatusCode::NO_CONTENT)
}
