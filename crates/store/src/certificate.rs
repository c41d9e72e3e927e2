//! Certificates with their sealed keys, and which site uses which.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{Certificate, CertificateSource, HostPattern, Id, Site};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict, Query, SelectStatement},
};
use uuid::Uuid;

use crate::{
    AuditEntry, Page, PageRequest, StoreError, Visible, audit,
    column::{CHUNK, Columns, json, micros, optional_micros, word},
    connection::{Db, Lock, Transaction},
    entity::{certificate_names, certificates, local_roots, site_certificates, sites},
    error::failed,
};

/// A certificate with its private key.
#[derive(Clone, PartialEq, Eq)]
pub struct SealedCertificate {
    /// The certificate.
    pub certificate: Certificate,
    /// Its private key, sealed.
    pub sealed_key: Vec<u8>,
    /// The key it is sealed with.
    pub key_id: String,
}

/// A root of the local authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalRoot {
    /// Its place among the roots: the first has 1, its successor 2.
    pub place: i64,
    /// Since when it issues certificates; nothing while it is only prepared.
    pub activated_at: Option<Timestamp>,
    /// The root with its key.
    pub sealed: SealedCertificate,
}

/// The certificates.
#[derive(Clone, Copy, Debug)]
pub struct Certificates<'a> {
    db: &'a Db,
}

