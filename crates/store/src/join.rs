//! Tokens by which a machine makes itself a node, once. Only their hash is kept, and a prefix by which
//! people know them again.

use jiff::Timestamp;
use portway_model::Id;
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::Expr,
};
use serde_json::Value;

use crate::{
    AuditEntry, Page, PageRequest, StoreError, audit,
    column::{Columns, json, micros},
    connection::Db,
    entity::join_tokens,
    error::failed,
};

/// A token by which a machine joins.
#[derive(Clone, Debug, PartialEq)]
pub struct JoinTokenRow {
    /// Its id.
    pub id: Id<JoinTokenRow>,
    /// The hash of the token.
    pub token_hash: Vec<u8>,
    /// Its first characters.
    pub prefix: String,
    /// What a node is that it makes.
    pub template: Value,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    /// When it was used.
    pub used_at: Option<Timestamp>,
    /// From which address.
    pub used_from: Option<String>,
    /// The name of the node that it made.
    pub node: Option<String>,
}

/// The tokens by which machines join.
#[derive(Clone, Copy, Debug)]
pub struct JoinTokens<'a> {
    db: &'a Db,
}

const TABLE: &str = "join_tokens";

impl<'a> JoinTokens<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a new token.
    pub async fn create(self, token: &JoinTokenRow, entry: &AuditEntry) -> Result<(), StoreError> {
        const DOING: &str = "make a join token";
        let row = join_tokens::ActiveModel {
            id: Set(token.id.uuid()),
            token_hash: Set(token.token_hash.clone()),
            prefix: Set(token.prefix.clone()),
            template: Set(json(DOING, &token.template)?),
            made_by: Set(token.made_by.clone()),
            created_at: Set(micros(token.created_at)),
            expires_at: Set(micros(token.expires_at)),
            revoked_at: Set(None),
            used_at: Set(None),
            used_from: Set(None),
            node: Set(None),
        };
        let transaction = self.db.begin(DOING).await?;
        join_tokens::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await
            .map_err(failed(DOING))?;
        audit::append(&transaction, entry, None).await?;
        transaction.commit(DOING).await
    }

    /// Returns the token with this hash, also when it was used or has ended.
    pub async fn by_hash(self, token_hash: &[u8]) -> Result<Option<JoinTokenRow>, StoreError> {
        const DOING: &str = "read a join token";
        let row = join_tokens::Entity::find()
            .filter(join_tokens::Column::TokenHash.eq(token_hash.to_vec()))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| JoinTokenRow::read(DOING, row)).transpose()
    }

    /// Uses a token up for a node. Returns whether it could be: of any number of callers at once, one
    /// gets it.
    pub async fn redeem(
        self,
        id: Id<JoinTokenRow>,
        node: &str,
        from: &str,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "use a join token";
        let used = join_tokens::Entity::update_many()
            .col_expr(join_tokens::Column::UsedAt, Expr::value(micros(now)))
            .col_expr(join_tokens::Column::UsedFrom, Expr::value(from))
            .col_expr(join_tokens::Column::Node, Expr::value(node))
            .filter(join_tokens::Column::Id.eq(id.uuid()))
            .filter(usable_at(now))
            .exec(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(used.rows_affected == 1)
    }

    /// Lets a token be used again whose node did not come about.
    pub async fn give_back(self, id: Id<JoinTokenRow>) -> Result<(), StoreError> {
        join_tokens::Entity::update_many()
            .col_expr(join_tokens::Column::UsedAt, Expr::value(None::<i64>))
            .col_expr(join_tokens::Column::UsedFrom, Expr::value(None::<String>))
            .col_expr(join_tokens::Column::Node, Expr::value(None::<String>))
            .filter(join_tokens::Column::Id.eq(id.uuid()))
            .exec(self.db.writer())
            .await
            .map_err(failed("give back a join token"))?;
        Ok(())
    }

    /// Lists tokens, the newest first; those that were used or have ended too.
    pub async fn list(self, page: &PageRequest) -> Result<Page<JoinTokenRow>, StoreError> {
        const DOING: &str = "list join tokens";
        let mut query =
            join_tokens::Entity::find().order_by_desc(join_tokens::Column::Id).limit(page.rows());
        if let Some(before) = page.key::<uuid::Uuid>(TABLE)? {
            query = query.filter(join_tokens::Column::Id.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(TABLE, rows, |row| row.id)?.try_map(|row| JoinTokenRow::read(DOING, row))
    }

    /// Ends a token. Returns whether there was one to end.
    pub async fn revoke(
        self,
        id: Id<JoinTokenRow>,
        entry: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "revoke a join token";
        let transaction = self.db.begin(DOING).await?;
        let changed = join_tokens::Entity::update_many()
            .col_expr(join_tokens::Column::RevokedAt, Expr::value(micros(now)))
            .filter(join_tokens::Column::Id.eq(id.uuid()))
            .filter(usable_at(now))
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
}

fn usable_at(now: Timestamp) -> Condition {
    Condition::all()
        .add(join_tokens::Column::UsedAt.is_null())
        .add(join_tokens::Column::RevokedAt.is_null())
        .add(join_tokens::Column::ExpiresAt.gt(micros(now)))
}

impl JoinTokenRow {
    /// Tells whether a machine can join by it.
    pub fn is_usable(&self, now: Timestamp) -> bool {
        self.used_at.is_none() && self.revoked_at.is_none() && self.expires_at > now
    }

    fn read(doing: &'static str, row: join_tokens::Model) -> Result<Self, StoreError> {
        let columns = Columns::of(TABLE, doing);
        Ok(Self {
            id: Id::from_uuid(row.id),
            token_hash: row.token_hash,
            prefix: row.prefix,
            template: columns.json("template", &row.template)?,
            made_by: row.made_by,
            created_at: columns.time("created_at", row.created_at)?,
            expires_at: columns.time("expires_at", row.expires_at)?,
            revoked_at: columns.optional_time("revoked_at", row.revoked_at)?,
            used_at: columns.optional_time("used_at", row.used_at)?,
            used_from: row.used_from,
            node: row.node,
        })
    }
}
