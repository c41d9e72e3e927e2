//! Writing the current rows of declared nodes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use portway_model::{Node, NodeSpec, RevisionNumber, node::check};
use sea_orm::{ActiveValue::Set, ColumnTrait, EntityTrait, QueryFilter, sea_query::OnConflict};
use uuid::Uuid;

use super::{DOING, Existing};
use crate::{
    NodeDeletion, NodeVersion, StoreError,
    column::{CHUNK, chunked, json, micros},
    connection::Transaction,
    entity::{node_removals, node_traits, nodes},
    error::failed,
};

pub(super) async fn put(
    transaction: &Transaction,
    versions: &[(Uuid, &NodeVersion)],
    number: RevisionNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    for versions in versions.chunks(CHUNK) {
        let rows = versions
            .iter()
            .map(|(id, version)| row(*id, version, number, now))
            .collect::<Result<Vec<_>, _>>()?;
        let replace = OnConflict::column(nodes::Column::Id)
            .update_columns([
                nodes::Column::Name,
                nodes::Column::Engine,
                nodes::Column::Spec,
                nodes::Column::Origin,
                nodes::Column::Revision,
                nodes::Column::Active,
                nodes::Column::ChangedAt,
            ])
            .to_owned();
        nodes::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
        put_traits(transaction, versions).await?;
    }
    keep_what_is_back(transaction, versions).await
}

/// Forgets what was to be taken away from machines that are declared again: it would be taken from the
/// new node.
async fn keep_what_is_back(
    transaction: &Transaction,
    versions: &[(Uuid, &NodeVersion)],
) -> Result<(), StoreError> {
    if versions.is_empty() {
        return Ok(());
    }
    let removals = node_removals::Entity::find().all(transaction).await.map_err(failed(DOING))?;
    if removals.is_empty() {
        return Ok(());
    }
    let checked = |name: &str, spec: Result<NodeSpec, serde_json::Error>| -> Option<Node> {
        check(&name.parse().ok()?, &spec.ok()?).0
    };
    let declared: Vec<Node> = versions
        .iter()
        .filter_map(|(_, version)| {
            checked(version.name.as_str(), serde_json::from_value(version.spec.clone()))
        })
        .collect();
    let is_back = |removal: &node_removals::Model| {
        checked(&removal.name, serde_json::from_str(&removal.spec))
            .is_some_and(|gone| declared.iter().any(|node| node.is_in_place_of(&gone)))
    };
    let back: Vec<Uuid> =
        removals.iter().filter(|row| is_back(row)).map(|row| row.node_id).collect();
    for ids in back.chunks(CHUNK) {
        node_removals::Entity::delete_many()
            .filter(node_removals::Column::NodeId.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

fn row(
    id: Uuid,
    version: &NodeVersion,
    number: RevisionNumber,
    now: Timestamp,
) -> Result<nodes::ActiveModel, StoreError> {
    Ok(nodes::ActiveModel {
        id: Set(id),
        name: Set(version.name.to_string()),
        engine: Set(version.engine.as_str().to_owned()),
        deployed_revision: Set(0),
        digest: Set(None),
        created_at: Set(micros(now)),
        updated_at: Set(micros(now)),
        spec: Set(Some(json(DOING, &version.spec)?)),
        origin: Set(Some(json(DOING, &version.origin)?)),
        revision: Set(Some(number.0)),
        active: Set(Some(version.active)),
        changed_at: Set(Some(micros(now))),
    })
}

async fn put_traits(
    transaction: &Transaction,
    versions: &[(Uuid, &NodeVersion)],
) -> Result<(), StoreError> {
    node_traits::Entity::delete_many()
        .filter(node_traits::Column::NodeId.is_in(versions.iter().map(|(id, _)| *id)))
        .exec(transaction)
        .await
        .map_err(failed(DOING))?;
    let rows: BTreeSet<(String, Uuid)> = versions
        .iter()
        .flat_map(|(id, version)| version.selectors.iter().map(|by| (by.to_string(), *id)))
        .collect();
    let rows = rows
        .into_iter()
        .map(|(selector, id)| node_traits::ActiveModel {
            selector: Set(selector),
            node_id: Set(id),
        })
        .collect();
    for rows in chunked(rows) {
        node_traits::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

pub(super) async fn delete(
    transaction: &Transaction,
    gone: &[(Uuid, NodeDeletion)],
    existing: &Existing,
    now: Timestamp,
) -> Result<(), StoreError> {
    let to_clean = gone.iter().filter(|(_, deletion)| deletion.clean);
    let to_clean: Vec<node_removals::ActiveModel> = to_clean
        .filter_map(|(id, _)| existing.nodes.get(id))
        .filter_map(|node| {
            Some(node_removals::ActiveModel {
                node_id: Set(node.id),
                name: Set(node.name.clone()),
                spec: Set(node.spec.clone()?),
                removed_at: Set(micros(now)),
            })
        })
        .collect();
    for rows in chunked(to_clean) {
        node_removals::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    for gone in gone.chunks(CHUNK) {
        nodes::Entity::delete_many()
            .filter(nodes::Column::Id.is_in(gone.iter().map(|(id, _)| *id)))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}
