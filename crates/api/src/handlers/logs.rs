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
use portway_wire::logs::{LogLine, LogLines, LogQuery};
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

/// Reads a site's logs, or follows them.
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
    let events = events(lines, api.closing().clone());
    let alive = KeepAlive::new().interval(SIGN_OF_LIFE);
    Ok(Sse::new(events).keep_alive(alive).into_response())
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
