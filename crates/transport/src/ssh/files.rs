//! Files on a node: what the scripts are given, and what they say.
//!
//! Everything is one round trip. Paths are arguments, contents go through standard input.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;

use super::tar::Archive;
use crate::{
    Argv, Content, Entry, Output, Status, TransportError, Upload, argv::ArgvError, file::is_odd,
    said::Speaker,
};

const PUT: &str = include_str!("scripts/put.sh");
const LIST: &str = include_str!("scripts/list.sh");
const RELINK: &str = include_str!("scripts/relink.sh");

/// How long a script may take on a node that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes arrive each second on the slowest link that is waited for.
const SLOWEST: u64 = 64 << 10;

/// The codes of the scripts, for what has a remedy of its own.
const NO_FOLDER: Status = Status::Exited(44);
const NOT_LISTED: Status = Status::Exited(45);
const ODD_NAME: Status = Status::Exited(46);

/// Returns the command that writes the files of a folder.
pub(super) fn put_command(folder: &Utf8Path, count: usize) -> Result<Argv, ArgvError> {
    script(PUT, &[folder.as_str(), &count.to_string()])
}

/// Returns what that command is given.
pub(super) fn put_input(files: &[&Upload]) -> Vec<Bytes> {
    let mut sums = String::new();
    let mut archive = Archive::default();
    for file in files {
        let line = writeln!(sums, "{}  files/{}", Digest::of(file.bytes()), file.name());
        debug_assert!(line.is_ok(), "a string takes everything");
    }
    archive.file("sums", crate::Mode::PRIVATE, &Bytes::from(sums));
    archive.folder("files");
    for file in files {
        archive.file(&format!("files/{}", file.name()), file.mode(), file.bytes());
    }
    archive.finish()
}

/// Returns how long that command may take.
pub(super) fn put_patience(input: &[Bytes]) -> Duration {
    let bytes = input.iter().map(|piece| piece.len() as u64).sum::<u64>();
    PATIENCE + Duration::from_secs(bytes / SLOWEST)
}

/// Reads what that command said.
pub(super) fn put_outcome(
    speaker: Speaker<'_>,
    folder: &Utf8Path,
    output: &Output,
) -> Result<(), TransportError> {
    let said = output.stderr_text();
    if output.status == NO_FOLDER && said.contains("No such file or directory") {
        return Err(TransportError::NoFolder { path: folder.to_string() });
    }
    done(speaker, "write", folder, output)
}

/// Returns the command that reads a file.
pub(super) fn get_command(path: &Utf8Path) -> Result<Argv, ArgvError> {
    Argv::new("cat", ["--", path.as_str()])
}

/// Reads what that command said.
pub(super) fn get_outcome(
    speaker: Speaker<'_>,
    path: &Utf8Path,
    output: Output,
) -> Result<Option<Vec<u8>>, TransportError> {
    if output.is_success() {
        return Ok(Some(output.stdout));
    }
    let said = output.stderr_text();
    if said.contains("No such file or directory") || said.contains("Not a directory") {
        return Ok(None);
    }
    done(speaker, "read", path, &output).map(|()| None)
}

/// Returns the command that lists a folder.
pub(super) fn list_command(folder: &Utf8Path) -> Result<Argv, ArgvError> {
    script(LIST, &[folder.as_str()])
}

/// Reads what that command said. `None` where a file vanished while it was being listed, and one
/// should look again.
pub(super) fn list_outcome(
    speaker: Speaker<'_>,
    folder: &Utf8Path,
    output: &Output,
) -> Option<Result<Option<Vec<Entry>>, TransportError>> {
    let said = output.stderr_text();
    let is_missing = said.contains("No such file or directory");
    if output.status == NOT_LISTED && is_missing {
        return Some(Ok(None));
    }
    if output.status == ODD_NAME {
        let name = output.stdout_text();
        let name = name.trim_start_matches("./").to_owned();
        return Some(Err(odd_name(name)));
    }
    if !output.is_success() {
        let vanished = is_missing && output.status != NOT_LISTED;
        let failed = || done(speaker, "list", folder, output).map(|()| None);
        return (!vanished).then(failed);
    }
    Some(entries(folder, &output.stdout).map(Some))
}

/// Returns the command that removes files.
pub(super) fn remove_command() -> Result<Argv, ArgvError> {
    Argv::new("xargs", ["-0", "-r", "rm", "-f", "--"])
}

/// Returns what that command is given.
pub(super) fn remove_input(paths: &[Utf8PathBuf]) -> Bytes {
    let mut input = Vec::new();
    for path in paths {
        input.extend_from_slice(path.as_str().as_bytes());
        input.push(0);
    }
    Bytes::from(input)
}

/// Returns the command that makes a link.
pub(super) fn relink_command(link: &Utf8Path, target: &Utf8Path) -> Result<Argv, ArgvError> {
    let folder = link.parent().unwrap_or(Utf8Path::new("/"));
    script(RELINK, &[folder.as_str(), link.file_name().unwrap_or_default(), target.as_str()])
}

