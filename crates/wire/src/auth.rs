//! Logging in, setting up, and one-time links.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::user::UserView;

/// Name and password.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// The user's name.
    pub name: String,
    /// The password.
    #[schema(format = Password)]
    pub password: String,
}

/// A login for programs.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Tokens {
    /// A JWT for the `Authorization: Bearer` header.
    pub access_token: String,
    /// Always `Bearer`.
    pub token_type: String,
    /// Seconds until the access token ends.
    pub expires_in: u64,
    /// Buys the next access token, once.
    pub refresh_token: String,
    /// Who is logged in.
    pub user: UserView,
}

/// A refresh token.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Refresh {
    /// As it came with the last access token.
    pub refresh_token: String,
}

/// The first administrator.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Setup {
    /// From the set-up link.
    pub token: String,
    /// The administrator's name.
    pub name: String,
    /// The mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The password: at least 12 characters, not a common one, not the name.
    #[schema(format = Password)]
    pub password: String,
}

/// A one-time link with which a user sets a password.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RedeemLink {
    /// From the link.
    pub token: String,
    /// The new password.
    #[schema(format = Password)]
    pub password: String,
}

/// A one-time link, shown once.
#[derive(Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LinkView {
    /// The address to open.
    pub url: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: jiff::Timestamp,
}

/// Who calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The caller's name.
    pub name: String,
    /// What the caller may do.
    #[schema(value_type = crate::RoleSchema)]
    pub role: portway_model::Role,
    /// How the caller came in: `session`, `token`, `jwt` or `local`.
    pub via: String,
}
