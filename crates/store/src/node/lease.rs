//! Who works on a node. Of several managers one does, and each time under a greater number: a node
//! that has seen a number refuses whoever comes with a smaller one.
//!
//! A number is not smaller than the time at which it is given, in microseconds. So it is greater than
//! those that a node has seen before it was removed and declared anew, or before the database was put
//! back to an earlier state.

use jiff::Timestamp;
use portway_model::Id;
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{NodeRow, Nodes};
use crate::{
    Lease, StoreError,
    column::{Columns, micros},
    connection::Transaction,
    entity::node_leases,
    error::failed,
};

/// Who works on a node, or did last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeLease {
    /// The manager.
    pub holder: Uuid,
    /// The manager's name.
    pub manager: String,
    /// The number of this lease: greater than that of each before it on the node.
    pub fence: i64,
    /// When the lease ends unless it is renewed.
    pub until: Timestamp,
}

impl Nodes<'_> {
    /// Takes a node for a manager, unless another one holds it. Returns the number of the lease. The
    /// same manager can take it again, and the lease that it had before is no longer worth anything.
    pub async fn hold(
        self,
        node: Id<NodeRow>,
        lease: Lease<'_>,
        now: Timestamp,
    ) -> Result<Option<i64>, StoreError> {
        const DOING: &str = "take a node";
        let transaction = self.db.begin(DOING).await?;
        let row = node_leases::ActiveModel {
            node_id: Set(node.uuid()),
            holder: Set(lease.holder),
            manager: Set(lease.manager.to_owned()),
            fence: Set(micros(now)),
            until: Set(micros(lease.until)),
        };
        let column = |column: node_leases::Column| Expr::col((node_leases::Entity, column));
        let free = Condition::any()
            .add(column(node_leases::Column::Holder).eq(lease.holder))
            .add(column(node_leases::Column::Until).lte(micros(now)));
        let next = || column(node_leases::Column::Fence).add(1);
        let next = Expr::case(next().gt(micros(now)), next()).finally(micros(now));
        let take = OnConflict::column(node_leases::Column::NodeId)
            .update_columns([
                node_leases::Column::Holder,
                node_leases::Column::Manager,
                node_leases::Column::Until,
            ])
            .value(node_leases::Column::Fence, next)
            .action_cond_where(free)
            .to_owned();
        let written = node_leases::Entity::insert(row)
            .on_conflict(take)
            .exec_without_returning(&transaction)
            .await
            .map_err(failed(DOING))?;
        if written == 0 {
            return Ok(None);
        }
        let fence = read(&transaction, node, DOING).await?.map(|row| row.fence);
        transaction.commit(DOING).await?;
        Ok(fence)
    }

    /// Holds a node for longer. Returns whether it is still held under this number.
    pub async fn hold_on(
        self,
        node: Id<NodeRow>,
        fence: i64,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.set_end(node, fence, until, "hold a node").await
    }

    /// Gives a node back. Returns whether it was still held under this number.
    pub async fn let_go(
        self,
        node: Id<NodeRow>,
        fence: i64,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.set_end(node, fence, now, "give a node back").await
    }

    /// Returns who works on a node, or did last.
    pub async fn lease(self, node: Id<NodeRow>) -> Result<Option<NodeLease>, StoreError> {
        const DOING: &str = "read who works on a node";
        let query = node_leases::Entity::find_by_id(node.uuid());
        let row = query.one(self.db.reader()).await.map_err(failed(DOING))?;
        let columns = Columns::of("node_leases", DOING);
        row.map(|row| {
            Ok(NodeLease {
                holder: row.holder,
                manager: row.manager,
                fence: row.fence,
                until: columns.time("until", row.until)?,
            })
        })
        .transpose()
    }

    /// The number names the lease, whoever holds it.
    async fn set_end(
        self,
        node: Id<NodeRow>,
        fence: i64,
        until: Timestamp,
        doing: &'static str,
    ) -> Result<bool, StoreError> {
        let changed = node_leases::Entity::update_many()
            .col_expr(node_leases::Column::Until, Expr::value(micros(until)))
            .filter(node_leases::Column::NodeId.eq(node.uuid()))
            .filter(node_leases::Column::Fence.eq(fence))
            .exec(self.db.writer())
            .await
            .map_err(failed(doing))?;
        Ok(changed.rows_affected > 0)
    }
}

async fn read(
    transaction: &Transaction,
    node: Id<NodeRow>,
    doing: &'static str,
) -> Result<Option<node_leases::Model>, StoreError> {
    let query = node_leases::Entity::find_by_id(node.uuid());
    query.one(transaction).await.map_err(failed(doing))
}
