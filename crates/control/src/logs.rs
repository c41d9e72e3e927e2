//! Reading the logs of sites: the newest lines that fit, lines as they are written, and the way of
//! one request.
//!
//! The files are the edge's, or those of the engines of nodes; the manager reads them and never writes.

mod engine;
mod explain;
mod find;
mod follow;
mod foreign;
mod nodes;
mod seats;
#[cfg(test)]
mod tests;

use std::{
    cmp::Ordering,
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    sync::Arc,
};

use camino::{Utf8Path, Utf8PathBuf};
use futures_util::Stream;
use jiff::Timestamp;
use portway_model::{Id, Name, Role, Site};
use portway_policy::log_folder;
use portway_telemetry::access::{AccessRecord, ErrorRecord};
use portway_wire::logs::{LogLine, LogLines, LogProblem, LogQuery};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::nodes::{OnNode, Places, Timed};
pub(crate) use self::seats::Seats;
use crate::{ControlError, rights::Sites};

const DEFAULT_LINES: u32 = 100;
const MAX_LINES: u32 = 10_000;
/// Files are read from their end in pieces of this size.
const PIECE: u64 = 256 << 10;
/// A longer line is cut.
const MAX_LINE: usize = 64 << 10;

/// Which lines are wanted, checked.
#[derive(Clone, Debug)]
struct Wanted {
    id: Id<Site>,
    /// Whether the edge of this machine is among the places.
    here: bool,
    site: String,
    folder: Utf8PathBuf,
    log: Option<Name>,
    errors: bool,
    lines: usize,
    since: Option<Timestamp>,
    until: Option<Timestamp>,
    status: Option<StatusFilter>,
    request_id: Option<String>,
    /// Whether the reader may know of nodes more than that they are there.
    sees_nodes: bool,
}

#[derive(Clone, Copy, Debug)]
enum StatusFilter {
    Exact(u16),
    Class(u16),
}

impl Sites<'_> {
    /// Returns the newest lines that fit, oldest first.
    pub async fn logs(&self, site: &str, query: LogQuery) -> Result<LogLines, ControlError> {
        let (wanted, on_nodes) = self.wanted(site, query).await?;
        let (lines, problems, _) = newest(&wanted, on_nodes).await?;
        Ok(LogLines { lines, problems })
    }

    /// Returns the newest lines that fit and then each one that is written, for as long as the
    /// actor is logged in and may see the site.
    pub async fn follow(
        &self,
        site: &str,
        query: LogQuery,
    ) -> Result<impl Stream<Item = LogLine> + Send + use<>, ControlError> {
        let (wanted, on_nodes) = self.wanted(site, query).await?;
        let seat = self.control.inner.seats.take(self.actor)?;
        let right = follow::Right::of(self, wanted.id);
        let (newest, problems, places) = newest(&wanted, on_nodes).await?;
        let (sender, mut receiver) = mpsc::channel(256);
        // They end when nobody listens any more, or with the right.
        let stop = CancellationToken::new();
        let shared = Arc::new(wanted.clone());
        let nodes = places.into_iter().map(|(node, places)| {
            node.follow(Arc::clone(&shared), places, sender.clone(), stop.clone())
        });
        let nodes: Vec<_> = nodes.collect();
        let newest = newest.into_iter().chain(problems.into_iter().map(problem)).collect();
        tokio::spawn(async move {
            let _ended = (stop.drop_guard(), seat);
            follow::follow(wanted, right, newest, sender, nodes).await;
        });
        Ok(futures_util::stream::poll_fn(move |context| receiver.poll_recv(context)))
    }

    /// Returns what is wanted, and the nodes where it is looked for.
    async fn wanted(
        &self,
        site: &str,
        query: LogQuery,
    ) -> Result<(Wanted, Vec<OnNode>), ControlError> {
        let row = self.control.site_row(self.actor, site).await?;
        let bad = |text: String| ControlError::BadRequest(text);
        let lines = query.lines.unwrap_or(DEFAULT_LINES);
        if !(1..=MAX_LINES).contains(&lines) {
            return Err(bad(format!("`lines` is 1 to {MAX_LINES}, not {lines}")));
        }
        let time = |text: Option<String>, what: &str| {
            text.map(|text| {
                text.parse::<Timestamp>().map_err(|_| {
                    bad(format!("`{what}` is no time; write it as 2026-01-31T12:00:00Z"))
                })
            })
            .transpose()
        };
        let log = query.log.map(|log| {
            log.parse::<Name>().map_err(|error| bad(format!("`{log}` is no log: {error}")))
        });
        let only = query.node.as_deref();
        let own = self.control.inner.node_name.as_str();
        let on_nodes = self.control.log_nodes(row.id, &row.name, only).await?;
        if only.is_some_and(|only| only != own) && on_nodes.is_empty() {
            return Err(no_node(only.unwrap_or_default()));
        }
        let wanted = Wanted {
            id: row.id,
            here: only.is_none_or(|only| only == own),
            site: row.name.to_string(),
            folder: self.control.inner.config.log_dir.join(log_folder(&row.name, row.id)),
            log: log.transpose()?,
            errors: query.errors,
            lines: lines as usize,
            since: time(query.since, "since")?,
            until: time(query.until, "until")?,
            status: query.status.as_deref().map(status_filter).transpose()?,
            request_id: query.request_id,
            sees_nodes: self.actor.role() != Role::Client,
        };
        Ok((wanted, on_nodes))
    }
}

