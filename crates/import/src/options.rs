//! What is said beside the files.

use camino::{Utf8Path, Utf8PathBuf};

/// How an import is made.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// The nodes that are to serve the sites; nothing is said where there are none.
    pub nodes: Vec<String>,
    /// Sites whose requests were limited (`limit_req`, rate limits) are open without these limits
    /// instead of closed.
    pub without_limits: bool,
    /// Files and folders that Portway put there itself; they are passed over.
    pub own: Vec<Utf8PathBuf>,
    /// Names that sites have already; none is given twice.
    pub taken: Vec<String>,
}

impl Options {
    /// Tells whether Portway put a file there.
    pub(crate) fn is_own(&self, path: &Utf8Path) -> bool {
        self.own.iter().any(|own| path.starts_with(own))
    }
}
