//! Copying what was written from `SQLite`'s log into its file. Left to itself the database has the
//! writer that makes the log long do it, and whoever waits for that writer waits for all the others;
//! here it is done beside them, on a connection of its own. Nothing depends on it: the log alone is
//! what makes a change durable, and if this falls behind, the writers do it themselves.

use std::sync::{Arc, Mutex, PoisonError};

use sea_orm::{DatabaseConnection, DbErr, FromQueryResult, Statement};
use tokio::{
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use crate::connection::Guarded;

/// So many pages (of 4 KiB) may the log hold before they are copied.
const LONG: i64 = 250;
/// At so many the writers copy them.
pub(crate) const TOO_LONG: &str = "8000";

/// The task that copies. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Checkpoints {
    running: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

/// What the database says of its log.
#[derive(FromQueryResult)]
struct Log {
    /// How many pages are in it.
    log: i64,
    /// How many of them are copied.
    checkpointed: i64,
}

impl Checkpoints {
    /// Copies through `connection` when the log is long, looking whenever something was `written`.
    pub(crate) fn start(connection: Guarded<DatabaseConnection>, written: Arc<Notify>) -> Self {
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(run(connection, written, stopped));
        Self { running: Mutex::new(Some((stop, task))) }
    }

    /// Ends the task after the work in hand.
    pub(crate) async fn stop(&self) {
        let running = self.running.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some((stop, task)) = running else { return };
        drop(stop);
        if let Err(error) = task.await {
            tracing::warn!(%error, "the task that copies the log of the database broke off");
        }
    }
}

async fn run(
    connection: Guarded<DatabaseConnection>,
    written: Arc<Notify>,
    mut stopped: oneshot::Receiver<()>,
) {
    loop {
        // Both may be dropped at any time: a missed word is made up for by the next one.
        tokio::select! {
            _ = &mut stopped => break,
            () = written.notified() => {}
        }
        if let Err(error) = copy_if_long(&connection).await {
            tracing::warn!(%error, "the log of the database could not be copied; it grows meanwhile");
        }
    }
    if let Err(error) = connection.close_by_ref().await {
        tracing::warn!(%error, "a connection to the database could not be closed");
    }
}

async fn copy_if_long(connection: &Guarded<DatabaseConnection>) -> Result<(), DbErr> {
    let log = ask(connection, "PRAGMA wal_checkpoint(NOOP)").await?;
    if log.is_some_and(|log| log.log - log.checkpointed >= LONG) {
        // Passive: it waits for nobody, and nobody waits for it.
        ask(connection, "PRAGMA wal_checkpoint(PASSIVE)").await?;
    }
    Ok(())
}

async fn ask(connection: &Guarded<DatabaseConnection>, sql: &str) -> Result<Option<Log>, DbErr> {
    use sea_orm::ConnectionTrait as _;

    let statement = Statement::from_string(connection.get_database_backend(), sql);
    Log::find_by_statement(statement).one(connection).await
}
