//! Files on this machine. Everything here waits for a disk.

use std::{
    fs::{self, DirEntry, File, OpenOptions, Permissions},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink},
    path::Path,
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;
use rustix::fs::syncfs;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::{
    Content, Entry, TransportError, Upload,
    file::{MAX_FILE, STAGING, is_odd},
    said::Speaker,
};

/// How old a staging folder is before it is surely nobody's.
const FORGOTTEN: Duration = Duration::from_secs(3600);

/// Up to how many files are brought to disk one by one; for more, the whole file system is.
const SYNCED_ONE_BY_ONE: usize = 16;

/// Writes the files of one folder: all of them beside it, then each to its place.
pub(super) fn put(folder: &Utf8Path, files: &[&Upload], user: &str) -> Result<(), TransportError> {
    let failed = Failed { doing: "write", user };
    let staging = stage(folder, &failed)?;
    let sync_each = files.len() <= SYNCED_ONE_BY_ONE;
    for file in files {
        let path = file.path();
        let is_folder = fs::symlink_metadata(path).is_ok_and(|found| found.is_dir());
        if is_folder {
            return Err(failed.at(path)(ErrorKind::IsADirectory.into()));
        }
        write(&staging.path().join(file.name()), file, sync_each).map_err(failed.at(path))?;
    }
    if !sync_each {
        File::open(staging.path())
            .and_then(|folder| Ok(syncfs(folder)?))
            .map_err(failed.at(folder))?;
    }
    for file in files {
        let path = file.path();
        fs::rename(staging.path().join(file.name()), path).map_err(failed.at(path))?;
    }
    sync(folder).map_err(failed.at(folder))
}

/// Returns the content of a file.
pub(super) fn get(path: &Utf8Path, user: &str) -> Result<Option<Vec<u8>>, TransportError> {
    let failed = Failed { doing: "read", user };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed.at(path)(error)),
    };
    let mut bytes = Vec::new();
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes).map_err(failed.at(path))?;
    if bytes.len() > MAX_FILE {
        return Err(TransportError::TooLong { what: path.to_string(), limit: MAX_FILE });
    }
    Ok(Some(bytes))
}

/// Returns what stands in a folder, by name.
pub(super) fn list(folder: &Utf8Path, user: &str) -> Result<Option<Vec<Entry>>, TransportError> {
    let failed = Failed { doing: "list", user };
    let found = match fs::read_dir(folder) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed.at(folder)(error)),
    };
    let mut entries = Vec::new();
    for found in found {
        let found = found.map_err(failed.at(folder))?;
        let name = name_of(&found)?;
        if name.starts_with(STAGING) {
            continue;
        }
        let path = folder.join(&name);
        // What was removed since it was listed does not stand there.
        match look(&path) {
            Ok(content) => entries.push(Entry { name, content }),
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(failed.at(&path)(error)),
        }
    }
    entries.sort_unstable();
    Ok(Some(entries))
}

/// Removes a file or link, if it is there.
pub(super) fn remove(path: &Utf8Path, user: &str) -> Result<(), TransportError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Failed { doing: "remove", user }.at(path)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes a link beside its place, and moves it there.
pub(super) fn relink(link: &Utf8Path, target: &Utf8Path, user: &str) -> Result<(), TransportError> {
    let failed = Failed { doing: "link", user };
    let folder = link.parent().unwrap_or(Utf8Path::new("/"));
    let staging = stage(folder, &failed)?;
    let made = staging.path().join("link");
    symlink(target, &made).map_err(failed.at(link))?;
    fs::rename(&made, link).map_err(failed.at(link))?;
    sync(folder).map_err(failed.at(folder))
}

/// Makes errors of what the system says.
struct Failed<'a> {
    doing: &'static str,
    user: &'a str,
}

impl Failed<'_> {
    fn at(&self, path: &Utf8Path) -> impl Fn(io::Error) -> TransportError {
        let (doing, path, user) = (self.doing, path.to_string(), self.user.to_owned());
        let address = super::ADDRESS;
        move |error| Speaker { address, user: &user }.failure(doing, &path, &error.to_string())
    }
}

/// Makes a folder beside the final place, on its file system, and removes what others forgot.
fn stage(folder: &Utf8Path, failed: &Failed<'_>) -> Result<TempDir, TransportError> {
    let staging = match tempfile::Builder::new().prefix(STAGING).tempdir_in(folder) {
        Ok(staging) => staging,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(TransportError::NoFolder { path: folder.to_string() });
        }
        Err(error) => return Err(failed.at(folder)(error)),
    };
    remove_forgotten(folder).map_err(failed.at(folder))?;
    Ok(staging)
}

fn remove_forgotten(folder: &Utf8Path) -> io::Result<()> {
    for found in fs::read_dir(folder)? {
        let found = found?;
        if found.file_name().to_str().is_some_and(|name| name.starts_with(STAGING))
            && is_forgotten(&found)
        {
            // It may be another user's; it is in nobody's way.
            if let Err(error) = fs::remove_dir_all(found.path()) {
                tracing::debug!("cannot remove {}: {error}", found.path().display());
            }
        }
    }
    Ok(())
}

/// One that vanishes meanwhile had an owner.
fn is_forgotten(found: &DirEntry) -> bool {
    let age = found.metadata().ok().and_then(|found| found.modified().ok()?.elapsed().ok());
    age.is_some_and(|age| age > FORGOTTEN)
}

fn write(path: &Path, file: &Upload, sync: bool) -> io::Result<()> {
    let mut made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    made.write_all(file.bytes())?;
    made.set_permissions(Permissions::from_mode(file.mode().bits()))?;
    if sync { made.sync_all() } else { Ok(()) }
}

fn sync(folder: &Utf8Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

fn name_of(found: &DirEntry) -> Result<String, TransportError> {
    let odd = |path: String| TransportError::OddPath {
        path,
        why: "such a name stands in the folder, and cannot be listed safely",
    };
    let name = found.file_name().into_string();
    let name = name.map_err(|name| odd(name.to_string_lossy().into_owned()))?;
    if name.chars().any(is_odd) { Err(odd(name)) } else { Ok(name) }
}

fn look(path: &Utf8Path) -> io::Result<Content> {
    let kind = fs::symlink_metadata(path)?.file_type();
    if kind.is_symlink() {
        let target = fs::read_link(path)?;
        let target = Utf8PathBuf::from_path_buf(target);
        let target = target.map_err(|_| io::Error::other("it links to what is no UTF-8"))?;
        Ok(Content::Link { target })
    } else if kind.is_dir() {
        Ok(Content::Folder)
    } else if kind.is_file() {
        digest(path)
    } else {
        Ok(Content::Other)
    }
}

/// Reads a file once, so that its size and digest are of the same bytes.
fn digest(path: &Utf8Path) -> io::Result<Content> {
    let (mut file, mut size, mut hasher) = (File::open(path)?, 0, Sha256::new());
    let mut piece = vec![0; 1 << 16];
    loop {
        let read = match file.read(&mut piece) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        size += read as u64;
        hasher.update(piece.get(..read).unwrap_or_default());
    }
    Ok(Content::File { size, digest: Digest::from_bytes(hasher.finalize().into()) })
}
