//! Rollouts: how revisions come to their nodes where they do not come to all at once. One is written
//! with its revision, and goes from state to state under a version: of two managers that both want to
//! take it on, one does.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{
    Finding, Id, Name, RevisionNumber, Site, User,
    rollout::{RolloutState, Standing, Strategy},
};
use sea_orm::{
    ActiveValue::Set,
    ColumnTrait, EntityTrait, Iterable as _, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, OnConflict},
};

use crate::{
    EventDraft, NodeRow, Page, PageRequest, RevisionDraft, StoreError,
    column::{CHUNK, Columns, json, micros, optional_micros, user, uuid, word},
    connection::{Db, Transaction},
    entity::{rollout_nodes, rollouts},
    error::failed,
    event,
};

/// What stands in the place of what a node had, where that is not read.
const NOTHING: &str = "{}";

/// A rollout that is to be written with its revision.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutDraft {
    /// How the revision comes to its nodes.
    pub strategy: Strategy,
    /// The nodes, each with the number of its wave.
    pub nodes: Vec<(Id<NodeRow>, Name, u32)>,
}

/// A rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutRow {
    /// The revision that comes to its nodes.
    pub revision: RevisionNumber,
    /// How it does.
    pub strategy: Strategy,
    /// Where it stands.
    pub state: RolloutState,
    /// Who started it; nobody for Portway itself.
    pub author: Option<Id<User>>,
    /// The author's name.
    pub author_name: String,
    /// When it was written.
    pub started_at: Timestamp,
    /// When it came where it stands.
    pub updated_at: Timestamp,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Whether it decides what nodes get. The last to be given up: when nothing can depend on it.
    pub decides: bool,
    /// Its version: who changes it must have read this one.
    pub version: i64,
    /// Its nodes, by wave and name.
    pub nodes: Vec<RolloutNodeRow>,
}

/// A node of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub struct RolloutNodeRow {
    /// The node.
    pub node: Id<NodeRow>,
    /// Its name at that time.
    pub name: Name,
    /// Its wave.
    pub wave: u32,
    /// How far it is.
    pub standing: Standing,
    /// Since when.
    pub since: Timestamp,
    /// When it was let in.
    pub let_in_at: Option<Timestamp>,
    /// What it had of the sites when it was let in; nothing where it had none.
    pub before: BTreeMap<Id<Site>, Option<RevisionNumber>>,
    /// Why it failed, or could not go back.
    pub findings: Vec<Finding>,
}

/// The rollouts.
#[derive(Clone, Copy, Debug)]
pub struct Rollouts<'a> {
    db: &'a Db,
}

impl<'a> Rollouts<'a> {
    pub(crate) fn new(db: &'a Db) -> Self {
        Self { db }
    }

    /// Returns the rollout of a revision.
    pub async fn get(self, revision: RevisionNumber) -> Result<Option<RolloutRow>, StoreError> {
        const DOING: &str = "read a rollout";
        let query = rollouts::Entity::find_by_id(revision.0);
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        Ok(self.with_nodes(rows, DOING).await?.pop())
    }

    /// Returns the rollouts that decide what nodes get.
    pub async fn deciding(self) -> Result<Vec<RolloutRow>, StoreError> {
        const DOING: &str = "read the rollouts under way";
        let query = rollouts::Entity::find()
            .filter(rollouts::Column::Decides.eq(true))
            .order_by_asc(rollouts::Column::Revision);
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        self.with_nodes(rows, DOING).await
    }

    /// Returns the rollouts that decide what nodes get, without what nodes had before: only `of` one node,
    /// where it is asked for and the rollout goes back. They are not to be recorded.
    pub async fn gates(self, of: Option<Id<NodeRow>>) -> Result<Vec<RolloutRow>, StoreError> {
        const DOING: &str = "read what rollouts say of nodes";
        let query = rollouts::Entity::find().filter(rollouts::Column::Decides.eq(true));
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        let mut found = BTreeMap::new();
        for row in rows {
            found.insert(row.revision, RolloutRow::read(DOING, row)?);
        }
        let back = found.iter().filter(|(_, rollout)| rollout.state.is_back());
        let back: Vec<i64> = back.map(|(revision, _)| *revision).collect();
        let columns = rollout_nodes::Column::iter()
            .filter(|column| !matches!(column, rollout_nodes::Column::Before));
        let places = rollout_nodes::Entity::find()
            .select_only()
            .columns(columns)
            .expr_as(Expr::value(NOTHING), "before");
        self.read_nodes(places, &mut found, DOING).await?;
        let Some(node) = of else { return Ok(found.into_values().collect()) };
        for revisions in back.chunks(CHUNK) {
            let own = rollout_nodes::Entity::find()
                .filter(rollout_nodes::Column::NodeId.eq(node.uuid()))
                .filter(rollout_nodes::Column::Revision.is_in(revisions.iter().copied()))
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            for own in own {
                let rollout = found.get_mut(&own.revision);
                let own = RolloutNodeRow::read(DOING, own)?;
                let place = rollout.and_then(|it| it.nodes.iter_mut().find(|it| it.node == node));
                if let Some(place) = place {
                    *place = own;
                }
            }
        }
        Ok(found.into_values().collect())
    }

