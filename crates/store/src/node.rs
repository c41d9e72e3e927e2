//! Nodes, and what each is known to have: per site the version that was proven there, and the one
//! that is held back. Those that somebody declared change through [`crate::Revisions::commit`]; the
//! managers' own edges are made as managers come.

mod declared;
mod facts;
mod lease;
mod looks;
mod reading;
mod removal;

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{Finding, Id, Name, Origin, RevisionNumber, Site};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Expr, OnConflict, Query},
};
use serde_json::Value;
use uuid::Uuid;

pub use self::{
    declared::NodeFilter,
    facts::NodeFacts,
    lease::NodeLease,
    looks::{ContentRead, MachineRead, NodeReads},
    reading::NodeReading,
    removal::NodeRemoval,
};

use crate::{
    Page, PageRequest, StoreError, Visible,
    column::{CHUNK, Columns, json, micros, number},
    connection::{Db, Transaction},
    entity::{node_sites, nodes, sites},
    error::failed,
};

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeRow {
    /// Its id.
    pub id: Id<NodeRow>,
    /// Its name.
    pub name: Name,
    /// Its engine.
    pub engine: String,
    /// The revision up to which it was given everything; 0 at first.
    pub deployed: RevisionNumber,
    /// The digest over everything that it was given.
    pub digest: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last deployed to.
    pub updated_at: Timestamp,
    /// What somebody declared of it; nothing for the edge of a manager.
    pub declared: Option<DeclaredNode>,
}

/// What somebody declared of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct DeclaredNode {
    /// As it was written, with references in the place of secrets.
    pub spec: Value,
    /// Where it came from.
    pub origin: Origin,
    /// The last revision that changed it.
    pub revision: RevisionNumber,
    /// Whether it is brought to what it should have.
    pub active: bool,
    /// When it was changed.
    pub changed_at: Timestamp,
}

/// What a node has of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSiteRow {
    /// The site.
    pub site: Id<Site>,
    /// The revision of the version that was proven there; nothing before the first.
    pub revision: Option<RevisionNumber>,
    /// The digest of that version's policy.
    pub digest: Option<String>,
    /// The revision of a version that failed there and is held back.
    pub held: Option<RevisionNumber>,
    /// Why it is held back, or what else was found.
    pub findings: Vec<Finding>,
    /// When this became so.
    pub updated_at: Timestamp,
}

/// The nodes and what they have.
#[derive(Clone, Copy, Debug)]
pub struct Nodes<'a> {
    db: &'a Db,
}

