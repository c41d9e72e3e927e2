//! `key export|import|rotate`: the key that seals secrets. These work on the files, not through
//! the manager: a manager that lacks its key does not start.

mod owner;

use std::{
    ffi::OsString,
    fs::{File, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
};

use camino::Utf8Path;
use portway_secrets::{
    export::{self, Passphrase},
    key_file,
};
use portway_store::DatabaseUrl;
use serde::Serialize;

use self::owner::Owner;
use super::serve;
use crate::{
    config,
    exit::{Exit, Failure, Outcome},
    input, kept,
    paths::Paths,
    session::Session,
};

/// What a rotation came to.
#[derive(Serialize)]
struct Rotated {
    database: String,
    sealed: usize,
}

/// A database, and who says that it is the one.
struct Chosen {
    address: String,
    by: &'static str,
}

/// `portway key export`
pub(super) async fn export(session: &Session, file: Option<&Utf8Path>, stdin: bool) -> Outcome {
    let text = match Owner::other_than_caller(session)? {
        Some(owner) => {
            let words = words(&["key", "export"], stdin);
            let done = owner.run(session, &words, None).await?;
            if done.exit != Exit::Ok {
                return Ok(done.exit);
            }
            String::from_utf8_lossy(&done.printed).into_owned()
        }
        None => exported(session, stdin)?,
    };
    match file {
        None => session.out.text(&text)?,
        Some(file) => write_new(file, &text).map_err(|error| unwritten(file, &error))?,
    }
    session.out.note(
        "Keep it apart from backups of the data: whoever has both, and the passphrase, has every \
         secret.",
    )?;
    Ok(Exit::Ok)
}

fn exported(session: &Session, stdin: bool) -> Result<String, Failure> {
    let ring = key_file::load(&session.paths()?.key()).map_err(|error| unusable(&error))?;
    export::export(&ring, &passphrase(stdin, true)?)
        .map_err(|error| Failure::failed("the key cannot be exported").because(&error))
}

/// Never over an older export: it may be the only one of another key.
fn write_new(file: &Utf8Path, text: &str) -> std::io::Result<()> {
    let mut open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(file)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()
}

fn unwritten(file: &Utf8Path, error: &std::io::Error) -> Failure {
    let failure = Failure::failed(format!("cannot write {file}")).because(error);
    if error.kind() == std::io::ErrorKind::AlreadyExists {
        failure.help("choose another file; this one may be the only export of another key")
    } else {
        failure
    }
}

/// `portway key import`
pub(super) async fn import(session: &Session, file: &Utf8Path, stdin: bool) -> Outcome {
    if let Some(owner) = Owner::other_than_caller(session)? {
        let lent = owner.lend(file)?;
        let mut words = words(&["key", "import"], stdin);
        words.push(lent.path().into());
        return Ok(owner.run(session, &words, None).await?.exit);
    }
    let paths = session.paths()?;
    serve::make_folder(&paths.data, serve::Readers::Owner)?;
    let stopped = must_be_stopped(&paths)?;
    let text = std::fs::read_to_string(file)
        .map_err(|error| Failure::failed(format!("cannot read {file}")).because(&error))?;
    let id = export::exported_id(&text)
        .map_err(|error| Failure::failed(format!("{file} is not usable")).because(&error))?;
    let imported = export::import(&text, &passphrase(stdin, false)?)
        .map_err(|error| Failure::failed(format!("{file} cannot be opened")).because(&error))?;
    let path = paths.key();
    // A key that is there already is kept behind the imported one: something may be sealed with it.
    let ring = match key_file::load(&path) {
        Ok(ring) => ring.adopt(imported),
        Err(key_file::KeyFileError::Missing(_)) => imported,
        Err(error) => return Err(unusable(&error)),
    };
    key_file::replace(&path, &ring).map_err(|error| unusable(&error))?;
    drop(stopped);
    session.out.note(&format!("key {id} is in {path}; start the manager: portway serve"))?;
    Ok(Exit::Ok)
}

/// `portway key rotate`
pub(super) async fn rotate(session: &Session, database: Option<String>, yes: bool) -> Outcome {
    if let Some(owner) = Owner::other_than_caller(session)? {
        let mut words = words(&["key", "rotate"], false);
        words.extend(yes.then(|| "--yes".into()));
        let done = owner.run(session, &words, database.as_deref()).await?;
        if !done.printed.is_empty() {
            session.out.text(&String::from_utf8_lossy(&done.printed))?;
        }
        return Ok(done.exit);
    }
    let paths = session.paths()?;
    let chosen = choose(session, &paths, database)?;
    let database: DatabaseUrl = chosen
        .address
        .parse()
        .map_err(|error| Failure::usage("the database cannot be used").because(&error))?;
    let key = paths.key();
    // Without a key there is nothing to change, and nothing to make a folder for.
    key_file::load(&key).map_err(|error| unusable(&error))?;
    let stopped = must_be_stopped(&paths)?;
    session.out.note(&format!("the database is {database}, {}", chosen.by))?;
    if !yes && input::is_interactive() && !input::confirm("Seal everything in it with a new key?")?
    {
        session.out.note("nothing was changed")?;
        return Ok(Exit::Interrupted);
    }
    let progress = session.out.progress("everything is sealed anew");
    let sealed = progress
        .during(portway_control::rotate_key(&key, &database))
        .await
        .map_err(|error| Failure::failed("the key was not changed").because(&error))?;
    drop(stopped);
    let rotated = Rotated { database: database.to_string(), sealed };
    session.out.show(&rotated, |_| format!("{sealed} secrets are sealed with a new key"))?;
    session.out.note("export the new key: portway key export")?;
    Ok(Exit::Ok)
}

/// Whatever the manager was started with counts for more than what is written in a file: it is the
/// one that the secrets are in.
fn choose(session: &Session, paths: &Paths, given: Option<String>) -> Result<Chosen, Failure> {
    if let Some(address) = given {
        return Ok(Chosen { address, by: "as you say" });
    }
    if let Some(address) = kept::database(paths)? {
        return Ok(Chosen { address, by: "as the manager used it last" });
    }
    let by = if config::names_database(paths)? { "as config.yaml says" } else { "as is usual" };
    Ok(Chosen { address: session.written_settings()?.database, by })
}

/// A running manager holds the key it began with. Nobody starts one as long as the file is open.
fn must_be_stopped(paths: &Paths) -> Result<File, Failure> {
    serve::lock(paths).map_err(|failure| {
        if failure.exit != Exit::Conflict {
            return failure;
        }
        Failure::new(Exit::Conflict, "the manager is running")
            .help("stop it first; sites are served on meanwhile")
    })
}

fn words(command: &[&str], passphrase_stdin: bool) -> Vec<OsString> {
    let option = passphrase_stdin.then_some("--passphrase-stdin");
    command.iter().copied().chain(option).map(OsString::from).collect()
}

fn passphrase(from_stdin: bool, is_new: bool) -> Result<Passphrase, Failure> {
    let text = input::passphrase(from_stdin, is_new)?;
    Passphrase::new(text).map_err(|error| Failure::usage(error.to_string()))
}

fn unusable(error: &key_file::KeyFileError) -> Failure {
    Failure::failed("the key cannot be used").because(error)
}
