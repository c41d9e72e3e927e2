//! API tokens. Only their hash is kept, and a prefix by which their owner knows them again.

use jiff::Timestamp;
use portway_model::{Id, User};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait, sea_query::Expr,
};
use serde_json::Value;

use crate::{
    AuditEntry, Page, PageRequest, StoreError, UserRow, Visible, audit,
    column::{Columns, json, micros, optional_micros},
    connection::Db,
    entity::{tokens, users},
    error::failed,
};

/// An API token.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenRow {
    /// Its id.
    pub id: Id<TokenRow>,
    /// Whose it is.
    pub user: Id<User>,
    /// Its name, unique among the user's tokens that are not revoked.
    pub name: String,
    /// The hash of the token.
    pub token_hash: Vec<u8>,
    /// Its first characters.
    pub prefix: String,
    /// What it may be used for.
    pub scopes: Value,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    pub last_used_at: Option<Timestamp>,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
}

/// The API tokens.
#[derive(Clone, Copy, Debug)]
pub struct Tokens<'a> {
    db: &'a Db,
}

const TABLE: &str = "api_tokens";

impl<'a> Tokens<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a new token. A name that the user gave to another one is a [`StoreError::Conflict`].
    pub async fn create(self, token: &TokenRow, entry: &AuditEntry) -> Result<(), StoreError> {
        const DOING: &str = "make an API token";
        let row = tokens::ActiveModel {
            id: Set(token.id.uuid()),
            user_id: Set(token.user.uuid()),
            name: Set(token.name.clone()),
            token_hash: Set(token.token_hash.clone()),
            prefix: Set(token.prefix.clone()),
            scopes: Set(json(DOING, &token.scopes)?),
            created_at: Set(micros(token.created_at)),
            expires_at: Set(optional_micros(token.expires_at)),
            last_used_at: Set(optional_micros(token.last_used_at)),
            revoked_at: Set(optional_micros(token.revoked_at)),
        };
        let transaction = self.db.begin(DOING).await?;
        tokens::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await
            .map_err(failed(DOING))?;
        audit::append(&transaction, entry, None).await?;
        transaction.commit(DOING).await
    }

    /// Returns the token with this hash and its user while it is valid: not expired, not revoked,
    /// the user active.
    pub async fn valid(
        self,
        token_hash: &[u8],
        now: Timestamp,
    ) -> Result<Option<(TokenRow, UserRow)>, StoreError> {
        const DOING: &str = "read an API token";
        let mut query = tokens::Entity::find()
            .filter(tokens::Column::TokenHash.eq(token_hash.to_vec()))
            .filter(valid_at(now));
        QueryTrait::query(&mut query).inner_join(
            users::Entity,
            Expr::col((users::Entity, users::Column::Id))
                .equals((tokens::Entity, tokens::Column::UserId)),
        );
        let found = query
            .filter(users::Column::Active.eq(true))
            .select_also(users::Entity)
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let Some((token, Some(user))) = found else { return Ok(None) };
        Ok(Some((TokenRow::read(DOING, token)?, UserRow::read(DOING, user)?)))
    }

    /// Returns one token.
    pub async fn get(
        self,
        visible: Visible,
        id: Id<TokenRow>,
    ) -> Result<Option<TokenRow>, StoreError> {
        const DOING: &str = "read an API token";
        let row = tokens::Entity::find_by_id(id.uuid())
            .filter(visible.on(tokens::Column::UserId))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| TokenRow::read(DOING, row)).transpose()
    }

    /// Lists tokens, the newest first; those that were revoked too.
    pub async fn list(
        self,
        visible: Visible,
        page: &PageRequest,
    ) -> Result<Page<TokenRow>, StoreError> {
        const DOING: &str = "list API tokens";
        let mut query = tokens::Entity::find()
            .filter(visible.on(tokens::Column::UserId))
            .order_by_desc(tokens::Column::Id)
            .limit(page.rows());
        if let Some(before) = page.key::<uuid::Uuid>(TABLE)? {
            query = query.filter(tokens::Column::Id.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(TABLE, rows, |row| row.id)?.try_map(|row| TokenRow::read(DOING, row))
    }

    /// Ends a token. Returns whether there was a visible one to end.
    pub async fn revoke(
        self,
        visible: Visible,
        id: Id<TokenRow>,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "revoke an API token";
        let transaction = self.db.begin(DOING).await?;
        let changed = tokens::Entity::update_many()
            .col_expr(tokens::Column::RevokedAt, Expr::value(micros(now)))
            .filter(visible.on(tokens::Column::UserId))
            .filter(tokens::Column::Id.eq(id.uuid()))
            .filter(tokens::Column::RevokedAt.is_null())
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        if changed.rows_affected == 0 {
            return Ok(false);
        }
        audit::append(&transaction, entry, None).await?;
        transaction.commit(DOING).await?;
        Ok(true)
    }

    /// Notes that a token was used, unless that was noted after `noted_before`: a busy client does
    /// not make every request a write.
    pub async fn touch(
        self,
        id: Id<TokenRow>,
        noted_before: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let stale = Condition::any()
            .add(tokens::Column::LastUsedAt.is_null())
            .add(tokens::Column::LastUsedAt.lt(micros(noted_before)));
        tokens::Entity::update_many()
            .col_expr(tokens::Column::LastUsedAt, Expr::value(micros(now)))
            .filter(tokens::Column::Id.eq(id.uuid()))
            .filter(stale)
            .exec(self.db.writer())
            .await
            .map_err(failed("note the use of an API token"))?;
        Ok(())
    }
}

fn valid_at(now: Timestamp) -> Condition {
    let unexpired = Condition::any()
        .add(tokens::Column::ExpiresAt.is_null())
        .add(tokens::Column::ExpiresAt.gt(micros(now)));
    Condition::all().add(tokens::Column::RevokedAt.is_null()).add(unexpired)
}

impl TokenRow {
    fn read(doing: &'static str, row: tokens::Model) -> Result<Self, StoreError> {
        let columns = Columns::of(TABLE, doing);
        Ok(Self {
            id: Id::from_uuid(row.id),
            user: Id::from_uuid(row.user_id),
            name: row.name,
            token_hash: row.token_hash,
            prefix: row.prefix,
            scopes: columns.json("scopes", &row.scopes)?,
            created_at: columns.time("created_at", row.created_at)?,
            expires_at: columns.optional_time("expires_at", row.expires_at)?,
            last_used_at: columns.optional_time("last_used_at", row.last_used_at)?,
            revoked_at: columns.optional_time("revoked_at", row.revoked_at)?,
        })
    }
}
