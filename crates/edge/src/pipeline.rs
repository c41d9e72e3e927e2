//! The way of a request through the edge, written once, as a list: see [`stages`].

mod gates;
mod place;
mod rules;

use std::{pin::Pin, rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header, request::Parts};
use http_body::Body as _;
use ipnet::IpNet;
use portway_telemetry::access::Stage;
use tracing::Instrument as _;

use crate::{
    actions,
    admission::{Admitted, Kind as LimitKind},
    balance::Pick,
    body::{self, Body},
    canonical::{HostName, RequestHost, RequestPath, Spellings},
    compress,
    content::{CompiledRoute, CompiledSite, Located},
    exchange::{Exchange, Refusal},
    headers::Origin,
    metrics::Limited,
    pages::{self, Fault},
    proxy::Switched,
    ready,
    request_id::REQUEST_ID,
    stall::Patience,
    waited::Step,
    worker::{Connection, Shared, Worker},
};

/// How a request arrived.
#[derive(Debug)]
pub(crate) struct Arrived {
    /// The bytes of its head.
    pub(crate) bytes: usize,
    /// The time from the first byte of the head to its last.
    pub(crate) took: Duration,
    /// How long the client may take nothing of the answer.
    pub(crate) patience: Rc<Patience>,
}

/// A request, understood.
pub(crate) struct Inbound<'a> {
    /// The connection it came on.
    pub(crate) connection: &'a Connection,
    /// Who asks.
    pub(crate) origin: &'a Origin,
    /// The host that is meant.
    pub(crate) host: RequestHost,
    /// The host as logs and upstreams see it; nothing when the client named none.
    pub(crate) host_value: Option<HeaderValue>,
    /// The path in its one form.
    pub(crate) path: RequestPath,
    /// What of it programs understand differently.
    pub(crate) spellings: Spellings,
    /// The request as it came, without its body.
    pub(crate) parts: Parts,
    /// Whether the client asks to leave HTTP.
    pub(crate) upgrade: bool,
}

/// What a request comes to.
pub(crate) enum Outcome {
    /// An answer.
    Answer(Response<Body>),
    /// The head of an answer after which the connection is a tunnel to an upstream.
    Tunnel(Response<()>, Switched, Pick),
}

/// What is to be done on the client's connection.
pub(crate) enum Served {
    /// The answer is to be sent.
    Answer(Response<Body>),
    /// The head is to be sent, and then whatever comes from either side.
    Tunnel(Box<Tunnel>),
}

/// A connection that leaves HTTP.
pub(crate) struct Tunnel {
    /// The head of the answer.
    pub(crate) response: Response<()>,
    /// The upstream's side.
    pub(crate) upstream: Switched,
    /// The place among the requests in flight.
    pub(crate) pick: Pick,
    /// What is to be told when it ends.
    pub(crate) exchange: Box<Exchange>,
}

/// Stands in the extensions of a request whose connection can leave HTTP, and whose client asks
/// for it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct OffersUpgrade;

/// Stands in the extensions of an answer that may be read ahead of its reader: up to so many bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadAhead(pub(crate) u64);

/// Answers a request. The future of everything that can happen to a request is large, so it is made in
/// memory of its own, for as long as the request lasts.
pub(crate) fn serve(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Body>,
    arrived: Arrived,
) -> Pin<Box<impl Future<Output = Served>>> {
    Box::pin(follow(worker, connection, request, arrived))
}

async fn follow(
    worker: Rc<Worker>,
    connection: Rc<Connection>,
    request: Request<Body>,
    arrived: Arrived,
) -> Served {
    let settings = Arc::clone(&worker.shared.content.snapshot().settings);
    let (parts, incoming) = request.into_parts();
    let tls = connection.tls.is_some();
    let (trusted, spans) = (&settings.trusted_proxies, &worker.shared.spans);
    let origin = Origin::of(&parts.headers, connection.peer, tls, trusted, spans);
    let accept = parts.headers.get(header::ACCEPT).cloned();
    let method = parts.method.clone();
    let mut exchange = Exchange::begin(&worker.shared, &connection, &origin, &parts);
    exchange.answers_to(&arrived.patience);
    exchange.took(Step::Head, arrived.took);
    // For messages; what is exported is made of the access record (`Exchange::end`).
    let span = tracing::debug_span!("request", request.id = origin.request_id.as_str());
    let request = (parts, incoming);
    let staged = stages(&worker, &connection, &origin, &mut exchange, request, &arrived);
    let outcome = staged.instrument(span).await.unwrap_or_else(|refusal| {
        exchange.refused(&refusal);
        Outcome::Answer(pages::error(&refusal.fault, origin.request_id.as_str(), accept.as_ref()))
    });
    match outcome {
        Outcome::Answer(response) => {
            let response = body::fit(&method, with_id(response, &origin));
            Served::Answer(exchange.finish(response))
        }
        Outcome::Tunnel(response, upstream, pick) => {
            let response = with_id(response, &origin);
            Served::Tunnel(Box::new(Tunnel { response, upstream, pick, exchange }))
        }
    }
}

