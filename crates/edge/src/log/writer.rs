//! The thread that writes logs.

use std::{
    collections::HashMap,
    fmt::Write as _,
    sync::{Arc, atomic::AtomicU64},
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;

use super::{
    file::LogFile,
    overflow::Overflow,
    queue::{Found, Kind, Line, Lines, Queue},
};

/// How many files are open at once; the one that rested longest gives way.
const MAX_OPEN: usize = 256;

/// A line is in its file after this time at the latest.
const MAX_DELAY: Duration = Duration::from_millis(200);

pub(super) struct Writer {
    folder: Utf8PathBuf,
    dropped: Arc<AtomicU64>,
    overflow: Overflow,
    files: HashMap<String, LogFile>,
    /// Counts uses, to tell which file rested longest.
    uses: u64,
    /// When the oldest line that is not written yet came in.
    waiting_since: Option<Instant>,
    /// Kept to be used again: the key of a file.
    key: String,
}

impl Writer {
    pub(super) fn new(
        folder: Utf8PathBuf,
        dropped: Arc<AtomicU64>,
        overflowed: Arc<AtomicU64>,
    ) -> Self {
        Self {
            folder,
            dropped,
            overflow: Overflow::new(overflowed),
            files: HashMap::new(),
            uses: 0,
            waiting_since: None,
            key: String::new(),
        }
    }

    /// Writes what comes until the queue ends.
    pub(super) fn run(mut self, queue: &Queue) {
        let mut lines = Lines::default();
        loop {
            let found = queue.take(&mut lines, self.waiting_since.is_none());
            for (line, text) in lines.iter() {
                self.append(line, text);
            }
            match found {
                Found::End => break,
                Found::Nothing => self.flush(),
                Found::Lines => {}
            }
            if self.waiting_since.is_some_and(|since| since.elapsed() >= MAX_DELAY) {
                self.flush();
            }
        }
        self.flush();
    }

    fn append(&mut self, line: &Line, text: &[u8]) {
        self.uses += 1;
        self.key.clear();
        let kind = match line.kind {
            Kind::Access => "access",
            Kind::Error => "error",
        };
        // Writing to a string cannot fail.
        write!(self.key, "{}/{}.{kind}", line.log.folder, line.log.name).unwrap_or_default();
        if !self.files.contains_key(&self.key) {
            self.make_room();
            let file = LogFile::new(&self.folder, &self.key, Arc::clone(&self.dropped));
            self.files.insert(self.key.clone(), file);
        }
        if let Some(file) = self.files.get_mut(&self.key) {
            file.append(text, line.time, &line.log.settings, self.uses);
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