/// Says that a site is not on a node, in the same words whether there is such a node or not.
fn no_node(name: &str) -> ControlError {
    ControlError::NotFound { what: "node with this site", name: name.to_owned() }
}

/// What was found, what could not be read, and the nodes with how far they were read.
type Newest = (Vec<LogLine>, Vec<LogProblem>, Vec<(OnNode, Option<Places>)>);

/// Returns the newest lines of all places together.
async fn newest(wanted: &Wanted, on_nodes: Vec<OnNode>) -> Result<Newest, ControlError> {
    let mut work = JoinSet::new();
    for node in on_nodes {
        let wanted = wanted.clone();
        work.spawn(async move {
            let read = node.newest(&wanted).await;
            (node, read)
        });
    }
    let mut found = newest_here(wanted.clone()).await?;
    let (mut problems, mut places) = (Vec::new(), Vec::new());
    while let Some(done) = work.join_next().await {
        let (node, read) =
            done.map_err(|error| ControlError::internal("reading the logs of a node", error))?;
        match read {
            Ok((lines, read)) => {
                found.extend(lines);
                places.push((node, Some(read)));
            }
            Err(problem) => {
                problems.push(problem);
                places.push((node, None));
            }
        }
    }
    found.sort_by_key(|(time, _)| *time);
    let skip = found.len().saturating_sub(wanted.lines);
    let lines = found.into_iter().skip(skip).map(|(_, line)| line).collect();
    Ok((lines, problems, places))
}

fn problem(of: LogProblem) -> LogLine {
    LogLine {
        site: String::new(),
        log: String::new(),
        line: String::new(),
        node: Some(of.node),
        problem: Some(of.problem),
    }
}

/// Files are read where blocking is allowed.
async fn newest_here(wanted: Wanted) -> Result<Vec<Timed>, ControlError> {
    tokio::task::spawn_blocking(move || wanted.newest())
        .await
        .map_err(|error| ControlError::internal("reading a log", error))?
        .map_err(|source| {
            let remedy = "see that the manager may read the folder of the logs";
            ControlError::unavailable("the log cannot be read", remedy, 30, source)
        })
}

fn status_filter(text: &str) -> Result<StatusFilter, ControlError> {
    let class = text.strip_suffix("xx").and_then(|digit| digit.parse().ok());
    match (class, text.parse()) {
        (Some(class @ 1..=5), _) => Ok(StatusFilter::Class(class)),
        (None, Ok(status @ 100..=599)) => Ok(StatusFilter::Exact(status)),
        _ => Err(ControlError::BadRequest(format!(
            "`{text}` is no status; write for example 404 or 5xx"
        ))),
    }
}

/// A log file and the log it belongs to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct LogFile {
    /// The time in the name of a file that was put aside; the current one sorts last.
    aside: Option<String>,
    log: String,
    path: Utf8PathBuf,
}

impl Wanted {
    /// Returns that the log of an engine itself is wanted.
    fn of_engine(lines: usize) -> Self {
        Self {
            id: Id::from_uuid(uuid::Uuid::nil()),
            here: false,
            site: String::new(),
            folder: Utf8PathBuf::new(),
            log: None,
            errors: false,
            lines,
            since: None,
            until: None,
            status: None,
            request_id: None,
            sees_nodes: true,
        }
    }

    fn newest(&self) -> std::io::Result<Vec<Timed>> {
        let mut found: Vec<(Option<Timestamp>, LogLine)> = Vec::new();
        let files = self.files()?;
        let mut logs: Vec<&str> = files.iter().map(|file| file.log.as_str()).collect();
        logs.sort_unstable();
        logs.dedup();
        for log in logs {
            let mut of_log = Vec::new();
            for file in files.iter().filter(|file| file.log == log) {
                self.read_back(file, &mut of_log)?;
                if of_log.len() >= self.lines {
                    break;
                }
            }
            found.extend(of_log);
        }
        found.sort_by_key(|(time, _)| *time);
        let skip = found.len().saturating_sub(self.lines);
        Ok(found.split_off(skip))
    }

    /// Lists the files of the wanted logs, the newest first.
    fn files(&self) -> std::io::Result<Vec<LogFile>> {
        if !self.here {
            return Ok(Vec::new());
        }
        files_in(&self.folder, self.errors, self.log.as_ref())
    }

