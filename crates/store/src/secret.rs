//! Sealed secrets: what sites refer to instead of holding it. Sealing is done above; here they are
//! bytes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{Id, ResourceKind, Site, User};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter,
    sea_query::{Expr, Func, OnConflict, Query},
};
use serde::{Deserialize, Serialize};

use crate::{
    Backend, StoreError,
    column::{CHUNK, Columns, micros, user, uuid, word},
    connection::Db,
    entity::{changes, secrets},
    error::failed,
};

/// A secret as it is kept.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedSecret {
    /// The text by which sites refer to it.
    pub reference: String,
    /// What it is.
    pub kind: SecretKind,
    /// Whose it is; nobody's when it belongs to the installation.
    pub owner: Option<Id<User>>,
    /// The site that refers to it; nothing when the installation does.
    pub site: Option<Id<Site>>,
    /// The secret, sealed.
    pub sealed: Vec<u8>,
    /// The key it is sealed with.
    pub key_id: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// What a secret is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretKind {
    /// The hash of a visitor's password.
    PasswordHash,
    /// Credentials for an upstream.
    UpstreamCredential,
    /// A private key.
    PrivateKey,
    /// A key with which Portway signs.
    SigningKey,
}

/// The sealed secrets.
#[derive(Clone, Copy, Debug)]
pub struct Secrets<'a> {
    db: &'a Db,
}

impl<'a> Secrets<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps secrets; one whose reference is there already stays as it is.
    pub async fn put_if_absent(self, secrets: &[SealedSecret]) -> Result<(), StoreError> {
        const DOING: &str = "keep secrets";
        let transaction = self.db.begin(DOING).await?;
        put_if_absent(&transaction, secrets).await?;
        transaction.commit(DOING).await
    }

    /// Returns the secrets with these references that are there.
    pub async fn get(
        self,
        references: &[&str],
    ) -> Result<BTreeMap<String, SealedSecret>, StoreError> {
        const DOING: &str = "read secrets";
        let mut found = BTreeMap::new();
        for references in references.chunks(CHUNK) {
            let rows = secrets::Entity::find()
                .filter(secrets::Column::Reference.is_in(references.iter().copied()))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            for row in rows {
                let secret = SealedSecret::read(DOING, row)?;
                found.insert(secret.reference.clone(), secret);
            }
        }
        Ok(found)
    }

    /// Forgets secrets of sites, made before `before`, to which no version of their site refers: what
    /// is left of changes that were never written. Secrets of earlier versions stay, because those
    /// can be restored. Returns how many.
    pub async fn delete_unreferenced(self, before: Timestamp) -> Result<u64, StoreError> {
        const DOING: &str = "forget secrets";
        let position = match self.db.backend() {
            Backend::Sqlite => "instr",
            Backend::Postgres => "strpos",
        };
        let mentioned = Func::cust(position)
            .arg(Expr::col((changes::Entity, changes::Column::Spec)))
            .arg(Expr::col((secrets::Entity, secrets::Column::Reference)));
        let referring = Query::select()
            .expr(Expr::val(1))
            .from(changes::Entity)
            .and_where(changes::Column::Kind.eq(word(DOING, &ResourceKind::Site)?))
            .and_where(
                Expr::col((changes::Entity, changes::Column::Id))
                    .equals((secrets::Entity, secrets::Column::SiteId)),
            )
            .and_where(Expr::expr(mentioned).gt(0))
            .take();
        let deleted = secrets::Entity::delete_many()
            .filter(secrets::Column::SiteId.is_not_null())
            .filter(secrets::Column::CreatedAt.lt(micros(before)))
            .filter(Expr::exists(referring).not())
            .exec(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(deleted.rows_affected)
    }
}

/// Keeps secrets within the transaction of what refers to them.
pub(crate) async fn put_if_absent<C: ConnectionTrait>(
    connection: &C,
    secrets: &[SealedSecret],
) -> Result<(), StoreError> {
    const DOING: &str = "keep secrets";
    for secrets in secrets.chunks(CHUNK) {
        let rows = secrets.iter().map(row).collect::<Result<Vec<_>, _>>()?;
        secrets::Entity::insert_many(rows)
            .on_conflict(OnConflict::column(secrets::Column::Reference).do_nothing().to_owned())
            .exec_without_returning(connection)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

fn row(secret: &SealedSecret) -> Result<secrets::ActiveModel, StoreError> {
    Ok(secrets::ActiveModel {
        reference: Set(secret.reference.clone()),
        kind: Set(word("keep secrets", &secret.kind)?),
        owner_id: Set(uuid(secret.owner)),
        site_id: Set(uuid(secret.site)),
        sealed: Set(secret.sealed.clone()),
        key_id: Set(secret.key_id.clone()),
        created_at: Set(micros(secret.created_at)),
    })
}

impl SealedSecret {
    fn read(doing: &'static str, row: secrets::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("secrets", doing);
        Ok(Self {
            reference: row.reference,
            kind: columns.word("kind", row.kind)?,
            owner: user(row.owner_id),
            site: row.site_id.map(Id::from_uuid),
            sealed: row.sealed,
            key_id: row.key_id,
            created_at: columns.time("created_at", row.created_at)?,
        })
    }
}

impl std::fmt::Debug for SealedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedSecret")
            .field("reference", &self.reference)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}
