//! Users, their roles, and the bounds an administrator sets for a client.

use std::{fmt, str::FromStr};

use camino::Utf8PathBuf;
use ipnet::IpNet;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{HostPattern, Id, Name, NameError, NodeSelector};

/// Someone who may use the control plane.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct User {
    /// The id.
    pub id: Id<User>,
    /// The name used at login.
    pub name: UserName,
    /// The mail address.
    pub email: Option<String>,
    /// What the user may do.
    pub role: Role,
    /// What a client may reach; empty for other roles.
    pub bounds: Bounds,
    /// Whether the user may log in.
    pub active: bool,
    /// When the user was made.
    pub created_at: Timestamp,
}

/// A login name: a [`Name`], compared as written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct UserName(Name);

/// What a user may do.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Own sites, within bounds.
    Client,
    /// Sees everything but secrets, changes nothing.
    Viewer,
}

/// How far a client may reach. What is empty permits nothing, except `networks`, where empty means
/// every public and private network but this machine, link-local and metadata addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bounds {
    /// Hosts (`shop.example`) and zones (`*.shop.example`) of which the client's sites may answer.
    #[schemars(with = "Vec<String>")]
    pub hosts: Vec<HostPattern>,
    /// Networks in which the client's upstreams may lie.
    #[schemars(with = "Vec<String>")]
    pub networks: Vec<IpNet>,
    /// The folder that holds all file roots of the client.
    #[schemars(with = "Option<String>")]
    pub files: Option<Utf8PathBuf>,
    /// The nodes on which the client's sites may be, beside the managers' own edges: names,
    /// `group:NAME`, `label:KEY=VALUE`, `zone:NAME`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub nodes: Vec<NodeSelector>,
    /// How many sites the client may have.
    pub max_sites: u32,
}

impl UserName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for UserName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        text.parse().map(Self)
    }
}

impl fmt::Display for UserName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Client, Self::Viewer];

    /// Returns the role's name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Client => "client",
            Self::Viewer => "viewer",
        }
    }
}

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == text).ok_or(UnknownRole)
    }
}

/// A text that is no role.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a role is `admin`, `client` or `viewer`")]
pub struct UnknownRole;

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
