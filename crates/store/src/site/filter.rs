//! Which sites a list shows, and how they are found without reading all of them.
//!
//! A list is in the order of names and shows one page. Two ways lead to the sites whose name or
//! hosts contain a text:
//!
//! * *By index*: look the text up by its trigrams, then sort what was found. Right for rare texts.
//! * *By walking* the names in order, looking into each, until the page is full. Right for common
//!   texts, which fill a page soon, and the only way for texts of one or two characters, which have
//!   no trigram.
//!
//! The index is asked first whether the text is rare; it stops counting at [`RARE`]. What remains
//! slow is a text of one or two characters that hardly any site contains: it takes about 50 ms among
//! 100,000 sites, because all of them are looked into.

use portway_model::{HostPattern, Id, Origin, User};
use sea_orm::{
    ColumnTrait, ConnectionTrait, EntityTrait, ExprTrait, QueryFilter, QueryTrait, Select,
    sea_query::{Expr, Func, LikeExpr, Order, Query, SelectStatement},
};

use crate::{
    Backend, StoreError, Visible,
    column::{foreign, json},
    connection::{Db, TextIndex},
    entity::{site_hosts, site_tags, sites},
    error::failed,
};

/// As many sites as are sorted without being noticed.
const RARE: i64 = 1000;
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
}

/// How a list is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// In the order of names, looking for the text in each site.
    Walk { text: Option<String>, tag: Option<String>, backend: Backend },
    /// By the sites that the index has for the text, then sorted.
    Index { text: String, tag: Option<String>, backend: Backend },
}

impl SiteFilter {
    pub(super) async fn plan(&self, db: &Db, doing: &'static str) -> Result<Plan, StoreError> {
        let backend = db.backend();
        let tag = self.tag.as_deref().map(foreign);
        let Some(text) = self.text.as_deref().map(needle).filter(|text| !text.is_empty()) else {
            return Ok(Plan::Walk { text: None, tag, backend });
        };
        let has_index = db.text_index() == TextIndex::Present;
        if has_index && text.chars().count() >= TRIGRAM && is_rare(db, &text, doing).await? {
            Ok(Plan::Index { text, tag, backend })
        } else {
            Ok(Plan::Walk { text: Some(text), tag, backend })
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

async fn is_rare(db: &Db, text: &str, doing: &'static str) -> Result<bool, StoreError> {
    let hits = hits(db.backend(), text).limit(RARE.unsigned_abs() + 1).take();
    let count =
        Query::select().expr_as(Expr::cust("COUNT(*)"), "hits").from_subquery(hits, "found").take();
    let row = db.reader().query_one(&count).await.map_err(failed(doing))?;
    let hits: i64 = match row {
        Some(row) => row.try_get("", "hits").map_err(failed(doing))?,
        None => 0,
    };
    Ok(hits <= RARE)
}

/// Selects the serials of the sites that contain `text`, by index.
fn hits(backend: Backend, text: &str) -> SelectStatement {
    match backend {
        Backend::Sqlite => {
            // A phrase: the text itself in quotes, quotes in it doubled.
            let phrase = format!("\"{}\"", text.replace('"', "\"\""));
            Query::select()
                .expr_as(Expr::col("rowid"), "serial")
                .from("site_search")
                .and_where(Expr::cust_with_values("site_search MATCH ?", [phrase]))
                .take()
        }
        Backend::Postgres => {
            let escaped = text.replace('\\', r"\\").replace('%', r"\%").replace('_', r"\_");
            let contains = LikeExpr::new(format!("%{escaped}%"));
            Query::select()
                .column(sites::Column::Serial)
                .from(sites::Entity)
                .and_where(Expr::col(sites::Column::Search).like(contains))
                .take()
        }
    }
}

impl Plan {
    /// Adds text, tag, order, place and limit to a selection.
    pub(super) fn apply(
        self,
        mut query: Select<sites::Entity>,
        after: Option<String>,
        rows: u64,
    ) -> Select<sites::Entity> {
        let (condition, tag) = match self {
            Self::Walk { text, tag, backend } => (text.map(|text| contains(backend, text)), tag),
            Self::Index { text, tag, backend } => {
                let found = hits(backend, &text);
                (Some(Expr::col((sites::Entity, sites::Column::Serial)).in_subquery(found)), tag)
            }
        };
        let statement = QueryTrait::query(&mut query);
        let name = match tag {
            Some(tag) => {
                join_tag(statement, tag);
                Expr::col((site_tags::Entity, site_tags::Column::SiteName))
            }
            None => Expr::col((sites::Entity, sites::Column::Name)),
        };
        if let Some(after) = after {
            statement.and_where(name.clone().gt(after));
        }
        if let Some(condition) = condition {
            statement.and_where(condition);
        }
        statement.order_by_expr(name, Order::Asc).limit(rows);
        query
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
fn contains(backend: Backend, text: String) -> Expr {
    let position = match backend {
        Backend::Sqlite => "instr",
        Backend::Postgres => "strpos",
    };
    let call = Func::cust(position)
        .arg(Expr::col((sites::Entity, sites::Column::Search)))
        .arg(Expr::val(text));
    Expr::expr(call).gt(0)
}
