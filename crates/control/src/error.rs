//! Why the control plane did not do what it was asked.

use std::time::Duration;

use portway_model::Finding;
use portway_store::StoreError;

/// What something underneath said.
type Cause = Box<dyn std::error::Error + Send + Sync>;

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
    /// No request of this id stands in the logs that the actor may read.
    #[error("no request `{id}` stands in the logs that you may read: {}", .causes.join("; "))]
    NotLogged {
        /// The id.
        id: String,
        /// Why that may be, and what helps.
        causes: Vec<String>,
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
    /// What a plan was made of has moved on since; each thing that has.
    #[error("the plan no longer holds: {} thing(s) moved on since it was made; nothing was changed", .0.len())]
    MovedOn(Vec<Finding>),
    /// Somebody else wrote, at the same time, what excludes this.
    #[error("somebody else changed the same thing at the same time; read it anew, then try again")]
    Collision {
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// Too many attempts.
    #[error("too many wrong logins; try again in {minutes} minutes")]
    TooManyAttempts {
        /// How long to wait.
        minutes: u64,
    },
    /// Portway is not set up yet, or already is.
    #[error("{0}")]
    Setup(String),
    /// Something that Portway needs is not there now. The same request may succeed later.
    #[error("{what}; {remedy}")]
    Unavailable {
        /// What is the matter.
        what: &'static str,
        /// What helps.
        remedy: &'static str,
        /// When it is worth while to ask again.
        retry_after: Duration,
        /// Why.
        #[source]
        source: Cause,
    },
    /// What is stored cannot be read. Asking again does not help.
    #[error(
        "the database is damaged; restore a backup (docs/operations.md tells how), or ask for help with the log of the manager"
    )]
    Damaged {
        /// What was found.
        #[source]
        source: Cause,
    },
    /// A fault of Portway's own.
    #[error("{what} failed")]
    Internal {
        /// What failed.
        what: &'static str,
        /// Why.
        #[source]
        source: Cause,
    },
}

impl ControlError {
    /// Returns a fault of Portway's own.
    pub(crate) fn internal(what: &'static str, source: impl Into<Cause>) -> Self {
        Self::Internal { what, source: source.into() }
    }

    /// Returns that something needed is not there for some seconds.
    pub(crate) fn unavailable(
        what: &'static str,
        remedy: &'static str,
        seconds: u64,
        source: impl Into<Cause>,
    ) -> Self {
        let retry_after = Duration::from_secs(seconds);
        Self::Unavailable { what, remedy, retry_after, source: source.into() }
    }
}

impl From<StoreError> for ControlError {
    /// Tells what the world did to the database from what someone else wrote, and both from a
    /// defect.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::BadCursor => {
                Self::BadRequest("`cursor` is not the `next` of a page before".to_owned())
            }
            StoreError::Conflict { .. } => Self::Collision { source: error.into() },
            StoreError::Unavailable { .. } => Self::unavailable(
                "the database does not answer",
                "try again in a few seconds; if it stays so, see whether the database runs",
                5,
                error,
            ),
            StoreError::Full { .. } => Self::unavailable(
                "the disk of the database is full, so nothing can be written",
                "free some space on it, then try again",
                60,
                error,
            ),
            StoreError::File { .. } | StoreError::Open { .. } => Self::unavailable(
                "the database cannot be opened",
                "the log of the manager tells why; mend its place, its rights or its address",
                30,
                error,
            ),
            StoreError::Corrupt { .. } => Self::Damaged { source: error.into() },
            StoreError::Defect { .. } | StoreError::NewerSchema { .. } | StoreError::Migrate(_) => {
                Self::internal("asking the database", error)
            }
            other => Self::internal("asking the database", other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOING: &str = "list sites";

    fn cause() -> Cause {
        "SQLSTATE, secret paths and all".into()
    }

    #[test]
    fn what_the_world_did_is_told_from_a_conflict_and_from_a_defect() {
        let waits = |error: StoreError| {
            let ControlError::Unavailable { retry_after, .. } = error.into() else { return None };
            Some(retry_after.as_secs())
        };
        assert_eq!(waits(StoreError::Unavailable { doing: DOING, source: cause() }), Some(5));
        assert_eq!(waits(StoreError::Full { doing: DOING, source: cause() }), Some(60));
        let open = StoreError::Open { url: "postgres://db".to_owned(), source: cause() };
        assert_eq!(waits(open), Some(30));
        let conflict = StoreError::Conflict { doing: DOING, source: cause() };
        assert!(matches!(conflict.into(), ControlError::Collision { .. }));
        let corrupt = StoreError::Corrupt { doing: DOING, what: String::new(), source: None };
        assert!(matches!(corrupt.into(), ControlError::Damaged { .. }));
        let defect = StoreError::Defect { doing: DOING, source: cause() };
        assert!(matches!(defect.into(), ControlError::Internal { .. }));
    }

    #[test]
    fn what_is_told_names_the_remedy_and_nothing_from_inside() {
        let error: ControlError = StoreError::Full { doing: DOING, source: cause() }.into();
        let text = error.to_string();
        assert!(text.contains("free some space") && !text.contains("SQLSTATE"), "{text}");
    }
}
