//! The key file: where an installation keeps its keys, readable by its own user only.
//!
//! The file is text: a comment, a line with name and version of the format, and a line per key with
//! its age, id and bytes. It is never written in place: a new file is made beside it, readable by
//! its owner from its first moment, and takes its name in one step.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use rustix::{fs::OFlags, process::geteuid};
use zeroize::Zeroizing;

use crate::{KeyId, KeyRing, MasterKey, RandomError, Redacted, random};

/// A ring of keys and where it came from.
#[derive(Debug)]
pub struct Loaded {
    /// The keys.
    pub ring: KeyRing,
    /// Where they came from.
    pub origin: Origin,
}

/// Where keys came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// They stood in the file.
    Found,
    /// There was no file; they were made and the file with them.
    Created,
}

/// Why a key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is none.
    #[error("there is no key file at {0}; bring the key with `portway key import`")]
    Missing(Utf8PathBuf),
    /// Others may read or write it.
    #[error(
        "others can use the key file {path} (mode {mode:04o}); run `chmod 600 {path}`, \
         and `portway key rotate` if it was exposed"
    )]
    Exposed {
        /// The file.
        path: Utf8PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// Another user owns it.
    #[error(
        "the key file {path} belongs to user {owner}, and this process runs as user {user}; \
         run as user {owner}, or `chown {user} {path}`"
    )]
    Owner {
        /// The file.
        path: Utf8PathBuf,
        /// Who owns it.
        owner: u32,
        /// Who wants to use it.
        user: u32,
    },
    /// A folder, device or pipe.
    #[error("{0} is not a file")]
    NotAFile(Utf8PathBuf),
    /// The text in it is not what was written.
    #[error("the key file {path} is damaged; bring the key back with `portway key import`")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// What is wrong.
        #[source]
        source: KeyTextError,
    },
    /// It cannot be read.
    #[error("cannot read the key file {path}")]
    Read {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("cannot write the key file {path}")]
    Write {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No key could be made.
    #[error(transparent)]
    Random(#[from] RandomError),
}

/// Why a text holds no keys. Messages name lines, never what stands in them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// It does not begin as such a text does.
    #[error("the line `{HEADER} {VERSION}` is missing")]
    Header,
    /// A later version wrote it.
    #[error("it has the format `{0}`, which a later version of Portway writes; update")]
    Version(String),
    /// A line is not a key.
    #[error("line {0} is not a key")]
    Line(usize),
    /// The bytes of a key are not those of its id.
    #[error("the key of line {0} does not fit its id")]
    Mismatch(usize),
    /// No line, or several, have the current key.
    #[error("it must hold exactly one current key")]
    Current,
}

const HEADER: &str = "portway-master-key";
const VERSION: &str = "1";
const COMMENT: &str = "\
# The master key of this Portway installation: it opens everything that is kept sealed.
# Keep this file secret, and a copy of the key elsewhere: `portway key export`.
";
/// Far beyond any ring; whatever is longer is another file.
const MAX_LEN: u64 = 64 * 1024;

/// Reads the key file.
pub fn load(path: &Utf8Path) -> Result<KeyRing, KeyFileError> {
    let read = |source: io::Error| {
        if source.kind() == io::ErrorKind::NotFound {
            KeyFileError::Missing(path.to_owned())
        } else {
            KeyFileError::Read { path: path.to_owned(), source }
        }
    };
    // Without NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(read)?;
    // Judged on the open file, so that it cannot be exchanged in between.
    let about = file.metadata().map_err(read)?;
    if !about.is_file() {
        return Err(KeyFileError::NotAFile(path.to_owned()));
    }
    check_access(path, about.mode(), about.uid(), geteuid().as_raw())?;
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_LEN).read_to_string(&mut text).map_err(read)?;
    parse(&text).map_err(|source| KeyFileError::Damaged { path: path.to_owned(), source })
}

