//! Host names and what a site may answer to.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use serde::{Deserialize, Serialize};

/// A DNS name in its canonical form: ASCII (IDNA, UTS 46), lower case, no trailing dot, labels of
/// 1 to 63 characters of `a-z`, `0-9`, `-`, 253 characters in all (RFC 1123 §2.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Hostname(String);

/// What a site answers to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum HostPattern {
    /// One name.
    Exact(Hostname),
    /// `*.example.org`: exactly one label in front of the name.
    Wildcard(Hostname),
    /// An address, as clients without a name use it.
    Ip(IpAddr),
    /// `*`: every host that no other site has, and none at all.
    Any,
}

/// A host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostPort {
    /// The name or address; an IPv6 address without brackets.
    pub host: String,
    /// The TCP port.
    pub port: u16,
}

/// Why a text is not a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// Nothing stands there.
    #[error("a host is missing")]
    Empty,
    /// The name is too long.
    #[error("a host name has at most 253 characters, a label at most 63")]
    Length,
    /// A label is empty or has a wrong character.
    #[error("`{0}` is not a host name")]
    Label(String),
    /// A `*` stands elsewhere than as the whole first label.
    #[error("`*` can only stand for the whole first label, as in `*.example.org`")]
    Wildcard,
    /// A URL stands where a host is wanted.
    #[error("`{0}` is a URL or has a path; only the host name belongs here")]
    Url(String),
    /// A port stands where only a host is wanted.
    #[error("`{0}` has a port; a site answers on the ports of its node")]
    Port(String),
    /// The port is missing or out of range.
    #[error("`{0}` has no valid port (1 to 65535)")]
    BadPort(String),
}

impl Hostname {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns what follows the first label, if anything does.
    pub fn parent(&self) -> Option<&str> {
        self.0.split_once('.').map(|(_, rest)| rest)
    }

    /// Tells whether this name is `zone` or lies under it.
    pub fn is_within(&self, zone: &Hostname) -> bool {
        self.0 == zone.0
            || self.0.strip_suffix(zone.as_str()).is_some_and(|rest| rest.ends_with('.'))
    }
}

impl FromStr for Hostname {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let text = text.strip_suffix('.').unwrap_or(text);
        if text.is_empty() {
            return Err(HostError::Empty);
        }
        if text.contains("://") || text.contains('/') {
            return Err(HostError::Url(text.to_owned()));
        }
        let ascii = idna::domain_to_ascii(text).map_err(|_| HostError::Label(text.to_owned()))?;
        if ascii.len() > 253 || ascii.split('.').any(|label| label.len() > 63) {
            return Err(HostError::Length);
        }
        if ascii.split('.').all(is_label) && !ends_in_number(&ascii) {
            Ok(Self(ascii))
        } else {
            Err(HostError::Label(text.to_owned()))
        }
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// A last label of digits would be read as an IPv4 address by clients (WHATWG URL, "ends in a
/// number").
fn ends_in_number(name: &str) -> bool {
    name.rsplit('.').next().is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
}

impl HostPattern {
    /// Returns the name that a pattern is about, where it is about one.
    pub fn name(&self) -> Option<&Hostname> {
        match self {
            Self::Exact(name) | Self::Wildcard(name) => Some(name),
            Self::Ip(_) | Self::Any => None,
        }
    }

    /// Tells whether every host that `self` answers to lies within `zone`: an exact zone holds
    /// itself alone, a wildcard zone everything below its name.
    pub fn is_within(&self, zone: &HostPattern) -> bool {
        match (self, zone) {
            (_, Self::Any) => true,
            (Self::Exact(name), Self::Wildcard(base)) => name != base && name.is_within(base),
            (Self::Wildcard(name), Self::Wildcard(base)) => name.is_within(base),
            (Self::Exact(_) | Self::Ip(_), Self::Exact(_) | Self::Ip(_)) => self == zone,
            (Self::Wildcard(_), Self::Exact(_) | Self::Ip(_))
            | (Self::Ip(_), Self::Wildcard(_))
            | (Self::Any, Self::Exact(_) | Self::Wildcard(_) | Self::Ip(_)) => false,
        }
    }
}

impl FromStr for HostPattern {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Ok(Self::Any);
        }
        if let Some(address) = parse_ip(text) {
            return Ok(Self::Ip(address));
        }
        if text.contains("://") || text.contains('/') {
            return Err(HostError::Url(text.to_owned()));
        }
        if text.contains(':') {
            return Err(HostError::Port(text.to_owned()));
        }
        match text.strip_prefix("*.") {
            Some(base) if !base.contains('*') => base.parse().map(Self::Wildcard),
            None if !text.contains('*') => text.parse().map(Self::Exact),
            Some(_) | None => Err(HostError::Wildcard),
        }
    }
}

