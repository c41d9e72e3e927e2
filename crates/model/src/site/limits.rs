//! What a site takes from clients: how much, how fast, and in which spelling.

use serde::{Deserialize, Serialize};

use super::defaults;
use crate::{ByteSize, Seconds};

/// How much and how fast clients may send and must take.
///
/// `header_bytes`, `headers`, `target_bytes`, `header_time` and `http2_streams` are needed before
/// the site is known. A node reads as much as the most generous of its sites takes, which
/// [`super::bounds`] bound, and holds a request against its site's limits as soon as it knows the site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Limits {
    /// The largest header section, with the request line.
    pub header_bytes: ByteSize,
    /// The most header fields.
    pub headers: u32,
    /// The longest request target (path and query).
    pub target_bytes: ByteSize,
    /// The time in which a header section must be there, from its first byte.
    pub header_time: Seconds,
    /// The least bytes of a body in a second, on average after `body_grace`; 0 means any.
    pub body_rate: ByteSize,
    /// The time in which a body may be slower.
    pub body_grace: Seconds,
    /// How long a client may take nothing of its answer.
    pub write_stall: Seconds,
    /// The most concurrent streams of an HTTP/2 connection.
    pub http2_streams: u32,
}

/// Which spellings of a path are taken. What is allowed is passed on escaped and is never decoded for
/// routing and access rules; a path that would lead to another route if it were decoded is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PathRules {
    /// `%2F`, an encoded slash.
    pub encoded_slash: Spelling,
    /// `\` and `%5C`, which some programs read as a slash.
    pub backslash: Spelling,
    /// `%00`, which ends the path for some programs.
    pub nul: Spelling,
    /// `%25` before two hexadecimal digits, which means something else when it is decoded twice.
    pub double_encoding: Spelling,
}

/// What is done with a spelling that programs understand differently.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Spelling {
    /// The request is answered 400.
    #[default]
    Refuse,
    /// It is passed on as it is.
    Allow,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            header_bytes: defaults::HEADER_BYTES,
            headers: defaults::HEADERS,
            target_bytes: defaults::TARGET_BYTES,
            header_time: defaults::HEADER_TIME,
            body_rate: defaults::BODY_RATE,
            body_grace: defaults::BODY_GRACE,
            write_stall: defaults::WRITE_STALL,
            http2_streams: defaults::HTTP2_STREAMS,
        }
    }
}

impl Limits {
    /// Tells whether every limit has its default.
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}

impl PathRules {
    /// Tells whether every spelling has its default.
    pub fn are_usual(&self) -> bool {
        *self == Self::default()
    }
}
