//! Finding declared nodes by what they are.

use std::collections::{BTreeMap, BTreeSet};

use portway_model::{EngineKind, Name, NodeSelector};
use sea_orm::{
    ColumnTrait, Condition, EntityTrait, ExprTrait, QueryFilter, QueryOrder, QuerySelect, Select,
    sea_query::{Expr, Query, SelectStatement},
};

use super::{NodeRow, Nodes};
use crate::{
    Page, PageRequest, StoreError,
    column::CHUNK,
    entity::{node_traits, nodes},
    error::failed,
};

/// Which nodes are wanted; what is not set does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeFilter {
    /// Those that each of these chooses. The managers' own edges are chosen by name alone.
    pub chosen_by: Vec<NodeSelector>,
    /// Those with this engine.
    pub engine: Option<EngineKind>,
    /// Those that are brought to what they should have, or those that are not. Declared ones only.
    pub active: Option<bool>,
    /// Those that somebody declared, or the managers' own edges.
    pub declared: Option<bool>,
}

impl Nodes<'_> {
    /// Lists the nodes of a filter by name.
    pub async fn find(
        self,
        filter: &NodeFilter,
        page: &PageRequest,
    ) -> Result<Page<NodeRow>, StoreError> {
        const DOING: &str = "list nodes";
        const LIST: &str = "found nodes";
        let mut query = filter.select().order_by_asc(nodes::Column::Name).limit(page.rows());
        if let Some(after) = page.key::<String>(LIST)? {
            query = query.filter(nodes::Column::Name.gt(after));
        }
        let rows = query.all(self.db.reader()).await.map_err(failed(DOING))?;
        page.page(LIST, rows, |row| row.name.clone())?.try_map(|row| NodeRow::read(DOING, row))
    }

    /// Returns the nodes with these names that are there.
    pub async fn by_names(self, names: &[&Name]) -> Result<BTreeMap<Name, NodeRow>, StoreError> {
        const DOING: &str = "read nodes";
        let mut found = BTreeMap::new();
        for names in names.chunks(CHUNK) {
            let names = names.iter().map(|name| name.as_str());
            let query = nodes::Entity::find().filter(nodes::Column::Name.is_in(names));
            for row in query.all(self.db.reader()).await.map_err(failed(DOING))? {
                let row = NodeRow::read(DOING, row)?;
                found.insert(row.name.clone(), row);
            }
        }
        Ok(found)
    }

    /// Returns those of some choices by group, label or zone that choose a node.
    pub async fn choosing(
        self,
        selectors: &[NodeSelector],
    ) -> Result<BTreeSet<NodeSelector>, StoreError> {
        const DOING: &str = "read what nodes have";
        let mut found = BTreeSet::new();
        for selectors in selectors.chunks(CHUNK) {
            let texts: Vec<String> = node_traits::Entity::find()
                .select_only()
                .column(node_traits::Column::Selector)
                .distinct()
                .filter(
                    node_traits::Column::Selector.is_in(selectors.iter().map(ToString::to_string)),
                )
                .into_tuple()
                .all(self.db.reader())
                .await
                .map_err(failed(DOING))?;
            let texts: BTreeSet<String> = texts.into_iter().collect();
            let had = selectors.iter().filter(|selector| texts.contains(&selector.to_string()));
            found.extend(had.cloned());
        }
        Ok(found)
    }
}

impl NodeFilter {
    fn select(&self) -> Select<nodes::Entity> {
        let mut query = nodes::Entity::find();
        for selector in &self.chosen_by {
            query = query.filter(chosen_by(selector));
        }
        if let Some(engine) = self.engine {
            query = query.filter(nodes::Column::Engine.eq(engine.as_str()));
        }
        if let Some(active) = self.active {
            query = query.filter(nodes::Column::Active.eq(active));
        }
        match self.declared {
            Some(true) => query.filter(nodes::Column::Spec.is_not_null()),
            Some(false) => query.filter(nodes::Column::Spec.is_null()),
            None => query,
        }
    }
}

fn chosen_by(selector: &NodeSelector) -> Condition {
    let any = Condition::any();
    match selector {
        NodeSelector::Name(_) if selector.is_own_edges() => any.add(nodes::Column::Spec.is_null()),
        NodeSelector::Name(name) => any.add(nodes::Column::Name.eq(name.as_str())),
        NodeSelector::Group(_) | NodeSelector::Label(..) | NodeSelector::Zone(_) => {
            any.add(nodes::Column::Id.in_subquery(having(selector)))
        }
    }
}

fn having(selector: &NodeSelector) -> SelectStatement {
    Query::select()
        .column(node_traits::Column::NodeId)
        .from(node_traits::Entity)
        .and_where(Expr::col(node_traits::Column::Selector).eq(selector.to_string()))
        .take()
}
