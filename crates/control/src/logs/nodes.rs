//! The logs of sites on nodes: read piece by piece over SSH, and told in the same records as the
//! edge's. Nothing stays running on a node while its logs are followed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_deploy::layout;
use portway_model::{EngineKind, Id, Name, Node, Site};
use portway_observe::{LogError, RemoteLog, list_logs, read_log};
use portway_policy::log_folder;
use portway_store::NodeRow;
use portway_wire::logs::{LogLine, LogProblem};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{LogFile, MAX_LINE, Verdict, Wanted, foreign, log_file};
use crate::{
    Control, ControlError,
    fleet::{Reach, ReachError},
    nodes,
};

/// So much is read of a file at once.
const PIECE: u64 = 512 << 10;
/// The most that is read of one node for one question.
const MOST: u64 = 16 << 20;
/// How often followed logs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long one node may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);

/// A node that has logs of the site.
pub(super) struct OnNode {
    control: Control,
    row: NodeRow,
    node: Node,
    what: What,
}

/// What is read there.
enum What {
    /// The folder of a site's logs.
    Site(Utf8PathBuf),
    /// The log of the engine itself.
    Engine(Utf8PathBuf),
}

/// How far the files of a node were read: up to the end of a line, by inode.
pub(super) type Places = BTreeMap<u64, u64>;

/// A line and its time, where it tells one.
pub(super) type Timed = (Option<Timestamp>, LogLine);

/// Why the logs of a node cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnreadError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error("it did not answer within {} s", PATIENCE.as_secs())]
    Late,
    #[error(
        "Traefik logs where and as its own configuration says, not by sites; `portway logs --node {0} --engine` reads its own log"
    )]
    NotBySite(Name),
    #[error(
        "Caddy logs errors in its own log, not by sites; `portway logs --node {0} --engine` reads it"
    )]
    ErrorsElsewhere(Name),
}

impl Control {
    /// Returns the nodes on which a site is, or was last proven: all of them, or the one that is asked
    /// for.
    pub(super) async fn log_nodes(
        &self,
        id: Id<Site>,
        name: &Name,
        only: Option<&str>,
    ) -> Result<Vec<OnNode>, ControlError> {
        let only = match only {
            Some(only) => Some(self.node_named(only).await?.id),
            None => None,
        };
        let on = self.inner.store.nodes().of_sites(&[id]).await?;
        let mut found = Vec::new();
        for (_, node) in on.into_keys().filter(|(_, node)| only.is_none_or(|only| only == *node)) {
            let Some(row) = self.inner.store.nodes().get(node).await? else { continue };
            let Some(node) = nodes::declared(&row)? else { continue };
            let folder = layout(&node, None, None).site_logs(&log_folder(name, id));
            found.push(OnNode { control: self.clone(), row, node, what: What::Site(folder) });
        }
        Ok(found)
    }
}

impl OnNode {
    /// Returns the place of the log of a node's engine.
    pub(super) fn of_engine(
        control: &Control,
        row: &NodeRow,
        node: Node,
        path: Utf8PathBuf,
    ) -> Self {
        Self { control: control.clone(), row: row.clone(), node, what: What::Engine(path) }
    }

    /// Returns the newest lines that fit, and up to where they were read.
    pub(super) async fn newest(&self, wanted: &Wanted) -> Result<(Vec<Timed>, Places), LogProblem> {
        let reading = tokio::time::timeout(PATIENCE, self.read_newest(wanted)).await;
        reading.unwrap_or(Err(UnreadError::Late)).map_err(|error| self.problem(&error))
    }

    fn problem(&self, error: &UnreadError) -> LogProblem {
        let text = match error {
            UnreadError::Log(LogError::Transport(error)) => format!("{error}; {}", error.remedy()),
            UnreadError::Log(_)
            | UnreadError::Reach(_)
            | UnreadError::Late
            | UnreadError::NotBySite(_)
            | UnreadError::ErrorsElsewhere(_) => error.to_string(),
        };
        LogProblem { node: self.row.name.to_string(), problem: text }
    }

