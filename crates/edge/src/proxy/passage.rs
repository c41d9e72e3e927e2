//! The PROXY protocol, with which a connection begins by telling the target for whom it was made
//! (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::net::{IpAddr, SocketAddr};

use portway_model::site::ProxyProtocol;

/// What version 2 begins with.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and whether the connection is our own or made for a client.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// The family of addresses, over a stream.
const UNSPECIFIED: u8 = 0x00;
const TCP4: u8 = 0x11;
const TCP6: u8 = 0x21;

/// For whom a connection is made: who came, and where to. All requests of a connection that tells it
/// are of that client, so such a connection serves no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Passage {
    /// The client; port 0 where another proxy told who it is.
    client: SocketAddr,
    /// The address of ours that it came to.
    local: SocketAddr,
}

impl Passage {
    /// Returns the passage of a client. Where both ends are of different families, both are told as
    /// IPv6: the protocol knows no mixture.
    pub(crate) fn new(client: SocketAddr, local: SocketAddr) -> Self {
        let (from, to) = (client.ip().to_canonical(), local.ip().to_canonical());
        let (from, to) = match (from, to) {
            (IpAddr::V4(from), IpAddr::V6(to)) => (from.to_ipv6_mapped().into(), to.into()),
            (IpAddr::V6(from), IpAddr::V4(to)) => (from.into(), to.to_ipv6_mapped().into()),
            (from, to) => (from, to),
        };
        Self {
            client: SocketAddr::new(from, client.port()),
            local: SocketAddr::new(to, local.port()),
        }
    }
}

/// Returns the bytes with which a connection begins; without a client it is our own.
pub(super) fn announcement(version: ProxyProtocol, passage: Option<&Passage>) -> Vec<u8> {
    match (version, passage) {
        (ProxyProtocol::V1, None) => b"PROXY UNKNOWN\r\n".to_vec(),
        (ProxyProtocol::V1, Some(passage)) => text(passage).into_bytes(),
        (ProxyProtocol::V2, None) => binary(LOCAL, UNSPECIFIED, &[]),
        (ProxyProtocol::V2, Some(passage)) => {
            let family = if passage.client.is_ipv4() { TCP4 } else { TCP6 };
            binary(PROXY, family, &addresses(passage))
        }
    }
}

fn text(passage: &Passage) -> String {
    let Passage { client, local } = passage;
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (client.ip(), local.ip());
    format!("PROXY {family} {from} {to} {} {}\r\n", client.port(), local.port())
}

fn binary(command: u8, family: u8, addresses: &[u8]) -> Vec<u8> {
    let length = u16::try_from(addresses.len()).unwrap_or_default();
    let mut bytes = SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(length.to_be_bytes());
    bytes.extend(addresses);
    bytes
}

fn addresses(passage: &Passage) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(36);
    for address in [passage.client.ip(), passage.local.ip()] {
        match address {
            IpAddr::V4(address) => bytes.extend(address.octets()),
            IpAddr::V6(address) => bytes.extend(address.octets()),
        }
    }
    bytes.extend(passage.client.port().to_be_bytes());
    bytes.extend(passage.local.port().to_be_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passage(client: &str, local: &str) -> Passage {
        Passage::new(client.parse().unwrap(), local.parse().unwrap())
    }

    fn v1(client: &str, local: &str) -> String {
        let bytes = announcement(ProxyProtocol::V1, Some(&passage(client, local)));
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn the_first_version_is_a_line() {
        let line = v1("192.0.2.1:1234", "198.51.100.2:443");
        assert_eq!(line, "PROXY TCP4 192.0.2.1 198.51.100.2 1234 443\r\n");
        let line = v1("[2001:db8::1]:0", "[2001:db8::2]:443");
        assert_eq!(line, "PROXY TCP6 2001:db8::1 2001:db8::2 0 443\r\n");
        assert_eq!(announcement(ProxyProtocol::V1, None), b"PROXY UNKNOWN\r\n");
    }

    #[test]
    fn the_second_version_is_binary() {
        let passage = passage("192.0.2.1:258", "198.51.100.2:443");
        let told = announcement(ProxyProtocol::V2, Some(&passage));
        let expected = [
            &b"\r\n\r\n\0\r\nQUIT\n"[..],
            &[0x21, 0x11, 0, 12],
            &[192, 0, 2, 1, 198, 51, 100, 2],
            &[1, 2, 1, 187],
        ];
        assert_eq!(told, expected.concat());
        let own = announcement(ProxyProtocol::V2, None);
        assert_eq!(own, [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 0]].concat());
    }

    #[test]
    fn addresses_of_different_families_are_told_as_one() {
        let line = v1("192.0.2.1:9", "[2001:db8::2]:443");
        assert_eq!(line, "PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 9 443\r\n");
        let line = v1("[::ffff:192.0.2.1]:9", "127.0.0.1:80");
        assert_eq!(line, "PROXY TCP4 192.0.2.1 127.0.0.1 9 80\r\n");
        let told = announcement(ProxyProtocol::V2, Some(&passage("[::1]:9", "127.0.0.1:80")));
        assert_eq!((told[13], told.len()), (0x21, 16 + 36));
    }
}
