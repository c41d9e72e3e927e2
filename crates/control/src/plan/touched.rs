//! The sites that a plan is about.

use std::collections::BTreeMap;

use portway_model::{Id, Name, NodeSelector, RevisionNumber, Site};
use portway_store::SiteRow;

/// So many sites are planned with what is written for them; of the others only where they come and go
/// is told.
pub(crate) const IN_FULL: usize = 500;

/// A site that a plan is about.
#[derive(Debug)]
pub(crate) struct TouchedSite {
    pub(crate) id: Id<Site>,
    pub(crate) name: Name,
    /// What is declared of it now; nothing where it is new.
    pub(crate) before: Option<Declared>,
    /// The nodes that it is to be on; nothing where it goes.
    pub(crate) after: Option<Vec<NodeSelector>>,
    /// Whether it stays as it is, and only whose it is changes.
    pub(crate) is_same: bool,
    /// As it is and is to be; nothing where it is one too many.
    pub(crate) rows: Option<Box<Rows>>,
}

/// What is declared of a site.
#[derive(Debug)]
pub(crate) struct Declared {
    pub(crate) revision: RevisionNumber,
    pub(crate) nodes: Vec<NodeSelector>,
}

/// A site as it is and is to be.
#[derive(Debug)]
pub(crate) struct Rows {
    pub(crate) before: Option<SiteRow>,
    pub(crate) after: Option<SiteRow>,
    /// What stands for secrets that are made when the site is written, by reference.
    pub(crate) to_come: BTreeMap<String, String>,
}

impl TouchedSite {
    /// Returns the revision that a plan is made of; nothing for a new site.
    pub(super) fn revision(&self) -> Option<i64> {
        self.before.as_ref().map(|before| before.revision.0)
    }
}
