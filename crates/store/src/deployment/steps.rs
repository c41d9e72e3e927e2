//! The steps of deployments: each command with what it printed, as long as the deployment is kept.

use jiff::Timestamp;
use portway_model::{Id, Stage};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};

use super::{DeploymentRow, Deployments};
use crate::{
    StoreError,
    column::{CHUNK, Columns, micros, said, word},
    entity::deployment_steps,
    error::failed,
};

/// The most steps that are kept of a deployment.
pub const MAX_STEPS: u32 = 1000;
/// The most bytes that are kept of one text.
const MAX_TEXT: usize = 8 << 10;

/// A step of a deployment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepRow {
    /// Its number; the first is 1.
    pub number: u32,
    /// When it ended.
    pub at: Timestamp,
    /// The work in hand.
    pub stage: Stage,
    /// What was done: a command with its arguments, or words.
    pub action: String,
    /// What it printed.
    pub output: String,
    /// Whether it went well.
    pub ok: bool,
    /// How long it took, in milliseconds.
    pub milliseconds: u64,
}

impl Deployments<'_> {
    /// Keeps steps. Long texts are cut, and what is beyond [`MAX_STEPS`] is not kept.
    pub async fn add_steps(
        self,
        deployment: Id<DeploymentRow>,
        steps: &[StepRow],
    ) -> Result<(), StoreError> {
        const DOING: &str = "keep the steps of a deployment";
        let rows = steps.iter().filter(|step| step.number <= MAX_STEPS).map(|step| {
            Ok(deployment_steps::ActiveModel {
                deployment_id: Set(deployment.uuid()),
                number: Set(step.number.into()),
                at: Set(micros(step.at)),
                stage: Set(word(DOING, &step.stage)?),
                action: Set(said(&step.action, MAX_TEXT)),
                output: Set(said(&step.output, MAX_TEXT)),
                ok: Set(step.ok),
                milliseconds: Set(i64::try_from(step.milliseconds).unwrap_or(i64::MAX)),
            })
        });
        let rows = rows.collect::<Result<Vec<_>, StoreError>>()?;
        for rows in crate::column::chunked(rows) {
            deployment_steps::Entity::insert_many(rows)
                .exec_without_returning(self.db.writer())
                .await
                .map_err(failed(DOING))?;
        }
        Ok(())
    }

    /// Returns the steps of a deployment after the one of number `after`, in their order.
    pub async fn steps(
        self,
        deployment: Id<DeploymentRow>,
        after: u32,
    ) -> Result<Vec<StepRow>, StoreError> {
        const DOING: &str = "read the steps of a deployment";
        let rows = deployment_steps::Entity::find()
            .filter(deployment_steps::Column::DeploymentId.eq(deployment.uuid()))
            .filter(deployment_steps::Column::Number.gt(i64::from(after)))
            .order_by_asc(deployment_steps::Column::Number)
            .limit(2 * CHUNK as u64)
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let columns = Columns::of("deployment_steps", DOING);
        rows.into_iter()
            .map(|row| {
                Ok(StepRow {
                    number: columns.read("number", u32::try_from(row.number))?,
                    at: columns.time("at", row.at)?,
                    stage: columns.word("stage", row.stage)?,
                    action: row.action,
                    output: row.output,
                    ok: row.ok,
                    milliseconds: columns.read("milliseconds", u64::try_from(row.milliseconds))?,
                })
            })
            .collect()
    }
}
