//! Why a request was answered as it was.

use axum::{Json, extract::State};
use portway_wire::explain::{ExplainQuery, Explanation};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Path, Query},
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
