//! What a site takes from clients, as an operator writes it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{DurationSpec, SizeSpec, SwitchableSizeSpec};

/// How much and how fast clients may send and must take.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsSpec {
    /// The largest header section, `1KB` to `250KB`; more is answered 431 (default `64KB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_bytes: Option<SizeSpec>,
    /// The most header fields, 16 to 512; more is answered 431 (default 128).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub headers: Option<u32>,
    /// The longest path with its query, `256B` to `64KB`; more is answered 414 (default `8KB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target_bytes: Option<SizeSpec>,
    /// The time in which a header section must be there, `1s` to `1m`; then it is answered 408
    /// (default `10s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub header_time: Option<DurationSpec>,
    /// The least bytes of a request body in a second, on average, or `false`; a slower one is
    /// answered 408 (default `1KB`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_rate: Option<SwitchableSizeSpec>,
    /// The time in which a body may be slower, `1s` to `1h` (default `10s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body_grace: Option<DurationSpec>,
    /// How long a client may take nothing of its answer, `1s` to `1d` (default `60s`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_stall: Option<DurationSpec>,
    /// The most concurrent streams of an HTTP/2 connection, 1 to 1000 (default 128).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub http2_streams: Option<u32>,
}

/// Spellings of a path that programs understand differently: `refuse` (400) or `allow` (passed on
/// as it is, never decoded for routes and access rules).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PathsSpec {
    /// `%2F`, an encoded slash (default `refuse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub encoded_slash: Option<String>,
    /// A backslash or `%5C` (default `refuse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backslash: Option<String>,
    /// `%00` (default `refuse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nul: Option<String>,
    /// `%25` before two hexadecimal digits, as in `%252F` (default `refuse`).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub double_encoding: Option<String>,
}
