//! What is said to browsers, where old addresses lead, and maintenance, as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DurationSpec;

/// A switch, or the promise with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum HstsSpec {
    /// `true`: for a year, for this host alone.
    Enabled(bool),
    /// With settings.
    Settings(HstsSettingsSpec),
}

/// How long and for what browsers shall never try plain HTTP again (RFC 6797).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HstsSettingsSpec {
    /// How long, up to two years; `0` takes the promise back (default `365d`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_age: Option<DurationSpec>,
    /// For all names below the host, too (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdomains: Option<bool>,
    /// Consent to be built into browsers; needs a year or more and `subdomains` (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preload: Option<bool>,
}

/// Where old addresses lead: a list, or in a site file the name of a CSV file with lines
/// `from,to,status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RedirectListSpec {
    /// A CSV file; its lines are taken over.
    File(String),
    /// The redirects.
    Rules(Vec<RedirectRuleSpec>),
}

/// Where an old address leads.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RedirectRuleSpec {
    /// The old path; with `/*` at its end all below it, whose rest and query are kept.
    pub from: String,
    /// An absolute URL or an absolute path.
    pub to: String,
    /// 301, 302, 303, 307 or 308 (default 301).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
}

/// A switch, or maintenance with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MaintenanceSpec {
    /// `true`: every request is answered 503.
    Enabled(bool),
    /// With settings; as long as they stand here, maintenance is on unless `on` says otherwise.
    Settings(MaintenanceSettingsSpec),
}

/// What is answered while a site is worked on, and to whom not.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MaintenanceSettingsSpec {
    /// Whether it is on (default `true`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on: Option<bool>,
    /// What visitors read: one sentence (default: that the site is being worked on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When visitors may come again, as `Retry-After` tells it, up to a week.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<DurationSpec>,
    /// Addresses and networks for which the site works all the same.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<String>,
}
