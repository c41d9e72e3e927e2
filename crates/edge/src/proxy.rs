//! A request on its way to an upstream and its answer on the way back.
//!
//! A request is sent once. It is sent again only when not a byte of it had left, or when it has no
//! body, may be repeated by its method, and a kept connection died before the first byte of an
//! answer. So a POST never arrives twice.

mod destination;
mod dial;
mod dns;
mod http2;
mod passage;
mod peer;
mod places;
mod pool;
mod progress;
mod tls;
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

use http::{HeaderMap, HeaderValue, Method, Response, header, uri::PathAndQuery};
use http_body::Body as _;
use portway_http1::{Framing, Target, Version, request::RequestHead};
use portway_model::site::HostHeader;
use tokio::time::Instant;

use self::pool::Connection;
pub(crate) use self::{
    dial::{DialError, Stream},
    dns::{Dns, NameServers},
    passage::Passage,
    peer::{Peer, PeerError},
    pool::Pool,
    progress::{BodyFault, Expired},
    tls::UpstreamTlsError,
    tunnel::{Passed, TunnelError},
};
use crate::{
    body::{self, Body},
    content::CompiledUpstream,
    http1::{
        Prefixed,
        client::{Answered, Conn, Keeper, SendError, Unanswered},
    },
};

/// The upstream's side of a connection that left HTTP.
pub(crate) type Switched = Prefixed<Box<dyn Stream>>;

/// A request as an upstream is to see it.
pub(crate) struct Outgoing {
    /// The method.
    pub(crate) method: Method,
    /// Path and query.
    pub(crate) path_and_query: PathAndQuery,
    /// All headers but Host.
    pub(crate) headers: HeaderMap,
    /// The client's host, if it named one.
    pub(crate) host: Option<HeaderValue>,
    /// The body.
    pub(crate) body: Body,
    /// Whether the client asks to leave HTTP, for what stands under Upgrade.
    pub(crate) upgrade: bool,
    /// Who the client is, for targets that are told by the PROXY protocol.
    pub(crate) passage: Passage,
}

