//! The files of this machine, as an import reads them.

use std::{fs, io};

use camino::Utf8Path;
use portway_import::{ReadError, Tree};
use portway_sitefile::{Files as _, LocalFiles};

/// The files of this machine.
pub(super) struct LocalTree;

impl Tree for LocalTree {
    fn read(&self, path: &Utf8Path) -> Result<String, ReadError> {
        LocalFiles.read(path).map_err(|error| fault(&error))
    }

    fn list(&self, folder: &Utf8Path) -> Result<Vec<String>, ReadError> {
        let entries = fs::read_dir(folder).map_err(|error| fault(&error))?;
        let mut names = Vec::new();
        for entry in entries {
            let name = entry.map_err(|error| fault(&error))?.file_name();
            let name = name
                .into_string()
                .map_err(|name| ReadError::Unreadable(format!("{} is no text", name.display())))?;
            names.push(name);
        }
        names.sort();
        Ok(names)
    }
}

fn fault(error: &io::Error) -> ReadError {
    if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
        return ReadError::Absent;
    }
    ReadError::Unreadable(error.to_string())
}