    /// Lists rollouts, the newest first.
    pub async fn list(self, page: &PageRequest) -> Result<Page<RolloutRow>, StoreError> {
        const DOING: &str = "list rollouts";
        const LIST: &str = "rollouts";
        let mut query =
            rollouts::Entity::find().order_by_desc(rollouts::Column::Revision).limit(page.rows());
        if let Some(before) = page.key::<i64>(LIST)? {
            query = query.filter(rollouts::Column::Revision.lt(before));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        let page = page.page(LIST, rows, |row| row.revision)?;
        let mut items = self.with_nodes(page.items, DOING).await?;
        items.reverse();
        Ok(Page { items, next: page.next })
    }

    /// Writes what has become of a rollout, with the events that tell it, if it is still as it `was` read.
    /// Returns whether it is. Of its nodes those are written that differ.
    pub async fn record(
        self,
        was: &RolloutRow,
        rollout: &RolloutRow,
        events: &[EventDraft],
    ) -> Result<bool, StoreError> {
        const DOING: &str = "record a rollout";
        let transaction = self.db.begin(DOING).await?;
        let row = rollouts::ActiveModel {
            state: Set(json(DOING, &rollout.state)?),
            updated_at: Set(micros(rollout.updated_at)),
            finished_at: Set(optional_micros(rollout.finished_at)),
            decides: Set(rollout.decides),
            version: Set(was.version + 1),
            ..rollouts::ActiveModel::default()
        };
        let changed = rollouts::Entity::update_many()
            .set(row)
            .filter(rollouts::Column::Revision.eq(rollout.revision.0))
            .filter(rollouts::Column::Version.eq(was.version))
            .exec(&transaction)
            .await
            .map_err(failed(DOING))?;
        if changed.rows_affected == 0 {
            return Ok(false);
        }
        let known: BTreeMap<_, _> = was.nodes.iter().map(|node| (node.node, node)).collect();
        let differs = |node: &&RolloutNodeRow| known.get(&node.node) != Some(node);
        let nodes: Vec<_> = rollout.nodes.iter().filter(differs).collect();
        put_nodes(&transaction, rollout.revision, &nodes, DOING).await?;
        for event in events {
            event::tell(&transaction, event).await?;
        }
        transaction.commit(DOING).await?;
        Ok(true)
    }

    /// Forgets rollouts that ended before `before` and decide nothing. Returns how many.
    pub async fn prune(self, before: Timestamp) -> Result<u64, StoreError> {
        let deleted = rollouts::Entity::delete_many()
            .filter(rollouts::Column::Decides.eq(false))
            .filter(rollouts::Column::FinishedAt.lt(micros(before)))
            .exec(self.db.writer())
            .await
            .map_err(failed("forget old rollouts"))?;
        Ok(deleted.rows_affected)
    }

    /// Reads the nodes of rollouts; these come back in the order of their numbers.
    async fn with_nodes(
        self,
        rows: Vec<rollouts::Model>,
        doing: &'static str,
    ) -> Result<Vec<RolloutRow>, StoreError> {
        let mut found: BTreeMap<i64, RolloutRow> = BTreeMap::new();
        for row in rows {
            found.insert(row.revision, RolloutRow::read(doing, row)?);
        }
        self.read_nodes(rollout_nodes::Entity::find(), &mut found, doing).await?;
        Ok(found.into_values().collect())
    }

    /// Gives rollouts their nodes, as a query has them.
    async fn read_nodes(
        self,
        query: Select<rollout_nodes::Entity>,
        found: &mut BTreeMap<i64, RolloutRow>,
        doing: &'static str,
    ) -> Result<(), StoreError> {
        let numbers: Vec<i64> = found.keys().copied().collect();
        for numbers in numbers.chunks(CHUNK) {
            let nodes = query
                .clone()
                .filter(rollout_nodes::Column::Revision.is_in(numbers.iter().copied()))
                .order_by_asc(rollout_nodes::Column::Wave)
                .order_by_asc(rollout_nodes::Column::Name)
                .all(self.db.reader())
                .await
                .map_err(failed(doing))?;
            for node in nodes {
                if let Some(rollout) = found.get_mut(&node.revision) {
                    rollout.nodes.push(RolloutNodeRow::read(doing, node)?);
                }
            }
        }
        Ok(())
    }
}

/// Writes a rollout within the transaction of its revision.
pub(crate) async fn insert(
    transaction: &Transaction,
    rollout: &RolloutDraft,
    revision: &RevisionDraft,
    number: RevisionNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    const DOING: &str = "write a rollout";
    let row = rollouts::ActiveModel {
        revision: Set(number.0),
        strategy: Set(json(DOING, &rollout.strategy)?),
        state: Set(json(DOING, &RolloutState::Queued)?),
        author_id: Set(uuid(revision.author)),
        author_name: Set(revision.author_name.clone()),
        started_at: Set(micros(now)),
        updated_at: Set(micros(now)),
        finished_at: Set(None),
        decides: Set(true),
        version: Set(1),
    };
    rollouts::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .map_err(failed(DOING))?;
    let nodes: Vec<_> = rollout
        .nodes
        .iter()
        .map(|(node, name, wave)| RolloutNodeRow {
            node: *node,
            name: name.clone(),
            wave: *wave,
            standing: Standing::Waiting,
            since: now,
            let_in_at: None,
            before: BTreeMap::new(),
            findings: Vec::new(),
        })
        .collect();
    put_nodes(transaction, number, &nodes.iter().collect::<Vec<_>>(), DOING).await
}

async fn put_nodes(
    transaction: &Transaction,
    revision: RevisionNumber,
    nodes: &[&RolloutNodeRow],
    doing: &'static str,
) -> Result<(), StoreError> {
    for nodes in nodes.chunks(CHUNK) {
        let rows = nodes
            .iter()
            .map(|node| {
                Ok(rollout_nodes::ActiveModel {
                    revision: Set(revision.0),
                    node_id: Set(node.node.uuid()),
                    name: Set(node.name.to_string()),
                    wave: Set(node.wave.into()),
                    standing: Set(word(doing, &node.standing)?),
                    since: Set(micros(node.since)),
                    let_in_at: Set(optional_micros(node.let_in_at)),
                    before: Set(json(doing, &node.before)?),
                    findings: Set(json(doing, &node.findings)?),
                })
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        let key =
            OnConflict::columns([rollout_nodes::Column::Revision, rollout_nodes::Column::NodeId])
                .update_columns([
                    rollout_nodes::Column::Standing,
                    rollout_nodes::Column::Since,
                    rollout_nodes::Column::LetInAt,
                    rollout_nodes::Column::Before,
                    rollout_nodes::Column::Findings,
                ])
                .to_owned();
        rollout_nodes::Entity::insert_many(rows)
            .on_conflict(key)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(doing))?;
    }
    Ok(())
}

impl RolloutRow {
    fn read(doing: &'static str, row: rollouts::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("rollouts", doing);
        Ok(Self {
            revision: RevisionNumber(row.revision),
            strategy: columns.json("strategy", &row.strategy)?,
            state: columns.json("state", &row.state)?,
            author: user(row.author_id),
            author_name: row.author_name,
            started_at: columns.time("started_at", row.started_at)?,
            updated_at: columns.time("updated_at", row.updated_at)?,
            finished_at: columns.optional_time("finished_at", row.finished_at)?,
            decides: row.decides,
            version: row.version,
            nodes: Vec::new(),
        })
    }
}

impl RolloutNodeRow {
    fn read(doing: &'static str, row: rollout_nodes::Model) -> Result<Self, StoreError> {
        let columns = Columns::of("rollout_nodes", doing);
        Ok(Self {
            node: Id::from_uuid(row.node_id),
            name: columns.read("name", row.name.parse())?,
            wave: columns.read("wave", u32::try_from(row.wave))?,
            standing: columns.word("standing", row.standing)?,
            since: columns.time("since", row.since)?,
            let_in_at: columns.optional_time("let_in_at", row.let_in_at)?,
            before: columns.json("before", &row.before)?,
            findings: columns.json("findings", &row.findings)?,
        })
    }
}
