//! Files as they are sent and as they are found.

use std::fmt;

use bytes::Bytes;
use camino::{Utf8Component, Utf8Path, Utf8PathBuf};
use portway_policy::Digest;

use crate::TransportError;

/// How the name of a folder begins in which files are made ready, beside their final place.
pub(crate) const STAGING: &str = ".portway-put-";
/// The longest file that is read.
pub(crate) const MAX_FILE: usize = 256 << 20;
/// The longest path, and the longest name in it, that Linux takes.
const MAX_PATH: usize = 4095;
const MAX_NAME: usize = 255;

/// A file to be written. It is never seen half: its path shows what was there before, or all of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Upload {
    path: Utf8PathBuf,
    mode: Mode,
    bytes: Bytes,
}

/// Who may read, write and execute a file: the nine bits of `chmod`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode(u32);

/// What stands in a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name in that folder.
    pub name: String,
    /// What it is.
    pub content: Content,
}

/// What an entry of a folder is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// A file.
    File {
        /// Its length in bytes.
        size: u64,
        /// The SHA-256 of its bytes, as they were read on the node.
        digest: Digest,
    },
    /// A symbolic link.
    Link {
        /// What it names, whether that exists or not.
        target: Utf8PathBuf,
    },
    /// A folder; its content is not looked at.
    Folder,
    /// A socket, a device or a pipe.
    Other,
}

impl Upload {
    /// Makes a file to be written. The path is absolute and without `..`; its folder must exist.
    pub fn new(
        path: impl Into<Utf8PathBuf>,
        mode: Mode,
        bytes: impl Into<Bytes>,
    ) -> Result<Self, TransportError> {
        let path = path.into();
        check_file(&path)?;
        Ok(Self { path, mode, bytes: bytes.into() })
    }

    /// Returns where the file is to be.
    pub fn path(&self) -> &Utf8Path {
        &self.path
    }

    /// Returns who may read, write and execute it.
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// Returns its content.
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub(crate) fn folder(&self) -> &Utf8Path {
        self.path.parent().unwrap_or(Utf8Path::new("/"))
    }

    pub(crate) fn name(&self) -> &str {
        self.path.file_name().unwrap_or_default()
    }
}

impl Mode {
    /// For the owner alone.
    pub const PRIVATE: Self = Self(0o600);
    /// For all to read.
    pub const PUBLIC: Self = Self(0o644);
    /// For all to execute.
    pub const PROGRAM: Self = Self(0o755);

    /// Returns a mode of these bits, or nothing if there are more than nine, or the owner could not
    /// read the file: then nobody could prove what is in it.
    pub const fn new(bits: u32) -> Option<Self> {
        if bits <= 0o777 && bits & 0o400 != 0 { Some(Self(bits)) } else { None }
    }

    /// Returns the nine bits.
    pub const fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04o}", self.0)
    }
}

/// The content may be a key.
impl fmt::Debug for Upload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Upload")
            .field("path", &self.path)
            .field("mode", &format_args!("{}", self.mode))
            .field("bytes", &self.bytes.len())
            .finish()
    }
}

/// Proves that a path names one file or folder, and can be carried through listings line by line.
pub(crate) fn check(path: &Utf8Path) -> Result<(), TransportError> {
    let odd = |why| Err(TransportError::OddPath { path: path.to_string(), why });
    if !path.is_absolute() {
        return odd("it does not begin with `/`");
    }
    if path.components().any(|part| part == Utf8Component::ParentDir) {
        return odd("it has `..` in it");
    }
    if path.as_str().chars().any(is_odd) {
        return odd("it has a control character or a backslash in it");
    }
    if path.as_str().len() > MAX_PATH || path.iter().any(|name| name.len() > MAX_NAME) {
        return odd("it is longer than a path, or a name in it, can be");
    }
    Ok(())
}

/// Proves that a path names a file, and none of those that are being made ready.
pub(crate) fn check_file(path: &Utf8Path) -> Result<(), TransportError> {
    check(path)?;
    let odd = |why| Err(TransportError::OddPath { path: path.to_string(), why });
    match path.file_name() {
        None => odd("it names no file"),
        Some(name) if name.starts_with(STAGING) => odd("such names are for files on their way"),
        Some(_) if path.as_str().ends_with('/') || path.as_str().ends_with("/.") => {
            odd("it ends with `/` or `/.`, as a folder does")
        }
        Some(_) => Ok(()),
    }
}

