//! Requests that are divided between upstreams, and requests that are copied to one more.

use serde::{Deserialize, Serialize};

use super::upstream::{Sticky, Upstream};
use crate::{ByteSize, Name};

/// Upstreams between which requests are divided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Split {
    /// The sides; at least two.
    pub sides: Vec<Side>,
    /// The cookie that keeps a client on its side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sticky: Option<Sticky>,
}

/// One side of a split.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Side {
    /// Its name, in logs and metrics.
    pub name: Name,
    /// Its share, in relation to those of the others; 0 means that only its rules lead there.
    pub weight: u32,
    /// Requests that go there whatever the shares say; one rule is enough.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<SideRule>,
    /// Who answers.
    pub upstream: Upstream,
}

/// What leads a request to a side.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SideRule {
    /// A header; its name in lower case.
    Header(Wanted),
    /// A cookie.
    Cookie(Wanted),
}

/// A header or cookie that must be there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// Its name.
    pub name: String,
    /// Its value; nothing means any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// An upstream that gets copies of requests. Its answers are thrown away; it never keeps a request
/// waiting and never makes one fail.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mirror {
    /// Who gets them.
    pub upstream: Upstream,
    /// How many of a hundred requests.
    pub percent: u8,
    /// Requests with larger bodies are not copied.
    pub max_body: ByteSize,
}
