//! Why a request was answered as it was.

use axum::{Json, extract::State};
use portway_wire::explain::{ExplainQuery, Explanation, TryOut};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path, Query},
    state::ApiState,
};

/// Tells the way of a request through the edge, from the logs.
///
/// Which site and route matched, which stage answered and why, which targets were tried, and how
/// long each step took. What is not found, or is another's, is answered 404 with what may be the
/// cause and what helps.
#[utoipa::path(
    get, path = "/requests/{id}", tag = "sites",
    params(
        ("id" = String, Path, description = "The id, as the answer, error pages and logs show it."),
        ExplainQuery,
    ),
    responses((status = 200, description = "What happened.", body = Explanation)),
)]
pub(crate) async fn explain_request(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<String>,
    Query(query): Query<ExplainQuery>,
) -> Answer<Explanation> {
    Ok(Json(api.control().logs(&actor).await?.explain(&id, query).await?))
}

/// Tells what would become of a request, without sending it.
///
/// The edge leads it through the same stages as any other and tells what each decides; its action is
/// described and not carried out. A host that belongs to nobody, or to another, is answered 404 to
/// clients.
#[utoipa::path(
    post, path = "/explain", tag = "sites", request_body = TryOut,
    responses((status = 200, description = "What would happen.", body = Explanation)),
)]
pub(crate) async fn try_out(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Body(request): Body<TryOut>,
) -> Answer<Explanation> {
    Ok(Json(api.control().sites(&actor).await?.try_out(request).await?))
}
