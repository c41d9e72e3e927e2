//! What was read on nodes: observed, and never part of what is declared.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::Id;
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};

use super::{NodeRow, Nodes};
use crate::{
    StoreError,
    column::{CHUNK, Columns, REASON, foreign, optional_micros, said},
    entity::node_facts,
    error::failed,
};

/// What was read on a node, and why it could not be read since. What is not there was never known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFacts {
    /// The version of its engine.
    pub engine_version: Option<String>,
    /// The release that it says it runs.
    pub digest: Option<String>,
    /// When the node was last read.
    pub read_at: Option<Timestamp>,
    /// Why it could not be read or changed the last time.
    pub error: Option<String>,
    /// When that was.
    pub error_at: Option<Timestamp>,
    /// The fingerprint of a host key that it showed and that nobody has confirmed.
    pub offered_key: Option<String>,
    /// The address of the jump host that showed it; nothing where it was the node itself.
    pub offered_by: Option<String>,
}

impl Nodes<'_> {
    /// Notes what is known of a node, in the place of what was.
    pub async fn put_facts(self, node: Id<NodeRow>, facts: &NodeFacts) -> Result<(), StoreError> {
        const DOING: &str = "note what was read on a node";
        let text = |text: &Option<String>| text.as_deref().map(foreign);
        let row = node_facts::ActiveModel {
            node_id: Set(node.uuid()),
            engine_version: Set(text(&facts.engine_version)),
            digest: Set(text(&facts.digest)),
            read_at: Set(optional_micros(facts.read_at)),
            error: Set(facts.error.as_deref().map(|error| said(error, REASON))),
            error_at: Set(optional_micros(facts.error_at)),
            offered_key: Set(text(&facts.offered())),
        };
        let replace = OnConflict::column(node_facts::Column::NodeId)
            .update_columns([
                node_facts::Column::EngineVersion,
                node_facts::Column::Digest,
                node_facts::Column::ReadAt,
                node_facts::Column::Error,
                node_facts::Column::ErrorAt,
                node_facts::Column::OfferedKey,
            ])
            .to_owned();
        node_facts::Entity::insert(row)
            .on_conflict(replace)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Returns what is known of some nodes; those of which nothing is known are left out.
    pub async fn facts(
        self,
        ids: &[Id<NodeRow>],
    ) -> Result<BTreeMap<Id<NodeRow>, NodeFacts>, StoreError> {
        const DOING: &str = "read what is known of nodes";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let ids = ids.iter().map(|id| id.uuid());
            let query = node_facts::Entity::find().filter(node_facts::Column::NodeId.is_in(ids));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                found.insert(Id::from_uuid(row.node_id), NodeFacts::read(DOING, row)?);
            }
        }
        Ok(found)
    }
}

impl NodeFacts {
    /// Returns the key that was shown as it is stored: its fingerprint, and behind a blank the jump host
    /// that showed it.
    fn offered(&self) -> Option<String> {
        let key = self.offered_key.as_ref()?;
        Some(match &self.offered_by {
            Some(by) => format!("{key} {by}"),
            None => key.clone(),
        })
    }

    fn read(doing: &'static str, row: node_facts::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("node_facts", doing);
        let (offered_key, offered_by) = match row.offered_key {
            Some(stored) => match stored.split_once(' ') {
                Some((key, by)) => (Some(key.to_owned()), Some(by.to_owned())),
                None => (Some(stored), None),
            },
            None => (None, None),
        };
        Ok(Self {
            engine_version: row.engine_version,
            digest: row.digest,
            read_at: columns.optional_time("read_at", row.read_at)?,
            error: row.error,
            error_at: columns.optional_time("error_at", row.error_at)?,
            offered_key,
            offered_by,
        })
    }
}
