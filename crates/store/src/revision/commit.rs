//! Writing a revision: one transaction in which everything is judged and written, so that nothing
//! can come between.

mod nodes;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use portway_model::{HostPattern, Id, ResourceKind, RevisionNumber, Role, Site, User};
use sea_orm::{
    ActiveValue::Set, ColumnTrait, ConnectionTrait, EntityTrait, FromQueryResult, PaginatorTrait,
    QueryFilter, QueryOrder, QuerySelect,
};
use uuid::Uuid;

use super::{ChangeDraft, Expected, RevisionDraft, Revisions, Version, apply, existing::Existing};
use crate::{
    IdempotencyRecord, RolloutDraft, StoreError, Visible, audit,
    column::{CHUNK, json, micros, user, uuid, word},
    connection::{Lock, Transaction},
    entity::{self, changes, revisions, sites, users},
    error::failed,
    idempotency, rollout, secret, site,
};

pub(super) const DOING: &str = "write a revision";

/// Why a revision was not written. Nothing of it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// Somebody else changed the thing in the meantime.
    #[error("{kind:?} `{name}` was changed in the meantime")]
    Stale {
        /// The kind of thing.
        kind: ResourceKind,
        /// The thing.
        id: Uuid,
        /// Its name, as it stands now.
        name: String,
        /// What the author believed to replace.
        expected: Expected,
        /// What is there.
        found: Option<RevisionNumber>,
    },
    /// There is no such thing, or none that the author may see.
    #[error("there is no {kind:?} {id}")]
    NotFound {
        /// The kind of thing.
        kind: ResourceKind,
        /// The thing.
        id: Uuid,
    },
    /// Another thing of this kind has the name.
    #[error("the name `{name}` is taken")]
    NameTaken {
        /// The kind of thing.
        kind: ResourceKind,
        /// The name.
        name: String,
    },
    /// A site of another owner has the host.
    #[error("the host `{host}` is taken")]
    HostTaken {
        /// The host.
        host: HostPattern,
        /// The site that has it; not for the eyes of other owners.
        site: Id<Site>,
        /// Whose that is.
        owner: Option<Id<User>>,
    },
    /// A site that an administrator blocked cannot be deleted by its owner: it would come back
    /// unblocked.
    #[error("the site `{name}` is blocked by an administrator")]
    Blocked {
        /// The site's name.
        name: String,
    },
    /// The owner would have more sites than permitted.
    #[error("at most {limit} sites are permitted")]
    TooManySites {
        /// The owner.
        owner: Id<User>,
        /// How many are permitted.
        limit: u32,
    },
    /// Nobody could administer the installation afterwards.
    #[error("the last active administrator cannot be removed")]
    LastAdmin,
    /// The user still has sites; they must be deleted or given away first.
    #[error("the user `{name}` still has sites")]
    OwnsSites {
        /// The user's name.
        name: String,
    },
    /// Sites name the node; they must be changed first.
    #[error("the node `{name}` is named by {}", .sites.join(", "))]
    NodeNamed {
        /// The node's name.
        name: String,
        /// The names of some of the sites.
        sites: Vec<String>,
    },
    /// A site names a node that does not exist.
    #[error("there is no node `{name}`")]
    UnknownNode {
        /// The name.
        name: String,
    },
    /// The owner that a site was given does not exist.
    #[error("there is no user {owner}")]
    UnknownOwner {
        /// The owner.
        owner: Id<User>,
    },
    /// Something was changed since the draft was judged.
    #[error("revision {newest} was written in the meantime")]
    Overtaken {
        /// The newest revision.
        newest: RevisionNumber,
    },
    /// The same request was carried out before; this is its record.
    #[error("the request was carried out before")]
    Repeated(Box<IdempotencyRecord>),
    /// The idempotency key belongs to another request.
    #[error("the idempotency key was used for another request")]
    KeyReused,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Revisions<'_> {
    /// Writes a revision: its changes, the current rows, secrets, audit entry and idempotency key,
    /// or nothing at all. What it touches must be `visible`, before and after. Once this returns,
    /// the revision survives a crash.
    pub async fn commit(
        self,
        draft: &RevisionDraft,
        visible: Visible,
        now: Timestamp,
    ) -> Result<RevisionNumber, CommitError> {
        self.commit_with(draft, None, visible, now).await
    }

    /// Writes a revision together with the rollout in which it comes to its nodes, so that it comes
    /// to none before.
    pub async fn commit_with(
        self,
        draft: &RevisionDraft,
        rollout: Option<&RolloutDraft>,
        visible: Visible,
        now: Timestamp,
    ) -> Result<RevisionNumber, CommitError> {
        let transaction = self.db.begin(DOING).await?;
        transaction.lock(Lock::Revision, DOING).await?;
        let number = RevisionNumber(latest(&transaction, DOING).await? + 1);
        if let Some(key) = &draft.idempotency {
            idempotency::claim(&transaction, key, number, now).await?;
        }
        let newest = RevisionNumber(number.0 - 1);
        if draft.judged_at.is_some_and(|judged_at| judged_at != newest) {
            return Err(CommitError::Overtaken { newest });
        }
        let existing = Existing::load(&transaction, &draft.changes).await?;
        for change in &draft.changes {
            check(change, &existing, visible)?;
        }
        check_names(&transaction, &draft.changes, &existing).await?;
        check_owners(&transaction, &draft.changes, &existing).await?;
        nodes::check_deleted(&transaction, &draft.changes, &existing).await?;
        insert_revision(&transaction, draft, number, now).await?;
        insert_changes(&transaction, draft, number, &existing).await?;
        apply::all(&transaction, &draft.changes, number, &existing, now).await?;
        check_hosts(&transaction, &draft.changes, &existing).await?;
        nodes::check_named(&transaction, &draft.changes).await?;
        check_limits(&transaction, &draft.site_limits).await?;
        check_administrators(&transaction, &existing).await?;
        secret::put_if_absent(&transaction, &draft.secrets).await?;
        audit::append(&transaction, &draft.audit, Some(number)).await?;
        if let Some(rollout) = rollout {
            rollout::insert(&transaction, rollout, draft, number, now).await?;
        }
        transaction.commit(DOING).await?;
        self.db.wrote(draft.changes.len());
        Ok(number)
    }
}

