//! What the machine says of itself: its addresses and its groups.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use tracing::warn;

use crate::exit::Failure;

/// Returns the addresses of this machine, as Linux lists them. They are kept from clients as
/// upstreams; loopback and link-local ones are kept from them anyway.
pub(super) fn own() -> Vec<IpAddr> {
    let read = |path: &str| match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => {
            warn!("cannot read {path}, so some addresses of this machine are not known: {error}");
            String::new()
        }
    };
    let v4 = ipv4(&read("/proc/net/fib_trie")).into_iter().map(IpAddr::V4);
    let v6 = ipv6(&read("/proc/net/if_inet6")).into_iter().map(IpAddr::V6);
    v4.chain(v6).collect()
}

/// Reads the local addresses of a routing table: each stands on a line of its own, above the line
/// that says `/32 host LOCAL`.
fn ipv4(trie: &str) -> BTreeSet<Ipv4Addr> {
    let mut found = BTreeSet::new();
    let mut last: Option<Ipv4Addr> = None;
    for line in trie.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address.parse().ok();
        } else if line == "/32 host LOCAL" {
            found.extend(last);
        }
    }
    found
}

/// Reads the first column: 32 hexadecimal digits.
fn ipv6(table: &str) -> BTreeSet<Ipv6Addr> {
    let first = |line: &str| line.split_whitespace().next().map(str::to_owned);
    let address = |digits: String| u128::from_str_radix(&digits, 16).ok().map(Ipv6Addr::from);
    table.lines().filter_map(first).filter_map(address).collect()
}

/// Returns the number of a group, by name or number.
pub(super) fn group(name: &str) -> Result<u32, Failure> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let groups = fs::read_to_string("/etc/group")
        .map_err(|error| Failure::failed("cannot read /etc/group").because(&error))?;
    number_of(&groups, name).ok_or_else(|| {
        Failure::usage(format!("there is no group `{name}` on this machine"))
            .help("name another by --admin-group, or give its number")
    })
}

/// Finds a group in the text of `/etc/group` (group(5)).
fn number_of(groups: &str, wanted: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _password, number) = (fields.next()?, fields.next()?, fields.next()?);
        if name == wanted { number.parse().ok() } else { None }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_addresses_are_found_and_networks_are_not() {
        let trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 0.0.0.0\n        /0 universe UNICAST\n     \
                    |-- 10.0.0.5\n        /32 host LOCAL\n     |-- 10.0.0.255\n        /32 link \
                    BROADCAST\n     |-- 127.0.0.1\n        /32 host LOCAL\n";
        let found: Vec<String> = ipv4(trie).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["10.0.0.5", "127.0.0.1"]);
        let table = "00000000000000000000000000000001 01 80 10 80 lo\nfe80 xx\n";
        assert!(ipv6(table).contains(&Ipv6Addr::LOCALHOST));
    }

    #[test]
    fn this_machine_knows_itself() {
        assert!(own().contains(&IpAddr::V4(Ipv4Addr::LOCALHOST)));
    }

    #[test]
    fn a_group_has_a_number() {
        let groups = "root:x:0:\nportway:x:990:ann\n";
        assert_eq!(number_of(groups, "portway"), Some(990));
        assert_eq!(number_of(groups, "port"), None);
        assert_eq!(group("7").unwrap(), 7);
    }
}
