//! The current rows of what a revision changes.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::{Id, RevisionNumber, Role, User};
use sea_orm::{
    ActiveModelTrait,
    ActiveValue::{NotSet, Set},
    ColumnTrait, EntityTrait, IntoActiveModel, QueryFilter,
    sea_query::{Expr, OnConflict},
};
use uuid::Uuid;

use super::{ChangeDraft, CommitError, SiteVersion, UserVersion, Version, commit::DOING};
use crate::{
    Block, StoreError,
    column::{CHUNK, json, micros, user, uuid},
    connection::Transaction,
    entity::{installation, site_hosts, site_tags, sites, users},
    error::failed,
};

/// The current rows of what a draft touches, before it.
pub(super) struct Existing {
    sites: BTreeMap<Uuid, sites::Model>,
    users: BTreeMap<Uuid, users::Model>,
    installation: Option<installation::Model>,
}

/// What a change must know of the thing it touches.
pub(super) struct Found {
    pub(super) name: String,
    pub(super) owner: Option<Id<User>>,
    pub(super) revision: RevisionNumber,
    pub(super) blocked: bool,
}

impl Existing {
    pub(super) async fn load(
        transaction: &Transaction,
        drafts: &[ChangeDraft],
    ) -> Result<Self, StoreError> {
        let mut existing =
            Self { sites: BTreeMap::new(), users: BTreeMap::new(), installation: None };
        for ids in ids(drafts, Touched::Site).chunks(CHUNK) {
            let query = sites::Entity::find().filter(sites::Column::Id.is_in(ids.iter().copied()));
            let rows = query.all(transaction).await.map_err(failed(DOING))?;
            existing.sites.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        for ids in ids(drafts, Touched::User).chunks(CHUNK) {
            let query = users::Entity::find().filter(users::Column::Id.is_in(ids.iter().copied()));
            let rows = query.all(transaction).await.map_err(failed(DOING))?;
            existing.users.extend(rows.into_iter().map(|row| (row.id, row)));
        }
        if !ids(drafts, Touched::Settings).is_empty() {
            let query = installation::Entity::find();
            existing.installation = query.one(transaction).await.map_err(failed(DOING))?;
        }
        Ok(existing)
    }

    pub(super) fn of(&self, change: &ChangeDraft) -> Option<Found> {
        match touched(&change.to) {
            Touched::Site => self.sites.get(&change.id).map(|row| Found {
                name: row.name.clone(),
                owner: user(row.owner_id),
                revision: RevisionNumber(row.revision),
                blocked: row.blocked_at.is_some(),
            }),
            Touched::User => self.users.get(&change.id).map(|row| Found {
                name: row.name.clone(),
                owner: None,
                revision: RevisionNumber(row.revision),
                blocked: false,
            }),
            Touched::Settings => {
                let row = self.installation.as_ref().filter(|row| row.id == change.id)?;
                Some(Found {
                    name: "settings".to_owned(),
                    owner: None,
                    revision: RevisionNumber(row.revision),
                    blocked: false,
                })
            }
        }
    }

    pub(super) fn spec_of_site(&self, id: Uuid) -> Option<String> {
        self.sites.get(&id).map(|row| row.spec.clone())
    }

    pub(super) fn has_administrator(&self) -> bool {
        self.users.values().any(|user| user.active && user.role == Role::Admin.as_str())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Touched {
    Site,
    User,
    Settings,
}

fn touched(to: &Version) -> Touched {
    match to {
        Version::Site(_) | Version::SiteBlocked(_) | Version::SiteDeleted => Touched::Site,
        Version::User(_) | Version::UserDeleted => Touched::User,
        Version::Settings(_) => Touched::Settings,
    }
}

fn ids(drafts: &[ChangeDraft], of: Touched) -> Vec<Uuid> {
    drafts.iter().filter(|change| touched(&change.to) == of).map(|change| change.id).collect()
}

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
    let mut settings = None;
    for change in drafts {
        match &change.to {
            Version::Site(version) => sites_put.push((change.id, version)),
            Version::SiteDeleted => sites_gone.push(change.id),
            Version::User(version) => users_put.push((change.id, version)),
            Version::UserDeleted => users_gone.push(change.id),
            Version::SiteBlocked(block) => blocks.push((change.id, block.as_ref())),
            Version::Settings(version) => settings = Some(json(DOING, version)?),
        }
    }
    make_way(transaction, &sites_put, &users_put, existing).await?;
    delete_sites(transaction, &sites_gone).await?;
    put_users(transaction, &users_put, number, now).await?;
    put_sites(transaction, &sites_put, number, now).await?;
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
        forget_hosts_and_tags(transaction, versions).await?;
        put_hosts(transaction, versions).await?;
        put_tags(transaction, versions).await?;
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
fn searchable(version: &SiteVersion) -> String {
    const INDEXED: usize = 2000;
    let mut text = version.name.to_string();
    for host in &version.hosts {
        let host = host.to_string();
        if text.len() + host.len() >= INDEXED {
            break;
        }
        text.push('\n');
        text.push_str(&host);
    }
    text
}

async fn forget_hosts_and_tags(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
) -> Result<(), StoreError> {
    let ids = || versions.iter().map(|(id, _)| *id);
    site_hosts::Entity::delete_many()
        .filter(site_hosts::Column::SiteId.is_in(ids()))
        .exec(transaction)
        .await
        .map_err(failed(DOING))?;
    site_tags::Entity::delete_many()
        .filter(site_tags::Column::SiteId.is_in(ids()))
        .exec(transaction)
        .await
        .map_err(failed(DOING))?;
    Ok(())
}

async fn put_hosts(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
) -> Result<(), StoreError> {
    let rows: Vec<site_hosts::ActiveModel> = versions
        .iter()
        .flat_map(|(id, version)| version.hosts.iter().map(|host| (*id, host)))
        .map(|(id, host)| site_hosts::ActiveModel { host: Set(host.to_string()), site_id: Set(id) })
        .collect();
    for rows in rows.chunks(CHUNK) {
        // A host that is written twice is the same host.
        let once = OnConflict::columns([site_hosts::Column::Host, site_hosts::Column::SiteId])
            .do_nothing()
            .to_owned();
        site_hosts::Entity::insert_many(rows.to_vec())
            .on_conflict(once)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

async fn put_tags(
    transaction: &Transaction,
    versions: &[(Uuid, &SiteVersion)],
) -> Result<(), StoreError> {
    let rows: Vec<site_tags::ActiveModel> = versions
        .iter()
        .flat_map(|(id, version)| version.tags.iter().map(|tag| (*id, &version.name, tag)))
        .map(|(id, name, tag)| site_tags::ActiveModel {
            tag: Set(crate::column::foreign(tag)),
            site_name: Set(name.to_string()),
            site_id: Set(id),
        })
        .collect();
    for rows in rows.chunks(CHUNK) {
        let once = OnConflict::columns([
            site_tags::Column::Tag,
            site_tags::Column::SiteName,
            site_tags::Column::SiteId,
        ])
        .do_nothing()
        .to_owned();
        site_tags::Entity::insert_many(rows.to_vec())
            .on_conflict(once)
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
    for rows in rows.chunks(CHUNK) {
        let replace = OnConflict::column(sites::Column::Id)
            .update_columns([
                sites::Column::Revision,
                sites::Column::BlockedReason,
                sites::Column::BlockedBy,
                sites::Column::BlockedAt,
                sites::Column::UpdatedAt,
            ])
            .to_owned();
        sites::Entity::insert_many(rows.to_vec())
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
