//! Connections: one writer and several readers on `SQLite`, one pool on PostgreSQL. Every statement
//! ends within a limit, whatever the other side does.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
    time::Duration,
};

use camino::Utf8Path;
use sea_orm::{
    ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr, ExecResult,
    QueryResult, SqliteTransactionMode, SqlxPostgresConnector, SqlxSqliteConnector, Statement,
    TransactionOptions, TransactionTrait,
    sqlx::{
        self, Connection as _, Executor,
        postgres::{PgConnectOptions, PgPoolOptions},
        sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous},
    },
};
use tokio::{
    sync::Notify,
    time::{Instant, sleep, timeout},
};

use crate::{
    DatabaseUrl, StoreError,
    address::Place,
    checkpoint::{self, Checkpoints},
    error,
    error::failed,
    health::MANY,
    migration,
};

/// How long one statement may take, and how long one waits for a connection.
pub(crate) const PATIENCE: Duration = Duration::from_secs(15);
/// How long `SQLite` waits for another process that writes.
const BUSY: Duration = Duration::from_secs(10);

/// How long to wait before a file that others open is opened again.
const AGAIN: Duration = Duration::from_millis(20);
const READERS: u32 = 4;
/// A connection to a server that was in use so recently is taken to be alive: asking it each time
/// would double the round trips.
const FRESH: Duration = Duration::from_secs(1);
const POSTGRES_CONNECTIONS: u32 = 16;

/// What every PostgreSQL connection is told first. A query's plan is made for its values: a plan for
/// any value would walk all sites to search for a rare word.
const POSTGRES_SESSION: &str = "SET statement_timeout = '14s'; SET lock_timeout = '12s'; \
     SET idle_in_transaction_session_timeout = '30s'; SET plan_cache_mode = force_custom_plan; \
     SET TIME ZONE 'UTC'";

/// The kind of database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// A file of this machine, for one manager.
    Sqlite,
    /// A server, for any number of managers.
    Postgres,
}

/// The connections of a store.
pub(crate) struct Db {
    reader: Guarded<DatabaseConnection>,
    writer: Guarded<DatabaseConnection>,
    backend: Backend,
    text_index: TextIndex,
    /// How many changes may be written before the statistics are to be brought up to date.
    until_tidy: AtomicI64,
    /// Only `SQLite` needs them.
    checkpoints: Option<Checkpoints>,
}

/// Whether there is an index for searching within text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TextIndex {
    Present,
    /// PostgreSQL's `pg_trgm` may not be created by our user.
    Missing,
}

/// A connection or transaction whose statements end within [`PATIENCE`] and are counted.
pub(crate) struct Guarded<C> {
    connection: C,
    activity: Arc<Activity>,
}

/// What goes on in all connections of a store.
#[derive(Debug, Default)]
struct Activity {
    /// How many statements were sent.
    sent: AtomicU64,
    /// Told whenever a transaction was committed.
    written: Arc<Notify>,
}

/// A transaction; dropped without a commit it is undone.
pub(crate) type Transaction = Guarded<DatabaseTransaction>;