/// An answer, or a connection that left HTTP.
pub(crate) struct Reply {
    /// The answer; of a tunnel, its head.
    pub(crate) response: Response<Body>,
    /// Who answered.
    pub(crate) peer: Arc<Peer>,
    /// How long the answer took to begin.
    pub(crate) waited: Duration,
    /// The upstream's side of the tunnel, with the place that it takes among the requests in flight.
    pub(crate) tunnel: Option<(Switched, Permit)>,
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
        source: Box<dyn std::error::Error + Send + Sync>,
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
    /// The request cannot be written for this upstream.
    #[error("the request cannot be written")]
    Unwritable(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    outgoing: Outgoing,
    observer: &impl Observer,
) -> Result<Reply, ProxyError> {
    let permit = permit(upstream)?;
    let begun = Instant::now();
    let repeatable = is_repeatable(&outgoing);
    let client = outgoing.passage;
    let attempt = Attempt { pool, upstream, observer, repeatable };
    let (answer, peer) = attempt.run(outgoing).await?;
    let waited = begun.elapsed();
    Ok(match answer {
        Answer::Http1(Answered::Tunnel(response, stream)) => {
            let response = response.map(|()| body::empty());
            Reply { response, peer, waited, tunnel: Some((stream, permit)) }
        }
        Answer::Http1(Answered::Response(response)) => {
            let (pool, passage) = (Rc::clone(pool), peer.passage(&client));
            let place = Place { pool, peer: Arc::clone(&peer), passage, _permit: permit };
            let response = response.map(|receiving| receiving.into_body(place));
            Reply { response, peer, waited, tunnel: None }
        }
        Answer::Http2(response) => {
            let response = response.map(|body| body::observe(body, move |_| drop(permit)));
            Reply { response, peer, waited, tunnel: None }
        }
    })
}

/// What an answer takes until it has ended: a connection and a place among the requests in flight.
struct Place {
    pool: Rc<Pool>,
    peer: Arc<Peer>,
    passage: Option<Passage>,
    _permit: Permit,
}

impl Keeper for Place {
    fn keep(&self, conn: Conn) {
        self.pool.keep(&self.peer, self.passage, conn);
    }
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

/// Methods that RFC 9110 §9.2.2 calls idempotent, without a body that would be spent.
fn is_repeatable(outgoing: &Outgoing) -> bool {
    !outgoing.upgrade
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
    repeatable: bool,
}

/// An answer that has begun.
enum Answer {
    Http1(Answered),
    Http2(Response<Body>),
}

/// What became of a request on a connection.
enum Sent {
    Answered(Answer),
    /// It can be sent again, whatever it is; the reason for that.
    Again(Outgoing, Box<dyn std::error::Error + Send + Sync>),
}

impl<O: Observer> Attempt<'_, O> {
    /// Tries a kept connection to the target whose turn it is, then fresh ones to all in turn.
    async fn run(&self, mut outgoing: Outgoing) -> Result<(Answer, Arc<Peer>), ProxyError> {
        let peers = &self.upstream.peers;
        let turn = self.upstream.turn.fetch_add(1, Ordering::Relaxed);
        let mut last = None;
        for peer in peers.iter().cycle().skip(turn % peers.len().max(1)).take(peers.len()) {
            let passage = peer.passage(&outgoing.passage);
            if let Some(connection) = self.pool.take(peer, passage.as_ref()) {
                outgoing = match self.send(connection, peer, outgoing).await? {
                    Sent::Answered(answer) => return Ok((answer, Arc::clone(peer))),
                    Sent::Again(outgoing, _) => outgoing,
                };
            }
            let limit = self.upstream.settings.timeouts.connect();
            match self.pool.connect(peer, passage.as_ref(), limit).await {
                Ok(connection) => {
                    self.observer.target(peer, true);
                    return match self.send(connection, peer, outgoing).await? {
                        Sent::Answered(answer) => Ok((answer, Arc::clone(peer))),
                        Sent::Again(_, source) => Err(no_answer(peer, source)),
                    };
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

    async fn send(
        &self,
        connection: Connection,
        peer: &Peer,
        outgoing: Outgoing,
    ) -> Result<Sent, ProxyError> {
        match connection {
            Connection::Http1(conn) => self.send_http1(conn, peer, outgoing).await,
            Connection::Http2(sender, stream) => {
                self.send_http2(sender, stream, peer, outgoing).await
            }
        }
    }

    async fn send_http1(
        &self,
        conn: Conn,
        peer: &Peer,
        outgoing: Outgoing,
    ) -> Result<Sent, ProxyError> {
        let Outgoing { method, path_and_query, mut headers, host, body, upgrade, passage } =
            outgoing;
        headers.insert(header::HOST, self.host(peer, host.as_ref())?);
        let framing = framing(&method, &body);
        let mut head = RequestHead {
            method,
            target: Target::Origin(path_and_query),
            version: Version::Http11,
            headers,
            framing,
            persistent: true,
            expect_continue: false,
            upgrade,
        };
        let timeouts = &self.upstream.settings.timeouts;
        let unanswered = match conn.send(&head, body, timeouts).await {
            Ok(answered) => return Ok(Sent::Answered(Answer::Http1(answered))),
            Err(unanswered) => *unanswered,
        };
        let Unanswered { error, unsent, silent } = unanswered;
        let lost = matches!(error, SendError::Broken(_) | SendError::Closed);
        let body = match unsent {
            Some(body) if lost => body,
            _ if lost && silent && self.repeatable => body::empty(),
            _ => return Err(self.failed(peer, error)),
        };
        head.headers.remove(header::HOST);
        let Target::Origin(path_and_query) = head.target else {
            return Err(self.failed(peer, error));
        };
        let (method, headers) = (head.method, head.headers);
        let again = Outgoing { method, path_and_query, headers, host, body, upgrade, passage };
        Ok(Sent::Again(again, Box::new(error)))
    }

    fn host(&self, peer: &Peer, host: Option<&HeaderValue>) -> Result<HeaderValue, ProxyError> {
        match &self.upstream.settings.host {
            HostHeader::Preserve => Ok(host.unwrap_or(&peer.authority).clone()),
            HostHeader::Target => Ok(peer.authority.clone()),
            HostHeader::Set(host) => {
                HeaderValue::from_str(host).map_err(|error| ProxyError::Unwritable(Box::new(error)))
            }
        }
    }

    fn failed(&self, peer: &Peer, error: SendError) -> ProxyError {
        match error {
            SendError::Body(fault) => ProxyError::Body(fault),
            SendError::TimedOut(what) => self.timed_out(peer, what),
            SendError::Unwritable(error) => ProxyError::Unwritable(Box::new(error)),
            error @ (SendError::Broken(_) | SendError::Closed | SendError::Refused(_)) => {
                no_answer(peer, Box::new(error))
            }
        }
    }

    fn timed_out(&self, peer: &Peer, what: Expired) -> ProxyError {
        let timeouts = &self.upstream.settings.timeouts;
        let after = match what {
            Expired::Send => timeouts.send,
            Expired::FirstByte => timeouts.first_byte,
        };
        ProxyError::TimedOut { peer: peer.target.to_string(), what, after: after.duration() }
    }
}

fn no_answer(peer: &Peer, source: Box<dyn std::error::Error + Send + Sync>) -> ProxyError {
    ProxyError::NoAnswer { peer: peer.target.to_string(), source }
}

/// Returns how a request's body is framed. Some servers want to read of a method that usually has a
/// body that it has none (RFC 9110 §8.6).
fn framing(method: &Method, body: &Body) -> Framing {
    if body.is_end_stream() {
        let usual = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
        return if usual { Framing::Length(0) } else { Framing::None };
    }
    body.size_hint().exact().map_or(Framing::Chunked, Framing::Length)
}

fn doing(what: Expired) -> &'static str {
    match what {
        Expired::Send => "take the request",
        Expired::FirstByte => "answer",
    }
}
