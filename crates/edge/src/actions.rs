//! Who answers a request once it may: an upstream, files, a redirect, a fixed answer.

mod cached;
mod forward;
mod mirror;

use std::{net::SocketAddr, pin::pin, sync::Arc};

use http::{HeaderValue, Response, StatusCode, header};
use portway_model::PathPrefix;
use portway_telemetry::access::{ErrorKind, ErrorLevel};

use crate::{
    body::{self, Body},
    canonical,
    content::{CompiledAction, CompiledRedirect, CompiledRespond, CompiledRoute, CompiledSite},
    exchange::{Exchange, Refusal},
    files::{self, FileFault},
    headers::{self, Arrival},
    pages::Fault,
    pipeline::{Inbound, Outcome},
    proxy::{BodyFault, DialError, Outgoing, Passage, ProxyError},
    waited::{Step, waited},
    worker::Worker,
};

/// Lets a route's action answer.
pub(crate) async fn act(
    worker: &Worker,
    inbound: Box<Inbound<'_>>,
    body: Body,
    (site, route): (&Arc<CompiledSite>, &CompiledRoute),
    exchange: &mut Exchange,
) -> Result<Outcome, Refusal> {
    match &route.action {
        CompiledAction::Proxy(upstream) => {
            forward::to_upstream(worker, upstream, inbound, body, (site, route), exchange).await
        }
        CompiledAction::Split(split) => {
            forward::to_side(worker, split, inbound, body, (site, route), exchange).await
        }
        CompiledAction::Files(root) => {
            let rest = canonical::decode(rest(&inbound, route)).map_err(|fault| {
                Refusal::of_request(Fault::BadRequest(fault), fault.to_string())
            })?;
            let path = inbound.path.as_str();
            let serving = pin!(files::serve(&worker.files, root, &rest, path, &inbound.parts));
            let served = waited(serving, |time| exchange.took(Step::Files, time)).await?;
            exchange.reads(served.body());
            Ok(Outcome::Answer(served))
        }
        CompiledAction::Redirect(target) => send_on(target, &inbound, route),
        CompiledAction::Respond(respond) => Ok(Outcome::Answer(respond_with(respond))),
    }
}

/// Returns the path below the route's prefix. Segments are counted, because the client may spell
/// the prefix with escapes; an escaped slash separates none, so the number is the same.
pub(crate) fn rest<'a>(inbound: &'a Inbound<'_>, route: &CompiledRoute) -> &'a str {
    let path = inbound.path.as_str();
    let Some(prefix) = route.prefix.as_ref().filter(|prefix| !prefix.is_root()) else {
        return path;
    };
    let segments = prefix.as_str().matches('/').count();
    path.match_indices('/').nth(segments).and_then(|(at, _)| path.get(at..)).unwrap_or("/")
}

/// Writes the request that an upstream is to see.
fn outgoing(
    inbound: Box<Inbound<'_>>,
    body: Body,
    route: &CompiledRoute,
) -> Result<Outgoing, Refusal> {
    let stripped = route.prefix.as_ref().filter(|prefix| route.strip_prefix && !prefix.is_root());
    let path_and_query = match stripped {
        Some(_) => inbound.path.rest(rest(&inbound, route)),
        None => inbound.path.whole(),
    };
    let path_and_query = path_and_query.map_err(|error| {
        Refusal::of_edge(Fault::Internal, format!("cannot write the path: {error}"))
    })?;
    let passage = passage(&inbound);
    let inbound = *inbound;
    let mut sent = inbound.parts.headers;
    let upgrade = inbound.upgrade.then(|| sent.get(header::UPGRADE).cloned()).flatten();
    headers::strip_hop_by_hop(&mut sent);
    // Ours to answer: the client is told to go on when its body is first asked for.
    sent.remove(header::EXPECT);
    sent.remove(header::HOST);
    if let Some(protocol) = upgrade {
        sent.insert(header::UPGRADE, protocol);
    }
    let default_port = if inbound.origin.https { 443 } else { 80 };
    let arrival = Arrival {
        origin: inbound.origin,
        peer: &inbound.connection.peer_value,
        host: inbound.host_value.as_ref(),
        port: inbound.host.port.unwrap_or(default_port),
        stripped: stripped.map(PathPrefix::as_str),
    };
    headers::set_forwarded(&mut sent, &arrival);
    route.request_headers.apply(&mut sent);
    Ok(Outgoing {
        method: inbound.parts.method,
        path_and_query,
        headers: sent,
        host: inbound.host_value,
        body,
        upgrade: inbound.upgrade,
        passage,
    })
}

