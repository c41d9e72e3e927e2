//! Sites as they are declared: one row each, with their hosts and tags beside it. They change only
//! through [`crate::Revisions::commit`].

mod filter;

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{HostPattern, Id, Name, Origin, RevisionNumber, Site, User};
use sea_orm::{
    ColumnTrait, EntityTrait, ExprTrait, FromQueryResult, PaginatorTrait, QueryFilter, QueryOrder,
    QuerySelect, QueryTrait,
    sea_query::{Expr, Query},
};
use serde_json::Value;
use uuid::Uuid;

pub use self::filter::SiteFilter;
use crate::{
    Page, PageRequest, StoreError, Visible,
    column::{CHUNK, Columns, user},
    connection::Db,
    entity::{site_hosts, site_tags, sites},
    error::failed,
};

const LIST: &str = "sites";

/// A site as it is declared.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteRow {
    /// Its id.
    pub id: Id<Site>,
    /// Its name, unique in the installation.
    pub name: Name,
    /// Whose it is; nobody's when it belongs to the installation.
    pub owner: Option<Id<User>>,
    /// As it was written, with references in the place of secrets.
    pub spec: Value,
    /// Where it came from.
    pub origin: Origin,
    /// The last revision that changed it.
    pub revision: RevisionNumber,
    /// Set while it is blocked.
    pub blocked: Option<Block>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was changed.
    pub updated_at: Timestamp,
}

/// Why a site does not answer although it is declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Block {
    /// What its visitors and owner are told.
    pub reason: String,
    /// Who blocked it.
    pub by: Option<Id<User>>,
    /// When.
    pub at: Timestamp,
}

/// A site that has a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostUse {
    /// The host.
    pub host: HostPattern,
    /// The site.
    pub site: Id<Site>,
    /// The site's name.
    pub name: Name,
    /// The site's owner.
    pub owner: Option<Id<User>>,
}

/// The sites as they are declared.
#[derive(Clone, Copy, Debug)]
pub struct Sites<'a> {
    db: &'a Db,
}

impl<'a> Sites<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Lists sites by name.
    pub async fn list(
        self,
        visible: Visible,
        filter: &SiteFilter,
        page: &PageRequest,
    ) -> Result<Page<SiteRow>, StoreError> {
        const DOING: &str = "list sites";
        let after: Option<String> = page.key(LIST)?;
        let place = filter::Place { after: after.as_deref(), rows: page.rows() };
        let rows = filter.read(self.db, visible, place, DOING).await?;
        page.page(LIST, rows, |row| row.name.clone())?.try_map(|row| SiteRow::read(DOING, row))
    }

    /// Returns the site with this id.
    pub async fn get(self, visible: Visible, id: Id<Site>) -> Result<Option<SiteRow>, StoreError> {
        const DOING: &str = "read a site";
        let query = sites::Entity::find().filter(sites::Column::Id.eq(id.uuid()));
        self.one(DOING, visible, query).await
    }

    /// Returns the site with this name.
    pub async fn by_name(
        self,
        visible: Visible,
        name: &Name,
    ) -> Result<Option<SiteRow>, StoreError> {
        const DOING: &str = "read a site";
        let query = sites::Entity::find().filter(sites::Column::Name.eq(name.as_str()));
        self.one(DOING, visible, query).await
    }

    /// Returns the sites with these names that are there and visible, in one query for each few
    /// hundred of them.
    pub async fn by_names(
        self,
        visible: Visible,
        names: &[&Name],
    ) -> Result<BTreeMap<Name, SiteRow>, StoreError> {
        const DOING: &str = "read sites";
        let mut found = BTreeMap::new();
        for names in names.chunks(CHUNK) {
            let query = sites::Entity::find()
                .filter(visible.on(sites::Column::OwnerId))
                .filter(sites::Column::Name.is_in(names.iter().map(|name| name.as_str())));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let row = SiteRow::read(DOING, row)?;
                found.insert(row.name.clone(), row);
            }
        }
        Ok(found)
    }

    /// Returns the sites with these ids that are there and visible.
    pub async fn by_ids(
        self,
        visible: Visible,
        ids: &[Id<Site>],
    ) -> Result<BTreeMap<Id<Site>, SiteRow>, StoreError> {
        const DOING: &str = "read sites";
        let mut found = BTreeMap::new();
        for ids in ids.chunks(CHUNK) {
            let query = sites::Entity::find()
                .filter(visible.on(sites::Column::OwnerId))
                .filter(sites::Column::Id.is_in(ids.iter().map(|id| id.uuid())));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let row = SiteRow::read(DOING, row)?;
                found.insert(row.id, row);
            }
        }
        Ok(found)
    }

    /// Returns how many sites there are.
    pub async fn count(self, visible: Visible) -> Result<u64, StoreError> {
        sites::Entity::find()
            .filter(visible.on(sites::Column::OwnerId))
            .count(self.db.reader())
            .await
            .map_err(failed("count sites"))
    }

    /// Returns how many sites each owner has; owners without sites are left out.
    pub async fn count_by_owner(self) -> Result<BTreeMap<Option<Id<User>>, u64>, StoreError> {
        #[derive(FromQueryResult)]
        struct Count {
            owner_id: Option<Uuid>,
            sites: i64,
        }
        let counts = sites::Entity::find()
            .select_only()
            .column(sites::Column::OwnerId)
            .column_as(sites::Column::Serial.count(), "sites")
            .group_by(sites::Column::OwnerId)
            .into_model::<Count>()
            .all(self.db.reader())
            .await
            .map_err(failed("count sites"))?;
        Ok(counts
            .into_iter()
            .map(|count| (user(count.owner_id), count.sites.unsigned_abs()))
            .collect())
    }

    /// Returns the sites of anybody that have one of `hosts`, ordered by host and name.
    pub async fn using_hosts(self, hosts: &[HostPattern]) -> Result<Vec<HostUse>, StoreError> {
        let mut uses = Vec::new();
        for hosts in hosts.chunks(CHUNK) {
            let texts = hosts.iter().map(ToString::to_string);
            uses.extend(uses_of(self.db.reader(), texts, "read hosts").await?);
        }
        Ok(uses)
    }

    /// Returns the tags in use in their order, at most `limit` of them.
    pub async fn tags(self, visible: Visible, limit: u32) -> Result<Vec<String>, StoreError> {
        let mut query = site_tags::Entity::find()
            .select_only()
            .column(site_tags::Column::Tag)
            .distinct()
            .order_by_asc(site_tags::Column::Tag)
            .limit(u64::from(limit));
        if let Visible::Owner(owner) = visible {
            let own = Query::select()
                .column(sites::Column::Id)
                .from(sites::Entity)
                .and_where(Expr::col(sites::Column::OwnerId).eq(owner.uuid()))
                .take();
            query = query.filter(site_tags::Column::SiteId.in_subquery(own));
        }
        query.into_tuple().all(self.db.reader()).await.map_err(failed("list tags"))
    }

    async fn one(
        self,
        doing: &'static str,
        visible: Visible,
        query: sea_orm::Select<sites::Entity>,
    ) -> Result<Option<SiteRow>, StoreError> {
        let query = query.filter(visible.on(sites::Column::OwnerId));
        let row = query.one(self.db.reader()).await.map_err(failed(doing))?;
        row.map(|row| SiteRow::read(doing, row)).transpose()
    }
}

