//! Files of logs on a node, read piece by piece.
//!
//! Whoever follows a log lists its files and reads what has grown, again and again: nothing stays
//! running on the node, so nothing is left behind there when the link is cut or the reader leaves. A file
//! is known by its inode, so that one that is put aside under another name is read to its end.

use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use portway_transport::{Argv, Status, Transport, TransportError};

/// Tells the time zone, and lists files by inode, size and name. Both coreutils and busybox know `stat -c`.
const LIST: &str = "date +%z\ncd \"$1\" 2>/dev/null || { [ -e \"$1\" ] && exit 45; exit 44; }\n\
                    shift\nstat -c '%i %s %n' -- $* 2>/dev/null\n[ -r . ] || exit 45\nexit 0";
/// Prints a piece of a file, if it is still the one that was meant.
const READ: &str = "[ -e \"$1\" ] || exit 46\nexec 3<\"$1\" || exit 45\n\
                    [ \"$(stat -L -c %i /proc/self/fd/3)\" = \"$2\" ] || exit 46\n\
                    tail -c \"+$3\" <&3 | head -c \"$4\"";
/// So much a list of files may be long: 100,000 files with long names.
const MOST_LISTED: usize = 16 << 20;
/// So much the journal may answer at once.
const MOST_OF_JOURNAL: usize = 16 << 20;
/// So much is heard of what went wrong, however little is to be read.
const MOST_SAID: u64 = 4096;
/// How long one step may take.
const DEADLINE: Duration = Duration::from_secs(15);

const NO_FOLDER: Status = Status::Exited(44);
const CLOSED: Status = Status::Exited(45);
const ANOTHER: Status = Status::Exited(46);

/// A file of a log on a node.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RemoteLog {
    /// Where it is.
    pub path: Utf8PathBuf,
    /// What it is, whatever its name.
    pub inode: u64,
    /// How long it is, in bytes.
    pub size: u64,
}

/// What a folder holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listing {
    /// The files.
    pub files: Vec<RemoteLog>,
    /// How far the node's time is from UTC: `+0100`.
    pub zone: String,
}

/// Why a log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The node cannot be spoken with.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// Whoever logs in may not read it.
    #[error(
        "{0} may not be read by whoever logs in to the node; let it be read there (`setfacl -m u:USER:rX`, or the group that it belongs to)"
    )]
    Closed(Utf8PathBuf),
    /// What came back is not understood.
    #[error("the files of {0} cannot be listed: `{1}`")]
    Odd(Utf8PathBuf, String),
}

/// Lists the files of a folder whose names fit one of some patterns of the shell. A folder that is not
/// there has none.
///
/// # Errors
/// When the node cannot be spoken with or does not let them be seen.
pub async fn list_logs<T: Transport>(
    transport: &T,
    folder: &Utf8Path,
    patterns: &[&str],
) -> Result<Listing, LogError> {
    let words =
        ["-c", LIST, "portway", folder.as_str()].into_iter().chain(patterns.iter().copied());
    let argv = Argv::new("sh", words).map_err(TransportError::from)?;
    let argv = argv.printing_at_most(MOST_LISTED).for_readers();
    let output = transport.run(&argv, &[], DEADLINE).await?;
    if output.status == NO_FOLDER {
        return Ok(Listing::default());
    }
    if output.status == CLOSED {
        return Err(LogError::Closed(folder.to_owned()));
    }
    let text = output.stdout_text();
    let mut lines = text.lines();
    let zone = lines.next().unwrap_or_default().to_owned();
    let files = lines.map(|line| {
        let odd = || LogError::Odd(folder.to_owned(), line.to_owned());
        let mut words = line.splitn(3, ' ');
        let mut number = || words.next().and_then(|word| word.parse().ok());
        let (inode, size) = (number().ok_or_else(odd)?, number().ok_or_else(odd)?);
        let name = words.next().ok_or_else(odd)?;
        Ok(RemoteLog { path: folder.join(name), inode, size })
    });
    Ok(Listing { files: files.collect::<Result<_, LogError>>()?, zone })
}

