//! The control plane's memory: `SQLite` or PostgreSQL, migrations, one repository per aggregate.
//!
//! This is the only crate that speaks SQL, and no type of its database library leaves it. It
//! deliberately seals nothing (sealed bytes come in and go out as they are), decides no rights (it
//! is told what is [`Visible`]) and knows no clock (time is an argument).
//!
//! What holds, whoever calls:
//! * A change of what is declared is one transaction: revision, changes, current rows, secrets,
//!   audit entry and idempotency key are all there or none ([`Revisions::commit`]).
//! * Revision numbers become visible in their order, so that [`Revisions::changes_since`] misses
//!   nothing, with any number of managers.
//! * What was acknowledged survives `kill -9`, and on `SQLite` a power cut
//!   (WAL with `synchronous = FULL`).
//! * Every list has a limit and a cursor; no query runs once per row.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use portway_store::{PageRequest, SiteFilter, Store, Visible};
//!
//! let store = Store::open(&"sqlite:/var/lib/portway/portway.db".parse()?).await?;
//! let page = store.sites().list(Visible::All, &SiteFilter::default(), &PageRequest::first(50)).await?;
//! # Ok(()) }
//! ```

mod address;
mod audit;
mod certificate;
mod checkpoint;
mod column;
mod connection;
mod deployment;
mod entity;
mod error;
mod event;
mod health;
mod idempotency;
mod installation;
mod join;
mod link;
mod login;
mod manager;
mod migration;
mod node;
mod page;
mod peek;
mod reseal;
mod revision;
mod rollout;
mod secret;
mod session;
mod site;
mod task;
mod token;
mod user;
mod visible;

use std::sync::Arc;

pub use self::{
    address::{DatabaseUrl, DatabaseUrlError},
    audit::{Audit, AuditEntry, AuditFilter, AuditOutcome, AuditRow},
    certificate::{Certificates, LocalRoot, SealedCertificate},
    connection::Backend,
    deployment::{Advanced, DeploymentRow, Deployments, MAX_STEPS, StepRow},
    error::{Cause, StoreError},
    event::{EventDraft, EventRow, Events},
    health::Health,
    idempotency::{Claim, Idempotency, IdempotencyKey, IdempotencyRecord},
    installation::{Installation, InstallationRow},
    join::{JoinTokenRow, JoinTokens},
    link::{Link, LinkKind, Links},
    login::{LoginAttempt, LoginAttempts, LoginRefused},
    manager::{ManagerRow, Managers},
    node::{
        ContentRead, DeclaredNode, MachineRead, NodeFacts, NodeFilter, NodeLease, NodeReading,
        NodeReads, NodeRemoval, NodeRow, NodeSiteRow, Nodes,
    },
    page::{Cursor, MAX_LIMIT, Page, PageRequest},
    reseal::{Resealed, SealedItem},
    revision::{
        ChangeDraft, CommitError, Expected, NodeDeletion, NodeVersion, RevisionDraft, Revisions,
        SiteVersion, UserVersion, Version,
    },
    rollout::{RolloutDraft, RolloutNodeRow, RolloutRow, Rollouts},
    secret::{SealedSecret, SecretKind, Secrets},
    session::{SessionKind, SessionRow, Sessions},
    site::{Block, HostUse, SiteFilter, SiteRow, Sites},
    task::{Due, EndedRun, Lease, TaskKey, TaskOutcome, TaskRow, Tasks},
    token::{TokenRow, Tokens},
    user::{UserRow, Users},
    visible::Visible,
};
use connection::Db;

/// An open store. Cheap to clone; every clone shares the connections.
#[derive(Clone, Debug)]
pub struct Store {
    db: Arc<Db>,
}

impl Store {
    /// Opens the database at `url`, makes it where it is `SQLite` and missing, and brings its
    /// schema up to date. With several managers one migrates while the others wait.
    pub async fn open(url: &DatabaseUrl) -> Result<Self, StoreError> {
        Ok(Self { db: Arc::new(Db::open(url).await?) })
    }

    /// Closes all connections after the work in hand. A store that is merely dropped loses nothing.
    pub async fn close(self) -> Result<(), StoreError> {
        self.db.close().await
    }

    /// Returns the kind of database.
    pub fn backend(&self) -> Backend {
        self.db.backend()
    }

    /// Returns the sites as they are declared.
    pub fn sites(&self) -> Sites<'_> {
        Sites::new(&self.db)
    }

    /// Returns the history of what is declared, and the way to change it.
    pub fn revisions(&self) -> Revisions<'_> {
        Revisions::new(&self.db)
    }

    /// Returns the users.
    pub fn users(&self) -> Users<'_> {
        Users::new(&self.db)
    }

    /// Returns the one-time links.
    pub fn links(&self) -> Links<'_> {
        Links::new(&self.db)
    }

    /// Returns the sessions.
    pub fn sessions(&self) -> Sessions<'_> {
        Sessions::new(&self.db)
    }

    /// Returns the API tokens.
    pub fn tokens(&self) -> Tokens<'_> {
        Tokens::new(&self.db)
    }

    /// Returns the tokens by which machines join.
    pub fn join_tokens(&self) -> JoinTokens<'_> {
        JoinTokens::new(&self.db)
    }

    /// Returns the attempts to log in.
    pub fn login_attempts(&self) -> LoginAttempts<'_> {
        LoginAttempts::new(&self.db)
    }

    /// Returns the audit log.
    pub fn audit(&self) -> Audit<'_> {
        Audit::new(&self.db)
    }

    /// Returns the sealed secrets.
    pub fn secrets(&self) -> Secrets<'_> {
        Secrets::new(&self.db)
    }

    /// Returns what this installation is.
    pub fn installation(&self) -> Installation<'_> {
        Installation::new(&self.db)
    }

    /// Returns the certificates.
    pub fn certificates(&self) -> Certificates<'_> {
        Certificates::new(&self.db)
    }

    /// Returns the deployments.
    pub fn deployments(&self) -> Deployments<'_> {
        Deployments::new(&self.db)
    }

    /// Returns the rollouts.
    pub fn rollouts(&self) -> Rollouts<'_> {
        Rollouts::new(&self.db)
    }

    /// Returns what whoever listens is told.
    pub fn events(&self) -> Events<'_> {
        Events::new(&self.db)
    }

    /// Returns the nodes and what they have.
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes::new(&self.db)
    }

    /// Returns the managers that share this database.
    pub fn managers(&self) -> Managers<'_> {
        Managers::new(&self.db)
    }

    /// Returns the state of the background tasks.
    pub fn tasks(&self) -> Tasks<'_> {
        Tasks::new(&self.db)
    }

    /// Returns the idempotency keys.
    pub fn idempotency(&self) -> Idempotency<'_> {
        Idempotency::new(&self.db)
    }
}