impl<'a> Certificates<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Keeps a new certificate and lets `sites` use it instead of what they used.
    pub async fn put(
        self,
        certificate: &SealedCertificate,
        sites: &[Id<Site>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "keep a certificate";
        let transaction = self.db.begin(DOING).await?;
        insert(&transaction, certificate, now, DOING).await?;
        assign(&transaction, certificate.certificate.id, sites, DOING).await?;
        transaction.commit(DOING).await
    }

    /// Keeps a root at this place, unless one has it. Returns whether it was kept: of several
    /// managers that all make a root, one does.
    pub async fn put_root(
        self,
        root: &LocalRoot,
        audit: Option<&AuditEntry>,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "keep a root";
        let transaction = self.db.begin(DOING).await?;
        transaction.lock(Lock::Roots, DOING).await?;
        let taken = local_roots::Entity::find_by_id(root.place).one(&transaction).await;
        if taken.map_err(failed(DOING))?.is_some() {
            return Ok(false);
        }
        insert(&transaction, &root.sealed, now, DOING).await?;
        let row = local_roots::ActiveModel {
            place: Set(root.place),
            certificate_id: Set(root.sealed.certificate.id.uuid()),
            activated_at: Set(optional_micros(root.activated_at)),
        };
        local_roots::Entity::insert(row)
            .exec_without_returning(&transaction)
            .await
            .map_err(failed(DOING))?;
        if let Some(entry) = audit {
            audit::append(&transaction, entry, None).await?;
        }
        transaction.commit(DOING).await?;
        Ok(true)
    }

    /// Lets a prepared root issue from here on. Returns whether it was only prepared.
    pub async fn activate_root(
        self,
        place: i64,
        audit: &AuditEntry,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        const DOING: &str = "activate a root";
        let transaction = self.db.begin(DOING).await?;
        let activated = local_roots::Entity::update_many()
            .col_expr(local_roots::Column::ActivatedAt, Expr::value(micros(now)))
            .filter(local_roots::Column::Place.eq(place))
            .filter(local_roots::Column::ActivatedAt.is_null())
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        if activated.rows_affected == 0 {
            return Ok(false);
        }
        audit::append(&transaction, audit, None).await?;
        transaction.commit(DOING).await?;
        Ok(true)
    }

    /// Returns the roots of the local authority in their order. There are a few in a lifetime.
    pub async fn roots(self) -> Result<Vec<LocalRoot>, StoreError> {
        const DOING: &str = "read the roots";
        let rows = local_roots::Entity::find()
            .order_by_asc(local_roots::Column::Place)
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        let ids: Vec<_> = rows.iter().map(|row| Id::from_uuid(row.certificate_id)).collect();
        let mut certificates = self.by_ids(&ids).await?;
        let columns = Columns::of("local_roots", DOING);
        let mut roots = Vec::new();
        for row in rows {
            let Some(sealed) = certificates.remove(&Id::from_uuid(row.certificate_id)) else {
                continue;
            };
            let activated_at = columns.optional_time("activated_at", row.activated_at)?;
            roots.push(LocalRoot { place: row.place, activated_at, sealed });
        }
        Ok(roots)
    }

    /// Returns the place of the root that issues.
    pub async fn active_root(self) -> Result<Option<i64>, StoreError> {
        let row = local_roots::Entity::find()
            .filter(local_roots::Column::ActivatedAt.is_not_null())
            .order_by_desc(local_roots::Column::Place)
            .one(self.db.reader())
            .await
            .map_err(failed("read which root issues"))?;
        Ok(row.map(|row| row.place))
    }

    /// Lets `sites` use a certificate instead of what they used. Sites that are gone are a
    /// [`StoreError::Conflict`].
    pub async fn assign(
        self,
        certificate: Id<Certificate>,
        sites: &[Id<Site>],
    ) -> Result<(), StoreError> {
        const DOING: &str = "give a certificate to sites";
        let transaction = self.db.begin(DOING).await?;
        assign(&transaction, certificate, sites, DOING).await?;
        transaction.commit(DOING).await
    }

    /// Returns the certificate with this id.
    pub async fn get(self, id: Id<Certificate>) -> Result<Option<SealedCertificate>, StoreError> {
        self.one(certificates::Entity::find_by_id(id.uuid())).await
    }

    /// Returns the certificates with these ids that are there.
    pub async fn by_ids(
        self,
        ids: &[Id<Certificate>],
    ) -> Result<BTreeMap<Id<Certificate>, SealedCertificate>, StoreError> {
        const DOING: &str = "read certificates";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let query = certificates::Entity::find()
                .filter(certificates::Column::Id.is_in(ids.iter().map(|id| id.uuid())));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let certificate = SealedCertificate::read(DOING, row)?;
                found.insert(certificate.certificate.id, certificate);
            }
        }
        Ok(found)
    }

    /// Returns the certificate for exactly these names (sorted) that is valid longest; of several,
    /// every manager gets the same.
    pub async fn by_names(
        self,
        names: &[HostPattern],
    ) -> Result<Option<SealedCertificate>, StoreError> {
        let Some(first) = names.first() else { return Ok(None) };
        let with_first = Query::select()
            .column(certificate_names::Column::CertificateId)
            .from(certificate_names::Entity)
            .and_where(certificate_names::Column::Name.eq(first.to_string()))
            .take();
        let query = certificates::Entity::find()
            .filter(certificates::Column::Id.in_subquery(with_first))
            .filter(certificates::Column::Names.eq(json("read a certificate", &names)?))
            .filter(not_root()?)
            .order_by_desc(certificates::Column::NotAfter)
            .order_by_desc(certificates::Column::Id)
            .limit(1);
        self.one(query).await
    }

    /// Returns which certificate each of these sites uses; sites without one are left out.
    pub async fn of_sites(
        self,
        sites: &[Id<Site>],
    ) -> Result<BTreeMap<Id<Site>, Id<Certificate>>, StoreError> {
        const DOING: &str = "read which certificates sites use";
        let mut found = BTreeMap::new();
        for sites in sites.chunks(CHUNK) {
            let links = site_certificates::Entity::find()
                .filter(site_certificates::Column::SiteId.is_in(sites.iter().map(|id| id.uuid())))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            found.extend(
                links
                    .into_iter()
                    .map(|link| (Id::from_uuid(link.site_id), Id::from_uuid(link.certificate_id))),
            );
        }
        Ok(found)
    }

    /// Lists the sites that use a certificate, by id.
    pub async fn sites_of(
        self,
        id: Id<Certificate>,
        page: &PageRequest,
    ) -> Result<Page<Id<Site>>, StoreError> {
        const LIST: &str = "sites of a certificate";
        let mut query = site_certificates::Entity::find()
            .filter(site_certificates::Column::CertificateId.eq(id.uuid()))
            .order_by_asc(site_certificates::Column::SiteId)
            .limit(page.rows());
        if let Some(after) = page.key::<Uuid>(LIST)? {
            query = query.filter(site_certificates::Column::SiteId.gt(after));
        }
        let rows =
            query.all(self.db.reader()).await.map_err(failed("list the sites of a certificate"))?;
        page.page(LIST, rows, |row| row.site_id)?.try_map(|row| Ok(Id::from_uuid(row.site_id)))
    }

    /// Lists leaves that were made at or after `since`, in the order in which they were made.
    pub async fn made_since(
        self,
        since: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<Id<Certificate>>, StoreError> {
        const LIST: &str = "new certificates";
        let mut query = certificates::Entity::find()
            .select_only()
            .columns([certificates::Column::CreatedAt, certificates::Column::Id])
            .filter(not_root()?)
            .filter(certificates::Column::CreatedAt.gte(micros(since)))
            .order_by_asc(certificates::Column::CreatedAt)
            .order_by_asc(certificates::Column::Id)
            .limit(page.rows());
        if let Some((made, id)) = page.key::<(i64, Uuid)>(LIST)? {
            let same = Condition::all()
                .add(certificates::Column::CreatedAt.eq(made))
                .add(certificates::Column::Id.gt(id));
            let later = Condition::any().add(certificates::Column::CreatedAt.gt(made)).add(same);
            query = query.filter(later);
        }
        let rows: Vec<(i64, Uuid)> = query
            .into_tuple()
            .all(self.db.reader())
            .await
            .map_err(failed("list new certificates"))?;
        page.page(LIST, rows, |row| *row)?.try_map(|(_, id)| Ok(Id::from_uuid(id)))
    }

    /// Returns the sites that use these certificates, each with its certificate.
    pub async fn sites_using(
        self,
        certificates: &[Id<Certificate>],
    ) -> Result<Vec<(Id<Site>, Id<Certificate>)>, StoreError> {
        const DOING: &str = "read which sites use certificates";
        let mut found = Vec::new();
        for ids in certificates.chunks(CHUNK) {
            let wanted = ids.iter().map(|id| id.uuid());
            let rows = site_certificates::Entity::find()
                .filter(site_certificates::Column::CertificateId.is_in(wanted))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            let pair = |row: site_certificates::Model| {
                (Id::from_uuid(row.site_id), Id::from_uuid(row.certificate_id))
            };
            found.extend(rows.into_iter().map(pair));
        }
        Ok(found)
    }

    /// Lists certificates, the first to expire first. An owner sees those that own sites use.
    pub async fn list(
        self,
        visible: Visible,
        page: &PageRequest,
    ) -> Result<Page<Certificate>, StoreError> {
        let seen = match visible {
            Visible::All => Condition::all(),
            Visible::Owner(_) => Condition::all().add(Expr::exists(users_of_certificate(visible))),
        };
        self.by_expiry(seen, page).await
    }

    /// Lists certificates that sites use and that expire before `before`, the first to expire first.
    pub async fn expiring(
        self,
        before: Timestamp,
        page: &PageRequest,
    ) -> Result<Page<Certificate>, StoreError> {
        let due = Condition::all()
            .add(certificates::Column::NotAfter.lt(micros(before)))
            .add(Expr::exists(users_of_certificate(Visible::All)));
        self.by_expiry(due, page).await
    }

    /// Forgets leaves that ended before `before` and that no site uses. Returns how many.
    pub async fn delete_ended(self, before: Timestamp) -> Result<u64, StoreError> {
        const DOING: &str = "forget certificates";
        let deleted = certificates::Entity::delete_many()
            .filter(not_root()?)
            .filter(certificates::Column::NotAfter.lt(micros(before)))
            .filter(Expr::exists(users_of_certificate(Visible::All)).not())
            .exec(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        Ok(deleted.rows_affected)
    }

    async fn by_expiry(
        self,
        condition: Condition,
        page: &PageRequest,
    ) -> Result<Page<Certificate>, StoreError> {
        const DOING: &str = "list certificates";
        const LIST: &str = "certificates";
        let mut query = certificates::Entity::find()
            .filter(condition)
            .order_by_asc(certificates::Column::NotAfter)
            .order_by_asc(certificates::Column::Id)
            .limit(page.rows());
        if let Some((expiry, id)) = page.key::<(i64, Uuid)>(LIST)? {
            let same = Condition::all()
                .add(certificates::Column::NotAfter.eq(expiry))
                .add(certificates::Column::Id.gt(id));
            let place = Condition::any().add(certificates::Column::NotAfter.gt(expiry)).add(same);
            query = query.filter(place);
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| (row.not_after, row.id))?
            .try_map(|row| SealedCertificate::read(DOING, row).map(|sealed| sealed.certificate))
    }

    async fn one(
        self,
        query: sea_orm::Select<certificates::Entity>,
    ) -> Result<Option<SealedCertificate>, StoreError> {
        const DOING: &str = "read a certificate";
        let row = query.one(self.db.reader()).await.map_err(failed(DOING))?;
        row.map(|row| SealedCertificate::read(DOING, row)).transpose()
    }
}

async fn insert(
    transaction: &Transaction,
    certificate: &SealedCertificate,
    now: Timestamp,
    doing: &'static str,
) -> Result<(), StoreError> {
    let row = certificate.row(doing, now)?;
    certificates::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .map_err(failed(doing))?;
    let id = certificate.certificate.id;
    for names in certificate.certificate.names.chunks(CHUNK) {
        let rows = names.iter().map(|name| certificate_names::ActiveModel {
            name: Set(name.to_string()),
            certificate_id: Set(id.uuid()),
        });
        certificate_names::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(doing))?;
    }
    Ok(())
}

