//! Finding the lines of one request. Lines are in the order in which requests ended, and an id of
//! Portway's tells when its request began, so most of a file needs not be read.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    time::SystemTime,
};

use camino::Utf8PathBuf;
use jiff::{SignedDuration, Timestamp};
use memchr::memmem::Finder;
use portway_telemetry::access::{AccessRecord, ErrorRecord};
use uuid::Uuid;

use super::{LogFile, MAX_LINE, PIECE, files_in};

/// Lines of several workers may be out of order by this much.
const SLACK: SignedDuration = SignedDuration::from_secs(2);
/// The most bytes that are read for one request.
const MAX_READ: u64 = 4 << 30;
/// The most errors of one request that are told.
const MAX_ERRORS: usize = 50;
/// Below this, a file is read from its beginning.
const SMALL: u64 = 64 << 10;
/// The most logs that are named as not readable.
const MAX_NAMED: usize = 5;

/// A folder of logs.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    /// The site; nothing for what belongs to none.
    pub(super) site: Option<String>,
    /// Where it is.
    pub(super) path: Utf8PathBuf,
}

/// The lines of a request.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// The site; nothing for what belongs to none.
    pub(super) site: Option<String>,
    /// Its record.
    pub(super) access: Option<AccessRecord<'static>>,
    /// What went wrong.
    pub(super) errors: Vec<ErrorRecord>,
}

/// What was seen where nothing was found.
#[derive(Debug, Default)]
pub(super) struct Missed {
    /// When the oldest line that is kept was written.
    pub(super) oldest: Option<Timestamp>,
    /// Sites whose lines carry no ids.
    pub(super) combined: Vec<String>,
    /// Whether there was more than is read at once.
    pub(super) is_cut: bool,
}

/// Looks for one request.
pub(super) struct Search {
    needle: Finder<'static>,
    since: Option<Timestamp>,
    left: u64,
    missed: Missed,
}

/// Returns when a request began, where its id tells.
pub(super) fn time_of(id: &str) -> Option<Timestamp> {
    let id = Uuid::parse_str(id).ok().filter(|id| id.get_version_num() == 7)?;
    let (seconds, nanoseconds) = id.get_timestamp()?.to_unix();
    Timestamp::new(i64::try_from(seconds).ok()?, i32::try_from(nanoseconds).ok()?).ok()
}

impl Search {
    /// Returns the search for an id, which holds no quote and no backslash.
    pub(super) fn new(id: &str) -> Self {
        let needle = format!("\"request_id\":\"{id}\"");
        let since = time_of(id).and_then(|time| time.checked_sub(SLACK).ok());
        Self {
            needle: Finder::new(&needle).into_owned(),
            since,
            left: MAX_READ,
            missed: Missed::default(),
        }
    }

    /// Looks through folders until the request is found.
    pub(super) fn run(mut self, folders: &[Folder]) -> io::Result<Result<Found, Missed>> {
        for folder in folders {
            let found = self.look(folder)?;
            if found.access.is_some() || !found.errors.is_empty() {
                return Ok(Ok(found));
            }
        }
        Ok(Err(self.missed))
    }

    fn look(&mut self, folder: &Folder) -> io::Result<Found> {
        let mut found = Found { site: folder.site.clone(), ..Found::default() };
        for file in self.order(files_in(&folder.path, false, None)?, folder) {
            let lines = self.lines(&file, 1, |line| AccessRecord::read(line).ok())?;
            if let Some(record) = lines.into_iter().next() {
                found.access = Some(record);
                break;
            }
        }
        for file in self.order(files_in(&folder.path, true, None)?, folder) {
            let left = MAX_ERRORS.saturating_sub(found.errors.len());
            found.errors.extend(self.lines(&file, left, |line| ErrorRecord::read(line).ok())?);
        }
        found.errors.sort_by_key(|error| error.time);
        Ok(found)
    }

    /// Returns the files that may hold the request, in the order in which they are looked at.
    fn order(&mut self, files: Vec<LogFile>, folder: &Folder) -> Vec<LogFile> {
        if let Some(first) = files.last() {
            self.look_at_first(first, folder);
        }
        let Some(since) = self.since else { return files };
        let since = SystemTime::from(since);
        let is_late = |file: &LogFile| written(file).is_none_or(|time| time >= since);
        files.into_iter().rev().filter(is_late).collect()
    }

    /// Notes what the oldest line tells, for the case that nothing is found.
    fn look_at_first(&mut self, file: &LogFile, folder: &Folder) {
        let Some(line) = first_line(file).ok().flatten() else { return };
        let combined = &mut self.missed.combined;
        if !line.starts_with('{') {
            let name = folder.site.clone().unwrap_or_default();
            if combined.len() < MAX_NAMED && !combined.contains(&name) {
                combined.push(name);
            }
        }
        let oldest = [self.missed.oldest, ended(&line)].into_iter().flatten().min();
        self.missed.oldest = oldest;
    }

