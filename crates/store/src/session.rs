//! Sessions of browsers and of clients with a JWT. Only the hash of a session's secret (the cookie,
//! the refresh token) is kept.

use jiff::Timestamp;
use portway_model::{Id, User};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, Condition, EntityTrait, ExprTrait, PaginatorTrait, QueryFilter,
    QueryOrder, QuerySelect, QueryTrait, sea_query::Expr,
};
use serde::{Deserialize, Serialize};

use crate::{
    Page, PageRequest, StoreError, UserRow, Visible,
    column::{Columns, foreign, micros, optional_micros, word},
    connection::Db,
    entity::{sessions, users},
    error::failed,
};

/// A session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Its id.
    pub id: Id<SessionRow>,
    /// Whose it is.
    pub user: Id<User>,
    /// Who holds it.
    pub kind: SessionKind,
    /// The hash of its secret.
    pub token_hash: Vec<u8>,
    /// The user's generation when it began.
    pub generation: i64,
    /// When it began.
    pub created_at: Timestamp,
    /// When it ends by itself.
    pub expires_at: Timestamp,
    /// When it was last used.
    pub last_seen_at: Timestamp,
    /// When it was ended.
    pub revoked_at: Option<Timestamp>,
    /// What the client calls itself.
    pub user_agent: String,
    /// Where the client was when it began.
    pub address: String,
}

/// Who holds a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SessionKind {
    /// A browser, by a cookie.
    Browser,
    /// A client with a JWT and a token to refresh it.
    Jwt,
}

/// The sessions.
#[derive(Clone, Copy, Debug)]
pub struct Sessions<'a> {
    db: &'a Db,
}

const TABLE: &str = "sessions";

