//! Where the manager of a data folder listens, kept for the commands that are typed later: they do
//! not see the options that it was started with.

use std::{fs, io, net::SocketAddr};

use camino::Utf8PathBuf;

use crate::{exit::Failure, paths::Paths};

/// Keeps the address of the API.
pub(super) fn keep(paths: &Paths, api: SocketAddr) -> Result<(), Failure> {
    let path = file(paths);
    fs::write(&path, format!("{api}\n"))
        .map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))
}

/// Returns the address of the API at the last start; nothing where no manager has ever started.
pub(in crate::cmd) fn api(paths: &Paths) -> Result<Option<SocketAddr>, Failure> {
    let path = file(paths);
    let wrong = |error: &(dyn std::error::Error + 'static)| {
        Failure::failed(format!("cannot read {path}"))
            .because(error)
            .help("`portway serve` writes it anew at its next start")
    };
    match fs::read_to_string(&path) {
        Ok(text) => text.trim().parse().map(Some).map_err(|error| wrong(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

fn file(paths: &Paths) -> Utf8PathBuf {
    paths.data.join("api.address")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_kept_is_known_later() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        assert_eq!(api(&paths).unwrap(), None);
        let address = "127.0.0.1:8901".parse().unwrap();
        keep(&paths, address).unwrap();
        assert_eq!(api(&paths).unwrap(), Some(address));
        fs::write(file(&paths), "nowhere").unwrap();
        assert!(api(&paths).is_err());
    }
}
