//! Whose `X-Forwarded-*` headers are believed: networks, or the name of a CDN that stands for the
//! networks it publishes. The lists are part of the program, one file each, with their source and the day
//! on which they were published so; nothing is fetched.

use std::{fmt, net::IpAddr, str::FromStr};

use ipnet::IpNet;
use serde::Deserialize;

/// Proxies in front of an engine that are believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum TrustedProxy {
    /// Those of a network.
    Network(IpNet),
    /// Those of a CDN.
    Cdn(Cdn),
}

/// A CDN whose published networks are known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cdn {
    /// Cloudflare.
    Cloudflare,
    /// Fastly.
    Fastly,
}

/// A text that names no proxies.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not an address, a network or a known CDN; write for example `192.0.2.7`, `10.0.0.0/8`, `cloudflare` or `fastly`"
)]
pub struct UnknownProxy(String);

impl TrustedProxy {
    /// Returns the networks that are meant.
    pub fn networks(self) -> Vec<IpNet> {
        match self {
            Self::Network(network) => vec![network],
            Self::Cdn(cdn) => cdn.networks().collect(),
        }
    }
}

impl Cdn {
    /// All that are known.
    pub const ALL: [Self; 2] = [Self::Cloudflare, Self::Fastly];

    /// Returns its name in files and on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cloudflare => "cloudflare",
            Self::Fastly => "fastly",
        }
    }

    /// Returns the networks from which it asks origins.
    pub fn networks(self) -> impl Iterator<Item = IpNet> {
        self.lines().filter_map(|line| line.parse().ok())
    }

    /// Returns the lines of its list that are to be networks.
    fn lines(self) -> impl Iterator<Item = &'static str> {
        self.list().lines().filter(|line| !line.starts_with('#'))
    }

    const fn list(self) -> &'static str {
        match self {
            Self::Cloudflare => include_str!("trusted/cloudflare.txt"),
            Self::Fastly => include_str!("trusted/fastly.txt"),
        }
    }
}

impl FromStr for TrustedProxy {
    type Err = UnknownProxy;

    fn from_str(text: &str) -> Result<Self, UnknownProxy> {
        if let Some(cdn) = Cdn::ALL.into_iter().find(|cdn| cdn.as_str() == text) {
            return Ok(Self::Cdn(cdn));
        }
        let address = text.parse::<IpAddr>().map(IpNet::from).ok();
        let network = address.or_else(|| text.parse::<IpNet>().ok().map(|network| network.trunc()));
        network.map(Self::Network).ok_or_else(|| UnknownProxy(text.to_owned()))
    }
}

impl TryFrom<String> for TrustedProxy {
    type Error = UnknownProxy;

    fn try_from(text: String) -> Result<Self, UnknownProxy> {
        text.parse()
    }
}

impl fmt::Display for TrustedProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(network) => write!(f, "{network}"),
            Self::Cdn(cdn) => f.write_str(cdn.as_str()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a CDN never asks from, or what is so large that it cannot be one CDN's.
    const FOREIGN: [&str; 14] = [
        "0.0.0.0/8",
        "10.0.0.0/8",
        "100.64.0.0/10",
        "127.0.0.0/8",
        "169.254.0.0/16",
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/8",
        "2001:db8::/32",
        "fc00::/7",
        "fe80::/10",
    ];

    #[test]
    fn lists_hold_public_networks_that_are_each_there_once() {
        let mut all: Vec<IpNet> = Vec::new();
        for cdn in Cdn::ALL {
            assert!(cdn.lines().count() >= 20, "{cdn:?}");
            for line in cdn.lines() {
                let network: IpNet = line.parse().unwrap_or_else(|e| panic!("{line}: {e}"));
                assert_eq!(network, network.trunc(), "{line} has bits behind its prefix");
                let least = if network.addr().is_ipv4() { 12 } else { 28 };
                assert!(network.prefix_len() >= least, "{line} is too large");
                for other in FOREIGN.map(|text| text.parse().unwrap()).iter().chain(&all) {
                    let overlap = network.contains(other) || other.contains(&network);
                    assert!(!overlap, "{line} and {other}");
                }
                all.push(network);
            }
        }
    }

    #[test]
    fn lists_say_where_and_when_they_were_published() {
        for cdn in Cdn::ALL {
            let said = |what: &str| cdn.list().lines().find_map(|line| line.strip_prefix(what));
            assert!(said("# Source: ").unwrap().starts_with("https://"), "{cdn:?}");
            let day = said("# As published on: ").unwrap();
            day.parse::<jiff::civil::Date>().unwrap_or_else(|e| panic!("{cdn:?}: {e}"));
        }
    }

    #[test]
    fn names_and_networks_are_read_and_written_as_they_were() {
        for text in ["cloudflare", "fastly", "10.0.0.0/8", "2001:db8::/32"] {
            assert_eq!(text.parse::<TrustedProxy>().unwrap().to_string(), text);
        }
        let address: TrustedProxy = "192.0.2.7".parse().unwrap();
        assert_eq!(address.networks(), ["192.0.2.7/32".parse().unwrap()]);
        let of_cloudflare = "cloudflare".parse::<TrustedProxy>().unwrap().networks();
        assert!(of_cloudflare.iter().any(|net| net.contains(&IpAddr::from([104, 16, 0, 1]))));
        for text in ["", "Cloudflare", "akamai", "10.0.0.0/33", "*"] {
            assert!(text.parse::<TrustedProxy>().is_err(), "{text}");
        }
    }
}
