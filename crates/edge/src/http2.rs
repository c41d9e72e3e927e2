//! A client's HTTP/2 connection. hyper and h2 speak the protocol; what they leave to their user is
//! here: limits by site, and a stream of its own fate for a client that does not take its answer.

mod stream;

use std::{convert::Infallible, net::IpAddr, rc::Rc, sync::Arc, time::Duration};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use portway_model::site::defaults;
use portway_telemetry::access::{ErrorKind, ErrorLevel, ErrorRecord};
use tokio::io::{AsyncRead, AsyncWrite};

use self::stream::{Streams, Taken};
use crate::{
    body::{self, Side},
    content::Reading,
    pipeline::{self, Arrived},
    stall::Patience,
    worker::{Connection, Shared, Worker},
};

/// The most streams that a client may have reset before they were looked at; more is an attack
/// (CVE-2023-44487).
const MAX_PENDING_RESETS: usize = 32;

/// How often a client is asked whether it is alive, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// Serves a client's connection until one side is done with it.
pub(crate) async fn serve<S>(worker: Rc<Worker>, connection: Rc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (shared, peer) = (Arc::clone(&worker.shared), connection.peer);
    let bounds = Bounds::of(&shared, &connection);
    let streams = Streams::default();
    let next = streams.clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let request = request.map(|incoming| body::incoming(incoming, Side::Client));
        let patience = Rc::<Patience>::default();
        let watch = next.begin(Rc::clone(&patience));
        let arrived = Arrived { bytes: head_bytes(&request), took: Duration::ZERO, patience };
        let served = pipeline::serve(Rc::clone(&worker), Rc::clone(&connection), request, arrived);
        async move {
            let response = served.await.into_answer();
            Ok::<_, Infallible>(response.map(|body| Taken::new(body, watch)))
        }
    });
    let mut served = std::pin::pin!(
        http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .max_concurrent_streams(bounds.streams)
            .max_header_list_size(bounds.header_list)
            .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
            .max_local_error_reset_streams(MAX_PENDING_RESETS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    // The connection is polled on after the branch that told it to end.
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shared.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
    };
    log_end(&shared, peer.ip(), ended);
}

/// What a connection may take before its requests are known.
struct Bounds {
    streams: u32,
    header_list: u32,
}

impl Bounds {
    /// The name in the handshake tells for which sites the connection is; its requests may be for
    /// others that have the same certificate.
    fn of(shared: &Shared, connection: &Connection) -> Self {
        let snapshot = shared.content.snapshot();
        let name = connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
        let entry = snapshot.find_tls(name, connection.local.ip().to_canonical());
        Self {
            streams: entry.map_or(defaults::HTTP2_STREAMS, |entry| entry.http2_streams()),
            header_list: header_list(&snapshot.reading),
        }
    }
}

/// RFC 9113 §6.5.2 counts 32 bytes for each field beside its text; our own limit does not.
fn header_list(reading: &Reading) -> u32 {
    u32::try_from(reading.head + 32 * reading.fields).unwrap_or(u32::MAX)
}

/// Returns the bytes that the head would have over HTTP/1.1, so that a limit means the same.
fn head_bytes<B>(request: &Request<B>) -> usize {
    const FIRST_LINE: usize = "  HTTP/1.1\r\n\r\n".len();
    const LINE: usize = ": \r\n".len();
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let host =
        request.uri().authority().map_or(0, |host| "host".len() + host.as_str().len() + LINE);
    let lines = request.headers().iter();
    let lines: usize = lines.map(|(name, value)| name.as_str().len() + value.len() + LINE).sum();
    FIRST_LINE + request.method().as_str().len() + target + host + lines
}

/// What is no HTTP at all has no site; it stands in the edge's own log.
fn log_end(shared: &Shared, client: IpAddr, ended: hyper::Result<()>) {
    let Err(error) = ended else { return };
    if !error.is_parse() {
        tracing::debug!(%client, error = body::chain(&error), "a client's connection ended");
        return;
    }
    let record = ErrorRecord {
        time: Timestamp::now(),
        level: ErrorLevel::Info,
        kind: ErrorKind::Refused,
        request_id: None,
        client: Some(client.to_canonical()),
        host: None,
        code: "not_http".to_owned(),
        message: body::chain(&error),
    };
    shared.logs.error(shared.logs.edge(), &record);
}