/// Returns who the client is. Where a trusted proxy told, its port is unknown.
fn passage(inbound: &Inbound<'_>) -> Passage {
    let (peer, client) = (inbound.connection.peer, inbound.origin.client);
    let port = if peer.ip().to_canonical() == client { peer.port() } else { 0 };
    Passage::new(SocketAddr::new(client, port), inbound.connection.local)
}

/// Sends a client on, where the route says.
pub(crate) fn send_on(
    target: &CompiledRedirect,
    inbound: &Inbound<'_>,
    route: &CompiledRoute,
) -> Result<Outcome, Refusal> {
    let mut location = target.to.clone();
    if target.keep_path {
        let rest = rest(inbound, route);
        location.truncate(location.trim_end_matches('/').len());
        location.push_str(rest);
        if let Some(query) = inbound.parts.uri.query() {
            location.push(if location.contains('?') { '&' } else { '?' });
            location.push_str(query);
        }
    }
    let response = redirect(target.status, &location);
    response.map(Outcome::Answer).ok_or_else(|| {
        let reason = "the address of the redirect cannot stand in a header".to_owned();
        Refusal::of_edge(Fault::Internal, reason)
    })
}

/// Returns an answer that sends the client on, unless a header cannot carry the address.
pub(crate) fn redirect(status: StatusCode, location: &str) -> Option<Response<Body>> {
    let location = HeaderValue::from_str(location).ok()?;
    let mut response = Response::new(body::empty());
    *response.status_mut() = status;
    response.headers_mut().insert(header::LOCATION, location);
    Some(response)
}

/// Returns a fixed answer.
pub(crate) fn respond_with(respond: &CompiledRespond) -> Response<Body> {
    let mut response = Response::new(body::full(respond.body.clone()));
    *response.status_mut() = respond.status;
    let content_type = respond.content_type.clone();
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

/// What the client is told of an upstream's failure names no target; what the operator is told
/// does.
impl From<ProxyError> for Refusal {
    fn from(error: ProxyError) -> Self {
        let reason = body::chain(&error);
        match error {
            ProxyError::Body(fault) => of_body(fault),
            ProxyError::Unwritable(_) => Self::of_edge(Fault::Internal, reason),
            ProxyError::Full { .. }
            | ProxyError::Late { .. }
            | ProxyError::Dial { .. }
            | ProxyError::NoAnswer { .. }
            | ProxyError::TimedOut { .. } => Self::of_upstream(upstream_fault(&error), reason),
        }
    }
}

fn upstream_fault(error: &ProxyError) -> Fault {
    match error {
        ProxyError::Full { .. } | ProxyError::Late { .. } => Fault::UpstreamFull,
        ProxyError::Dial { source, .. } => dial_fault(source),
        ProxyError::NoAnswer { .. } => Fault::UpstreamInvalid,
        ProxyError::TimedOut { .. } => Fault::UpstreamTimeout,
        ProxyError::Body(_) => Fault::BadBody,
        ProxyError::Unwritable(_) => Fault::Internal,
    }
}

fn dial_fault(error: &DialError) -> Fault {
    match error {
        DialError::Refused(_) => Fault::UpstreamRefused,
        DialError::TimedOut(_) => Fault::UpstreamTimeout,
        DialError::Resolve(_)
        | DialError::OutOfBounds(_)
        | DialError::Unreachable(_)
        | DialError::Untrusted(_)
        | DialError::Tls(_)
        | DialError::TlsSetup(_)
        | DialError::NoAddress => Fault::UpstreamUnreachable,
        DialError::NoPlace { .. } => Fault::UpstreamFull,
        DialError::NoHttp2 | DialError::Http(_) => Fault::UpstreamInvalid,
    }
}

impl From<FileFault> for Refusal {
    fn from(error: FileFault) -> Self {
        match &error {
            FileFault::NotFound => Self::quiet(error.fault()),
            FileFault::Method => Self::of_request(error.fault(), error.to_string()),
            FileFault::Root { .. } | FileFault::Read { .. } => {
                Self::of_edge(error.fault(), body::chain(&error))
            }
        }
    }
}

fn of_body(fault: BodyFault) -> Refusal {
    match fault {
        BodyFault::TooLarge { limit } => {
            let reason = format!("the body is larger than {limit} bytes");
            Refusal::of_request(Fault::BodyTooLarge { limit }, reason)
        }
        BodyFault::Silent(reason) => Refusal::of_request(Fault::RequestTimeout, reason),
        BodyFault::Gone(reason) => {
            let report = (ErrorKind::ClientGone, ErrorLevel::Info, reason);
            Refusal { fault: Fault::BadBody, report: Some(report) }
        }
        BodyFault::Broken(reason) => Refusal::of_request(Fault::BadBody, reason),
    }
}