async fn assign(
    transaction: &Transaction,
    certificate: Id<Certificate>,
    sites: &[Id<Site>],
    doing: &'static str,
) -> Result<(), StoreError> {
    for sites in sites.chunks(CHUNK) {
        let rows = sites.iter().map(|site| site_certificates::ActiveModel {
            site_id: Set(site.uuid()),
            certificate_id: Set(certificate.uuid()),
        });
        let replace = OnConflict::column(site_certificates::Column::SiteId)
            .update_column(site_certificates::Column::CertificateId)
            .to_owned();
        site_certificates::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(doing))?;
    }
    Ok(())
}

fn not_root() -> Result<sea_orm::sea_query::SimpleExpr, StoreError> {
    let root = word("read certificates", &CertificateSource::LocalRoot)?;
    Ok(certificates::Column::Source.ne(root))
}

/// Selects the visible sites that use the certificate the outer query is at.
fn users_of_certificate(visible: Visible) -> SelectStatement {
    let mut users = Query::select();
    users.expr(Expr::val(1)).from(site_certificates::Entity).and_where(
        Expr::col((site_certificates::Entity, site_certificates::Column::CertificateId))
            .equals((certificates::Entity, certificates::Column::Id)),
    );
    if visible != Visible::All {
        let of_site = Expr::col((sites::Entity, sites::Column::Id))
            .equals((site_certificates::Entity, site_certificates::Column::SiteId));
        users.inner_join(sites::Entity, of_site).cond_where(visible.on(sites::Column::OwnerId));
    }
    users
}

