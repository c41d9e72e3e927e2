//! Hosts with their ports, as they stand in a Host header and in a target.

use std::net::Ipv6Addr;

use crate::{octet, reject::Kind};

/// A host and its port, as written.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostPort<'a> {
    name: &'a [u8],
    port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads `name`, `name:port`, `[address]` or `[address]:port`. An empty port is none (RFC 3986
    /// §3.2.3). An empty name, a user and a zone are refused: no http address has them.
    pub(crate) fn parse(text: &'a [u8]) -> Result<Self, Kind> {
        let (name, port) = split(text).ok_or(Kind::BadHost)?;
        let is_host = match name {
            [b'[', address @ .., b']'] => is_ipv6(address),
            name => octet::HOST.is_word(name),
        };
        if !is_host {
            return Err(Kind::BadHost);
        }
        let port = match port {
            None | Some([]) => None,
            Some(digits) => Some(parse_port(digits).ok_or(Kind::BadHost)?),
        };
        Ok(Self { name, port })
    }

    pub(crate) fn has_port(self) -> bool {
        self.port.is_some()
    }

    /// Whether both name one host, where a port that is not written is `default`.
    pub(crate) fn agrees(self, other: HostPort<'_>, default: Option<u16>) -> bool {
        self.name.eq_ignore_ascii_case(other.name)
            && self.port.or(default) == other.port.or(default)
    }
}

/// Splits at the colon in front of the port; those inside of brackets are none.
fn split(text: &[u8]) -> Option<(&[u8], Option<&[u8]>)> {
    let name_end = match text {
        [b'[', ..] => memchr::memchr(b']', text)? + 1,
        _ => memchr::memchr(b':', text).unwrap_or(text.len()),
    };
    let (name, rest) = text.split_at_checked(name_end)?;
    match rest {
        [] => Some((name, None)),
        [b':', port @ ..] => Some((name, Some(port))),
        _ => None,
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    let port = digits.iter().try_fold(0_u16, |port, digit| {
        let digit = digit.is_ascii_digit().then(|| u16::from(digit - b'0'))?;
        port.checked_mul(10)?.checked_add(digit)
    })?;
    (port != 0).then_some(port)
}

fn is_ipv6(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_with_and_without_ports_are_read() {
        for (text, port) in [
            ("a.org", None),
            ("A.org.", None),
            ("my_app:8080", Some(8080)),
            ("a.org:", None),
            ("127.0.0.1:1", Some(1)),
            ("[::1]", None),
            ("[::ffff:10.0.0.1]:65535", Some(65535)),
        ] {
            assert_eq!(HostPort::parse(text.as_bytes()).unwrap().port, port, "{text}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in [
            "",
            ":80",
            "a b",
            "a,b",
            "user@a.org",
            "a%2eorg",
            "a.org:0",
            "a.org:65536",
            "a.org:+1",
            "a.org:-1",
            "a.org: 1",
            "a.org:80:80",
            "a.org/x",
            "::1",
            "[::1",
            "[::1]x",
            "[]",
            "[fe80::1%25eth0]",
            "[v1.x]",
            "[::1]:x",
            "[1.2.3.4]",
            "]",
            "[",
            "\u{e4}.org",
            "a\\b",
        ] {
            assert!(HostPort::parse(text.as_bytes()).is_err(), "{text}");
        }
    }

    #[test]
    fn hosts_agree_whatever_their_case_and_with_the_default_port() {
        let agree = |a: &str, b: &str| {
            let parse = |text| HostPort::parse(text).unwrap();
            parse(a.as_bytes()).agrees(parse(b.as_bytes()), Some(80))
        };
        assert!(agree("a.org", "A.ORG:80"));
        assert!(agree("a.org:", "a.org"));
        assert!(!agree("a.org", "a.org:81"));
        assert!(!agree("a.org", "a.org."));
        assert!(!agree("a.org", "b.org"));
    }
}