    /// Reads lines that fit from the end of a file until there are enough.
    fn read_back(
        &self,
        file: &LogFile,
        found: &mut Vec<(Option<Timestamp>, LogLine)>,
    ) -> std::io::Result<()> {
        let mut source = File::open(&file.path)?;
        let mut end = source.metadata()?.len();
        let mut rest: Vec<u8> = Vec::new();
        while end > 0 && found.len() < self.lines {
            let start = end.saturating_sub(PIECE);
            source.seek(SeekFrom::Start(start))?;
            let mut piece = Vec::new();
            source.by_ref().take(end - start).read_to_end(&mut piece)?;
            piece.append(&mut rest);
            let (head, lines) =
                if start == 0 { (&[][..], &piece[..]) } else { split_first(&piece) };
            for line in lines.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
                let text = String::from_utf8_lossy(line.get(..MAX_LINE).unwrap_or(line));
                match self.judge(&text) {
                    Verdict::Fits(time) => found.push((time, self.line(&file.log, &text))),
                    Verdict::Other => {}
                    // Lines are in the order of time: all before are older.
                    Verdict::TooOld => return Ok(()),
                }
                if found.len() >= self.lines {
                    return Ok(());
                }
            }
            rest = head.to_vec();
            end = start;
        }
        Ok(())
    }

    fn line(&self, log: &str, text: &str) -> LogLine {
        LogLine {
            site: self.site.clone(),
            log: log.to_owned(),
            line: text.to_owned(),
            node: None,
            problem: None,
        }
    }

    fn judge(&self, text: &str) -> Verdict {
        let (time, request_id, status) = if self.errors {
            match ErrorRecord::read(text) {
                Ok(record) => (Some(record.time), record.request_id, None),
                Err(_) => (None, None, None),
            }
        } else {
            match AccessRecord::read(text) {
                Ok(record) => {
                    let request_id = record.request_id.into_owned();
                    (Some(record.time), Some(request_id), Some(record.status))
                }
                Err(_) => (None, None, None),
            }
        };
        // A request is written when it ends, so a slow one stands after later ones; an hour of
        // grace finds it.
        let too_old = |since: Timestamp| {
            let grace = jiff::SignedDuration::from_hours(1);
            time.is_some_and(|time| time.checked_add(grace).is_ok_and(|latest| latest < since))
        };
        if self.since.is_some_and(too_old) {
            return Verdict::TooOld;
        }
        let fits = self.since.is_none_or(|since| time.is_some_and(|time| time >= since))
            && self.until.is_none_or(|until| time.is_some_and(|time| time <= until))
            && self.request_id.as_ref().is_none_or(|wanted| request_id.as_ref() == Some(wanted))
            && self.status.is_none_or(|wanted| match (wanted, status) {
                (StatusFilter::Exact(wanted), Some(status)) => wanted == status,
                (StatusFilter::Class(wanted), Some(status)) => wanted == status / 100,
                (_, None) => false,
            });
        if fits { Verdict::Fits(time) } else { Verdict::Other }
    }
}

/// Lists the files of a site's logs of requests or of errors, the newest first.
fn files_in(folder: &Utf8Path, errors: bool, log: Option<&Name>) -> std::io::Result<Vec<LogFile>> {
    let entries = match folder.read_dir_utf8() {
        Ok(entries) => entries,
        // No request came yet.
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut files = Vec::new();
    for entry in entries {
        let file = log_file(entry?.path(), errors);
        files.extend(file.filter(|file| log.is_none_or(|log| log.as_str() == file.log)));
    }
    files.sort_by(newest_first);
    Ok(files)
}

/// Orders files: the current ones, then those put aside, the newest first.
fn newest_first(a: &LogFile, b: &LogFile) -> Ordering {
    match (&a.aside, &b.aside) {
        (None, None) => a.cmp(b),
        (None, Some(_)) => Ordering::Less,
        (Some(_), None) => Ordering::Greater,
        (Some(a), Some(b)) => b.cmp(a),
    }
}

/// `main.access.log`, or `main.access.2026-01-31T12-00-00Z.log` once it was put aside.
fn log_file(path: &Utf8Path, errors: bool) -> Option<LogFile> {
    let kind = if errors { ".error" } else { ".access" };
    let name = path.file_name()?.strip_suffix(".log")?;
    let (log, aside) = name.split_once(kind)?;
    // Caddy writes `main.access-2026-01-31T12-00-00.000.log`.
    if !aside.is_empty() && !aside.starts_with(['.', '-']) {
        return None;
    }
    let aside = aside.trim_start_matches(['.', '-']);
    Some(LogFile {
        aside: (!aside.is_empty()).then(|| aside.to_owned()),
        log: log.to_owned(),
        path: path.to_owned(),
    })
}

enum Verdict {
    Fits(Option<Timestamp>),
    Other,
    TooOld,
}

/// Splits off what stands before the first line break: it is the end of a line that begins in an
/// earlier piece.
fn split_first(piece: &[u8]) -> (&[u8], &[u8]) {
    match piece.iter().position(|byte| *byte == b'\n') {
        Some(at) => piece.split_at(at),
        None => (piece, &[]),
    }
}
