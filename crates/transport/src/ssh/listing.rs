//! What a node's listing of a folder says. It comes from foreign programs on a foreign machine, so
//! nothing in it is believed that does not fit together.

use std::collections::BTreeMap;

use crate::{Content, Entry, file::is_odd};
use camino::{Utf8Path, Utf8PathBuf};

/// The kinds of entries, as they stand in their modes.
const KIND: u32 = 0o17_0000;
const FILE: u32 = 0o10_0000;
const FOLDER: u32 = 0o04_0000;
const LINK: u32 = 0o12_0000;

/// Why a listing cannot be used.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Unread {
    /// This name could be read in more than one way.
    OddName(String),
    /// Something is listed and not described, or the other way round: it came, went or became something
    /// else meanwhile, or could not be read.
    Incomplete,
    /// This line says nothing that is known.
    Line(String),
}

/// What a listing says of an entry: what it is, and what was read of it.
#[derive(Default)]
struct Told {
    stated: Option<(u32, u64)>,
    content: Option<Content>,
}

/// Reads a listing of some folders: every entry with its mode and size first, then digests of files and
/// targets of links. A folder that is not there has no entries, which is something else than none in it.
pub(super) fn entries(
    listing: &[u8],
    folders: &[&Utf8Path],
) -> Result<Vec<Option<Vec<Entry>>>, Unread> {
    let Ok(listing) = std::str::from_utf8(listing) else {
        return Err(Unread::OddName(String::from_utf8_lossy(listing).into_owned()));
    };
    let mut all: BTreeMap<&str, BTreeMap<&str, Told>> =
        folders.iter().map(|folder| (key(folder), BTreeMap::new())).collect();
    let mut lines = listing.lines();
    while let Some(line) = lines.next() {
        let unread = || Unread::Line(line.escape_debug().to_string());
        if let Some(missing) = line.strip_prefix("n ") {
            all.remove(key(Utf8Path::new(missing))).ok_or_else(unread)?;
            continue;
        }
        let (before, name) = line.split_once("/./").ok_or_else(unread)?;
        let (what, folder) = before.split_at(before.find('/').unwrap_or(before.len()));
        let folder = all.get_mut(folder).ok_or_else(unread)?;
        let told = folder.entry(checked(name)?).or_default();
        if let Some(stated) = what.strip_prefix("s ") {
            told.stated = Some(stated_of(stated).ok_or_else(unread)?);
            continue;
        }
        // What came, or became something else, after the modes were read, is looked at again.
        let (kind, size) = told.stated.ok_or(Unread::Incomplete)?;
        told.content = Some(match kind {
            FILE if what == "l " => return Err(Unread::Incomplete),
            FILE => {
                let digest = what.strip_suffix("  ").and_then(|digest| digest.parse().ok());
                Content::File { size, digest: digest.ok_or_else(unread)? }
            }
            LINK if what == "l " => {
                let target = lines.next().filter(|target| !target.is_empty());
                Content::Link { target: Utf8PathBuf::from(target.ok_or_else(unread)?) }
            }
            LINK => return Err(Unread::Incomplete),
            _ => return Err(unread()),
        });
    }
    let of = |folder: &&Utf8Path| all.get(key(folder)).map(whole).transpose();
    folders.iter().map(of).collect()
}

/// A folder as its path stands before `/./`.
fn key(folder: &Utf8Path) -> &str {
    folder.as_str().trim_end_matches('/')
}

fn whole(entries: &BTreeMap<&str, Told>) -> Result<Vec<Entry>, Unread> {
    let entry = |(name, told): (&&str, &Told)| {
        let content = match (told.stated, &told.content) {
            (Some((FILE | LINK, _)), content) => content.clone(),
            (Some((FOLDER, _)), None) => Some(Content::Folder),
            (Some(_), None) => Some(Content::Other),
            (_, _) => None,
        };
        let content = content.ok_or(Unread::Incomplete)?;
        Ok(Entry { name: (*name).to_owned(), content })
    };
    entries.iter().map(entry).collect()
}

/// `81a4 12 `: mode and size.
fn stated_of(text: &str) -> Option<(u32, u64)> {
    let (mode, size) = text.strip_suffix(' ')?.split_once(' ')?;
    let mode = u32::from_str_radix(mode, 16).ok()?;
    Some((mode & KIND, size.parse().ok()?))
}

