//! A request on its way to an upstream and its answer on the way back.
//!
//! A request is sent once. It is sent again only when not a byte of it had left, or when it has no
//! body, may be repeated by its method, and a kept connection died before the first byte of an
//! answer. So a POST never arrives twice.

mod dial;
mod dns;
mod peer;
mod pool;
mod progress;
mod tunnel;
mod unverified;

use std::{
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri, Version, header};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use portway_model::site::{HostHeader, UpstreamProtocol};
use tokio::time::Instant;

pub(crate) use self::{
    dial::DialError,
    peer::{Peer, UpstreamTlsError},
    pool::{LocalExecutor, Pool},
    progress::{BodyFault, Expired},
    tunnel::{Passed, TunnelError, run as run_tunnel},
};
use self::{
    pool::{Connection, Unanswered},
    progress::Progress,
};
use crate::{
    body::{self, Body, Side},
    content::CompiledUpstream,
};

/// A request as an upstream is to see it.
pub(crate) struct Outgoing {
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path_and_query: String,
    /// All headers but Host.
    pub(crate) headers: HeaderMap,
    /// The client's host, if it named one.
    pub(crate) host: Option<HeaderValue>,
    /// The body.
    pub(crate) body: Body,
    /// The client's connection, when it asks to leave HTTP.
    pub(crate) upgrade: Option<OnUpgrade>,
}

/// An answer, or a connection that left HTTP.
pub(crate) struct Reply {
    /// The answer; of a tunnel, its head.
    pub(crate) response: Response<Body>,
    /// Who answered.
    pub(crate) peer: Arc<Peer>,
    /// How long the answer took to begin.
    pub(crate) waited: Duration,
    /// Both sides of the tunnel, with the place that it takes among the requests in flight.
    pub(crate) tunnel: Option<(OnUpgrade, OnUpgrade, Permit)>,
}

/// Why there is no answer of the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// As many requests are in flight as may be.
    #[error("{limit} requests are in flight, no more are allowed")]
    Full {
        /// How many may be.
        limit: u32,
    },
    /// No target could be reached; the reason of the last one tried.
    #[error("cannot connect to {peer}")]
    Dial {
        /// The target.
        peer: String,
        /// Why.
        #[source]
        source: DialError,
    },
    /// The connection ended without an answer, or with something that is none.
    #[error("{peer} did not answer properly")]
    NoAnswer {
        /// The target.
        peer: String,
        /// Why.
        #[source]
        source: hyper::Error,
    },
    /// It took too long.
    #[error("{peer} did not {} within {} seconds", doing(*.what), .after.as_secs())]
    TimedOut {
        /// The target.
        peer: String,
        /// What it did not do.
        what: Expired,
        /// How long it had.
        after: Duration,
    },
    /// The client's body broke off.
    #[error("the body of the request broke off: {0:?}")]
    Body(BodyFault),
    /// It left HTTP although nobody asked.
    #[error("{peer} answered 101 to a request that does not ask for it")]
    UnaskedUpgrade {
        /// The target.
        peer: String,
    },
    /// The request cannot be written for this upstream.
    #[error("the request cannot be written")]
    Unwritable(#[source] http::Error),
}

/// A place among the requests in flight, free again when it is dropped.
pub(crate) struct Permit(Arc<AtomicU32>);

/// Tells who follows the state of targets.
pub(crate) trait Observer {
    /// A target was connected to, or was not.
    fn target(&self, peer: &Peer, reached: bool);
}

/// Sends a request to one of an upstream's targets.
pub(crate) async fn forward(
    pool: &Rc<Pool>,
    upstream: &CompiledUpstream,
    mut outgoing: Outgoing,
    observer: &impl Observer,
) -> Result<Reply, ProxyError> {
    let permit = permit(upstream)?;
    let upgrade = outgoing.upgrade.take();
    let repeatable = is_repeatable(&outgoing);
    let (progress, body) = Progress::watch(outgoing.body);
    outgoing.body = body;
    let begun = Instant::now();
    let attempt = Attempt { pool, upstream, observer, progress: &progress, repeatable };
    let answered = attempt.run(outgoing).await;
    let (response, peer, connection) = answered.map_err(|error| blame_body(error, &progress))?;
    let waited = begun.elapsed();
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = upgrade else {
            return Err(ProxyError::UnaskedUpgrade { peer: peer.target.to_string() });
        };
        return Ok(tunnel(response, peer, waited, client, permit));
    }
    pool.give_back(&peer, connection);
    let silence = upstream.settings.timeouts.silence.duration();
    let response = response.map(|body| {
        let body =
            body::silence_limited(body::incoming(body, Side::Upstream), silence, Side::Upstream);
        body::observe(body, move |_| drop(permit))
    });
    Ok(Reply { response, peer, waited, tunnel: None })
}

