//! Who may, as Traefik can be told: networks that may, and a file of passwords.

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use portway_model::site::{Access, BasicAuth, Password};

/// A network that no client has, for lists that let nobody in.
pub(super) const NO_NETWORK: &str = "255.255.255.255/32";

/// Returns the networks that may, where not all may: those that are allowed, without those that are
/// denied.
pub(super) fn networks(access: &Access) -> Option<Vec<String>> {
    if access.allow.is_none() && access.deny.is_empty() {
        return None;
    }
    let all = || vec![IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    let mut may = access.allow.clone().unwrap_or_else(all);
    for denied in &access.deny {
        may = may.into_iter().flat_map(|network| without(network, *denied)).collect();
    }
    let may = IpNet::aggregate(&may);
    if may.is_empty() {
        return Some(vec![NO_NETWORK.to_owned()]);
    }
    Some(may.iter().map(ToString::to_string).collect())
}

/// Returns a network without another one.
fn without(network: IpNet, denied: IpNet) -> Vec<IpNet> {
    if denied.contains(&network) {
        return Vec::new();
    }
    if !network.contains(&denied) {
        return vec![network];
    }
    let Ok(halves) = network.subnets(network.prefix_len() + 1) else { return Vec::new() };
    halves.flat_map(|half| without(half, denied)).collect()
}

/// Returns the file of names and hashes.
pub(super) fn passwords(basic: &BasicAuth) -> String {
    let mut file = String::new();
    for (name, password) in &basic.users {
        // A policy holds hashes only; whoever has none cannot get in.
        if let Password::Hash(hash) = password {
            file.push_str(name);
            file.push(':');
            file.push_str(hash);
            file.push('\n');
        }
    }
    file
}

/// Tells whether a name can stand in a file of passwords.
pub(super) fn can_be_named(name: &str) -> bool {
    let is_odd = |c: char| c.is_control() || c == ':';
    !name.is_empty() && name.trim() == name && !name.starts_with('#') && !name.contains(is_odd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: Option<&[&str]>, deny: &[&str]) -> Access {
        let read = |nets: &[&str]| nets.iter().map(|net| net.parse().unwrap()).collect();
        Access { allow: allow.map(read), deny: read(deny), basic: None }
    }

    #[test]
    fn what_is_denied_is_cut_out_of_what_is_allowed() {
        assert_eq!(networks(&access(None, &[])), None);
        let nobody = Some(vec![NO_NETWORK.to_owned()]);
        assert_eq!(networks(&access(Some(&[]), &[])), nobody);
        assert_eq!(networks(&access(Some(&["10.0.0.0/8"]), &["0.0.0.0/0"])), nobody);
        let cut = networks(&access(Some(&["10.0.0.0/30"]), &["10.0.0.1/32"])).unwrap();
        assert_eq!(cut, ["10.0.0.0/32", "10.0.0.2/31"]);
        let all = networks(&access(None, &["10.6.6.6/32"])).unwrap();
        let nets: Vec<IpNet> = all.iter().map(|net| net.parse().unwrap()).collect();
        let may = |address: &str| {
            let address: std::net::IpAddr = address.parse().unwrap();
            nets.iter().any(|net| net.contains(&address))
        };
        assert!(may("10.6.6.5") && may("10.6.6.7") && may("192.0.2.1") && may("2001:db8::1"));
        assert!(!may("10.6.6.6"));
    }
}
