//! The public name of the console: kept in a file of the data folder, which the manager watches.

use std::{fs, io, io::Write, net::SocketAddr, os::unix::fs::MetadataExt, time::Duration};

use portway_api::Console;
use portway_control::PublishedConsole;
use portway_secrets::Redacted;
use serde::{Deserialize, Serialize};
use tracing::warn;
use uuid::Uuid;

use crate::{exit::Failure, paths::Paths};

/// How often the file is looked at.
const EVERY: Duration = Duration::from_secs(1);

/// What stands in the file.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cmd) struct ConsoleFile {
    /// The name.
    pub(in crate::cmd) host: String,
    /// By this the edge proves that a request came through it.
    pub(in crate::cmd) key: String,
}

impl ConsoleFile {
    /// Reads the file, where there is one.
    pub(super) fn read(paths: &Paths) -> Result<Option<Self>, Failure> {
        let path = paths.console();
        let wrong = |error: &(dyn std::error::Error + 'static)| {
            Failure::failed(format!("cannot use {path}"))
                .because(error)
                .help("`portway setup --console-host NAME` writes it anew")
        };
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| wrong(&error)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(wrong(&error)),
        }
    }

    /// Returns the same for the API.
    pub(super) fn to_api(&self) -> Console {
        Console { host: self.host.clone(), key: self.key.clone() }
    }

    /// Returns the same for what the edge is given.
    pub(super) fn to_control(&self, api: SocketAddr) -> PublishedConsole {
        PublishedConsole { host: self.host.clone(), key: Redacted::new(self.key.clone()), api }
    }
}

/// Replaces the key, so that whoever has read the old one has nothing.
pub(super) fn renew_key(paths: &Paths) -> Result<(), Failure> {
    let Some(before) = ConsoleFile::read(paths)? else { return Ok(()) };
    put(paths, &ConsoleFile { key: new_key(), ..before })
}

/// Writes the name of the console for the manager of this data folder. Returns what was written;
/// a key that is there is kept.
pub(in crate::cmd) fn publish(paths: &Paths, host: &str) -> Result<ConsoleFile, Failure> {
    let before = ConsoleFile::read(paths)?;
    let key = before.map_or_else(new_key, |before| before.key);
    let console = ConsoleFile { host: host.to_owned(), key };
    put(paths, &console)?;
    Ok(console)
}

fn put(paths: &Paths, console: &ConsoleFile) -> Result<(), Failure> {
    write(paths, console).map_err(|error| {
        Failure::failed(format!("cannot write {}", paths.console()))
            .because(&error)
            .help("run it as root or as the manager's user")
    })
}

fn new_key() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// The file is put in place in one step, and belongs to whom the folder belongs: the manager.
fn write(paths: &Paths, console: &ConsoleFile) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(&paths.data)?;
    file.write_all(&serde_json::to_vec_pretty(console)?)?;
    let owner = fs::metadata(&paths.data)?.uid();
    if owner != rustix::process::geteuid().as_raw() {
        std::os::unix::fs::chown(file.path(), Some(owner), None)?;
    }
    file.as_file().sync_all()?;
    file.persist(paths.console())?;
    Ok(())
}

/// Waits until the file says something else.
pub(super) async fn changed(paths: &Paths, now: Option<&ConsoleFile>) {
    let mut ticks = tokio::time::interval(EVERY);
    loop {
        ticks.tick().await;
        match ConsoleFile::read(paths) {
            Ok(read) if read.as_ref() == now => {}
            Ok(_) => return,
            Err(failure) => warn!("{failure}; the console keeps its name"),
        }
    }
}

impl std::fmt::Debug for ConsoleFile {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConsoleFile").field("host", &self.host).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use camino::Utf8PathBuf;

    use super::*;

    #[tokio::test]
    async fn a_new_name_is_noticed_and_keeps_the_key() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        assert_eq!(ConsoleFile::read(&paths).unwrap(), None);
        let first = publish(&paths, "a.example").unwrap();
        assert_eq!(first.key.len(), 64);
        changed(&paths, None).await;
        let second = publish(&paths, "b.example").unwrap();
        assert_eq!(second.key, first.key);
        assert_eq!(ConsoleFile::read(&paths).unwrap(), Some(second));
        let mode = fs::metadata(paths.console()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        renew_key(&paths).unwrap();
        let third = ConsoleFile::read(&paths).unwrap().unwrap();
        assert_eq!(third.host, "b.example");
        assert_ne!(third.key, first.key);
    }
}