impl<'a> Nodes<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Makes the edge of a manager unless a node has the name, and returns what is there.
    pub async fn ensure(self, node: &NodeRow) -> Result<NodeRow, StoreError> {
        const DOING: &str = "make a node";
        let row = nodes::ActiveModel {
            id: Set(node.id.uuid()),
            name: Set(node.name.to_string()),
            engine: Set(node.engine.clone()),
            deployed_revision: Set(node.deployed.0),
            digest: Set(node.digest.clone()),
            created_at: Set(micros(node.created_at)),
            updated_at: Set(micros(node.updated_at)),
            ..nodes::ActiveModel::default()
        };
        nodes::Entity::insert(row)
            .on_conflict(OnConflict::column(nodes::Column::Name).do_nothing().to_owned())
            .exec_without_returning(self.db.writer())
            .await
            .map_err(failed(DOING))?;
        self.by_name(&node.name).await?.ok_or_else(|| StoreError::Corrupt {
            doing: DOING,
            what: "the node just made is gone".to_owned(),
            source: None,
        })
    }

    /// Returns the node with this name.
    pub async fn by_name(self, name: &Name) -> Result<Option<NodeRow>, StoreError> {
        const DOING: &str = "read a node";
        let row = nodes::Entity::find()
            .filter(nodes::Column::Name.eq(name.as_str()))
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        row.map(|row| NodeRow::read(DOING, row)).transpose()
    }

    /// Returns the node with this id.
    pub async fn get(self, id: Id<NodeRow>) -> Result<Option<NodeRow>, StoreError> {
        const DOING: &str = "read a node";
        let query = nodes::Entity::find_by_id(id.uuid());
        let row = query.one(self.db.reader()).await.map_err(failed(DOING))?;
        row.map(|row| NodeRow::read(DOING, row)).transpose()
    }

    /// Lists nodes by name, the managers' own edges too.
    pub async fn list(self, page: &PageRequest) -> Result<Page<NodeRow>, StoreError> {
        const DOING: &str = "list nodes";
        const LIST: &str = "nodes";
        let mut query = nodes::Entity::find().order_by_asc(nodes::Column::Name).limit(page.rows());
        if let Some(after) = page.key::<String>(LIST)? {
            query = query.filter(nodes::Column::Name.gt(after));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.name.clone())?.try_map(|row| NodeRow::read(DOING, row))
    }

    /// Notes what a deployment brought to a node: the revision and digest it has, the sites that are
    /// new or changed there, the sites that are gone. All of it or nothing.
    pub async fn deployed(
        self,
        node: Id<NodeRow>,
        revision: RevisionNumber,
        digest: &str,
        put: &[NodeSiteRow],
        removed: &[Id<Site>],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        const DOING: &str = "note what a node has";
        let transaction = self.db.begin(DOING).await?;
        nodes::Entity::update_many()
            .col_expr(nodes::Column::DeployedRevision, Expr::value(revision.0))
            .col_expr(nodes::Column::Digest, Expr::value(digest))
            .col_expr(nodes::Column::UpdatedAt, Expr::value(micros(now)))
            .filter(nodes::Column::Id.eq(node.uuid()))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        for sites in removed.chunks(CHUNK) {
            node_sites::Entity::delete_many()
                .filter(node_sites::Column::NodeId.eq(node.uuid()))
                .filter(node_sites::Column::SiteId.is_in(sites.iter().map(|site| site.uuid())))
                .exec(&transaction)
                .await
                .map_err(failed(DOING))?;
        }
        upsert(&transaction, node, put).await?;
        transaction.commit(DOING).await
    }

    /// Notes what a node has of these sites, and nothing else about it.
    pub async fn put_sites(self, node: Id<NodeRow>, put: &[NodeSiteRow]) -> Result<(), StoreError> {
        const DOING: &str = "note what a node has";
        let transaction = self.db.begin(DOING).await?;
        upsert(&transaction, node, put).await?;
        transaction.commit(DOING).await
    }

    /// Lists what a node has, by site.
    pub async fn sites(
        self,
        node: Id<NodeRow>,
        page: &PageRequest,
    ) -> Result<Page<NodeSiteRow>, StoreError> {
        let query = node_sites::Entity::find().filter(node_sites::Column::NodeId.eq(node.uuid()));
        self.by_site(query, page).await
    }

    /// Lists what is held back on a node of visible sites, by site.
    pub async fn held(
        self,
        visible: Visible,
        node: Id<NodeRow>,
        page: &PageRequest,
    ) -> Result<Page<NodeSiteRow>, StoreError> {
        let seen = Query::select()
            .expr(Expr::val(1))
            .from(sites::Entity)
            .and_where(
                Expr::col((sites::Entity, sites::Column::Id))
                    .equals((node_sites::Entity, node_sites::Column::SiteId)),
            )
            .cond_where(visible.on(sites::Column::OwnerId))
            .take();
        let query = node_sites::Entity::find()
            .filter(node_sites::Column::NodeId.eq(node.uuid()))
            .filter(node_sites::Column::HeldRevision.is_not_null())
            .filter(Expr::exists(seen));
        self.by_site(query, page).await
    }

    /// Returns what nodes have of these sites, by site and node.
    pub async fn of_sites(
        self,
        sites: &[Id<Site>],
    ) -> Result<BTreeMap<(Id<Site>, Id<NodeRow>), NodeSiteRow>, StoreError> {
        const DOING: &str = "read what nodes have of sites";
        let mut found = BTreeMap::new();
        for sites in sites.chunks(CHUNK) {
            let rows = node_sites::Entity::find()
                .filter(node_sites::Column::SiteId.is_in(sites.iter().map(|site| site.uuid())))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            for row in rows {
                let key = (Id::from_uuid(row.site_id), Id::from_uuid(row.node_id));
                found.insert(key, NodeSiteRow::read(DOING, row)?);
            }
        }
        Ok(found)
    }

    /// Returns what a node has of these sites.
    pub async fn on_node(
        self,
        node: Id<NodeRow>,
        sites: &[Id<Site>],
    ) -> Result<BTreeMap<Id<Site>, NodeSiteRow>, StoreError> {
        const DOING: &str = "read what a node has of sites";
        let mut found = BTreeMap::new();
        for sites in sites.chunks(CHUNK) {
            let rows = node_sites::Entity::find()
                .filter(node_sites::Column::NodeId.eq(node.uuid()))
                .filter(node_sites::Column::SiteId.is_in(sites.iter().map(|site| site.uuid())))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            for row in rows {
                found.insert(Id::from_uuid(row.site_id), NodeSiteRow::read(DOING, row)?);
            }
        }
        Ok(found)
    }

    async fn by_site(
        self,
        query: sea_orm::Select<node_sites::Entity>,
        page: &PageRequest,
    ) -> Result<Page<NodeSiteRow>, StoreError> {
        const DOING: &str = "read what a node has";
        const LIST: &str = "node sites";
        let mut query = query.order_by_asc(node_sites::Column::SiteId).limit(page.rows());
        if let Some(after) = page.key::<Uuid>(LIST)? {
            query = query.filter(node_sites::Column::SiteId.gt(after));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.site_id)?.try_map(|row| NodeSiteRow::read(DOING, row))
    }
}