/// Reads what a command said that has nothing to return.
pub(super) fn done(
    speaker: Speaker<'_>,
    doing: &'static str,
    path: &Utf8Path,
    output: &Output,
) -> Result<(), TransportError> {
    if output.is_success() {
        return Ok(());
    }
    let said = output.stderr_text();
    if output.status == Status::Exited(127)
        && let Some(program) = missing_program(&said)
    {
        let address = speaker.address.to_owned();
        return Err(TransportError::NoProgram { address, program });
    }
    let said = if said.trim().is_empty() { output.status.to_string().into() } else { said };
    Err(speaker.failure(doing, path.as_str(), &said))
}

/// A script's own name is that of the program in its messages.
fn script(text: &str, arguments: &[&str]) -> Result<Argv, ArgvError> {
    Argv::new("sh", ["-c", text, "portway"].iter().chain(arguments).copied())
}

/// `portway: 14: tar: not found`, as shells say it.
fn missing_program(said: &str) -> Option<String> {
    let line = said.lines().find_map(|line| line.strip_suffix("not found"))?;
    let before = line.trim_end_matches(" command ").trim_end_matches([':', ' ']);
    before.rsplit(": ").next().map(str::to_owned)
}

fn odd_name(path: String) -> TransportError {
    TransportError::OddPath {
        path,
        why: "such a name stands in the folder, and cannot be listed safely",
    }
}

/// Reads a listing. The sizes of all files come first, then their digests in the same order.
fn entries(folder: &Utf8Path, listing: &[u8]) -> Result<Vec<Entry>, TransportError> {
    let unreadable = |line: &str| TransportError::File {
        doing: "list",
        path: folder.to_string(),
        said: format!("a line that cannot be read: `{}`", line.escape_debug()),
    };
    let listing = std::str::from_utf8(listing)
        .map_err(|_| odd_name(String::from_utf8_lossy(listing).into_owned()))?;
    let mut sizes = std::collections::BTreeMap::new();
    let mut entries = Vec::new();
    let mut lines = listing.lines();
    while let Some(line) = lines.next() {
        if let Some((digest, name)) = line.split_once("  ./")
            && let Ok(digest) = digest.parse::<Digest>()
        {
            let size = sizes.remove(name).ok_or_else(|| unreadable(line))?;
            entries.push(entry(name, Content::File { size, digest })?);
            continue;
        }
        let (kind, name) = line.split_once("./").ok_or_else(|| unreadable(line))?;
        match kind {
            "d " => entries.push(entry(name, Content::Folder)?),
            "o " => entries.push(entry(name, Content::Other)?),
            "l " => {
                let target = lines.next().ok_or_else(|| unreadable(line))?;
                entries.push(entry(name, Content::Link { target: Utf8PathBuf::from(target) })?);
            }
            size => {
                let size = size.strip_prefix("s ").and_then(|size| size.trim().parse().ok());
                sizes.insert(name, size.ok_or_else(|| unreadable(line))?);
            }
        }
    }
    entries.sort_unstable();
    Ok(entries)
}

fn entry(name: &str, content: Content) -> Result<Entry, TransportError> {
    if name.is_empty() || name.contains('/') || name.chars().any(is_odd) {
        return Err(odd_name(name.to_owned()));
    }
    Ok(Entry { name: name.to_owned(), content })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_is_read() {
        let digest = Digest::of(b"x");
        let listing = format!(
            "s 1 ./b\ns 1 ./a  b\n{digest}  ./b\n{digest}  ./a  b\nl ./link\n/some ./where\nd ./z\no ./y\n"
        );

        let entries = entries(Utf8Path::new("/x"), listing.as_bytes()).unwrap();

        let names = entries.iter().map(|entry| entry.name.as_str()).collect::<Vec<_>>();
        assert_eq!(names, ["a  b", "b", "link", "y", "z"]);
        let target = Utf8PathBuf::from("/some ./where");
        assert!(
            entries.iter().any(|entry| entry.content == Content::Link { target: target.clone() })
        );
    }

    #[test]
    fn a_listing_that_says_something_else_is_an_error() {
        for listing in ["x", "s ./a", "s x ./a", "l ./a", "d ./", "d ./a/b", "abc  ./a", "\u{1b}"] {
            assert!(entries(Utf8Path::new("/x"), listing.as_bytes()).is_err(), "{listing}");
        }
        let digest = Digest::of(b"x");
        assert!(entries(Utf8Path::new("/x"), format!("{digest}  ./a").as_bytes()).is_err());
        assert!(entries(Utf8Path::new("/x"), b"d ./\xff").is_err());
    }

    #[test]
    fn a_program_that_a_script_misses_is_named() {
        for said in ["portway: 14: tar: not found\n", "portway: line 14: tar: command not found\n"]
        {
            assert_eq!(missing_program(said).as_deref(), Some("tar"), "{said}");
        }
    }

    #[test]
    fn large_files_have_more_time() {
        let input = vec![Bytes::from(vec![0; 1 << 20])];

        assert_eq!(put_patience(&[]), PATIENCE);
        assert_eq!(put_patience(&input), PATIENCE + Duration::from_secs(16));
    }
}
