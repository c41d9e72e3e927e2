//! What was last measured on nodes: observed, and never part of what is declared. What a reading says
//! is for whoever writes it; here it is a text.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::Id;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};
use serde_json::Value;

use super::{NodeRow, Nodes};
use crate::{
    StoreError,
    column::{CHUNK, Columns, json, micros},
    entity::node_readings,
    error::failed,
};

/// The last reading of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeReading {
    /// When it was read.
    pub read_at: Timestamp,
    /// What was read.
    pub reading: Value,
}

impl Nodes<'_> {
    /// Notes the last reading of a node, in the place of the one before.
    pub async fn put_reading(
        self,
        node: Id<NodeRow>,
        reading: &NodeReading,
    ) -> Result<(), StoreError> {
        const DOING: &str = "note what was measured on a node";
        let row = node_readings::ActiveModel {
            node_id: Set(node.uuid()),
            read_at: Set(micros(reading.read_at)),
            reading: Set(json(DOING, &reading.reading)?),
        };
        let replace = OnConflict::column(node_readings::Column::NodeId)
            .update_columns([node_readings::Column::ReadAt, node_readings::Column::Reading])
            .to_owned();
        node_readings::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Returns the last readings of some nodes; those without one are left out.
    pub async fn readings(
        self,
        ids: &[Id<NodeRow>],
    ) -> Result<BTreeMap<Id<NodeRow>, NodeReading>, StoreError> {
        const DOING: &str = "read what was measured on nodes";
        let columns = Columns::of("node_readings", DOING);
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let ids = ids.iter().map(|id| id.uuid());
            let query = node_readings::Entity::find();
            let query = query.filter(node_readings::Column::NodeId.is_in(ids));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let reading = NodeReading {
                    read_at: columns.time("read_at", row.read_at)?,
                    reading: columns.json("reading", &row.reading)?,
                };
                found.insert(Id::from_uuid(row.node_id), reading);
            }
        }
        Ok(found)
    }
}
