//! The control socket: HTTP/1.1 with JSON over a unix socket, as [`portway_policy::bundle`] has
//! it. Who may open the socket may change everything, so its folder is its owner's alone.

use std::{
    convert::Infallible,
    fs::{self, DirBuilder, Permissions},
    io,
    os::unix::{
        fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
        net::UnixListener as StdListener,
    },
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use jiff::Timestamp;
use portway_policy::{
    FORMAT,
    bundle::{
        CacheQuestion, CacheStats, Conflict, Invocation, ListenerStatus, Purge, PurgeReport,
        SUCCEEDED, Status, Trial,
    },
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

use crate::{
    body,
    cache::canonical_purge,
    content::{ChangeError, IncomingChange},
    succession::{self, Predecessor},
    trial,
    worker::Shared,
};

/// The body of an answer.
pub(crate) type Answer = Full<Bytes>;

/// The largest change.
const MAX_BODY: usize = 256 << 20;

/// How long the head of a request may take.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a change may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause after an error of accepting.
const PAUSE: Duration = Duration::from_millis(100);

/// How long answers in flight may take to end when the edge stops.
const LAST_ANSWERS: Duration = Duration::from_secs(5);

/// Why the control socket cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Another edge answers on it.
    #[error("another edge answers on {path}; stop it, or give this one a socket of its own")]
    InUse {
        /// The socket.
        path: Utf8PathBuf,
    },
    /// Something else stands there.
    #[error("{path} is in the way and is no socket")]
    InTheWay {
        /// The file.
        path: Utf8PathBuf,
    },
    /// It cannot be made.
    #[error("cannot open the control socket {path}")]
    Open {
        /// The socket.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// The control socket, open.
pub(crate) struct Control {
    socket: StdListener,
    path: Utf8PathBuf,
}

/// What the socket speaks of.
pub(crate) struct Subject {
    /// The edge.
    pub(crate) shared: Arc<Shared>,
    /// Its listeners.
    pub(crate) listeners: Vec<ListenerStatus>,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// How it was started.
    pub(crate) invocation: Invocation,
    /// What it has to give to an edge that takes its place.
    pub(crate) predecessor: Arc<Predecessor>,
}

/// Opens the control socket, over a stale one if need be.
pub(crate) async fn open(path: &Utf8Path) -> Result<Control, ControlError> {
    let failed = |source| ControlError::Open { path: path.to_owned(), source };
    if let Some(folder) = path.parent() {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed)?;
    }
    remove_stale(path).await?;
    let socket = StdListener::bind(path).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    fs::set_permissions(path, Permissions::from_mode(0o660)).map_err(failed)?;
    Ok(Control { socket, path: path.to_owned() })
}

/// A socket on which nobody answers was left by an edge that was killed.
async fn remove_stale(path: &Utf8Path) -> Result<(), ControlError> {
    let failed = |source| ControlError::Open { path: path.to_owned(), source };
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => {}
        Ok(_) => return Err(ControlError::InTheWay { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    }
    match UnixStream::connect(path).await {
        Ok(_) => Err(ControlError::InUse { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

impl Control {
    /// Takes a socket that another edge opened.
    pub(crate) fn given(socket: StdListener, path: &Utf8Path) -> Result<Self, ControlError> {
        let failed = |source| ControlError::Open { path: path.to_owned(), source };
        socket.set_nonblocking(true).map_err(failed)?;
        Ok(Self { socket, path: path.to_owned() })
    }

    /// Returns a copy of the socket.
    pub(crate) fn copy(&self) -> Result<StdListener, ControlError> {
        let failed = |source| ControlError::Open { path: self.path.clone(), source };
        self.socket.try_clone().map_err(failed)
    }

    /// Answers until the edge stops.
    pub(crate) async fn serve(self, subject: Subject) -> io::Result<()> {
        let socket = UnixListener::from_std(self.socket)?;
        let subject = Arc::new(subject);
        let stop = subject.shared.stop.clone();
        let connections = TaskTracker::new();
        loop {
            // Accepting is cancel safe.
            let accepted = tokio::select! {
                biased;
                () = stop.cancelled() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(Arc::clone(&subject), stream));
                }
                Err(error) => {
                    tracing::error!(%error, "cannot accept on the control socket, trying again");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
        subject.predecessor.close();
        if subject.shared.is_succeeded() {
            tracing::debug!("the control socket is the successor's");
        } else if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path, %error, "cannot remove the control socket");
        }
        connections.close();
        if tokio::time::timeout(LAST_ANSWERS, connections.wait()).await.is_err() {
            tracing::warn!("closing control connections whose requests did not end in time");
        }
        Ok(())
    }
}

async fn converse(subject: Arc<Subject>, stream: UnixStream) {
    let stop = subject.shared.stop.clone();
    let shared = Arc::clone(&subject.shared);
    let service = service_fn(move |request| {
        let subject = Arc::clone(&subject);
        async move { Ok::<_, Infallible>(answer(&subject, request).await) }
    });
    let mut connection = std::pin::pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEADER_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades()
    );
    // The connection is polled on after the branch that told it to end.
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            // A request that is on its way to an edge that was succeeded is answered, by a word
            // that sends it to the successor.
            if !shared.is_succeeded() {
                connection.as_mut().graceful_shutdown();
            }
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a control connection ended");
    }
}

async fn answer(subject: &Arc<Subject>, request: Request<Incoming>) -> Response<Answer> {
    if subject.shared.is_succeeded() {
        return succeeded();
    }
    let path = request.uri().path().to_owned();
    match (request.method(), path.as_str()) {
        (&Method::GET, "/v1/status") => json(StatusCode::OK, &status(subject)),
        (&Method::GET, "/v1/index") => json(StatusCode::OK, &subject.shared.content.listing()),
        (&Method::GET, "/v1/targets") => json(StatusCode::OK, &subject.shared.content.targets()),
        (&Method::GET, "/v1/metrics") => metrics(subject),
        (&Method::POST, "/v1/change") => change(subject, request).await,
        (&Method::POST, "/v1/succeed") => succession::accept(&subject.predecessor, request),
        (&Method::POST, "/v1/cache/purge") => purge(subject, request).await,
        (&Method::POST, "/v1/cache/stats") => cache_stats(subject, request).await,
        (&Method::POST, "/v1/explain") => explain(subject, request).await,
        (&Method::POST, "/v1/stop") => {
            tracing::info!("told to stop");
            subject.shared.told.cancel();
            Response::builder()
                .status(StatusCode::ACCEPTED)
                .body(Full::default())
                .unwrap_or_default()
        }
        _ => problem(StatusCode::NOT_FOUND, "unknown_operation", "there is no such operation"),
    }
}

fn status(subject: &Subject) -> Status {
    let (digest, sites) = subject.shared.content.summary();
    Status {
        format: FORMAT,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        pid: std::process::id(),
        started_at: subject.started_at,
        digest,
        sites,
        listeners: subject.listeners.clone(),
        connections: subject.shared.metrics.connections(),
        invocation: subject.invocation.clone(),
        failed_upgrade: subject.predecessor.failed(),
        keeps_owner: true,
        owner: subject.shared.content.owner(),
    }
}

/// Whoever asks again reaches the edge that took the place of this one.
fn succeeded() -> Response<Answer> {
    let text = "another edge has taken the place of this one; ask again";
    let mut response = problem(StatusCode::SERVICE_UNAVAILABLE, SUCCEEDED, text);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

fn metrics(subject: &Subject) -> Response<Answer> {
    let content = &subject.shared.content;
    let (_, sites) = content.summary();
    match subject.shared.metrics.encode(sites, content.upstreams()) {
        Ok(text) => with_type(StatusCode::OK, METRICS_TYPE, text.into_bytes()),
        Err(error) => {
            let text = format!("cannot write the metrics: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "metrics_failed", &text)
        }
    }
}

const METRICS_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Checks, writes and makes live on a thread that may block; once begun it is carried out even when
/// the sender leaves.
async fn change(subject: &Arc<Subject>, request: Request<Incoming>) -> Response<Answer> {
    let bytes = match read(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return *refusal,
    };
    let subject = Arc::clone(subject);
    let carry_out = move || {
        let change = IncomingChange::parse(&bytes)?;
        subject.shared.content.change(change)
    };
    match tokio::task::spawn_blocking(carry_out).await {
        Ok(Ok(report)) => {
            tracing::info!(digest = %report.digest, refused = report.refused.len(), "carried out a change");
            json(StatusCode::OK, &report)
        }
        Ok(Err(error)) => change_problem(&error),
        Err(error) => {
            let text = format!("the change was broken off: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "change_failed", &text)
        }
    }
}

/// Tells what would become of a request. Its stages hold what belongs to one thread, so they run on
/// one that may block.
async fn explain(subject: &Arc<Subject>, request: Request<Incoming>) -> Response<Answer> {
    let bytes = match read(request).await {
        Ok(bytes) => bytes,
        Err(refusal) => return *refusal,
    };
    let bad = |text: &str| problem(StatusCode::BAD_REQUEST, "bad_trial", text);
    let trial: Trial = match serde_json::from_slice(&bytes) {
        Ok(trial) => trial,
        Err(error) => return bad(&format!("the request to be tried cannot be read: {error}")),
    };
    let (shared, runtime) = (Arc::clone(&subject.shared), tokio::runtime::Handle::current());
    let judge = move || runtime.block_on(trial::explain(&shared, &trial));
    match tokio::task::spawn_blocking(judge).await {
        Ok(Ok(report)) => json(StatusCode::OK, &report),
        Ok(Err(error)) => bad(&error.to_string()),
        Err(error) => {
            let text = format!("trying the request was broken off: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "trial_failed", &text)
        }
    }
}

/// Takes kept answers away. All that is kept is looked through, on a thread that may block.
async fn purge(subject: &Arc<Subject>, request: Request<Incoming>) -> Response<Answer> {
    let Purge { site, what } = match parse(request).await {
        Ok(purge) => purge,
        Err(refusal) => return *refusal,
    };
    let what = match canonical_purge(what) {
        Ok(what) => what,
        Err(error) => return problem(StatusCode::BAD_REQUEST, "bad_purge", &body::chain(&error)),
    };
    let cache = Arc::clone(&subject.shared.cache);
    match tokio::task::spawn_blocking(move || cache.purge(site, &what)).await {
        Ok(purged) => {
            tracing::info!(%site, purged, "purged kept answers");
            json(StatusCode::OK, &PurgeReport { purged })
        }
        Err(error) => {
            let text = format!("purging was broken off: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "purge_failed", &text)
        }
    }
}

/// Tells what is kept of a site.
async fn cache_stats(subject: &Arc<Subject>, request: Request<Incoming>) -> Response<Answer> {
    let CacheQuestion { site } = match parse(request).await {
        Ok(question) => question,
        Err(refusal) => return *refusal,
    };
    let shared = Arc::clone(&subject.shared);
    let count = move || {
        let tally = shared.cache.tally(site);
        let requests = shared.content.cache_counts(site);
        let requests = requests.into_iter().map(|(word, count)| (word.to_owned(), count));
        CacheStats {
            objects: tally.objects,
            bytes: tally.bytes,
            used: shared.cache.used(),
            capacity: shared.cache.capacity(),
            requests: requests.collect(),
        }
    };
    match tokio::task::spawn_blocking(count).await {
        Ok(stats) => json(StatusCode::OK, &stats),
        Err(error) => {
            let text = format!("counting was broken off: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "stats_failed", &text)
        }
    }
}

async fn parse<T: DeserializeOwned>(
    request: Request<Incoming>,
) -> Result<T, Box<Response<Answer>>> {
    let bytes = read(request).await?;
    serde_json::from_slice(&bytes).map_err(|error| {
        let text = format!("what is asked cannot be read: {error}");
        Box::new(problem(StatusCode::BAD_REQUEST, "unreadable_request", &text))
    })
}

fn change_problem(error: &ChangeError) -> Response<Answer> {
    let (status, code) = match error {
        ChangeError::Succeeded => return succeeded(),
        ChangeError::Conflict { digest } => {
            return json(StatusCode::CONFLICT, &Conflict { digest: *digest });
        }
        ChangeError::Owned(owner) => {
            tracing::warn!(
                owner.manager,
                owner.turn,
                "refused a change: the edge is somebody else's"
            );
            return json(StatusCode::LOCKED, owner);
        }
        ChangeError::Unreadable(_) => (StatusCode::BAD_REQUEST, "unreadable_change"),
        ChangeError::Format { .. } => (StatusCode::BAD_REQUEST, "unknown_format"),
        ChangeError::Fallback { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "bad_fallback"),
        ChangeError::State(_) => (StatusCode::INTERNAL_SERVER_ERROR, "state_failed"),
    };
    let text = body::chain(error);
    tracing::warn!(code, "refused a change: {text}");
    problem(status, code, &text)
}

async fn read(request: Request<Incoming>) -> Result<Bytes, Box<Response<Answer>>> {
    let reading = Limited::new(request.into_body(), MAX_BODY).collect();
    match tokio::time::timeout(BODY_TIMEOUT, reading).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => {
            let text = format!("a change has at most {MAX_BODY} bytes; send it in parts");
            Err(Box::new(problem(StatusCode::PAYLOAD_TOO_LARGE, "change_too_large", &text)))
        }
        Ok(Err(error)) => {
            let text = format!("the change did not arrive wholly: {error}");
            Err(Box::new(problem(StatusCode::BAD_REQUEST, "broken_body", &text)))
        }
        Err(_) => {
            let text = "the change took too long to arrive";
            Err(Box::new(problem(StatusCode::REQUEST_TIMEOUT, "slow_body", text)))
        }
    }
}

/// An error as RFC 9457 has it.
#[derive(Serialize)]
struct Problem<'a> {
    status: u16,
    code: &'a str,
    detail: &'a str,
}

/// Returns an answer that says what is wrong.
pub(crate) fn problem(status: StatusCode, code: &str, detail: &str) -> Response<Answer> {
    let problem = Problem { status: status.as_u16(), code, detail };
    let bytes = serde_json::to_vec(&problem).unwrap_or_default();
    with_type(status, "application/problem+json", bytes)
}

fn json<T: Serialize>(status: StatusCode, value: &T) -> Response<Answer> {
    match serde_json::to_vec(value) {
        Ok(bytes) => with_type(status, "application/json", bytes),
        Err(error) => {
            let text = format!("the answer cannot be written: {error}");
            problem(StatusCode::INTERNAL_SERVER_ERROR, "unwritable_answer", &text)
        }
    }
}

fn with_type(status: StatusCode, kind: &'static str, bytes: Vec<u8>) -> Response<Answer> {
    let mut response = Response::new(Full::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
