//! The types Portway is about: sites and their routes, nodes, users and their bounds, revisions,
//! certificates, deployments, and the findings in which every check speaks.
//!
//! This crate deliberately does no I/O and knows no clock, no database and no engine. A value of a
//! checked type is right by construction; what an operator wrote wrongly is a list of
//! [`Finding`]s, all of them at once.

mod certificate;
mod deployment;
mod finding;
mod host;
mod id;
mod name;
pub mod node;
mod path;
mod revision;
pub mod rollout;
pub mod site;
mod units;
mod user;

pub use certificate::{Certificate, CertificateSource};
pub use deployment::{Outcome, Stage};
pub use finding::{
    FieldPath, Finding, FindingCode, Findings, Location, Remedy, RemedyAction, ResourceKind,
    ResourceRef, Severity, SourcePos, Step, did_you_mean,
};
pub use host::{HostError, HostPattern, HostPort, Hostname};
pub use id::{Id, IdError};
pub use name::{Name, NameError};
pub use node::{EngineKind, Node, NodeSelector, NodeSpec};
pub use path::{PathError, PathPrefix};
pub use revision::{Change, Origin, Revision, RevisionNumber};
pub use site::{Site, SiteSpec};
pub use units::{ByteSize, Seconds, UnitError};
pub use user::{Bounds, Role, UnknownRole, User, UserName};
