//! Listings of folders: a page for people, JSON for programs. Only what a request could get stands in
//! them: no hidden names, no links that lead out, no pipes or devices.

mod page;

use std::{cmp::Ordering, fs::File, io};

use http::{
    HeaderValue, Response,
    header::{
        CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, VARY,
        X_CONTENT_TYPE_OPTIONS,
    },
};
use jiff::Timestamp;
use portway_model::site::FileRoot;
use rustix::{
    fs::{AtFlags, Dir, FileType, Stat, statat},
    io::Errno,
};
use serde::Serialize;

use super::{
    FileFault,
    find::{Disk, Halt, is_shown},
};
use crate::{
    body::{self, Body},
    pages::accept::View,
};

/// The most entries that are listed.
const MOST: usize = 10_000;

/// What lies in a folder.
#[derive(Debug, Serialize)]
pub(super) struct Listing {
    /// The path of the folder as the client sees it, decoded.
    path: String,
    entries: Vec<Item>,
    /// Whether they are all.
    complete: bool,
    #[serde(skip)]
    order: Order,
    /// Whether there is a folder above that is listed too.
    #[serde(skip)]
    has_parent: bool,
}

/// A listing, written.
pub(super) struct Rendered {
    media: &'static str,
    text: String,
}

/// One entry of a folder.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Item {
    name: String,
    #[serde(rename = "type")]
    kind: Kind,
    /// The bytes of a file.
    #[serde(skip_serializing_if = "Option::is_none")]
    size: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modified: Option<Timestamp>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Folder,
    File,
}

/// How entries are ordered; folders always come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Order {
    by: Column,
    descending: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Name,
    Size,
    Time,
}

/// Reads a folder below a root. Blocks. `path` is below the root, `public_path` as the client sees
/// it, decoded.
pub(super) fn read(
    root: &FileRoot,
    path: &str,
    public_path: String,
    query: Option<&str>,
) -> Result<Listing, FileFault> {
    let mut disk = Disk::waiting(root);
    let failed = |source: io::Error| FileFault::Read { root: root.root.clone(), source };
    let opened = disk.open_any(path).map_err(|halt| match halt {
        Halt::Fault(fault) => fault,
        Halt::WouldWait => failed(io::ErrorKind::WouldBlock.into()),
    })?;
    let folder = opened.ok_or(FileFault::NotFound)?;
    let (mut entries, complete) = items(&mut disk, &folder, path).map_err(failed)?;
    let order = Order::of(query);
    entries.sort_by(|a, b| order.compare(a, b));
    let has_parent = path != ".";
    Ok(Listing { path: public_path, entries, complete, order, has_parent })
}

impl Listing {
    /// Writes it in the form that is wanted.
    pub(super) fn render(&self, view: View) -> Rendered {
        match view {
            View::Data => Rendered { media: "application/json", text: self.json() },
            View::Page | View::Neither => {
                Rendered { media: "text/html; charset=utf-8", text: page::of(self) }
            }
        }
    }

    fn json(&self) -> String {
        // Numbers, names and times can always be written.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Returns the answer that a listing gives.
pub(super) fn answer(rendered: Rendered) -> Response<Body> {
    let length = rendered.text.len();
    let mut response = Response::new(body::full(rendered.text));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(rendered.media));
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(VARY, HeaderValue::from_static("accept"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    response
}

/// Returns what may be seen in a folder, and whether that is all.
fn items(disk: &mut Disk<'_>, folder: &File, path: &str) -> io::Result<(Vec<Item>, bool)> {
    let mut items = Vec::new();
    for entry in Dir::read_from(folder)? {
        let entry = entry?;
        // What is not UTF-8 cannot be asked for.
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with('.') || !is_shown(name) {
            continue;
        }
        if items.len() == MOST {
            return Ok((items, false));
        }
        items.extend(item(disk, folder, path, name)?);
    }
    Ok((items, true))
}

fn item(disk: &mut Disk<'_>, folder: &File, path: &str, name: &str) -> io::Result<Option<Item>> {
    let stat = match statat(folder, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => stat,
        // It went away meanwhile.
        Err(Errno::NOENT) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        return Ok(Item::of(name, &stat));
    }
    let path = if path == "." { name.to_owned() } else { format!("{path}/{name}") };
    match disk.open_any(&path) {
        Ok(Some(target)) => Ok(Item::of(name, &rustix::fs::fstat(&target)?)),
        Ok(None) | Err(_) => Ok(None),
    }
}

impl Item {
    fn of(name: &str, stat: &Stat) -> Option<Self> {
        let (kind, size) = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => (Kind::Folder, None),
            FileType::RegularFile => (Kind::File, u64::try_from(stat.st_size).ok()),
            FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => return None,
        };
        let modified = Timestamp::from_second(stat.st_mtime).ok();
        Some(Self { name: name.to_owned(), kind, size, modified })
    }
}

impl Order {
    /// Reads `sort` and `order` of a query; what they do not say is by name, rising.
    fn of(query: Option<&str>) -> Self {
        let mut order = Self { by: Column::Name, descending: false };
        for pair in query.unwrap_or_default().split('&') {
            match pair {
                "sort=name" => order.by = Column::Name,
                "sort=size" => order.by = Column::Size,
                "sort=time" => order.by = Column::Time,
                "order=asc" => order.descending = false,
                "order=desc" => order.descending = true,
                _ => {}
            }
        }
        order
    }

    fn compare(self, a: &Item, b: &Item) -> Ordering {
        let by_name = || {
            let (low, high) = (a.name.to_lowercase(), b.name.to_lowercase());
            low.cmp(&high).then_with(|| a.name.cmp(&b.name))
        };
        let ordered = match self.by {
            Column::Name => by_name(),
            Column::Size => a.size.cmp(&b.size).then_with(by_name),
            Column::Time => a.modified.cmp(&b.modified).then_with(by_name),
        };
        let ordered = if self.descending { ordered.reverse() } else { ordered };
        a.kind.cmp(&b.kind).then(ordered)
    }
}

impl Column {
    const ALL: [Self; 3] = [Self::Name, Self::Size, Self::Time];

    fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Size => "size",
            Self::Time => "time",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_come_first_and_the_rest_as_it_is_asked_for() {
        let item = |name: &str, size: Option<u64>, second| Item {
            name: name.to_owned(),
            kind: if size.is_some() { Kind::File } else { Kind::Folder },
            size,
            modified: Timestamp::from_second(second).ok(),
        };
        for (query, expected) in [
            (None, ["sub", "a", "B", "c"]),
            (Some("order=desc"), ["sub", "c", "B", "a"]),
            (Some("sort=size"), ["sub", "c", "a", "B"]),
            (Some("sort=size&order=desc"), ["sub", "B", "a", "c"]),
            (Some("sort=time"), ["sub", "B", "c", "a"]),
            (Some("x=1&sort=nonsense"), ["sub", "a", "B", "c"]),
        ] {
            let order = Order::of(query);
            let mut items = [
                item("B", Some(30), 1),
                item("a", Some(20), 3),
                item("sub", None, 9),
                item("c", Some(10), 2),
            ];
            items.sort_by(|a, b| order.compare(a, b));
            let names: Vec<_> = items.iter().map(|item| item.name.as_str()).collect();
            assert_eq!(names, expected, "{query:?}");
        }
    }
}