/// Answers what is no request, or never became a whole one. It is logged with the site that the
/// connection was made for, where that is known.
pub(crate) async fn refuse(
    worker: &Worker,
    connection: &Connection,
    fault: &Fault,
    reason: &str,
) -> Response<Body> {
    let tls = connection.tls.is_some();
    let origin = Origin::of(&HeaderMap::new(), connection.peer, tls, &[], &worker.shared.spans);
    let mut exchange = Exchange::of_nothing(&worker.shared, connection, &origin);
    if let Some(site) = meant_by(worker, connection).await {
        exchange.found_site(&site);
    }
    exchange.refused(&Refusal::of_request(fault.clone(), reason));
    exchange.finish(with_id(pages::error(fault, origin.request_id.as_str(), None), &origin))
}

async fn meant_by(worker: &Worker, connection: &Connection) -> Option<Arc<CompiledSite>> {
    let name = connection.tls.as_ref()?.server_name.as_deref()?;
    let content = &worker.shared.content;
    let local = connection.local.ip().to_canonical();
    let entry = content.snapshot().find(&HostName::Dns(name.to_owned()), local).map(Arc::clone)?;
    let table = content.table(&entry).await.ok()?;
    table.sites.first().map(Arc::clone)
}

impl Outcome {
    /// Returns the headers of the answer.
    fn headers_mut(&mut self) -> &mut HeaderMap {
        match self {
            Self::Answer(response) => response.headers_mut(),
            Self::Tunnel(response, ..) => response.headers_mut(),
        }
    }
}

impl Served {
    /// Returns the answer, on a connection that cannot leave HTTP.
    pub(crate) fn into_answer(self) -> Response<Body> {
        match self {
            Self::Answer(response) => response,
            Self::Tunnel(tunnel) => {
                let mut response = Response::new(body::empty());
                *response.status_mut() = StatusCode::BAD_GATEWAY;
                tunnel.exchange.finish(response)
            }
        }
    }
}

fn with_id<B>(mut response: Response<B>, origin: &Origin) -> Response<B> {
    response.headers_mut().insert(REQUEST_ID, origin.request_id.value());
    response
}

/// Follows a request through its stages.
pub(crate) trait Witness {
    /// It enters a stage.
    fn enters(&mut self, stage: Stage);
    /// The canonical host and path are known.
    fn understood(&mut self, host: Option<&HeaderValue>, path: &RequestPath);
    /// The site is known.
    fn found_site(&mut self, site: &Arc<CompiledSite>);
    /// The route is known.
    fn found_route(&mut self, route: &CompiledRoute);
    /// The network is known for whose sake the client's address is allowed.
    fn found_network(&mut self, network: IpNet);
    /// The user is known.
    fn found_user(&mut self, user: String);
    /// It waited for a step.
    fn waits(&mut self, step: Step, time: Duration);
    /// Tells whether limits count it; where they do not, what they would say is told by words.
    fn is_counted(&self) -> bool;
    /// A limit has this to say of a request that is not counted.
    fn within(&mut self, text: String);
    /// It exceeds a limit.
    fn exceeds(&mut self, kind: LimitKind, limit: &str, outcome: Limited);
}

/// A request that came through to its action.
pub(crate) struct Passed<'a> {
    /// The request. It is boxed, as it is handed on and on.
    pub(crate) inbound: Box<Inbound<'a>>,
    /// Its site and route.
    pub(crate) located: Located,
    /// What limits counted of it.
    pub(crate) admitted: Option<Admitted>,
}

/// What came of the stages before the action.
pub(crate) enum Way<'a> {
    /// It came through.
    Through(Passed<'a>),
    /// A stage answered in place of the action.
    Answered(Response<Body>),
}

/// The way of a request: its stages, then its action.
async fn stages(
    worker: &Worker,
    connection: &Connection,
    origin: &Origin,
    exchange: &mut Exchange,
    (parts, incoming): (Parts, Body),
    arrived: &Arrived,
) -> Result<Outcome, Refusal> {
    let has_body = !incoming.is_end_stream();
    let request = (parts, has_body);
    let way = pass(&worker.shared, connection, origin, exchange, request, arrived).await?;
    let Passed { mut inbound, located, admitted } = match way {
        Way::Through(passed) => passed,
        Way::Answered(response) => return Ok(Outcome::Answer(response)),
    };
    let (site, route) = (&located.site, located.route().ok_or_else(place::no_route)?);
    let Admitted { flight, told, tried: _ } = admitted.unwrap_or_default();
    exchange.counts_in(flight);
    let body = if has_body {
        exchange.count_received(limited_body(site, route, incoming))
    } else {
        body::empty()
    };
    inbound.upgrade = asks_upgrade(&inbound.parts);
    let accept_encoding = compress::acceptable(&inbound.parts.headers).cloned();
    let outcome = actions::act(worker, inbound, body, (site, route), exchange).await?;
    let mut outcome = finish_response(worker, outcome, route, accept_encoding.as_ref());
    if let Some(told) = told {
        told.add(outcome.headers_mut());
    }
    Ok(outcome)
}

