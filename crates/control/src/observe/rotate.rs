//! The logs of sites on nodes with nginx, put aside when they have grown: nginx does not do that itself.
//!
//! A file is renamed, and nginx is told to open its logs anew; until it has, it writes on into the
//! renamed one, so no line is lost, whatever fails in between. Caddy puts its files aside itself.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use camino::Utf8PathBuf;
use jiff::Timestamp;
use portway_deploy::layout;
use portway_engine::{Command, Layout, nginx::reopen};
use portway_model::{EngineKind, Node, site::LogSettings};
use portway_observe::{LogError, RemoteLog, list_logs};
use portway_policy::log_folder;
use portway_store::NodeRow;
use portway_transport::{Argv, Transport as _, TransportError};
use tracing::{info, warn};

use crate::{
    Control, ControlError,
    deploy::lock,
    fleet::{Reach, ReachError},
    sites::spec_of,
};

/// The logs are looked at after so many readings.
const READINGS: u32 = 10;
/// How long renaming may take.
const DEADLINE: Duration = Duration::from_secs(15);
/// The files of all sites, below the folder of logs.
const FILES: [&str; 4] = ["*/*.access.log", "*/*.access.*.log", "*/*.error.log", "*/*.error.*.log"];
/// Renames files; what is there already is left alone.
const RENAME: &str = "status=0\nwhile [ $# -ge 2 ]; do\n  [ -e \"$2\" ] || mv -- \"$1\" \"$2\" || status=1\n  \
                      shift 2\ndone\nexit $status";
/// So many files are renamed by one command.
const AT_ONCE: usize = 100;

/// Why logs could not be put aside.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Transport(#[from] TransportError),
    #[error(transparent)]
    Control(#[from] ControlError),
    #[error("`{0}` failed: {1}")]
    Command(String, String),
}

/// What is to be done about the logs of a node.
#[derive(Debug, Default, PartialEq, Eq)]
struct Chores {
    /// Files that have grown, with the names under which they are put aside.
    aside: Vec<(Utf8PathBuf, Utf8PathBuf)>,
    /// Files that were put aside and are no longer kept.
    gone: Vec<Utf8PathBuf>,
}

impl Control {
    /// Puts aside what has grown, when it is time to look.
    pub(super) async fn look_after_logs(&self, row: &NodeRow, node: &Node) {
        if node.engine != EngineKind::Nginx || !self.is_time(row) {
            return;
        }
        if let Err(error) = self.rotate(row, node).await {
            warn!(node.name = %row.name, "the logs of the node cannot be put aside: {error}");
        }
    }

    fn is_time(&self, row: &NodeRow) -> bool {
        let mut all = lock(&self.inner.observer.known);
        let known = all.entry(row.id).or_default();
        known.readings = known.readings.wrapping_add(1);
        known.readings % READINGS == 1
    }

    async fn rotate(&self, row: &NodeRow, node: &Node) -> Result<(), RotateError> {
        let reach = self.reach(row, node).await?;
        let layout = layout(node, None, None);
        let files = list_logs(&*reach, &layout.logs, &FILES).await?.files;
        if files.is_empty() {
            return Ok(());
        }
        let settings = self.log_settings(node).await?;
        let Chores { aside, gone } = chores(&files, &settings, self.now());
        if !aside.is_empty() {
            put_aside(&reach, &aside).await?;
            let program = self.inner.fleet.program(row.id);
            let program = program.unwrap_or_else(|| layout.program.clone());
            let Command { argv, rights: _, deadline } = reopen(&Layout { program, ..layout });
            let mut words = argv.into_iter();
            let argv = Argv::new(words.next().unwrap_or_default(), words);
            let argv = argv.map_err(TransportError::from)?.as_root();
            run(&reach, &argv, deadline).await?;
            info!(node.name = %row.name, "put {} log(s) aside on the node", aside.len());
        }
        if !gone.is_empty() {
            reach.remove(&gone).await?;
        }
        Ok(())
    }

    /// Returns how the logs of the sites on a node are kept, by their folders.
    async fn log_settings(
        &self,
        node: &Node,
    ) -> Result<BTreeMap<String, LogSettings>, ControlError> {
        let mut settings = BTreeMap::new();
        for row in self.sites_of(node).await? {
            let (site, _) = portway_model::site::check(&row.name, &spec_of(&row)?);
            if let Some(site) = site {
                settings.insert(log_folder(&row.name, row.id), site.log);
            }
        }
        Ok(settings)
    }
}