impl Db {
    pub(crate) async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        let activity = Arc::<Activity>::default();
        let guarded = |connection| Guarded { connection, activity: Arc::clone(&activity) };
        let (backend, writer, reader, copier) = match url.place() {
            Place::File(path) => {
                let opened = open_sqlite(path, url).await?;
                (Backend::Sqlite, opened.writer, opened.reader, Some(opened.copier))
            }
            Place::Server(options) => {
                let pool = open_postgres(options, url).await?;
                (Backend::Postgres, pool.clone(), pool, None)
            }
        };
        let text_index = migration::run(&writer).await?;
        let start = |copier| {
            // What it sends is not counted.
            Checkpoints::start(Guarded::new(copier), Arc::clone(&activity.written))
        };
        let checkpoints = copier.map(start);
        let (reader, writer) = (guarded(reader), guarded(writer));
        let until_tidy = AtomicI64::new(signed(MANY));
        Ok(Self { reader, writer, backend, text_index, until_tidy, checkpoints })
    }

    pub(crate) async fn close(&self) -> Result<(), StoreError> {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.stop().await;
        }
        self.reader.close_by_ref().await.map_err(failed("close the database"))?;
        self.writer.close_by_ref().await.map_err(failed("close the database"))
    }

    pub(crate) fn backend(&self) -> Backend {
        self.backend
    }

    pub(crate) fn text_index(&self) -> TextIndex {
        self.text_index
    }

    /// Notes that so many changes were written.
    pub(crate) fn wrote(&self, changes: usize) {
        self.until_tidy.fetch_sub(signed(changes as u64), Ordering::Relaxed);
    }

    /// Tells whether the statistics are to be brought up to date. Of any number of callers at once,
    /// one is told so, and the others wait for [`MANY`] more changes.
    pub(crate) fn take_due(&self) -> bool {
        let take = |until| (until <= 0).then_some(signed(MANY));
        self.until_tidy.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok()
    }

    /// Lets so many changes be written before the next time.
    pub(crate) fn tidy_after(&self, changes: u64) {
        self.until_tidy.store(signed(changes), Ordering::Relaxed);
    }

    /// For statements that only read.
    pub(crate) fn reader(&self) -> &Guarded<DatabaseConnection> {
        &self.reader
    }

    /// For one statement that writes.
    pub(crate) fn writer(&self) -> &Guarded<DatabaseConnection> {
        &self.writer
    }

    /// Begins a transaction that writes. On `SQLite` it is the only one from its beginning, so that
    /// it never finds in its middle that another process wrote.
    pub(crate) async fn begin(&self, doing: &'static str) -> Result<Transaction, StoreError> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = guard(self.writer.connection.begin_with_options(options)).await;
        let connection = begun.map_err(failed(doing))?;
        Ok(Guarded { connection, activity: Arc::clone(&self.writer.activity) })
    }
}

impl Transaction {
    pub(crate) async fn commit(self, doing: &'static str) -> Result<(), StoreError> {
        guard(self.connection.commit()).await.map_err(failed(doing))?;
        self.activity.written.notify_one();
        Ok(())
    }

    /// Waits until every other transaction that called this with the same `lock` has ended. `SQLite`
    /// has one writer anyway.
    pub(crate) async fn lock(&self, lock: Lock, doing: &'static str) -> Result<(), StoreError> {
        let backend = self.get_database_backend();
        if backend == DbBackend::Postgres {
            let sql = "SELECT pg_advisory_xact_lock($1)";
            let statement = Statement::from_sql_and_values(backend, sql, [lock.key().into()]);
            self.execute_raw(statement).await.map_err(failed(doing))?;
        }
        Ok(())
    }
}

/// What only one manager does at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Lock {
    /// Changing the schema.
    Schema,
    /// Writing a revision.
    Revision,
    /// Making a root of the local authority.
    Roots,
    /// Writing an event.
    Events,
}

impl Lock {
    /// The upper half is "PWAY", so that other programs in the same database have other keys.
    pub(crate) fn key(self) -> i64 {
        let number = match self {
            Self::Schema => 1,
            Self::Revision => 2,
            Self::Roots => 3,
            Self::Events => 4,
        };
        (0x5057_4159 << 32) | number
    }
}

impl Guarded<DatabaseConnection> {
    /// Closes the connections after the work in hand.
    pub(crate) async fn close_by_ref(&self) -> Result<(), DbErr> {
        self.connection.close_by_ref().await
    }
}

impl<C> Guarded<C> {
    /// Guards a connection whose statements are counted by themselves.
    pub(crate) fn new(connection: C) -> Self {
        Self { connection, activity: Arc::default() }
    }

    /// Returns how many statements were sent; beginning and ending transactions does not count.
    pub(crate) fn sent(&self) -> u64 {
        self.activity.sent.load(Ordering::Relaxed)
    }

