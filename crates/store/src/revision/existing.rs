//! What a revision finds: the current rows of the things that it touches.

use std::collections::BTreeMap;

use portway_model::{Id, RevisionNumber, Role, User};
use sea_orm::{ColumnTrait, EntityTrait, QueryFilter};
use uuid::Uuid;

use super::{
    ChangeDraft, SiteVersion, Version,
    apply::{is_cut, searchable},
    commit::DOING,
};
use crate::{
    StoreError,
    column::{CHUNK, user},
    connection::Transaction,
    entity::{installation, nodes, sites, users},
    error::failed,
};

/// The current rows of what a draft touches, before it.
#[derive(Default)]
pub(super) struct Existing {
    pub(super) sites: BTreeMap<Uuid, sites::Model>,
    pub(super) users: BTreeMap<Uuid, users::Model>,
    pub(super) nodes: BTreeMap<Uuid, nodes::Model>,
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
        let mut existing = Self::default();
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
        for ids in ids(drafts, Touched::Node).chunks(CHUNK) {
            let query = nodes::Entity::find().filter(nodes::Column::Id.is_in(ids.iter().copied()));
            let rows = query.all(transaction).await.map_err(failed(DOING))?;
            existing.nodes.extend(rows.into_iter().map(|row| (row.id, row)));
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
            // The edge of a manager is not declared, and so is nothing to be changed.
            Touched::Node => self.nodes.get(&change.id).and_then(|row| {
                Some(Found {
                    name: row.name.clone(),
                    owner: None,
                    revision: RevisionNumber(row.revision?),
                    blocked: false,
                })
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

    /// Tells whether a site has exactly these hosts already, and the name.
    pub(super) fn has_hosts(&self, id: Uuid, version: &SiteVersion) -> bool {
        let text = searchable(version);
        !is_cut(&text) && self.sites.get(&id).is_some_and(|row| row.search == text)
    }

    /// Tells whether a change leaves to a site what other sites may not have: its hosts, as long as
    /// its owner is the same.
    pub(super) fn keeps_hosts(&self, id: Uuid, version: &SiteVersion) -> bool {
        self.has_owner(id, version) && self.has_hosts(id, version)
    }

    /// Tells whether a site is its owner's already.
    pub(super) fn has_owner(&self, id: Uuid, version: &SiteVersion) -> bool {
        self.sites.get(&id).is_some_and(|row| user(row.owner_id) == version.owner)
    }

    /// Tells whether a thing has the name already.
    pub(super) fn has_name(&self, change: &ChangeDraft, name: &str) -> bool {
        match touched(&change.to) {
            Touched::Site => self.sites.get(&change.id).is_some_and(|row| row.name == name),
            Touched::User => self.users.get(&change.id).is_some_and(|row| row.name == name),
            Touched::Node => self.nodes.get(&change.id).is_some_and(|row| row.name == name),
            Touched::Settings => false,
        }
    }

    /// Tells whether a site has chosen nodes; it may say so of one that has not.
    pub(super) fn may_choose_nodes(&self, id: Uuid) -> bool {
        self.sites.get(&id).is_some_and(|row| row.spec.contains("\"nodes\""))
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
    Node,
    Settings,
}

fn touched(to: &Version) -> Touched {
    match to {
        Version::Site(_) | Version::SiteBlocked(_) | Version::SiteDeleted => Touched::Site,
        Version::User(_) | Version::UserDeleted => Touched::User,
        Version::Node(_) | Version::NodeDeleted(_) => Touched::Node,
        Version::Settings(_) => Touched::Settings,
    }
}

fn ids(drafts: &[ChangeDraft], of: Touched) -> Vec<Uuid> {
    drafts.iter().filter(|change| touched(&change.to) == of).map(|change| change.id).collect()
}