/// Proves that a link can name this.
pub(crate) fn check_link_target(target: &Utf8Path) -> Result<(), TransportError> {
    let odd = |why| Err(TransportError::OddPath { path: target.to_string(), why });
    if target.as_str().is_empty() || target.as_str().len() > MAX_PATH {
        return odd("a link cannot name it");
    }
    if target.as_str().chars().any(is_odd) {
        return odd("it has a control character or a backslash in it");
    }
    Ok(())
}

/// What `sha256sum` would write differently, or what would end a line.
pub(crate) fn is_odd(c: char) -> bool {
    c.is_control() || c == '\\'
}

/// Groups files by folder, in the order of their first file. A path that stands twice is refused.
pub(crate) fn by_folder(
    files: &[Upload],
) -> Result<Vec<(&Utf8Path, Vec<&Upload>)>, TransportError> {
    let mut seen = std::collections::BTreeSet::new();
    let mut places = std::collections::BTreeMap::new();
    let mut groups = Vec::<(&Utf8Path, Vec<&Upload>)>::new();
    for file in files {
        if !seen.insert(file.path()) {
            let path = file.path().to_string();
            return Err(TransportError::OddPath { path, why: "it is to be written twice" });
        }
        let place = *places.entry(file.folder()).or_insert(groups.len());
        match groups.get_mut(place) {
            Some((_, group)) => group.push(file),
            None => groups.push((file.folder(), vec![file])),
        }
    }
    Ok(groups)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_could_mean_another_file_are_refused() {
        for path in [
            "a",
            "",
            "/",
            "/a/../b",
            "/a\nb",
            "/a\\b",
            "/a/",
            "/a/.",
            "/x/.portway-put-1",
            "/a\u{7f}",
        ] {
            let refused = Upload::new(path, Mode::PUBLIC, "");

            assert!(matches!(refused, Err(TransportError::OddPath { .. })), "{path:?}");
        }
    }

    #[test]
    fn a_name_longer_than_linux_takes_is_refused() {
        assert!(Upload::new(format!("/{}", "a".repeat(255)), Mode::PUBLIC, "").is_ok());
        assert!(Upload::new(format!("/{}", "a".repeat(256)), Mode::PUBLIC, "").is_err());
    }

    #[test]
    fn usual_and_unusual_names_are_taken() {
        for path in [
            "/a",
            "/etc/nginx/conf.d/portway.conf",
            "/a b/c",
            "/é",
            "/-n",
            "/.hidden",
            "/a..b",
            "/a.",
        ] {
            assert!(Upload::new(path, Mode::PRIVATE, "").is_ok(), "{path:?}");
        }
    }

    #[test]
    fn files_are_grouped_by_folder_in_the_order_they_came() {
        let files = ["/b/1", "/a/2", "/b/3"].map(|p| Upload::new(p, Mode::PUBLIC, "").unwrap());

        let groups = by_folder(&files).unwrap();

        let names =
            |group: &[&Upload]| group.iter().map(|f| f.name().to_owned()).collect::<Vec<_>>();
        let groups = groups.iter().map(|(dir, group)| (dir.as_str(), names(group)));
        assert_eq!(
            groups.collect::<Vec<_>>(),
            [("/b", vec!["1".to_owned(), "3".to_owned()]), ("/a", vec!["2".to_owned()])]
        );
    }

    #[test]
    fn a_path_that_is_written_twice_is_refused() {
        let file = Upload::new("/a", Mode::PUBLIC, "").unwrap();

        assert!(by_folder(&[file.clone(), file]).is_err());
    }

    #[test]
    fn content_is_not_shown() {
        let file = Upload::new("/a", Mode::PRIVATE, "hunter2").unwrap();

        assert_eq!(format!("{file:?}"), r#"Upload { path: "/a", mode: 0600, bytes: 7 }"#);
    }
}
