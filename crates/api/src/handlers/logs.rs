//! Access and error logs of sites.

use std::{convert::Infallible, time::Duration};

use axum::{
    Json,
    extract::State,
    response::{
        IntoResponse as _, Response,
        sse::{Event, KeepAlive, Sse},
    },
};
use futures_util::{Stream, StreamExt as _};
use portway_control::Resource;
use portway_wire::logs::{EngineLogQuery, LogLine, LogLines, LogQuery};
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::{
    auth::Caller,
    extract::{Path, Query},
    problem::Refusal,
    state::ApiState,
};

/// How often a stream without lines says that it lives.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

/// Reads a site's logs, or follows them: those of this machine's edge, and of the nodes that have it.
///
/// Lines of other engines come in the same form, as far as it can be known.
///
/// With `follow=true` the answer has no end: each line is a server-sent event whose data is a
/// `LogLine`, the newest `lines` first.
#[utoipa::path(
    get, path = "/sites/{site}/logs", tag = "sites",
    params(("site" = String, Path, description = "The id or the name."), LogQuery),
    responses((
        status = 200, description = "The lines, oldest first.",
        content((LogLines = "application/json"), (LogLine = "text/event-stream")),
    )),
)]
pub(crate) async fn site_logs(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    Query(query): Query<LogQuery>,
) -> Result<Response, Refusal> {
    let sites = api.control().logs(&actor).await?;
    if !query.follow {
        return Ok(Json(sites.logs(&site, query).await?).into_response());
    }
    let lines = sites.follow(&site, query).await?;
    Ok(stream(lines, &api))
}

/// Reads the log of a node's engine itself, or follows it.
///
/// With `follow=true` the answer has no end: each line is a server-sent event whose data is a
/// `LogLine`, the last `lines` first.
#[utoipa::path(
    get, path = "/nodes/{node}/logs", tag = "nodes",
    params(("node" = String, Path, description = "The id or the name."), EngineLogQuery),
    responses((
        status = 200, description = "The lines, oldest first.",
        content((LogLines = "application/json"), (LogLine = "text/event-stream")),
    )),
)]
pub(crate) async fn engine_log(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(node): Path<String>,
    Query(query): Query<EngineLogQuery>,
) -> Result<Response, Refusal> {
    let operator = api.control().operator(&actor, Resource::Nodes, "node.log").await?;
    if !query.follow {
        return Ok(Json(operator.engine_log(&node, query).await?).into_response());
    }
    let lines = operator.follow_engine_log(&node, query).await?;
    Ok(stream(lines, &api))
}

fn stream<S>(lines: S, api: &ApiState) -> Response
where
    S: Stream<Item = LogLine> + Send + 'static,
{
    let events = events(lines, api.closing().clone());
    let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
    Sse::new(events).keep_alive(alive).into_response()
}

/// Turns lines into events until the API closes.
fn events<S>(
    lines: S,
    closing: CancellationToken,
) -> impl Stream<Item = Result<Event, Infallible>> + Send
where
    S: Stream<Item = LogLine> + Send + 'static,
{
    lines.take_until(closing.cancelled_owned()).filter_map(async |line| {
        match Event::default().json_data(&line) {
            Ok(event) => Some(Ok(event)),
            Err(error) => {
                error!("a log line has no JSON form: {error}");
                None
            }
        }
    })
}
