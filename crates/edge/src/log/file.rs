//! One log file.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_model::site::LogSettings;
use rustix::fs::OFlags;

use super::{create_folder, rotate};

/// More than this is written without waiting for quiet.
const BUFFER: usize = 32 * 1024;

/// A file that lines are appended to. It comes back by itself when it or its folder is removed, and
/// when the disk has room again.
pub(super) struct LogFile {
    path: Utf8PathBuf,
    open: Option<Open>,
    buffer: Vec<u8>,
    dropped: Arc<AtomicU64>,
    /// Whether the last write failed; it is told once.
    failing: bool,
    /// Whether the file ends in the middle of a line.
    torn: bool,
    last_use: u64,
    /// When something was last written to it.
    written: Instant,
}

struct Open {
    file: File,
    /// Device and inode, to notice that the path leads to another file.
    identity: (u64, u64),
    size: u64,
    born: Timestamp,
}

impl LogFile {
    /// Returns the file `<folder>/<key>.log`; it is opened at the first write.
    pub(super) fn new(folder: &Utf8Path, key: &str, dropped: Arc<AtomicU64>) -> Self {
        Self {
            path: folder.join(format!("{key}.log")),
            open: None,
            buffer: Vec::new(),
            dropped,
            failing: false,
            torn: false,
            last_use: 0,
            written: Instant::now(),
        }
    }

    /// Returns the number of its last use.
    pub(super) fn last_use(&self) -> u64 {
        self.last_use
    }

    /// Tells whether nothing was written for a while, and nothing has to be remembered of it.
    pub(super) fn rests(&self, now: Instant, least: Duration) -> bool {
        let troubled = self.failing || self.torn;
        self.buffer.is_empty() && !troubled && now.duration_since(self.written) >= least
    }

    /// Takes a line, to be written soon; first puts the file aside if it is full or old.
    pub(super) fn append(
        &mut self,
        line: &[u8],
        time: Timestamp,
        settings: &LogSettings,
        number: u64,
    ) {
        self.last_use = number;
        if self.open.is_none() {
            self.open(time);
        }
        if self.is_due(line.len(), time, settings) {
            self.rotate(time, settings.keep);
        }
        self.buffer.extend_from_slice(line);
        if self.buffer.len() >= BUFFER {
            self.flush();
        }
    }

    /// Writes what is waiting. What cannot be written is dropped and counted.
    pub(super) fn flush(&mut self) {
        if self.buffer.is_empty() {
            return;
        }
        self.written = Instant::now();
        let buffer = std::mem::take(&mut self.buffer);
        let mut rest = buffer.as_slice();
        let result = self.reopen_if_moved().and_then(|()| self.write(&mut rest));
        self.note(result);
        let lost = rest.split(|byte| *byte == b'\n').skip(1).count();
        self.dropped.fetch_add(u64::try_from(lost).unwrap_or(u64::MAX), Relaxed);
    }

    fn is_due(&self, length: usize, time: Timestamp, settings: &LogSettings) -> bool {
        let Some(open) = &self.open else { return false };
        let held = open.size + bytes(self.buffer.len());
        let limit = settings.max_size.0;
        let full = limit > 0 && held + bytes(length) > limit;
        let max_age = settings.max_age.duration();
        let age = Duration::try_from(time.duration_since(open.born)).unwrap_or_default();
        let old = !max_age.is_zero() && age >= max_age;
        held > 0 && (full || old)
    }

    fn rotate(&mut self, time: Timestamp, keep: u32) {
        self.flush();
        match rotate::put_aside(&self.path, time, keep) {
            Ok(()) => self.open(time),
            Err(error) => {
                self.note(Err(error));
                if let Some(open) = &mut self.open {
                    // Tried again when as much has been written, or as much time has passed, again.
                    open.size = 0;
                    open.born = time;
                }
            }
        }
    }

    /// Someone may have removed the folder or put the file aside.
    fn reopen_if_moved(&mut self) -> io::Result<()> {
        let Some(open) = &self.open else {
            self.open = Some(open_file(&self.path, None)?);
            return Ok(());
        };
        let there = self.path.metadata().ok().map(|found| (found.dev(), found.ino()));
        if there != Some(open.identity) {
            self.open = None;
            self.torn = false;
            self.open = Some(open_file(&self.path, None)?);
        }
        Ok(())
    }

