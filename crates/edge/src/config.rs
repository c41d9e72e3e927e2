//! What an edge is told when it is started. Everything else it is given over its control socket.

use std::{
    net::{SocketAddr, TcpListener},
    num::NonZeroUsize,
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::bundle::Invocation;
use portway_telemetry::RequestSpans;

use crate::herald::{Herald, Nobody};

/// Where an edge listens, keeps its state and writes its logs.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// The folder of its state; made with mode 0700.
    pub state_dir: Utf8PathBuf,
    /// The folder of the logs of its sites.
    pub log_dir: Utf8PathBuf,
    /// The unix socket on which it takes changes.
    pub control_socket: Utf8PathBuf,
    /// Addresses for plain HTTP.
    pub http: Vec<SocketAddr>,
    /// Addresses for HTTPS.
    pub https: Vec<SocketAddr>,
    /// The port under which clients reach HTTPS, where it is not the first of `https`.
    pub public_https_port: Option<u16>,
    /// The number of worker threads; one per core unless set.
    pub workers: Option<NonZeroUsize>,
    /// How long requests in flight may take to end after the edge was told to stop.
    pub drain: Duration,
    /// The name servers that are asked for the addresses of upstreams, and nobody else; with none,
    /// names are looked up as the machine does.
    pub name_servers: Vec<SocketAddr>,
    /// The memory in bytes for bodies that are read ahead of whoever takes them, of all requests
    /// together.
    pub body_memory: u64,
    /// The memory in bytes for kept answers, of all sites together.
    pub cache_memory: u64,
    /// How long they may take after another edge took its place.
    pub drain_succeeded: Duration,
    /// Listening sockets that somebody else opened, to be used for the addresses they have.
    pub sockets: Vec<Arc<TcpListener>>,
    /// How the edge was started, for those who start its successor.
    pub invocation: Invocation,
    /// Who is told of changes in the life of the process.
    pub herald: Arc<dyn Herald>,
    /// Whose traces are continued, and where the spans of requests go.
    pub spans: RequestSpans,
}

/// The time for requests in flight to end, unless set.
pub const DEFAULT_DRAIN: Duration = Duration::from_secs(30);

/// The memory for bodies that are read ahead, unless set.
pub const DEFAULT_BODY_MEMORY: u64 = 256_000_000;

/// The memory for kept answers, unless set. It is taken only as answers are kept.
pub const DEFAULT_CACHE_MEMORY: u64 = 256_000_000;

/// The same after another edge took the place of one, unless set. Nobody waits for that one's end,
/// and a long download or a WebSocket is worth a process that rests.
pub const DEFAULT_DRAIN_SUCCEEDED: Duration = Duration::from_secs(600);

impl EdgeConfig {
    /// Returns the settings of an edge that keeps everything below one folder and listens nowhere.
    pub fn below(dir: &Utf8Path) -> Self {
        Self {
            state_dir: dir.join("state"),
            log_dir: dir.join("logs"),
            control_socket: dir.join("run").join("edge.sock"),
            http: Vec::new(),
            https: Vec::new(),
            public_https_port: None,
            workers: None,
            drain: DEFAULT_DRAIN,
            name_servers: Vec::new(),
            body_memory: DEFAULT_BODY_MEMORY,
            cache_memory: DEFAULT_CACHE_MEMORY,
            drain_succeeded: DEFAULT_DRAIN_SUCCEEDED,
            sockets: Vec::new(),
            invocation: Invocation::default(),
            herald: Arc::new(Nobody),
            spans: RequestSpans::default(),
        }
    }

    /// Returns the number of worker threads.
    pub(crate) fn worker_count(&self) -> usize {
        let chosen = self.workers.or_else(|| std::thread::available_parallelism().ok());
        chosen.map_or(1, NonZeroUsize::get)
    }
}
