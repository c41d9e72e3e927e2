//! Nodes that are no longer declared and still have to be cleaned of what Portway put there.

use jiff::Timestamp;
use portway_model::{Id, Name};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect};
use serde_json::Value;
use uuid::Uuid;

use super::{NodeRow, Nodes};
use crate::{Page, PageRequest, StoreError, column::Columns, entity::node_removals, error::failed};

/// A node that is to be cleaned.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRemoval {
    /// The id that it had.
    pub id: Id<NodeRow>,
    /// The name that it had.
    pub name: Name,
    /// How it was declared, with references in the place of secrets.
    pub spec: Value,
    /// When it was removed.
    pub removed_at: Timestamp,
}

impl Nodes<'_> {
    /// Lists nodes that are to be cleaned, by id.
    pub async fn removals(self, page: &PageRequest) -> Result<Page<NodeRemoval>, StoreError> {
        const DOING: &str = "list nodes to clean";
        const LIST: &str = "node removals";
        let mut query = node_removals::Entity::find().order_by_asc(node_removals::Column::NodeId);
        if let Some(after) = page.key::<Uuid>(LIST)? {
            query = query.filter(node_removals::Column::NodeId.gt(after));
        }
        let rows = query.limit(page.rows()).all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.node_id)?.try_map(|row| NodeRemoval::read(DOING, &row))
    }

    /// Forgets a node that was cleaned. Returns whether it was to be.
    pub async fn cleaned(self, id: Id<NodeRow>) -> Result<bool, StoreError> {
        let deleted = node_removals::Entity::delete_by_id(id.uuid())
            .exec(self.db.writer())
            .await
            .map_err(failed("forget a node that was cleaned"))?;
        Ok(deleted.rows_affected > 0)
    }
}

impl NodeRemoval {
    fn read(doing: &'static str, row: &node_removals::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("node_removals", doing);
        Ok(Self {
            id: Id::from_uuid(row.node_id),
            name: columns.read("name", row.name.parse())?,
            spec: columns.json("spec", &row.spec)?,
            removed_at: columns.time("removed_at", row.removed_at)?,
        })
    }
}