/// Reads a piece of a file; nothing where another file has its name by now.
///
/// # Errors
/// When the node cannot be spoken with, does not let it be read, or sends more than `most` bytes.
pub async fn read_log<T: Transport>(
    transport: &T,
    file: &RemoteLog,
    offset: u64,
    most: u64,
) -> Result<Option<Vec<u8>>, LogError> {
    let limit = usize::try_from(most.max(MOST_SAID)).unwrap_or(usize::MAX);
    let (inode, from, most) =
        (file.inode.to_string(), offset.saturating_add(1).to_string(), most.to_string());
    let words = ["-c", READ, "portway", file.path.as_str(), &inode, &from, &most];
    let argv = Argv::new("sh", words).map_err(TransportError::from)?;
    let argv = argv.printing_at_most(limit).for_readers();
    let output = transport.run(&argv, &[], DEADLINE).await?;
    if output.status == ANOTHER {
        return Ok(None);
    }
    if output.status == CLOSED
        || output.status == Status::Exited(1)
        || output.status == Status::Exited(2)
    {
        return Err(LogError::Closed(file.path.clone()));
    }
    Ok(Some(output.stdout))
}

/// Why the journal of a node cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The node cannot be spoken with.
    #[error(transparent)]
    Transport(#[from] TransportError),
    /// There is none, or it may not be read.
    #[error(
        "the engine logs to its standard error, and the node's journal does not tell it: {0}; let whoever logs in read the journal (group `systemd-journal`), or have the engine log to a file"
    )]
    Closed(String),
}

/// Returns lines that a service wrote, as the node's journal has them: the last ones, or those after a
/// cursor; and the cursor after them.
///
/// # Errors
/// When the node cannot be spoken with, or has no journal that may be read.
pub async fn journal<T: Transport>(
    transport: &T,
    service: &str,
    after: Option<&str>,
    lines: usize,
) -> Result<(Vec<String>, Option<String>), JournalError> {
    let unit = format!("{service}.service");
    let from = match after {
        Some(cursor) => format!("--after-cursor={cursor}"),
        None => format!("--lines={lines}"),
    };
    let words =
        ["--unit", &unit, "--output", "short-iso", "--no-pager", "--quiet", "--show-cursor", &from];
    let argv = Argv::new("journalctl", words).map_err(TransportError::from)?;
    let argv = argv.printing_at_most(MOST_OF_JOURNAL).for_readers();
    let output = transport.run(&argv, &[], DEADLINE).await?;
    if !output.is_success() {
        let said = format!("{}{}", output.stderr_text().trim(), output.stdout_text().trim());
        return Err(JournalError::Closed(said));
    }
    let text = output.stdout_text();
    let cursor = text.lines().rev().find_map(|line| line.strip_prefix("-- cursor: "));
    let lines = text.lines().filter(|line| !line.starts_with("-- ")).map(str::to_owned);
    Ok((lines.collect(), cursor.map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    use portway_transport::{Local, SEARCH_PATH};

    use super::*;

    /// A machine whose `head` prints what this script does.
    fn with_head(folder: &Utf8Path, script: &str) -> Local {
        let head = folder.join("head");
        std::fs::write(&head, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&head, std::fs::Permissions::from_mode(0o755)).unwrap();
        Local::new().with_search_path(format!("{folder}:{SEARCH_PATH}"))
    }

    #[tokio::test]
    async fn more_than_was_asked_for_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let folder = Utf8Path::from_path(folder.path()).unwrap();
        let path = folder.join("main.access.log");
        std::fs::write(&path, "one\ntwo\n").unwrap();
        let file = RemoteLog { inode: std::fs::metadata(&path).unwrap().ino(), size: 8, path };

        let honest = read_log(&Local::new(), &file, 4, 8192).await.unwrap().unwrap();
        let liar = with_head(folder, "exec /usr/bin/head -c 8193 /dev/zero");
        let refused = read_log(&liar, &file, 0, 8192).await;

        assert_eq!(honest, b"two\n");
        let is_refused = matches!(
            refused,
            Err(LogError::Transport(TransportError::TooLong { limit: 8192, .. }))
        );
        assert!(is_refused, "{refused:?}");
    }
}