fn parse_ip(text: &str) -> Option<IpAddr> {
    match text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    }
}

impl HostPort {
    /// Returns the address, when the host is one.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }
}

impl FromStr for HostPort {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        let bad_port = || HostError::BadPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(bad_port)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(bad_port)?;
        if let Some(address) = parse_ip(host) {
            return match (address, host.starts_with('[')) {
                (IpAddr::V6(_), false) => Err(bad_port()),
                (address, _) => Ok(Self { host: address.to_string(), port }),
            };
        }
        // Names inside container networks carry underscores; they are looked up, never served.
        let relaxed = host.replace('_', "-");
        relaxed.parse::<Hostname>()?;
        Ok(Self { host: host.to_ascii_lowercase(), port })
    }
}

impl fmt::Display for Hostname {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => write!(f, "{name}"),
            Self::Wildcard(name) => write!(f, "*.{name}"),
            Self::Ip(address) => write!(f, "{address}"),
            Self::Any => f.write_str("*"),
        }
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

macro_rules! text_conversions {
    ($($type:ty),*) => {$(
        impl TryFrom<String> for $type {
            type Error = HostError;

            fn try_from(text: String) -> Result<Self, HostError> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    )*};
}
text_conversions!(Hostname, HostPattern, HostPort);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pattern(text: &str) -> HostPattern {
        text.parse().unwrap()
    }

    #[test]
    fn names_become_canonical() {
        assert_eq!(
            "Bücher.Example.".parse::<Hostname>().unwrap().as_str(),
            "xn--bcher-kva.example"
        );
    }

    #[test]
    fn what_is_no_host_is_refused_with_its_reason() {
        let refused = |text: &str| text.parse::<HostPattern>().unwrap_err();
        assert!(matches!(refused("https://a.example"), HostError::Url(_)));
        assert!(matches!(refused("a.example:80"), HostError::Port(_)));
        assert_eq!(refused("a.*.example"), HostError::Wildcard);
        assert!(matches!(refused("a_b.example"), HostError::Label(_)));
        assert!(matches!(refused("1.2.3"), HostError::Label(_)));
        assert!(matches!(refused("a..example"), HostError::Label(_)));
        assert!(matches!(refused("a b"), HostError::Label(_)));
    }

    #[test]
    fn a_zone_holds_what_lies_below_it_and_nothing_else() {
        let zone = pattern("*.example.org");
        assert!(pattern("a.example.org").is_within(&zone));
        assert!(pattern("b.a.example.org").is_within(&zone));
        assert!(pattern("*.a.example.org").is_within(&zone));
        assert!(!pattern("example.org").is_within(&zone));
        assert!(!pattern("badexample.org").is_within(&zone));
        assert!(!pattern("*").is_within(&zone));
        assert!(!pattern("127.0.0.1").is_within(&zone));
    }

    #[test]
    fn a_target_has_a_port() {
        assert_eq!("[::1]:80".parse::<HostPort>().unwrap().to_string(), "[::1]:80");
        assert_eq!("my_app:8000".parse::<HostPort>().unwrap().host, "my_app");
        for text in ["a", "a:0", "a:70000", "::1:80", ":80", "a:b"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(text in "\\PC{0,40}") {
            if let Ok(pattern) = text.parse::<HostPattern>() {
                prop_assert_eq!(pattern.to_string().parse::<HostPattern>().unwrap(), pattern);
            }
        }
    }
}
