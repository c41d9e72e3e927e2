//! Revisions: the history of what is declared, and the only way to change it.

mod apply;
mod commit;
mod draft;
mod existing;

use portway_model::{Change, Id, Origin, ResourceKind, Revision, RevisionNumber, User};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect,
    sea_query::{Alias, Expr, Query, SelectStatement},
};
use uuid::Uuid;

pub use self::{
    commit::CommitError,
    draft::{
        ChangeDraft, Expected, NodeDeletion, NodeVersion, RevisionDraft, SiteVersion, UserVersion,
        Version,
    },
};
use crate::{
    Page, PageRequest, StoreError, Visible,
    column::{Columns, user, word},
    connection::Db,
    entity::{changes, revisions},
    error::failed,
};

/// The history of what is declared.
#[derive(Clone, Copy, Debug)]
pub struct Revisions<'a> {
    db: &'a Db,
}

impl<'a> Revisions<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Returns the number of the newest revision; 0 before the first.
    pub async fn latest(self) -> Result<RevisionNumber, StoreError> {
        commit::latest(self.db.reader(), "read the newest revision").await.map(RevisionNumber)
    }

    /// Returns one revision, if it touched something visible.
    pub async fn get(
        self,
        visible: Visible,
        number: RevisionNumber,
    ) -> Result<Option<Revision>, StoreError> {
        const DOING: &str = "read a revision";
        let mut query = revisions::Entity::find_by_id(number.0);
        if let Some(touched) = touched_by(visible, None) {
            let touched = touched_at(touched, number);
            query = query.filter(revisions::Column::Number.in_subquery(touched));
        }
        let row = query.one(self.db.reader()).await.map_err(failed(DOING))?;
        row.map(|row| read_revision(DOING, row)).transpose()
    }

    /// Lists revisions that touched something visible, or `thing`, the newest first.
    pub async fn list(
        self,
        visible: Visible,
        thing: Option<(ResourceKind, Uuid)>,
        page: &PageRequest,
    ) -> Result<Page<Revision>, StoreError> {
        const DOING: &str = "list revisions";
        const LIST: &str = "revisions";
        let before: Option<i64> = page.key(LIST)?;
        let thing = thing.map(|(kind, id)| Ok((word(DOING, &kind)?, id))).transpose()?;
        let mut query =
            revisions::Entity::find().order_by_desc(revisions::Column::Number).limit(page.rows());
        if let Some(touched) = touched_by(visible, thing) {
            let touched = newest_before(touched, before, page.rows());
            query = query.filter(revisions::Column::Number.in_subquery(touched));
        } else if let Some(before) = before {
            query = query.filter(revisions::Column::Number.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.number)?.try_map(|row| read_revision(DOING, row))
    }

    /// Lists what a revision did to visible things.
    pub async fn changes_of(
        self,
        visible: Visible,
        number: RevisionNumber,
        page: &PageRequest,
    ) -> Result<Page<Change>, StoreError> {
        const DOING: &str = "list the changes of a revision";
        const LIST: &str = "changes";
        let mut query = changes::Entity::find()
            .filter(changes::Column::Revision.eq(number.0))
            .filter(visible.on(changes::Column::OwnerId))
            .order_by_asc(changes::Column::Kind)
            .order_by_asc(changes::Column::Id)
            .limit(page.rows());
        if let Some((kind, id)) = page.key::<(String, Uuid)>(LIST)? {
            let place = Condition::any().add(changes::Column::Kind.gt(kind.clone())).add(
                Condition::all()
                    .add(changes::Column::Kind.eq(kind))
                    .add(changes::Column::Id.gt(id)),
            );
            query = query.filter(place);
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| (row.kind.clone(), row.id))?
            .try_map(|row| read_change(DOING, row))
    }

    /// Returns the version that a thing had at `number`: the change that made it. Nothing when it
    /// was not there yet or was not visible then; a change without a spec when it had been deleted.
    pub async fn version_at(
        self,
        visible: Visible,
        kind: ResourceKind,
        id: Uuid,
        number: RevisionNumber,
    ) -> Result<Option<Change>, StoreError> {
        const DOING: &str = "read an earlier version";
        let row = changes::Entity::find()
            .filter(changes::Column::Kind.eq(word(DOING, &kind)?))
            .filter(changes::Column::Id.eq(id))
            .filter(changes::Column::Revision.lte(number.0))
            .order_by_desc(changes::Column::Revision)
            .limit(1)
            .one(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        // Judged here: in the query it would find an older version, of the time before the thing
        // was given to somebody else.
        let row = row.filter(|row| visible.sees(user(row.owner_id)));
        row.map(|row| read_change(DOING, row)).transpose()
    }

    /// Lists everything of a kind as it was at `number`, ordered by id.
    pub async fn state_at(
        self,
        visible: Visible,
        kind: ResourceKind,
        number: RevisionNumber,
        page: &PageRequest,
    ) -> Result<Page<Change>, StoreError> {
        const DOING: &str = "read an earlier state";
        const LIST: &str = "state";
        let later = later_change().and_where(later_revision().lte(number.0)).take();
        let mut query = changes::Entity::find()
            .filter(changes::Column::Kind.eq(word(DOING, &kind)?))
            .filter(changes::Column::Revision.lte(number.0))
            .filter(changes::Column::Spec.is_not_null())
            .filter(visible.on(changes::Column::OwnerId))
            .filter(Expr::exists(later).not())
            .order_by_asc(changes::Column::Id)
            .limit(page.rows());
        if let Some(after) = page.key::<Uuid>(LIST)? {
            query = query.filter(changes::Column::Id.gt(after));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.id)?.try_map(|row| read_change(DOING, row))
    }

    /// Lists the latest change of each site that changed after `since`, the oldest first: what a
    /// node that has `since` is missing. A site that is changed again while the pages are read comes
    /// again.
    pub async fn changes_since(
        self,
        since: RevisionNumber,
        page: &PageRequest,
    ) -> Result<Page<Change>, StoreError> {
        const DOING: &str = "read what changed";
        const LIST: &str = "since";
        let (after, after_id) = page.key::<(i64, Uuid)>(LIST)?.unwrap_or((since.0, Uuid::max()));
        let place = Condition::any().add(changes::Column::Revision.gt(after)).add(
            Condition::all()
                .add(changes::Column::Revision.eq(after))
                .add(changes::Column::Id.gt(after_id)),
        );
        let rows = changes::Entity::find()
            .filter(changes::Column::Revision.gte(after))
            .filter(changes::Column::Kind.eq(word(DOING, &ResourceKind::Site)?))
            .filter(place)
            .filter(Expr::exists(later_change().take()).not())
            .order_by_asc(changes::Column::Revision)
            .order_by_asc(changes::Column::Id)
            .limit(page.rows())
            .all(self.db.reader())
            .await
            .map_err(failed(DOING))?;
        page.page(LIST, rows, |row| (row.revision, row.id))?.try_map(|row| read_change(DOING, row))
    }
}

/// Selects the revisions that touched something of the visible or `thing`; nothing when every
/// revision did.
fn touched_by(visible: Visible, thing: Option<(String, Uuid)>) -> Option<SelectStatement> {
    let mut touched = Query::select();
    touched.column(changes::Column::Revision).from(changes::Entity);
    match (visible, thing) {
        (Visible::All, None) => return None,
        (_, Some((kind, id))) => {
            touched.and_where(changes::Column::Kind.eq(kind)).and_where(changes::Column::Id.eq(id));
        }
        (Visible::Owner(_), None) => {}
    }
    touched.cond_where(visible.on(changes::Column::OwnerId));
    Some(touched)
}

fn touched_at(mut touched: SelectStatement, number: RevisionNumber) -> SelectStatement {
    touched.and_where(changes::Column::Revision.eq(number.0)).take()
}

fn newest_before(mut touched: SelectStatement, before: Option<i64>, rows: u64) -> SelectStatement {
    if let Some(before) = before {
        touched.and_where(changes::Column::Revision.lt(before));
    }
    touched.distinct().order_by(changes::Column::Revision, sea_orm::Order::Desc).limit(rows).take()
}

/// Selects a later change of the thing that the outer query is at.
fn later_change() -> SelectStatement {
    let later = Alias::new("later");
    let same = |column: changes::Column| {
        Expr::col((later.clone(), column)).equals((changes::Entity, column))
    };
    Query::select()
        .expr(Expr::val(1))
        .from_as(changes::Entity, later.clone())
        .and_where(same(changes::Column::Kind))
        .and_where(same(changes::Column::Id))
        .and_where(later_revision().gt(Expr::col((changes::Entity, changes::Column::Revision))))
        .take()
}

fn later_revision() -> Expr {
    Expr::col((Alias::new("later"), changes::Column::Revision))
}

fn read_revision(doing: &'static str, row: revisions::Model) -> Result<Revision, StoreError> {
    let columns = Columns::of("revisions", doing);
    Ok(Revision {
        number: RevisionNumber(row.number),
        author: user(row.author_id),
        author_name: row.author_name,
        created_at: columns.time("created_at", row.created_at)?,
        message: row.message,
        origin: columns.json::<Origin>("origin", &row.origin)?,
    })
}

fn read_change(doing: &'static str, row: changes::Model) -> Result<Change, StoreError> {
    let columns = Columns::of("changes", doing);
    Ok(Change {
        revision: RevisionNumber(row.revision),
        kind: columns.word("kind", row.kind)?,
        id: row.id,
        name: row.name,
        owner: row.owner_id.map(Id::<User>::from_uuid),
        spec: row.spec.map(|spec| columns.json("spec", &spec)).transpose()?,
    })
}