    async fn read_newest(&self, wanted: &Wanted) -> Result<(Vec<Timed>, Places), UnreadError> {
        let reach = self.reach().await?;
        let (files, zone) = self.files(&reach, wanted).await?;
        let mut places = Places::new();
        let mut found = Vec::new();
        let mut left = MOST;
        let mut full = BTreeSet::new();
        for (file, remote) in &files {
            places.insert(remote.inode, remote.size);
            if full.contains(&file.log) {
                continue;
            }
            let mut of_log = Vec::new();
            let end = self
                .read_back(&reach, wanted, (file, remote), &zone, &mut left, &mut of_log)
                .await?;
            places.insert(remote.inode, end);
            let so_far = found.iter().filter(|(_, line): &&Timed| line.log == file.log).count();
            if so_far + of_log.len() >= wanted.lines || left == 0 {
                full.insert(file.log.clone());
            }
            found.extend(of_log);
        }
        Ok((found, places))
    }

    /// Reads lines that fit from the end of a file. Returns where its last whole line ends.
    async fn read_back(
        &self,
        reach: &Reach,
        wanted: &Wanted,
        (file, remote): (&LogFile, &RemoteLog),
        zone: &str,
        left: &mut u64,
        found: &mut Vec<Timed>,
    ) -> Result<u64, UnreadError> {
        let mut end = remote.size;
        let mut last = None;
        let mut rest: Vec<u8> = Vec::new();
        while end > 0 && found.len() < wanted.lines && *left > 0 {
            let start = end.saturating_sub(PIECE.min(*left));
            let Some(mut piece) = read_log(reach, remote, start, end - start).await? else { break };
            *left = left.saturating_sub(end - start);
            if last.is_none() {
                let whole = piece.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                last = Some(start + whole as u64);
                piece.truncate(whole);
            }
            piece.append(&mut rest);
            let from = if start == 0 {
                0
            } else {
                piece.iter().position(|byte| *byte == b'\n').map_or(piece.len(), |at| at + 1)
            };
            let lines = piece.get(from..).unwrap_or_default();
            for line in lines.split(|byte| *byte == b'\n').rev().filter(|line| !line.is_empty()) {
                let text = self.told(wanted, line, zone);
                match wanted.judge(&text) {
                    Verdict::Fits(time) => found.push((time, self.line(wanted, &file.log, text))),
                    Verdict::Other => {}
                    Verdict::TooOld => return Ok(last.unwrap_or(remote.size)),
                }
                if found.len() >= wanted.lines {
                    break;
                }
            }
            rest = piece.get(..from).unwrap_or_default().to_vec();
            end = start;
        }
        Ok(last.unwrap_or(remote.size))
    }