fn tunnel(
    mut response: Response<Incoming>,
    peer: Arc<Peer>,
    waited: Duration,
    client: OnUpgrade,
    permit: Permit,
) -> Reply {
    let upstream = hyper::upgrade::on(&mut response);
    let response = response.map(|_| body::empty());
    Reply { response, peer, waited, tunnel: Some((client, upstream, permit)) }
}

fn permit(upstream: &CompiledUpstream) -> Result<Permit, ProxyError> {
    let permit = Permit(Arc::clone(&upstream.in_flight));
    let before = permit.0.fetch_add(1, Ordering::Relaxed);
    match upstream.settings.max_in_flight {
        Some(limit) if before >= limit => Err(ProxyError::Full { limit }),
        Some(_) | None => Ok(permit),
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A failure whose reason is the client's body is the client's.
fn blame_body(error: ProxyError, progress: &Progress) -> ProxyError {
    match progress.fault() {
        Some(fault) => ProxyError::Body(fault),
        None => error,
    }
}

/// Methods that RFC 9110 §9.2.2 calls idempotent, without a body that would be spent.
fn is_repeatable(outgoing: &Outgoing) -> bool {
    use hyper::body::Body as _;
    outgoing.upgrade.is_none()
        && outgoing.body.is_end_stream()
        && matches!(
            outgoing.method,
            Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE
        )
}

/// The way of one request to one of its targets.
struct Attempt<'a, O> {
    pool: &'a Rc<Pool>,
    upstream: &'a CompiledUpstream,
    observer: &'a O,
    progress: &'a Progress,
    repeatable: bool,
}

type Answered = (Response<Incoming>, Arc<Peer>, Connection);

impl<O: Observer> Attempt<'_, O> {
    /// Tries a kept connection to the target whose turn it is, then fresh ones to all in turn.
    async fn run(&self, mut outgoing: Outgoing) -> Result<Answered, ProxyError> {
        let peers = &self.upstream.peers;
        let turn = self.upstream.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for peer in peers.iter().cycle().skip(turn % peers.len().max(1)).take(peers.len()) {
            if let Some(connection) = self.pool.take(peer) {
                outgoing = match self.over_kept(connection, peer, outgoing).await? {
                    Kept::Answered(answered) => return Ok(answered),
                    Kept::Again(outgoing) => outgoing,
                };
            }
            let limit = self.upstream.settings.timeouts.connect();
            match self.pool.connect(peer, limit).await {
                Ok(connection) => {
                    self.observer.target(peer, true);
                    return self.over_fresh(connection, peer, outgoing).await;
                }
                Err(source) => {
                    self.observer.target(peer, false);
                    last = Some(ProxyError::Dial { peer: peer.target.to_string(), source });
                }
            }
        }
        Err(last.unwrap_or_else(|| ProxyError::Dial {
            peer: "an upstream without targets".to_owned(),
            source: DialError::NoAddress,
        }))
    }

    async fn over_fresh(
        &self,
        mut connection: Connection,
        peer: &Arc<Peer>,
        outgoing: Outgoing,
    ) -> Result<Answered, ProxyError> {
        let request = write(outgoing, self.upstream, peer)?;
        match self.send(&mut connection, peer, request).await? {
            Ok(response) => Ok((response, Arc::clone(peer), connection)),
            Err(unanswered) => Err(ProxyError::NoAnswer {
                peer: peer.target.to_string(),
                source: unanswered.error,
            }),
        }
    }

    async fn over_kept(
        &self,
        mut connection: Connection,
        peer: &Arc<Peer>,
        outgoing: Outgoing,
    ) -> Result<Kept, ProxyError> {
        let spare = Spare::of(&outgoing, self.repeatable);
        let request = write(outgoing, self.upstream, peer)?;
        let unanswered = match self.send(&mut connection, peer, request).await? {
            Ok(response) => {
                return Ok(Kept::Answered((response, Arc::clone(peer), connection)));
            }
            Err(unanswered) => unanswered,
        };
        match spare.revive(unanswered) {
            Ok(outgoing) => Ok(Kept::Again(outgoing)),
            Err(source) => Err(ProxyError::NoAnswer { peer: peer.target.to_string(), source }),
        }
    }

    /// The inner result is the connection's; the outer error is a timeout.
    async fn send(
        &self,
        connection: &mut Connection,
        peer: &Peer,
        request: Request<Body>,
    ) -> Result<Result<Response<Incoming>, Unanswered>, ProxyError> {
        let timeouts = &self.upstream.settings.timeouts;
        self.progress.restart();
        // Both are only polled here, and dropping the send closes its connection.
        tokio::select! {
            biased;
            answered = connection.send(request) => Ok(answered),
            what = self.progress.expired(timeouts) => Err(ProxyError::TimedOut {
                peer: peer.target.to_string(),
                what,
                after: match what {
                    Expired::Send => timeouts.send,
                    Expired::FirstByte => timeouts.first_byte,
                }
                .duration(),
            }),
        }
    }
}