/// Decides what is to be done. Logs of sites that left the node are kept as is usual.
fn chores(files: &[RemoteLog], settings: &BTreeMap<String, LogSettings>, now: Timestamp) -> Chores {
    let usual = LogSettings::default();
    let time = now.strftime("%Y-%m-%dT%H-%M-%SZ").to_string();
    let mut chores = Chores::default();
    let mut logs: BTreeMap<(Utf8PathBuf, String), BTreeSet<String>> = BTreeMap::new();
    for file in files {
        let Some((folder, log, aside)) = parts(file) else { continue };
        let of_site = folder.file_name().and_then(|name| settings.get(name)).unwrap_or(&usual);
        let kept = logs.entry((folder.clone(), log.clone())).or_default();
        match aside {
            Some(aside) => {
                kept.insert(aside);
            }
            None if file.size >= of_site.max_size.0.max(1) => {
                chores.aside.push((file.path.clone(), folder.join(format!("{log}.{time}.log"))));
            }
            None => {}
        }
    }
    for ((folder, log), kept) in logs {
        let of_site = folder.file_name().and_then(|name| settings.get(name)).unwrap_or(&usual);
        let old = kept.iter().rev().skip(of_site.keep as usize);
        chores.gone.extend(old.map(|aside| folder.join(format!("{log}.{aside}.log"))));
    }
    chores
}

/// Divides `SITE/main.access.2026-01-31T12-00-00Z.log` into folder, `main.access`, and the time.
fn parts(file: &RemoteLog) -> Option<(Utf8PathBuf, String, Option<String>)> {
    let folder = file.path.parent()?.to_owned();
    let name = file.path.file_name()?.strip_suffix(".log")?;
    for kind in [".access", ".error"] {
        if let Some(log) = name.strip_suffix(kind) {
            return Some((folder, format!("{log}{kind}"), None));
        }
        if let Some((log, aside)) = name.split_once(&format!("{kind}.")) {
            return Some((folder, format!("{log}{kind}"), Some(aside.to_owned())));
        }
    }
    None
}

async fn put_aside(reach: &Reach, files: &[(Utf8PathBuf, Utf8PathBuf)]) -> Result<(), RotateError> {
    for some in files.chunks(AT_ONCE) {
        let pairs = some.iter().flat_map(|(from, to)| [from.as_str(), to.as_str()]);
        let words = ["-c", RENAME, "portway"].into_iter().chain(pairs);
        let argv = Argv::new("sh", words).map_err(TransportError::from)?;
        run(reach, &argv, DEADLINE).await?;
    }
    Ok(())
}

async fn run(reach: &Reach, argv: &Argv, deadline: Duration) -> Result<(), RotateError> {
    let output = reach.run(argv, &[], deadline).await?;
    if output.is_success() {
        return Ok(());
    }
    let said = output.stderr_text().trim().to_owned();
    Err(RotateError::Command(argv.program().to_owned(), format!("{}: {said}", output.status)))
}

#[cfg(test)]
mod tests {
    use portway_model::ByteSize;

    use super::*;

    fn file(path: &str, size: u64) -> RemoteLog {
        RemoteLog { path: Utf8PathBuf::from(path), inode: 1, size }
    }

    #[test]
    fn what_has_grown_is_put_aside_and_so_many_are_kept() {
        let small = LogSettings { max_size: ByteSize(100), keep: 1, ..LogSettings::default() };
        let settings = [("a-1".to_owned(), small)].into();
        let files = [
            file("/l/a-1/main.access.log", 100),
            file("/l/a-1/main.error.log", 99),
            file("/l/a-1/main.access.2026-01-01T00-00-00Z.log", 100),
            file("/l/a-1/main.access.2026-01-02T00-00-00Z.log", 100),
            file("/l/b-2/main.access.log", 5000),
            file("/l/b-2/odd.txt", 5_000_000_000),
        ];
        let now = "2026-01-31T12:00:00Z".parse().unwrap();

        let Chores { aside, gone } = chores(&files, &settings, now);

        let wanted: (Utf8PathBuf, Utf8PathBuf) =
            ("/l/a-1/main.access.log".into(), "/l/a-1/main.access.2026-01-31T12-00-00Z.log".into());
        assert_eq!(aside, [wanted], "the other site keeps to what is usual");
        assert_eq!(gone, ["/l/a-1/main.access.2026-01-01T00-00-00Z.log"]);
    }
}
