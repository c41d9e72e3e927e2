//! What can go wrong between the store and its database, by what one does about it.

use std::{error::Error, time::Duration};

use camino::Utf8PathBuf;
use sea_orm::{DbErr, RuntimeErr, SqlErr, sqlx};

/// What the database (or the operating system) said.
pub type Cause = Box<dyn Error + Send + Sync>;

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The database does not answer, is busy, or lost the connection. Trying again may help.
    #[error("cannot {doing}: the database does not answer")]
    Unavailable {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// There is no room left. Space must be freed first.
    #[error("cannot {doing}: the disk of the database is full")]
    Full {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// What is stored cannot be read. A backup must be restored.
    #[error("cannot {doing}: the database is damaged ({what})")]
    Corrupt {
        /// What was tried.
        doing: &'static str,
        /// The damaged part.
        what: String,
        /// What was found.
        #[source]
        source: Option<Cause>,
    },
    /// Somebody else wrote something that excludes this. Reading anew and deciding again helps.
    #[error("cannot {doing}: it contradicts what is already stored")]
    Conflict {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// The database belongs to a newer Portway. That version, or a later one, must be run.
    #[error(
        "the database was written by a newer version of Portway (its schema has {unknown}, which this version does not know); run that version or a later one"
    )]
    NewerSchema {
        /// A migration that this version does not know.
        unknown: String,
    },
    /// The database's file or folder cannot be used. Its place or its rights must be mended.
    #[error("cannot open the database {path}")]
    File {
        /// The file or folder.
        path: Utf8PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The database cannot be opened. Its address, or the database itself, must be mended.
    #[error("cannot open the database {url}")]
    Open {
        /// Its address, without the password.
        url: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// The schema could not be brought up to date; nothing of it was changed.
    #[error("cannot bring the schema of the database up to date")]
    Migrate(#[source] Cause),
    /// A cursor that this list did not give out. The list must be read from its beginning.
    #[error("the cursor is not one of this list; begin again without it")]
    BadCursor,
    /// Portway asked for something that the database refuses on principle: our fault.
    #[error("cannot {doing}: this is a defect of Portway, please report it")]
    Defect {
        /// What was tried.
        doing: &'static str,
        /// What the database said.
        #[source]
        source: Cause,
    },
}

impl StoreError {
    /// Wraps an error that only a mistake in this code can cause.
    pub(crate) fn defect<E: Into<Cause>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |source| Self::Defect { doing, source: source.into() }
    }

    /// Wraps a stored value that cannot be read.
    pub(crate) fn corrupt<E: Into<Cause>>(
        doing: &'static str,
        what: &str,
    ) -> impl FnOnce(E) -> Self {
        let what = what.to_owned();
        move |source| Self::Corrupt { doing, what, source: Some(source.into()) }
    }
}

/// Says what was being done when the database failed.
pub(crate) fn failed(doing: &'static str) -> impl Fn(DbErr) -> StoreError {
    move |error| classify(doing, error)
}

/// The error of a statement that was not answered in time.
pub(crate) fn timed_out(after: Duration) -> DbErr {
    DbErr::Conn(RuntimeErr::Internal(format!("no answer within {} s", after.as_secs())))
}

fn classify(doing: &'static str, error: DbErr) -> StoreError {
    if let Some(SqlErr::UniqueConstraintViolation(_) | SqlErr::ForeignKeyConstraintViolation(_)) =
        error.sql_err()
    {
        return StoreError::Conflict { doing, source: Box::new(error) };
    }
    let fault = fault(&error);
    let source: Cause = Box::new(error);
    match fault {
        Fault::Unavailable => StoreError::Unavailable { doing, source },
        Fault::Full => StoreError::Full { doing, source },
        Fault::Corrupt => {
            let what = "a row or page cannot be read".to_owned();
            StoreError::Corrupt { doing, what, source: Some(source) }
        }
        Fault::Defect => StoreError::Defect { doing, source },
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Unavailable,
    Full,
    Corrupt,
    Defect,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "foreign enums that are not exhaustive")]
fn fault(error: &DbErr) -> Fault {
    match error {
        DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error))
        | DbErr::Conn(RuntimeErr::SqlxError(error)) => fault_of_driver(error),
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => Fault::Unavailable,
        DbErr::Type(_) | DbErr::Json(_) | DbErr::TryIntoErr { .. } => Fault::Corrupt,
        _ => Fault::Defect,
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "a foreign enum that is not exhaustive")]
fn fault_of_driver(error: &sqlx::Error) -> Fault {
    match error {
        sqlx::Error::Database(error) => {
            let code = error.code().unwrap_or_default();
            if error.try_downcast_ref::<sqlx::sqlite::SqliteError>().is_some() {
                fault_of_sqlite(&code)
            } else {
                fault_of_postgres(&code)
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::WorkerCrashed => Fault::Unavailable,
        sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Fault::Corrupt,
        _ => Fault::Defect,
    }
}

/// The low byte of an extended result code is the kind of error (sqlite.org/rescode.html).
fn fault_of_sqlite(code: &str) -> Fault {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // BUSY, LOCKED, NOMEM, READONLY, INTERRUPT, IOERR, CANTOPEN, PROTOCOL
        Ok(5..=10 | 14 | 15) => Fault::Unavailable,
        Ok(13) => Fault::Full,
        // CORRUPT, NOTADB
        Ok(11 | 26) => Fault::Corrupt,
        Ok(_) | Err(_) => Fault::Defect,
    }
}

/// PostgreSQL manual, appendix A.
fn fault_of_postgres(code: &str) -> Fault {
    match (code, code.get(..2)) {
        ("53100", _) => Fault::Full,
        // connection, authorisation, read-only server, deadlock and serialisation, resources,
        // locks, shutdown and timeouts, system errors
        ("25006", _) | (_, Some("08" | "28" | "40" | "53" | "55" | "57" | "58")) => {
            Fault::Unavailable
        }
        (_, Some("XX")) => Fault::Corrupt,
        _ => Fault::Defect,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_databases_lead_to_the_same_remedies() {
        for (sqlite, postgres, fault) in [
            ("5", "55P03", Fault::Unavailable),
            ("517", "40001", Fault::Unavailable),
            ("13", "53100", Fault::Full),
            ("11", "XX001", Fault::Corrupt),
            ("1", "42601", Fault::Defect),
        ] {
            assert_eq!(fault_of_sqlite(sqlite), fault, "{sqlite}");
            assert_eq!(fault_of_postgres(postgres), fault, "{postgres}");
        }
    }

    #[test]
    fn a_statement_without_an_answer_may_be_tried_again() {
        let error = classify("list sites", timed_out(Duration::from_secs(15)));

        assert!(matches!(error, StoreError::Unavailable { .. }), "{error:?}");
        assert_eq!(error.to_string(), "cannot list sites: the database does not answer");
    }
}
