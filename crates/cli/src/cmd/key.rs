//! `key export|import|rotate`: the key that seals secrets. These work on the files, not through
//! the manager: a manager that lacks its key does not start.

use std::{fs::OpenOptions, io::Write, os::unix::fs::OpenOptionsExt};

use camino::Utf8Path;
use portway_secrets::{
    export::{self, Passphrase},
    key_file,
};
use portway_store::DatabaseUrl;

use crate::{
    exit::{Exit, Failure, Outcome},
    input,
    session::Session,
};

/// `portway key export`
pub(super) fn export(session: &Session, file: Option<&Utf8Path>, from_stdin: bool) -> Outcome {
    let path = session.paths()?.key();
    let ring = key_file::load(&path).map_err(|error| unusable(&error))?;
    let passphrase = passphrase(from_stdin, true)?;
    let text = export::export(&ring, &passphrase)
        .map_err(|error| Failure::failed("the key cannot be exported").because(&error))?;
    match file {
        None => session.out.text(&text)?,
        Some(file) => {
            // Never over an older export: it may be the only one of another key.
            let written = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(file)
                .and_then(|mut open| open.write_all(text.as_bytes()));
            written
                .map_err(|error| Failure::failed(format!("cannot write {file}")).because(&error))?;
        }
    }
    session.out.note(
        "Keep it apart from backups of the data: whoever has both, and the passphrase, has every \
         secret.",
    )?;
    Ok(Exit::Ok)
}

/// `portway key import`
pub(super) async fn import(session: &Session, file: &Utf8Path, from_stdin: bool) -> Outcome {
    must_be_stopped(session).await?;
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {file}")).because(&error))?;
    let id = export::exported_id(&text)
        .map_err(|error| Failure::failed(format!("{file} is not usable")).because(&error))?;
    let imported = export::import(&text, &passphrase(from_stdin, false)?)
        .map_err(|error| Failure::failed(format!("{file} cannot be opened")).because(&error))?;
    let path = session.paths()?.key();
    // A key that is there already is kept behind the imported one: something may be sealed with it.
    let ring = match key_file::load(&path) {
        Ok(ring) => ring.adopt(imported),
        Err(key_file::KeyFileError::Missing(_)) => imported,
        Err(error) => return Err(unusable(&error)),
    };
    if let Some(folder) = path.parent() {
        super::serve::make_folder(folder, super::serve::Readers::Owner)?;
    }
    key_file::replace(&path, &ring).map_err(|error| unusable(&error))?;
    session.out.note(&format!("key {id} is in {path}; start the manager: portway serve"))?;
    Ok(Exit::Ok)
}

/// `portway key rotate`
pub(super) async fn rotate(session: &Session) -> Outcome {
    must_be_stopped(session).await?;
    let settings = session.settings()?;
    let path = session.paths()?.key();
    let database: DatabaseUrl = settings
        .database
        .parse()
        .map_err(|error| Failure::usage("the database cannot be used").because(&error))?;
    let progress = session.out.progress("everything is sealed anew");
    let count = progress
        .during(portway_control::rotate_key(&path, &database))
        .await
        .map_err(|error| Failure::failed("the key was not changed").because(&error))?;
    session.out.note(&format!("{count} secrets are sealed with a new key"))?;
    session.out.note("export the new key: portway key export")?;
    Ok(Exit::Ok)
}

/// A running manager holds the key it began with.
async fn must_be_stopped(session: &Session) -> Result<(), Failure> {
    let socket = session.socket()?;
    if tokio::net::UnixStream::connect(&socket).await.is_ok() {
        return Err(Failure::new(Exit::Conflict, "the manager is running")
            .help("stop it first; sites are served on meanwhile"));
    }
    Ok(())
}

fn passphrase(from_stdin: bool, is_new: bool) -> Result<Passphrase, Failure> {
    let text = input::passphrase(from_stdin, is_new)?;
    Passphrase::new(text).map_err(|error| Failure::usage(error.to_string()))
}

fn unusable(error: &key_file::KeyFileError) -> Failure {
    Failure::failed("the key cannot be used").because(error)
}
