//! The state of background tasks, shared by all managers: how the last run went, and who runs it.
//!
//! A task of the installation is run by whoever holds its lease. The holder renews the lease while
//! it works; the lease of one that died ends by itself. A task of a machine belongs to that
//! machine's manager and needs none.

use jiff::Timestamp;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    sea_query::{Expr, OnConflict},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{
    StoreError,
    column::{Columns, REASON, micros, optional_micros, said, word},
    connection::Db,
    entity::tasks,
    error::failed,
};

/// The state of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Which task of whom.
    pub key: TaskKey,
    /// The manager that began the last run.
    pub manager: String,
    /// Until when somebody holds it; nothing while nobody runs it.
    pub lease_until: Option<Timestamp>,
    /// When its last run began.
    pub last_started: Option<Timestamp>,
    /// The last run that ended.
    pub last: Option<EndedRun>,
}

/// A task: its name, and the manager whose it is where every machine has its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskKey {
    /// Its name.
    pub name: String,
    /// The manager whose task it is; nothing for a task of the installation.
    pub machine: Option<String>,
}

/// A run that ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndedRun {
    /// When it ended.
    pub at: Timestamp,
    /// How it went.
    pub outcome: TaskOutcome,
    /// What it said.
    pub message: String,
    /// When the next is due.
    pub next: Option<Timestamp>,
}

/// How a run of a task went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskOutcome {
    /// As it should.
    Done,
    /// It could not do its work.
    Failed,
}

/// Who wants to run a task, and for how long at first.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// The manager's id.
    pub holder: Uuid,
    /// The manager's name.
    pub manager: &'a str,
    /// When the lease ends unless it is renewed.
    pub until: Timestamp,
}

/// Whether a task is run that is not due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Only when it is due.
    OnTime,
    /// Also before: somebody asked for it.
    AtOnce,
}

