//! A request on its way to an upstream, or to a side of a split: the cookies that keep a client where
//! it is, and what is told of targets on the way.

use std::{cell::Cell, net::IpAddr, pin::pin, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_body::Body as _;
use jiff::Timestamp;
use portway_model::PathPrefix;
use portway_telemetry::access::{ErrorLevel, Failed, milliseconds};

use super::{cached::Ask, mirror, outgoing, upstream_fault};
use crate::{
    balance::{Change, Facts, Notice, Target},
    body::{self, Body},
    clock::Clock,
    content::{CompiledRoute, CompiledSite, CompiledSplit, CompiledUpstream},
    exchange::{Exchange, Refusal},
    headers,
    metrics::SiteMetrics,
    pages::Fault,
    pipeline::{Inbound, Outcome, ReadAhead},
    proxy::{BodyFault, Forwarding, Observer, Outgoing, Peer, ProxyError, Reply},
    request_id::REQUEST_ID,
    waited::{Step, waited},
    worker::Worker,
};

/// A request as an upstream is to see it.
pub(super) struct Ready {
    /// The request.
    pub(super) outgoing: Box<Outgoing>,
    /// What of it decides on its target.
    pub(super) facts: Facts,
    client: IpAddr,
    https: bool,
}

/// An upstream's answer.
pub(super) struct Answered {
    /// The answer.
    pub(super) outcome: Outcome,
    /// The cookie that keeps the client with the target, where there is one.
    cookie: Option<String>,
}

/// What is the client's own of an answer.
pub(super) struct Rest(Option<String>);

impl Rest {
    /// Returns the answer as the client is to have it.
    pub(super) fn with_response(self, response: Response<Body>) -> Outcome {
        Answered { outcome: Outcome::Answer(response), cookie: self.0 }.with_cookie()
    }
}

/// Lets an upstream answer, or what is kept of its answers.
pub(super) async fn to_upstream(
    worker: &Worker,
    upstream: &Arc<CompiledUpstream>,
    inbound: Box<Inbound<'_>>,
    body: Body,
    (site, route): (&Arc<CompiledSite>, &CompiledRoute),
    exchange: &mut Exchange,
) -> Result<Outcome, Refusal> {
    if let Some(role) = &route.cache {
        let ask = Ask { worker, upstream, site, route, role };
        // Boxed, so that requests of routes without a cache do not pay for it.
        return Box::pin(ask.answer(inbound, body, exchange)).await;
    }
    let ready = ready(worker, upstream, inbound, body, route, exchange).await?;
    Ok(send(worker, upstream, ready, (site, route), exchange).await?.with_cookie())
}

/// Makes a request ready for its upstream.
pub(super) async fn ready(
    worker: &Worker,
    upstream: &CompiledUpstream,
    inbound: Box<Inbound<'_>>,
    body: Body,
    route: &CompiledRoute,
    exchange: &Exchange,
) -> Result<Ready, Refusal> {
    let facts = upstream.balancer.facts(inbound.origin.client, &inbound.parts.headers);
    let https = inbound.origin.https;
    let body = gathered(worker, upstream, &inbound, body, exchange).await?;
    let client = inbound.origin.client;
    let outgoing = Box::new(outgoing(inbound, body, route)?);
    Ok(Ready { outgoing, facts, client, https })
}

/// Sends a request to its upstream.
pub(super) async fn send(
    worker: &Worker,
    upstream: &CompiledUpstream,
    ready: Ready,
    (site, route): (&Arc<CompiledSite>, &CompiledRoute),
    exchange: &mut Exchange,
) -> Result<Answered, Refusal> {
    let clock = worker.shared.content.clock;
    let Ready { mut outgoing, facts, client, https } = ready;
    let metrics = || worker.shared.metrics.site(site.name.as_str());
    let metrics = site.runtime.metrics.get_or_init(metrics);
    mirror::copy(worker, route, client, metrics, &mut outgoing);
    let watch = Watch { site, metrics, exchange, clock, tries: Cell::new(0) };
    let forwarding = Forwarding { pool: &worker.pool, upstream, facts, clock, observer: &watch };
    let result = forwarding.send(outgoing).await;
    let tries = watch.tries.get();
    exchange.tried(tries);
    metrics.retried(u64::from(tries.saturating_sub(1)));
    let reply = result.inspect_err(|error| count_refused(metrics, error))?;
    exchange.answered(Arc::clone(&reply.peer), reply.waited);
    let cookie = upstream.balancer.set_cookie(reply.target, &facts, cookie_path(route), https);
    let mut outcome = into_outcome(reply);
    allow_ahead(&mut outcome, upstream);
    Ok(Answered { outcome, cookie })
}

impl Ready {
    /// Returns the same request once more, without its body.
    pub(super) fn copy(&self) -> Self {
        let Outgoing { method, path_and_query, headers, host, body: _, upgrade, passage } =
            &*self.outgoing;
        let outgoing = Outgoing {
            method: method.clone(),
            path_and_query: path_and_query.clone(),
            headers: headers.clone(),
            host: host.clone(),
            body: body::empty(),
            upgrade: *upgrade,
            passage: *passage,
        };
        Self { outgoing: Box::new(outgoing), ..*self }
    }
}

impl Answered {
    /// Returns the answer, and what is left of it, unless the connection leaves HTTP.
    pub(super) fn into_response(self) -> Result<(Response<Body>, Rest), Box<Outcome>> {
        match self.outcome {
            Outcome::Answer(response) => Ok((response, Rest(self.cookie))),
            Outcome::Tunnel(..) => Err(Box::new(self.with_cookie())),
        }
    }

    /// Returns the status; nothing where the connection leaves HTTP.
    pub(super) fn status(&self) -> Option<StatusCode> {
        match &self.outcome {
            Outcome::Answer(response) => Some(response.status()),
            Outcome::Tunnel(..) => None,
        }
    }

    /// Returns the headers; nothing where the connection leaves HTTP.
    pub(super) fn headers(&self) -> Option<&HeaderMap> {
        match &self.outcome {
            Outcome::Answer(response) => Some(response.headers()),
            Outcome::Tunnel(..) => None,
        }
    }

    /// Returns the answer as the client is to have it.
    pub(super) fn with_cookie(mut self) -> Outcome {
        add_cookie(&mut self.outcome, self.cookie.take());
        self.outcome
    }
}

/// Lets a side of a split answer.
pub(super) async fn to_side(
    worker: &Worker,
    split: &CompiledSplit,
    inbound: Box<Inbound<'_>>,
    body: Body,
    (site, route): (&Arc<CompiledSite>, &CompiledRoute),
    exchange: &mut Exchange,
) -> Result<Outcome, Refusal> {
    let https = inbound.origin.https;
    let choice = split.splitter.choose(&inbound.parts.headers, rand::random());
    let found = choice.and_then(|chosen| split.sides.get(usize::try_from(chosen.side).ok()?));
    let (Some(chosen), Some((name, upstream))) = (choice, found) else {
        let reason = "no side of the split has a share".to_owned();
        return Err(Refusal::of_edge(Fault::Internal, reason));
    };
    exchange.found_side(name.as_str());
    // Boxed, so that requests to plain upstreams do not pay for splits.
    let answering = to_upstream(worker, upstream, inbound, body, (site, route), exchange);
    let mut outcome = Box::pin(answering).await?;
    let cookie = || split.splitter.set_cookie(chosen.side, cookie_path(route), https);
    add_cookie(&mut outcome, chosen.is_new.then(cookie).flatten());
    Ok(outcome)
}

/// Reads the body before a target is taken, as far as the upstream's rules say. The messages of a
/// gRPC call are answered one by one, so the next may never come before.
async fn gathered(
    worker: &Worker,
    upstream: &CompiledUpstream,
    inbound: &Inbound<'_>,
    body: Body,
    exchange: &Exchange,
) -> Result<Body, Refusal> {
    let most = upstream.balancer.settings().buffer.0;
    if most == 0 || body.is_end_stream() || is_of_type(&inbound.parts.headers, "application/grpc") {
        return Ok(body);
    }
    let gathering = pin!(body::gather(body, most, &worker.shared.memory));
    let gathered = waited(gathering, |time| exchange.took(Step::Body, time)).await;
    gathered.map_err(|error| ProxyError::Body(BodyFault::from(&error)).into())
}

/// Lets the answer be read ahead of its reader, as far as the upstream's rules say. Who sends events
/// wants to know when nobody takes them.
fn allow_ahead(outcome: &mut Outcome, upstream: &CompiledUpstream) {
    let most = upstream.balancer.settings().buffer.0;
    if let Outcome::Answer(response) = outcome
        && most > 0
        && !is_of_type(response.headers(), "text/event-stream")
    {
        response.extensions_mut().insert(ReadAhead(most));
    }
}

fn is_of_type(headers: &HeaderMap, begins: &str) -> bool {
    let value = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    let start = value.and_then(|value| value.get(..begins.len()));
    start.is_some_and(|start| start.eq_ignore_ascii_case(begins.as_bytes()))
}

/// Returns the path below which a cookie is sent back: that of the route, so that routes with
/// targets of their own do not overwrite each other's.
fn cookie_path(route: &CompiledRoute) -> &str {
    route.prefix.as_ref().map_or("/", PathPrefix::as_str)
}

fn add_cookie(outcome: &mut Outcome, cookie: Option<String>) {
    let Some(cookie) = cookie.and_then(|cookie| HeaderValue::try_from(cookie).ok()) else { return };
    let headers = match outcome {
        Outcome::Answer(response) => response.headers_mut(),
        Outcome::Tunnel(response, ..) => response.headers_mut(),
    };
    headers.append(header::SET_COOKIE, cookie);
}

pub(super) fn into_outcome(reply: Reply) -> Outcome {
    let mut response = reply.response;
    let protocol = response.headers().get(header::UPGRADE).cloned();
    headers::strip_hop_by_hop(response.headers_mut());
    response.headers_mut().remove(REQUEST_ID);
    let Some((upstream, pick)) = reply.tunnel else {
        return Outcome::Answer(response);
    };
    if let Some(protocol) = protocol {
        response.headers_mut().insert(header::UPGRADE, protocol);
    }
    let response: Response<()> = response.map(drop);
    Outcome::Tunnel(response, upstream, pick)
}

fn count_refused(metrics: &SiteMetrics, error: &ProxyError) {
    match error {
        ProxyError::Full { .. } => metrics.queue_was_full(),
        ProxyError::Late { .. } => metrics.queue_took_too_long(),
        ProxyError::Dial { .. }
        | ProxyError::NoAnswer { .. }
        | ProxyError::TimedOut { .. }
        | ProxyError::Body(_)
        | ProxyError::Unwritable(_) => {}
    }
}

/// Tells the counters and the logs what becomes of targets.
struct Watch<'a> {
    site: &'a CompiledSite,
    metrics: &'a SiteMetrics,
    exchange: &'a Exchange,
    clock: Clock,
    tries: Cell<u32>,
}