    /// Returns the lines of the request in a file, read.
    fn lines<T>(
        &mut self,
        file: &LogFile,
        most: usize,
        read: impl Fn(&str) -> Option<T>,
    ) -> io::Result<Vec<T>> {
        let mut source = match File::open(&file.path) {
            Ok(source) => source,
            // It was removed meanwhile, because it was the oldest.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let start = match self.since {
            Some(since) => start_of(&mut source, since)?,
            None => 0,
        };
        source.seek(SeekFrom::Start(start))?;
        let (mut found, mut rest) = (Vec::new(), Vec::new());
        while found.len() < most {
            if self.left == 0 {
                self.missed.is_cut = true;
                break;
            }
            let mut piece = std::mem::take(&mut rest);
            let fresh = source.by_ref().take(PIECE).read_to_end(&mut piece)?;
            if fresh == 0 {
                break;
            }
            self.left = self.left.saturating_sub(fresh as u64);
            let end = memchr::memrchr(b'\n', &piece).map_or(0, |at| at + 1);
            rest = piece.split_off(end);
            if rest.len() > MAX_LINE {
                rest.clear();
            }
            // Nearly all pieces do not hold it, and are not taken apart.
            if self.needle.find(&piece).is_none() {
                continue;
            }
            let lines = piece.split(|byte| *byte == b'\n');
            let wanted = lines.filter(|line| self.needle.find(line).is_some());
            found.extend(wanted.filter_map(|line| read(&String::from_utf8_lossy(line))));
        }
        found.truncate(most);
        Ok(found)
    }
}

/// Returns a place in a file before which no line is of this time or later.
fn start_of(source: &mut File, since: Timestamp) -> io::Result<u64> {
    let (mut low, mut high) = (0, source.metadata()?.len());
    while high - low > SMALL {
        let middle = low + (high - low) / 2;
        // A line in another format, or one that is too long, tells nothing; then all is read.
        let Some((place, time)) = line_after(source, middle)? else { break };
        if time < since && place < high {
            low = place;
        } else {
            high = middle;
        }
    }
    Ok(low)
}

/// Returns where the first whole line after a place begins, and when it was written.
fn line_after(source: &mut File, place: u64) -> io::Result<Option<(u64, Timestamp)>> {
    source.seek(SeekFrom::Start(place))?;
    let mut piece = Vec::new();
    source.by_ref().take(2 * MAX_LINE as u64).read_to_end(&mut piece)?;
    let Some(before) = memchr::memchr(b'\n', &piece) else { return Ok(None) };
    let line = piece.get(before + 1..).unwrap_or_default();
    let Some(end) = memchr::memchr(b'\n', line) else { return Ok(None) };
    let text = String::from_utf8_lossy(line.get(..end).unwrap_or_default());
    Ok(ended(&text).map(|time| (place + before as u64 + 1, time)))
}

/// Returns when a line was written: requests are when they end.
fn ended(line: &str) -> Option<Timestamp> {
    if let Ok(record) = AccessRecord::read(line) {
        let duration = SignedDuration::try_from_secs_f64(record.duration_ms / 1000.0).ok()?;
        return record.time.checked_add(duration).ok();
    }
    ErrorRecord::read(line).ok().map(|record| record.time)
}

fn first_line(file: &LogFile) -> io::Result<Option<String>> {
    let mut piece = Vec::new();
    File::open(&file.path)?.take(MAX_LINE as u64).read_to_end(&mut piece)?;
    let line = piece.split(|byte| *byte == b'\n').next().filter(|line| !line.is_empty());
    Ok(line.map(|line| String::from_utf8_lossy(line).into_owned()))
}

