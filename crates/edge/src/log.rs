//! Access and error logs. A worker hands its record over and goes on: one thread of its own formats,
//! writes and rotates. When that thread cannot keep up, or the disk is full, lines are dropped and
//! counted; no request ever waits for its log line.

mod file;
mod rotate;
mod writer;

use std::{
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, SyncSender},
    },
    thread::{self, JoinHandle},
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
    edge: Arc<SiteLog>,
    writer: Mutex<Option<JoinHandle<()>>>,
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
        let (queue, records) = mpsc::sync_channel(QUEUE);
        let writer = Writer::new(folder.to_owned(), Arc::clone(&dropped));
        let thread = thread::Builder::new()
            .name("portway-log".to_owned())
            .spawn(move || writer.run(&records))
            .map_err(LogError::Thread)?;
        let edge = Arc::new(SiteLog {
            folder: EDGE_FOLDER.to_owned(),
            name: defaults::LOG_NAME.to_owned(),
            settings: LogSettings::default(),
        });
        Ok(Self(Arc::new(Shared { queue, dropped, edge, writer: Mutex::new(Some(thread)) })))
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

    /// Writes what is waiting and ends the writer. Blocks until it is done; what is logged later is
    /// counted as lost.
    pub(crate) fn stop(&self) {
        let thread = self.0.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return };
        if self.0.queue.send(Message::Stop).is_err() || thread.join().is_err() {
            tracing::error!("the thread that writes logs ended early; log lines were lost");
        }
    }

    fn hand_over(&self, message: Message) {
        if self.0.queue.try_send(message).is_err() {
            self.0.dropped.fetch_add(1, Relaxed);
        }
    }
}

/// Creates a folder that the service's group may read.
fn create_folder(path: &Utf8Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o750).create(path)
}

#[cfg(test)]
mod tests;
