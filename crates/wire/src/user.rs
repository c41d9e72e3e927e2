//! Users, API tokens and the audit log.

use jiff::Timestamp;
use portway_model::{Bounds, Id, Role, User};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::RoleSchema;

/// A user.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UserView {
    /// The id.
    #[schema(value_type = Uuid)]
    pub id: Id<User>,
    /// The name used at login.
    pub name: String,
    /// The mail address.
    pub email: Option<String>,
    /// `admin`, `client` or `viewer`.
    #[schema(value_type = RoleSchema)]
    pub role: Role,
    /// What a client may reach.
    #[schema(value_type = BoundsSchema)]
    pub bounds: Bounds,
    /// Whether the user may log in.
    pub active: bool,
    /// When the user was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// How far a client may reach.
#[derive(ToSchema)]
#[schema(as = Bounds)]
#[expect(dead_code, reason = "describes `portway_model::Bounds` to OpenAPI")]
pub struct BoundsSchema {
    /// Hosts (`shop.example`) and zones (`*.shop.example`) of which the client's sites may answer.
    hosts: Vec<String>,
    /// Networks in which upstreams may lie; empty means all but this machine, link-local and
    /// metadata addresses.
    networks: Vec<String>,
    /// The folder that holds all file roots of the client.
    files: Option<String>,
    /// The nodes on which the client's sites may be, beside the managers' own edges: names,
    /// `group:NAME`, `label:KEY=VALUE`, `zone:NAME`.
    nodes: Vec<String>,
    /// How many sites the client may have.
    max_sites: u32,
}

/// A user to be made. Without a password the answer carries a one-time invitation link.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewUser {
    /// The name used at login.
    pub name: String,
    /// The mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What the user may do.
    #[schema(value_type = RoleSchema)]
    pub role: Role,
    /// What a client may reach.
    #[serde(default)]
    #[schema(value_type = BoundsSchema)]
    pub bounds: Bounds,
    /// A password, where none is to be chosen by the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(format = Password)]
    pub password: Option<String>,
}

/// A user that was made.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedUser {
    /// The user.
    pub user: UserView,
    /// The invitation, shown once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation: Option<crate::auth::LinkView>,
}

/// What is to be changed of a user; what is missing stays.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EditUser {
    /// The mail address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// What the user may do.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RoleSchema>)]
    pub role: Option<Role>,
    /// What a client may reach.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<BoundsSchema>)]
    pub bounds: Option<Bounds>,
    /// Whether the user may log in; `false` ends all sessions and tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub active: Option<bool>,
}

/// A change of one's own password.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ChangePassword {
    /// The password so far.
    #[schema(format = Password)]
    pub current: String,
    /// The new one.
    #[schema(format = Password)]
    pub new: String,
}

/// An API token without its secret.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TokenView {
    /// The id.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// The first characters, to recognise it by.
    pub prefix: String,
    /// The owner's name.
    pub owner: String,
    /// What it may do, within what its owner may.
    pub scopes: Vec<String>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_used_at: Option<Timestamp>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A token to be made.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for.
    pub name: String,
    /// What it may do: `verb:resource` with the verb `read`, `write` or `*` and the resource
    /// `sites`, `nodes`, `logs`, `users`, `tokens`, `audit`, `revisions`, `system` or `*`.
    pub scopes: Vec<String>,
    /// Days until it ends (1 to 3650, default 90).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 3650)]
    pub days: Option<u32>,
    /// For whom: the name or id of a user. Only an administrator of the machine itself, on the
    /// local socket, makes tokens for others; everybody else makes their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
}

/// A token that was made; its secret is shown once.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The token without its secret.
    #[serde(flatten)]
    pub view: TokenView,
    /// The secret for the `Authorization: Bearer` header.
    pub token: String,
}

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AuditView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// From where: an address, or `local`.
    pub from: String,
    /// What was done or tried, for example `site.create`.
    pub action: String,
    /// With what, for example `site blog`.
    pub resource: String,
    /// `done` or `refused`.
    pub outcome: String,
    /// More, where there is more to say.
    pub detail: String,
    /// The request.
    pub request_id: Option<String>,
}

/// Which lines of the audit log are wanted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct AuditQuery {
    /// Who.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub actor: Option<String>,
    /// An action, or its beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// A thing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// `done` or `refused`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The `next` of the part before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// At most this many (1 to 500, default 50).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
}
