//! What an engine on a node was told before Portway: its configuration is read over the node's
//! connection, and made sites. Nothing is changed, there or here.
//!
//! Only what the configuration itself names is read, as the user who is logged in, in bounded number
//! and size. What Portway put there itself is passed over.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::Layout;
use portway_import::{Brought, ImportError, Imported, Options, Outcome, ReadError, usual_own};
use portway_model::{EngineKind, Node};
use portway_store::{PageRequest, SiteFilter};
use portway_transport::{Argv, Transport, TransportError};
use portway_wire::scan::{ScanEntry, ScanNode, ScanOutcome, Scanned};

use super::hosts::hosts_in;
use crate::{ControlError, nodes, rights::Operator};

/// The largest file that is read.
const LARGEST_FILE: usize = 1 << 20;
/// All files together.
const LARGEST: usize = 16 << 20;
/// So many files and folders are read.
const MOST: usize = 2_000;
/// So often more is asked for; each include within an include needs one.
const MOST_ROUNDS: usize = 40;
/// How long one file may take.
const PATIENCE: Duration = Duration::from_secs(20);

impl Operator<'_> {
    /// Reads what the engine on a node was told, as sites for this node.
    pub async fn scan_node(&self, node: &str, how: &ScanNode) -> Result<Scanned, ControlError> {
        let row = self.control.node_named(node).await?;
        let Some(declared) = nodes::declared(&row)? else {
            let text = "the edge of a manager has no configuration of its own".to_owned();
            return Err(ControlError::BadRequest(text));
        };
        let Some(begin) = Begin::of(&declared) else {
            let text = format!("node {} has no engine whose configuration is read", row.name);
            return Err(ControlError::BadRequest(text));
        };
        let reach = self.control.reach(&row, &declared).await;
        let reach = reach.map_err(|error| ControlError::Conflict(error.to_string()))?;
        let options = Options {
            nodes: vec![row.name.to_string()],
            without_limits: how.without_limits,
            own: begin.own.clone(),
            taken: self.names_of_sites().await?,
        };
        let imported = begin.read(&*reach, &options).await?;
        self.control.keep_hosts(&row, hosts_in(&imported)).await?;
        Ok(Scanned {
            from: begin.path.into_string(),
            sites: imported.sites,
            report: imported.entries.into_iter().map(entry).collect(),
        })
    }

    /// Returns the names that sites have.
    async fn names_of_sites(&self) -> Result<Vec<String>, ControlError> {
        let store = self.control.inner.store.sites();
        let mut names = Vec::new();
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = store.list(self.actor.visible(), &SiteFilter::default(), &page).await?;
            names.extend(found.items.iter().map(|row| row.name.to_string()));
            request = page.next(&found);
        }
        Ok(names)
    }
}

/// Where reading begins.
pub(super) struct Begin {
    engine: EngineKind,
    path: Utf8PathBuf,
    pub(super) own: Vec<Utf8PathBuf>,
}

impl Begin {
    pub(super) fn of(node: &Node) -> Option<Self> {
        let usual: Layout = match node.engine {
            EngineKind::Nginx => portway_engine::nginx::usual_facts().layout,
            EngineKind::Caddy => portway_engine::caddy::usual_facts().layout,
            EngineKind::Traefik => portway_engine::traefik::usual_facts().layout,
            EngineKind::Edge => return None,
        };
        let paths = &node.paths;
        let include = paths.include.clone().unwrap_or_else(|| usual.reached_by.clone());
        let path = match node.engine {
            // Traefik watches a folder; what Portway puts there stands beside the rest.
            EngineKind::Traefik => include.parent()?.to_owned(),
            EngineKind::Nginx | EngineKind::Caddy | EngineKind::Edge => {
                paths.config.clone().unwrap_or_else(|| usual.top_level.clone())
            }
        };
        let mut own = usual_own(&usual);
        own.extend([paths.home.clone(), include]);
        Some(Self { engine: node.engine, path, own })
    }

