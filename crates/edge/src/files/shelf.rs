//! What a worker remembers of files: small ones wholly, of others that they are there, and which
//! compressed forms are not. It never takes a memory for the truth: one call to the system tells
//! whether a file is still in the state that is remembered, so an edit shows at once. (What is written
//! through a memory map shows when the system notes it.)
//!
//! Only files of this machine's disks are remembered, and only once their last change is long enough
//! ago that the next one will show.

use std::{cell::RefCell, collections::HashMap, fs, io, sync::Arc, time::SystemTime};

use portway_model::site::FileRoot;

use super::{
    find::{Disk, Entry, Halt, Hit, Look},
    known::{Known, Stamp},
};
use crate::coding::Coding;

/// The memory that a worker's shelf takes at most, in bytes.
const MOST: usize = 16 * 1024 * 1024;

/// What an entry takes beside its path and content, about.
const ENTRY: usize = 512;

/// See the module. Entries are in two halves; what is used moves to the young one, and when that is
/// full, the old one is forgotten.
pub(crate) struct Shelf {
    halves: RefCell<Halves>,
    clock: fn() -> SystemTime,
}

#[derive(Default)]
struct Halves {
    young: HashMap<Box<str>, Memory>,
    old: HashMap<Box<str>, Memory>,
    /// What the young half takes.
    weight: usize,
}

/// What is remembered of a path.
#[derive(Clone)]
struct Memory {
    /// The length of the root's path: with another root the same path may lead out of it.
    root: usize,
    sight: Sight,
}

/// What was seen at a path.
#[derive(Clone)]
pub(super) enum Sight {
    /// A file.
    File(Arc<Known>),
    /// Nothing.
    Nothing,
}

/// A root, looked at by way of a shelf.
pub(super) struct Shelved<'a> {
    shelf: &'a Shelf,
    root: &'a FileRoot,
    disk: Disk<'a>,
}

/// A disk whose sights are noted, for a shelf on another thread.
pub(super) struct Noted<'a> {
    disk: Disk<'a>,
    notes: Vec<(String, Sight)>,
}

impl Default for Shelf {
    fn default() -> Self {
        Self { halves: RefCell::default(), clock: now }
    }
}

impl Shelf {
    /// Returns what lies below a root, for a thread that must not wait.
    pub(super) fn at<'a>(&'a self, root: &'a FileRoot) -> Shelved<'a> {
        Shelved { shelf: self, root, disk: Disk::at_once(root) }
    }

    /// Remembers what another thread saw below a root.
    pub(super) fn take_notes(&self, root: &FileRoot, notes: Vec<(String, Sight)>) {
        for (path, sight) in notes {
            self.remember(root, &absolute(root, &path), sight);
        }
    }

    #[cfg(test)]
    pub(super) fn with_clock(clock: fn() -> SystemTime) -> Self {
        Self { clock, ..Self::default() }
    }

    #[cfg(test)]
    pub(super) fn remembers(&self, root: &FileRoot, path: &str) -> bool {
        self.recall(root, &absolute(root, path)).is_some()
    }

    fn recall(&self, root: &FileRoot, path: &str) -> Option<Sight> {
        let memory = self.halves.borrow_mut().get(path)?;
        (memory.root == root.root.as_str().len()).then_some(memory.sight)
    }

    fn remember(&self, root: &FileRoot, path: &str, sight: Sight) {
        let keeps = match &sight {
            Sight::File(known) => known.is_local && known.stamp.is_settled((self.clock)()),
            // Forms of files that are there, so that nobody can fill the shelf with what is not.
            Sight::Nothing => Coding::strip_suffix(path)
                .is_some_and(|file| matches!(self.recall(root, file), Some(Sight::File(_)))),
        };
        let mut halves = self.halves.borrow_mut();
        if keeps {
            halves.put(path, Memory { root: root.root.as_str().len(), sight });
        } else {
            halves.forget(path);
        }
    }
}

impl Halves {
    fn get(&mut self, path: &str) -> Option<Memory> {
        if let Some(memory) = self.young.get(path) {
            return Some(memory.clone());
        }
        let (path, memory) = self.old.remove_entry(path)?;
        self.put(&path, memory.clone());
        Some(memory)
    }

    fn put(&mut self, path: &str, memory: Memory) {
        self.forget(path);
        let weight = memory.weight(path);
        if self.weight + weight > MOST / 2 {
            self.old = std::mem::take(&mut self.young);
            self.weight = 0;
        }
        self.weight += weight;
        self.young.insert(path.into(), memory);
    }