pub(super) async fn latest<C: ConnectionTrait>(
    connection: &C,
    doing: &'static str,
) -> Result<i64, StoreError> {
    let newest: Option<i64> = revisions::Entity::find()
        .select_only()
        .column(revisions::Column::Number)
        .order_by_desc(revisions::Column::Number)
        .limit(1)
        .into_tuple()
        .one(connection)
        .await
        .map_err(failed(doing))?;
    Ok(newest.unwrap_or(0))
}

/// Judges one change by what is there.
fn check(change: &ChangeDraft, existing: &Existing, visible: Visible) -> Result<(), CommitError> {
    let kind = change.to.kind();
    let not_found = || CommitError::NotFound { kind, id: change.id };
    if !may_write(&change.to, visible) {
        return Err(not_found());
    }
    let found = existing.of(change);
    if found.as_ref().is_some_and(|found| !visible.sees(found.owner)) {
        return Err(not_found());
    }
    let is = found.as_ref().map(|found| found.revision);
    let as_expected = match change.expected {
        Expected::New => is.is_none(),
        Expected::At(number) => is == Some(number),
        Expected::Any => true,
    };
    if !as_expected {
        let name = found.map_or_else(|| change.name(), |found| found.name);
        let expected = change.expected;
        return Err(CommitError::Stale { kind, id: change.id, name, expected, found: is });
    }
    match (&change.to, found) {
        (Version::Site(_) | Version::User(_) | Version::Node(_), _) => Ok(()),
        (_, None) => Err(not_found()),
        (Version::SiteDeleted, Some(found)) if found.blocked && visible != Visible::All => {
            Err(CommitError::Blocked { name: found.name })
        }
        (_, Some(_)) => Ok(()),
    }
}

/// An owner writes own sites and nothing else.
fn may_write(to: &Version, visible: Visible) -> bool {
    match to {
        Version::Site(site) => visible.sees(site.owner),
        Version::SiteDeleted => true,
        Version::SiteBlocked(_)
        | Version::User(_)
        | Version::UserDeleted
        | Version::Node(_)
        | Version::NodeDeleted(_)
        | Version::Settings(_) => visible == Visible::All,
    }
}

/// What keeps its name cannot take another's, so only new names are looked up.
async fn check_names(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
    existing: &Existing,
) -> Result<(), CommitError> {
    let touched: BTreeSet<Uuid> = drafts.iter().map(|change| change.id).collect();
    for kind in [ResourceKind::Site, ResourceKind::User, ResourceKind::Node] {
        let (mut names, mut new) = (BTreeSet::new(), Vec::new());
        for change in drafts.iter().filter(|change| change.to.kind() == kind) {
            let Some(name) = change.to.name() else { continue };
            if !names.insert(name) {
                return Err(CommitError::NameTaken { kind, name: name.to_owned() });
            }
            if !existing.has_name(change, name) {
                new.push(name);
            }
        }
        for names in new.chunks(CHUNK) {
            let holders = holders_of(transaction, kind, names).await?;
            // Whoever is touched by this draft too has another name afterwards, or stands above.
            if let Some((_, name)) = holders.into_iter().find(|(id, _)| !touched.contains(id)) {
                return Err(CommitError::NameTaken { kind, name });
            }
        }
    }
    Ok(())
}

