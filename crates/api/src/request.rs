//! The entrance: what happens to every request, in this order.
//!
//! 1. it gets an id and a span (continued from the caller's trace where there is one);
//! 2. its host says whether it was meant for us ([`host`]), its origin whether a page of ours sent
//!    it ([`origin`]);
//! 3. it is answered; a handler that panics is an internal problem; what changes something runs to
//!    its end, also when the caller goes away meanwhile;
//! 4. a refusal gets its body ([`problem`]), the answer its security headers and the id;
//! 5. it is counted.

use std::{any::Any, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, Method};
use portway_telemetry::{TraceContext, trace::TRACEPARENT};
use portway_wire::ProblemCode;
use tracing::{Instrument as _, Span, debug, field, info_span};

use crate::{
    context::{self, Context, REQUEST_ID},
    headers, host, origin,
    peer::Peer,
    problem::{self, Refusal},
    state::ApiState,
};

/// The route of requests that no route answers; paths themselves are no labels.
const UNMATCHED: &str = "unmatched";

/// Leads a request through.
pub(crate) async fn entrance(
    State(api): State<ApiState>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let route = route(&request);
    let id = context::request_id(request.headers());
    let span = span(&request, method, &route, &id);
    let answered = async {
        let response =
            judged(&api, &id, request, next).await.unwrap_or_else(Refusal::into_response);
        finish(problem::render(response, &id), &id)
    };
    let response = answered.instrument(span.clone()).await;
    let status = response.status().as_u16();
    let seconds = started.elapsed().as_secs_f64();
    span.record("http.response.status_code", status);
    span.in_scope(|| debug!(http.response.status_code = status, seconds, "{method} {route}"));
    api.control().observe_request(method, &route, status, seconds);
    response
}

/// Turns a panic of a handler into an answer. The panic hook has logged where it happened.
#[expect(clippy::needless_pass_by_value, reason = "the layer hands it over")]
pub(crate) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned());
    let detail = "the request ran into a fault of Portway; the log of the manager tells more";
    Refusal::new(ProblemCode::Internal, detail).cause(text).into_response()
}

async fn judged(
    api: &ApiState,
    id: &str,
    mut request: Request,
    next: Next,
) -> Result<Response, Refusal> {
    let peer = request.extensions().get::<Peer>().cloned().ok_or_else(|| {
        Refusal::new(ProblemCode::Internal, "it is unknown where the request came from")
    })?;
    let console = api.settings().console.as_ref();
    let way = host::judge(&peer, request.uri(), request.headers(), console)?;
    let context = Context::new(&peer, way, request.headers(), id.to_owned());
    Span::current().record("client.address", context.from.as_str());
    origin::judge(request.method(), request.headers(), context.secure)?;
    request.extensions_mut().insert(context);
    if request.method().is_safe() {
        return Ok(next.run(request).await);
    }
    let writing = api.writes().spawn(next.run(request).in_current_span());
    writing
        .await
        .map_err(|error| Refusal::new(ProblemCode::Internal, "the change did not end").cause(error))
}

fn finish(mut response: Response, id: &str) -> Response {
    headers::secure(response.headers_mut());
    // An id has only characters that a header may have.
    if let Ok(value) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    response
}

fn span(request: &Request, method: &str, route: &str, id: &str) -> Span {
    let span = info_span!(
        "request",
        otel.name = format!("{method} {route}"),
        otel.kind = "server",
        http.request.method = method,
        http.route = route,
        http.response.status_code = field::Empty,
        client.address = field::Empty,
        request.id = id,
    );
    let parents = request.headers().get_all(TRACEPARENT);
    if let Some(caller) = TraceContext::from_headers(parents) {
        caller.adopt(&span);
    }
    span
}

fn route(request: &Request) -> String {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or_else(|| UNMATCHED.to_owned(), |path| path.as_str().to_owned())
}

/// Returns the method from a bounded set: a label of metrics is never the caller's own text.
fn method_label(method: &Method) -> &'static str {
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    known.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}