/// The state of the background tasks.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a> {
    db: &'a Db,
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Begins a run, unless another manager holds the task or it is not due. Returns whether it
    /// began: of several managers, one runs it.
    pub async fn begin(
        self,
        key: &TaskKey,
        lease: Lease<'_>,
        due: Due,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "begin a task";
        let row = tasks::ActiveModel {
            name: Set(key.name.clone()),
            machine: Set(machine(key)),
            manager: Set(lease.manager.to_owned()),
            holder: Set(Some(lease.holder)),
            lease_until: Set(Some(micros(lease.until))),
            last_started: Set(Some(micros(now))),
            last_finished: NotSet,
            outcome: NotSet,
            message: NotSet,
            next_run: NotSet,
        };
        let column = |column: tasks::Column| Expr::col((tasks::Entity, column));
        let free = Condition::any()
            .add(column(tasks::Column::Holder).is_null())
            .add(column(tasks::Column::Holder).eq(lease.holder))
            .add(column(tasks::Column::LeaseUntil).lte(micros(now)));
        let mut may = Condition::all().add(free);
        if due == Due::OnTime {
            let is_due = Condition::any()
                .add(column(tasks::Column::NextRun).is_null())
                .add(column(tasks::Column::NextRun).lte(micros(now)));
            may = may.add(is_due);
        }
        let take = OnConflict::columns([tasks::Column::Name, tasks::Column::Machine])
            .update_columns([
                tasks::Column::Manager,
                tasks::Column::Holder,
                tasks::Column::LeaseUntil,
                tasks::Column::LastStarted,
            ])
            .action_cond_where(may)
            .to_owned();
        let written = tasks::Entity::insert(row)
            .on_conflict(take)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(written > 0)
    }

    /// Holds a task for longer. Returns whether it is still held: a manager that was away for too
    /// long has lost it to another.
    pub async fn renew(
        self,
        key: &TaskKey,
        holder: Uuid,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        let renewed = tasks::Entity::update_many()
            .col_expr(tasks::Column::LeaseUntil, Expr::value(micros(until)))
            .filter(of(key))
            .filter(tasks::Column::Holder.eq(holder))
            .exec(self.db.writer())
            .await
            .map_err(failed("hold a task"))?;
        Ok(renewed.rows_affected > 0)
    }

    /// Notes how a run went and gives the task back. Returns whether it was still held.
    pub async fn finish(
        self,
        key: &TaskKey,
        holder: Uuid,
        run: &EndedRun,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "note the end of a task";
        let row = tasks::ActiveModel {
            holder: Set(None),
            lease_until: Set(None),
            last_finished: Set(Some(micros(run.at))),
            outcome: Set(Some(word(DOING, &run.outcome)?)),
            message: Set(Some(said(&run.message, REASON))),
            next_run: Set(optional_micros(run.next)),
            ..tasks::ActiveModel::default()
        };
        let finished = tasks::Entity::update_many()
            .set(row)
            .filter(of(key))
            .filter(tasks::Column::Holder.eq(holder))
            .exec(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(finished.rows_affected > 0)
    }

    /// Notes a run of a task that nobody else runs, from its beginning to its end.
    pub async fn note(
        self,
        key: &TaskKey,
        manager: &str,
        started: Timestamp,
        run: &EndedRun,
    ) -> Result<(), StoreError> {
        const DOING: &str = "note the run of a task";
        let row = tasks::ActiveModel {
            name: Set(key.name.clone()),
            machine: Set(machine(key)),
            manager: Set(manager.to_owned()),
            holder: Set(None),
            lease_until: Set(None),
            last_started: Set(Some(micros(started))),
            last_finished: Set(Some(micros(run.at))),
            outcome: Set(Some(word(DOING, &run.outcome)?)),
            message: Set(Some(said(&run.message, REASON))),
            next_run: Set(optional_micros(run.next)),
        };
        let replace = OnConflict::columns([tasks::Column::Name, tasks::Column::Machine])
            .update_columns([
                tasks::Column::Manager,
                tasks::Column::LastStarted,
                tasks::Column::LastFinished,
                tasks::Column::Outcome,
                tasks::Column::Message,
                tasks::Column::NextRun,
            ])
            .to_owned();
        tasks::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Returns the state of one task.
    pub async fn get(self, key: &TaskKey) -> Result<Option<TaskRow>, StoreError> {
        const DOING: &str = "read a task";
        let row = tasks::Entity::find()
            .filter(of(key))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| read(DOING, row)).transpose()
    }

    /// Returns the state of every task, by name and machine. There are as many as Portway has tasks
    /// and managers.
    pub async fn all(self) -> Result<Vec<TaskRow>, StoreError> {
        const DOING: &str = "list tasks";
        let rows = tasks::Entity::find()
            .order_by_asc(tasks::Column::Name)
            .order_by_asc(tasks::Column::Machine)
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        rows.into_iter().map(|row| read(DOING, row)).collect()
    }

    /// Forgets tasks of machines whose managers have not run them since `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let deleted = tasks::Entity::delete_many()
            .filter(tasks::Column::Machine.ne(""))
            .filter(tasks::Column::LastFinished.lt(micros(before)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget tasks"))?;
        Ok(deleted.rows_affected)
    }
}

fn machine(key: &TaskKey) -> String {
    key.machine.clone().unwrap_or_default()
}

fn of(key: &TaskKey) -> Condition {
    Condition::all()
        .add(tasks::Column::Name.eq(key.name.as_str()))
        .add(tasks::Column::Machine.eq(machine(key)))
}

fn read(doing: &'static str, row: tasks::Model) -> Result<TaskRow, StoreError> {
    let columns = Columns::of("tasks", doing);
    let finished = columns.optional_time("last_finished", row.last_finished)?;
    let outcome = row.outcome.map(|word| columns.word("outcome", word)).transpose()?;
    let next = columns.optional_time("next_run", row.next_run)?;
    Ok(TaskRow {
        key: TaskKey {
            name: row.name,
            machine: Some(row.machine).filter(|machine| !machine.is_empty()),
        },
        manager: row.manager,
        lease_until: columns.optional_time("lease_until", row.lease_until)?,
        last_started: columns.optional_time("last_started", row.last_started)?,
        last: finished.zip(outcome).map(|(at, outcome)| EndedRun {
            at,
            outcome,
            message: row.message.unwrap_or_default(),
            next,
        }),
    })
}
