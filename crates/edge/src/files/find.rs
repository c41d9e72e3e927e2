//! Finds a file below a root. The kernel resolves the path and refuses every step out of the root,
//! symlinks included, so there is no moment between a check and its use.

use std::{
    ffi::CString,
    fs::File,
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    os::unix::fs::MetadataExt,
    time::SystemTime,
};

use portway_model::site::FileRoot;
use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat, openat2, readlinkat},
    io::Errno,
};

use super::FileFault;

/// What lies at a path.
pub(super) enum Found {
    /// A folder with an index, asked for without its slash.
    Folder,
    /// A regular file.
    File(OpenFile),
}

/// A regular file, open for reading.
pub(super) struct OpenFile {
    pub(super) file: File,
    /// Its name, which tells its type.
    pub(super) name: String,
    pub(super) length: u64,
    pub(super) modified: SystemTime,
    pub(super) inode: u64,
}

/// What was opened.
enum Entry {
    File(OpenFile),
    Folder,
    /// A pipe, socket or device.
    Other,
}

/// A pipe must not stop the thread, a terminal not become the edge's own.
const READ: OFlags =
    OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// Links followed on one path, as the kernel limits them too.
const MAX_LINKS: usize = 40;

/// Finds what a path below a root means; for a folder its index. `as_folder` tells whether the
/// client asked with a slash at the end.
pub(super) fn find(root: &FileRoot, rest: &str, as_folder: bool) -> Result<Found, FileFault> {
    let path = relative(rest).ok_or(FileFault::NotFound)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(CWD, root.root.as_std_path(), flags, Mode::empty())
        .map_err(|error| FileFault::Root { path: root.root.clone(), source: error.into() })?;
    let failed = |source| FileFault::Read { root: root.root.clone(), source };
    match open(&top, &path).map_err(failed)? {
        Some(Entry::File(file)) if !as_folder => return Ok(Found::File(file)),
        Some(Entry::Folder) => {}
        Some(Entry::File(_) | Entry::Other) | None => return Err(FileFault::NotFound),
    }
    for index in &root.index {
        let index = if path == "." { index.clone() } else { format!("{path}/{index}") };
        if let Some(Entry::File(file)) = open(&top, &index).map_err(failed)? {
            return Ok(if as_folder { Found::File(file) } else { Found::Folder });
        }
    }
    Err(FileFault::NotFound)
}

/// Returns the path without slashes at its ends; nothing when it has a part that is never shown.
fn relative(rest: &str) -> Option<String> {
    let path = rest.trim_matches('/');
    if path.is_empty() {
        return Some(".".to_owned());
    }
    let is_shown = |part: &str| {
        !part.is_empty()
            && (!part.starts_with('.') || part == ".well-known")
            && !part.contains(['\0', '\\'])
    };
    path.split('/').all(is_shown).then(|| path.to_owned())
}

/// Opens what lies at a path; nothing when nothing may be seen there.
fn open(top: &OwnedFd, path: &str) -> io::Result<Option<Entry>> {
    let opened = match beneath(top.as_fd(), path) {
        // An old kernel, or a sandbox that does not know the call.
        Err(Errno::NOSYS | Errno::PERM) => walk(top.as_fd(), path),
        other => other,
    };
    let file = match opened {
        Ok(fd) => File::from(fd),
        Err(error) if is_absence(error) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let metadata = file.metadata()?;
    if metadata.is_dir() {
        return Ok(Some(Entry::Folder));
    }
    if !metadata.is_file() {
        return Ok(Some(Entry::Other));
    }
    let name = path.rsplit('/').next().unwrap_or(path).to_owned();
    Ok(Some(Entry::File(OpenFile {
        name,
        length: metadata.len(),
        modified: metadata.modified()?,
        inode: metadata.ino(),
        file,
    })))
}

/// Opens a path that the kernel resolves below `top`.
fn beneath(top: BorrowedFd<'_>, path: &str) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let mut tries = 3;
    loop {
        match openat2(top, path, READ, Mode::empty(), resolve) {
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
        assert_eq!(relative("/").as_deref(), Some("."));
        assert_eq!(relative("").as_deref(), Some("."));
        assert_eq!(relative("/.well-known/x").as_deref(), Some(".well-known/x"));
        assert_eq!(relative("/a/b/").as_deref(), Some("a/b"));
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
            let by_kernel = beneath(top.as_fd(), path);
            if !matches!(by_kernel, Err(Errno::NOSYS | Errno::PERM)) {
                assert_eq!(by_kernel.is_ok(), opens, "openat2 {path}: {by_kernel:?}");
            }
            if path.starts_with('/') {
                continue; // `find` never asks for an absolute path, only a link can.
            }
            let by_steps = walk(top.as_fd(), path);
            assert_eq!(by_steps.is_ok(), opens, "steps {path}: {by_steps:?}");
        }
    }
}