    /// Sends each line that is written until nobody listens any more.
    pub(super) async fn follow(
        self,
        wanted: Arc<Wanted>,
        places: Option<Places>,
        sender: mpsc::Sender<LogLine>,
        stop: CancellationToken,
    ) {
        // What could not be read at first is read from when it can be.
        let mut was_told = places.is_none();
        let mut places = places.unwrap_or_default();
        let mut pause = LOOK_EVERY;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sender.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            let look = tokio::time::timeout(PATIENCE, self.grown(&wanted, &mut places)).await;
            let lines = match look.unwrap_or(Err(UnreadError::Late)) {
                Ok(lines) => {
                    (was_told, pause) = (false, LOOK_EVERY);
                    lines
                }
                Err(error) => {
                    pause = AFTER_FAILURE;
                    if std::mem::replace(&mut was_told, true) {
                        continue;
                    }
                    vec![self.trouble(&wanted, &error)]
                }
            };
            for line in lines {
                if sender.send(line).await.is_err() {
                    return;
                }
            }
        }
    }

    fn trouble(&self, wanted: &Wanted, error: &UnreadError) -> LogLine {
        LogLine {
            site: wanted.site.clone(),
            log: String::new(),
            line: String::new(),
            node: Some(self.row.name.to_string()),
            problem: Some(self.problem(error).problem),
        }
    }

    /// Reads what was written since the last look: the rest of files that were put aside meanwhile, then
    /// the current ones. What ends within a line is read again with its end.
    async fn grown(
        &self,
        wanted: &Wanted,
        places: &mut Places,
    ) -> Result<Vec<LogLine>, UnreadError> {
        let reach = self.reach().await?;
        let (mut files, zone) = self.files(&reach, wanted).await?;
        files.reverse();
        let mut lines = Vec::new();
        for (file, remote) in &files {
            let place = places.entry(remote.inode).or_insert(0);
            if remote.size < *place {
                *place = 0;
            }
            while *place < remote.size {
                let most = PIECE.min(remote.size - *place);
                let Some(piece) = read_log(&*reach, remote, *place, most).await? else { break };
                let whole = piece.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
                let Some(whole) = whole else {
                    if piece.len() >= MAX_LINE {
                        *place += piece.len() as u64;
                    }
                    break;
                };
                *place += whole as u64;
                let whole = piece.get(..whole).unwrap_or_default();
                for line in whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    let text = self.told(wanted, line, &zone);
                    if matches!(wanted.judge(&text), Verdict::Fits(_)) {
                        lines.push(self.line(wanted, &file.log, text));
                    }
                }
            }
        }
        places.retain(|inode, _| files.iter().any(|(_, remote)| remote.inode == *inode));
        Ok(lines)
    }

    async fn reach(&self) -> Result<Arc<Reach>, UnreadError> {
        Ok(self.control.reach(&self.row, &self.node).await?)
    }

    /// Lists the files of the wanted logs, the newest first, and the node's time zone.
    async fn files(
        &self,
        reach: &Reach,
        wanted: &Wanted,
    ) -> Result<(Vec<(LogFile, RemoteLog)>, String), UnreadError> {
        let folder = match &self.what {
            What::Site(folder) => folder,
            What::Engine(path) => return own_files(reach, path).await,
        };
        let name = || self.row.name.clone();
        match self.node.engine {
            EngineKind::Traefik => return Err(UnreadError::NotBySite(name())),
            EngineKind::Caddy if wanted.errors => return Err(UnreadError::ErrorsElsewhere(name())),
            EngineKind::Nginx | EngineKind::Caddy | EngineKind::Edge => {}
        }
        let patterns: &[&str] = if wanted.errors {
            &["*.error.log", "*.error.*.log"]
        } else {
            &["*.access.log", "*.access.*.log", "*.access-*.log"]
        };
        let listing = list_logs(reach, folder, patterns).await?;
        let mut files: Vec<(LogFile, RemoteLog)> = listing
            .files
            .into_iter()
            .filter_map(|remote| Some((log_file(&remote.path, wanted.errors)?, remote)))
            .filter(|(file, _)| wanted.log.as_ref().is_none_or(|log| log.as_str() == file.log))
            .collect();
        files.sort_by(|(a, _), (b, _)| super::newest_first(a, b));
        Ok((files, listing.zone))
    }

    /// Returns a line as the edge would have written it, as far as that can be known.
    fn told(&self, wanted: &Wanted, line: &[u8], zone: &str) -> String {
        let text = String::from_utf8_lossy(line.get(..MAX_LINE).unwrap_or(line));
        if matches!(self.what, What::Engine(_)) {
            return text.into_owned();
        }
        let record = match (self.node.engine, wanted.errors) {
            (EngineKind::Nginx, true) => foreign::nginx_error(&text, zone),
            (EngineKind::Caddy, false) => foreign::caddy_access(&text),
            (EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik | EngineKind::Edge, _) => {
                None
            }
        };
        record.unwrap_or_else(|| text.into_owned())
    }

    fn line(&self, wanted: &Wanted, log: &str, line: String) -> LogLine {
        LogLine {
            site: wanted.site.clone(),
            log: log.to_owned(),
            line,
            node: Some(self.row.name.to_string()),
            problem: None,
        }
    }
}

/// Lists the log of an engine, and the file that logrotate put aside last.
async fn own_files(
    reach: &Reach,
    path: &Utf8Path,
) -> Result<(Vec<(LogFile, RemoteLog)>, String), UnreadError> {
    let folder = path.parent().unwrap_or(Utf8Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let listing = list_logs(reach, folder, &[name, &format!("{name}.1")]).await?;
    let mut files: Vec<_> = listing
        .files
        .into_iter()
        .map(|remote| {
            let aside = (remote.path != *path).then(|| "1".to_owned());
            (LogFile { aside, log: "engine".to_owned(), path: remote.path.clone() }, remote)
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| super::newest_first(a, b));
    Ok((files, listing.zone))
}
