//! Revisions of what is declared, and undo.

use std::time::Duration;

use axum::{Json, extract::State};
use portway_control::Resource;
use portway_wire::{
    Page,
    deploy::{RevisionProgress, WaitQuery},
    revision::{Diff, DiffQuery, Revert, RevisionQuery, RevisionView},
    site::Changed,
};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path, Query},
    state::ApiState,
};

/// How long a caller waits without having said how long, in seconds.
const WAIT: u64 = 30;
/// How long a caller may wait.
const MAX_WAIT: u64 = 60;

/// Lists revisions, the newest first.
#[utoipa::path(
    get, path = "/revisions", tag = "history", params(RevisionQuery),
    responses((status = 200, description = "A part of the list.", body = Page<RevisionView>)),
)]
pub(crate) async fn list_revisions(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<RevisionQuery>,
) -> Answer<Page<RevisionView>> {
    Ok(Json(api.control().history(&actor).await?.list(query).await?))
}

/// Shows a revision with its differences.
#[utoipa::path(
    get, path = "/revisions/{number}", tag = "history",
    params(("number" = i64, Path, description = "The revision.")),
    responses((status = 200, description = "The revision.", body = RevisionView)),
)]
pub(crate) async fn show_revision(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(number): Path<i64>,
) -> Answer<RevisionView> {
    Ok(Json(api.control().history(&actor).await?.get(number).await?))
}

/// Waits for a revision to be carried out.
///
/// The answer comes when every node is done, and at the latest after `timeout`.
#[utoipa::path(
    get, path = "/revisions/{number}/progress", tag = "history",
    params(("number" = i64, Path, description = "The revision."), WaitQuery),
    responses((status = 200, description = "How far it has come.", body = RevisionProgress)),
)]
pub(crate) async fn revision_progress(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(number): Path<i64>,
    Query(wait): Query<WaitQuery>,
) -> Answer<RevisionProgress> {
    let patience = Duration::from_secs(wait.timeout.unwrap_or(WAIT).min(MAX_WAIT));
    Ok(Json(api.control().history(&actor).await?.progress(number, patience).await?))
}

/// Takes back what a revision did.
///
/// Where others have changed the same things since, the answer is `conflict`, unless it is told to
/// take back their changes too.
#[utoipa::path(
    post, path = "/revisions/{number}/revert", tag = "history",
    params(("number" = i64, Path, description = "The revision.")),
    request_body = Revert,
    responses((status = 200, description = "A new revision restores it.", body = Changed)),
)]
pub(crate) async fn revert_revision(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(number): Path<i64>,
    Body(revert): Body<Revert>,
) -> Answer<Changed> {
    let operator = api.control().operator(&actor, Resource::Sites, "revision.revert").await?;
    Ok(Json(operator.revert_revision(number, revert).await?))
}

/// Compares two states of what is declared.
#[utoipa::path(
    get, path = "/diff", tag = "history", params(DiffQuery),
    responses((status = 200, description = "What differs.", body = Diff)),
)]
pub(crate) async fn diff(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<DiffQuery>,
) -> Answer<Diff> {
    Ok(Json(api.control().history(&actor).await?.diff(query).await?))
}
