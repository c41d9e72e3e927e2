//! The thread that writes logs.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;
use portway_model::site::LogFormat;

use super::{Message, SiteLog, file::LogFile, overflow::Overflow};

/// How many files are open at once; the one that rested longest gives way.
const MAX_OPEN: usize = 256;

/// A line is in its file after this time at the latest.
const MAX_DELAY: Duration = Duration::from_millis(200);

/// After this much quiet everything is written.
const IDLE: Duration = Duration::from_millis(20);

pub(super) struct Writer {
    folder: Utf8PathBuf,
    dropped: Arc<AtomicU64>,
    overflow: Overflow,
    /// Set when nothing more will come.
    stopping: Arc<AtomicBool>,
    files: HashMap<String, LogFile>,
    /// Counts uses, to tell which file rested longest.
    uses: u64,
    /// When the oldest line that is not written yet came in.
    waiting_since: Option<Instant>,
    /// Kept to be used again: the key of a file and the line to write.
    key: String,
    line: Vec<u8>,
}

impl Writer {
    pub(super) fn new(
        folder: Utf8PathBuf,
        dropped: Arc<AtomicU64>,
        overflowed: Arc<AtomicU64>,
        stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            folder,
            dropped,
            overflow: Overflow::new(overflowed),
            stopping,
            files: HashMap::new(),
            uses: 0,
            waiting_since: None,
            key: String::new(),
            line: Vec::new(),
        }
    }

    /// Writes what comes until it is told to stop.
    pub(super) fn run(mut self, records: &Receiver<Message>) {
        loop {
            match self.next(records) {
                Ok(Message::Access(log, record)) => {
                    self.line.clear();
                    match log.settings.format {
                        LogFormat::Json => record.write_json(&mut self.line),
                        LogFormat::Combined => record.write_combined(&mut self.line),
                    }
                    self.append(&log, "access", record.time);
                }
                Ok(Message::Error(log, record)) => {
                    self.line.clear();
                    record.write_json(&mut self.line);
                    self.append(&log, "error", record.time);
                }
                Err(RecvTimeoutError::Timeout) => {
                    self.flush();
                    if self.stopping.load(Relaxed) {
                        break;
                    }
                }
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.waiting_since.is_some_and(|since| since.elapsed() >= MAX_DELAY) {
                self.flush();
            }
        }
        self.flush();
    }

    fn next(&self, records: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
        match self.waiting_since {
            None => records.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(since) => {
                records.recv_timeout(IDLE.min(MAX_DELAY.saturating_sub(since.elapsed())))
            }
        }
    }

    fn append(&mut self, log: &SiteLog, kind: &str, time: jiff::Timestamp) {
        self.uses += 1;
        self.key.clear();
        // Writing to a string cannot fail.
        write!(self.key, "{}/{}.{kind}", log.folder, log.name).unwrap_or_default();
        if !self.files.contains_key(&self.key) {
            self.make_room();
            let file = LogFile::new(&self.folder, &self.key, Arc::clone(&self.dropped));
            self.files.insert(self.key.clone(), file);
        }
        if let Some(file) = self.files.get_mut(&self.key) {
            file.append(&self.line, time, &log.settings, self.uses);
        }
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    fn make_room(&mut self) {
        if self.files.len() < MAX_OPEN {
            return;
        }
        let rested = self.files.iter().min_by_key(|(_, file)| file.last_use());
        if let Some(key) = rested.map(|(key, _)| key.clone())
            && let Some(mut file) = self.files.remove(&key)
        {
            file.flush();
        }
    }

    fn flush(&mut self) {
        for file in self.files.values_mut() {
            file.flush();
        }
        self.waiting_since = None;
        if let Some(telling) = self.overflow.look(Instant::now()) {
            telling.tell();
        }
    }
}
