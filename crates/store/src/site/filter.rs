//! Which sites a list shows, and how they are found without reading all of them.
//!
//! A list is in the order of names and shows one page. Sites whose name or hosts contain a text are
//! looked for in three steps, of which the first that can answers:
//!
//! 1. *Nearby*: look into the next [`NEARBY`] names. Common texts fill the page there.
//! 2. *By index*: look the text up, then sort what was found, if that is not more than [`FEW`].
//! 3. *By walking* the names in order, looking into each, until the page is full. What gets here is
//!    common, but hardly so among the names nearby.
//!
//! Texts of three characters and more are looked up by their trigrams; shorter ones on `SQLite` by
//! the trigrams that begin with them, on PostgreSQL in an index of their own.

use portway_model::{HostPattern, Id, NodeSelector, Origin, User};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    QueryTrait, Select,
    sea_query::{Expr, Func, IntoColumnRef, LikeExpr, Order, Query, SelectStatement},
};

use crate::{
    Backend, StoreError, Visible,
    column::{foreign, json},
    connection::{Db, TextIndex},
    entity::{site_hosts, site_nodes, site_tags, sites},
    error::failed,
};

/// As many names are looked into before an index is asked, beside those that fill the page.
const NEARBY: u64 = 1000;
/// As many sites as are sorted without being noticed.
const FEW: u64 = 4000;
const TRIGRAM: usize = 3;

/// Which sites are wanted; what is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SiteFilter {
    /// Those whose name or one of whose hosts contains this, in whatever case.
    pub text: Option<String>,
    /// Those with this tag.
    pub tag: Option<String>,
    /// Those of this user.
    pub owner: Option<Id<User>>,
    /// Those that came from there.
    pub origin: Option<Origin>,
    /// Those that have exactly this host.
    pub host: Option<HostPattern>,
    /// Those that are blocked, or those that are not.
    pub blocked: Option<bool>,
    /// Those for which one of these choices of nodes is written.
    pub nodes: Option<Vec<NodeSelector>>,
}

/// Which page of a list is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'a> {
    /// The name after which it begins.
    pub(super) after: Option<&'a str>,
    /// How many rows are read.
    pub(super) rows: u64,
}

impl SiteFilter {
    /// Reads the sites of a page.
    pub(super) async fn read(
        &self,
        db: &Db,
        visible: Visible,
        place: Place<'_>,
        doing: &'static str,
    ) -> Result<Vec<sites::Model>, StoreError> {
        let list = List { filter: self, visible, place, backend: db.backend() };
        let all = async |query: Select<sites::Entity>| {
            query.all(db.reader()).await.map_err(failed(doing))
        };
        let Some(text) = self.text.as_deref().map(needle).filter(|text| !text.is_empty()) else {
            return all(list.in_order()?).await;
        };
        let near = all(list.nearby(&text)?).await?;
        if list.is_full(&near) {
            return Ok(near);
        }
        if can_look_up(db, &text) && are_few(db, &text, doing).await? {
            all(list.by_index(&text)?).await
        } else {
            all(list.by_walking(&text)?).await
        }
    }

    /// Selects by everything but the text and the tag.
    pub(super) fn select(&self, visible: Visible) -> Result<Select<sites::Entity>, StoreError> {
        let mut query = sites::Entity::find().filter(visible.on(sites::Column::OwnerId));
        if let Some(owner) = self.owner {
            query = query.filter(sites::Column::OwnerId.eq(owner.uuid()));
        }
        if let Some(origin) = &self.origin {
            query = query.filter(sites::Column::Origin.eq(json("list sites", origin)?));
        }
        if let Some(host) = &self.host {
            let with_host = Query::select()
                .column(site_hosts::Column::SiteId)
                .from(site_hosts::Entity)
                .and_where(Expr::col(site_hosts::Column::Host).eq(host.to_string()))
                .take();
            query = query.filter(sites::Column::Id.in_subquery(with_host));
        }
        if let Some(selectors) = &self.nodes {
            let choosing = Query::select()
                .column(site_nodes::Column::SiteId)
                .from(site_nodes::Entity)
                .and_where(
                    Expr::col(site_nodes::Column::Selector)
                        .is_in(selectors.iter().map(ToString::to_string)),
                )
                .take();
            query = query.filter(sites::Column::Id.in_subquery(choosing));
        }
        Ok(match self.blocked {
            Some(true) => query.filter(sites::Column::BlockedAt.is_not_null()),
            Some(false) => query.filter(sites::Column::BlockedAt.is_null()),
            None => query,
        })
    }
}

