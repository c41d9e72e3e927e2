//! From a configuration to a running edge, and to its end.

use std::{io, net::SocketAddr, sync::Arc, thread};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use portway_policy::bundle::ListenerStatus;
use tokio_util::sync::CancellationToken;

use crate::{
    access::Authenticator,
    body::Memory,
    checks::{self, Handed, Tools},
    config::EdgeConfig,
    content::{Content, StateError},
    control::{self, Control, ControlError, Subject},
    listener::{self, BindError, Bound},
    log::{LogError, Logs},
    metrics::Metrics,
    proxy::NameServers,
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
    stop: CancellationToken,
    logs: Logs,
    workers: Vec<thread::JoinHandle<io::Result<()>>>,
    control: Option<thread::JoinHandle<io::Result<()>>>,
}

/// Runs an edge until `shutdown` is cancelled or it is told to stop. Calls `ready` once it serves.
pub async fn run(
    config: EdgeConfig,
    shutdown: CancellationToken,
    ready: impl FnOnce(),
) -> Result<(), EdgeError> {
    raise_file_limit();
    let edge = start(config, shutdown).await?;
    ready();
    edge.wait().await
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
    let started_at = Timestamp::now();
    // The state is locked first: of two edges that start at once, one goes no further, and so
    // never takes away the other's socket.
    let state_dir = config.state_dir.clone();
    let (checks, handed) = checks::hand_over();
    let opened = tokio::task::spawn_blocking(move || Content::open(&state_dir, checks)).await;
    let content = Arc::new(opened.map_err(|error| EdgeError::Thread(io::Error::other(error)))??);
    let control = control::open(&config.control_socket).await?;
    let logs = Logs::start(&config.log_dir)?;
    let workers = config.worker_count();
    let bound = bind_all(&config, workers)?;
    let listeners: Vec<ListenerStatus> = bound.iter().map(|bound| bound.status.clone()).collect();
    let stop = shutdown.child_token();
    let memory = Memory::new(config.body_memory);
    let shared = Arc::new(Shared {
        tls: TlsAcceptor::new(Arc::clone(&content)).map_err(EdgeError::Tls)?,
        content,
        metrics: Metrics::new(env!("CARGO_PKG_VERSION"), logs.dropped(), Arc::clone(&memory)),
        memory,
        spans: config.spans.clone(),
        logs: logs.clone(),
        authenticator: Authenticator::new(workers.div_ceil(2)),
        https_port: https_port(&config, &listeners),
        stop: stop.clone(),
        drain: config.drain,
        name_servers: name_servers(&config),
    });
    let mut handle = EdgeHandle {
        listeners: listeners.clone(),
        control_socket: config.control_socket.clone(),
        stop,
        logs,
        workers: Vec::with_capacity(workers),
        control: None,
    };
    for (number, listeners) in spread(bound, workers, &shared.metrics).into_iter().enumerate() {
        handle.workers.push(start_worker(number, Arc::clone(&shared), listeners)?);
    }
    handle.workers.push(start_checks(handed, &shared)?);
    let sites = shared.content.summary().1;
    let subject = Subject { shared, listeners, started_at };
    handle.control = Some(start_control(control, subject)?);
    tracing::info!(sites, workers, listeners = ?handle.listeners, "the edge serves");
    Ok(handle)
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
        self.stop.cancel();
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
            self.stop.cancel();
        }
    }
}

fn name_servers(config: &EdgeConfig) -> NameServers {
    match config.name_servers.as_slice() {
        [] => NameServers::Machine,
        servers => NameServers::These(servers.to_vec()),
    }
}

fn bind_all(config: &EdgeConfig, workers: usize) -> Result<Vec<Bound>, BindError> {
    let plain = config.http.iter().map(|address| (*address, false));
    let tls = config.https.iter().map(|address| (*address, true));
    plain.chain(tls).map(|(address, tls)| listener::bind(address, tls, workers)).collect()
}

fn https_port(config: &EdgeConfig, listeners: &[ListenerStatus]) -> u16 {
    let first = listeners.iter().find(|listener| listener.tls);
    config
        .public_https_port
        .or_else(|| first.map(|listener| listener.address.port()))
        .unwrap_or(HTTPS_PORT)
}

/// Gives each worker one socket of every address.
fn spread(bound: Vec<Bound>, workers: usize, metrics: &Metrics) -> Vec<Vec<Listener>> {
    let mut spread: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for Bound { status, sockets } in bound {
        let connections = metrics.listener(status.address);
        for (listeners, socket) in spread.iter_mut().zip(sockets) {
            let connections = connections.clone();
            listeners.push(Listener { socket, tls: status.tls, connections });
        }
    }
    spread
}

fn start_worker(
    number: usize,
    shared: Arc<Shared>,
    listeners: Vec<Listener>,
) -> Result<thread::JoinHandle<io::Result<()>>, EdgeError> {
    thread::Builder::new()
        .name(format!("portway-edge-{number}"))
        .spawn(move || worker::run(shared, listeners))
        .map_err(EdgeError::Thread)
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