async fn holders_of(
    transaction: &Transaction,
    kind: ResourceKind,
    names: &[&str],
) -> Result<Vec<(Uuid, String)>, StoreError> {
    let names = names.iter().copied();
    if kind == ResourceKind::Node {
        entity::nodes::Entity::find()
            .select_only()
            .columns([entity::nodes::Column::Id, entity::nodes::Column::Name])
            .filter(entity::nodes::Column::Name.is_in(names))
            .into_tuple()
            .all(transaction)
            .await
    } else if kind == ResourceKind::User {
        users::Entity::find()
            .select_only()
            .columns([users::Column::Id, users::Column::Name])
            .filter(users::Column::Name.is_in(names))
            .into_tuple()
            .all(transaction)
            .await
    } else {
        sites::Entity::find()
            .select_only()
            .columns([sites::Column::Id, sites::Column::Name])
            .filter(sites::Column::Name.is_in(names))
            .into_tuple()
            .all(transaction)
            .await
    }
    .map_err(failed(DOING))
}

async fn check_owners(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
    existing: &Existing,
) -> Result<(), CommitError> {
    let wanted: BTreeSet<Uuid> = drafts
        .iter()
        .filter_map(|change| match &change.to {
            Version::Site(site) if existing.has_owner(change.id, site) => None,
            Version::Site(site) => uuid(site.owner),
            Version::SiteBlocked(_)
            | Version::SiteDeleted
            | Version::User(_)
            | Version::UserDeleted
            | Version::Node(_)
            | Version::NodeDeleted(_)
            | Version::Settings(_) => None,
        })
        .collect();
    let made: BTreeSet<Uuid> = drafts
        .iter()
        .filter(|change| matches!(change.to, Version::User(_)))
        .map(|change| change.id)
        .collect();
    let wanted: Vec<Uuid> = wanted.difference(&made).copied().collect();
    for ids in wanted.chunks(CHUNK) {
        let there: Vec<Uuid> = users::Entity::find()
            .select_only()
            .column(users::Column::Id)
            .filter(users::Column::Id.is_in(ids.iter().copied()))
            .into_tuple()
            .all(transaction)
            .await
            .map_err(failed(DOING))?;
        if let Some(missing) = ids.iter().find(|id| !there.contains(id)) {
            return Err(CommitError::UnknownOwner { owner: Id::from_uuid(*missing) });
        }
    }
    Ok(())
}

async fn insert_revision(
    transaction: &Transaction,
    draft: &RevisionDraft,
    number: RevisionNumber,
    now: Timestamp,
) -> Result<(), StoreError> {
    let row = revisions::ActiveModel {
        number: Set(number.0),
        author_id: Set(uuid(draft.author)),
        author_name: Set(draft.author_name.clone()),
        created_at: Set(micros(now)),
        message: Set(draft.message.replace('\0', "\u{fffd}")),
        origin: Set(json(DOING, &draft.origin)?),
    };
    revisions::Entity::insert(row)
        .exec_without_returning(transaction)
        .await
        .map_err(failed(DOING))?;
    Ok(())
}

async fn insert_changes(
    transaction: &Transaction,
    draft: &RevisionDraft,
    number: RevisionNumber,
    existing: &Existing,
) -> Result<(), StoreError> {
    for changes in draft.changes.chunks(CHUNK) {
        let rows = changes
            .iter()
            .map(|change| change_row(change, number, existing))
            .collect::<Result<Vec<_>, StoreError>>()?;
        changes::Entity::insert_many(rows)
            .exec_without_returning(transaction)
            .await
            .map_err(failed(DOING))?;
    }
    Ok(())
}

