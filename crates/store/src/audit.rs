//! The audit log: who did or tried what, and what came of it. Entries are only ever added.

use jiff::Timestamp;
use portway_model::{Id, ResourceKind, RevisionNumber, User};
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, ConnectionTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{
    Page, PageRequest, StoreError, Visible,
    column::{Columns, foreign, json, micros, number, user, uuid, word},
    connection::Db,
    entity::audit,
    error::failed,
};

/// Something to write into the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEntry {
    /// When it happened.
    pub at: Timestamp,
    /// Who did it; nobody for strangers, the machine's own user and Portway itself.
    pub actor: Option<Id<User>>,
    /// The actor's name.
    pub actor_name: String,
    /// Whose thing it was done to, who may read the entry too.
    pub owner: Option<Id<User>>,
    /// What was done, for example `site.update`.
    pub action: String,
    /// The kind of thing.
    pub resource_kind: Option<ResourceKind>,
    /// The thing.
    pub resource_id: Option<Uuid>,
    /// The thing's name.
    pub resource_name: String,
    /// What came of it.
    pub outcome: AuditOutcome,
    /// More about it; never a secret.
    pub detail: Value,
    /// Where the actor was.
    pub address: Option<String>,
    /// The request.
    pub request_id: Option<String>,
}

/// An entry of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditRow {
    /// Its place in the log.
    pub seq: i64,
    /// What was written.
    pub entry: AuditEntry,
    /// The revision that it made.
    pub revision: Option<RevisionNumber>,
}

/// What came of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AuditOutcome {
    /// It was done.
    Done,
    /// The actor may not.
    Refused,
    /// It could not be done.
    Failed,
}

/// Which entries are wanted; what is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those of this actor.
    pub actor: Option<Id<User>>,
    /// Those about this kind of thing.
    pub resource_kind: Option<ResourceKind>,
    /// Those about this thing.
    pub resource_id: Option<Uuid>,
    /// Those of this action.
    pub action: Option<String>,
    /// Those with this outcome.
    pub outcome: Option<AuditOutcome>,
    /// Those not before this.
    pub since: Option<Timestamp>,
    /// Those before this.
    pub until: Option<Timestamp>,
}

/// The audit log.
#[derive(Clone, Copy, Debug)]
pub struct Audit<'a> {
    db: &'a Db,
}

impl<'a> Audit<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Writes an entry about something that wrote nothing else: a login, a refusal.
    pub async fn append(self, entry: &AuditEntry) -> Result<(), StoreError> {
        append(self.db.writer(), entry, None).await
    }

    /// Lists entries, the newest first. An owner sees what the owner did and what was done to the
    /// owner's things.
    pub async fn list(
        self,
        visible: Visible,
        filter: &AuditFilter,
        page: &PageRequest,
    ) -> Result<Page<AuditRow>, StoreError> {
        const DOING: &str = "read the audit log";
        const LIST: &str = "audit";
        let mut query = audit::Entity::find()
            .filter(seen_by(visible))
            .filter(filter.condition()?)
            .order_by_desc(audit::Column::Seq)
            .limit(page.rows());
        if let Some(before) = page.key::<i64>(LIST)? {
            query = query.filter(audit::Column::Seq.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.seq)?.try_map(|row| AuditRow::read(DOING, row))
    }
}

fn seen_by(visible: Visible) -> Condition {
    match visible {
        Visible::All => Condition::all(),
        Visible::Owner(user) => Condition::any()
            .add(audit::Column::ActorId.eq(user.uuid()))
            .add(audit::Column::OwnerId.eq(user.uuid())),
    }
}

impl AuditFilter {
    fn condition(&self) -> Result<Condition, StoreError> {
        const DOING: &str = "read the audit log";
        let kind = self.resource_kind.map(|kind| word(DOING, &kind)).transpose()?;
        let outcome = self.outcome.map(|outcome| word(DOING, &outcome)).transpose()?;
        let action = self.action.as_deref().map(foreign);
        Ok(Condition::all()
            .add_option(self.actor.map(|actor| audit::Column::ActorId.eq(actor.uuid())))
            .add_option(kind.map(|kind| audit::Column::ResourceKind.eq(kind)))
            .add_option(self.resource_id.map(|id| audit::Column::ResourceId.eq(id)))
            .add_option(action.map(|action| audit::Column::Action.eq(action)))
            .add_option(outcome.map(|outcome| audit::Column::Outcome.eq(outcome)))
            .add_option(self.since.map(|since| audit::Column::At.gte(micros(since))))
            .add_option(self.until.map(|until| audit::Column::At.lt(micros(until)))))
    }
}

/// Writes an entry within the transaction of what it is about.
pub(crate) async fn append<C: ConnectionTrait>(
    connection: &C,
    entry: &AuditEntry,
    revision: Option<RevisionNumber>,
) -> Result<(), StoreError> {
    const DOING: &str = "write the audit log";
    let row = audit::ActiveModel {
        seq: NotSet,
        at: Set(micros(entry.at)),
        actor_id: Set(uuid(entry.actor)),
        actor_name: Set(foreign(&entry.actor_name)),
        owner_id: Set(uuid(entry.owner)),
        action: Set(foreign(&entry.action)),
        resource_kind: Set(entry.resource_kind.map(|kind| word(DOING, &kind)).transpose()?),
        resource_id: Set(entry.resource_id),
        resource_name: Set(foreign(&entry.resource_name)),
        outcome: Set(word(DOING, &entry.outcome)?),
        detail: Set(json(DOING, &entry.detail)?),
        address: Set(entry.address.as_deref().map(foreign)),
        request_id: Set(entry.request_id.as_deref().map(foreign)),
        revision: Set(number(revision)),
    };
    audit::Entity::insert(row).exec_without_returning(connection).await.map_err(failed(DOING))?;
    Ok(())
}

impl AuditRow {
    fn read(doing: &'static str, row: audit::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("audit", doing);
        let kind = row.resource_kind.map(|kind| columns.word("resource_kind", kind)).transpose()?;
        let entry = AuditEntry {
            at: columns.time("at", row.at)?,
            actor: user(row.actor_id),
            actor_name: row.actor_name,
            owner: user(row.owner_id),
            action: row.action,
            resource_kind: kind,
            resource_id: row.resource_id,
            resource_name: row.resource_name,
            outcome: columns.word("outcome", row.outcome)?,
            detail: columns.json("detail", &row.detail)?,
            address: row.address,
            request_id: row.request_id,
        };
        Ok(Self { seq: row.seq, entry, revision: row.revision.map(RevisionNumber) })
    }
}
