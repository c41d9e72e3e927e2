//! Revisions: the history of intent.

use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{Id, ResourceKind, User};

/// The number of a revision; the first is 1, each later one greater than all before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RevisionNumber(pub i64);

/// One change of what is declared: who, when, why, and the new version of each thing it touched.
/// It never changes afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Revision {
    /// Its number.
    pub number: RevisionNumber,
    /// Who made it; nobody for what Portway did by itself.
    pub author: Option<Id<User>>,
    /// The author's name at that time.
    pub author_name: String,
    /// When.
    pub created_at: Timestamp,
    /// Why, in the author's words, or what was done.
    pub message: String,
    /// Where it came from.
    pub origin: Origin,
}

/// What a revision did to one thing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The revision.
    pub revision: RevisionNumber,
    /// The kind of thing.
    pub kind: ResourceKind,
    /// The thing's id.
    pub id: uuid::Uuid,
    /// The thing's name.
    pub name: String,
    /// Its owner at that time; nobody for what belongs to the installation.
    pub owner: Option<Id<User>>,
    /// The new version as it was written; nothing when it was deleted.
    pub spec: Option<serde_json::Value>,
}

/// Where a declaration came from. `apply` prunes only what it made itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Origin {
    /// The API, and through it the command line.
    Api,
    /// The console.
    Console,
    /// A site file, by the name under which it is applied.
    File(String),
    /// Taken over from another system.
    Import,
    /// Portway's own doing: the first site, a reset.
    System,
}

impl fmt::Display for RevisionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Api => f.write_str("api"),
            Self::Console => f.write_str("console"),
            Self::File(name) => write!(f, "file {name}"),
            Self::Import => f.write_str("import"),
            Self::System => f.write_str("portway"),
        }
    }
}
