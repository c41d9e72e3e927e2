//! Users. They are declared: made, changed and deleted through [`crate::Revisions::commit`]. Their
//! passwords are not, and are set here.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portway_model::{Id, RevisionNumber, Role, User, UserName};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, sea_query::Expr,
};
use uuid::Uuid;

use crate::{
    AuditEntry, Page, PageRequest, SessionRow, StoreError, audit,
    column::{CHUNK, Columns, micros},
    connection::{Db, Transaction},
    entity::{links, sessions, users},
    error::failed,
};

/// A user.
#[derive(Clone, PartialEq, Eq)]
pub struct UserRow {
    /// The user.
    pub user: User,
    /// The password's argon2id hash, in its own text form; nothing until it is set.
    pub password_hash: Option<String>,
    /// Counts the passwords; sessions of an earlier one are not valid.
    pub generation: i64,
    /// The last revision that changed the user.
    pub revision: RevisionNumber,
}

/// The users.
#[derive(Clone, Copy, Debug)]
pub struct Users<'a> {
    db: &'a Db,
}

impl<'a> Users<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Returns the user with this id.
    pub async fn get(self, id: Id<User>) -> Result<Option<UserRow>, StoreError> {
        self.one(users::Entity::find_by_id(id.uuid())).await
    }

    /// Returns the user with this name.
    pub async fn by_name(self, name: &UserName) -> Result<Option<UserRow>, StoreError> {
        self.one(users::Entity::find().filter(users::Column::Name.eq(name.as_str()))).await
    }

    /// Returns the users with these ids that are there, in one query for each few hundred of them.
    pub async fn by_ids(self, ids: &[Id<User>]) -> Result<BTreeMap<Id<User>, UserRow>, StoreError> {
        const DOING: &str = "read users";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let query = users::Entity::find()
                .filter(users::Column::Id.is_in(ids.iter().map(|id| id.uuid())));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let row = UserRow::read(DOING, row)?;
                found.insert(row.user.id, row);
            }
        }
        Ok(found)
    }

    /// Lists users by name.
    pub async fn list(self, page: &PageRequest) -> Result<Page<UserRow>, StoreError> {
        const DOING: &str = "list users";
        const LIST: &str = "users";
        let mut query = users::Entity::find().order_by_asc(users::Column::Name).limit(page.rows());
        if let Some(after) = page.key::<String>(LIST)? {
            query = query.filter(users::Column::Name.gt(after));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.name.clone())?.try_map(|row| UserRow::read(DOING, row))
    }

    /// Returns how many users may log in.
    pub async fn count_active(self) -> Result<u64, StoreError> {
        users::Entity::find()
            .filter(users::Column::Active.eq(true))
            .count(self.db.reader())
            .await
            .map_err(failed("count users"))
    }

    /// Tells whether an active administrator with a password exists: whether set-up is done.
    pub async fn has_administrator(self) -> Result<bool, StoreError> {
        let administrators = users::Entity::find()
            .filter(users::Column::Role.eq(Role::Admin.as_str()))
            .filter(users::Column::Active.eq(true))
            .filter(users::Column::PasswordHash.is_not_null())
            .count(self.db.reader())
            .await
            .map_err(failed("look for an administrator"))?;
        Ok(administrators > 0)
    }

    /// Returns the names of users, in one query for each few hundred of them. An id that nobody has
    /// is left out.
    pub async fn names(
        self,
        ids: impl IntoIterator<Item = Id<User>>,
    ) -> Result<BTreeMap<Id<User>, String>, StoreError> {
        let ids: BTreeSet<Uuid> = ids.into_iter().map(Id::uuid).collect();
        let ids: Vec<Uuid> = ids.into_iter().collect();
        let mut names = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let rows: Vec<(Uuid, String)> = users::Entity::find()
                .select_only()
                .columns([users::Column::Id, users::Column::Name])
                .filter(users::Column::Id.is_in(ids.iter().copied()))
                .into_tuple()
                .all(self.db.reader())
                .await
                .map_err(failed("read the names of users"))?;
            names.extend(rows.into_iter().map(|(id, name)| (Id::from_uuid(id), name)));
        }
        Ok(names)
    }

    /// Sets a password hash and ends every session and every one-time link of the user. Returns
    /// whether the user exists.
    pub async fn set_password(
        self,
        id: Id<User>,
        hash: &str,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let transaction = self.db.begin(SET_PASSWORD).await?;
        let new = NewPassword { user: id, hash, keep: None };
        new.finish(transaction, entry, now).await
    }

    /// The same for a user who is logged in: the session `keep` goes on, where it is valid. All
    /// others end.
    pub async fn change_password(
        self,
        id: Id<User>,
        hash: &str,
        keep: Id<SessionRow>,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let transaction = self.db.begin(SET_PASSWORD).await?;
        let new = NewPassword { user: id, hash, keep: Some(keep) };
        new.finish(transaction, entry, now).await
    }

    /// The same by a one-time link of the user, which is used up. Returns whether it still worked;
    /// of any number of callers at once, one has it. What fails leaves the link as it was.
    pub async fn set_password_by_link(
        self,
        id: Id<User>,
        hash: &str,
        link_hash: &[u8],
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let transaction = self.db.begin(SET_PASSWORD).await?;
        let used = links::Entity::update_many()
            .col_expr(links::Column::UsedAt, Expr::value(micros(now)))
            .filter(links::Column::TokenHash.eq(link_hash.to_vec()))
            .filter(links::Column::UserId.eq(id.uuid()))
            .filter(links::Column::UsedAt.is_null())
            .filter(links::Column::ExpiresAt.gt(micros(now)))
            .exec(&transaction)
            .await
            .map_err(failed(SET_PASSWORD))?;
        if used.rows_affected == 0 {
            return Ok(false);
        }
        let new = NewPassword { user: id, hash, keep: None };
        new.finish(transaction, entry, now).await
    }

    /// Replaces a password hash by one of the same password with newer parameters. Sessions stay.
    /// Returns whether `old` was still the hash.
    pub async fn rehash_password(
        self,
        id: Id<User>,
        old: &str,
        new: &str,
    ) -> Result<bool, StoreError> {
        let changed = users::Entity::update_many()
            .col_expr(users::Column::PasswordHash, Expr::value(new))
            .filter(users::Column::Id.eq(id.uuid()))
            .filter(users::Column::PasswordHash.eq(old))
            .exec(self.db.writer())
            .await
            .map_err(failed("renew a password hash"))?;
        Ok(changed.rows_affected > 0)
    }

    async fn one(
        self,
        query: sea_orm::Select<users::Entity>,
    ) -> Result<Option<UserRow>, StoreError> {
        const DOING: &str = "read a user";
        let row = query.one(self.db.reader()).await.map_err(failed(DOING))?;
        row.map(|row| UserRow::read(DOING, row)).transpose()
    }
}

