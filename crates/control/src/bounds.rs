//! What a client may reach, as an administrator set it. Pure.

use std::net::IpAddr;

use ipnet::IpNet;
use portway_model::{
    Bounds, FieldPath, Finding, FindingCode, Findings, ResourceKind, Site,
    site::{Action, FileRoot, Target, Upstream},
};
use portway_policy::NetworkGuard;

/// Networks that a client's upstreams never lie in unless an administrator names them: this
/// machine, link-local (where clouds keep their metadata), multicast and reserved addresses, and
/// the metadata addresses of clouds that lie elsewhere.
const FORBIDDEN: [&str; 14] = [
    "0.0.0.0/8",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "100.100.100.200/32",
    "192.0.0.192/32",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "::/128",
    "::1/128",
    "fe80::/10",
    "ff00::/8",
    "fd00:ec2::254/128",
    "fd20:ce::254/128",
    "64:ff9b::/96",
];

/// Returns where the upstreams of a client may lie. The edge judges it again at connect time, on
/// the address that a name turned out to have.
pub(crate) fn guard(bounds: &Bounds, own_addresses: &[IpAddr]) -> NetworkGuard {
    let fixed = FORBIDDEN.iter().filter_map(|network| network.parse().ok());
    let own = own_addresses.iter().map(|address| IpNet::from(*address));
    NetworkGuard { allowed: bounds.networks.clone(), denied: fixed.chain(own).collect() }
}

/// Judges a client's site by the client's bounds: every breach is a finding at its place.
pub(crate) fn judge(site: &Site, bounds: &Bounds, own_addresses: &[IpAddr]) -> Vec<Finding> {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    let root = FieldPath::root();
    for (index, host) in site.hosts.iter().enumerate() {
        if !bounds.hosts.iter().any(|zone| host.is_within(zone)) {
            let known = bounds.hosts.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            findings
                .error(
                    FindingCode::OutOfBounds,
                    &root.key("hosts").index(index),
                    format!("`{host}` is outside the hosts you may use"),
                )
                .remedy(if known.is_empty() {
                    "ask an administrator to give you a host or zone".to_owned()
                } else {
                    format!("use a host of {known}, or ask an administrator")
                });
        }
    }
    let guard = guard(bounds, own_addresses);
    for (index, route) in site.routes.iter().enumerate() {
        let path = root.key("routes").index(index);
        match &route.action {
            Action::Proxy(upstream) => {
                judge_upstream(upstream, &guard, &path.key("to"), &mut findings);
            }
            Action::Split(split) => {
                for (index, side) in split.sides.iter().enumerate() {
                    let path = path.key("split").index(index).key("to");
                    judge_upstream(&side.upstream, &guard, &path, &mut findings);
                }
            }
            Action::Files(files) => judge_files(files, bounds, &path, &mut findings),
            Action::Redirect(_) | Action::Respond(_) => {}
        }
        if let Some(mirror) = &route.filters.mirror {
            let path = path.key("mirror").key("to");
            judge_upstream(&mirror.upstream, &guard, &path, &mut findings);
        }
    }
    findings.into_vec()
}

fn judge_upstream(
    upstream: &Upstream,
    guard: &NetworkGuard,
    path: &FieldPath,
    findings: &mut Findings,
) {
    for target in &upstream.targets {
        let refusal = match &target.to {
            Target::Unix(_) => {
                Some("a unix socket of the machine is outside your bounds".to_owned())
            }
            Target::Tcp(address) => {
                let forbidden = match address.ip() {
                    Some(ip) => !guard.permits(ip),
                    // A name is judged by the edge once it is looked up; this one always means here.
                    None => is_localhost(&address.host) && guard.allowed.is_empty(),
                };
                forbidden.then(|| format!("`{address}` lies in a network outside your bounds"))
            }
        };
        if let Some(text) = refusal {
            findings
                .error(FindingCode::OutOfBounds, path, text)
                .remedy("use an address that an administrator has opened to you");
        }
    }
}

fn is_localhost(host: &str) -> bool {
    host == "localhost" || host.ends_with(".localhost")
}

fn judge_files(files: &FileRoot, bounds: &Bounds, path: &FieldPath, findings: &mut Findings) {
    let within = bounds.files.as_ref().is_some_and(|folder| files.root.starts_with(folder));
    if !within {
        let remedy = match &bounds.files {
            Some(folder) => format!("use a folder below {folder}"),
            None => "ask an administrator to give you a folder".to_owned(),
        };
        findings
            .error(
                FindingCode::OutOfBounds,
                &path.key("files"),
                format!("`{}` is outside the folder you may serve", files.root),
            )
            .remedy(remedy);
    }
}

#[cfg(test)]
mod tests {
    use portway_model::{Name, SiteSpec, site::check};

    use super::*;

    fn judged(bounds: &Bounds, host: &str, target: &str) -> Vec<Finding> {
        let name: Name = "mine".parse().unwrap();
        let (site, findings) = check(&name, &SiteSpec::proxy(host, target));
        judge(
            &site.unwrap_or_else(|| panic!("{findings:?}")),
            bounds,
            &["192.0.2.7".parse().unwrap()],
        )
    }

    fn bounds(hosts: &[&str], networks: &[&str]) -> Bounds {
        Bounds {
            hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
            networks: networks.iter().map(|network| network.parse().unwrap()).collect(),
            files: None,
            nodes: Vec::new(),
            max_sites: 10,
        }
    }

    #[test]
    fn a_client_stays_within_its_hosts() {
        let bounds = bounds(&["*.shop.example"], &[]);
        assert!(judged(&bounds, "a.shop.example", "198.51.100.1:80").is_empty());
        for host in ["shop.example", "shop.example.evil.test", "*", "127.0.0.1", "*.example"] {
            assert_eq!(judged(&bounds, host, "198.51.100.1:80").len(), 1, "{host}");
        }
    }

    #[test]
    fn a_client_reaches_neither_this_machine_nor_metadata() {
        let bounds = bounds(&["a.example"], &[]);
        for target in [
            "127.0.0.1:8900",
            "localhost:8900",
            "app.localhost:80",
            "[::1]:80",
            "[::ffff:127.0.0.1]:80",
            "169.254.169.254:80",
            "0.0.0.0:80",
            "[fe80::1]:80",
            "100.100.100.200:80",
            "192.0.2.7:80",
            "unix:/run/docker.sock",
        ] {
            assert_eq!(judged(&bounds, "a.example", target).len(), 1, "{target}");
        }
    }

    #[test]
    fn an_administrator_can_open_a_network() {
        let bounds = bounds(&["a.example"], &["127.0.0.0/8"]);
        assert!(judged(&bounds, "a.example", "127.0.0.1:5000").is_empty());
        assert_eq!(judged(&bounds, "a.example", "198.51.100.1:80").len(), 1);
    }
}
