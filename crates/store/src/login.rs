//! Attempts to log in, counted so that nobody can try many passwords, whichever manager is asked.

use jiff::Timestamp;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, PaginatorTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};

use crate::{
    StoreError,
    column::{Columns, foreign, micros},
    connection::Db,
    entity::login_attempts,
    error::failed,
};

/// An attempt in progress. It counts as failed until [`LoginAttempts::succeeded`] says otherwise, so
/// that attempts at the same time are all counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoginAttempt {
    seq: i64,
}

/// Why an attempt was not permitted.
#[derive(Debug, thiserror::Error)]
pub enum LoginRefused {
    /// Too many failed before it.
    #[error("too many failed attempts to log in since {since}")]
    TooMany {
        /// The oldest of those that count; once it is out of the window, one more is permitted.
        since: Timestamp,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The attempts to log in.
#[derive(Clone, Copy, Debug)]
pub struct LoginAttempts<'a> {
    db: &'a Db,
}

impl<'a> LoginAttempts<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Begins an attempt, unless `most` failed for this account and address since `window_start`. A
    /// refused attempt does not count, so that waiting helps whoever keeps on trying.
    pub async fn begin(
        self,
        account: &str,
        address: &str,
        most: u32,
        window_start: Timestamp,
        now: Timestamp,
    ) -> Result<LoginAttempt, LoginRefused> {
        const DOING: &str = "count an attempt to log in";
        // First written, then counted: whoever comes at the same time is counted by at least one of
        // the two.
        let row = login_attempts::ActiveModel {
            seq: NotSet,
            account: Set(foreign(account)),
            address: Set(foreign(address)),
            at: Set(micros(now)),
            success: Set(false),
        };
        let written = login_attempts::Entity::insert(row)
            .exec(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        let attempt = LoginAttempt { seq: written.last_insert_id };
        let failures: Vec<i64> = login_attempts::Entity::find()
            .select_only()
            .column(login_attempts::Column::At)
            .filter(failed_since(account, address, window_start))
            .order_by_asc(login_attempts::Column::At)
            .limit(u64::from(most) + 1)
            .into_tuple()
            .all(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        match failures.first() {
            Some(oldest) if failures.len() as u64 > u64::from(most) => {
                let since = Columns::of("login_attempts", DOING).time("at", *oldest)?;
                self.withdraw(attempt).await?;
                Err(LoginRefused::TooMany { since })
            }
            Some(_) | None => Ok(attempt),
        }
    }

    /// Returns how many attempts failed for this account and address since `since`.
    pub async fn failures(
        self,
        account: &str,
        address: &str,
        since: Timestamp,
    ) -> Result<u64, StoreError> {
        login_attempts::Entity::find()
            .filter(failed_since(account, address, since))
            .count(self.db.reader())
            .await
            .map_err(failed("count attempts to log in"))
    }

    /// Notes that an attempt succeeded.
    pub async fn succeeded(self, attempt: LoginAttempt) -> Result<(), StoreError> {
        login_attempts::Entity::update_many()
            .col_expr(login_attempts::Column::Success, Expr::value(true))
            .filter(login_attempts::Column::Seq.eq(attempt.seq))
            .exec(self.db.writer())
            .await
            .map_err(failed("note a login"))?;
        Ok(())
    }

    /// Forgets an attempt whose password was never judged.
    pub async fn withdraw(self, attempt: LoginAttempt) -> Result<(), StoreError> {
        login_attempts::Entity::delete_by_id(attempt.seq)
            .exec(self.db.writer())
            .await
            .map_err(failed("forget an attempt to log in"))?;
        Ok(())
    }

    /// Forgets attempts from before `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let deleted = login_attempts::Entity::delete_many()
            .filter(login_attempts::Column::At.lt(micros(before)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget attempts to log in"))?;
        Ok(deleted.rows_affected)
    }
}

fn failed_since(account: &str, address: &str, since: Timestamp) -> sea_orm::Condition {
    sea_orm::Condition::all()
        .add(login_attempts::Column::Account.eq(foreign(account)))
        .add(login_attempts::Column::Address.eq(foreign(address)))
        .add(login_attempts::Column::At.gt(micros(since)))
        .add(login_attempts::Column::Success.eq(false))
}
