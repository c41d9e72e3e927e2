//! What a site's deployments are proven by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationSpec, StatusesSpec};

/// A request by which a deployment is proven: a path or URL, or settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum ProbeSpec {
    /// A path, or a URL with a host of the site.
    Url(String),
    /// Settings.
    Settings(ProbeSettingsSpec),
}

/// A request by which a deployment is proven.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProbeSettingsSpec {
    /// A path, asked with the site's first host, over HTTPS where the site has it; or a URL with a
    /// host of the site: `https://app.example.org/health`.
    pub url: String,
    /// A status or range of statuses that is good, or several (default `200-399`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<StatusesSpec>,
    /// What the body must have: a text, or behind `~` a regular expression. The first 64 KB are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<String>,
    /// How long an answer may take, `1s` to `30s` (default `5s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<DurationSpec>,
    /// How often it is asked, a second apart, until an answer is good, 1 to 20 (default 3).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tries: Option<u32>,
}
