//! Opens files below a root. The kernel resolves the path and refuses every step out of the root,
//! symlinks included, so there is no moment between a check and its use.

use std::{
    ffi::CString,
    fs::{File, Metadata},
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::Arc,
};

use bytes::Bytes;
use portway_model::site::FileRoot;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, fstatfs, openat, openat2, readlinkat},
    io::Errno,
};

use super::{FileFault, SMALL, known::Known};
use crate::body;

/// What lies at a path.
pub(super) enum Entry {
    /// A regular file.
    File(Hit),
    /// A folder.
    Folder,
    /// A pipe, socket or device.
    Other,
    /// Nothing that may be seen.
    Nothing,
}

/// A regular file.
#[derive(Clone)]
pub(super) struct Hit {
    /// What is known of it.
    pub(super) known: Arc<Known>,
    /// The file, open for reading, where it is not wholly known.
    pub(super) file: Option<Arc<File>>,
}

/// Why a look came to nothing.
#[derive(Debug)]
pub(super) enum Halt {
    /// A disk or a network would have to be waited for.
    WouldWait,
    /// Something is wrong.
    Fault(FileFault),
}

/// Whoever knows what lies below a root.
pub(super) trait Look {
    /// Tells what lies at a path below the root.
    fn look(&mut self, path: &str) -> Result<Entry, Halt>;

    /// As [`Self::look`], and a file that is not small comes open.
    fn open(&mut self, path: &str) -> Result<Entry, Halt>;
}

/// The file system below a root.
pub(super) struct Disk<'a> {
    root: &'a FileRoot,
    top: Option<OwnedFd>,
    patience: Patience,
}

/// Whether it may be waited for a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Patience {
    /// What is not in memory is not looked at.
    None,
    /// As long as it takes.
    Any,
}

/// A pipe must not stop the thread, a terminal not become the edge's own.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Links followed on one path, as the kernel limits them too.
const MAX_LINKS: usize = 40;

/// A file that is replaced while it is read is looked at afresh, this often.
const TRIES: usize = 3;

/// Returns the path without slashes at its ends, `.` for the root; nothing when it has a part that
/// is never shown.
pub(super) fn relative(rest: &str) -> Option<&str> {
    let path = rest.trim_matches('/');
    if path.is_empty() {
        return Some(".");
    }
    path.split('/').all(is_shown).then_some(path)
}

/// Tells whether a part of a path may be served.
pub(super) fn is_shown(part: &str) -> bool {
    !part.is_empty()
        && (!part.starts_with('.') || part == ".well-known")
        && !part.contains(['\0', '\\'])
}

impl<'a> Disk<'a> {
    /// Returns it for a thread that must not wait.
    pub(super) fn at_once(root: &'a FileRoot) -> Self {
        Self { root, top: None, patience: Patience::None }
    }

    /// Returns it for a thread that may wait.
    pub(super) fn waiting(root: &'a FileRoot) -> Self {
        Self { root, top: None, patience: Patience::Any }
    }

    /// Opens whatever lies at a path.
    pub(super) fn open_any(&mut self, path: &str) -> Result<Option<File>, Halt> {
        let patience = self.patience;
        let top = self.top()?;
        let opened = match (beneath(top, path, patience), patience) {
            // An old kernel, or a sandbox that does not know the call.
            (Err(Errno::NOSYS | Errno::PERM), Patience::Any) => walk(top, path),
            (opened, _) => opened,
        };
        match opened {
            Ok(fd) => Ok(Some(File::from(fd))),
            Err(error) if self.would_wait(error) => Err(Halt::WouldWait),
            Err(error) if is_absence(error) => Ok(None),
            Err(error) => Err(self.failed(error.into())),
        }
    }

