//! What this installation is: its id, the proof that the right master key is there, its settings.
//! The settings change through [`crate::Revisions::commit`].

use jiff::Timestamp;
use portway_model::RevisionNumber;
use sea_orm::{ActiveValue::Set, EntityTrait, sea_query::OnConflict};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::{
    StoreError,
    column::{Columns, json, micros},
    connection::Db,
    entity::installation,
    error::failed,
};

/// What an installation is.
#[derive(Clone, Debug, PartialEq)]
pub struct InstallationRow {
    /// Its id.
    pub id: Uuid,
    /// The master key that its secrets are sealed with.
    pub key_id: String,
    /// A known value sealed with that key: whoever can open it has the right one.
    pub key_check: Vec<u8>,
    /// Its settings; an empty object at first.
    pub settings: Value,
    /// The last revision that changed the settings; 0 at first.
    pub revision: RevisionNumber,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What this installation is.
#[derive(Clone, Copy, Debug)]
pub struct Installation<'a> {
    db: &'a Db,
}

impl<'a> Installation<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Returns what this installation is; nothing before its first start.
    pub async fn get(self) -> Result<Option<InstallationRow>, StoreError> {
        const DOING: &str = "read the installation";
        let row =
            installation::Entity::find().one(self.db.reader()).await.map_err(failed(DOING))?;
        row.map(|row| read(DOING, row)).transpose()
    }

    /// Makes the installation unless it is there, and returns what is there: of several managers that
    /// start at once, one makes it and all see the same.
    pub async fn init(
        self,
        id: Uuid,
        key_id: &str,
        key_check: &[u8],
        now: Timestamp,
    ) -> Result<InstallationRow, StoreError> {
        const DOING: &str = "make the installation";
        let row = installation::ActiveModel {
            singleton: Set(1),
            id: Set(id),
            key_id: Set(key_id.to_owned()),
            key_check: Set(key_check.to_vec()),
            settings: Set(json(DOING, &Value::Object(Map::new()))?),
            revision: Set(0),
            created_at: Set(micros(now)),
        };
        installation::Entity::insert(row)
            .on_conflict(
                OnConflict::column(installation::Column::Singleton).do_nothing().to_owned(),
            )
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        match self.get().await? {
            Some(row) => Ok(row),
            None => Err(StoreError::Corrupt {
                doing: DOING,
                what: "the row of the installation is gone".to_owned(),
                source: None,
            }),
        }
    }
}

fn read(doing: &'static str, row: installation::Model) -> Result<InstallationRow, StoreError> {
    let columns = Columns::of("installation", doing);
    Ok(InstallationRow {
        id: row.id,
        key_id: row.key_id,
        key_check: row.key_check,
        settings: columns.json("settings", &row.settings)?,
        revision: RevisionNumber(row.revision),
        created_at: columns.time("created_at", row.created_at)?,
    })
}
