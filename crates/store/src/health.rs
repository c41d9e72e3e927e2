//! How the database is.

use std::time::{Duration, Instant};

use sea_orm::{ConnectionTrait, FromQueryResult, Statement};

use crate::{Backend, Store, StoreError, connection::TextIndex, error::failed, migration};

const DOING: &str = "look after the database";
/// Fewer changes than these are not worth new statistics.
pub(crate) const MANY: u64 = 2000;

/// How the database is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// The kind of database.
    pub backend: Backend,
    /// Its version.
    pub version: String,
    /// The newest migration in it.
    pub schema: String,
    /// How long a question and its answer took.
    pub round_trip: Duration,
    /// How many bytes it holds.
    pub size: u64,
    /// Whether searching within text has an index; see the operations guide on `pg_trgm`.
    pub has_text_index: bool,
}

#[derive(FromQueryResult)]
struct Answer {
    version: String,
    size: i64,
}

impl Store {
    /// Asks the database how it is. An error is an answer too: it is not well.
    pub async fn health(&self) -> Result<Health, StoreError> {
        let reader = self.db.reader();
        let asked = Instant::now();
        reader.execute_unprepared("SELECT 1").await.map_err(failed(DOING))?;
        let round_trip = asked.elapsed();
        let sql = match self.backend() {
            Backend::Sqlite => {
                "SELECT sqlite_version() AS version, page_count * page_size AS size \
                 FROM pragma_page_count(), pragma_page_size()"
            }
            Backend::Postgres => {
                "SELECT current_setting('server_version') AS version, \
                 pg_database_size(current_database()) AS size"
            }
        };
        let question = Statement::from_string(reader.get_database_backend(), sql);
        let answer = Answer::find_by_statement(question)
            .one(reader)
            .await
            .map_err(failed(DOING))?
            .ok_or_else(|| StoreError::defect(DOING)("no answer"))?;
        Ok(Health {
            backend: self.backend(),
            version: answer.version,
            schema: migration::newest(),
            round_trip,
            size: answer.size.unsigned_abs(),
            has_text_index: self.db.text_index() == TextIndex::Present,
        })
    }

    /// Does as [`Store::tidy`] does once so much was written through this store that plans made for
    /// what was there before are no longer good. Returns whether it did.
    pub async fn tidy_when_due(&self) -> Result<bool, StoreError> {
        let is_due = self.db.take_due();
        if is_due {
            self.tidy().await?;
            // As many again: many small applications that make a large one tidy a few times.
            let sites = self.sites().count(crate::Visible::All).await?;
            self.db.tidy_after(MANY.max(sites / 2));
        }
        Ok(is_due)
    }

    /// Returns how many statements were sent to the database; beginning and ending transactions does
    /// not count. What it grows by is the cost of a piece of work, whatever the machine.
    pub fn statements(&self) -> u64 {
        self.db.writer().sent()
    }

    /// Lets the database bring its statistics up to date and give back what it no longer needs: for a
    /// task that runs about once a day, and after many sites were written at once.
    pub async fn tidy(&self) -> Result<(), StoreError> {
        let sql = match self.backend() {
            // Looks at as many rows as the limit says, so that it never takes long.
            // All tables, because it is others that this connection's queries read.
            Backend::Sqlite => {
                "PRAGMA analysis_limit = 1000; PRAGMA optimize = 0x10002; \
                 PRAGMA wal_checkpoint(TRUNCATE)"
            }
            // The rest the server does by itself.
            Backend::Postgres => "ANALYZE sites, site_hosts, site_tags, changes, audit",
        };
        self.db.writer().execute_unprepared(sql).await.map_err(failed("tidy the database"))?;
        Ok(())
    }
}
