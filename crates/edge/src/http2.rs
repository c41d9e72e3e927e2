//! A client's HTTP/2 connection. hyper and h2 speak the protocol; what they leave to their user is
//! here: limits by site ([`Bounds`]), an end for floods ([`calm`]), a fate of its own for the stream of
//! a client that does not take its answer ([`stream`]), and an end for connections that rest.

mod calm;
mod frames;
mod guarded;
mod stream;

use std::{
    cell::Cell, convert::Infallible, error::Error, pin::pin, rc::Rc, sync::Arc, time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use portway_model::site::defaults;
use portway_telemetry::access::{ErrorKind, ErrorLevel, ErrorRecord};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

pub(crate) use self::guarded::goaway;
use self::{
    calm::Flood,
    guarded::Guarded,
    stream::{Streams, Taken},
};
use crate::{
    body::{self, Side},
    content::Reading,
    pipeline::{self, Arrived},
    stall::Patience,
    worker::{Connection, Shared, Worker},
};

/// The most streams that a client may reset before they are looked at, and the most that it may make
/// h2 reset. [`calm`] bounds both, forgets what is long ago and says why; this is the second net.
const MOST_PENDING_RESETS: usize = 512;
const MOST_FAULTS: usize = 4_096;

/// How often a client is asked whether it is alive, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection may be unused.
const IDLE_TIME: Duration = Duration::from_secs(75);

/// How long a client that was told to go may take to take what it was answered.
const LEAVE_TIME: Duration = Duration::from_secs(60);

/// Serves a client's connection until one side is done with it.
pub(crate) async fn serve<S>(worker: Rc<Worker>, connection: Rc<Connection>, stream: S)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let shared = Arc::clone(&worker.shared);
    let client = Rc::clone(&connection);
    let bounds = Bounds::of(&shared, &connection);
    let flood = Rc::new(Cell::new(None));
    let stream = Guarded::new(stream, bounds.head_time, Rc::clone(&flood));
    let streams = Streams::default();
    let unused = streams.clone();
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
    let mut served = pin!(
        http2::Builder::new(streams)
            .timer(TokioTimer::new())
            .adaptive_window(true)
            .max_concurrent_streams(bounds.streams)
            .max_header_list_size(bounds.header_list)
            .max_pending_accept_reset_streams(MOST_PENDING_RESETS)
            .max_local_error_reset_streams(MOST_FAULTS)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
    );
    // The connection is polled on after the branches that tell it to end.
    let ended = tokio::select! {
        ended = served.as_mut() => ended,
        () = shared.stop.cancelled() => {
            served.as_mut().graceful_shutdown();
            served.await
        }
        () = unused.rest(IDLE_TIME) => {
            served.as_mut().graceful_shutdown();
            timeout(LEAVE_TIME, served).await.unwrap_or(Ok(()))
        }
    };
    let end = flood.get().map(End::Flood).or_else(|| ended.err().as_ref().and_then(End::of));
    if let Some(end) = end {
        log_end(&shared, &client, &end).await;
    }
}

/// What a connection may take before its requests are known.
struct Bounds {
    streams: u32,
    header_list: u32,
    head_time: Duration,
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
            head_time: entry.map_or(snapshot.reading.head_time, |entry| entry.head_time()),
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

/// Why a connection ended otherwise than by the wish of one side.
enum End {
    /// The client did too much of something.
    Flood(Flood),
    /// h2 ended it, for what the client did.
    Fault(h2::Error),
}

impl End {
    /// Nothing for clients that leave, however they do it.
    fn of(error: &hyper::Error) -> Option<Self> {
        let fault = error.source().and_then(|source| source.downcast_ref::<h2::Error>())?;
        let is_ours = fault.is_go_away() && fault.is_library();
        is_ours.then(|| fault.reason()).flatten().map(|reason| Self::Fault(reason.into()))
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Flood(_) => "http2_flood",
            Self::Fault(error) if error.reason() == Some(h2::Reason::ENHANCE_YOUR_CALM) => {
                "http2_flood"
            }
            Self::Fault(_) => "http2_violation",
        }
    }
}

/// Writes it to the log of the site that the handshake named.
async fn log_end(shared: &Shared, connection: &Connection, end: &End) {
    let name = connection.tls.as_ref().and_then(|tls| tls.server_name.as_deref());
    let local = connection.local.ip().to_canonical();
    let entry = shared.content.snapshot().find_tls(name, local).map(Arc::clone);
    let table = match &entry {
        Some(entry) => shared.content.table(entry).await.ok(),
        None => None,
    };
    let site = table.as_ref().and_then(|table| table.sites.first());
    let log = site.map_or_else(|| shared.logs.edge(), |site| &site.log);
    let record = ErrorRecord {
        time: Timestamp::now(),
        level: ErrorLevel::Info,
        kind: ErrorKind::Refused,
        request_id: None,
        client: Some(connection.peer.ip().to_canonical()),
        host: name.map(str::to_owned),
        code: end.code().to_owned(),
        message: match end {
            End::Flood(flood) => flood.to_string(),
            End::Fault(error) => format!("the client broke the rules of HTTP/2: {error}"),
        },
    };
    shared.logs.error(log, &record);
}