fn written(file: &LogFile) -> Option<SystemTime> {
    file.path.metadata().and_then(|about| about.modified()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0193a7b0c0007000800000000000beef";

    #[test]
    fn ids_of_ours_tell_their_time_and_others_do_not() {
        let time = time_of("0193a7b0c00070008000000000000001").unwrap();
        assert_eq!(time.as_millisecond(), 0x0193_a7b0_c000);
        assert_eq!(time_of("outer-request.1"), None);
        assert_eq!(time_of("0193a7b0c00040008000000000000001"), None, "version 4");
    }

    #[test]
    fn a_request_is_found_wherever_its_line_stands() {
        let bed = Bed::new();
        let begun = time_of(ID).unwrap();
        for (place, name) in [
            (0, "main.access.log"),
            (1500, "main.access.log"),
            (2999, "main.access.log"),
            (1000, "api.access.2026-11-21T00-00-00Z.log"),
        ] {
            bed.clear();
            let line = |number: i64| {
                let id = if number == place { ID.to_owned() } else { format!("other-{number}") };
                let at = begun + SignedDuration::from_millis((number - place) * 100);
                access(&id, at)
            };
            bed.write(name, &(0..3000).map(line).collect::<String>());
            bed.write("main.error.log", &error(ID, begun));
            let found = bed.search(ID).unwrap().unwrap();
            assert_eq!(found.access.unwrap().request_id, ID, "{place} in {name}");
            assert_eq!(found.errors.len(), 1);
        }
    }

    #[test]
    fn a_slow_request_is_found_where_it_ended() {
        let bed = Bed::new();
        let begun = time_of(ID).unwrap();
        let mut text: String = (0..3000)
            .map(|n| access(&format!("other-{n}"), begun + SignedDuration::from_secs(n)))
            .collect();
        let slow = access(ID, begun).replace("\"duration_ms\":1.0", "\"duration_ms\":3000000.0");
        text.push_str(&slow);
        bed.write("main.access.log", &text);
        assert!(bed.search(ID).unwrap().is_ok());
    }

    #[test]
    fn only_what_may_hold_it_is_read() {
        let bed = Bed::new();
        let begun = time_of(ID).unwrap();
        let before = |n: i64| begun - SignedDuration::from_secs(100_000 - n);
        let text: String = (0..20_000).map(|n| access(&format!("other-{n}"), before(n))).collect();
        bed.write("main.access.log", &text);
        let mut source = File::open(bed.folder.path.join("main.access.log")).unwrap();
        let start = start_of(&mut source, begun).unwrap();
        assert!(start > text.len() as u64 - 2 * SMALL, "{start} of {}", text.len());
    }

    #[test]
    fn what_was_seen_tells_why_nothing_is_found() {
        let bed = Bed::new();
        let begun = time_of(ID).unwrap();
        let later = begun + SignedDuration::from_hours(1);
        bed.write("main.access.log", &access("other-id", later));
        let missed = bed.search(ID).unwrap().unwrap_err();
        assert!(missed.oldest.unwrap() > begun && missed.combined.is_empty());
        bed.write(
            "main.access.log",
            "192.0.2.7 - - [02/Jan/2026:03:04:05 +0000] \"GET / HTTP/1.1\" 200 9 \"-\" \"-\"\n",
        );
        assert_eq!(bed.search(ID).unwrap().unwrap_err().combined, ["app"]);
    }

    #[test]
    fn an_id_without_a_time_is_looked_for_everywhere() {
        let bed = Bed::new();
        let time = "2026-01-02T03:04:05Z".parse().unwrap();
        bed.write("main.access.2026-01-03T00-00-00Z.log", &access("outer-request.1", time));
        assert!(bed.search("outer-request.1").unwrap().is_ok());
        assert!(bed.search("outer-request").unwrap().is_err(), "a part of an id is none");
    }

    struct Bed {
        folder: Folder,
        _temporary: tempfile::TempDir,
    }

    impl Bed {
        fn new() -> Self {
            let temporary = tempfile::tempdir().unwrap();
            let path = camino::Utf8Path::from_path(temporary.path()).unwrap().join("app-1");
            std::fs::create_dir(&path).unwrap();
            let folder = Folder { site: Some("app".to_owned()), path };
            Self { folder, _temporary: temporary }
        }

        fn write(&self, name: &str, text: &str) {
            std::fs::write(self.folder.path.join(name), text).unwrap();
        }

        fn clear(&self) {
            std::fs::remove_dir_all(&self.folder.path).unwrap();
            std::fs::create_dir(&self.folder.path).unwrap();
        }

        fn search(&self, id: &str) -> io::Result<Result<Found, Missed>> {
            Search::new(id).run(std::slice::from_ref(&self.folder))
        }
    }

    fn access(id: &str, time: Timestamp) -> String {
        format!(
            "{{\"time\":\"{time:.3}\",\"request_id\":\"{id}\",\"client\":\"192.0.2.7\",\
             \"method\":\"GET\",\"scheme\":\"https\",\"host\":\"a.example\",\"path\":\"/\",\
             \"protocol\":\"HTTP/1.1\",\"status\":200,\"bytes_in\":0,\"bytes_out\":5,\
             \"duration_ms\":1.0}}\n"
        )
    }

    fn error(id: &str, time: Timestamp) -> String {
        format!(
            "{{\"time\":\"{time:.3}\",\"level\":\"info\",\"kind\":\"refused\",\
             \"request_id\":\"{id}\",\"code\":\"bad_request\",\"message\":\"m\"}}\n"
        )
    }
}