/// The stages of a request, in their order. They decide and send nothing, so that a request that was
/// never sent can be led through them.
pub(crate) async fn pass<'a>(
    shared: &Shared,
    connection: &'a Connection,
    origin: &'a Origin,
    witness: &mut impl Witness,
    (parts, has_body): (Parts, bool),
    arrived: &Arrived,
) -> Result<Way<'a>, Refusal> {
    witness.enters(Stage::Read);
    let inbound = place::understand(connection, origin, parts)?;
    witness.understood(inbound.host_value.as_ref(), &inbound.path);
    witness.enters(Stage::Method);
    rules::refuse_method(&inbound.parts.method)?;
    witness.enters(Stage::Host);
    let (entry, table) = match place::find_host(shared, &inbound, witness).await {
        Err(_) if ready::is_asked(&inbound) => return Ok(Way::Answered(ready::answer(shared))),
        found => found?,
    };
    let (site, located) = place::find_site(&table, &inbound)?;
    witness.found_site(&site);
    arrived.patience.set(site.limits.write_stall);
    witness.enters(Stage::Head);
    rules::limit_head(&inbound.parts, arrived, &site.limits.reading)?;
    witness.enters(Stage::Path);
    place::refuse_odd_path(&table, &inbound, &site, located.as_ref())?;
    witness.enters(Stage::Connection);
    rules::refuse_misdirected(shared, &inbound, &entry)?;
    witness.enters(Stage::Blocked);
    rules::refuse_blocked(&site)?;
    witness.enters(Stage::Https);
    if let Some(response) = rules::redirect_to_https(shared, &inbound, &site) {
        return Ok(Way::Answered(response));
    }
    witness.enters(Stage::Maintenance);
    gates::refuse_in_maintenance(&site, inbound.origin.client)?;
    witness.enters(Stage::Route);
    let located = located.ok_or_else(place::no_route)?;
    let route = located.route().ok_or_else(place::no_route)?;
    witness.found_route(route);
    witness.enters(Stage::Access);
    rules::check_access(shared, &inbound, route, witness).await?;
    witness.enters(Stage::Limit);
    let admitted = gates::admit(shared, &inbound, &located.site, route, witness)?;
    witness.enters(Stage::Body);
    rules::limit_body(&inbound, route, has_body)?;
    witness.enters(route.action.stage());
    Ok(Way::Through(Passed { inbound, located, admitted }))
}

fn limited_body(site: &CompiledSite, route: &CompiledRoute, incoming: Body) -> Body {
    let body = match site.limits.pace {
        Some(pace) => body::paced(incoming, pace),
        None => incoming,
    };
    body::limited(body, route.max_body)
}

/// Tells whether a client asks to leave HTTP, as WebSocket does (RFC 9110 §7.8).
fn asks_upgrade(parts: &Parts) -> bool {
    parts.extensions.get::<OffersUpgrade>().is_some()
        && parts.method == Method::GET
        && !speaks_http_after(&parts.headers)
}

/// A tunnel that speaks HTTP (h2c, or HTTP after TLS) would carry requests past every stage here.
fn speaks_http_after(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::UPGRADE).iter();
    let text = lists.map(|list| String::from_utf8_lossy(list.as_bytes()).to_ascii_lowercase());
    text.flat_map(|list| list.split(',').map(|item| item.trim().to_owned()).collect::<Vec<_>>())
        .any(|item| matches!(item.split('/').next(), Some("h2c" | "h2" | "http" | "tls")))
}

/// The answer's headers as the route wants them, then compression. What is read ahead is compressed
/// already.
fn finish_response(
    worker: &Worker,
    outcome: Outcome,
    route: &CompiledRoute,
    accept_encoding: Option<&HeaderValue>,
) -> Outcome {
    match outcome {
        Outcome::Answer(mut response) => {
            route.response_headers.apply(response.headers_mut());
            if route.compress {
                response = compress::compress(accept_encoding, response);
            }
            if let Some(ReadAhead(most)) = response.extensions_mut().remove() {
                response = response.map(|body| body::ahead(body, most, &worker.shared.memory));
            }
            Outcome::Answer(response)
        }
        Outcome::Tunnel(mut response, upstream, pick) => {
            route.response_headers.apply(response.headers_mut());
            Outcome::Tunnel(response, upstream, pick)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It is put into memory of its own with each request. What is larger than 8 KiB is copied by an
    /// instruction that some processors are slow at.
    #[test]
    fn the_future_of_a_request_is_small() {
        let size = future_size(follow);
        assert!(size <= 4_096, "{size} bytes");
    }

    fn future_size<A, B, C, D, F>(_: impl Fn(A, B, C, D) -> F) -> usize {
        size_of::<F>()
    }
}