/// What became of a request over a kept connection.
enum Kept {
    Answered(Answered),
    /// The connection was dead and the request may be sent again.
    Again(Outgoing),
}

/// What is needed to write a request once more.
struct Spare {
    method: Method,
    path_and_query: String,
    headers: Option<HeaderMap>,
    host: Option<HeaderValue>,
}

impl Spare {
    fn of(outgoing: &Outgoing, repeatable: bool) -> Self {
        Self {
            method: outgoing.method.clone(),
            path_and_query: outgoing.path_and_query.clone(),
            headers: repeatable.then(|| outgoing.headers.clone()),
            host: outgoing.host.clone(),
        }
    }

    fn revive(self, unanswered: Unanswered) -> Result<Outgoing, hyper::Error> {
        let (headers, body) = match (unanswered.unsent, self.headers) {
            (Some(request), _) => {
                let (mut parts, body) = request.into_parts();
                parts.headers.remove(header::HOST);
                (parts.headers, body)
            }
            // What cannot be parsed was an answer, if a bad one.
            (None, Some(headers)) if !unanswered.error.is_parse() => (headers, body::empty()),
            (None, _) => return Err(unanswered.error),
        };
        Ok(Outgoing {
            method: self.method,
            path_and_query: self.path_and_query,
            headers,
            host: self.host,
            body,
            upgrade: None,
        })
    }
}

/// Writes a request for a target: HTTP/1.1 with a Host header, HTTP/2 with an authority.
fn write(
    outgoing: Outgoing,
    upstream: &CompiledUpstream,
    peer: &Peer,
) -> Result<Request<Body>, ProxyError> {
    let set;
    let host = match &upstream.settings.host {
        HostHeader::Preserve => outgoing.host.as_ref().unwrap_or(&peer.authority),
        HostHeader::Target => &peer.authority,
        HostHeader::Set(host) => {
            set = HeaderValue::from_str(host).map_err(|e| ProxyError::Unwritable(e.into()))?;
            &set
        }
    };
    let mut request = Request::new(outgoing.body);
    *request.method_mut() = outgoing.method;
    *request.headers_mut() = outgoing.headers;
    match peer.protocol {
        UpstreamProtocol::Http1 => {
            request.headers_mut().insert(header::HOST, host.clone());
            *request.uri_mut() = Uri::try_from(outgoing.path_and_query)
                .map_err(|e| ProxyError::Unwritable(e.into()))?;
        }
        UpstreamProtocol::H2c => {
            *request.version_mut() = Version::HTTP_2;
            *request.uri_mut() = Uri::builder()
                .scheme(if peer.tls.is_some() { "https" } else { "http" })
                .authority(host.as_bytes())
                .path_and_query(outgoing.path_and_query)
                .build()
                .map_err(ProxyError::Unwritable)?;
        }
    }
    Ok(request)
}

fn doing(what: Expired) -> &'static str {
    match what {
        Expired::Send => "take the request",
        Expired::FirstByte => "answer",
    }
}