/// Names and hosts are lower case and on lines of their own; nothing matches across two lines.
fn needle(text: &str) -> String {
    let text = foreign(text.trim()).to_lowercase();
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// PostgreSQL's trigrams need an extension; short texts need none.
fn can_look_up(db: &Db, text: &str) -> bool {
    db.text_index() == TextIndex::Present || is_short(text)
}

fn is_short(text: &str) -> bool {
    text.chars().count() < TRIGRAM
}

/// Counts what the index has for `text`, and stops where it is too much.
async fn are_few(db: &Db, text: &str, doing: &'static str) -> Result<bool, StoreError> {
    let hits = hits(db.backend(), text).limit(FEW + 1).take();
    let count =
        Query::select().expr_as(Expr::cust("COUNT(*)"), "hits").from_subquery(hits, "found").take();
    let row = db.reader().query_one(&count).await.map_err(failed(doing))?;
    let hits: i64 = match row {
        Some(row) => row.try_get("", "hits").map_err(failed(doing))?,
        None => 0,
    };
    Ok(hits.unsigned_abs() <= FEW)
}

/// Selects the serials of the sites that contain `text`, by index. A site may come several times.
fn hits(backend: Backend, text: &str) -> SelectStatement {
    match (backend, is_short(text)) {
        (Backend::Sqlite, false) => {
            // A phrase: the text itself in quotes, quotes in it doubled.
            let phrase = format!("\"{}\"", text.replace('"', "\"\""));
            Query::select()
                .expr_as(Expr::col("rowid"), "serial")
                .from("site_search")
                .and_where(Expr::cust_with_values("site_search MATCH ?", [phrase]))
                .take()
        }
        (Backend::Sqlite, true) => Query::select()
            .expr_as(Expr::col("doc"), "serial")
            .from("site_search_pieces")
            .and_where(Expr::col("term").gte(text))
            .and_where(Expr::col("term").lt(format!("{text}{}", char::MAX)))
            .take(),
        (Backend::Postgres, false) => {
            let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
            let contains = LikeExpr::new(format!("%{escaped}%"));
            Query::select()
                .column(sites::Column::Serial)
                .from(sites::Entity)
                .and_where(Expr::col(sites::Column::Search).like(contains))
                .take()
        }
        (Backend::Postgres, true) => Query::select()
            .column(sites::Column::Serial)
            .from(sites::Entity)
            .and_where(Expr::cust_with_values(
                "portway_pieces(search) @> array_append('{}'::text[], $1::text)",
                [text],
            ))
            .take(),
    }
}

/// One page of the sites that a filter shows.
struct List<'a> {
    filter: &'a SiteFilter,
    visible: Visible,
    place: Place<'a>,
    backend: Backend,
}

impl List<'_> {
    /// Selects the page, whatever the text.
    fn in_order(&self) -> Result<Select<sites::Entity>, StoreError> {
        let mut query = self.filter.select(self.visible)?;
        let statement = QueryTrait::query(&mut query);
        let name = match self.filter.tag.as_deref() {
            Some(tag) => {
                join_tag(statement, foreign(tag));
                Expr::col((site_tags::Entity, site_tags::Column::SiteName))
            }
            None => Expr::col((sites::Entity, sites::Column::Name)),
        };
        if let Some(after) = self.place.after {
            statement.and_where(name.clone().gt(after));
        }
        statement.order_by_expr(name, Order::Asc).limit(self.place.rows);
        Ok(query)
    }

    /// Selects what is found nearby: perhaps less than the page.
    fn nearby(&self, text: &str) -> Result<Select<sites::Entity>, StoreError> {
        let near = self
            .in_order()?
            .select_only()
            .column(sites::Column::Serial)
            .columns([sites::Column::Name, sites::Column::Search])
            .limit(NEARBY + self.place.rows)
            .into_query();
        let found = Query::select()
            .column(("near", sites::Column::Serial))
            .from_subquery(near, "near")
            .and_where(contains(self.backend, ("near", sites::Column::Search), text))
            // Here too, so that it ends with the page.
            .order_by(("near", sites::Column::Name), Order::Asc)
            .limit(self.place.rows)
            .take();
        let found = sites::Entity::find().filter(sites::Column::Serial.in_subquery(found));
        Ok(found.order_by_asc(sites::Column::Name).limit(self.place.rows))
    }

    fn by_index(&self, text: &str) -> Result<Select<sites::Entity>, StoreError> {
        let found = hits(self.backend, text);
        Ok(self.in_order()?.filter(sites::Column::Serial.in_subquery(found)))
    }

    fn by_walking(&self, text: &str) -> Result<Select<sites::Entity>, StoreError> {
        let search = (sites::Entity, sites::Column::Search);
        Ok(self.in_order()?.filter(contains(self.backend, search, text)))
    }

    fn is_full(&self, rows: &[sites::Model]) -> bool {
        rows.len() as u64 >= self.place.rows
    }
}

fn join_tag(statement: &mut SelectStatement, tag: String) {
    let of_site = Expr::col((site_tags::Entity, site_tags::Column::SiteId))
        .equals((sites::Entity, sites::Column::Id));
    statement
        .inner_join(site_tags::Entity, of_site)
        .and_where(Expr::col((site_tags::Entity, site_tags::Column::Tag)).eq(tag));
}

/// A plain function of the text: no index takes part, and no character in it has a meaning.
fn contains(backend: Backend, search: impl IntoColumnRef, text: &str) -> Expr {
    let position = match backend {
        Backend::Sqlite => "instr",
        Backend::Postgres => "strpos",
    };
    let call = Func::cust(position).arg(Expr::col(search)).arg(Expr::val(text));
    Expr::expr(call).gt(0)
}
