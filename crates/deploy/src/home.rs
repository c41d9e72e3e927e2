//! Portway's own folder on a node.

use camino::{Utf8Path, Utf8PathBuf};
use portway_engine::Layout;
use portway_policy::Digest;

/// How the names of lists of objects end.
const LIST: &str = "objects";

/// The paths in it.
#[derive(Clone, Debug)]
pub(crate) struct Home {
    pub(crate) turns: Utf8PathBuf,
    pub(crate) objects: Utf8PathBuf,
    pub(crate) releases: Utf8PathBuf,
}

impl Home {
    pub(crate) fn of(layout: &Layout) -> Self {
        Self {
            turns: layout.home.join("turns"),
            objects: layout.objects(),
            releases: layout.releases(),
        }
    }
}

/// Returns the digest that a file is named after: `<digest>.<extension>`.
pub(crate) fn named(file_name: &str) -> Option<Digest> {
    file_name.split('.').next().and_then(|stem| stem.parse().ok())
}

/// Tells whether a file of the folder of releases is an entry, and not the list beside one.
pub(crate) fn is_entry(file_name: &str) -> bool {
    Utf8Path::new(file_name).extension() != Some(LIST)
}

/// Returns the list of the objects that a release names, beside its entry.
pub(crate) fn list_of(entry: &Utf8Path) -> Utf8PathBuf {
    entry.with_extension(LIST)
}
