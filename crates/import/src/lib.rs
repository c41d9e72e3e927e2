//! Takes over what nginx, Caddy or Traefik was told: reads their configuration and makes sites of it,
//! with a report that names every directive, what became of it and why.
//!
//! Nothing is dropped in silence. What protects a site and cannot be said here leaves its route
//! closed (`access: {allow: []}`) instead of open; what answers requests and there is not here is
//! answered 503. What a directive means that is not known here is not known either, so it closes too.
//!
//! Everything here is pure: files are read through the [`Tree`] that is given.

pub mod adopt;
mod caddy;
mod glob;
mod networks;
mod nginx;
mod node;
mod options;
mod ordered;
mod passwords;
mod paths;
mod report;
mod sites;
mod traefik;
mod tree;
mod upstream;
mod value;

use camino::{Utf8Path, Utf8PathBuf};
use indexmap::IndexMap;
use portway_model::{Name, SiteSpec};
use serde::Serialize;

pub use self::{
    options::Options,
    report::{Detail, Entry, Outcome, text as report_text},
    tree::{Brought, ReadError, Tree, Wanted},
};

/// What an import found.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Imported {
    /// The sites, as written; each can be applied.
    pub sites: IndexMap<Name, SiteSpec>,
    /// Every directive, in the order in which files were read.
    pub entries: Vec<Entry>,
}

/// Why nothing could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ImportError {
    /// The configuration itself cannot be read.
    #[error("{0}")]
    Unreadable(String),
}

/// Returns what Portway itself puts into the folders of an engine.
pub fn usual_own(layout: &portway_engine::Layout) -> Vec<Utf8PathBuf> {
    vec![layout.home.clone(), layout.reached_by.clone()]
}

impl Imported {
    /// Returns the sites as a site file.
    pub fn site_file(&self) -> String {
        portway_sitefile::export(&self.sites)
    }

    /// Returns the report as text: every directive, or those that are not simply converted.
    pub fn report(&self, detail: Detail) -> String {
        report::text(&self.entries, detail)
    }

    /// Returns how many directives became what.
    pub fn count(&self, outcome: Outcome) -> usize {
        self.entries.iter().filter(|entry| entry.outcome == outcome).count()
    }
}

/// Reads a configuration of nginx: `nginx.conf`, or a file with servers alone.
pub fn nginx(path: &Utf8Path, tree: &dyn Tree, options: &Options) -> Result<Imported, ImportError> {
    nginx::import(path, tree, options)
}

/// Reads a Caddyfile.
pub fn caddy(path: &Utf8Path, tree: &dyn Tree, options: &Options) -> Result<Imported, ImportError> {
    caddy::import(path, tree, options)
}

/// Reads a folder of Traefik's file provider, or one file of it.
pub fn traefik(
    path: &Utf8Path,
    tree: &dyn Tree,
    options: &Options,
) -> Result<Imported, ImportError> {
    traefik::import(path, tree, options)
}