fn change_row(
    change: &ChangeDraft,
    number: RevisionNumber,
    existing: &Existing,
) -> Result<changes::ActiveModel, StoreError> {
    let found = existing.of(change);
    let owner = match &change.to {
        Version::Site(site) => site.owner,
        Version::SiteBlocked(_)
        | Version::SiteDeleted
        | Version::User(_)
        | Version::UserDeleted
        | Version::Node(_)
        | Version::NodeDeleted(_)
        | Version::Settings(_) => found.as_ref().and_then(|found| found.owner),
    };
    let spec = match &change.to {
        Version::Site(site) => Some(json(DOING, &site.spec)?),
        Version::User(user) => Some(json(DOING, user)?),
        Version::Node(node) => Some(json(DOING, &node.spec)?),
        Version::Settings(settings) => Some(json(DOING, settings)?),
        Version::SiteBlocked(_) => existing.spec_of_site(change.id),
        Version::SiteDeleted | Version::UserDeleted | Version::NodeDeleted(_) => None,
    };
    let named = change.to.name().map(str::to_owned);
    Ok(changes::ActiveModel {
        revision: Set(number.0),
        kind: Set(word(DOING, &change.to.kind())?),
        id: Set(change.id),
        name: Set(named.or(found.map(|found| found.name)).unwrap_or_default()),
        owner_id: Set(uuid(owner)),
        spec: Set(spec),
    })
}

/// Judges the hosts after they are written, so that a host may move between sites in one revision.
/// What a site had before and keeps was judged when it got it.
async fn check_hosts(
    transaction: &Transaction,
    drafts: &[ChangeDraft],
    existing: &Existing,
) -> Result<(), CommitError> {
    let mut wanted: BTreeMap<String, Option<Id<User>>> = BTreeMap::new();
    for change in drafts {
        if let Version::Site(site) = &change.to
            && !existing.keeps_hosts(change.id, site)
        {
            wanted.extend(site.hosts.iter().map(|host| (host.to_string(), site.owner)));
        }
    }
    let hosts: Vec<&String> = wanted.keys().collect();
    for hosts in hosts.chunks(CHUNK) {
        let texts = hosts.iter().map(|host| (*host).clone());
        for used in site::uses_of(transaction, texts, DOING).await? {
            let wanted_by = wanted.get(&used.host.to_string());
            if wanted_by.is_some_and(|owner| *owner != used.owner) {
                let (host, site, owner) = (used.host, used.site, used.owner);
                return Err(CommitError::HostTaken { host, site, owner });
            }
        }
    }
    Ok(())
}

async fn check_limits(
    transaction: &Transaction,
    limits: &BTreeMap<Id<User>, u32>,
) -> Result<(), CommitError> {
    #[derive(FromQueryResult)]
    struct Count {
        owner_id: Option<Uuid>,
        sites: i64,
    }
    let owners: Vec<Uuid> = limits.keys().map(|owner| owner.uuid()).collect();
    for owners in owners.chunks(CHUNK) {
        let counts = sites::Entity::find()
            .select_only()
            .column(sites::Column::OwnerId)
            .column_as(sites::Column::Serial.count(), "sites")
            .filter(sites::Column::OwnerId.is_in(owners.iter().copied()))
            .group_by(sites::Column::OwnerId)
            .into_model::<Count>()
            .all(transaction)
            .await
            .map_err(failed(DOING))?;
        for count in counts {
            let Some(owner) = user(count.owner_id) else { continue };
            let Some(limit) = limits.get(&owner).copied() else { continue };
            if count.sites > i64::from(limit) {
                return Err(CommitError::TooManySites { owner, limit });
            }
        }
    }
    Ok(())
}

async fn check_administrators(
    transaction: &Transaction,
    existing: &Existing,
) -> Result<(), CommitError> {
    if !existing.has_administrator() {
        return Ok(());
    }
    let left = users::Entity::find()
        .filter(users::Column::Role.eq(Role::Admin.as_str()))
        .filter(users::Column::Active.eq(true))
        .count(transaction)
        .await
        .map_err(failed(DOING))?;
    if left == 0 { Err(CommitError::LastAdmin) } else { Ok(()) }
}

impl ChangeDraft {
    fn name(&self) -> String {
        self.to.name().unwrap_or_default().to_owned()
    }
}

impl Version {
    /// Returns the kind of thing that it is a version of.
    pub fn kind(&self) -> ResourceKind {
        match self {
            Self::Site(_) | Self::SiteBlocked(_) | Self::SiteDeleted => ResourceKind::Site,
            Self::User(_) | Self::UserDeleted => ResourceKind::User,
            Self::Node(_) | Self::NodeDeleted(_) => ResourceKind::Node,
            Self::Settings(_) => ResourceKind::Setting,
        }
    }

    fn name(&self) -> Option<&str> {
        match self {
            Self::Site(site) => Some(site.name.as_str()),
            Self::User(user) => Some(user.name.as_str()),
            Self::Node(node) => Some(node.name.as_str()),
            Self::SiteBlocked(_)
            | Self::SiteDeleted
            | Self::UserDeleted
            | Self::NodeDeleted(_)
            | Self::Settings(_) => None,
        }
    }
}
