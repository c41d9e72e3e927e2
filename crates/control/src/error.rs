//! Why the control plane did not do what it was asked.

use portway_model::Finding;
use portway_store::StoreError;

/// Why something was not done. A variant per remedy; the API gives each its HTTP face.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// What was declared has errors; all of them.
    #[error("what was sent has {} error(s)", .0.iter().filter(|finding| finding.is_error()).count())]
    Invalid(Vec<Finding>),
    /// A field of the request is wrong.
    #[error("{0}")]
    BadRequest(String),
    /// Nobody is logged in.
    #[error("{0}")]
    Unauthenticated(String),
    /// The actor may not do this.
    #[error("{0}")]
    Denied(String),
    /// There is no such thing, or the actor may not see it.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// The kind of thing.
        what: &'static str,
        /// What was asked for.
        name: String,
    },
    /// The thing was changed since it was read.
    #[error("`{name}` was changed since it was read (it is at revision {current})")]
    Stale {
        /// The thing.
        name: String,
        /// Its revision now.
        current: i64,
    },
    /// The name or host is taken.
    #[error("{0}")]
    Taken(String),
    /// The request contradicts the state of things.
    #[error("{0}")]
    Conflict(String),
    /// Too many attempts.
    #[error("too many wrong logins; try again in {minutes} minutes")]
    TooManyAttempts {
        /// How long to wait.
        minutes: u64,
    },
    /// Portway is not set up yet, or already is.
    #[error("{0}")]
    Setup(String),
    /// Something that Portway needs does not answer.
    #[error("{what} does not answer")]
    Unavailable {
        /// What.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A fault of Portway's own.
    #[error("{what} failed")]
    Internal {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
}

impl ControlError {
    /// Returns a fault of Portway's own.
    pub(crate) fn internal(
        what: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Internal { what, source: source.into() }
    }
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        if matches!(error, StoreError::BadCursor) {
            return Self::BadRequest("`cursor` is not the `next` of a page before".to_owned());
        }
        Self::Unavailable { what: "the database", source: error.into() }
    }
}
