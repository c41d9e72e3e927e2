//! A request on its way to an upstream and its answer on the way back.
//!
//! Which target gets it, and whether it may be tried again, is decided in [`crate::balance`]; here
//! it is carried out (`attempt`).

mod attempt;
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

use std::{rc::Rc, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, Method, Response, uri::PathAndQuery};
use tokio::time::Instant;

use self::attempt::{Answer, Attempt, is_repeatable};
pub(crate) use self::{
    dial::{DialError, Dialled, Stream, dial},
    dns::{Dns, NameServers},
    passage::Passage,
    peer::{Peer, PeerError},
    pool::{LocalExecutor, Pool},
    progress::{BodyFault, Expired},
    tls::UpstreamTlsError,
    tunnel::{Passed, TunnelError, pass},
};
use crate::{
    balance::{Change, Facts, Failure, Notice, Pick, Target},
    body::{self, Body},
    clock::Clock,
    content::CompiledUpstream,
    http1::{
        Prefixed,
        client::{Answered, Conn, Keeper},
    },
};

/// The upstream's side of a connection that left HTTP.
pub(crate) type Switched = Prefixed<Box<dyn Stream>>;

/// Stands in the extensions of an answer whose body ends when its connection does, so that nobody can
/// tell whether it is whole.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UntilClose;

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
    /// Its place among the targets.
    pub(crate) target: u32,
    /// How long the answer took to begin.
    pub(crate) waited: Duration,
    /// The upstream's side of the tunnel, with the place that it takes among the requests in flight.
    pub(crate) tunnel: Option<(Switched, Pick)>,
}

/// Why there is no answer of the upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    /// As many requests are in flight as may be, and as many wait as may.
    #[error("as many requests are in flight as may be, and {waiting} wait already")]
    Full {
        /// How many wait.
        waiting: u32,
    },
    /// No place became free in time.
    #[error("no place became free within {} seconds", .after.as_secs())]
    Late {
        /// How long it waited.
        after: Duration,
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

/// Follows what becomes of requests and targets.
pub(crate) trait Observer {
    /// It waited in line for a place.
    fn waited(&self, time: Duration);
    /// A target is about to be asked.
    fn asked(&self, peer: &Peer);
    /// A connection was made to ask it.
    fn connected(&self, time: Duration);
    /// A target did not answer, in the time that it was given.
    fn lost(&self, peer: &Peer, error: &ProxyError, time: Duration);
    /// A target was connected to, or was not.
    fn reached(&self, peer: &Peer, reached: bool);
    /// A target is taken out, or is back.
    fn changed(&self, target: &Target, change: Change);
    /// The upstream as a whole is another.
    fn noticed(&self, notice: Notice);
}

/// What a request is forwarded with.
pub(crate) struct Forwarding<'a, O> {
    /// Where connections are kept.
    pub(crate) pool: &'a Rc<Pool>,
    /// Who is to answer.
    pub(crate) upstream: &'a CompiledUpstream,
    /// What of the request decides on its target.
    pub(crate) facts: Facts,
    /// The time.
    pub(crate) clock: Clock,
    /// Who is told.
    pub(crate) observer: &'a O,
}

impl<O: Observer> Forwarding<'_, O> {
    /// Sends a request to one of the upstream's targets. It is boxed, as it is handed on and on.
    pub(crate) async fn send(&self, outgoing: Box<Outgoing>) -> Result<Reply, ProxyError> {
        let begun = Instant::now();
        let client = outgoing.passage;
        let attempt = Attempt { with: self, repeatable: is_repeatable(&outgoing) };
        let (answer, peer, pick) = attempt.run(outgoing, begun).await?;
        let waited = begun.elapsed();
        let (target, peer) = (pick.target().index(), Arc::clone(peer));
        Ok(match answer {
            Answer::Http1(Answered::Tunnel(response, stream)) => {
                let response = response.map(|()| body::empty());
                Reply { response, peer, target, waited, tunnel: Some((stream, pick)) }
            }
            Answer::Http1(Answered::Response(response)) => {
                let (pool, passage) = (Rc::clone(self.pool), peer.passage(&client));
                let place = Place { pool, peer: Arc::clone(&peer), passage, _pick: pick };
                let until_close = response.body().ends_with_connection();
                let mut response = response.map(|receiving| receiving.into_body(place));
                if until_close {
                    response.extensions_mut().insert(UntilClose);
                }
                Reply { response, peer, target, waited, tunnel: None }
            }
            Answer::Http2(response) => {
                let response = response.map(|body| body::observe(body, move |_| drop(pick)));
                Reply { response, peer, target, waited, tunnel: None }
            }
        })
    }
}

/// What an answer takes until it has ended: a connection and a place among the requests in flight.
struct Place {
    pool: Rc<Pool>,
    peer: Arc<Peer>,
    passage: Option<Passage>,
    _pick: Pick,
}

impl Keeper for Place {
    fn keep(&self, conn: Conn) {
        self.pool.keep(&self.peer, self.passage, conn);
    }
}

impl ProxyError {
    /// Returns what failed of the target, if it was its fault.
    pub(crate) fn failure(&self) -> Option<Failure> {
        match self {
            // Where all connections that there may be are in use, it is our rule and not its fault.
            Self::Dial { source, .. } => {
                (!matches!(source, DialError::NoPlace { .. })).then_some(Failure::Connect)
            }
            Self::NoAnswer { .. } => Some(Failure::Invalid),
            Self::TimedOut { .. } => Some(Failure::Timeout),
            Self::Full { .. } | Self::Late { .. } | Self::Body(_) | Self::Unwritable(_) => None,
        }
    }
}

fn doing(what: Expired) -> &'static str {
    match what {
        Expired::Send => "take the request",
        Expired::FirstByte => "answer",
    }
}
