//! How many requests clients may send, and how many at the same time.

use std::{fmt, str::FromStr};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use crate::Seconds;

/// How many requests may come in a time. A client that sent nothing for long may send `burst` at once;
/// after that one more as often as the rate says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RateLimit {
    /// How many in which time.
    pub rate: Rate,
    /// How many at once.
    pub burst: u32,
    /// What is counted together.
    pub by: CountedBy,
    /// Networks whose requests are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
    /// Whether what is too much is only logged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whether answers tell how much is left.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub headers: bool,
    /// Whose it is: what is counted for one is not counted for another.
    pub scope: LimitScope,
}

/// How many requests may be answered at the same time: over HTTP/1.1 each has a connection, over HTTP/2
/// a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionLimit {
    /// How many.
    pub most: u32,
    /// What is counted together.
    pub by: CountedBy,
    /// Networks whose requests are not counted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exempt: Vec<IpNet>,
    /// Whether what is too much is only logged.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dry_run: bool,
    /// Whose it is: what is counted for one is not counted for another.
    pub scope: LimitScope,
}

/// Requests in a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// How many requests; at least one.
    pub requests: u32,
    /// In which time; at least a second.
    pub period: Seconds,
}

/// A text that is no rate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a rate; write for example 10/s, 100/min, 1000/h or 5/10s")]
pub struct RateError(String);

/// What is counted together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CountedBy {
    /// Requests from one address; of IPv6, from one network of this length.
    Client {
        /// The length in bits, a multiple of eight.
        ipv6_prefix: u8,
    },
    /// Requests with the same value of a header (its name in lower case); all without it are one.
    Header(String),
    /// All requests.
    Site,
}

/// Where a limit was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LimitScope {
    /// In the site: requests to all routes that have it are counted together.
    Site,
    /// In a route.
    Route,
}

impl FromStr for Rate {
    type Err = RateError;

    fn from_str(text: &str) -> Result<Self, RateError> {
        let error = || RateError(text.escape_debug().to_string());
        let (requests, period) = text.split_once('/').ok_or_else(error)?;
        let requests = requests.trim().parse().map_err(|_| error())?;
        let period = match period.trim() {
            "s" | "sec" | "second" => Seconds(1),
            "m" | "min" | "minute" => Seconds(60),
            "h" | "hour" => Seconds(3_600),
            "d" | "day" => Seconds(86_400),
            other => other.parse().map_err(|_| error())?,
        };
        Ok(Self { requests, period })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period.0 {
            1 => write!(f, "{}/s", self.requests),
            60 => write!(f, "{}/min", self.requests),
            3_600 => write!(f, "{}/h", self.requests),
            86_400 => write!(f, "{}/d", self.requests),
            _ => write!(f, "{}/{}", self.requests, self.period),
        }
    }
}

impl CountedBy {
    /// Returns it as limits are named in logs and headers.
    pub fn name(&self) -> &str {
        match self {
            Self::Client { .. } => "client",
            Self::Header(name) => name,
            Self::Site => "site",
        }
    }
}

const fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read_as_written_and_printed_so() {
        for (text, requests, period, printed) in [
            ("10/s", 10, 1, "10/s"),
            ("100 / min", 100, 60, "100/min"),
            ("100/m", 100, 60, "100/min"),
            ("1000/hour", 1000, 3_600, "1000/h"),
            ("5/10s", 5, 10, "5/10s"),
            ("1/2m", 1, 120, "1/2m"),
        ] {
            let rate: Rate = text.parse().unwrap();
            assert_eq!(rate, Rate { requests, period: Seconds(period) }, "{text}");
            assert_eq!(rate.to_string(), printed);
            assert_eq!(printed.parse(), Ok(rate));
        }
        for text in ["", "100", "/s", "a/s", "1/", "-1/s", "1.5/s", "1/fortnight"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }
}
