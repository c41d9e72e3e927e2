//! Machines that make themselves nodes: the tokens by which they do, and what they say.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_model::Finding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::FindingSchema;

/// A token to be made, and what a node is that it makes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NewJoinToken {
    /// What serves the sites there: `nginx`, `caddy` or `traefik`.
    pub engine: String,
    /// The only name that the node may have; otherwise the machine says its own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Who logs in there (default `portway`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The port of its SSH server (default 22).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Words with values, by which sites choose it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Where it stands.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
    /// The groups that it belongs to.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<String>,
    /// Bring it to what it should have as soon as it has joined. Otherwise somebody activates it.
    pub active: bool,
    /// Let it be on this machine, or have an address that is link-local or a cloud's metadata service.
    pub allow_local: bool,
    /// How long the token works, in minutes (1 to 10,080, default 60).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 10_080)]
    pub minutes: Option<u32>,
    /// Return user-data for cloud-init too, which sets a machine up and has it join.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<CloudInitOptions>,
}

/// How a machine that cloud-init sets up reaches the manager.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CloudInitOptions {
    /// The address of the manager, `https://…` (default: that of the published console).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Its certificate is from an authority that machines trust anyway; otherwise the user-data brings
    /// the roots of Portway's own authority along.
    pub public_ca: bool,
}

/// A token by which a machine joins.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JoinTokenView {
    /// The id.
    pub id: Uuid,
    /// Its first characters.
    pub prefix: String,
    /// What a node is that it makes.
    pub template: NewJoinToken,
    /// Whether a machine can join by it: it was not used or ended.
    pub usable: bool,
    /// Who made it.
    pub made_by: String,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When it ends by itself.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    /// When it was ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub revoked_at: Option<Timestamp>,
    /// When a machine joined by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub used_at: Option<Timestamp>,
    /// From which address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used_from: Option<String>,
    /// As which node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
}

/// A token that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedJoinToken {
    /// What is kept of it.
    pub view: JoinTokenView,
    /// The token itself, here and nowhere else.
    pub token: String,
    /// User-data for cloud-init, where it was asked for; it holds the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cloud_init: Option<String>,
}

/// What a machine says that joins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct JoinNode {
    /// The token.
    pub token: String,
    /// The name that the node is to have.
    pub name: String,
    /// The IP address at which its SSH server is reached (default: the one this request comes from).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The fingerprints of its host keys, `SHA256:…`; they are taken for confirmed.
    #[schema(min_items = 1, max_items = 8)]
    pub host_keys: Vec<String>,
}

/// A machine that has joined.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NodeJoined {
    /// The node.
    pub node: String,
    /// How it is reached.
    pub address: String,
    /// Whether it is brought to what it should have.
    pub active: bool,
    /// What should be known about it.
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}
