//! What a manager writes down about itself in its data folder: the settings that it really has, for
//! the commands that are typed later. They do not see the options that it was started with.
//!
//! `manager.json` can be read by those who may use the local socket. The address of the database
//! can hold a password; it stands in a file of its own that only the manager's user can read.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    net::SocketAddr,
    os::unix::fs::PermissionsExt,
};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{
    config::{ListenerSettings, Settings},
    exit::{Exit, Failure},
    paths::Paths,
};

/// The version of the file's form.
const FORMAT: u32 = 1;

/// A manager that runs, or the last one that did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Kept {
    /// The version of the form.
    pub(crate) format: u32,
    /// The manager's version.
    pub(crate) version: String,
    /// Its process.
    pub(crate) pid: u32,
    /// When it was up.
    pub(crate) started_at: Timestamp,
    /// When it stopped; one that was killed could not say so.
    pub(crate) stopped_at: Option<Timestamp>,
    /// Its local socket.
    pub(crate) socket: Utf8PathBuf,
    /// Where API and console listen.
    pub(crate) api: SocketAddr,
    /// Where the edge listens.
    pub(crate) listeners: ListenerSettings,
    /// The control socket of the edge.
    pub(crate) edge_socket: Utf8PathBuf,
}

/// The part of the form that every version has.
#[derive(Deserialize)]
struct Head {
    format: u32,
}

impl Kept {
    /// Describes a manager that is up since `started_at`.
    pub(crate) fn new(settings: &Settings, socket: &Utf8Path, started_at: Timestamp) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            started_at,
            stopped_at: None,
            socket: socket.to_owned(),
            api: settings.api,
            listeners: settings.listeners.clone(),
            edge_socket: settings.edge_socket.clone(),
        }
    }

    /// Reads what the manager of a data folder wrote; nothing where none has ever been up.
    pub(crate) fn read(paths: &Paths) -> Result<Option<Self>, Failure> {
        let path = paths.manager();
        let Some(text) = read(&path)? else { return Ok(None) };
        let wrong = |error: serde_json::Error| {
            Failure::failed(format!("cannot use {path}"))
                .because(&error)
                .help("`portway serve` writes it anew at its next start; until then, remove it")
        };
        let head: Head = serde_json::from_str(&text).map_err(wrong)?;
        if head.format != FORMAT {
            let text = format!("{path} has the format {}, and this version reads 1", head.format);
            return Err(Failure::failed(text).help("use the version of Portway that serves"));
        }
        serde_json::from_str(&text).map(Some).map_err(wrong)
    }

    /// Writes it down for those who may use the local socket: the members of `group`, or else the
    /// manager's own user.
    pub(crate) fn write(&self, paths: &Paths, group: Option<u32>) -> Result<(), Failure> {
        let text = serde_json::to_string_pretty(self)
            .map_err(|error| Failure::failed("the settings cannot be written").because(&error))?;
        write(&paths.manager(), &format!("{text}\n"), group)
    }
}

/// Reads the address of the database that the manager of a data folder used last.
pub(crate) fn database(paths: &Paths) -> Result<Option<String>, Failure> {
    Ok(read(&paths.database())?.map(|text| text.trim().to_owned()))
}

/// Writes down the address of the database, for the manager's user alone.
pub(crate) fn keep_database(paths: &Paths, address: &str) -> Result<(), Failure> {
    write(&paths.database(), &format!("{address}\n"), None)
}

fn read(path: &Utf8Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(Failure::new(Exit::NotAllowed, format!("you may not read {path}"))
                .help("run it as root or as the manager's user"))
        }
        Err(error) => Err(Failure::failed(format!("cannot read {path}")).because(&error)),
    }
}

/// A reader sees the old file or the new one, and at no time more people than it is for.
fn write(path: &Utf8Path, text: &str, group: Option<u32>) -> Result<(), Failure> {
    let write = || -> io::Result<()> {
        let folder = path.parent().unwrap_or(Utf8Path::new("."));
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(text.as_bytes())?;
        if group.is_some() {
            std::os::unix::fs::chown(file.path(), None, group)?;
            fs::set_permissions(file.path(), Permissions::from_mode(0o640))?;
        }
        file.persist(path)?;
        Ok(())
    };
    write().map_err(|error| Failure::failed(format!("cannot write {path}")).because(&error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        args::ServeOptions,
        config::{Machine, settle},
    };

    const SECRET: &str = "postgres://me:hush@localhost/portway";

    fn mode(path: &Utf8Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn kept(paths: &Paths) -> Kept {
        let given = ServeOptions { database: Some(SECRET.to_owned()), ..ServeOptions::default() };
        let machine = Machine { is_root: true, has_ipv6: true };
        let settings = settle(&given, paths, machine).unwrap();
        let at = "2026-01-01T00:00:00Z".parse().unwrap();
        Kept::new(&settings, "/run/portway.sock".into(), at)
    }

    #[test]
    fn what_was_kept_is_known_later() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        assert_eq!(Kept::read(&paths).unwrap(), None);
        assert_eq!(database(&paths).unwrap(), None);
        let mut kept = kept(&paths);
        kept.stopped_at = Some(kept.started_at);
        kept.write(&paths, None).unwrap();
        assert_eq!(Kept::read(&paths).unwrap(), Some(kept));
        fs::write(paths.manager(), "nothing").unwrap();
        assert!(Kept::read(&paths).unwrap_err().help.unwrap().contains("portway serve"));
        fs::write(paths.manager(), r#"{"format": 2}"#).unwrap();
        assert!(Kept::read(&paths).unwrap_err().text.contains("format 2"));
    }

    #[test]
    fn the_password_of_the_database_is_for_the_manager_alone() {
        let folder = tempfile::tempdir().unwrap();
        let paths = Paths { data: Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap() };
        let own_group = rustix::process::getegid().as_raw();
        kept(&paths).write(&paths, Some(own_group)).unwrap();
        assert_eq!(mode(&paths.manager()), 0o640);
        assert!(!fs::read_to_string(paths.manager()).unwrap().contains("hush"));
        keep_database(&paths, SECRET).unwrap();
        assert_eq!(mode(&paths.database()), 0o600);
        assert_eq!(database(&paths).unwrap().as_deref(), Some(SECRET));
    }
}
