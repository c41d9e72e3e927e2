//! Why the state of an edge cannot be used.

use camino::Utf8PathBuf;

use super::FORMAT;

/// Why the state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another edge has it.
    #[error("another edge uses the state in {path}; stop it, or give this one a folder of its own")]
    InUse {
        /// The file.
        path: Utf8PathBuf,
    },
    /// A folder or file cannot be made.
    #[error("cannot create {path}")]
    Create {
        /// What cannot be made.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A later version wrote it.
    #[error(
        "{path} has format {found}, this edge reads {FORMAT}; it was written by a later version"
    )]
    Format {
        /// The file.
        path: Utf8PathBuf,
        /// What it says.
        found: u32,
    },
    /// It cannot be read or written.
    #[error("cannot read or write {path}")]
    Storage {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A value in it is not what it should be.
    #[error("{path} is damaged: the {what} cannot be read")]
    Damaged {
        /// The file.
        path: Utf8PathBuf,
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// It cannot be copied for the time after it was given away.
    #[error("cannot copy {path} for the requests that are still to be answered")]
    Copy {
        /// The file.
        path: Utf8PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Another edge has taken it over.
    #[error("the state in {path} was given to another edge")]
    Given {
        /// The file.
        path: Utf8PathBuf,
    },
    /// A value cannot be written as JSON.
    #[error("cannot write the {what} as JSON")]
    Encode {
        /// Which value.
        what: &'static str,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}