/// Reads the key file, or makes it where there is none.
pub fn load_or_create(path: &Utf8Path) -> Result<Loaded, KeyFileError> {
    let found = |ring| Loaded { ring, origin: Origin::Found };
    match load(path) {
        Err(KeyFileError::Missing(_)) => {}
        other => return other.map(found),
    }
    let ring = KeyRing::generate()?;
    let fresh = write_beside(path, &ring)?;
    // A link takes the name only where it is free: of two processes one wins, and both use its key.
    let linked = fs::hard_link(&fresh, path);
    fs::remove_file(&fresh).map_err(write_error(path))?;
    match linked {
        Ok(()) => {
            sync_folder(path).map_err(write_error(path))?;
            Ok(Loaded { ring, origin: Origin::Created })
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => load(path).map(found),
        Err(error) => Err(write_error(path)(error)),
    }
}

/// Writes the key file, in place of the one there may be.
pub fn replace(path: &Utf8Path, ring: &KeyRing) -> Result<(), KeyFileError> {
    let fresh = write_beside(path, ring)?;
    if let Err(error) = fs::rename(&fresh, path) {
        fs::remove_file(&fresh).map_err(write_error(path))?;
        return Err(write_error(path)(error));
    }
    sync_folder(path).map_err(write_error(path))
}

/// Only the owner may have any right, and the owner must be who runs this: whoever else owns the
/// file knows the key or can exchange it.
fn check_access(path: &Utf8Path, mode: u32, owner: u32, user: u32) -> Result<(), KeyFileError> {
    if owner != user {
        return Err(KeyFileError::Owner { path: path.to_owned(), owner, user });
    }
    let mode = mode & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    Ok(())
}

/// Writes the ring to a new file in the same folder and returns its path.
fn write_beside(path: &Utf8Path, ring: &KeyRing) -> Result<Utf8PathBuf, KeyFileError> {
    let suffix = hex::encode(*random::bytes::<8>()?);
    let fresh = Utf8PathBuf::from(format!("{path}.{suffix}.new"));
    let written = write_new(&fresh, &format(ring));
    if let Err(error) = written {
        if error.kind() != io::ErrorKind::AlreadyExists && fresh.exists() {
            fs::remove_file(&fresh).map_err(write_error(path))?;
        }
        return Err(write_error(path)(error));
    }
    Ok(fresh)
}

fn write_new(path: &Utf8Path, text: &Redacted<String>) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text.expose().as_bytes())?;
    file.sync_all()
}

/// A new name is lasting only once its folder is.
fn sync_folder(path: &Utf8Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| *folder != "").unwrap_or(Utf8Path::new("."));
    File::open(folder)?.sync_all()
}

fn write_error(path: &Utf8Path) -> impl Fn(io::Error) -> KeyFileError + '_ {
    move |source| KeyFileError::Write { path: path.to_owned(), source }
}

/// Returns the text of a ring.
pub(crate) fn format(ring: &KeyRing) -> Redacted<String> {
    let keys: Vec<_> = std::iter::once(ring.current()).chain(ring.older()).collect();
    // Large enough from the start: growing would leave copies of keys in freed memory.
    let mut text = String::with_capacity(COMMENT.len() + 64 + 128 * keys.len());
    for part in [COMMENT, HEADER, " ", VERSION, "\n"] {
        text.push_str(part);
    }
    for (index, key) in keys.into_iter().enumerate() {
        let age = if index == 0 { "current" } else { "older" };
        let bytes = Redacted::new(STANDARD.encode(key.bytes()));
        for part in [age, " ", &key.id().to_string(), " ", bytes.expose(), "\n"] {
            text.push_str(part);
        }
    }
    Redacted::new(text)
}

/// Reads the text of a ring.
pub(crate) fn parse(text: &str) -> Result<KeyRing, KeyTextError> {
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let (_, header) = lines.next().ok_or(KeyTextError::Header)?;
    let version = header.strip_prefix(HEADER).ok_or(KeyTextError::Header)?.trim();
    if version != VERSION {
        return Err(KeyTextError::Version(version.to_owned()));
    }
    let mut current = None;
    let mut older = Vec::new();
    for (number, line) in lines {
        let (age, key) = parse_key(number, line)?;
        match age {
            "older" => older.push(key),
            "current" if current.is_none() => current = Some(key),
            "current" => return Err(KeyTextError::Current),
            _ => return Err(KeyTextError::Line(number)),
        }
    }
    Ok(KeyRing::with_older(current.ok_or(KeyTextError::Current)?, older))
}

