//! The logs of sites on nodes: read piece by piece over SSH, and told in the same records as the
//! edge's. Nothing stays running on a node while its logs are followed.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_deploy::layout;
use portway_engine::access_log;
use portway_model::{EngineKind, Id, Name, Node, Site};
use portway_observe::{LogError, RemoteLog, list_logs, read_log};
use portway_policy::log_folder;
use portway_store::NodeRow;
use portway_transport::Transport;
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
/// The most that is read of one node for one question, or for one look at what is followed.
const MOST: u64 = 16 << 20;
/// How often followed logs are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long to wait after a look that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(5);
/// How long one node may take to answer a question.
const PATIENCE: Duration = Duration::from_secs(30);

/// The log to which routes write that name none.
const MAIN: &str = "main";

/// What is told of it to those who may not see nodes.
const UNREADABLE: &str = "the node cannot be read now; if that lasts, ask an administrator";
const NOT_BY_SITE: &str = "the node keeps no such log by sites; ask an administrator";

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
        "Traefik logs errors in its own log, not by sites; `portway logs --node {0} --engine` reads it"
    )]
    NotBySite(Name),
    #[error(
        "Traefik on {0} logs no requests to a file as JSON; let its own configuration have `accessLog: {{filePath: /var/log/traefik/access.log, format: json}}`, and start it anew"
    )]
    NoAccessLog(Name),
    #[error(
        "Caddy logs errors in its own log, not by sites; `portway logs --node {0} --engine` reads it"
    )]
    ErrorsElsewhere(Name),
}

