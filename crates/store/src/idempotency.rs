//! Idempotency keys: a request that is sent again, because its answer was lost, is not carried out
//! again.
//!
//! A key is held by one attempt at its request, for as long as that attempt renews it. A revision
//! that the attempt writes is bound to the key in the revision's own transaction
//! ([`crate::RevisionDraft::idempotency`]): when the manager dies, either nothing was written and the
//! key is free once its time is over, or the record names the revision that was. An attempt that
//! lost its key to another writes nothing.

use jiff::{SignedDuration, Timestamp};
use portway_model::RevisionNumber;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

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
    /// This attempt at the request.
    pub attempt: Uuid,
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
    /// Until when an attempt that is under way holds the key.
    pub held_until: Option<Timestamp>,
    /// When it was carried out.
    pub created_at: Timestamp,
}

/// Whether a request may be carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is new.
    New,
    /// It was carried out when a status or a revision is known; otherwise it is being carried out.
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

    /// Claims a key until `until`. Of any number of attempts at once, one finds it new.
    pub async fn claim(
        self,
        key: &IdempotencyKey,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Claim, StoreError> {
        const DOING: &str = "claim an idempotency key";
        let transaction = self.db.begin(DOING).await?;
        let claim = try_claim(&transaction, key, Holding::Until(until), now).await?;
        transaction.commit(DOING).await?;
        Ok(claim)
    }

    /// Holds a key for longer.
    pub async fn renew(self, key: &IdempotencyKey, until: Timestamp) -> Result<(), StoreError> {
        idempotency_keys::Entity::update_many()
            .col_expr(idempotency_keys::Column::HeldUntil, Expr::value(micros(until)))
            .filter(of_attempt(key))
            .exec(self.db.writer())
            .await
            .map_err(failed("hold an idempotency key"))?;
        Ok(())
    }

    /// Keeps the answer to a request, where this attempt still holds the key.
    pub async fn answer(
        self,
        key: &IdempotencyKey,
        status: u16,
        body: &str,
    ) -> Result<(), StoreError> {
        idempotency_keys::Entity::update_many()
            .col_expr(idempotency_keys::Column::Status, Expr::value(i64::from(status)))
            .col_expr(idempotency_keys::Column::Body, Expr::value(body))
            .filter(of_attempt(key))
            .exec(self.db.writer())
            .await
            .map_err(failed("keep an answer"))?;
        Ok(())
    }

    /// Gives a key back whose request was not carried out.
    pub async fn release(self, key: &IdempotencyKey) -> Result<(), StoreError> {
        idempotency_keys::Entity::delete_many()
            .filter(of_attempt(key))
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

/// Binds a key to a revision within its transaction.
pub(crate) async fn claim<C: ConnectionTrait>(
    connection: &C,
    key: &IdempotencyKey,
    revision: RevisionNumber,
    now: Timestamp,
) -> Result<(), CommitError> {
    match try_claim(connection, key, Holding::For(revision), now).await? {
        Claim::New => Ok(()),
        Claim::Repeated(record) => Err(CommitError::Repeated(Box::new(record))),
        Claim::Reused => Err(CommitError::KeyReused),
    }
}

/// For how long a key is held.
#[derive(Clone, Copy)]
enum Holding {
    /// While the request is carried out.
    Until(Timestamp),
    /// For good: the request wrote this revision.
    For(RevisionNumber),
}

impl Holding {
    fn until(self) -> Option<i64> {
        match self {
            Self::Until(until) => Some(micros(until)),
            Self::For(_) => None,
        }
    }

    fn revision(self) -> Option<RevisionNumber> {
        match self {
            Self::Until(_) => None,
            Self::For(revision) => Some(revision),
        }
    }
}

async fn try_claim<C: ConnectionTrait>(
    connection: &C,
    key: &IdempotencyKey,
    holding: Holding,
    now: Timestamp,
) -> Result<Claim, StoreError> {
    const DOING: &str = "claim an idempotency key";
    free(connection, key, now, DOING).await?;
    let row = idempotency_keys::ActiveModel {
        actor: Set(foreign(&key.actor)),
        key: Set(foreign(&key.key)),
        request_digest: Set(key.request_digest.clone()),
        revision: Set(number(holding.revision())),
        status: NotSet,
        body: NotSet,
        created_at: Set(micros(now)),
        attempt: Set(Some(key.attempt)),
        held_until: Set(holding.until()),
    };
    let columns = [idempotency_keys::Column::Actor, idempotency_keys::Column::Key];
    // What the same attempt claimed before, it goes on with.
    let mine = Expr::col((idempotency_keys::Entity, idempotency_keys::Column::Attempt));
    let go_on = OnConflict::columns(columns)
        .update_columns([idempotency_keys::Column::Revision, idempotency_keys::Column::HeldUntil])
        .action_and_where(mine.eq(key.attempt))
        .to_owned();
    let written = idempotency_keys::Entity::insert(row)
        .on_conflict(go_on)
        .exec_without_returning(connection)
        .await
        .map_err(failed(DOING))?;
    if written > 0 {
        return Ok(Claim::New);
    }
    let there = idempotency_keys::Entity::find()
        .filter(of_key(key))
        .one(connection)
        .await
        .map_err(failed(DOING))?;
    match there {
        Some(row) if row.request_digest != key.request_digest => Ok(Claim::Reused),
        Some(row) => read(DOING, row).map(Claim::Repeated),
        // Given back between the two statements: somebody was at it until just now.
        None => Ok(Claim::Repeated(IdempotencyRecord {
            revision: None,
            status: None,
            body: None,
            held_until: Some(now),
            created_at: now,
        })),
    }
}

/// Forgets a key that is no longer remembered, and one whose attempt died before it wrote anything.
async fn free<C: ConnectionTrait>(
    connection: &C,
    key: &IdempotencyKey,
    now: Timestamp,
    doing: &'static str,
) -> Result<(), StoreError> {
    let lapsed = Condition::any()
        .add(idempotency_keys::Column::HeldUntil.is_null())
        .add(idempotency_keys::Column::HeldUntil.lte(micros(now)));
    let abandoned = Condition::all()
        .add(idempotency_keys::Column::Revision.is_null())
        .add(idempotency_keys::Column::Status.is_null())
        .add(lapsed);
    let over = Condition::any()
        .add(idempotency_keys::Column::CreatedAt.lt(remembered_since(now)))
        .add(abandoned);
    idempotency_keys::Entity::delete_many()
        .filter(of_key(key))
        .filter(over)
        .exec(connection)
        .await
        .map_err(failed(doing))?;
    Ok(())
}

fn of_key(key: &IdempotencyKey) -> Condition {
    Condition::all()
        .add(idempotency_keys::Column::Actor.eq(foreign(&key.actor)))
        .add(idempotency_keys::Column::Key.eq(foreign(&key.key)))
}

fn of_attempt(key: &IdempotencyKey) -> Condition {
    of_key(key).add(idempotency_keys::Column::Attempt.eq(key.attempt))
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
        held_until: columns.optional_time("held_until", row.held_until)?,
        created_at: columns.time("created_at", row.created_at)?,
    })
}
