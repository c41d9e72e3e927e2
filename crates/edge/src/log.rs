//! Access and error logs. A worker hands its line over and goes on: one thread of its own writes and
//! rotates. When that thread cannot keep up, or the disk is full, lines are dropped,
//! counted, and that is said once; no request ever waits for its log line.

mod file;
mod overflow;
mod queue;
mod rotate;
mod writer;

use std::{
    cell::RefCell,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
        mpsc::{self, Receiver, RecvTimeoutError},
    },
    thread,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_model::{
    Name,
    site::{LogFormat, LogSettings, defaults},
};
use portway_telemetry::access::{AccessRecord, ErrorRecord};

use self::{
    queue::{Kind, Queue},
    writer::Writer,
};

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
    queue: Queue,
    dropped: Arc<AtomicU64>,
    /// Those of the lost lines that found the queue full.
    overflowed: Arc<AtomicU64>,
    edge: Arc<SiteLog>,
    /// Its other end is dropped with the writer.
    writer: Mutex<Option<Receiver<()>>>,
}

impl SiteLog {
    /// Returns the log `name` in the folder of a site.
    pub(crate) fn new(folder: impl Into<String>, name: &Name, settings: LogSettings) -> Self {
        Self { folder: folder.into(), name: name.as_str().to_owned(), settings }
    }

    /// Tells whether requests are logged.
    pub(crate) fn takes_access(&self) -> bool {
        self.settings.access
    }
}

impl Logs {
    /// Starts logs below a folder.
    pub(crate) fn start(folder: &Utf8Path) -> Result<Self, LogError> {
        create_folder(folder)
            .map_err(|source| LogError::Folder { path: folder.to_owned(), source })?;
        let dropped = Arc::<AtomicU64>::default();
        let overflowed = Arc::<AtomicU64>::default();
        let queue = Queue::default();
        let lines = queue.clone();
        let writer = Writer::new(folder.to_owned(), Arc::clone(&dropped), Arc::clone(&overflowed));
        let (alive, ended) = mpsc::sync_channel(0);
        // Not joined: a write to a disk that hangs must not hold the edge.
        let _detached = thread::Builder::new()
            .name("portway-log".to_owned())
            .spawn(move || {
                writer.run(&lines);
                // From here on lines are lost, also when that is because of a panic.
                drop(alive);
            })
            .map_err(LogError::Thread)?;
        let edge = Arc::new(SiteLog {
            folder: EDGE_FOLDER.to_owned(),
            name: defaults::LOG_NAME.to_owned(),
            settings: LogSettings::default(),
        });
        let writer = Mutex::new(Some(ended));
        Ok(Self(Arc::new(Shared { queue, dropped, overflowed, edge, writer })))
    }

    /// Returns the edge's own log, for what belongs to no site.
    pub(crate) fn edge(&self) -> &Arc<SiteLog> {
        &self.0.edge
    }

    /// Logs a request, unless the site logs none.
    pub(crate) fn access(&self, log: &Arc<SiteLog>, record: &AccessRecord<'_>) {
        if !log.takes_access() {
            return;
        }
        self.hand_over(log, Kind::Access, record.time, |line| match log.settings.format {
            LogFormat::Json => record.write_json(line),
            LogFormat::Combined => record.write_combined(line),
        });
    }

    /// Logs an error.
    pub(crate) fn error(&self, log: &Arc<SiteLog>, record: &ErrorRecord) {
        self.hand_over(log, Kind::Error, record.time, |line| record.write_json(line));
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
        self.0.queue.close();
        if let Err(RecvTimeoutError::Timeout) = writer.recv_timeout(LONGEST_END) {
            tracing::error!("the disk does not take the last log lines; they are lost");
        }
    }

    fn hand_over(
        &self,
        log: &Arc<SiteLog>,
        kind: Kind,
        time: Timestamp,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        thread_local! {
            static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
        }
        let taken = LINE.with_borrow_mut(|line| {
            line.clear();
            write(line);
            self.0.queue.push(log, kind, time, line)
        });
        if !taken {
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