    /// Returns the root, opened once.
    fn top(&mut self) -> Result<BorrowedFd<'_>, Halt> {
        if self.top.is_none() {
            let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
            let path = self.root.root.as_std_path();
            let opened = match self.patience {
                Patience::None => openat2(CWD, path, flags, Mode::empty(), ResolveFlags::CACHED),
                Patience::Any => openat(CWD, path, flags, Mode::empty()),
            };
            self.top = match opened {
                Ok(top) => Some(top),
                Err(error) if self.would_wait(error) => return Err(Halt::WouldWait),
                Err(error) => {
                    let path = self.root.root.clone();
                    return Err(Halt::Fault(FileFault::Root { path, source: error.into() }));
                }
            };
        }
        self.top.as_ref().map(AsFd::as_fd).ok_or(Halt::WouldWait)
    }

    /// Tells whether an error only says that the thread that waits must look: something is not in
    /// memory, or a kernel before 5.12 or a sandbox does not know how to tell.
    fn would_wait(&self, error: Errno) -> bool {
        self.patience == Patience::None
            && [Errno::AGAIN, Errno::NOSYS, Errno::PERM, Errno::INVAL].contains(&error)
    }

    /// Looks at an opened file; nothing when it became shorter meanwhile.
    fn inspect(&self, file: File, path: &str) -> Result<Option<Entry>, Halt> {
        let metadata = file.metadata().map_err(|error| self.failed(error))?;
        if metadata.is_dir() {
            return Ok(Some(Entry::Folder));
        }
        if !metadata.is_file() {
            return Ok(Some(Entry::Other));
        }
        let name = path.rsplit('/').next().unwrap_or(path);
        let is_local = is_local(&file);
        let known = |content| Arc::new(Known::new(&metadata, name, content, is_local));
        if metadata.len() > SMALL {
            return Ok(Some(Entry::File(Hit { known: known(None), file: Some(Arc::new(file)) })));
        }
        let content = match self.patience {
            Patience::None => Some(content_at_once(&file, &metadata).ok_or(Halt::WouldWait)?),
            Patience::Any => match body::read(&file, 0, metadata.len()) {
                Ok(content) => Some(content),
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
                Err(error) => return Err(self.failed(error)),
            },
        };
        Ok(Some(Entry::File(Hit { known: known(content), file: None })))
    }

    fn failed(&self, source: io::Error) -> Halt {
        Halt::Fault(FileFault::Read { root: self.root.root.clone(), source })
    }
}

impl Look for Disk<'_> {
    fn look(&mut self, path: &str) -> Result<Entry, Halt> {
        for _ in 0..TRIES {
            let Some(file) = self.open_any(path)? else { return Ok(Entry::Nothing) };
            if let Some(entry) = self.inspect(file, path)? {
                return Ok(entry);
            }
        }
        Err(self.failed(io::ErrorKind::UnexpectedEof.into()))
    }

    fn open(&mut self, path: &str) -> Result<Entry, Halt> {
        self.look(path)
    }
}

/// Reads a small file that lies in memory; nothing when it does not, or became shorter.
fn content_at_once(file: &File, metadata: &Metadata) -> Option<Bytes> {
    let mut content = vec![0; usize::try_from(metadata.len()).ok()?];
    let mut filled = 0;
    while let Some(rest) = content.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let offset = u64::try_from(filled).ok()?;
        filled += body::read_at_once(file, offset, rest).filter(|read| *read > 0)?;
    }
    Some(content.into())
}

/// Tells whether a file lies on a disk of this machine. Of others it is not known how long a look
/// takes, nor whether it shows what another machine wrote.
fn is_local(file: &File) -> bool {
    let Ok(system) = fstatfs(file) else { return false };
    // The numbers stand in linux/magic.h, or in the source of the file system.
    matches!(
        u32::try_from(system.f_type),
        Ok(0xef53 // ext2 to ext4
            | 0x5846_5342 // XFS
            | 0x9123_683e // Btrfs
            | 0x0102_1994 // tmpfs
            | 0x794c_7630 // overlayfs
            | 0x2fc1_2fc1 // ZFS
            | 0xf2f5_2010 // F2FS
            | 0xca45_1a4e // bcachefs
            | 0x7371_7368 // SquashFS
            | 0xe0f5_e1e2 // EROFS
            | 0x8584_58f6) // ramfs
    )
}

/// Opens a path that the kernel resolves below `top`.
fn beneath(top: BorrowedFd<'_>, path: &str, patience: Patience) -> rustix::io::Result<OwnedFd> {
    let below = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    if patience == Patience::None {
        return openat2(top, path, READ, Mode::empty(), below | ResolveFlags::CACHED);
    }
    let mut tries = 3;
    loop {
        match openat2(top, path, READ, Mode::empty(), below) {
            // A rename elsewhere kept the kernel from telling whether the path stays below.
            Err(Errno::AGAIN) if tries > 0 => tries -= 1,
            other => return other,
        }
    }
}

