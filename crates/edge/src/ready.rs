//! Whether balancers in front should send requests, for those who ask by the machine's own address: over
//! plain HTTP, for a host that no site has.

use http::{HeaderValue, Response, StatusCode, header};
use portway_model::node::READY_PATH;

use crate::{
    body::{self, Body},
    pipeline::Inbound,
    worker::Shared,
};

/// Tells whether it is asked for.
pub(crate) fn is_asked(inbound: &Inbound<'_>) -> bool {
    inbound.connection.tls.is_none() && inbound.parts.uri.path() == READY_PATH
}

/// Returns 200, or 503 while the node is draining.
pub(crate) fn answer(shared: &Shared) -> Response<Body> {
    let is_draining = shared.content.snapshot().settings.draining;
    let (status, text) = if is_draining {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else {
        (StatusCode::OK, "ready\n")
    };
    let mut response = Response::new(body::full(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
