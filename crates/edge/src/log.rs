//! Access and error logs. A worker hands its record over and goes on: one thread of its own formats,
//! writes and rotates. When that thread cannot keep up, or the disk is full, lines are dropped,
//! counted, and that is said once; no request ever waits for its log line.

mod file;
mod overflow;
mod rotate;
mod writer;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender},
    },
    thread,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_model::{
    Name,
    site::{LogSettings, defaults},
};
use portway_telemetry::access::{AccessRecord, ErrorRecord};

use self::writer::Writer;

/// How many records wait for the writer at most.
const QUEUE: usize = 16 * 1024;

/// How long the last lines may take to be written when the edge stops.
const LONGEST_END: Duration = Duration::from_secs(10);

/// The folder of the edge's own log; no site's folder begins like this.
const EDGE_FOLDER: &str = "_edge";

/// Where the records of a site, or of one of its routes, go. Made once, when the site is compiled.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SiteLog {
    folder: String,
    name: String,
    settings: LogSettings,
}

/// The logs of the edge; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Logs(Arc<Shared>);

/// Why there are no logs.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The folder cannot be made.
    #[error("cannot create the log folder {path}")]
    Folder {
        /// The folder.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The machine gives no thread.
    #[error("cannot start the thread that writes logs")]
    Thread(#[source] io::Error),
}

#[derive(Debug)]
struct Shared {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
    /// Those of the lost lines that found the queue full.
    overflowed: Arc<AtomicU64>,
    stopping: Arc<AtomicBool>,
    edge: Arc<SiteLog>,
    /// Its other end is dropped with the writer.
    writer: Mutex<Option<Receiver<()>>>,
}

/// What the writer is told.
#[derive(Debug)]
enum Message {
    Access(Arc<SiteLog>, Box<AccessRecord>),
    Error(Arc<SiteLog>, Box<ErrorRecord>),
    Stop,
}

impl SiteLog {
    /// Returns the log `name` in the folder of a site.
    pub(crate) fn new(folder: impl Into<String>, name: &Name, settings: LogSettings) -> Self {
        Self { folder: folder.into(), name: name.as_str().to_owned(), settings }
    }
}

impl Logs {
    /// Starts logs below a folder.
    pub(crate) fn start(folder: &Utf8Path) -> Result<Self, LogError> {
        create_folder(folder)
            .map_err(|source| LogError::Folder { path: folder.to_owned(), source })?;
        let dropped = Arc::<AtomicU64>::default();
        let overflowed = Arc::<AtomicU64>::default();
        let stopping = Arc::<AtomicBool>::default();
        let (queue, records) = mpsc::sync_channel(QUEUE);
        let writer = Writer::new(
            folder.to_owned(),
            Arc::clone(&dropped),
            Arc::clone(&overflowed),
            Arc::clone(&stopping),
        );
        let (alive, ended) = mpsc::sync_channel(0);
        // Not joined: a write to a disk that hangs must not hold the edge.
        let _detached = thread::Builder::new()
            .name("portway-log".to_owned())
            .spawn(move || {
                writer.run(&records);
                // From here on lines are lost; only then the end is told.
                drop(records);
                drop(alive);
            })
            .map_err(LogError::Thread)?;
        let edge = Arc::new(SiteLog {
            folder: EDGE_FOLDER.to_owned(),
            name: defaults::LOG_NAME.to_owned(),
            settings: LogSettings::default(),
        });
        let writer = Mutex::new(Some(ended));
        Ok(Self(Arc::new(Shared { queue, dropped, overflowed, stopping, edge, writer })))
    }

    /// Returns the edge's own log, for what belongs to no site.
    pub(crate) fn edge(&self) -> &Arc<SiteLog> {
        &self.0.edge
    }

    /// Logs a request, unless the site logs none.
    pub(crate) fn access(&self, log: &Arc<SiteLog>, record: AccessRecord) {
        if log.settings.access {
            self.hand_over(Message::Access(Arc::clone(log), Box::new(record)));
        }
    }

    /// Logs an error.
    pub(crate) fn error(&self, log: &Arc<SiteLog>, record: ErrorRecord) {
        self.hand_over(Message::Error(Arc::clone(log), Box::new(record)));
    }

    /// Returns the count of lines that were lost.
    pub(crate) fn dropped(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.dropped)
    }

    /// Writes what is waiting and ends the writer. Blocks until it is done, but not for ever: the
    /// disk may hang. What is logged later is counted as lost.
    pub(crate) fn stop(&self) {
        let writer = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(writer) = writer else { return };
        self.0.stopping.store(true, Relaxed);
        // A full queue needs no word: the writer looks at the flag when it has emptied it.
        let told = self.0.queue.try_send(Message::Stop);
        if let Err(mpsc::TrySendError::Disconnected(_)) = told {
            tracing::error!("the thread that writes logs ended early; log lines were lost");
        }
        if let Err(RecvTimeoutError::Timeout) = writer.recv_timeout(LONGEST_END) {
            tracing::error!("the disk does not take the last log lines; they are lost");
        }
    }

    fn hand_over(&self, message: Message) {
        if self.0.queue.try_send(message).is_err() {
            self.0.dropped.fetch_add(1, Relaxed);
            self.0.overflowed.fetch_add(1, Relaxed);
        }
    }
}

/// Creates a folder that the service's group may read.
fn create_folder(path: &Utf8Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

#[cfg(test)]
mod tests;
