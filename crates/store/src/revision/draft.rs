//! What is to become a revision.

use std::collections::BTreeMap;

use portway_model::{
    Bounds, EngineKind, HostPattern, Id, Name, NodeSelector, Origin, RevisionNumber, Role, Site,
    User, UserName,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

use crate::{AuditEntry, Block, IdempotencyKey, NodeRow, SealedSecret};

/// A change of what is declared, before it is written.
#[derive(Clone, Debug)]
pub struct RevisionDraft {
    /// Who makes it; nobody for what Portway does by itself.
    pub author: Option<Id<User>>,
    /// The author's name.
    pub author_name: String,
    /// Why, in the author's words, or what was done.
    pub message: String,
    /// Where it comes from.
    pub origin: Origin,
    /// What it does to which things; each thing at most once.
    pub changes: Vec<ChangeDraft>,
    /// The newest revision when it was judged, where nothing at all may have been changed since.
    pub judged_at: Option<RevisionNumber>,
    /// How many sites these users may have once it is written.
    pub site_limits: BTreeMap<Id<User>, u32>,
    /// Secrets that the new versions refer to.
    pub secrets: Vec<SealedSecret>,
    /// What the audit log says about it; the number is filled in.
    pub audit: AuditEntry,
    /// Keeps the same request from being carried out twice.
    pub idempotency: Option<IdempotencyKey>,
}

/// What a revision does to one thing.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeDraft {
    /// The thing: a site's, user's or node's id, or the installation's.
    pub id: Uuid,
    /// What its author believes to replace.
    pub expected: Expected,
    /// What becomes of it.
    pub to: Version,
}

/// What the author of a change believes to replace. Being wrong is an error, never a loss.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: the thing is new.
    New,
    /// The version that this revision made.
    At(RevisionNumber),
    /// Whatever is there, if anything is.
    Any,
}

/// What becomes of a thing.
#[derive(Clone, Debug, PartialEq)]
pub enum Version {
    /// A site has this version.
    Site(SiteVersion),
    /// A site is blocked, or not any more; its spec stays.
    SiteBlocked(Option<Block>),
    /// A site is gone.
    SiteDeleted,
    /// A user has this version.
    User(UserVersion),
    /// A user is gone.
    UserDeleted,
    /// A node has this version.
    Node(NodeVersion),
    /// A node is gone.
    NodeDeleted(NodeDeletion),
    /// The installation has these settings.
    Settings(Value),
}

/// A version of a site.
#[derive(Clone, Debug, PartialEq)]
pub struct SiteVersion {
    /// Its name.
    pub name: Name,
    /// Whose it is; nobody's when it belongs to the installation.
    pub owner: Option<Id<User>>,
    /// Where it came from; `apply` prunes by this.
    pub origin: Origin,
    /// As it was written, with references in the place of secrets.
    pub spec: Value,
    /// What it answers to.
    pub hosts: Vec<HostPattern>,
    /// The words by which it is found.
    pub tags: Vec<String>,
    /// The nodes that it is on; without any, the managers' own edges.
    pub nodes: Vec<NodeSelector>,
}

/// A version of a node.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeVersion {
    /// Its name.
    pub name: Name,
    /// Its engine.
    pub engine: EngineKind,
    /// Where it came from.
    pub origin: Origin,
    /// As it was written, with references in the place of secrets.
    pub spec: Value,
    /// Whether it is brought to what it should have.
    pub active: bool,
    /// Every choice that chooses it.
    pub selectors: Vec<NodeSelector>,
}

/// How a node goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeDeletion {
    /// Whether it goes although sites name it.
    pub even_if_named: bool,
    /// Whether what Portway put there is to be taken away (see [`crate::Nodes::removals`]).
    pub clean: bool,
}

/// A version of a user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UserVersion {
    /// The name used at login.
    pub name: UserName,
    /// The mail address.
    pub email: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// What a client may reach.
    pub bounds: Bounds,
    /// Whether the user may log in.
    pub active: bool,
}

impl ChangeDraft {
    /// A site becomes `version`.
    pub fn site(id: Id<Site>, expected: Expected, version: SiteVersion) -> Self {
        Self { id: id.uuid(), expected, to: Version::Site(version) }
    }

    /// A site is deleted.
    pub fn delete_site(id: Id<Site>, expected: Expected) -> Self {
        Self { id: id.uuid(), expected, to: Version::SiteDeleted }
    }

    /// A site is blocked, or unblocked with `None`.
    pub fn block_site(id: Id<Site>, expected: Expected, block: Option<Block>) -> Self {
        Self { id: id.uuid(), expected, to: Version::SiteBlocked(block) }
    }

    /// A user becomes `version`.
    pub fn user(id: Id<User>, expected: Expected, version: UserVersion) -> Self {
        Self { id: id.uuid(), expected, to: Version::User(version) }
    }

    /// A user is deleted.
    pub fn delete_user(id: Id<User>, expected: Expected) -> Self {
        Self { id: id.uuid(), expected, to: Version::UserDeleted }
    }

    /// A node becomes `version`.
    pub fn node(id: Id<NodeRow>, expected: Expected, version: NodeVersion) -> Self {
        Self { id: id.uuid(), expected, to: Version::Node(version) }
    }

    /// A node is deleted.
    pub fn delete_node(id: Id<NodeRow>, expected: Expected, deletion: NodeDeletion) -> Self {
        Self { id: id.uuid(), expected, to: Version::NodeDeleted(deletion) }
    }

    /// The settings of the installation with this id become `settings`.
    pub fn settings(installation: Uuid, expected: Expected, settings: Value) -> Self {
        Self { id: installation, expected, to: Version::Settings(settings) }
    }
}
