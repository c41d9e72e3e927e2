//! Divided and copied requests as an operator writes them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{SizeSpec, StickySpec, ToSpec};

/// The sides between which requests are divided, or the sides with settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum SplitSpec {
    /// The sides.
    Sides(Vec<SideSpec>),
    /// The sides with settings.
    Settings(SplitSettingsSpec),
}

/// How requests are divided between upstreams.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SplitSettingsSpec {
    /// The sides; at least two.
    pub sides: Vec<SideSpec>,
    /// Keep a client on its side by a signed cookie: `true` or settings (default `false`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sticky: Option<StickySpec>,
}

/// One side of a split.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SideSpec {
    /// Its name in logs and metrics (default: `side-1`, `side-2` and so on).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its share in relation to those of the others, 0 to 1000; with 0 only `by` leads there
    /// (default: 1, and 0 with `by`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight: Option<u32>,
    /// Requests that go there whatever the shares say: a rule, or several of which one is enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<BySpec>,
    /// Who answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ToSpec>,
}

/// A rule, or several of which one is enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum BySpec {
    /// A rule.
    One(RuleSpec),
    /// Several rules.
    Any(Vec<RuleSpec>),
}

/// A header or a cookie that a request must have. Exactly one of the two is given.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleSpec {
    /// The name of a header.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header: Option<String>,
    /// The name of a cookie.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cookie: Option<String>,
    /// Its value (default: any).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// `false`, or who gets copies of requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum MirrorSpec {
    /// `false`: nobody, also where the site says otherwise.
    Enabled(bool),
    /// Who.
    Settings(Box<MirrorSettingsSpec>),
}

/// An upstream that gets copies of requests. Its answers are thrown away; it never keeps a request
/// waiting and never makes one fail.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MirrorSettingsSpec {
    /// Who gets them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<ToSpec>,
    /// How many of a hundred requests, 1 to 100 (default 100).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u32>,
    /// Requests with larger bodies are not copied (default `1MB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body: Option<SizeSpec>,
}
