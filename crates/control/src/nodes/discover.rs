//! Watching the manager's `nodes.yaml`: it is read at the start and whenever it has changed.

use std::{os::unix::fs::MetadataExt as _, sync::Mutex};

use portway_wire::node::{ImportOutcome, NodesImported};

use crate::{Control, actor::Actor, deploy::lock, tasks::TaskReport};

/// What was last seen of the file.
#[derive(Debug, Default)]
pub(crate) struct Discovery {
    seen: Mutex<Option<Stamp>>,
}

/// By what a file is known to be unchanged. A file that is replaced by another one of the same size
/// within the same nanosecond has another inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Control {
    /// Takes over what the manager's file of nodes says, where it has changed.
    pub(crate) async fn discover_nodes(&self) -> TaskReport {
        let path = self.nodes_file();
        let stamp = match tokio::fs::metadata(&path).await {
            Ok(metadata) => Some(Stamp {
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
            Err(error) => return Err(format!("cannot look at {path}: {error}")),
        };
        if *lock(&self.inner.discovery.seen) == stamp {
            return Ok("nothing has changed".to_owned());
        }
        // What is written while it is read has another stamp, and is read again.
        let imported =
            self.read_nodes_file(&Actor::system()).await.map_err(|error| error.to_string())?;
        *lock(&self.inner.discovery.seen) = stamp;
        Ok(in_words(&imported))
    }
}

fn in_words(imported: &NodesImported) -> String {
    let count = |outcome| imported.nodes.iter().filter(|node| node.outcome == outcome).count();
    format!(
        "{} node(s) made, {} changed, {} as they were, {} kept, {} refused, {} gone",
        count(ImportOutcome::Created),
        count(ImportOutcome::Updated),
        count(ImportOutcome::Unchanged),
        count(ImportOutcome::Kept),
        count(ImportOutcome::Refused),
        count(ImportOutcome::Gone),
    )
}