impl Observer for Watch<'_> {
    fn waited(&self, time: Duration) {
        self.exchange.went(|way| way.queued_ms = Some(milliseconds(time)));
    }

    fn asked(&self, _: &Peer) {
        self.tries.set(self.tries.get() + 1);
    }

    fn connected(&self, time: Duration) {
        self.exchange.went(|way| way.connect_ms = Some(milliseconds(time)));
    }

    fn lost(&self, peer: &Peer, error: &ProxyError, time: Duration) {
        if error.failure().is_none() {
            return;
        }
        let failed = Failed {
            target: peer.target.to_string(),
            code: upstream_fault(error).code().to_owned(),
            reason: body::chain(error),
            ms: milliseconds(time),
        };
        self.exchange.went(|way| way.failed.push(failed));
    }

    fn reached(&self, peer: &Peer, reached: bool) {
        let state = self.metrics.upstream(&peer.target.to_string());
        if reached {
            state.up();
        } else {
            state.down();
        }
    }

    fn changed(&self, target: &Target, change: Change) {
        let target = target.declared();
        let (code, message) = match change {
            Change::Ejected { until } => {
                let rest = until.since(self.clock.now());
                let until = Timestamp::now().saturating_add(rest).unwrap_or(Timestamp::MAX);
                let message =
                    format!("{target} failed too often and gets no requests until {until:.0}");
                ("target_ejected", message)
            }
            Change::Down => ("target_down", format!("{target} fails its checks")),
            Change::Up => ("target_up", format!("{target} passes its checks")),
        };
        self.say(ErrorLevel::Warn, code, message);
    }

    fn noticed(&self, notice: Notice) {
        match notice {
            Notice::Panic => {
                let message = "more than half of the targets would be out, so all of them are used";
                self.say(ErrorLevel::Error, "all_targets_used", message.to_owned());
            }
            Notice::Recovered => {
                let message = "enough targets are well, so only those are used";
                self.say(ErrorLevel::Info, "well_targets_used", message.to_owned());
            }
        }
    }
}

impl Watch<'_> {
    /// Says it in the site's error log, where its owner looks, and in the edge's own.
    fn say(&self, level: ErrorLevel, code: &'static str, message: String) {
        let site = &self.site.name;
        match level {
            ErrorLevel::Info => tracing::info!(%site, "{message}"),
            ErrorLevel::Warn => tracing::warn!(%site, "{message}"),
            ErrorLevel::Error => tracing::error!(%site, "{message}"),
        }
        self.exchange.note(level, code, message);
    }
}