const SET_PASSWORD: &str = "set a password";

/// A password hash on its way into the database.
struct NewPassword<'a> {
    user: Id<User>,
    hash: &'a str,
    keep: Option<Id<SessionRow>>,
}

impl NewPassword<'_> {
    /// Writes it with everything that goes with it, or nothing. Returns whether the user exists.
    async fn finish(
        self,
        transaction: Transaction,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        if !self.write(&transaction, now).await? {
            return Ok(false);
        }
        self.end_sessions(&transaction, now).await?;
        // Whoever sets a password because another may be known does not want an old link to work.
        links::Entity::delete_many()
            .filter(links::Column::UserId.eq(self.user.uuid()))
            .filter(links::Column::UsedAt.is_null())
            .exec(&transaction)
            .await
            .map_err(failed(SET_PASSWORD))?;
        audit::append(&transaction, entry, None).await?;
        transaction.commit(SET_PASSWORD).await?;
        Ok(true)
    }

    async fn write(&self, transaction: &Transaction, now: Timestamp) -> Result<bool, StoreError> {
        let changed = users::Entity::update_many()
            .set(users::ActiveModel {
                password_hash: Set(Some(self.hash.to_owned())),
                updated_at: Set(micros(now)),
                ..users::ActiveModel::default()
            })
            .col_expr(users::Column::Generation, Expr::col(users::Column::Generation).add(1))
            .filter(users::Column::Id.eq(self.user.uuid()))
            .exec(transaction)
            .await
            .map_err(failed(SET_PASSWORD))?;
        Ok(changed.rows_affected > 0)
    }

    /// The kept session takes the step to the new generation that the user took. One that was begun
    /// under an earlier password stays behind, and with that invalid.
    async fn end_sessions(
        &self,
        transaction: &Transaction,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let of_user = sessions::Column::UserId.eq(self.user.uuid());
        let mut others =
            Condition::all().add(of_user.clone()).add(sessions::Column::RevokedAt.is_null());
        if let Some(keep) = self.keep {
            others = others.add(sessions::Column::Id.ne(keep.uuid()));
            sessions::Entity::update_many()
                .col_expr(
                    sessions::Column::Generation,
                    Expr::col(sessions::Column::Generation).add(1),
                )
                .filter(of_user)
                .filter(sessions::Column::Id.eq(keep.uuid()))
                .exec(transaction)
                .await
                .map_err(failed(SET_PASSWORD))?;
        }
        sessions::Entity::update_many()
            .col_expr(sessions::Column::RevokedAt, Expr::value(micros(now)))
            .filter(others)
            .exec(transaction)
            .await
            .map_err(failed(SET_PASSWORD))?;
        Ok(())
    }
}

impl UserRow {
    pub(crate) fn read(doing: &'static str, row: users::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("users", doing);
        Ok(Self {
            user: User {
                id: Id::from_uuid(row.id),
                name: columns.read("name", row.name.parse())?,
                email: row.email,
                role: columns.read("role", row.role.parse())?,
                bounds: columns.json("bounds", &row.bounds)?,
                active: row.active,
                created_at: columns.time("created_at", row.created_at)?,
            },
            password_hash: row.password_hash,
            generation: row.generation,
            revision: RevisionNumber(row.revision),
        })
    }
}

impl std::fmt::Debug for UserRow {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserRow")
            .field("user", &self.user)
            .field("has_password", &self.password_hash.is_some())
            .field("generation", &self.generation)
            .field("revision", &self.revision)
            .finish()
    }
}
