//! The files that a configuration is read from, and what is not there yet.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use camino::{Utf8Path, Utf8PathBuf};

/// Reads the files of a configuration, and those that it names.
pub trait Tree {
    /// Returns the text of a file.
    fn read(&self, path: &Utf8Path) -> Result<String, ReadError>;

    /// Returns the names in a folder, sorted; nothing where there is no such folder.
    fn list(&self, folder: &Utf8Path) -> Result<Vec<String>, ReadError>;
}

/// Why a file cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is none.
    #[error("there is no such file")]
    Absent,
    /// It is there and cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

/// Files that were brought from elsewhere. What is asked for and was not brought is noted, so that
/// whoever brings files knows which, and asks again until nothing is wanted any more.
#[derive(Debug, Default)]
pub struct Brought {
    files: BTreeMap<Utf8PathBuf, Result<String, ReadError>>,
    folders: BTreeMap<Utf8PathBuf, Result<Vec<String>, ReadError>>,
    wanted: RefCell<Wanted>,
}

/// What was asked for and not brought.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Files.
    pub files: BTreeSet<Utf8PathBuf>,
    /// Folders whose names are wanted.
    pub folders: BTreeSet<Utf8PathBuf>,
}

impl Wanted {
    /// Tells whether all that was asked for was there.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }
}

impl Brought {
    /// Adds a file, or why it cannot be brought.
    pub fn file(&mut self, path: Utf8PathBuf, text: Result<String, ReadError>) {
        self.files.insert(path, text);
    }

    /// Adds the names in a folder, or why they cannot be told.
    pub fn folder(&mut self, path: Utf8PathBuf, names: Result<Vec<String>, ReadError>) {
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        self.folders.insert(path, names.map(sorted));
    }

    /// Returns what was asked for since the last time and is not here.
    pub fn take_wanted(&self) -> Wanted {
        self.wanted.take()
    }

    /// Returns how many bytes were brought.
    pub fn size(&self) -> usize {
        self.files.values().flatten().map(String::len).sum()
    }

    /// Returns how many files and folders were brought.
    pub fn len(&self) -> usize {
        self.files.len() + self.folders.len()
    }

    /// Tells whether nothing was brought.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty() && self.folders.is_empty()
    }
}

impl Tree for Brought {
    fn read(&self, path: &Utf8Path) -> Result<String, ReadError> {
        match self.files.get(path) {
            Some(text) => text.clone(),
            None => {
                self.wanted.borrow_mut().files.insert(path.to_owned());
                Err(ReadError::Absent)
            }
        }
    }

    fn list(&self, folder: &Utf8Path) -> Result<Vec<String>, ReadError> {
        match self.folders.get(folder) {
            Some(names) => names.clone(),
            None => {
                self.wanted.borrow_mut().folders.insert(folder.to_owned());
                Err(ReadError::Absent)
            }
        }
    }
}

/// Files in memory, for tests and for texts that came by other ways.
impl Tree for BTreeMap<Utf8PathBuf, String> {
    fn read(&self, path: &Utf8Path) -> Result<String, ReadError> {
        self.get(path).cloned().ok_or(ReadError::Absent)
    }

    fn list(&self, folder: &Utf8Path) -> Result<Vec<String>, ReadError> {
        let names = self.keys().filter_map(|path| {
            let rest = path.strip_prefix(folder).ok()?;
            rest.components().next().map(|name| name.as_str().to_owned())
        });
        let names: BTreeSet<String> = names.collect();
        if names.is_empty() { Err(ReadError::Absent) } else { Ok(names.into_iter().collect()) }
    }
}