impl<'a> Sessions<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a new session.
    pub async fn create(self, session: &SessionRow) -> Result<(), StoreError> {
        const DOING: &str = "begin a session";
        let row = sessions::ActiveModel {
            id: Set(session.id.uuid()),
            user_id: Set(session.user.uuid()),
            kind: Set(word(DOING, &session.kind)?),
            token_hash: Set(session.token_hash.clone()),
            generation: Set(session.generation),
            created_at: Set(micros(session.created_at)),
            expires_at: Set(micros(session.expires_at)),
            last_seen_at: Set(micros(session.last_seen_at)),
            revoked_at: Set(optional_micros(session.revoked_at)),
            user_agent: Set(foreign(&session.user_agent)),
            address: Set(foreign(&session.address)),
        };
        sessions::Entity::insert(row)
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(())
    }

    /// Returns a session with its user while it is valid: not expired, not revoked, the user active
    /// and the password the same.
    pub async fn valid(
        self,
        id: Id<SessionRow>,
        now: Timestamp,
    ) -> Result<Option<(SessionRow, UserRow)>, StoreError> {
        self.valid_by(sessions::Column::Id.eq(id.uuid()), now).await
    }

    /// Returns the valid session whose secret has this hash, with its user.
    pub async fn valid_by_token(
        self,
        token_hash: &[u8],
        now: Timestamp,
    ) -> Result<Option<(SessionRow, UserRow)>, StoreError> {
        self.valid_by(sessions::Column::TokenHash.eq(token_hash.to_vec()), now).await
    }

    /// Notes that a session is in use and lets it end at `expires_at`.
    pub async fn touch(
        self,
        id: Id<SessionRow>,
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sessions::Entity::update_many()
            .col_expr(sessions::Column::LastSeenAt, Expr::value(micros(now)))
            .col_expr(sessions::Column::ExpiresAt, Expr::value(micros(expires_at)))
            .filter(sessions::Column::Id.eq(id.uuid()))
            .filter(sessions::Column::RevokedAt.is_null())
            .exec(self.db.writer())
            .await
            .map_err(failed("note the use of a session"))?;
        Ok(())
    }

    /// Gives a session a new secret in exchange for the old one. Returns whether `old_hash` was its
    /// secret; of any number of callers at once, one succeeds.
    pub async fn rotate(
        self,
        id: Id<SessionRow>,
        old_hash: &[u8],
        new_hash: &[u8],
        expires_at: Timestamp,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let changed = sessions::Entity::update_many()
            .col_expr(sessions::Column::TokenHash, Expr::value(new_hash.to_vec()))
            .col_expr(sessions::Column::LastSeenAt, Expr::value(micros(now)))
            .col_expr(sessions::Column::ExpiresAt, Expr::value(micros(expires_at)))
            .filter(sessions::Column::Id.eq(id.uuid()))
            .filter(sessions::Column::TokenHash.eq(old_hash.to_vec()))
            .filter(sessions::Column::RevokedAt.is_null())
            .exec(self.db.writer())
            .await
            .map_err(failed("refresh a session"))?;
        Ok(changed.rows_affected > 0)
    }

    /// Ends a session. Returns whether there was a visible one to end.
    pub async fn revoke(
        self,
        visible: Visible,
        id: Id<SessionRow>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let condition =
            visible.on(sessions::Column::UserId).add(sessions::Column::Id.eq(id.uuid()));
        Ok(self.revoke_where(condition, now).await? > 0)
    }

    /// Ends every session of a user. Returns how many.
    pub async fn revoke_all(self, user: Id<User>, now: Timestamp) -> Result<u64, StoreError> {
        let condition = Condition::all().add(sessions::Column::UserId.eq(user.uuid()));
        self.revoke_where(condition, now).await
    }

    /// Lists the sessions of a user that have not ended, the newest first.
    pub async fn list(
        self,
        user: Id<User>,
        page: &PageRequest,
        now: Timestamp,
    ) -> Result<Page<SessionRow>, StoreError> {
        const DOING: &str = "list sessions";
        let mut query = sessions::Entity::find()
            .filter(sessions::Column::UserId.eq(user.uuid()))
            .filter(open_at(now))
            .order_by_desc(sessions::Column::Id)
            .limit(page.rows());
        if let Some(before) = page.key::<uuid::Uuid>(TABLE)? {
            query = query.filter(sessions::Column::Id.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(TABLE, rows, |row| row.id)?.try_map(|row| SessionRow::read(DOING, row))
    }

    /// Returns how many sessions have not ended.
    pub async fn count_open(self, now: Timestamp) -> Result<u64, StoreError> {
        sessions::Entity::find()
            .filter(open_at(now))
            .count(self.db.reader())
            .await
            .map_err(failed("count sessions"))
    }

    /// Forgets sessions that ended before `before`. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let before = micros(before);
        let ended = Condition::any()
            .add(sessions::Column::ExpiresAt.lt(before))
            .add(sessions::Column::RevokedAt.lt(before));
        let deleted = sessions::Entity::delete_many()
            .filter(ended)
            .exec(self.db.writer())
            .await
            .map_err(failed("forget old sessions"))?;
        Ok(deleted.rows_affected)
    }

    async fn valid_by(
        self,
        condition: sea_orm::sea_query::SimpleExpr,
        now: Timestamp,
    ) -> Result<Option<(SessionRow, UserRow)>, StoreError> {
        const DOING: &str = "read a session";
        let mut query = sessions::Entity::find().filter(condition).filter(open_at(now));
        QueryTrait::query(&mut query).inner_join(
            users::Entity,
            Expr::col((users::Entity, users::Column::Id))
                .equals((sessions::Entity, sessions::Column::UserId)),
        );
        let found = query
            .filter(users::Column::Active.eq(true))
            .filter(
                Expr::col((users::Entity, users::Column::Generation))
                    .equals((sessions::Entity, sessions::Column::Generation)),
            )
            .select_also(users::Entity)
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let Some((session, Some(user))) = found else { return Ok(None) };
        Ok(Some((SessionRow::read(DOING, session)?, UserRow::read(DOING, user)?)))
    }

    async fn revoke_where(self, condition: Condition, now: Timestamp) -> Result<u64, StoreError> {
        let changed = sessions::Entity::update_many()
            .col_expr(sessions::Column::RevokedAt, Expr::value(micros(now)))
            .filter(condition)
            .filter(sessions::Column::RevokedAt.is_null())
            .exec(self.db.writer())
            .await
            .map_err(failed("end sessions"))?;
        Ok(changed.rows_affected)
    }
}

fn open_at(now: Timestamp) -> Condition {
    Condition::all()
        .add(sessions::Column::RevokedAt.is_null())
        .add(sessions::Column::ExpiresAt.gt(micros(now)))
}

impl SessionRow {
    fn read(doing: &'static str, row: sessions::Model) -> Result<Self, StoreError> {
        let columns = Columns::of(TABLE, doing);
        Ok(Self {
            id: Id::from_uuid(row.id),
            user: Id::from_uuid(row.user_id),
            kind: columns.word("kind", row.kind)?,
            token_hash: row.token_hash,
            generation: row.generation,
            created_at: columns.time("created_at", row.created_at)?,
            expires_at: columns.time("expires_at", row.expires_at)?,
            last_seen_at: columns.time("last_seen_at", row.last_seen_at)?,
            revoked_at: columns.optional_time("revoked_at", row.revoked_at)?,
            user_agent: row.user_agent,
            address: row.address,
        })
    }
}
