//! Links that work once: set-up, invitation, reset of a password. Only the hash of a link's secret
//! is kept.

use jiff::Timestamp;
use portway_model::{Id, User};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, QueryFilter, sea_query::Expr,
};
use serde::{Deserialize, Serialize};

use crate::{
    StoreError,
    column::{Columns, micros, user, uuid, word},
    connection::Db,
    entity::links,
    error::failed,
};

/// A link that works once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The hash of its secret.
    pub token_hash: Vec<u8>,
    /// What it is for.
    pub kind: LinkKind,
    /// Whom it is for; nobody in particular at set-up.
    pub user: Option<Id<User>>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it works.
    pub expires_at: Timestamp,
}

/// What a link is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkKind {
    /// The first administrator of a fresh installation.
    Setup,
    /// A new user's first password.
    Invite,
    /// A new password.
    Reset,
}

/// The one-time links.
#[derive(Clone, Copy, Debug)]
pub struct Links<'a> {
    db: &'a Db,
}

impl<'a> Links<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a new link; earlier ones of the same kind for the same user stop working.
    pub async fn issue(self, link: &Link) -> Result<(), StoreError> {
        const DOING: &str = "issue a link";
        let kind = word(DOING, &link.kind)?;
        let of_user = match uuid(link.user) {
            Some(user) => links::Column::UserId.eq(user),
            None => links::Column::UserId.is_null(),
        };
        let transaction = self.db.begin(DOING).await?;
        links::Entity::delete_many()
            .filter(links::Column::Kind.eq(kind.clone()))
            .filter(of_user)
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        let row = links::ActiveModel {
            token_hash: Set(link.token_hash.clone()),
            kind: Set(kind),
            user_id: Set(uuid(link.user)),
            created_at: Set(micros(link.created_at)),
            expires_at: Set(micros(link.expires_at)),
            used_at: Set(None),
        };
        links::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await
            .map_err(failed(DOING))?;
        transaction.commit(DOING).await
    }

    /// Returns the link with this hash while it works, without using it up.
    pub async fn peek(self, token_hash: &[u8], now: Timestamp) -> Result<Option<Link>, StoreError> {
        const DOING: &str = "read a link";
        let row = links::Entity::find_by_id(token_hash.to_vec())
            .filter(links::Column::UsedAt.is_null())
            .filter(links::Column::ExpiresAt.gt(micros(now)))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| read(DOING, row)).transpose()
    }

    /// Uses a link up and returns it; nothing when it is unknown, used or expired. Of any number of
    /// callers at once, one gets it.
    pub async fn redeem(
        self,
        token_hash: &[u8],
        now: Timestamp,
    ) -> Result<Option<Link>, StoreError> {
        const DOING: &str = "use a link";
        let rows = links::Entity::update_many()
            .col_expr(links::Column::UsedAt, Expr::value(micros(now)))
            .filter(links::Column::TokenHash.eq(token_hash.to_vec()))
            .filter(links::Column::UsedAt.is_null())
            .filter(links::Column::ExpiresAt.gt(micros(now)))
            .exec_with_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        rows.into_iter().next().map(|row| read(DOING, row)).transpose()
    }

    /// Forgets links that were used or expired before `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let before = micros(before);
        let old = Condition::any()
            .add(links::Column::UsedAt.lt(before))
            .add(links::Column::ExpiresAt.lt(before));
        let deleted = links::Entity::delete_many()
            .filter(old)
            .exec(self.db.writer())
            .await
            .map_err(failed("forget old links"))?;
        Ok(deleted.rows_affected)
    }
}

fn read(doing: &'static str, row: links::Model) -> Result<Link, StoreError> {
    let columns = Columns::of("one_time_links", doing);
    Ok(Link {
        token_hash: row.token_hash,
        kind: columns.word("kind", row.kind)?,
        user: user(row.user_id),
        created_at: columns.time("created_at", row.created_at)?,
        expires_at: columns.time("expires_at", row.expires_at)?,
    })
}
