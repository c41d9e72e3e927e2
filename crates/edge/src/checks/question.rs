//! What targets are asked, made ready: with whom to connect, and what to expect.

use std::{sync::Arc, time::Duration};

use http::{HeaderValue, uri::PathAndQuery};
use portway_model::site::{Health, Pool, Probe, Target, Upstream, UpstreamProtocol, UpstreamTls};
use portway_policy::NetworkGuard;

use crate::{
    balance::Judge,
    proxy::{Peer, PeerError},
};

/// What targets are asked, and how often.
pub(super) struct Question {
    pub(super) asks: Asks,
    /// How often.
    pub(super) interval: Duration,
    /// How long the answer may take.
    pub(super) limit: Duration,
}

pub(super) enum Asks {
    /// Whether it takes a connection, encrypted where its peer is.
    Connection,
    /// A request.
    Request(Box<Request>),
}

/// A request that tells whether a target is well.
pub(super) struct Request {
    pub(super) path: PathAndQuery,
    pub(super) host: Option<HeaderValue>,
    pub(super) judge: Judge,
}

/// Why nothing can be asked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QuestionError {
    /// The path is none.
    #[error("the path of the check is none")]
    BadPath(#[source] http::uri::InvalidUri),
    /// A Host header cannot carry this.
    #[error("`{0}` cannot stand in a Host header")]
    BadHost(String),
    /// The expression is none.
    #[error("the expression for the body is not valid")]
    BadBody(#[source] regex::Error),
    /// The target cannot be asked in this way.
    #[error(transparent)]
    Peer(#[from] PeerError),
}

impl Question {
    /// Makes a check ready.
    pub(super) fn of(health: &Health) -> Result<Self, QuestionError> {
        let asks = match &health.probe {
            Probe::Tcp | Probe::Tls => Asks::Connection,
            Probe::Http(probe) => {
                let host = probe.host.as_deref().map(|host| {
                    HeaderValue::from_str(host).map_err(|_| QuestionError::BadHost(host.to_owned()))
                });
                Asks::Request(Box::new(Request {
                    path: probe.path.parse().map_err(QuestionError::BadPath)?,
                    host: host.transpose()?,
                    judge: Judge::new(probe).map_err(QuestionError::BadBody)?,
                }))
            }
        };
        let (interval, limit) = (health.interval.duration(), health.timeout.duration());
        Ok(Self { asks, interval, limit })
    }
}

/// Returns how a target is reached to be asked: as for requests, but for what the check says. Its
/// connections are not counted among those of requests, which may have taken all there may be.
pub(super) fn peer(
    target: &Target,
    upstream: &Upstream,
    health: &Health,
    guard: Option<&NetworkGuard>,
) -> Result<Arc<Peer>, QuestionError> {
    let mut asked = upstream.clone();
    asked.pool = Pool::default();
    let verified = || UpstreamTls { verify: true, ca_pem: None, server_name: None };
    match &health.probe {
        Probe::Tcp => (asked.tls, asked.client) = (None, None),
        Probe::Tls => asked.tls = asked.tls.or_else(|| Some(verified())),
        Probe::Http(probe) => match probe.over_tls {
            None => {}
            Some(false) => {
                (asked.tls, asked.client) = (None, None);
                asked.protocol = UpstreamProtocol::Http1;
            }
            Some(true) => {
                asked.tls = asked.tls.or_else(|| Some(verified()));
                asked.protocol = UpstreamProtocol::Http1;
            }
        },
    }
    if matches!(health.probe, Probe::Tcp) {
        asked.protocol = UpstreamProtocol::Http1;
    }
    let mut target = target.clone();
    if let (Target::Tcp(address), Some(port)) = (&mut target, health.port) {
        address.port = port;
    }
    Ok(Arc::new(Peer::of(&target, &asked, guard)?))
}
