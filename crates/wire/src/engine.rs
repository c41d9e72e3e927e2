//! What engines make of each setting of a site.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an engine makes of every setting. The edge is not among them: it is the measure, and carries
/// out all of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineView {
    /// The engine, as nodes have it: `nginx`, `caddy` or `traefik`.
    pub name: String,
    /// The oldest version that is rendered for.
    pub oldest: String,
    /// The version of which this is told, without further modules. Later ones can do more, and a plan
    /// judges the version that a node has.
    pub version: String,
    /// Every setting, in the order of the documentation.
    pub settings: Vec<EngineSetting>,
}

/// What becomes of a setting on an engine. Where that depends on the value, it is what becomes of most
/// values; a plan judges the value that stands in the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EngineSetting {
    /// The setting, as site files have it, such as `https.min_version`. Some fields are settings of
    /// several kinds.
    pub field: String,
    /// What it is, in a sentence.
    pub about: String,
    /// What it bears on.
    pub bearing: SettingBearing,
    /// What becomes of it.
    pub support: SettingSupport,
    /// How it differs, or why it is not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What helps where it is not carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

/// What a setting bears on where it is not carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingBearing {
    /// Without it, someone could do what they should not.
    Security,
    /// Without it, the site would be another one.
    Essential,
    /// Without it, the site works less well.
    Preference,
}

/// What becomes of a setting on an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SettingSupport {
    /// What it means on the edge.
    Exact,
    /// Nearly that, and never less strict where it is a matter of security.
    Emulated,
    /// Nothing; a site that uses it is served without it.
    LeftOut,
    /// Nothing; a site that uses it is not served by this engine.
    Refused,
}
