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
    queue::{Found, Kind, Line, Lines, Queue, REST},
};

/// How many files are open at once; the one that rested longest gives way.
const MAX_OPEN: usize = 256;

/// How often files that rest are looked for.
const SWEEP: Duration = Duration::from_secs(5);

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
    /// When files that rest were last looked for.
    swept: Instant,
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
            swept: Instant::now(),
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
        self.close_those_that_rest(Instant::now());
        if let Some(telling) = self.overflow.look(Instant::now()) {
            telling.tell();
        }
    }

    /// Closes files to which nothing was written for a while: their sites may be gone, and a file that is
    /// removed takes room on the disk as long as it is open.
    fn close_those_that_rest(&mut self, now: Instant) {
        if now.duration_since(self.swept) >= SWEEP {
            self.swept = now;
            self.files.retain(|_, file| !file.rests(now, REST));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use camino::Utf8Path;
    use jiff::Timestamp;
    use portway_model::site::LogSettings;

    use super::*;
    use crate::log::SiteLog;

    #[test]
    fn a_file_that_rests_is_closed_and_goes_on_where_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().to_owned();
        let mut writer = Writer::new(path.clone(), Arc::default(), Arc::default());
        let write = |writer: &mut Writer, site: &str, text: &[u8]| {
            let log = SiteLog::new(site, &"main".parse().unwrap(), LogSettings::default());
            let (queue, mut lines) = (Queue::default(), Lines::default());
            assert!(queue.push(&Arc::new(log), Kind::Access, Timestamp::UNIX_EPOCH, text));
            queue.take(&mut lines, true);
            lines.iter().for_each(|(line, text)| writer.append(line, text));
        };
        write(&mut writer, "one", b"first\n");
        writer.flush();
        write(&mut writer, "two", b"waits\n");
        writer.close_those_that_rest(Instant::now() + SWEEP);
        assert_eq!(writer.files.len(), 2, "neither rests yet");

        writer.close_those_that_rest(Instant::now() + SWEEP + REST);
        assert_eq!(writer.files.keys().collect::<Vec<_>>(), ["two/main.access"]);
        write(&mut writer, "one", b"second\n");
        writer.flush();
        let text = fs::read_to_string(path.join("one/main.access.log")).unwrap();
        assert_eq!(text, "first\nsecond\n");
    }
}
