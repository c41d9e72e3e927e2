//! Files of an installation: whether one is there as it should be, and how it comes to be.

use std::{
    fs,
    io::{self, Read, Write as _},
    os::unix::fs::{DirBuilderExt as _, PermissionsExt as _},
};

use camino::{Utf8Path, Utf8PathBuf};
use serde::Serialize;
use tempfile::NamedTempFile;

/// A file that belongs to an installation.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::cmd) struct Planned {
    pub(in crate::cmd) path: Utf8PathBuf,
    pub(in crate::cmd) mode: u32,
    pub(in crate::cmd) content: String,
}

/// What is to be done with a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(in crate::cmd) enum State {
    /// It is not there yet.
    New,
    /// It is another one.
    Changed,
    /// It is there as it should be.
    Same,
}

impl Planned {
    pub(in crate::cmd) fn new(path: &str, mode: u32, content: String) -> Self {
        Self { path: path.into(), mode, content }
    }

    /// Tells whether only root may read it.
    pub(in crate::cmd) fn is_secret(&self) -> bool {
        self.mode == 0o600
    }

    /// Compares it with what is there.
    pub(in crate::cmd) fn state(&self) -> io::Result<State> {
        let now = match fs::read(&self.path) {
            Ok(now) => now,
            Err(error) => return unread(error),
        };
        let mode = fs::metadata(&self.path)?.permissions().mode() & 0o7777;
        let is_same = now == self.content.as_bytes() && mode == self.mode;
        Ok(if is_same { State::Same } else { State::Changed })
    }

    /// Writes it, whole or not at all.
    pub(in crate::cmd) fn write(&self) -> io::Result<()> {
        replace(&self.path, self.mode, |fresh| fresh.write_all(self.content.as_bytes()))
    }
}

/// Compares a program with what is at its place.
pub(in crate::cmd) fn program_state(from: &Utf8Path, to: &Utf8Path) -> io::Result<State> {
    let there = match fs::File::open(to) {
        Ok(there) => there,
        Err(error) => return unread(error),
    };
    let from = fs::File::open(from)?;
    if from.metadata()?.len() != there.metadata()?.len() {
        return Ok(State::Changed);
    }
    let is_same = are_alike(io::BufReader::new(from), io::BufReader::new(there))?;
    Ok(if is_same { State::Same } else { State::Changed })
}

/// Copies a program. One that runs cannot be written to, but its name can be given to another.
pub(in crate::cmd) fn copy_program(from: &Utf8Path, to: &Utf8Path) -> io::Result<()> {
    replace(to, 0o755, |fresh| io::copy(&mut fs::File::open(from)?, fresh).map(drop))
}

/// Makes a folder that is closed to others. One that is there stays as it is.
pub(in crate::cmd) fn make_folder(path: &Utf8Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o750).create(path)
}

/// What cannot be read for want of rights is taken for another one: only `--dry-run` comes here
/// without being root.
fn unread(error: io::Error) -> io::Result<State> {
    if error.kind() == io::ErrorKind::NotFound {
        return Ok(State::New);
    }
    if error.kind() == io::ErrorKind::PermissionDenied {
        return Ok(State::Changed);
    }
    Err(error)
}

fn are_alike(mut one: impl Read, mut other: impl Read) -> io::Result<bool> {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    loop {
        left.clear();
        right.clear();
        one.by_ref().take(CHUNK).read_to_end(&mut left)?;
        other.by_ref().take(CHUNK).read_to_end(&mut right)?;
        if left != right {
            return Ok(false);
        }
        if left.is_empty() {
            return Ok(true);
        }
    }
}

/// How much of two files is compared at a time.
const CHUNK: u64 = 1 << 20;

fn replace(
    path: &Utf8Path,
    mode: u32,
    fill: impl FnOnce(&mut fs::File) -> io::Result<()>,
) -> io::Result<()> {
    let folder = path.parent().ok_or(io::ErrorKind::InvalidFilename)?;
    fs::DirBuilder::new().recursive(true).mode(0o755).create(folder)?;
    let mut fresh = NamedTempFile::new_in(folder)?;
    fill(fresh.as_file_mut())?;
    fs::set_permissions(fresh.path(), fs::Permissions::from_mode(mode))?;
    fresh.as_file().sync_all()?;
    fresh.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_planned_is_written_with_its_mode_and_known_again() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        let path = base.join("a/b.env");
        let file = Planned { path, mode: 0o600, content: "x\n".to_owned() };
        assert_eq!(file.state().unwrap(), State::New);
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "x\n");
        assert_eq!(fs::metadata(&file.path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(file.state().unwrap(), State::Same);

        fs::set_permissions(&file.path, fs::Permissions::from_mode(0o644)).unwrap();
        assert_eq!(file.state().unwrap(), State::Changed, "its mode counts");
        file.write().unwrap();
        fs::write(&file.path, "y\n").unwrap();
        assert_eq!(file.state().unwrap(), State::Changed, "its content counts");
    }

    #[test]
    fn a_program_is_known_by_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let base = Utf8Path::from_path(folder.path()).unwrap();
        let (from, to) = (base.join("from"), base.join("bin/to"));
        let large = vec![7; usize::try_from(CHUNK).unwrap() + 1];
        fs::write(&from, &large).unwrap();
        assert_eq!(program_state(&from, &to).unwrap(), State::New);
        copy_program(&from, &to).unwrap();
        assert_eq!(program_state(&from, &to).unwrap(), State::Same);
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o755);

        let mut other = large;
        *other.last_mut().unwrap() = 8;
        fs::write(&from, &other).unwrap();
        assert_eq!(program_state(&from, &to).unwrap(), State::Changed);
        fs::write(&from, "short").unwrap();
        assert_eq!(program_state(&from, &to).unwrap(), State::Changed);
    }
}
