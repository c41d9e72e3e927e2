//! Rotation of the master key: everything sealed is sealed anew, in one transaction, so that there is
//! never a store of which one key opens only a part.

use portway_model::{Certificate, Id};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect, TryGetableMany, Value,
    sea_query::{CaseStatement, Expr},
};
use uuid::Uuid;

use crate::{
    Store, StoreError,
    column::CHUNK,
    connection::{Lock, Transaction},
    entity::{certificates, installation, secrets},
    error::failed,
};

const DOING: &str = "seal everything with the new key";

/// Something sealed, to be sealed anew.
#[derive(Clone, Copy, Debug)]
pub enum SealedItem<'a> {
    /// A secret.
    Secret {
        /// The text by which sites refer to it.
        reference: &'a str,
        /// The secret, sealed with the old key.
        sealed: &'a [u8],
    },
    /// The private key of a certificate.
    CertificateKey {
        /// The certificate.
        certificate: Id<Certificate>,
        /// The key, sealed with the old key.
        sealed: &'a [u8],
    },
}

/// How a rotation ended.
#[derive(Debug)]
pub enum Resealed<E> {
    /// So many items are sealed with the new key.
    Done(usize),
    /// An item could not be sealed anew; everything is as it was.
    Undone(E),
}

impl Store {
    /// Seals everything anew with `reseal`; the installation then carries the new `key_id` and
    /// `key_check`. Writers wait meanwhile.
    pub async fn reseal<E: Send>(
        &self,
        key_id: &str,
        key_check: &[u8],
        reseal: impl Fn(SealedItem<'_>) -> Result<Vec<u8>, E> + Send + Sync,
    ) -> Result<Resealed<E>, StoreError> {
        let transaction = self.db.begin(DOING).await?;
        transaction.lock(Lock::Revision, DOING).await?;
        let secrets = match anew::<secrets::Entity, E>(&transaction, key_id, &reseal).await? {
            Ok(count) => count,
            Err(error) => return Ok(Resealed::Undone(error)),
        };
        let keys = match anew::<certificates::Entity, E>(&transaction, key_id, &reseal).await? {
            Ok(count) => count,
            Err(error) => return Ok(Resealed::Undone(error)),
        };
        installation::Entity::update_many()
            .col_expr(installation::Column::KeyId, Expr::value(key_id))
            .col_expr(installation::Column::KeyCheck, Expr::value(key_check.to_vec()))
            .filter(installation::Column::Singleton.eq(1))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        transaction.commit(DOING).await?;
        Ok(Resealed::Done(secrets + keys))
    }
}

/// A table that holds something sealed.
trait Holder: EntityTrait {
    /// What names a row.
    type Key: Clone + Into<Value> + Send + Sync;
    /// Its column.
    const KEY: Self::Column;
    /// The column of what is sealed.
    const SEALED: Self::Column;
    /// The column of the key it is sealed with.
    const KEY_ID: Self::Column;

    fn item<'a>(key: &'a Self::Key, sealed: &'a [u8]) -> SealedItem<'a>;
}

impl Holder for secrets::Entity {
    type Key = String;
    const KEY: secrets::Column = secrets::Column::Reference;
    const SEALED: secrets::Column = secrets::Column::Sealed;
    const KEY_ID: secrets::Column = secrets::Column::KeyId;

    fn item<'a>(reference: &'a String, sealed: &'a [u8]) -> SealedItem<'a> {
        SealedItem::Secret { reference, sealed }
    }
}

impl Holder for certificates::Entity {
    type Key = Uuid;
    const KEY: certificates::Column = certificates::Column::Id;
    const SEALED: certificates::Column = certificates::Column::SealedKey;
    const KEY_ID: certificates::Column = certificates::Column::KeyId;

    fn item<'a>(id: &'a Uuid, sealed: &'a [u8]) -> SealedItem<'a> {
        SealedItem::CertificateKey { certificate: Id::from_uuid(*id), sealed }
    }
}

/// Seals anew what one table holds, and returns how much that was.
async fn anew<H: Holder, E>(
    transaction: &Transaction,
    key_id: &str,
    reseal: &(impl Fn(SealedItem<'_>) -> Result<Vec<u8>, E> + Send + Sync),
) -> Result<Result<usize, E>, StoreError>
where
    (H::Key, Vec<u8>): TryGetableMany,
{
    let rows: Vec<(H::Key, Vec<u8>)> = H::find()
        .select_only()
        .columns([H::KEY, H::SEALED])
        .into_tuple()
        .all(transaction)
        .await
        .map_err(failed(DOING))?;
    for rows in rows.chunks(CHUNK) {
        let mut sealed = CaseStatement::new();
        for (key, old) in rows {
            match reseal(H::item(key, old)) {
                Ok(new) => sealed = sealed.case(H::KEY.eq(key.clone()), Expr::value(new)),
                Err(error) => return Ok(Err(error)),
            }
        }
        H::update_many()
            .col_expr(H::SEALED, sealed.into())
            .col_expr(H::KEY_ID, Expr::value(key_id))
            .filter(H::KEY.is_in(rows.iter().map(|(key, _)| key.clone())))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(Ok(rows.len()))
}
