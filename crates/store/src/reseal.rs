//! Rotation of the master key: everything sealed is sealed anew, in one transaction, so that there is
//! never a store of which one key opens only a part.

use portway_model::{Certificate, Id};
use sea_orm::{
    ColumnTrait, EntityTrait, QueryFilter, QuerySelect,
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
        let mut done = 0;
        match secrets_anew(&transaction, key_id, &reseal).await? {
            Ok(count) => done += count,
            Err(error) => return Ok(Resealed::Undone(error)),
        }
        match keys_anew(&transaction, key_id, &reseal).await? {
            Ok(count) => done += count,
            Err(error) => return Ok(Resealed::Undone(error)),
        }
        installation::Entity::update_many()
            .col_expr(installation::Column::KeyId, Expr::value(key_id))
            .col_expr(installation::Column::KeyCheck, Expr::value(key_check.to_vec()))
            .filter(installation::Column::Singleton.eq(1))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        transaction.commit(DOING).await?;
        Ok(Resealed::Done(done))
    }
}

async fn secrets_anew<E>(
    transaction: &Transaction,
    key_id: &str,
    reseal: &(impl Fn(SealedItem<'_>) -> Result<Vec<u8>, E> + Send + Sync),
) -> Result<Result<usize, E>, StoreError> {
    let rows: Vec<(String, Vec<u8>)> = secrets::Entity::find()
        .select_only()
        .columns([secrets::Column::Reference, secrets::Column::Sealed])
        .into_tuple()
        .all(transaction)
        .await
        .map_err(failed(DOING))?;
    for rows in rows.chunks(CHUNK) {
        let mut sealed = CaseStatement::new();
        for (reference, old) in rows {
            match reseal(SealedItem::Secret { reference, sealed: old }) {
                Ok(new) => {
                    let this = secrets::Column::Reference.eq(reference.as_str());
                    sealed = sealed.case(this, Expr::value(new));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        secrets::Entity::update_many()
            .col_expr(secrets::Column::Sealed, sealed.into())
            .col_expr(secrets::Column::KeyId, Expr::value(key_id))
            .filter(secrets::Column::Reference.is_in(rows.iter().map(|(name, _)| name.as_str())))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(Ok(rows.len()))
}

async fn keys_anew<E>(
    transaction: &Transaction,
    key_id: &str,
    reseal: &(impl Fn(SealedItem<'_>) -> Result<Vec<u8>, E> + Send + Sync),
) -> Result<Result<usize, E>, StoreError> {
    let rows: Vec<(Uuid, Vec<u8>)> = certificates::Entity::find()
        .select_only()
        .columns([certificates::Column::Id, certificates::Column::SealedKey])
        .into_tuple()
        .all(transaction)
        .await
        .map_err(failed(DOING))?;
    for rows in rows.chunks(CHUNK) {
        let mut sealed = CaseStatement::new();
        for (id, old) in rows {
            let certificate = Id::from_uuid(*id);
            match reseal(SealedItem::CertificateKey { certificate, sealed: old }) {
                Ok(new) => {
                    sealed = sealed.case(certificates::Column::Id.eq(*id), Expr::value(new));
                }
                Err(error) => return Ok(Err(error)),
            }
        }
        certificates::Entity::update_many()
            .col_expr(certificates::Column::SealedKey, sealed.into())
            .col_expr(certificates::Column::KeyId, Expr::value(key_id))
            .filter(certificates::Column::Id.is_in(rows.iter().map(|(id, _)| *id)))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(Ok(rows.len()))
}