/// Opens a path step by step, each from the folder before it, following links as [`beneath`] does.
fn walk(top: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let step = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut folders: Vec<OwnedFd> = Vec::new();
    let mut todo = parts(path.as_bytes())?;
    let mut links = 0;
    while let Some(part) = todo.pop() {
        let here = folders.last().map_or(top, AsFd::as_fd);
        match part.as_bytes() {
            b"." => continue,
            b".." => {
                folders.pop().ok_or(Errno::XDEV)?;
                continue;
            }
            _ => {}
        }
        let next = openat(here, &part, step, Mode::empty())?;
        let kind = FileType::from_raw_mode(fstat(&next)?.st_mode);
        if kind.is_dir() {
            folders.push(next);
        } else if kind.is_symlink() {
            links += 1;
            if links > MAX_LINKS {
                return Err(Errno::LOOP);
            }
            todo.extend(link_target(&next)?);
        } else if todo.is_empty() {
            return openat(here, &part, READ | OFlags::NOFOLLOW, Mode::empty());
        } else {
            return Err(Errno::NOTDIR);
        }
    }
    let here = folders.last().map_or(top, AsFd::as_fd);
    openat(here, c".", READ | OFlags::DIRECTORY, Mode::empty())
}

/// Returns the parts of a link's target, the first one last; one that begins at the top of the
/// file system leads out.
fn link_target(link: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let target = readlinkat(link, c"", Vec::new())?;
    if target.as_bytes().starts_with(b"/") {
        return Err(Errno::XDEV);
    }
    parts(target.as_bytes())
}

/// Returns the parts of a path, the first one last.
fn parts(path: &[u8]) -> rustix::io::Result<Vec<CString>> {
    let parts = path.split(|byte| *byte == b'/').filter(|part| !part.is_empty()).rev();
    parts.map(|part| CString::new(part).map_err(|_| Errno::INVAL)).collect()
}

/// Tells whether an error means that nothing may be seen there, rather than that the machine fails.
fn is_absence(error: Errno) -> bool {
    [
        Errno::NOENT,
        Errno::NOTDIR,
        Errno::ACCESS,
        Errno::PERM,
        Errno::XDEV,
        Errno::LOOP,
        Errno::NAMETOOLONG,
        Errno::NXIO,
        Errno::NODEV,
        Errno::INVAL,
        Errno::ILSEQ,
    ]
    .contains(&error)
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    #[test]
    fn parts_that_are_never_shown_are_refused_before_anything_is_opened() {
        for rest in ["/.git/config", "/a/.env", "/..", "/a/../b", "/a//b", "/a\0b", "/.", "/a\\b"] {
            assert_eq!(relative(rest), None, "{rest:?}");
        }
        assert_eq!(relative("/"), Some("."));
        assert_eq!(relative(""), Some("."));
        assert_eq!(relative("/.well-known/x"), Some(".well-known/x"));
        assert_eq!(relative("/a/b/"), Some("a/b"));
    }

    #[test]
    fn both_ways_of_opening_stay_below_the_root_and_agree() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("root");
        fs::create_dir_all(root.join("a/b")).unwrap();
        fs::write(folder.path().join("secret"), "secret").unwrap();
        fs::write(root.join("a/file"), "file").unwrap();
        let link = |target: &str, name: &str| symlink(target, root.join(name)).unwrap();
        link("a/file", "inside");
        link("b/../file", "a/around");
        link("../a/file", "a/up");
        link("../secret", "outside");
        link("a/../../secret", "sneaky");
        link("/etc/passwd", "absolute");
        link("loop", "loop");
        link("../../secret", "a/deep");
        link("a", "folder");
        let top = openat(CWD, &root, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap();
        let expected = [
            ("a/file", true),
            ("a", true),
            (".", true),
            ("inside", true),
            ("a/around", true),
            ("a/up", true),
            ("folder/file", true),
            ("folder/b", true),
            ("outside", false),
            ("sneaky", false),
            ("absolute", false),
            ("loop", false),
            ("a/deep", false),
            ("a/file/x", false),
            ("missing", false),
            ("..", false),
            ("a/../../secret", false),
            ("/etc/passwd", false),
        ];
        for (path, opens) in expected {
            let by_kernel = beneath(top.as_fd(), path, Patience::Any);
            if !matches!(by_kernel, Err(Errno::NOSYS | Errno::PERM)) {
                assert_eq!(by_kernel.is_ok(), opens, "openat2 {path}: {by_kernel:?}");
            }
            if path.starts_with('/') {
                continue; // Nobody asks for an absolute path, only a link can.
            }
            let at_once = beneath(top.as_fd(), path, Patience::None);
            assert!(opens || at_once.is_err(), "at once {path}: {at_once:?}");
            let by_steps = walk(top.as_fd(), path);
            assert_eq!(by_steps.is_ok(), opens, "steps {path}: {by_steps:?}");
        }
    }
}