    fn write(&mut self, rest: &mut &[u8]) -> io::Result<()> {
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        if self.torn {
            // Otherwise the first line would be glued to the half one before it.
            open.file.write_all(b"\n")?;
            self.torn = false;
        }
        while !rest.is_empty() {
            match open.file.write(rest) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => {
                    let (done, left) = rest.split_at(written.min(rest.len()));
                    self.torn = !done.ends_with(b"\n");
                    open.size += bytes(written);
                    *rest = left;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn open(&mut self, time: Timestamp) {
        self.torn = false;
        self.open = None;
        match open_file(&self.path, Some(time)) {
            Ok(open) => self.open = Some(open),
            Err(error) => self.note(Err(error)),
        }
    }

    /// Tells once that lines are being lost, and once that they no longer are.
    fn note(&mut self, result: io::Result<()>) {
        match result {
            Ok(()) if self.failing => {
                tracing::info!(path = %self.path, "log lines are written again");
                self.failing = false;
            }
            Err(error) if !self.failing => {
                tracing::warn!(path = %self.path, %error, "cannot write the log; lines are dropped");
                self.failing = true;
            }
            Ok(()) | Err(_) => {}
        }
    }
}

/// Opens or makes a file. One that is new was born at `time`.
fn open_file(path: &Utf8Path, time: Option<Timestamp>) -> io::Result<Open> {
    let file = match open_options().open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if let Some(folder) = path.parent() {
                create_folder(folder)?;
            }
            open_options().open(path)?
        }
        other => other?,
    };
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    let size = metadata.len();
    let on_disk = metadata.created().or_else(|_| metadata.modified())?;
    let born = time.filter(|_| size == 0).map_or_else(|| timestamp(on_disk), Ok)?;
    Ok(Open { identity: (metadata.dev(), metadata.ino()), file, size, born })
}

/// Neither a link nor a pipe in the place of the log may lead or stop the writer.
fn open_options() -> OpenOptions {
    let mut options = OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.append(true).create(true).mode(0o640).custom_flags(flags.bits().cast_signed());
    options
}

fn timestamp(time: SystemTime) -> io::Result<Timestamp> {
    Timestamp::try_from(time).map_err(io::Error::other)
}

fn bytes(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_costs_the_lines_that_were_waiting_and_nothing_else() {
        let mut file = log_file(Utf8Path::new("/dev/full"));
        let settings = LogSettings::default();
        file.append(b"one\n", Timestamp::UNIX_EPOCH, &settings, 1);
        file.append(b"two\n", Timestamp::UNIX_EPOCH, &settings, 2);
        file.flush();
        assert_eq!(file.dropped.load(Relaxed), 2);
        assert!(file.failing && file.open.is_some());
    }

    #[test]
    fn a_line_after_a_half_one_begins_on_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join("x.log");
        std::fs::write(&path, "half a li").unwrap();
        let mut file = log_file(&path);
        file.torn = true;
        file.append(b"whole\n", Timestamp::UNIX_EPOCH, &LogSettings::default(), 1);
        file.flush();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "half a li\nwhole\n");
    }

    #[test]
    fn neither_a_link_nor_a_pipe_is_taken_for_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        std::os::unix::fs::symlink("/dev/null", folder.join("link.log")).unwrap();
        assert!(open_file(&folder.join("link.log"), None).is_err());
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let pipe = folder.join("pipe.log");
        rustix::fs::mkfifoat(rustix::fs::CWD, pipe.as_std_path(), mode).unwrap();
        assert!(open_file(&pipe, None).is_err());
    }

    /// Returns a log file that is open, whatever lies at its path.
    fn log_file(path: &Utf8Path) -> LogFile {
        let file = OpenOptions::new().append(true).open(path).unwrap();
        let metadata = file.metadata().unwrap();
        let identity = (metadata.dev(), metadata.ino());
        let open = Open { file, identity, size: 0, born: Timestamp::UNIX_EPOCH };
        let mut log = LogFile::new(Utf8Path::new("/"), "x", Arc::default());
        log.path = path.to_owned();
        log.open = Some(open);
        log
    }
}
