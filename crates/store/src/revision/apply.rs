//! Writing the current rows of what a revision changes.

use std::collections::BTreeSet;

use jiff::Timestamp;
use portway_model::RevisionNumber;
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{
    ChangeDraft, CommitError, SiteVersion, UserVersion, Version, commit::DOING, existing::Existing,
};
use crate::{
    Block, StoreError,
    column::{CHUNK, chunked, json, micros, uuid},
    connection::Transaction,
    entity::{installation, site_hosts, site_nodes, site_tags, sites, users},
    error::failed,
};

mod nodes;

/// Writes the current rows. Users come first, because sites may belong to new ones, and go last.
pub(super) async fn all(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
    number: RevisionNumber,
    existing: &Existing,
    now: Timestamp,
) -> Result<(), CommitError> {
    let mut sites_put = Vec::new();
    let mut sites_gone = Vec::new();
    let mut users_put = Vec::new();
    let mut users_gone = Vec::new();
    let mut blocks = Vec::new();
    let mut nodes_put = Vec::new();
    let mut nodes_gone = Vec::new();
    let mut settings = None;
    for change in drafts {
        match &change.to {
            Version::Site(version) => sites_put.push((change.id, version)),
            Version::SiteDeleted => sites_gone.push(change.id),
            Version::User(version) => users_put.push((change.id, version)),
            Version::UserDeleted => users_gone.push(change.id),
            Version::SiteBlocked(block) => blocks.push((change.id, block.as_ref())),
            Version::Node(version) => nodes_put.push((change.id, version)),
            Version::NodeDeleted(deletion) => nodes_gone.push((change.id, *deletion)),
            Version::Settings(version) => settings = Some(json(DOING, version)?),
        }
    }
    make_way(transaction, &sites_put, &users_put, existing).await?;
    delete_sites(transaction, &sites_gone).await?;
    put_users(transaction, &users_put, number, now).await?;
    put_sites(transaction, &sites_put, number, existing, now).await?;
    nodes::delete(transaction, &nodes_gone, existing, now).await?;
    nodes::put(transaction, &nodes_put, number, now).await?;
    put_blocks(transaction, &blocks, number, existing, now).await?;
    if let Some(settings) = settings {
        set_settings(transaction, settings, number).await?;
    }
    delete_users(transaction, &users_gone, existing).await
}

