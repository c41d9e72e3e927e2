//! What whoever listens is told: events in the order in which they became true. They are kept for a
//! while, so that a listener who was away hears what it missed.

use jiff::Timestamp;
use portway_model::RevisionNumber;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde_json::Value;

use crate::{
    StoreError,
    column::{Columns, json, micros, number},
    connection::{Db, Lock, Transaction},
    entity::events,
    error::failed,
};

/// An event that is to be told.
#[derive(Clone, Debug, PartialEq)]
pub struct EventDraft {
    /// When it became true.
    pub at: Timestamp,
    /// What kind of event it is.
    pub kind: String,
    /// The revision that it is about.
    pub revision: Option<RevisionNumber>,
    /// What is told.
    pub body: Value,
}

/// An event.
#[derive(Clone, Debug, PartialEq)]
pub struct EventRow {
    /// Its number; each later one is greater.
    pub id: i64,
    /// What it says.
    pub event: EventDraft,
}

/// The events.
#[derive(Clone, Copy, Debug)]
pub struct Events<'a> {
    db: &'a Db,
}

impl<'a> Events<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Tells an event.
    pub async fn tell(self, event: &EventDraft) -> Result<(), StoreError> {
        const DOING: &str = "tell an event";
        let transaction = self.db.begin(DOING).await?;
        tell(&transaction, event).await?;
        transaction.commit(DOING).await
    }

    /// Returns the number of the newest event; 0 before the first.
    pub async fn latest(self) -> Result<i64, StoreError> {
        let newest: Option<i64> = events::Entity::find()
            .select_only()
            .column(events::Column::Id)
            .order_by_desc(events::Column::Id)
            .limit(1)
            .into_tuple()
            .one(self.db.reader())
            .await
            .map_err(failed("read the newest event"))?;
        Ok(newest.unwrap_or(0))
    }

    /// Returns the events after the one of number `after`, at most `limit`, the oldest first.
    pub async fn since(self, after: i64, limit: u32) -> Result<Vec<EventRow>, StoreError> {
        const DOING: &str = "read events";
        let rows = events::Entity::find()
            .filter(events::Column::Id.gt(after))
            .order_by_asc(events::Column::Id)
            .limit(u64::from(limit))
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let columns = Columns::of("events", DOING);
        rows.into_iter()
            .map(|row| {
                let event = EventDraft {
                    at: columns.time("at", row.at)?,
                    kind: row.kind,
                    revision: row.revision.map(RevisionNumber),
                    body: columns.json("body", &row.body)?,
                };
                Ok(EventRow { id: row.id, event })
            })
            .collect()
    }

    /// Forgets events of before `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let deleted = events::Entity::delete_many()
            .filter(events::Column::At.lt(micros(before)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget old events"))?;
        Ok(deleted.rows_affected)
    }
}

/// Writes an event within the transaction of what it is about. One that writes waits for the others,
/// so that a greater number is never seen before a smaller one.
pub(crate) async fn tell(transaction: &Transaction, event: &EventDraft) -> Result<(), StoreError> {
    const DOING: &str = "tell an event";
    transaction.lock(Lock::Events, DOING).await?;
    let row = events::ActiveModel {
        id: NotSet,
        at: Set(micros(event.at)),
        kind: Set(event.kind.clone()),
        revision: Set(number(event.revision)),
        body: Set(json(DOING, &event.body)?),
    };
    events::Entity::insert(row).exec_without_returning(transaction).await.map_err(failed(DOING))?;
    Ok(())
}
