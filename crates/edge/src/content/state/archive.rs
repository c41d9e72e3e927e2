//! What an edge that is being succeeded may still have to read, in a file of its own: its state
//! belongs to the successor from then on, and only one process can have it open.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
};

use camino::Utf8Path;
use portway_policy::Digest;

/// Objects by digest. The file has no name, so nothing is left of it whatever happens.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    places: HashMap<(Kind, Digest), Place>,
}

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// The policy of a site.
    Policy,
    /// A certificate.
    Certificate,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    start: u64,
    length: usize,
}

/// An archive that is being written.
pub(super) struct Writing {
    file: BufWriter<File>,
    places: HashMap<(Kind, Digest), Place>,
    end: u64,
}

impl Writing {
    /// Begins an archive on the disk of a folder.
    pub(super) fn begin(folder: &Utf8Path) -> io::Result<Self> {
        let path = folder.join(format!("succession-{}.tmp", std::process::id()));
        let open =
            || OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path);
        let file = match open() {
            // Left by a process of this number that was killed right here.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                std::fs::remove_file(&path)?;
                open()?
            }
            other => other?,
        };
        std::fs::remove_file(&path)?;
        Ok(Self { file: BufWriter::new(file), places: HashMap::new(), end: 0 })
    }

    /// Adds an object.
    pub(super) fn put(&mut self, kind: Kind, digest: Digest, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.places.insert((kind, digest), Place { start: self.end, length: bytes.len() });
        self.end += u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Ok(())
    }

    /// Returns what was written.
    pub(super) fn finish(self) -> io::Result<Archive> {
        let file = self.file.into_inner().map_err(io::IntoInnerError::into_error)?;
        Ok(Archive { file, places: self.places })
    }
}

impl Archive {
    /// Returns an object.
    pub(super) fn get(&self, kind: Kind, digest: Digest) -> io::Result<Option<Vec<u8>>> {
        let Some(place) = self.places.get(&(kind, digest)) else { return Ok(None) };
        let mut bytes = vec![0; place.length];
        self.file.read_exact_at(&mut bytes, place.start)?;
        Ok(Some(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_is_found_and_no_file_is_left() {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8Path::from_path(folder.path()).unwrap();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut writing = Writing::begin(path).unwrap();
        writing.put(Kind::Policy, one, b"policy").unwrap();
        writing.put(Kind::Certificate, one, b"certificate").unwrap();
        writing.put(Kind::Policy, two, b"").unwrap();
        let archive = writing.finish().unwrap();
        let get = |kind, digest| archive.get(kind, digest).unwrap();
        assert_eq!(get(Kind::Policy, one).as_deref(), Some(b"policy".as_slice()));
        assert_eq!(get(Kind::Certificate, one).as_deref(), Some(b"certificate".as_slice()));
        assert_eq!(get(Kind::Policy, two).as_deref(), Some(b"".as_slice()));
        assert_eq!(get(Kind::Certificate, two), None);
        assert_eq!(std::fs::read_dir(path).unwrap().count(), 0);
    }
}