/// Takes the old names from what is renamed, so that two things can exchange theirs. No name begins
/// with `#`.
async fn make_way(
    transaction: &Transaction,
    sites_put: &[(Uuid, &SiteVersion)],
    users_put: &[(Uuid, &UserVersion)],
    existing: &Existing,
) -> Result<(), StoreError> {
    let renamed_sites: Vec<Uuid> = sites_put
        .iter()
        .filter(|(id, version)| {
            existing.sites.get(id).is_some_and(|row| row.name != version.name.as_str())
        })
        .map(|(id, _)| *id)
        .collect();
    for ids in renamed_sites.chunks(CHUNK) {
        sites::Entity::update_many()
            .col_expr(sites::Column::Name, Expr::cust("'#' || name"))
            .filter(sites::Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    let renamed_users: Vec<Uuid> = users_put
        .iter()
        .filter(|(id, version)| {
            existing.users.get(id).is_some_and(|row| row.name != version.name.as_str())
        })
        .map(|(id, _)| *id)
        .collect();
    for ids in renamed_users.chunks(CHUNK) {
        users::Entity::update_many()
            .col_expr(users::Column::Name, Expr::cust("'#' || name"))
            .filter(users::Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn put_sites(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
    number: RevisionNumber,
    existing: &Existing,
    now: Timestamp,
) -> Result<(), StoreError> {
    for versions in versions.chunks(CHUNK) {
        let rows = versions
            .iter()
            .map(|(id, version)| site_row(*id, version, number, now))
            .collect::<Result<Vec<_>, _>>()?;
        let replace = OnConflict::column(sites::Column::Id)
            .update_columns([
                sites::Column::Name,
                sites::Column::OwnerId,
                sites::Column::Origin,
                sites::Column::Revision,
                sites::Column::UpdatedAt,
                sites::Column::Search,
                sites::Column::Spec,
            ])
            .to_owned();
        sites::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
        put_hosts(transaction, versions, existing).await?;
        put_tags(transaction, versions, existing).await?;
        put_choices(transaction, versions, existing).await?;
    }
    Ok(())
}

fn site_row(
    id: Uuid,
    version: &SiteVersion,
    number: RevisionNumber,
    now: Timestamp,
) -> Result<sites::ActiveModel, StoreError> {
    Ok(sites::ActiveModel {
        serial: NotSet,
        id: Set(id),
        name: Set(version.name.to_string()),
        owner_id: Set(uuid(version.owner)),
        origin: Set(json(DOING, &version.origin)?),
        revision: Set(number.0),
        blocked_reason: NotSet,
        blocked_by: NotSet,
        blocked_at: NotSet,
        created_at: Set(micros(now)),
        updated_at: Set(micros(now)),
        search: Set(searchable(version)),
        spec: Set(json(DOING, &version.spec)?),
    })
}

/// The name and each host on a line of its own, so that no text matches across two of them. It must
/// fit an index; what a few hundred hosts have beyond that is not found by text.
///
/// Two line ends close it, so that each of its characters begins three (see `site::filter`). A third
/// one says that hosts are missing ([`is_cut`]): without it, equal texts mean equal hosts.
pub(super) fn searchable(version: &SiteVersion) -> String {
    const INDEXED: usize = 2000;
    let mut text = version.name.to_string();
    let mut end = END;
    for host in &version.hosts {
        let host = host.to_string();
        if text.len() + host.len() >= INDEXED {
            end = CUT;
            break;
        }
        text.push('\n');
        text.push_str(&host);
    }
    text.push_str(end);
    text
}

const END: &str = "\n\n";
const CUT: &str = "\n\n\n";

/// Tells whether hosts are missing in what [`searchable`] returned.
pub(super) fn is_cut(text: &str) -> bool {
    text.ends_with(CUT)
}

/// Sites that keep their hosts are left alone; a new one has none to forget.
async fn put_hosts(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
    existing: &Existing,
) -> Result<(), StoreError> {
    let changed = || versions.iter().filter(|(id, version)| !existing.has_hosts(*id, version));
    let known: Vec<Uuid> =
        changed().map(|(id, _)| *id).filter(|id| existing.sites.contains_key(id)).collect();
    if !known.is_empty() {
        site_hosts::Entity::delete_many()
            .filter(site_hosts::Column::SiteId.is_in(known))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    // A host that is written twice is the same host.
    let rows: BTreeSet<(String, Uuid)> = changed()
        .flat_map(|(id, version)| version.hosts.iter().map(|host| (host.to_string(), *id)))
        .collect();
    let rows = rows
        .into_iter()
        .map(|(host, id)| site_hosts::ActiveModel { host: Set(host), site_id: Set(id) })
        .collect();
    for rows in chunked(rows) {
        site_hosts::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn put_tags(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
    existing: &Existing,
) -> Result<(), StoreError> {
    let known: Vec<Uuid> =
        versions.iter().map(|(id, _)| *id).filter(|id| existing.sites.contains_key(id)).collect();
    if !known.is_empty() {
        site_tags::Entity::delete_many()
            .filter(site_tags::Column::SiteId.is_in(known))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    // A tag that is written twice is the same tag.
    let rows: BTreeSet<(String, &str, Uuid)> = versions
        .iter()
        .flat_map(|(id, version)| version.tags.iter().map(|tag| (*id, &version.name, tag)))
        .map(|(id, name, tag)| (crate::column::foreign(tag), name.as_str(), id))
        .collect();
    let rows = rows
        .into_iter()
        .map(|(tag, name, id)| site_tags::ActiveModel {
            tag: Set(tag),
            site_name: Set(name.to_owned()),
            site_id: Set(id),
        })
        .collect();
    for rows in chunked(rows) {
        site_tags::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

/// The nodes that sites choose. Most choose none, and cost nothing.
async fn put_choices(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
    existing: &Existing,
) -> Result<(), StoreError> {
    let known: Vec<Uuid> =
        versions.iter().map(|(id, _)| *id).filter(|id| existing.may_choose_nodes(*id)).collect();
    if !known.is_empty() {
        site_nodes::Entity::delete_many()
            .filter(site_nodes::Column::SiteId.is_in(known))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    let rows: BTreeSet<(String, Uuid)> = versions
        .iter()
        .flat_map(|(id, version)| version.nodes.iter().map(|choice| (choice.to_string(), *id)))
        .collect();
    let rows = rows
        .into_iter()
        .map(|(selector, id)| site_nodes::ActiveModel { selector: Set(selector), site_id: Set(id) })
        .collect();
    for rows in chunked(rows) {
        site_nodes::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn delete_sites(transaction: &Transaction, ids: &[Uuid]) -> Result<(), StoreError> {
    for ids in ids.chunks(CHUNK) {
        sites::Entity::delete_many()
            .filter(sites::Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn put_blocks(
    transaction: &Transaction,
    blocks: &[(Uuid, Option<&Block>)],
    number: RevisionNumber,
    existing: &Existing,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<sites::ActiveModel> = blocks
        .iter()
        .filter_map(|(id, block)| Some((existing.sites.get(id)?.clone(), block)))
        .map(|(row, block)| sites::ActiveModel {
            serial: NotSet,
            revision: Set(number.0),
            blocked_reason: Set(block.map(|block| block.reason.replace('\0', "\u{fffd}"))),
            blocked_by: Set(block.and_then(|block| uuid(block.by))),
            blocked_at: Set(block.map(|block| micros(block.at))),
            updated_at: Set(micros(now)),
            ..row.into_active_model().reset_all()
        })
        .collect();
    for rows in chunked(rows) {
        let replace = OnConflict::column(sites::Column::Id)
            .update_columns([
                sites::Column::Revision,
                sites::Column::BlockedReason,
                sites::Column::BlockedBy,
                sites::Column::BlockedAt,
                sites::Column::UpdatedAt,
            ])
            .to_owned();
        sites::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn put_users(
    transaction: &Transaction,
    versions: &[(Uuid, &UserVersion)],
    number: RevisionNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    for versions in versions.chunks(CHUNK) {
        let rows = versions
            .iter()
            .map(|(id, version)| user_row(*id, version, number, now))
            .collect::<Result<Vec<_>, _>>()?;
        let replace = OnConflict::column(users::Column::Id)
            .update_columns([
                users::Column::Name,
                users::Column::Email,
                users::Column::Role,
                users::Column::Bounds,
                users::Column::Active,
                users::Column::Revision,
                users::Column::UpdatedAt,
            ])
            .to_owned();
        users::Entity::insert_many(rows)
            .on_conflict(replace)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

fn user_row(
    id: Uuid,
    version: &UserVersion,
    number: RevisionNumber,
    now: Timestamp,
) -> Result<users::ActiveModel, StoreError> {
    Ok(users::ActiveModel {
        id: Set(id),
        name: Set(version.name.to_string()),
        email: Set(version.email.clone()),
        role: Set(version.role.to_string()),
        bounds: Set(json(DOING, &version.bounds)?),
        active: Set(version.active),
        password_hash: Set(None),
        generation: Set(0),
        revision: Set(number.0),
        created_at: Set(micros(now)),
        updated_at: Set(micros(now)),
    })
}

async fn delete_users(
    transaction: &Transaction,
    ids: &[Uuid],
    existing: &Existing,
) -> Result<(), CommitError> {
    for ids in ids.chunks(CHUNK) {
        let owner: Option<sites::Model> = sites::Entity::find()
            .filter(sites::Column::OwnerId.is_in(ids.iter().copied()))
            .one(transaction)
            .await
            .map_err(failed(DOING))?;
        if let Some(owner) = owner.and_then(|site| site.owner_id) {
            let name = existing.users.get(&owner).map(|user| user.name.clone()).unwrap_or_default();
            return Err(CommitError::OwnsSites { name });
        }
        users::Entity::delete_many()
            .filter(users::Column::Id.is_in(ids.iter().copied()))
            .exec(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn set_settings(
    transaction: &Transaction,
    settings: String,
    number: RevisionNumber,
) -> Result<(), StoreError> {
    let row = installation::ActiveModel {
        settings: Set(settings),
        revision: Set(number.0),
        ..Default::default()
    };
    installation::Entity::update_many()
        .set(row)
        .filter(installation::Column::Singleton.eq(1))
        .exec(transaction)
        .await
        .map_err(failed(DOING))?;
    Ok(())
}
