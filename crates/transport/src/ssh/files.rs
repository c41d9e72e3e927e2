//! Files on a node: what the scripts are given, and what they say.
//!
//! Everything is one round trip. Paths are arguments, contents go through standard input.

use std::{fmt::Write as _, time::Duration};

use bytes::Bytes;
use camino::{Utf8Path, Utf8PathBuf};
use portway_policy::Digest;

use super::{
    listing::{self, Unread},
    tar::Archive,
};
use crate::{Argv, Entry, Output, Status, TransportError, Upload, argv::ArgvError, said::Speaker};

const PUT: &str = include_str!("scripts/put.sh");
const LIST: &str = include_str!("scripts/list.sh");
const RELINK: &str = include_str!("scripts/relink.sh");

/// Up to how many files are named to the script.
const NAMED: usize = 16;

/// How long a script may take on a node that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);
/// How many bytes arrive each second on the slowest link that is waited for.
const SLOWEST: u64 = 64 << 10;

/// The codes of the scripts, for what has a remedy of its own.
const NO_FOLDER: Status = Status::Exited(44);
const NOT_LISTED: Status = Status::Exited(45);
const ODD_NAME: Status = Status::Exited(46);

/// Returns the command that writes the files of a folder.
pub(super) fn put_command(folder: &Utf8Path, files: &[&Upload]) -> Result<Argv, ArgvError> {
    let few = if files.len() <= NAMED { files } else { &[] };
    let names = few.iter().map(|file| format!("./{}", file.name())).collect::<Vec<_>>();
    let arguments = [folder.as_str()].into_iter().chain(names.iter().map(String::as_str));
    script(PUT, &arguments.collect::<Vec<_>>())
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

/// Returns the command that lists folders.
pub(super) fn list_command(folders: &[&Utf8Path]) -> Result<Argv, ArgvError> {
    script(LIST, &folders.iter().map(|folder| folder.as_str()).collect::<Vec<_>>())
}

/// Reads what that command said. `None` where a file vanished while it was being listed, and one
/// should look again.
pub(super) fn list_outcome(
    speaker: Speaker<'_>,
    folders: &[&Utf8Path],
    output: &Output,
) -> Option<Result<Vec<Option<Vec<Entry>>>, TransportError>> {
    let said = output.stderr_text();
    let is_missing = said.contains("No such file or directory");
    let folder = told_of(folders, &said);
    if output.status == NOT_LISTED && said.trim().is_empty() {
        // The folder was made between the two looks at it.
        return None;
    }
    if output.status == ODD_NAME {
        let path = output.stdout_text();
        let path = path.lines().find(|line| !line.starts_with("n ")).unwrap_or_default();
        return Some(Err(odd_name(path.replacen("/./", "/", 1))));
    }
    if !output.is_success() {
        // GNU's readlink says nothing of a link that is gone.
        let is_gone = is_missing || said.trim().is_empty();
        let vanished = is_gone && output.status != NOT_LISTED;
        let failed = || done(speaker, "list", folder, output).map(|()| Vec::new());
        return (!vanished).then(failed);
    }
    match listing::entries(&output.stdout, folders) {
        Ok(entries) => Some(Ok(entries)),
        Err(Unread::OddName(name)) => Some(Err(odd_name(name))),
        // Not every `find` tells that what it ran has failed.
        Err(Unread::Incomplete) if said.trim().is_empty() || is_missing => None,
        Err(Unread::Incomplete) => Some(Err(speaker.failure("list", folder.as_str(), &said))),
        Err(Unread::Line(line)) => {
            let said = format!("a line that cannot be read: `{line}`");
            Some(Err(TransportError::File { doing: "list", path: folder.to_string(), said }))
        }
    }
}

/// Returns the folder that an error is about; where it names none, the first.
fn told_of<'a>(folders: &[&'a Utf8Path], said: &str) -> &'a Utf8Path {
    let named = folders.iter().filter(|folder| said.contains(folder.as_str()));
    let longest = named.max_by_key(|folder| folder.as_str().len());
    longest.or(folders.first()).copied().unwrap_or(Utf8Path::new("/"))
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

#[cfg(test)]
mod tests {
    use super::*;

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
