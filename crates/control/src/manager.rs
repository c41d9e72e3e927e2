//! Who this manager is. Several may share a database; each has an id in its own data folder and a
//! name of its own in the database, and its machine's edge is its own.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use portway_model::Name;
use portway_store::{ManagerRow, Store};
use uuid::Uuid;

use crate::{ControlError, StartError};

const FILE: &str = "manager.id";
/// A name leaves room for the number of a namesake, and for what nodes put before it.
const NAME_CHARS: usize = 48;

/// Why a manager does not know who it is.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The file cannot be read or made.
    #[error("cannot read or make {path}")]
    File {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{path} holds no id; remove it, and the manager is a new one from then on")]
    NoId {
        /// The file.
        path: Utf8PathBuf,
    },
}

/// Returns this manager as the installation knows it, made known at its first start.
pub(crate) async fn identify(
    store: &Store,
    data_dir: &Utf8Path,
    machine: &str,
    now: Timestamp,
) -> Result<ManagerRow, StartError> {
    let id = load_or_create(&data_dir.join(FILE))?;
    let short: String = machine.chars().take(NAME_CHARS).collect();
    let wish = match Name::suggest(&short) {
        Some(name) => name,
        None => "manager"
            .parse()
            .map_err(|error| ControlError::internal("naming the manager", error))?,
    };
    Ok(store.managers().ensure(id, &wish, now).await?)
}

/// Reads the id, or makes one. Nobody else uses the folder meanwhile.
fn load_or_create(path: &Utf8Path) -> Result<Uuid, IdentityError> {
    let failed = |source| IdentityError::File { path: path.to_owned(), source };
    match fs::read_to_string(path) {
        Ok(text) => text.trim().parse().map_err(|_| IdentityError::NoId { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let id = Uuid::now_v7();
            write(path, id).map_err(failed)?;
            Ok(id)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Writes the whole file or none.
fn write(path: &Utf8Path, id: Uuid) -> io::Result<()> {
    let new = path.with_extension("id.new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    writeln!(file, "{id}")?;
    file.sync_all()?;
    fs::rename(&new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manager_keeps_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join(FILE);
        let id = load_or_create(&path).unwrap();
        assert_eq!(load_or_create(&path).unwrap(), id);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_is_no_id_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap().join(FILE);
        fs::write(&path, "web").unwrap();
        let error = load_or_create(&path).unwrap_err();
        assert!(matches!(error, IdentityError::NoId { .. }), "{error}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "web");
    }
}
