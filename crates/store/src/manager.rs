//! The managers that share this database. Each has a name of its own, by which people and nodes
//! know it.

use jiff::Timestamp;
use portway_model::Name;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::OnConflict,
};
use uuid::Uuid;

use crate::{
    StoreError,
    column::{Columns, micros},
    connection::Db,
    entity::managers,
    error::failed,
};

/// As many managers can have the same wish for a name.
const SAME_NAMES: u32 = 1000;
/// More managers than this are not listed.
const MOST: u64 = 1000;

/// A manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManagerRow {
    /// Its id; it is kept in its data folder.
    pub id: Uuid,
    /// Its name.
    pub name: Name,
    /// When it was first started.
    pub created_at: Timestamp,
}

/// The managers.
#[derive(Clone, Copy, Debug)]
pub struct Managers<'a> {
    db: &'a Db,
}

impl<'a> Managers<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Returns a manager by its id, made with the nearest free name to `wish` where it is new.
    pub async fn ensure(
        self,
        id: Uuid,
        wish: &Name,
        now: Timestamp,
    ) -> Result<ManagerRow, StoreError> {
        const DOING: &str = "make a manager";
        for number in 1..=SAME_NAMES {
            if let Some(row) = self.get(id).await? {
                return Ok(row);
            }
            let name = numbered(wish, number);
            let row = managers::ActiveModel {
                id: Set(id),
                name: Set(name.to_string()),
                created_at: Set(micros(now)),
            };
            managers::Entity::insert(row)
                .on_conflict(OnConflict::new().do_nothing().to_owned())
                .exec_without_returning(self.db.writer())
                .await
                .map_err(failed(DOING))?;
        }
        Err(StoreError::Corrupt {
            doing: DOING,
            what: format!("too many managers are called `{wish}`"),
            source: None,
        })
    }

    /// Returns the manager with this id.
    pub async fn get(self, id: Uuid) -> Result<Option<ManagerRow>, StoreError> {
        const DOING: &str = "read a manager";
        let row = managers::Entity::find()
            .filter(managers::Column::Id.eq(id))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| read(DOING, &row)).transpose()
    }

    /// Lists the managers by name.
    pub async fn all(self) -> Result<Vec<ManagerRow>, StoreError> {
        const DOING: &str = "list managers";
        let rows = managers::Entity::find()
            .order_by_asc(managers::Column::Name)
            .limit(MOST)
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        rows.iter().map(|row| read(DOING, row)).collect()
    }
}

/// Returns `web`, `web-2`, `web-3` and so on.
fn numbered(wish: &Name, number: u32) -> Name {
    if number == 1 {
        return wish.clone();
    }
    let suffix = format!("-{number}");
    let kept: String = wish.as_str().chars().take(63 - suffix.len()).collect();
    Name::suggest(&(kept + &suffix)).unwrap_or_else(|| wish.clone())
}

fn read(doing: &'static str, row: &managers::Model) -> Result<ManagerRow, StoreError> {
    let columns = Columns::of("managers", doing);
    Ok(ManagerRow {
        id: row.id,
        name: columns.read("name", row.name.parse())?,
        created_at: columns.time("created_at", row.created_at)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_numbered_name_is_a_name() {
        let long: Name = "a".repeat(63).parse().unwrap();
        assert_eq!(numbered(&long, 1), long);
        assert_eq!(numbered(&long, 12).as_str(), format!("{}-12", "a".repeat(60)));
        let web: Name = "web".parse().unwrap();
        assert_eq!(numbered(&web, 2).as_str(), "web-2");
    }
}
