//! From a configuration to a running edge, and to its end.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, OnceLock},
    thread,
};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use portway_policy::bundle::ListenerStatus;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Authenticator,
    body::{self, Memory},
    cache::Store,
    checks::{self, Handed, Tools},
    config::EdgeConfig,
    content::{Content, StateError},
    control::{self, Control, ControlError, Subject},
    listener::{self, BindError, Bound, Given},
    log::{LogError, Logs},
    metrics::{Counted, Metrics},
    proxy::NameServers,
    succession::{Outputs, Predecessor, Succession, SuccessionError, Ways},
    tls::TlsAcceptor,
    worker::{self, Listener, Shared},
};

/// The port of HTTPS where none is configured.
const HTTPS_PORT: u16 = 443;

/// Why an edge does not run.
#[derive(Debug, thiserror::Error)]
pub enum EdgeError {
    /// Its state cannot be used.
    #[error(transparent)]
    State(#[from] StateError),
    /// Its logs cannot be written.
    #[error(transparent)]
    Logs(#[from] LogError),
    /// It cannot listen.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// It cannot be controlled.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// It cannot take the place of another one.
    #[error(transparent)]
    Succession(#[from] SuccessionError),
    /// The cryptographic library does not work.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// The machine gives no thread.
    #[error("cannot start a thread")]
    Thread(#[source] io::Error),
    /// A thread ended by itself.
    #[error("the thread {name} failed")]
    Ended {
        /// Which one.
        name: String,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A running edge. It stops when the token it was started with is cancelled, when it is told so
/// over its control socket, or when this is dropped.
#[derive(Debug)]
pub struct EdgeHandle {
    listeners: Vec<ListenerStatus>,
    control_socket: Utf8PathBuf,
    told: CancellationToken,
    outputs: Option<Outputs>,
    logs: Logs,
    workers: Vec<thread::JoinHandle<io::Result<()>>>,
    control: Option<thread::JoinHandle<io::Result<()>>>,
}

/// Which edge is there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Before {
    /// None.
    Nobody,
    /// The one that answers on the control socket; its place is taken.
    Predecessor(Writes),
}

/// Where an edge that takes the place of another one writes its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// Where whoever started it wants that.
    Here,
    /// Where the other one writes: the command that started this one ends, and what it was given
    /// ends with it.
    WhereThePredecessorDid,
}

/// Runs an edge until `shutdown` is cancelled, it is told to stop, or another one takes its place.
pub async fn run(
    config: EdgeConfig,
    before: Before,
    shutdown: CancellationToken,
) -> Result<(), EdgeError> {
    raise_file_limit();
    let herald = Arc::clone(&config.herald);
    let edge = match before {
        Before::Nobody => start(config, shutdown).await?,
        Before::Predecessor(_) => succeed(config, shutdown).await?,
    };
    if before == Before::Predecessor(Writes::WhereThePredecessorDid) {
        edge.write_where_the_predecessor_did();
    }
    herald.ready();
    let told = edge.told.clone();
    let mut ended = std::pin::pin!(edge.wait());
    // The edge is waited for on, whichever comes first.
    tokio::select! {
        ended = &mut ended => return ended,
        () = told.cancelled() => herald.stopping(),
    }
    ended.await
}

/// Every connection is an open file, and the usual limit of 1024 is soon reached. Up to the hard
/// limit a process may help itself.
fn raise_file_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Starts an edge. When this returns, it serves what it had and takes changes.
pub async fn start(
    config: EdgeConfig,
    shutdown: CancellationToken,
) -> Result<EdgeHandle, EdgeError> {
    // The state is locked first: of two edges that start at once, one goes no further, and so
    // never takes away the other's socket.
    let opened = open(&config).await?;
    let control = control::open(&config.control_socket).await?;
    let entrance = Entrance { control, given: Given::default(), outputs: None };
    let prepared = prepare(config, shutdown, opened, entrance).await?;
    prepared.serve()
}

/// Starts an edge in the place of the one that answers on the control socket. When this returns, it
/// serves in that one's stead; when it fails, that one serves on.
pub async fn succeed(
    config: EdgeConfig,
    shutdown: CancellationToken,
) -> Result<EdgeHandle, EdgeError> {
    let (socket, state) = (config.control_socket.clone(), config.state_dir.clone());
    let stop = shutdown.clone();
    let mut succession = blocking(move || Succession::ask(&socket, &state, stop)).await??;
    match inherit(config, shutdown, &mut succession).await {
        Ok(prepared) => {
            let listeners = prepared.handle.listeners.clone();
            blocking(move || succession.conclude(listeners)).await??;
            prepared.serve()
        }
        Err(error) => {
            let reason = body::chain(&error);
            blocking(move || succession.refuse(reason)).await?;
            Err(error)
        }
    }
}

async fn inherit(
    config: EdgeConfig,
    shutdown: CancellationToken,
    succession: &mut Succession,
) -> Result<Prepared, EdgeError> {
    let inheritance = succession.inherit()?;
    let control = Control::given(inheritance.control, &config.control_socket)?;
    let opened = open(&config).await?;
    let outputs = Some(inheritance.outputs);
    let entrance = Entrance { control, given: inheritance.given, outputs };
    prepare(config, shutdown, opened, entrance).await
}

/// Where others come in.
struct Entrance {
    control: Control,
    given: Given,
    outputs: Option<Outputs>,
}

/// An edge that serves as soon as it is let.
struct Prepared {
    handle: EdgeHandle,
    control: Control,
    subject: Subject,
    handed: Handed,
    /// Kept until the predecessor knows that they are not wanted.
    _left: Given,
}

/// What is served, and the other end of where its targets are handed over to be checked.
type Opened = (Arc<Content>, Handed);

async fn open(config: &EdgeConfig) -> Result<Opened, EdgeError> {
    let state_dir = config.state_dir.clone();
    let (checks, handed) = checks::hand_over();
    let content = blocking(move || Content::open(&state_dir, checks)).await??;
    Ok((Arc::new(content), handed))
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, EdgeError> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.map_err(|error| EdgeError::Thread(io::Error::other(error)))
}

/// Makes everything ready, up to the moment before the first connection.
async fn prepare(
    config: EdgeConfig,
    shutdown: CancellationToken,
    (content, handed): Opened,
    entrance: Entrance,
) -> Result<Prepared, EdgeError> {
    let started_at = Timestamp::now();
    let Entrance { control, mut given, outputs } = entrance;
    let logs = Logs::start(&config.log_dir)?;
    let workers = config.worker_count();
    let bound = bind_all(&config, workers, &mut given)?;
    let listeners: Vec<ListenerStatus> = bound.iter().map(|bound| bound.status.clone()).collect();
    let told = shutdown.child_token();
    let memory = Memory::new(config.body_memory);
    let cache = Store::new(config.cache_memory);
    let counted = Counted {
        log_dropped: logs.dropped(),
        memory: Arc::clone(&memory),
        cache: Arc::clone(&cache),
    };
    let shared = Arc::new(Shared {
        tls: TlsAcceptor::new(Arc::clone(&content)).map_err(EdgeError::Tls)?,
        content,
        metrics: Metrics::new(env!("CARGO_PKG_VERSION"), counted),
        memory,
        cache,
        spans: config.spans.clone(),
        logs: logs.clone(),
        authenticator: Authenticator::new(workers.div_ceil(2)),
        https_port: https_port(&config, &listeners),
        open: CancellationToken::new(),
        stop: told.child_token(),
        told: told.clone(),
        successor: OnceLock::new(),
        drain: config.drain,
        name_servers: name_servers(&config),
        drain_succeeded: config.drain_succeeded,
    });
    let ways = Ways { bound: copy(&bound)?, control: control.copy()? };
    let predecessor = Arc::new(Predecessor::new(Arc::clone(&shared), &config, ways));
    let mut handle = EdgeHandle {
        listeners: listeners.clone(),
        control_socket: config.control_socket.clone(),
        told,
        outputs,
        logs,
        workers: Vec::with_capacity(workers),
        control: None,
    };
    let spread = spread(bound, workers, &shared.metrics)?;
    start_workers(&mut handle, &shared, spread).await?;
    let invocation = config.invocation.clone();
    let subject = Subject { shared, listeners, started_at, invocation, predecessor };
    Ok(Prepared { handle, control, subject, handed, _left: given })
}

impl Prepared {
    /// Lets it serve.
    fn serve(self) -> Result<EdgeHandle, EdgeError> {
        let Self { mut handle, control, subject, handed, _left } = self;
        let shared = Arc::clone(&subject.shared);
        shared.open.cancel();
        handle.control = Some(start_control(control, subject)?);
        let (sites, workers) = (shared.content.summary().1, handle.workers.len());
        handle.workers.push(start_checks(handed, &shared)?);
        tracing::info!(sites, workers, listeners = ?handle.listeners, "the edge serves");
        Ok(handle)
    }
}

impl EdgeHandle {
    /// Returns the addresses on which it speaks plain HTTP, with their real ports.
    pub fn http(&self) -> Vec<SocketAddr> {
        self.addresses(false)
    }

    /// Returns the addresses on which it speaks HTTPS, with their real ports.
    pub fn https(&self) -> Vec<SocketAddr> {
        self.addresses(true)
    }

    /// Returns the path of its control socket.
    pub fn control_socket(&self) -> &Utf8PathBuf {
        &self.control_socket
    }

    /// Tells it to stop after the requests in flight.
    pub fn stop(&self) {
        self.told.cancel();
    }

    fn write_where_the_predecessor_did(&self) {
        let Some(outputs) = &self.outputs else { return };
        let turned = rustix::stdio::dup2_stdout(&outputs.out)
            .and_then(|()| rustix::stdio::dup2_stderr(&outputs.err));
        if let Err(error) = turned {
            tracing::warn!(%error, "this edge does not write where the one before did");
        }
    }

    /// Waits until it has stopped.
    pub async fn wait(mut self) -> Result<(), EdgeError> {
        let workers = std::mem::take(&mut self.workers);
        let control = self.control.take();
        let logs = self.logs.clone();
        let join = move || {
            let ended = join_all(workers.into_iter().chain(control));
            logs.stop();
            ended
        };
        let joined = tokio::task::spawn_blocking(join).await;
        joined.unwrap_or_else(|error| Err(EdgeError::Thread(io::Error::other(error))))
    }

    fn addresses(&self, tls: bool) -> Vec<SocketAddr> {
        let wanted = self.listeners.iter().filter(|listener| listener.tls == tls);
        wanted.map(|listener| listener.address).collect()
    }
}

impl Drop for EdgeHandle {
    fn drop(&mut self) {
        // A handle that was waited for has stopped already; the logs are told to once more at no
        // cost.
        if !self.workers.is_empty() || self.control.is_some() {
            self.told.cancel();
        }
    }
}

fn name_servers(config: &EdgeConfig) -> NameServers {
    match config.name_servers.as_slice() {
        [] => NameServers::Machine,
        servers => NameServers::These(servers.to_vec()),
    }
}

fn bind_all(
    config: &EdgeConfig,
    workers: usize,
    given: &mut Given,
) -> Result<Vec<Bound>, BindError> {
    for socket in &config.sockets {
        let unknown = |source| BindError { address: SocketAddr::from(([0; 4], 0)), source };
        given.add(socket.try_clone().map_err(unknown)?)?;
    }
    let plain = config.http.iter().map(|address| (*address, false));
    let tls = config.https.iter().map(|address| (*address, true));
    let bound = plain
        .chain(tls)
        .map(|(address, tls)| listener::bind(address, tls, workers, given))
        .collect::<Result<_, _>>()?;
    for address in given.left() {
        tracing::warn!(%address, "a socket was given for an address on which this edge is not to listen");
    }
    Ok(bound)
}

/// Copies the descriptors of sockets.
fn copy(bound: &[Bound]) -> Result<Vec<Bound>, BindError> {
    let copy_one = |bound: &Bound| {
        let status = bound.status.clone();
        let address = status.address;
        let sockets = bound.sockets.iter().map(std::net::TcpListener::try_clone);
        let sockets = sockets.collect::<Result<_, _>>();
        Ok(Bound { status, sockets: sockets.map_err(|source| BindError { address, source })? })
    };
    bound.iter().map(copy_one).collect()
}

fn https_port(config: &EdgeConfig, listeners: &[ListenerStatus]) -> u16 {
    let first = listeners.iter().find(|listener| listener.tls);
    config
        .public_https_port
        .or_else(|| first.map(|listener| listener.address.port()))
        .unwrap_or(HTTPS_PORT)
}

/// Gives each worker a socket of every address. Where there are more sockets than workers, some have
/// several; where there are fewer, some share one.
fn spread(
    bound: Vec<Bound>,
    workers: usize,
    metrics: &Metrics,
) -> Result<Vec<Vec<Listener>>, BindError> {
    let mut spread: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for Bound { status, mut sockets } in bound {
        let address = status.address;
        let copies = workers.saturating_sub(sockets.len());
        let originals = sockets.iter().cycle().take(copies).map(std::net::TcpListener::try_clone);
        let copies = originals.collect::<Result<Vec<_>, _>>();
        sockets.extend(copies.map_err(|source| BindError { address, source })?);
        let connections = metrics.listener(address);
        for (place, socket) in (0..workers).cycle().zip(sockets) {
            let (status, connections) = (status.clone(), connections.clone());
            if let Some(listeners) = spread.get_mut(place) {
                listeners.push(Listener { socket, status, connections });
            }
        }
    }
    Ok(spread)
}

/// Starts the workers, and returns when each could accept.
async fn start_workers(
    handle: &mut EdgeHandle,
    shared: &Arc<Shared>,
    spread: Vec<Vec<Listener>>,
) -> Result<(), EdgeError> {
    let (prepared, mut preparing) = mpsc::unbounded_channel();
    for (number, listeners) in spread.into_iter().enumerate() {
        let (shared, prepared) = (Arc::clone(shared), prepared.clone());
        let worker = thread::Builder::new()
            .name(format!("portway-edge-{number}"))
            .spawn(move || worker::run(shared, listeners, prepared))
            .map_err(EdgeError::Thread)?;
        handle.workers.push(worker);
    }
    drop(prepared);
    let mut ready = 0;
    while preparing.recv().await.is_some() {
        ready += 1;
    }
    if ready == handle.workers.len() {
        return Ok(());
    }
    // One of them says why.
    handle.told.cancel();
    join_all(std::mem::take(&mut handle.workers).into_iter())
}

fn start_checks(
    handed: Handed,
    shared: &Shared,
) -> Result<thread::JoinHandle<io::Result<()>>, EdgeError> {
    let tools = Tools {
        logs: shared.logs.clone(),
        clock: shared.content.clock,
        name_servers: shared.name_servers.clone(),
        stop: shared.stop.clone(),
    };
    thread::Builder::new()
        .name("portway-checks".to_owned())
        .spawn(move || checks::run(handed, tools))
        .map_err(EdgeError::Thread)
}

fn start_control(
    control: Control,
    subject: Subject,
) -> Result<thread::JoinHandle<io::Result<()>>, EdgeError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Thread)?;
    thread::Builder::new()
        .name("portway-control".to_owned())
        .spawn(move || runtime.block_on(control.serve(subject)))
        .map_err(EdgeError::Thread)
}

fn join_all(
    threads: impl Iterator<Item = thread::JoinHandle<io::Result<()>>>,
) -> Result<(), EdgeError> {
    let mut first = Ok(());
    for thread in threads {
        let name = thread.thread().name().unwrap_or_default().to_owned();
        let ended = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
        if let (Err(source), true) = (ended, first.is_ok()) {
            first = Err(EdgeError::Ended { name, source });
        }
    }
    first
}