impl SealedCertificate {
    fn row(
        &self,
        doing: &'static str,
        now: Timestamp,
    ) -> Result<certificates::ActiveModel, StoreError> {
        let certificate = &self.certificate;
        Ok(certificates::ActiveModel {
            id: Set(certificate.id.uuid()),
            source: Set(word(doing, &certificate.source)?),
            names: Set(json(doing, &certificate.names)?),
            not_before: Set(micros(certificate.not_before)),
            not_after: Set(micros(certificate.not_after)),
            fingerprint: Set(certificate.fingerprint.clone()),
            chain_pem: Set(certificate.chain_pem.clone()),
            sealed_key: Set(self.sealed_key.clone()),
            key_id: Set(self.key_id.clone()),
            created_at: Set(micros(now)),
        })
    }

    fn read(doing: &'static str, row: certificates::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("certificates", doing);
        Ok(Self {
            certificate: Certificate {
                id: Id::from_uuid(row.id),
                source: columns.word("source", row.source)?,
                names: columns.json("names", &row.names)?,
                not_before: columns.time("not_before", row.not_before)?,
                not_after: columns.time("not_after", row.not_after)?,
                fingerprint: row.fingerprint,
                chain_pem: row.chain_pem,
            },
            sealed_key: row.sealed_key,
            key_id: row.key_id,
        })
    }
}

impl std::fmt::Debug for SealedCertificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SealedCertificate")
            .field("certificate", &self.certificate)
            .finish_non_exhaustive()
    }
}