    /// Imports with what was brought, brings what was asked for, and begins anew, until nothing is
    /// asked for any more.
    pub(super) async fn read(
        &self,
        transport: &impl Transport,
        options: &Options,
    ) -> Result<Imported, ControlError> {
        let mut brought = Brought::default();
        for _ in 0..MOST_ROUNDS {
            let imported = self.import(&brought, options);
            let wanted = brought.take_wanted();
            if wanted.is_empty() {
                return imported.map_err(|error| ControlError::Conflict(error.to_string()));
            }
            if brought.len() + wanted.files.len() + wanted.folders.len() > MOST {
                let text = format!("the configuration has more than {MOST} files and folders");
                return Err(ControlError::Conflict(text));
            }
            for path in wanted.files {
                let text = file(transport, &path).await?;
                brought.file(path, text);
                if brought.size() > LARGEST {
                    let text = format!("the configuration has more than {} MiB", LARGEST >> 20);
                    return Err(ControlError::Conflict(text));
                }
            }
            for path in wanted.folders {
                let names = names(transport, &path).await?;
                brought.folder(path, names);
            }
        }
        let text = format!("the configuration has more than {MOST_ROUNDS} files within each other");
        Err(ControlError::Conflict(text))
    }

    fn import(&self, brought: &Brought, options: &Options) -> Result<Imported, ImportError> {
        match self.engine {
            EngineKind::Caddy => portway_import::caddy(&self.path, brought, options),
            EngineKind::Traefik => portway_import::traefik(&self.path, brought, options),
            EngineKind::Nginx | EngineKind::Edge => {
                portway_import::nginx(&self.path, brought, options)
            }
        }
    }
}

/// Returns the text of a file, as far as it is one that can be read and is not too large.
pub(super) async fn file(
    transport: &impl Transport,
    path: &Utf8Path,
) -> Result<Result<String, ReadError>, ControlError> {
    let most = (LARGEST_FILE + 1).to_string();
    let output = run(transport, "head", ["-c", &most, "--", path.as_str()]).await?;
    if output.stdout.len() > LARGEST_FILE {
        let text = format!("it has more than {} MiB", LARGEST_FILE >> 20);
        return Ok(Err(ReadError::Unreadable(text)));
    }
    if !output.is_success() {
        return Ok(Err(refusal(&output.stderr_text())));
    }
    Ok(String::from_utf8(output.stdout)
        .map_err(|_| ReadError::Unreadable("it is no text in UTF-8".to_owned())))
}

/// Returns the names in a folder.
async fn names(
    transport: &impl Transport,
    path: &Utf8Path,
) -> Result<Result<Vec<String>, ReadError>, ControlError> {
    let output = run(transport, "ls", ["-A", "--", path.as_str()]).await?;
    if !output.is_success() {
        return Ok(Err(refusal(&output.stderr_text())));
    }
    Ok(Ok(output.stdout_text().lines().map(str::to_owned).collect()))
}

async fn run(
    transport: &impl Transport,
    program: &str,
    words: impl IntoIterator<Item = &str>,
) -> Result<portway_transport::Output, ControlError> {
    let argv = Argv::new(program, words).map_err(TransportError::from);
    let output = match argv {
        Ok(argv) => transport.run(&argv, &[], PATIENCE).await,
        Err(error) => Err(error),
    };
    output.map_err(|error| {
        let remedy = error.remedy();
        ControlError::Conflict(format!("the node cannot be read: {error}; {remedy}"))
    })
}

fn refusal(said: &str) -> ReadError {
    let said = said.lines().next().unwrap_or_default();
    if said.contains("No such file") || said.contains("Not a directory") {
        ReadError::Absent
    } else {
        ReadError::Unreadable(said.chars().filter(|c| !c.is_control()).take(200).collect())
    }
}

fn entry(entry: portway_import::Entry) -> ScanEntry {
    let portway_import::Entry { file, line, text, outcome, notes, closes, sites } = entry;
    let outcome = match outcome {
        Outcome::Converted => ScanOutcome::Converted,
        Outcome::Approximated => ScanOutcome::Approximated,
        Outcome::NotConverted => ScanOutcome::NotConverted,
    };
    ScanEntry { file, line, text, outcome, notes, closes, sites }
}