impl UnreadError {
    /// Returns what is told of it: addresses, logins and host keys only to those who may see nodes.
    fn told(&self, sees_nodes: bool) -> Cow<'static, str> {
        if !sees_nodes {
            return Cow::Borrowed(match self {
                Self::NotBySite(_) | Self::NoAccessLog(_) | Self::ErrorsElsewhere(_) => NOT_BY_SITE,
                Self::Log(_) | Self::Reach(_) | Self::Late => UNREADABLE,
            });
        }
        match self {
            Self::Log(LogError::Transport(error)) => {
                Cow::Owned(format!("{error}; {}", error.remedy()))
            }
            Self::Log(_)
            | Self::Reach(_)
            | Self::Late
            | Self::NotBySite(_)
            | Self::NoAccessLog(_)
            | Self::ErrorsElsewhere(_) => Cow::Owned(self.to_string()),
        }
    }
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
            Some(only) => match self.node_named(only).await {
                Err(ControlError::NotFound { .. }) => return Err(super::no_node(only)),
                found => Some(found?.id),
            },
            None => None,
        };
        let on = self.inner.store.nodes().of_sites(&[id]).await?;
        let mut found = Vec::new();
        for (_, node) in on.into_keys().filter(|(_, node)| only.is_none_or(|only| only == *node)) {
            let Some(row) = self.inner.store.nodes().get(node).await? else { continue };
            let Ok(Some(node)) = nodes::understood(&row) else { continue };
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
        reading.unwrap_or(Err(UnreadError::Late)).map_err(|error| self.problem(wanted, &error))
    }

    fn problem(&self, wanted: &Wanted, error: &UnreadError) -> LogProblem {
        LogProblem {
            node: self.row.name.to_string(),
            problem: error.told(wanted.sees_nodes).into_owned(),
        }
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
                let Some(text) = self.told(wanted, line, zone) else { continue };
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
            let mut lines = Vec::new();
            let grown = self.grown(&wanted, &mut places, &mut lines);
            let look = tokio::time::timeout(PATIENCE, grown).await;
            // What was read until it failed is passed by, and so is sent.
            match look.unwrap_or(Err(UnreadError::Late)) {
                Ok(()) => (was_told, pause) = (false, LOOK_EVERY),
                Err(error) => {
                    pause = AFTER_FAILURE;
                    if !std::mem::replace(&mut was_told, true) {
                        lines.push(self.trouble(&wanted, &error));
                    }
                }
            }
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
            problem: Some(self.problem(wanted, error).problem),
        }
    }

    /// Reads what was written since the last look: the rest of files that were put aside meanwhile, then
    /// the current ones. Wherever that breaks off, `places` are where `lines` end.
    async fn grown(
        &self,
        wanted: &Wanted,
        places: &mut Places,
        lines: &mut Vec<LogLine>,
    ) -> Result<(), UnreadError> {
        let reach = self.reach().await?;
        let (mut files, zone) = self.files(&reach, wanted).await?;
        files.reverse();
        let mut left = MOST;
        for (file, remote) in &files {
            let place = places.entry(remote.inode).or_insert(0);
            let take = |line: &[u8]| {
                let Some(text) = self.told(wanted, line, &zone) else { return };
                if matches!(wanted.judge(&text), Verdict::Fits(_)) {
                    lines.push(self.line(wanted, &file.log, text));
                }
            };
            read_on(&*reach, remote, place, &mut left, take).await?;
        }
        places.retain(|inode, _| files.iter().any(|(_, remote)| remote.inode == *inode));
        Ok(())
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
            What::Engine(path) => return own_files(reach, path, "engine").await,
        };
        let name = || self.row.name.clone();
        match self.node.engine {
            EngineKind::Traefik if wanted.errors => return Err(UnreadError::NotBySite(name())),
            EngineKind::Traefik => return self.files_of_traefik(reach, wanted).await,
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

    /// Traefik logs the requests of all sites to one file, where its own configuration says.
    async fn files_of_traefik(
        &self,
        reach: &Reach,
        wanted: &Wanted,
    ) -> Result<(Vec<(LogFile, RemoteLog)>, String), UnreadError> {
        let top_level = layout(&self.node, None, None).top_level;
        let text = reach.get(&top_level).await.map_err(LogError::from)?.unwrap_or_default();
        let log = access_log(&String::from_utf8_lossy(&text)).filter(|log| log.is_json);
        let log = log.ok_or_else(|| UnreadError::NoAccessLog(self.row.name.clone()))?;
        if wanted.log.as_ref().is_some_and(|log| log.as_str() != MAIN) {
            return Ok((Vec::new(), String::new()));
        }
        own_files(reach, &log.path, MAIN).await
    }

    /// Returns a line as the edge would have written it, as far as that can be known; nothing where it is
    /// of another site.
    fn told(&self, wanted: &Wanted, line: &[u8], zone: &str) -> Option<String> {
        let text = String::from_utf8_lossy(line.get(..MAX_LINE).unwrap_or(line));
        let What::Site(folder) = &self.what else { return Some(text.into_owned()) };
        if self.node.engine == EngineKind::Traefik {
            return foreign::traefik_access(&text, folder.file_name()?);
        }
        let record = match (self.node.engine, wanted.errors) {
            (EngineKind::Nginx, true) => foreign::nginx_error(&text, zone),
            (EngineKind::Caddy, false) => foreign::caddy_access(&text),
            (EngineKind::Nginx | EngineKind::Caddy | EngineKind::Traefik | EngineKind::Edge, _) => {
                None
            }
        };
        Some(record.unwrap_or_else(|| text.into_owned()))
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

/// Reads a file on from a place, line by line, while something is `left` to be read. The place is always
/// behind the last line that was taken; what ends within a line is read again with its end.
async fn read_on<T: Transport>(
    transport: &T,
    remote: &RemoteLog,
    place: &mut u64,
    left: &mut u64,
    mut take: impl FnMut(&[u8]),
) -> Result<(), LogError> {
    if remote.size < *place {
        *place = 0;
    }
    while *place < remote.size && *left > 0 {
        let most = PIECE.min(remote.size - *place);
        // How long a file is the node says itself: what is asked for counts.
        *left = left.saturating_sub(most);
        let Some(piece) = read_log(transport, remote, *place, most).await? else { break };
        let whole = piece.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        let Some(whole) = whole else {
            if piece.len() >= MAX_LINE {
                *place += piece.len() as u64;
            }
            break;
        };
        *place += whole as u64;
        let whole = piece.get(..whole).unwrap_or_default();
        whole.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).for_each(&mut take);
    }
    Ok(())
}

/// Lists a log that the engine's own configuration names, and the file that logrotate put aside last.
async fn own_files(
    reach: &Reach,
    path: &Utf8Path,
    log: &str,
) -> Result<(Vec<(LogFile, RemoteLog)>, String), UnreadError> {
    let folder = path.parent().unwrap_or(Utf8Path::new("/"));
    let name = path.file_name().unwrap_or_default();
    let listing = list_logs(reach, folder, &[name, &format!("{name}.1")]).await?;
    let mut files: Vec<_> = listing
        .files
        .into_iter()
        .map(|remote| {
            let aside = (remote.path != *path).then(|| "1".to_owned());
            (LogFile { aside, log: log.to_owned(), path: remote.path.clone() }, remote)
        })
        .collect();
    files.sort_by(|(a, _), (b, _)| super::newest_first(a, b));
    Ok((files, listing.zone))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use portway_transport::{Local, SEARCH_PATH};

    use super::*;

    /// A machine with a log, and with a `head` that does this.
    fn machine(folder: &Utf8Path, log: &str, head: &str) -> (Local, RemoteLog) {
        let path = folder.join("main.access.log");
        std::fs::write(&path, log).unwrap();
        let program = folder.join("head");
        std::fs::write(&program, format!("#!/bin/sh\n{head}\n")).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let about = std::fs::metadata(&path).unwrap();
        let local = Local::new().with_search_path(format!("{folder}:{SEARCH_PATH}"));
        (local, RemoteLog { path, inode: about.ino(), size: about.len() })
    }

    #[tokio::test]
    async fn a_look_that_breaks_off_has_passed_by_what_it_took() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let line = "x".repeat(1023) + "\n";
        let log = line.repeat(700);
        // The second piece does not come.
        let once = format!(
            "[ -e {folder}/was ] && exec sleep 300\n: >{folder}/was\nexec /usr/bin/head \"$@\""
        );
        let (local, remote) = machine(folder, &log, &once);
        let (mut place, mut left, mut taken) = (0, MOST, 0);

        let looking = read_on(&local, &remote, &mut place, &mut left, |_| taken += 1);
        let broken_off = tokio::time::timeout(Duration::from_secs(5), looking).await;

        assert!(broken_off.is_err());
        assert_eq!((taken, place), (512, PIECE));
        std::fs::remove_file(folder.join("was")).unwrap();
        read_on(&local, &remote, &mut place, &mut left, |_| taken += 1).await.unwrap();
        assert_eq!((taken, place), (700, remote.size), "nothing is lost, and nothing comes twice");
    }

    #[tokio::test]
    async fn a_node_that_says_its_log_is_endless_is_read_for_so_long() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let (local, remote) = machine(folder, "x\n", "echo line");
        let endless = RemoteLog { size: u64::MAX, ..remote };
        let (mut place, mut left, mut taken) = (0, MOST, 0);

        read_on(&local, &endless, &mut place, &mut left, |_| taken += 1).await.unwrap();

        assert_eq!((taken, left), (MOST / PIECE, 0));
    }
}
