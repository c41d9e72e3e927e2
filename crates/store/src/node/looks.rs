//! What was last seen of nodes, for whoever plans without speaking with them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::Id;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};
use serde_json::Value;

use super::{NodeRow, Nodes};
use crate::{
    StoreError,
    column::{CHUNK, Columns, foreign, json, micros},
    entity::node_looks,
    error::failed,
};

const DOING: &str = "note what was seen of a node";

/// What was last seen of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct NodeReads {
    /// The machine and its engine.
    pub machine: Option<MachineRead>,
    /// What is there of Portway.
    pub content: Option<ContentRead>,
}

/// What was seen of a node's machine and engine.
#[derive(Clone, Debug, PartialEq)]
pub struct MachineRead {
    /// When.
    pub at: Timestamp,
    /// What is rendered for.
    pub machine: Value,
    /// What lies beside Portway's where the engine reads it, by path.
    pub beside: Vec<String>,
}

/// What was seen of Portway's on a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContentRead {
    /// When.
    pub at: Timestamp,
    /// The release that its link leads to.
    pub linked: Option<String>,
    /// The release that its engine says it serves.
    pub serves: Option<String>,
    /// What somebody else changed of it, in words.
    pub changed: Vec<String>,
}

impl Nodes<'_> {
    /// Notes what was seen of a node's machine.
    pub async fn put_machine(
        self,
        node: Id<NodeRow>,
        read: &MachineRead,
    ) -> Result<(), StoreError> {
        use node_looks::Column::{Beside, Machine, SurveyedAt};
        let row = node_looks::ActiveModel {
            node_id: Set(node.uuid()),
            surveyed_at: Set(Some(micros(read.at))),
            machine: Set(Some(json(DOING, &read.machine)?)),
            beside: Set(Some(list(&read.beside)?)),
            ..node_looks::ActiveModel::default()
        };
        self.put_read(row, &[SurveyedAt, Machine, Beside]).await
    }

    /// Notes what was seen of Portway's on a node.
    pub async fn put_content(
        self,
        node: Id<NodeRow>,
        read: &ContentRead,
    ) -> Result<(), StoreError> {
        use node_looks::Column::{Changed, Linked, LookedAt, Serves};
        let text = |text: &Option<String>| text.as_deref().map(foreign);
        let row = node_looks::ActiveModel {
            node_id: Set(node.uuid()),
            looked_at: Set(Some(micros(read.at))),
            linked: Set(text(&read.linked)),
            serves: Set(text(&read.serves)),
            changed: Set(Some(list(&read.changed)?)),
            ..node_looks::ActiveModel::default()
        };
        self.put_read(row, &[LookedAt, Linked, Serves, Changed]).await
    }

    async fn put_read(
        self,
        row: node_looks::ActiveModel,
        columns: &[node_looks::Column],
    ) -> Result<(), StoreError> {
        let replace = OnConflict::column(node_looks::Column::NodeId)
            .update_columns(columns.iter().copied())
            .to_owned();
        node_looks::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Returns what was last seen of some nodes; those that were never seen are left out.
    pub async fn reads(
        self,
        ids: &[Id<NodeRow>],
    ) -> Result<BTreeMap<Id<NodeRow>, NodeReads>, StoreError> {
        const DOING: &str = "read what was seen of nodes";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let ids = ids.iter().map(|id| id.uuid());
            let query = node_looks::Entity::find().filter(node_looks::Column::NodeId.is_in(ids));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                found.insert(Id::from_uuid(row.node_id), NodeReads::read(DOING, row)?);
            }
        }
        Ok(found)
    }
}

/// Words from a node, as both databases can hold them.
fn list(words: &[String]) -> Result<String, StoreError> {
    let words: Vec<String> = words.iter().map(|word| foreign(word)).collect();
    json(DOING, &words)
}

impl NodeReads {
    fn read(doing: &'static str, row: node_looks::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("node_looks", doing);
        let list = |column: &str, text: &Option<String>| match text {
            Some(text) => columns.json(column, text),
            None => Ok(Vec::new()),
        };
        let machine = match (columns.optional_time("surveyed_at", row.surveyed_at)?, &row.machine) {
            (Some(at), Some(machine)) => Some(MachineRead {
                at,
                machine: columns.json("machine", machine)?,
                beside: list("beside", &row.beside)?,
            }),
            (Some(_), None) | (None, _) => None,
        };
        let content = match columns.optional_time("looked_at", row.looked_at)? {
            Some(at) => Some(ContentRead {
                at,
                linked: row.linked,
                serves: row.serves,
                changed: list("changed", &row.changed)?,
            }),
            None => None,
        };
        Ok(Self { machine, content })
    }
}
