//! Deployments: what was done to which node, stage by stage, so that a restart knows what to resume.

mod steps;

use jiff::Timestamp;
use portway_model::{Finding, Id, RevisionNumber, Stage};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use uuid::Uuid;

pub use self::steps::{MAX_STEPS, StepRow};
use crate::{
    NodeRow, Page, PageRequest, StoreError,
    column::{Columns, json, micros, optional_micros, word},
    connection::Db,
    entity::{deployments, node_leases},
    error::failed,
};

/// A deployment on one node.
#[derive(Clone, Debug, PartialEq)]
pub struct DeploymentRow {
    /// Its id.
    pub id: Id<DeploymentRow>,
    /// The node.
    pub node: Id<NodeRow>,
    /// What the node had.
    pub from: RevisionNumber,
    /// What the node is given.
    pub to: RevisionNumber,
    /// The work in hand.
    pub stage: Stage,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// What was found on the way.
    pub findings: Vec<Finding>,
    /// The digest over everything that the node was given.
    pub digest: Option<String>,
    /// The release that a node of a file engine is given; nothing for an edge.
    pub release: Option<String>,
    /// The release that it had.
    pub before: Option<String>,
    /// The number under which the node was held for it (see [`crate::NodeLease`]).
    pub fence: Option<i64>,
}

/// What became of taking a deployment to its next stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Advanced {
    /// It is in it.
    Yes,
    /// The node is no longer held under the deployment's number.
    NotHeld,
    /// It was in another stage than was thought: somebody else has gone on with it.
    GoneOn,
}

/// The deployments.
#[derive(Clone, Copy, Debug)]
pub struct Deployments<'a> {
    db: &'a Db,
}

const LIST: &str = "deployments";

impl<'a> Deployments<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a deployment, or what has become of it: the one call for its whole life.
    pub async fn record(self, deployment: &DeploymentRow) -> Result<(), StoreError> {
        const DOING: &str = "record a deployment";
        let row = deployments::ActiveModel {
            id: Set(deployment.id.uuid()),
            node_id: Set(deployment.node.uuid()),
            from_revision: Set(deployment.from.0),
            to_revision: Set(deployment.to.0),
            stage: Set(word(DOING, &deployment.stage)?),
            started_at: Set(micros(deployment.started_at)),
            finished_at: Set(optional_micros(deployment.finished_at)),
            findings: Set(json(DOING, &deployment.findings)?),
            digest: Set(deployment.digest.clone()),
            release_digest: Set(deployment.release.clone()),
            release_before: Set(deployment.before.clone()),
            fence: Set(deployment.fence),
        };
        let replace = sea_orm::sea_query::OnConflict::column(deployments::Column::Id)
            .update_columns([
                deployments::Column::Stage,
                deployments::Column::FinishedAt,
                deployments::Column::Findings,
                deployments::Column::Digest,
                deployments::Column::ReleaseDigest,
                deployments::Column::ReleaseBefore,
                deployments::Column::Fence,
            ])
            .to_owned();
        deployments::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Takes a deployment from one stage to the next, and holds its node for longer, both or neither. Of
    /// two managers that both want to go on, one does.
    pub async fn advance(
        self,
        deployment: &DeploymentRow,
        from: Stage,
        to: Stage,
        until: Timestamp,
        now: Timestamp,
    ) -> Result<Advanced, StoreError> {
        const DOING: &str = "advance a deployment";
        let transaction = self.db.begin(DOING).await?;
        let held = node_leases::Entity::update_many()
            .col_expr(node_leases::Column::Until, Expr::value(micros(until)))
            .filter(node_leases::Column::NodeId.eq(deployment.node.uuid()))
            .filter(node_leases::Column::Fence.eq(deployment.fence.unwrap_or_default()))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        if held.rows_affected == 0 {
            return Ok(Advanced::NotHeld);
        }
        let changed = deployments::Entity::update_many()
            .col_expr(deployments::Column::Stage, Expr::value(word(DOING, &to)?))
            .col_expr(
                deployments::Column::FinishedAt,
                Expr::value(to.is_end().then(|| micros(now))),
            )
            .filter(deployments::Column::Id.eq(deployment.id.uuid()))
            .filter(deployments::Column::Stage.eq(word(DOING, &from)?))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        if changed.rows_affected == 0 {
            return Ok(Advanced::GoneOn);
        }
        transaction.commit(DOING).await?;
        Ok(Advanced::Yes)
    }

    /// Returns one deployment.
    pub async fn get(self, id: Id<DeploymentRow>) -> Result<Option<DeploymentRow>, StoreError> {
        const DOING: &str = "read a deployment";
        let row = deployments::Entity::find_by_id(id.uuid())
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| DeploymentRow::read(DOING, row)).transpose()
    }

    /// Lists deployments, of one node or of all, the newest first.
    pub async fn list(
        self,
        node: Option<Id<NodeRow>>,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRow>, StoreError> {
        let mut query = deployments::Entity::find();
        if let Some(node) = node {
            query = query.filter(deployments::Column::NodeId.eq(node.uuid()));
        }
        self.newest_first(query, page).await
    }

    /// Lists deployments that have not ended, the newest first.
    pub async fn unfinished(self, page: &PageRequest) -> Result<Page<DeploymentRow>, StoreError> {
        let query = deployments::Entity::find().filter(deployments::Column::FinishedAt.is_null());
        self.newest_first(query, page).await
    }

    /// Forgets deployments that ended before `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let deleted = deployments::Entity::delete_many()
            .filter(deployments::Column::FinishedAt.lt(micros(before)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget old deployments"))?;
        Ok(deleted.rows_affected)
    }

    /// Ids are made in the order of time.
    async fn newest_first(
        self,
        query: sea_orm::Select<deployments::Entity>,
        page: &PageRequest,
    ) -> Result<Page<DeploymentRow>, StoreError> {
        const DOING: &str = "list deployments";
        let mut query = query.order_by_desc(deployments::Column::Id).limit(page.rows());
        if let Some(before) = page.key::<Uuid>(LIST)? {
            query = query.filter(deployments::Column::Id.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.id)?.try_map(|row| DeploymentRow::read(DOING, row))
    }
}

impl DeploymentRow {
    fn read(doing: &'static str, row: deployments::Model) -> Result<Self, StoreError> {
        let columns = Columns::of(LIST, doing);
        Ok(Self {
            id: Id::from_uuid(row.id),
            node: Id::from_uuid(row.node_id),
            from: RevisionNumber(row.from_revision),
            to: RevisionNumber(row.to_revision),
            stage: columns.word("stage", row.stage)?,
            started_at: columns.time("started_at", row.started_at)?,
            finished_at: columns.optional_time("finished_at", row.finished_at)?,
            findings: columns.json("findings", &row.findings)?,
            digest: row.digest,
            release: row.release_digest,
            before: row.release_before,
            fence: row.fence,
        })
    }
}
