//! Log files that are put aside: `main.access.log` becomes `main.access.2026-01-02T03-04-05Z.log`,
//! and the oldest of them go.

use std::{fs, io};

use camino::{Utf8Path, Utf8PathBuf};
use jiff::{Timestamp, fmt::strtime};

const STAMP: &str = "%Y-%m-%dT%H-%M-%SZ";

/// When a file was put aside, and its number within that second.
type Age = (Timestamp, u32);

/// Puts a file aside and removes the oldest ones beyond `keep`.
pub(super) fn put_aside(path: &Utf8Path, time: Timestamp, keep: u32) -> io::Result<()> {
    let Some((folder, stem)) = path.parent().zip(path.file_stem()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let aside = free_name(folder, stem, time)?;
    match fs::rename(path, aside) {
        // Someone else put it aside or removed it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        other => other?,
    }
    prune(folder, stem, keep)
}

fn free_name(folder: &Utf8Path, stem: &str, time: Timestamp) -> io::Result<Utf8PathBuf> {
    let stamp = time.strftime(STAMP);
    for number in 0..u32::MAX {
        let name = match number {
            0 => format!("{stem}.{stamp}.log"),
            number => format!("{stem}.{stamp}.{number}.log"),
        };
        let path = folder.join(name);
        if !path.try_exists()? {
            return Ok(path);
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

fn prune(folder: &Utf8Path, stem: &str, keep: u32) -> io::Result<()> {
    let mut aside: Vec<(Age, Utf8PathBuf)> = Vec::new();
    for entry in folder.read_dir_utf8()? {
        let entry = entry?;
        if let Some(age) = age_of(entry.file_name(), stem) {
            aside.push((age, entry.path().to_owned()));
        }
    }
    aside.sort();
    let surplus = aside.len().saturating_sub(usize::try_from(keep).unwrap_or(usize::MAX));
    for (_, path) in aside.iter().take(surplus) {
        fs::remove_file(path)?;
    }
    Ok(())
}

/// Returns the age in a file's name; nothing when it is not one that was put aside.
fn age_of(name: &str, stem: &str) -> Option<Age> {
    let age = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(".log")?;
    let (stamp, number) = match age.split_once('.') {
        Some((stamp, number)) => (stamp, number.parse().ok()?),
        None => (age, 0),
    };
    let time = strtime::parse(STAMP, stamp).ok()?.to_datetime().ok()?;
    let time = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
    Some((time, number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_put_aside_from_this_log_have_an_age() {
        let age = |name| age_of(name, "main.access");
        assert!(age("main.access.2026-01-02T03-04-05Z.log").is_some());
        assert!(
            age("main.access.2026-01-02T03-04-05Z.log")
                < age("main.access.2026-01-02T03-04-05Z.1.log")
        );
        assert!(
            age("main.access.2026-01-02T03-04-05Z.10.log")
                > age("main.access.2026-01-02T03-04-05Z.9.log")
        );
        for name in [
            "main.access.log",
            "main.error.2026-01-02T03-04-05Z.log",
            "other.access.2026-01-02T03-04-05Z.log",
            "main.access.2026-01-02T03-04-05Z.access.log",
            "main.access.2026-01-02T03-04-05Z.log.gz",
            "main.access.notes.log",
        ] {
            assert_eq!(age(name), None, "{name}");
        }
    }
}