fn parse_key(number: usize, line: &str) -> Result<(&str, MasterKey), KeyTextError> {
    let error = || KeyTextError::Line(number);
    let mut words = line.split_ascii_whitespace();
    let (Some(age), Some(id), Some(bytes), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(error());
    };
    let id: KeyId = id.parse().map_err(|_| error())?;
    let bytes = Zeroizing::new(STANDARD.decode(bytes).map_err(|_| error())?);
    let bytes = bytes.as_slice().try_into().map_err(|_| error())?;
    let key = MasterKey::from_bytes(Zeroizing::new(bytes));
    if key.id() == id { Ok((age, key)) } else { Err(KeyTextError::Mismatch(number)) }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use proptest::prelude::*;

    use super::*;

    fn folder() -> (tempfile::TempDir, Utf8PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = Utf8PathBuf::from_path_buf(folder.path().join("master.key")).unwrap();
        (folder, path)
    }

    #[test]
    fn the_file_is_made_once_and_for_its_owner_only() {
        let (folder, path) = folder();
        let made = load_or_create(&path).unwrap();
        assert_eq!(made.origin, Origin::Created);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);

        let again = load_or_create(&path).unwrap();
        assert_eq!((again.origin, &again.ring), (Origin::Found, &made.ring));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn processes_that_start_at_once_agree_on_one_key() {
        let (folder, path) = folder();
        let rings: Vec<_> = std::thread::scope(|scope| {
            let start = || load_or_create(&path).unwrap().ring;
            let threads: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(rings.iter().all(|ring| *ring == rings[0]));
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_remedy() {
        let (_folder, path) = folder();
        load_or_create(&path).unwrap();
        for mode in [0o640, 0o604, 0o620, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let message = load_or_create(&path).unwrap_err().to_string();
            assert!(message.contains(&format!("chmod 600 {path}")), "{message}");
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let path = Utf8Path::new("master.key");
        let error = check_access(path, 0o100_600, 1000, 0).unwrap_err();
        assert!(matches!(error, KeyFileError::Owner { owner: 1000, user: 0, .. }), "{error}");
        check_access(path, 0o100_600, 1000, 1000).unwrap();
        check_access(path, 0o100_400, 1000, 1000).unwrap();
    }

    #[test]
    fn a_damaged_file_is_never_replaced_by_a_new_key() {
        let (_folder, path) = folder();
        load_or_create(&path).unwrap();
        fs::write(&path, "").unwrap();
        let error = load_or_create(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Damaged { .. }), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[test]
    fn what_is_not_a_file_is_refused_without_waiting() {
        let (folder, path) = folder();
        let error = load(Utf8Path::from_path(folder.path()).unwrap()).unwrap_err();
        assert!(matches!(error, KeyFileError::NotAFile(_)), "{error}");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            path.as_std_path(),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::NotAFile(_))));
    }

    #[test]
    fn a_rotated_ring_takes_the_place_of_the_old_one() {
        let (folder, path) = folder();
        let rotated = load_or_create(&path).unwrap().ring.rotate().unwrap();
        replace(&path, &rotated).unwrap();
        assert_eq!(load(&path).unwrap(), rotated);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn each_fault_of_the_text_is_named() {
        let ring = KeyRing::generate().unwrap();
        let good = format(&ring).expose().clone();
        let key_line = good.lines().last().unwrap();
        let other = KeyRing::generate().unwrap().current().id().to_string();
        let swapped = good.replace(&ring.current().id().to_string(), &other);
        let cases = [
            (String::new(), KeyTextError::Header),
            (good.replace("master-key 1", "master-key 2"), KeyTextError::Version("2".into())),
            (good.replace("current", "present"), KeyTextError::Line(4)),
            (good.replace("current", "older"), KeyTextError::Current),
            (format!("{good}{key_line}\n"), KeyTextError::Current),
            (good.replace('=', ""), KeyTextError::Line(4)),
            (swapped, KeyTextError::Mismatch(4)),
            (format!("{good}what\n"), KeyTextError::Line(5)),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(&text), Err(expected));
        }
    }

    proptest! {
        #[test]
        fn a_ring_is_read_as_written(keys in prop::collection::vec(any::<[u8; 32]>(), 1..5)) {
            let mut keys = keys.into_iter().map(|key| MasterKey::from_bytes(Zeroizing::new(key)));
            let ring = KeyRing::with_older(keys.next().unwrap(), keys);
            prop_assert_eq!(parse(format(&ring).expose()), Ok(ring));
        }

        #[test]
        fn any_text_is_judged_without_harm(text: String) {
            prop_assert!(parse(&text).is_err());
            let headed = format!("{HEADER} {VERSION}\n{text}");
            prop_assert!(parse(&headed).is_err());
        }
    }
}