    fn forget(&mut self, path: &str) {
        if let Some(memory) = self.young.remove(path) {
            self.weight = self.weight.saturating_sub(memory.weight(path));
        }
        self.old.remove(path);
    }
}

impl Memory {
    fn weight(&self, path: &str) -> usize {
        let content = match &self.sight {
            Sight::File(known) => known.content.as_ref().map_or(0, bytes::Bytes::len),
            Sight::Nothing => 0,
        };
        ENTRY + path.len() + content
    }
}

impl Shelved<'_> {
    /// Looks on the disk and remembers what is there.
    fn look_anew(&mut self, path: &str, absolute: &str) -> Result<Entry, Halt> {
        let entry = self.disk.look(path)?;
        if let Some(sight) = Sight::of(&entry) {
            self.shelf.remember(self.root, absolute, sight);
        }
        Ok(entry)
    }
}

impl Look for Shelved<'_> {
    fn look(&mut self, path: &str) -> Result<Entry, Halt> {
        let absolute = absolute(self.root, path);
        let Some(sight) = self.shelf.recall(self.root, &absolute) else {
            return self.look_anew(path, &absolute);
        };
        match (sight, fs::metadata(&*absolute)) {
            (Sight::File(known), Ok(metadata)) if known.stamp == Stamp::of(&metadata) => {
                Ok(Entry::File(Hit { known, file: None }))
            }
            (Sight::Nothing, Err(error)) if error.kind() == io::ErrorKind::NotFound => {
                Ok(Entry::Nothing)
            }
            (Sight::File(_) | Sight::Nothing, _) => self.look_anew(path, &absolute),
        }
    }

    fn open(&mut self, path: &str) -> Result<Entry, Halt> {
        self.disk.open(path)
    }
}

impl<'a> Noted<'a> {
    /// Looks at a disk, for a thread that may wait.
    pub(super) fn waiting(root: &'a FileRoot) -> Self {
        Self { disk: Disk::waiting(root), notes: Vec::new() }
    }

    /// Returns what was seen.
    pub(super) fn into_notes(self) -> Vec<(String, Sight)> {
        self.notes
    }
}

impl Look for Noted<'_> {
    fn look(&mut self, path: &str) -> Result<Entry, Halt> {
        let entry = self.disk.look(path)?;
        self.notes.extend(Sight::of(&entry).map(|sight| (path.to_owned(), sight)));
        Ok(entry)
    }

    fn open(&mut self, path: &str) -> Result<Entry, Halt> {
        self.look(path)
    }
}

impl Sight {
    fn of(entry: &Entry) -> Option<Self> {
        match entry {
            Entry::File(hit) => Some(Self::File(Arc::clone(&hit.known))),
            Entry::Nothing => Some(Self::Nothing),
            Entry::Folder | Entry::Other => None,
        }
    }
}

fn absolute(root: &FileRoot, path: &str) -> Box<str> {
    [root.root.as_str(), "/", path].concat().into()
}

fn now() -> SystemTime {
    jiff::Timestamp::now().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_used_stays_and_what_is_not_goes() {
        let mut halves = Halves::default();
        let memory = Memory { root: 0, sight: Sight::Nothing };
        let each = memory.weight("00000");
        let half = MOST / 2 / each;
        halves.put("used0", memory.clone());
        halves.put("once0", memory.clone());
        for number in 0..3 * half {
            halves.put(&format!("{number:05}"), memory.clone());
            assert!(halves.get("used0").is_some());
            assert!(halves.weight <= MOST / 2);
        }
        assert!(halves.get("once0").is_none());
        let kept = halves.young.len() + halves.old.len();
        assert!(kept <= 2 * half, "{kept} of {half}");
        halves.forget("used0");
        assert!(halves.get("used0").is_none());
    }

    #[test]
    fn forgetting_everything_leaves_no_weight() {
        let mut halves = Halves::default();
        let memory = Memory { root: 0, sight: Sight::Nothing };
        for _ in 0..2 {
            halves.put("a", memory.clone());
            halves.put("b", memory.clone());
        }
        assert_eq!(halves.weight, memory.weight("a") + memory.weight("b"));
        halves.forget("a");
        halves.forget("b");
        assert_eq!(halves.weight, 0);
    }
}