fn checked(name: &str) -> Result<&str, Unread> {
    if name.is_empty() || name.contains('/') || name.chars().any(is_odd) {
        return Err(Unread::OddName(name.to_owned()));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use portway_policy::Digest;
    use proptest::prelude::*;

    use super::*;

    /// Reads a listing of one folder, whose entries stand there without it.
    fn entries(listing: &[u8]) -> Result<Vec<Entry>, Unread> {
        let folder = Utf8Path::new("/");
        let all = super::entries(listing, &[folder])?;
        Ok(all.into_iter().next().flatten().unwrap_or_default())
    }

    #[test]
    fn what_changes_while_it_is_listed_is_looked_at_again() {
        let digest = Digest::of(b"x");
        for listing in [
            "l /./.portway-next-7\n/x\n".to_owned(),
            "s 81a4 1 /./a\nl /./a\n/x\n".to_owned(),
            format!("{digest}  /./a"),
            format!("s a1ff 1 /./a\n{digest}  /./a"),
        ] {
            assert_eq!(entries(listing.as_bytes()), Err(Unread::Incomplete), "{listing}");
        }
    }

    #[test]
    fn several_folders_are_told_apart() {
        let digest = Digest::of(b"x");
        let listing = format!(
            "n /gone\ns 81a4 1 /a b/./x\ns 81a4 2 /a/./x\n{digest}  /a/./x\n{digest}  /a b/./x\n"
        );
        let folders = ["/a", "/gone", "/a b", "/empty"].map(Utf8Path::new);

        let read = super::entries(listing.as_bytes(), &folders).unwrap();

        let file =
            |size| vec![Entry { name: "x".to_owned(), content: Content::File { size, digest } }];
        assert_eq!(read, [Some(file(2)), None, Some(file(1)), Some(Vec::new())]);
        let other = super::entries(b"s 81a4 1 /b/./x\n", &folders);
        assert!(matches!(other, Err(Unread::Line(_))), "{other:?}");
    }

    #[test]
    fn a_listing_is_read() {
        let digest = Digest::of(b"x");
        let listing = format!(
            "s 81a4 1 /./b\ns 81a4 1 /./a  c\ns a1ff 9 /./link\ns 41ed 4096 /./z\ns 11a4 0 /./y\n\
             {digest}  /./b\n{digest}  /./a  c\nl /./link\n/some /./where\n"
        );

        let entries = entries(listing.as_bytes()).unwrap();

        let file = Content::File { size: 1, digest };
        let link = Content::Link { target: Utf8PathBuf::from("/some /./where") };
        let expected = [
            ("a  c", file.clone()),
            ("b", file),
            ("link", link),
            ("y", Content::Other),
            ("z", Content::Folder),
        ];
        let expected = expected.map(|(name, content)| Entry { name: name.to_owned(), content });
        assert_eq!(entries, expected);
    }

    #[test]
    fn a_listing_that_says_something_else_is_an_error() {
        let digest = Digest::of(b"x");
        for listing in [
            "x".to_owned(),
            "s /./a".to_owned(),
            "s 81a4 x /./a".to_owned(),
            "s 81a4 1 /./a\nx  /./a".to_owned(),
            format!("s 41ed 1 /./a\n{digest}  /./a"),
            "s a1ff 1 /./a\nl /./a".to_owned(),
        ] {
            assert!(matches!(entries(listing.as_bytes()), Err(Unread::Line(_))), "{listing}");
        }
        for listing in
            [&b"s 41ed 1 /./"[..], b"s 41ed 1 /./a/b", b"s 41ed 1 /./\xff", b"s 41ed 1 /./a\x7f"]
        {
            assert!(matches!(entries(listing), Err(Unread::OddName(_))), "{listing:?}");
        }
        assert_eq!(entries(b"s 81a4 1 /./a\n"), Err(Unread::Incomplete));
    }

    proptest! {
        #[test]
        fn whatever_is_read_is_a_name_in_the_folder(
            listing in "((s (81a4|a1ff|41ed|[0-9a-f]{1,9}) [0-9]{1,3} |l |[0-9a-f]{64}  |.{0,3})/\\./[a-c/\u{1b}]{0,2}\n){0,9}"
        ) {
            for entry in entries(listing.as_bytes()).unwrap_or_default() {
                prop_assert!(checked(&entry.name).is_ok());
            }
        }
    }
}