impl SiteRow {
    fn read(doing: &'static str, row: sites::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("sites", doing);
        let blocked = match row.blocked_at {
            Some(at) => Some(Block {
                reason: row.blocked_reason.unwrap_or_default(),
                by: user(row.blocked_by),
                at: columns.time("blocked_at", at)?,
            }),
            None => None,
        };
        Ok(Self {
            id: Id::from_uuid(row.id),
            name: columns.read("name", row.name.parse())?,
            owner: user(row.owner_id),
            spec: columns.json("spec", &row.spec)?,
            origin: columns.json("origin", &row.origin)?,
            revision: RevisionNumber(row.revision),
            blocked,
            created_at: columns.time("created_at", row.created_at)?,
            updated_at: columns.time("updated_at", row.updated_at)?,
        })
    }
}

/// Reads who has `hosts`, at most [`CHUNK`] of them.
pub(crate) async fn uses_of<C: sea_orm::ConnectionTrait>(
    connection: &C,
    hosts: impl Iterator<Item = String>,
    doing: &'static str,
) -> Result<Vec<HostUse>, StoreError> {
    #[derive(FromQueryResult)]
    struct Row {
        host: String,
        site_id: Uuid,
        name: String,
        owner_id: Option<Uuid>,
    }
    let mut query = site_hosts::Entity::find()
        .filter(site_hosts::Column::Host.is_in(hosts))
        .order_by_asc(site_hosts::Column::Host)
        .order_by_asc(sites::Column::Name);
    QueryTrait::query(&mut query)
        .inner_join(
            sites::Entity,
            Expr::col((sites::Entity, sites::Column::Id))
                .equals((site_hosts::Entity, site_hosts::Column::SiteId)),
        )
        .column((sites::Entity, sites::Column::Name))
        .column((sites::Entity, sites::Column::OwnerId));
    let rows = query.into_model::<Row>().all(connection).await.map_err(failed(doing))?;
    let columns = Columns::of("site_hosts", doing);
    rows.into_iter()
        .map(|row| {
            Ok(HostUse {
                host: columns.read("host", row.host.parse())?,
                site: Id::from_uuid(row.site_id),
                name: columns.read("name", row.name.parse())?,
                owner: user(row.owner_id),
            })
        })
        .collect()
}