    async fn send<T>(&self, work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
        self.activity.sent.fetch_add(1, Ordering::Relaxed);
        guard(work).await
    }
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

async fn guard<T>(work: impl Future<Output = Result<T, DbErr>>) -> Result<T, DbErr> {
    timeout(PATIENCE, work).await.unwrap_or_else(|_| Err(error::timed_out(PATIENCE)))
}

#[async_trait::async_trait]
impl<C: ConnectionTrait> ConnectionTrait for Guarded<C> {
    fn get_database_backend(&self) -> DbBackend {
        self.connection.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.send(self.connection.execute_raw(statement)).await
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        self.send(self.connection.execute_unprepared(sql)).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.send(self.connection.query_one_raw(statement)).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.send(self.connection.query_all_raw(statement)).await
    }
}

/// The connections to a file.
struct Opened {
    writer: DatabaseConnection,
    reader: DatabaseConnection,
    /// Copies the log into the file.
    copier: DatabaseConnection,
}

async fn open_sqlite(path: &Utf8Path, url: &DatabaseUrl) -> Result<Opened, StoreError> {
    make_private(path)
        .await
        .map_err(|source| StoreError::File { path: path.to_owned(), source })?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
        // What is deleted is overwritten: sealed keys and password hashes do not linger.
        .pragma("secure_delete", "FAST")
        .pragma("trusted_schema", "OFF")
        .pragma("cache_size", "-16384")
        .pragma("wal_autocheckpoint", checkpoint::TOO_LONG);
    let pool = |connections| {
        SqlitePoolOptions::new()
            .max_connections(connections)
            .acquire_timeout(PATIENCE)
            .idle_timeout(None)
            .max_lifetime(None)
            // There is no other side that could be gone.
            .test_before_acquire(false)
    };
    let open = |source| could_not_open(url, source);
    let writer = connect(pool(1), &options).await.map_err(open)?;
    let copier = connect(pool(1), &options).await.map_err(open)?;
    let readers = options.pragma("query_only", "ON");
    let reader = connect(pool(READERS), &readers).await.map_err(open)?;
    Ok(Opened {
        writer: SqlxSqliteConnector::from_sqlx_sqlite_pool(writer),
        reader: SqlxSqliteConnector::from_sqlx_sqlite_pool(reader),
        copier: SqlxSqliteConnector::from_sqlx_sqlite_pool(copier),
    })
}

/// Connects, and waits for others that open the same file just now: while one of them begins the log,
/// `SQLite` turns the rest away at once, whatever its timeout.
async fn connect(
    pool: SqlitePoolOptions,
    options: &SqliteConnectOptions,
) -> Result<sqlx::SqlitePool, sqlx::Error> {
    let deadline = Instant::now() + BUSY;
    loop {
        match pool.clone().connect_with(options.clone()).await {
            Err(error) if is_locked(&error) && Instant::now() < deadline => sleep(AGAIN).await,
            connected => return connected,
        }
    }
}

fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| matches!(&*code, "5" | "261"))
}

/// Makes the file before `SQLite` does, readable by its owner alone; `SQLite` gives its companions
/// (`-wal`, `-shm`) the same mode.
async fn make_private(path: &Utf8Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt;

    if let Some(folder) = path.parent() {
        tokio::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await?;
    }
    let mut options = tokio::fs::OpenOptions::new();
    let file = options.create(true).truncate(false).read(true).write(true).mode(0o600);
    let file = file.open(path).await?;
    if file.metadata().await?.permissions().mode() & 0o077 != 0 {
        tracing::warn!(%path, "the database could be read by others; its mode is 0600 from here on");
        file.set_permissions(std::fs::Permissions::from_mode(0o600)).await?;
    }
    Ok(())
}

async fn open_postgres(
    options: &PgConnectOptions,
    url: &DatabaseUrl,
) -> Result<DatabaseConnection, StoreError> {
    let pool = PgPoolOptions::new()
        .max_connections(POSTGRES_CONNECTIONS)
        .acquire_timeout(PATIENCE)
        .test_before_acquire(false)
        .before_acquire(|connection, state| {
            Box::pin(async move {
                if state.idle_for > FRESH {
                    connection.ping().await?;
                }
                Ok(true)
            })
        })
        .after_connect(|connection, _| {
            Box::pin(async move { connection.execute(POSTGRES_SESSION).await.map(|_| ()) })
        })
        .connect_with(options.clone().application_name("portway"))
        .await
        .map_err(|source| could_not_open(url, source))?;
    Ok(SqlxPostgresConnector::from_sqlx_postgres_pool(pool))
}

pub(crate) fn could_not_open(url: &DatabaseUrl, source: sqlx::Error) -> StoreError {
    StoreError::Open { url: url.to_string(), source: Box::new(source) }
}

impl fmt::Debug for Db {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Db").field("backend", &self.backend).finish_non_exhaustive()
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL",
        })
    }
}
