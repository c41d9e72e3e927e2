//! What holds between sites and the nodes that they name.

use std::collections::BTreeSet;

use portway_model::{Name, NodeSelector, ResourceKind};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter, QueryOrder, QuerySelect, QueryTrait};

use super::{ChangeDraft, CommitError, DOING, Existing, Version, holders_of};
use crate::{
    column::CHUNK,
    connection::Transaction,
    entity::{site_nodes, sites},
    error::failed,
};

/// A node that sites name stays, unless its going was asked for all the same. Sites that stop to name
/// it in the same revision do not count.
pub(super) async fn check_deleted(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
    existing: &Existing,
) -> Result<(), CommitError> {
    /// As many sites are named to whoever asked.
    const SHOWN: u64 = 5;
    for change in drafts {
        let Version::NodeDeleted(deletion) = &change.to else { continue };
        let Some(node) = existing.nodes.get(&change.id).filter(|_| !deletion.even_if_named) else {
            continue;
        };
        let changed = drafts.iter().filter(|other| other.to.kind() == ResourceKind::Site);
        let naming = site_nodes::Entity::find()
            .select_only()
            .column(site_nodes::Column::SiteId)
            .filter(site_nodes::Column::Selector.eq(&node.name))
            .filter(site_nodes::Column::SiteId.is_not_in(changed.map(|other| other.id)))
            .into_query();
        let sites: Vec<String> = sites::Entity::find()
            .select_only()
            .column(sites::Column::Name)
            .filter(sites::Column::Id.in_subquery(naming))
            .order_by_asc(sites::Column::Name)
            .limit(SHOWN)
            .into_tuple()
            .all(transaction)
            .await
            .map_err(failed(DOING))?;
        if !sites.is_empty() {
            return Err(CommitError::NodeNamed { name: node.name.clone(), sites });
        }
    }
    Ok(())
}

/// What a site names must be there once everything is written.
pub(super) async fn check_named(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
) -> Result<(), CommitError> {
    let mut named: BTreeSet<&Name> = BTreeSet::new();
    for change in drafts {
        let Version::Site(site) = &change.to else { continue };
        named.extend(site.nodes.iter().filter(|selector| !selector.is_own_edges()).filter_map(
            |selector| match selector {
                NodeSelector::Name(name) => Some(name),
                NodeSelector::Group(_) | NodeSelector::Label(..) | NodeSelector::Zone(_) => None,
            },
        ));
    }
    let named: Vec<&Name> = named.into_iter().collect();
    for names in named.chunks(CHUNK) {
        let texts: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
        let holders = holders_of(transaction, ResourceKind::Node, &texts).await?;
        let there: BTreeSet<&str> = holders.iter().map(|(_, name)| name.as_str()).collect();
        if let Some(missing) = texts.into_iter().find(|name| !there.contains(name)) {
            return Err(CommitError::UnknownNode { name: missing.to_owned() });
        }
    }
    Ok(())
}