async fn upsert(
    transaction: &Transaction,
    node: Id<NodeRow>,
    put: &[NodeSiteRow],
) -> Result<(), StoreError> {
    const DOING: &str = "note what a node has";
    for put in put.chunks(CHUNK) {
        let rows = put
            .iter()
            .map(|site| {
                Ok(node_sites::ActiveModel {
                    node_id: Set(node.uuid()),
                    site_id: Set(site.site.uuid()),
                    revision: Set(number(site.revision)),
                    digest: Set(site.digest.clone()),
                    held_revision: Set(number(site.held)),
                    findings: Set(json(DOING, &site.findings)?),
                    updated_at: Set(micros(site.updated_at)),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let key = OnConflict::columns([node_sites::Column::NodeId, node_sites::Column::SiteId])
            .update_columns([
                node_sites::Column::Revision,
                node_sites::Column::Digest,
                node_sites::Column::HeldRevision,
                node_sites::Column::Findings,
                node_sites::Column::UpdatedAt,
            ])
            .to_owned();
        node_sites::Entity::insert_many(rows)
            .on_conflict(key)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

impl NodeRow {
    fn read(doing: &'static str, row: nodes::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("nodes", doing);
        let declared = DeclaredNode::read(&columns, &row)?;
        Ok(Self {
            id: Id::from_uuid(row.id),
            name: columns.read("name", row.name.parse())?,
            engine: row.engine,
            deployed: RevisionNumber(row.deployed_revision),
            digest: row.digest,
            created_at: columns.time("created_at", row.created_at)?,
            updated_at: columns.time("updated_at", row.updated_at)?,
            declared,
        })
    }
}

impl DeclaredNode {
    fn read(columns: &Columns, row: &nodes::Model) -> Result<Option<Self>, StoreError> {
        let Some(spec) = &row.spec else { return Ok(None) };
        Ok(Some(Self {
            spec: columns.json("spec", spec)?,
            origin: columns.json("origin", row.origin.as_deref().unwrap_or_default())?,
            revision: RevisionNumber(row.revision.unwrap_or_default()),
            active: row.active.unwrap_or_default(),
            changed_at: columns.time("changed_at", row.changed_at.unwrap_or_default())?,
        }))
    }
}

impl NodeSiteRow {
    fn read(doing: &'static str, row: node_sites::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("node_sites", doing);
        Ok(Self {
            site: Id::from_uuid(row.site_id),
            revision: row.revision.map(RevisionNumber),
            digest: row.digest,
            held: row.held_revision.map(RevisionNumber),
            findings: columns.json("findings", &row.findings)?,
            updated_at: columns.time("updated_at", row.updated_at)?,
        })
    }
}
