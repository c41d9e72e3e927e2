//! Texts in the languages of engines.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Texts in the languages of engines.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SnippetsSpec {
    /// Directives of nginx that stand at the end of the site's `server`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nginx: Option<String>,
    /// Directives of Caddy that stand at the beginning of the site's `route`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caddy: Option<String>,
}
