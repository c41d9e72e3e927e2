//! The addresses under which sites are reached.

use std::time::Duration;

use portway_control::EdgeClient;
use portway_model::{HostPattern, Site};

use crate::session::Session;

/// The most sites of one change whose addresses are shown.
pub(crate) const MOST: usize = 20;

/// The ports under which clients reach the edge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ports {
    http: u16,
    https: u16,
}

/// Returns the addresses of a site.
pub(crate) async fn of(session: &Session, site: &Site) -> Vec<String> {
    let ports = if session.is_local() { local_ports(session).await } else { None };
    addresses(site, ports.unwrap_or(Ports { http: 80, https: 443 }))
}

/// The edge knows best where it listens; one that does not answer listens where it was told to.
async fn local_ports(session: &Session) -> Option<Ports> {
    let settings = match session.manager() {
        Ok(settings) => settings,
        Err(failure) => {
            session.out.error(&format!("the ports of the edge are not known: {failure}")).ok()?;
            return None;
        }
    };
    let client = EdgeClient::new(settings.edge_socket.clone());
    let asked = tokio::time::timeout(Duration::from_secs(2), client.status()).await;
    let listeners = asked.ok().and_then(Result::ok).map(|status| status.listeners);
    let bound = |tls: bool| {
        let all = listeners.iter().flatten();
        all.filter(|listener| listener.tls == tls).map(|listener| listener.address.port()).next()
    };
    let told =
        |addresses: &[std::net::SocketAddr]| addresses.first().map(std::net::SocketAddr::port);
    Some(Ports {
        http: bound(false).or_else(|| told(&settings.listeners.http))?,
        https: settings
            .listeners
            .public_https_port
            .or_else(|| bound(true))
            .or_else(|| told(&settings.listeners.https))?,
    })
}

fn addresses(site: &Site, ports: Ports) -> Vec<String> {
    let (scheme, port, usual) = match &site.https {
        Some(_) => ("https", ports.https, 443),
        None => ("http", ports.http, 80),
    };
    let port = if port == usual { String::new() } else { format!(":{port}") };
    let path = first_path(site);
    let hosts = site.hosts.iter().filter_map(|host| match host {
        HostPattern::Exact(name) => Some(name.to_string()),
        HostPattern::Ip(address) if address.is_ipv6() => Some(format!("[{address}]")),
        HostPattern::Ip(address) => Some(address.to_string()),
        // Nobody can open a pattern.
        HostPattern::Wildcard(_) | HostPattern::Any => None,
    });
    hosts.map(|host| format!("{scheme}://{host}{port}{path}")).collect()
}

/// The shortest prefix is where a reader begins.
fn first_path(site: &Site) -> String {
    let prefixes = site.routes.iter().filter_map(|route| route.matches.path.prefix());
    let shortest = prefixes.map(ToString::to_string).min_by_key(String::len);
    let path = shortest.unwrap_or_else(|| "/".to_owned());
    if path.ends_with('/') { path } else { format!("{path}/") }
}

#[cfg(test)]
mod tests {
    use portway_model::SiteSpec;

    use super::*;

    fn site(spec: &SiteSpec) -> Site {
        portway_model::site::check(&"app".parse().unwrap(), spec).0.unwrap()
    }

    #[test]
    fn an_address_can_be_opened_as_it_stands() {
        let mut spec = SiteSpec::proxy("app.localhost", "127.0.0.1:5000");
        spec.hosts.extend(["*.app.localhost".to_owned(), "::1".to_owned()]);
        let usual = Ports { http: 80, https: 443 };
        let other = Ports { http: 8080, https: 8443 };
        assert_eq!(addresses(&site(&spec), usual), ["https://app.localhost/", "https://[::1]/"]);
        assert_eq!(
            addresses(&site(&spec), other),
            ["https://app.localhost:8443/", "https://[::1]:8443/"]
        );
        spec.https = Some(portway_model::site::spec::HttpsSpec::Enabled(false));
        assert_eq!(
            addresses(&site(&spec), other),
            ["http://app.localhost:8080/", "http://[::1]:8080/"]
        );
    }
}
