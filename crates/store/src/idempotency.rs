//! Idempotency keys: a request that is sent again, because its answer was lost, is not carried out
//! again.
//!
//! A key that goes with a revision is claimed in the revision's transaction
//! ([`crate::RevisionDraft::idempotency`]); its record names the revision even when the manager died
//! before it could keep the answer.

use jiff::{SignedDuration, Timestamp};
use portway_model::RevisionNumber;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, ConnectionTrait, EntityTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};

use crate::{
    CommitError, StoreError,
    column::{Columns, foreign, micros, number},
    connection::Db,
    entity::idempotency_keys,
    error::failed,
};

/// How long a key is remembered.
const REMEMBERED: SignedDuration = SignedDuration::from_hours(24);

/// A request that is carried out at most once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// Who sent it; each actor has keys of its own.
    pub actor: String,
    /// The key that came with it.
    pub key: String,
    /// The digest of the request, by which another request with the same key is recognised.
    pub request_digest: Vec<u8>,
}

/// What is known of a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdempotencyRecord {
    /// The revision that it made.
    pub revision: Option<RevisionNumber>,
    /// The status of its answer, once that was kept.
    pub status: Option<u16>,
    /// The body of its answer.
    pub body: Option<String>,
    /// When it was carried out.
    pub created_at: Timestamp,
}

/// Whether a request may be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is new.
    New,
    /// It was carried out, or is being carried out when no status is known.
    Repeated(IdempotencyRecord),
    /// The key belongs to another request.
    Reused,
}

/// The idempotency keys.
#[derive(Clone, Copy, Debug)]
pub struct Idempotency<'a> {
    db: &'a Db,
}

impl<'a> Idempotency<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Claims a key for a request that makes no revision. Of any number of callers at once, one finds
    /// it new.
    pub async fn claim(self, key: &IdempotencyKey, now: Timestamp) -> Result<Claim, StoreError> {
        const DOING: &str = "claim an idempotency key";
        let transaction = self.db.begin(DOING).await?;
        let claim = try_claim(&transaction, key, None, now).await?;
        transaction.commit(DOING).await?;
        Ok(claim)
    }

    /// Keeps the answer to a request.
    pub async fn answer(
        self,
        key: &IdempotencyKey,
        status: u16,
        body: &str,
    ) -> Result<(), StoreError> {
        idempotency_keys::Entity::update_many()
            .col_expr(idempotency_keys::Column::Status, Expr::value(i64::from(status)))
            .col_expr(idempotency_keys::Column::Body, Expr::value(body))
            .filter(idempotency_keys::Column::Actor.eq(foreign(&key.actor)))
            .filter(idempotency_keys::Column::Key.eq(foreign(&key.key)))
            .exec(self.db.writer())
            .await
            .map_err(failed("keep an answer"))?;
        Ok(())
    }

    /// Gives a key back whose request was not carried out.
    pub async fn release(self, key: &IdempotencyKey) -> Result<(), StoreError> {
        idempotency_keys::Entity::delete_many()
            .filter(idempotency_keys::Column::Actor.eq(foreign(&key.actor)))
            .filter(idempotency_keys::Column::Key.eq(foreign(&key.key)))
            .filter(idempotency_keys::Column::Revision.is_null())
            .exec(self.db.writer())
            .await
            .map_err(failed("give an idempotency key back"))?;
        Ok(())
    }

    /// Forgets keys that are no longer remembered. Returns how many.
    pub async fn prune(self, now: Timestamp) -> Result<u64, StoreError> {
        let deleted = idempotency_keys::Entity::delete_many()
            .filter(idempotency_keys::Column::CreatedAt.lt(remembered_since(now)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget idempotency keys"))?;
        Ok(deleted.rows_affected)
    }
}

/// Claims a key for a revision within its transaction.
pub(crate) async fn claim<C: ConnectionTrait>(
    connection: &C,
    key: &IdempotencyKey,
    revision: Option<RevisionNumber>,
    now: Timestamp,
) -> Result<(), CommitError> {
    match try_claim(connection, key, revision, now).await? {
        Claim::New => Ok(()),
        Claim::Repeated(record) => Err(CommitError::Repeated(Box::new(record))),
        Claim::Reused => Err(CommitError::KeyReused),
    }
}

async fn try_claim<C: ConnectionTrait>(
    connection: &C,
    key: &IdempotencyKey,
    revision: Option<RevisionNumber>,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    const DOING: &str = "claim an idempotency key";
    let of_key = || {
        sea_orm::Condition::all()
            .add(idempotency_keys::Column::Actor.eq(foreign(&key.actor)))
            .add(idempotency_keys::Column::Key.eq(foreign(&key.key)))
    };
    idempotency_keys::Entity::delete_many()
        .filter(of_key())
        .filter(idempotency_keys::Column::CreatedAt.lt(remembered_since(now)))
        .exec(connection)
        .await
        .map_err(failed(DOING))?;
    let row = idempotency_keys::ActiveModel {
        actor: Set(foreign(&key.actor)),
        key: Set(foreign(&key.key)),
        request_digest: Set(key.request_digest.clone()),
        revision: Set(number(revision)),
        status: NotSet,
        body: NotSet,
        created_at: Set(micros(now)),
    };
    let columns = [idempotency_keys::Column::Actor, idempotency_keys::Column::Key];
    let written = idempotency_keys::Entity::insert(row)
        .on_conflict(OnConflict::columns(columns).do_nothing().to_owned())
        .exec_without_returning(connection)
        .await
        .map_err(failed(DOING))?;
    if written > 0 {
        return Ok(Claim::New);
    }
    let there = idempotency_keys::Entity::find()
        .filter(of_key())
        .one(connection)
        .await
        .map_err(failed(DOING))?;
    match there {
        // Given back between the two statements.
        None => Ok(Claim::Reused),
        Some(row) if row.request_digest != key.request_digest => Ok(Claim::Reused),
        Some(row) => read(DOING, row).map(Claim::Repeated),
    }
}

fn remembered_since(now: Timestamp) -> i64 {
    now.checked_sub(REMEMBERED).map_or(i64::MIN, micros)
}

fn read(
    doing: &'static str,
    row: idempotency_keys::Model,
) -> Result<IdempotencyRecord, StoreError> {
    let columns = Columns::of("idempotency_keys", doing);
    Ok(IdempotencyRecord {
        revision: row.revision.map(RevisionNumber),
        status: row
            .status
            .map(|status| columns.read("status", u16::try_from(status)))
            .transpose()?,
        body: row.body,
        created_at: columns.time("created_at", row.created_at)?,
    })
}
