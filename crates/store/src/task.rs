//! The state of background tasks, shared by all managers: one runs a task, all know how it went.

use jiff::Timestamp;
use sea_orm::{
    ActiveValue::{NotSet, Set},
    Condition, EntityTrait, ExprTrait, QueryOrder,
    sea_query::{Expr, OnConflict},
};
use serde::{Deserialize, Serialize};

use crate::{
    StoreError,
    column::{Columns, foreign, micros, optional_micros, word},
    connection::Db,
    entity::tasks,
    error::failed,
};

/// The state of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRow {
    /// Its name.
    pub name: String,
    /// When its last run began.
    pub last_started: Option<Timestamp>,
    /// When its last run ended.
    pub last_finished: Option<Timestamp>,
    /// How the last run that ended went.
    pub outcome: Option<TaskOutcome>,
    /// What it said.
    pub message: Option<String>,
    /// When it runs next.
    pub next_run: Option<Timestamp>,
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

/// The state of the background tasks.
#[derive(Clone, Copy, Debug)]
pub struct Tasks<'a> {
    db: &'a Db,
}

impl<'a> Tasks<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Begins a run, unless one that began after `abandoned_before` has not ended. Returns whether it
    /// began: of several managers, one runs it.
    pub async fn begin(
        self,
        name: &str,
        abandoned_before: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "begin a task";
        let row = tasks::ActiveModel {
            name: Set(name.to_owned()),
            last_started: Set(Some(micros(now))),
            last_finished: NotSet,
            outcome: NotSet,
            message: NotSet,
            next_run: NotSet,
        };
        let column = |column: tasks::Column| Expr::col((tasks::Entity, column));
        let free = Condition::any()
            .add(column(tasks::Column::LastStarted).is_null())
            .add(column(tasks::Column::LastStarted).lt(micros(abandoned_before)))
            .add(column(tasks::Column::LastFinished).gte(column(tasks::Column::LastStarted)));
        let take_over = OnConflict::column(tasks::Column::Name)
            .update_column(tasks::Column::LastStarted)
            .action_cond_where(free)
            .to_owned();
        let written = tasks::Entity::insert(row)
            .on_conflict(take_over)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(written > 0)
    }

    /// Notes how a run went and when the next one is due.
    pub async fn finish(
        self,
        name: &str,
        outcome: TaskOutcome,
        message: &str,
        next_run: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "note the end of a task";
        let row = tasks::ActiveModel {
            name: Set(name.to_owned()),
            last_started: NotSet,
            last_finished: Set(Some(micros(now))),
            outcome: Set(Some(word(DOING, &outcome)?)),
            message: Set(Some(foreign(message))),
            next_run: Set(optional_micros(next_run)),
        };
        let replace = OnConflict::column(tasks::Column::Name)
            .update_columns([
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

    /// Returns the state of every task, by name. There are as many as Portway has tasks.
    pub async fn all(self) -> Result<Vec<TaskRow>, StoreError> {
        const DOING: &str = "list tasks";
        let rows = tasks::Entity::find()
            .order_by_asc(tasks::Column::Name)
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let columns = Columns::of("tasks", DOING);
        rows.into_iter()
            .map(|row| {
                Ok(TaskRow {
                    name: row.name,
                    last_started: columns.optional_time("last_started", row.last_started)?,
                    last_finished: columns.optional_time("last_finished", row.last_finished)?,
                    outcome: row.outcome.map(|word| columns.word("outcome", word)).transpose()?,
                    message: row.message,
                    next_run: columns.optional_time("next_run", row.next_run)?,
                })
            })
            .collect()
    }
}
