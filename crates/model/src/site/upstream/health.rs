//! How targets are asked whether they are well.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{Seconds, site::defaults};

/// How targets are asked whether they are well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// What is asked.
    pub probe: Probe,
    /// How often.
    pub interval: Seconds,
    /// How long an answer may take.
    pub timeout: Seconds,
    /// Good answers in a row after which a target is used again.
    pub rise: u32,
    /// Bad answers in a row after which a target is not used any more.
    pub fall: u32,
    /// The port that is asked; nothing means the target's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
}

/// What a target is asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A request, judged by its answer.
    Http(HttpProbe),
    /// Whether it takes a connection.
    Tcp,
    /// Whether it completes a TLS handshake.
    Tls,
}

/// A request that tells whether a target is well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HttpProbe {
    /// The path with its query.
    pub path: String,
    /// The statuses that are good.
    pub statuses: Vec<StatusRange>,
    /// What the body must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<BodyMatch>,
    /// The Host header; nothing means the target's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Whether HTTP/1.1 is spoken over TLS; nothing means that the upstream's protocol is spoken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over_tls: Option<bool>,
}

/// What a body must have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BodyMatch {
    /// This text.
    Contains(String),
    /// Something that matches an expression of the `regex` crate.
    Regex(String),
}

/// Statuses from one to another, both included. Written `200` or `200-399`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StatusRange {
    from: u16,
    to: u16,
}

/// A text that is no range of statuses.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not a status or range of statuses; write for example 200 or 200-399")]
pub struct StatusRangeError(String);

impl BodyMatch {
    /// Tells whether a body has it. An expression that cannot be read is in none.
    pub fn is_in(&self, body: &[u8]) -> bool {
        match self {
            Self::Contains(text) => {
                let text = text.as_bytes();
                text.is_empty() || body.windows(text.len()).any(|part| part == text)
            }
            Self::Regex(pattern) => {
                regex::bytes::Regex::new(pattern).is_ok_and(|expression| expression.is_match(body))
            }
        }
    }
}

impl Health {
    /// Returns a check by a request with every default.
    pub fn http(path: impl Into<String>) -> Self {
        Self::by(Probe::Http(HttpProbe {
            path: path.into(),
            statuses: vec![defaults::HEALTHY],
            body: None,
            host: None,
            over_tls: None,
        }))
    }

    /// Returns a check with every default.
    pub const fn by(probe: Probe) -> Self {
        Self {
            probe,
            interval: defaults::HEALTH_INTERVAL,
            timeout: defaults::HEALTH_TIMEOUT,
            rise: defaults::HEALTH_RISE,
            fall: defaults::HEALTH_FALL,
            port: None,
        }
    }
}

impl StatusRange {
    /// Returns the range of both and all between them, where `from` is not greater.
    pub(crate) const fn from_to(from: u16, to: u16) -> Self {
        Self { from, to }
    }

    /// Tells whether a status is one of them.
    pub const fn contains(self, status: u16) -> bool {
        self.from <= status && status <= self.to
    }
}

impl FromStr for StatusRange {
    type Err = StatusRangeError;

    fn from_str(text: &str) -> Result<Self, StatusRangeError> {
        let (from, to) = text.split_once('-').unwrap_or((text, text));
        let status = |text: &str| {
            let digits = text.trim();
            let is_plain = digits.len() == 3 && digits.bytes().all(|b| b.is_ascii_digit());
            digits.parse().ok().filter(|status| is_plain && (100..=599).contains(status))
        };
        match (status(from), status(to)) {
            (Some(from), Some(to)) if from <= to => Ok(Self { from, to }),
            (Some(_) | None, _) => Err(StatusRangeError(text.to_owned())),
        }
    }
}

impl TryFrom<String> for StatusRange {
    type Error = StatusRangeError;

    fn try_from(text: String) -> Result<Self, StatusRangeError> {
        text.parse()
    }
}

impl From<StatusRange> for String {
    fn from(range: StatusRange) -> Self {
        range.to_string()
    }
}

impl fmt::Display for StatusRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.from == self.to {
            write!(f, "{}", self.from)
        } else {
            write!(f, "{}-{}", self.from, self.to)
        }
    }
}
