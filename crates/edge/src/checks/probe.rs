//! Asks a target once, over a connection of its own.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header, uri::Scheme};
use http_body_util::BodyExt as _;
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use portway_http1::{Framing, Version, request::RequestHead};
use portway_model::site::{Timeouts, UpstreamProtocol};
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::question::{Asks, Question, Request};
use crate::{
    balance::BODY_LIMIT,
    body::{self, Body, BodyError, Side},
    http1::client::{Answered, Conn, Keeper, SendError},
    proxy::{DialError, Dialled, Dns, Peer, dial},
};

/// What the target reads of who asks.
const AGENT: &str = concat!("portway-check/", env!("CARGO_PKG_VERSION"));

/// Why a target is not well.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// It cannot be reached.
    #[error(transparent)]
    Dial(#[from] DialError),
    /// It does not answer in time.
    #[error("no whole answer within {} seconds", .0.as_secs())]
    Slow(Duration),
    /// It answers another status.
    #[error("it answered {0}")]
    Status(StatusCode),
    /// Its body has not what it must have.
    #[error("it answered {0}, but the body is another one")]
    Body(StatusCode),
    /// The connection broke.
    #[error(transparent)]
    Http1(#[from] SendError),
    /// The connection broke.
    #[error("HTTP/2 with it broke off")]
    Http2(#[from] hyper::Error),
    /// The body broke off.
    #[error(transparent)]
    Broken(#[from] BodyError),
    /// The request cannot be written.
    #[error("the request of the check cannot be written")]
    Unwritable(#[from] http::Error),
    /// It left HTTP, unasked.
    #[error("it switched to another protocol")]
    Switched,
}

/// Asks a target once.
pub(super) async fn ask(peer: &Arc<Peer>, question: &Question, dns: &Dns) -> Result<(), Fault> {
    let limit = question.limit;
    let asked = async {
        let Dialled { stream, .. } = dial(peer, dns, None, limit).await?;
        match (&question.asks, peer.protocol) {
            (Asks::Connection, _) => Ok(()),
            (Asks::Request(request), UpstreamProtocol::Http1) => {
                ask_http1(peer, request, Conn::new(stream, None)).await
            }
            (Asks::Request(request), UpstreamProtocol::H2c) => {
                ask_http2(peer, request, TokioIo::new(stream)).await
            }
        }
    };
    timeout(limit, asked).await.unwrap_or(Err(Fault::Slow(limit)))
}

async fn ask_http1(peer: &Peer, request: &Request, conn: Conn) -> Result<(), Fault> {
    let mut headers = headers();
    headers.insert(header::HOST, request.host(peer).clone());
    let head = RequestHead {
        method: Method::GET,
        target: portway_http1::Target::Origin(request.path.clone()),
        version: Version::Http11,
        headers,
        framing: Framing::None,
        persistent: false,
        expect_continue: false,
        upgrade: false,
    };
    // The check has a time limit of its own.
    let answered = conn.send(&head, body::empty(), &Timeouts::default()).await;
    match answered.map_err(|unanswered| unanswered.error)? {
        Answered::Response(response) => {
            let (parts, receiving) = response.into_parts();
            request.judge(parts.status, receiving.into_body(Nobody)).await
        }
        Answered::Tunnel(..) => Err(Fault::Switched),
    }
}

async fn ask_http2(
    peer: &Peer,
    request: &Request,
    stream: TokioIo<Box<dyn crate::proxy::Stream>>,
) -> Result<(), Fault> {
    let (mut sender, connection) = http2::handshake(crate::proxy::LocalExecutor, stream).await?;
    let _driven = AbortOnDropHandle::new(tokio::task::spawn_local(connection));
    let scheme = if peer.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
    let uri = Uri::builder()
        .scheme(scheme)
        .authority(request.host(peer).as_bytes())
        .path_and_query(request.path.clone())
        .build()?;
    let mut asked = http::Request::get(uri).body(http_body_util::Empty::<Bytes>::new())?;
    *asked.headers_mut() = headers();
    let (parts, incoming) = sender.send_request(asked).await?.into_parts();
    request.judge(parts.status, body::incoming(incoming, Side::Upstream)).await
}

fn headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::USER_AGENT, HeaderValue::from_static(AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers
}

impl Request {
    fn host<'a>(&'a self, peer: &'a Peer) -> &'a HeaderValue {
        self.host.as_ref().unwrap_or(&peer.authority)
    }

    /// Judges an answer; only as much of its body is read as it takes.
    async fn judge(&self, status: StatusCode, mut body: Body) -> Result<(), Fault> {
        if !self.judge.is_good_status(status.as_u16()) {
            return Err(Fault::Status(status));
        }
        if !self.judge.wants_body() {
            return Ok(());
        }
        let mut read = Vec::new();
        while read.len() < BODY_LIMIT
            && let Some(frame) = body.frame().await
        {
            if let Ok(data) = frame?.into_data() {
                read.extend_from_slice(&data);
            }
        }
        read.truncate(BODY_LIMIT);
        if self.judge.is_good(status.as_u16(), &read) { Ok(()) } else { Err(Fault::Body(status)) }
    }
}

/// Lets connections end with their answer.
struct Nobody;

impl Keeper for Nobody {
    fn keep(&self, _: Conn) {}
}
