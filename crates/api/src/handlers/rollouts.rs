//! Rollouts, and events as they come.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    response::sse::{Event as Sent, KeepAlive, Sse},
};
use futures_util::{Stream, StreamExt as _};
use http::HeaderMap;
use portway_control::{Resource, RolloutCommand};
use portway_wire::{
    Page, PageQuery, ProblemCode,
    deploy::DeploymentStep,
    rollout::{AbortRollout, Event, EventQuery, RolloutView},
};
use serde::Serialize;
use tokio_util::sync::CancellationToken;
use tracing::error;
use uuid::Uuid;

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path, Query},
    problem::Refusal,
    state::ApiState,
};

/// How often a stream without events says that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);
/// The header by which a listener who was away says what it heard last.
const LAST_EVENT_ID: &str = "last-event-id";

/// Lists rollouts, the newest first.
#[utoipa::path(
    get, path = "/rollouts", tag = "history", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<RolloutView>)),
)]
pub(crate) async fn list_rollouts(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PageQuery>,
) -> Answer<Page<RolloutView>> {
    let overseer = api.control().overseer(&actor, Resource::Revisions, "rollout.read").await?;
    Ok(Json(overseer.rollouts(query).await?))
}

/// Shows the rollout of a revision.
#[utoipa::path(
    get, path = "/rollouts/{revision}", tag = "history",
    params(("revision" = i64, Path, description = "The revision.")),
    responses((status = 200, description = "The rollout.", body = RolloutView)),
)]
pub(crate) async fn show_rollout(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(revision): Path<i64>,
) -> Answer<RolloutView> {
    let overseer = api.control().overseer(&actor, Resource::Revisions, "rollout.read").await?;
    Ok(Json(overseer.rollout(revision).await?))
}

/// Lets no further node in. Those that were let in get the revision.
#[utoipa::path(
    post, path = "/rollouts/{revision}/pause", tag = "history",
    params(("revision" = i64, Path, description = "The revision.")),
    responses((status = 200, description = "It is paused.", body = RolloutView)),
)]
pub(crate) async fn pause_rollout(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(revision): Path<i64>,
) -> Answer<RolloutView> {
    let operator = api.control().operator(&actor, Resource::Sites, "rollout.pause").await?;
    Ok(Json(operator.pause_rollout(revision).await?))
}

/// Has a paused rollout go on, past the failures that there are.
#[utoipa::path(
    post, path = "/rollouts/{revision}/resume", tag = "history",
    params(("revision" = i64, Path, description = "The revision.")),
    responses((status = 200, description = "It goes on.", body = RolloutView)),
)]
pub(crate) async fn resume_rollout(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(revision): Path<i64>,
) -> Answer<RolloutView> {
    let operator = api.control().operator(&actor, Resource::Sites, "rollout.resume").await?;
    Ok(Json(operator.resume_rollout(revision).await?))
}

/// Ends a rollout: nodes keep what they have, or with `back` all get what they had before.
#[utoipa::path(
    post, path = "/rollouts/{revision}/abort", tag = "history",
    params(("revision" = i64, Path, description = "The revision.")),
    request_body = AbortRollout,
    responses((status = 200, description = "It is ended, or goes back.", body = RolloutView)),
)]
pub(crate) async fn abort_rollout(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(revision): Path<i64>,
    Body(abort): Body<AbortRollout>,
) -> Answer<RolloutView> {
    let operator = api.control().operator(&actor, Resource::Sites, "rollout.abort").await?;
    let command = if abort.back { RolloutCommand::GoBack } else { RolloutCommand::Abort };
    Ok(Json(operator.abort_rollout(revision, command).await?))
}

/// Listens to events: what becomes of rollouts.
///
/// The answer has no end: each event is a server-sent event whose data is an `Event`. A listener that
/// was away goes on where it was with `Last-Event-ID`, or with `after`; events are kept for a week.
/// Clients hear of what touched their own sites. The stream ends with the login.
#[utoipa::path(
    get, path = "/events", tag = "history",
    params(
        EventQuery,
        ("Last-Event-ID" = Option<String>, Header, description = "The event that was heard last."),
    ),
    responses((
        status = 200, description = "Events as they come.",
        content((Event = "text/event-stream")),
    )),
)]
pub(crate) async fn events(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<EventQuery>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Refusal> {
    let query = EventQuery { after: last_heard(&headers)?.or(query.after), ..query };
    let events = api.control().history(&actor).await?.events(query).await?;
    let sent = events.map(|event| (event.id.to_string(), event.kind.clone(), event));
    Ok(stream(sent, api.closing().clone()))
}

/// Listens to the steps of a deployment: each command with what it printed, until it has ended.
///
/// Each step is a server-sent event whose data is a `DeploymentStep`. A listener that was away goes on
/// where it was with `Last-Event-ID`.
#[utoipa::path(
    get, path = "/deployments/{id}/events", tag = "system",
    params(
        ("id" = Uuid, Path, description = "The id."),
        ("Last-Event-ID" = Option<String>, Header, description = "The step that was heard last."),
    ),
    responses((
        status = 200, description = "Steps as they are done.",
        content((DeploymentStep = "text/event-stream")),
    )),
)]
pub(crate) async fn deployment_events(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<Uuid>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Sent, Infallible>>>, Refusal> {
    let after = last_heard(&headers)?.and_then(|after| u32::try_from(after).ok()).unwrap_or(0);
    let overseer = api.control().overseer(&actor, Resource::System, "deployment.read").await?;
    let steps = overseer.follow_steps(&actor, id, after).await?;
    let sent = steps.map(|step| (step.number.to_string(), "step".to_owned(), step));
    Ok(stream(sent, api.closing().clone()))
}

fn last_heard(headers: &HeaderMap) -> Result<Option<i64>, Refusal> {
    let Some(value) = headers.get(LAST_EVENT_ID) else { return Ok(None) };
    let number = value.to_str().ok().and_then(|text| text.parse::<i64>().ok());
    let number = number.filter(|number| *number >= 0);
    number.map(Some).ok_or_else(|| {
        let detail = "`Last-Event-ID` is the number of an event";
        Refusal::new(ProblemCode::BadRequest, detail)
    })
}

/// Sends things with their ids and kinds as events, until the API closes.
fn stream<T, S>(
    things: S,
    closing: CancellationToken,
) -> Sse<impl Stream<Item = Result<Sent, Infallible>>>
where
    T: Serialize + Send + Sync + 'static,
    S: Stream<Item = (String, String, T)> + Send + 'static,
{
    let sent =
        things.take_until(closing.cancelled_owned()).filter_map(async |(id, kind, thing)| {
            match Sent::default().id(id).event(kind).json_data(&thing) {
                Ok(event) => Some(Ok(event)),
                Err(error) => {
                    error!("an event has no JSON form: {error}");
                    None
                }
            }
        });
    Sse::new(sent).keep_alive(KeepAlive::new().interval(SIGN_OF_LIFE))
}
