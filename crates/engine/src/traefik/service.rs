//! Upstreams as services.

use portway_model::{
    FieldPath,
    site::{
        Action, Balance, Ejection, HashKey, Health, HostHeader, HttpProbe, Mirror, Probe, Side,
        Split, StatusRange, Sticky, Target, Upstream, UpstreamProtocol,
    },
};
use serde_json::{Map, Value, json};

use super::{document::set, site::Draft, transport};

/// Adds the service of a route and returns its name, where an upstream answers.
pub(super) fn of_action(
    draft: &mut Draft<'_>,
    name: &str,
    action: &Action,
    at: &FieldPath,
) -> Option<String> {
    match action {
        Action::Proxy(upstream) => Some(of_upstream(draft, name, upstream, at)),
        Action::Split(split) => Some(of_split(draft, name, split, at)),
        Action::Files(_) | Action::Redirect(_) | Action::Respond(_) => None,
    }
}

/// Adds a service in front of another one that copies requests; returns its name.
pub(super) fn mirrored(
    draft: &mut Draft<'_>,
    name: &str,
    service: &str,
    mirror: &Mirror,
    at: &FieldPath,
) -> String {
    let Mirror { upstream, percent, max_body } = mirror;
    let copies = of_upstream(draft, &format!("{name}-mirror"), upstream, at);
    let value = json!({"mirroring": {"service": service, "maxBodySize": max_body.0,
        "mirrors": [{"name": copies, "percent": percent}]}});
    draft.service(&format!("{name}-mirrored"), value)
}

/// Returns the name of a side's service.
pub(super) fn side(name: &str, index: usize) -> String {
    format!("{name}-side{index}")
}

fn of_split(draft: &mut Draft<'_>, name: &str, split: &Split, at: &FieldPath) -> String {
    let Split { sides, sticky } = split;
    let mut services = Vec::new();
    for (index, Side { name: _, weight, rules: _, upstream }) in sides.iter().enumerate() {
        let service = of_upstream(draft, &side(name, index), upstream, at);
        services.push(json!({"name": service, "weight": weight}));
    }
    let mut weighted = json!({"services": services});
    if let Some(sticky) = sticky {
        set(&mut weighted, "sticky", cookie(draft, sticky));
    }
    draft.service(name, json!({"weighted": weighted}))
}

/// Adds the service of an upstream and returns its name.
fn of_upstream(draft: &mut Draft<'_>, name: &str, upstream: &Upstream, at: &FieldPath) -> String {
    let scheme = match (upstream.protocol, &upstream.tls) {
        (_, Some(_)) => "https",
        (UpstreamProtocol::H2c, None) => "h2c",
        (UpstreamProtocol::Http1, None) => "http",
    };
    let servers = upstream.targets.iter().filter_map(|target| match &target.to {
        Target::Tcp(address) => {
            let url = format!("{scheme}://{address}");
            Some(json!({"url": url, "weight": target.weight}))
        }
        // Refused before (`support`).
        Target::Unix(_) => None,
    });
    let mut balancer = Map::new();
    balancer.insert("servers".to_owned(), servers.collect());
    if let Some(strategy) = strategy(draft, upstream) {
        balancer.insert("strategy".to_owned(), json!(strategy));
    }
    let passes = match upstream.host {
        HostHeader::Preserve | HostHeader::Set(_) => true,
        HostHeader::Target => false,
    };
    balancer.insert("passHostHeader".to_owned(), json!(passes));
    if let Some(sticky) = &upstream.sticky {
        balancer.insert("sticky".to_owned(), cookie(draft, sticky));
    }
    if let Some(health) = upstream.health.as_ref().and_then(health) {
        balancer.insert("healthCheck".to_owned(), health);
    }
    if let Some(eject) = &upstream.eject
        && draft.facts.is_at_least(3, 6, 0)
        && upstream.targets.len() > 1
    {
        let Ejection { failures, within, lasts: _, statuses: _ } = eject;
        let value = json!({"failureWindow": format!("{within}"), "maxFailedAttempts": failures});
        balancer.insert("passiveHealthCheck".to_owned(), value);
    }
    let transport = transport::of_upstream(draft, name, upstream, at);
    balancer.insert("serversTransport".to_owned(), json!(transport));
    draft.service(name, json!({"loadBalancer": balancer}))
}

/// Returns how a server is chosen, where it is not in turn.
fn strategy(draft: &Draft<'_>, upstream: &Upstream) -> Option<&'static str> {
    match &upstream.balance {
        Balance::RoundRobin | Balance::Hash(HashKey::Header(_) | HashKey::Cookie(_)) => None,
        Balance::LeastRequests | Balance::TwoChoices => Some("p2c"),
        Balance::Hash(HashKey::Client) => draft.facts.is_at_least(3, 6, 0).then_some("hrw"),
    }
}

fn cookie(draft: &Draft<'_>, sticky: &Sticky) -> Value {
    let mut cookie = json!({"name": sticky.cookie, "httpOnly": true, "sameSite": "lax",
        "secure": draft.is_secure()});
    if let Some(ttl) = sticky.ttl {
        set(&mut cookie, "maxAge", json!(ttl.0));
    }
    json!({"cookie": cookie})
}

/// Returns the check of servers, where Traefik can make it.
fn health(health: &Health) -> Option<Value> {
    let Health { probe, interval, timeout, rise: _, fall: _, port } = health;
    if why_no_health(health).is_some() {
        return None;
    }
    let Probe::Http(HttpProbe { path, statuses, body: _, host, over_tls }) = probe else {
        return None;
    };
    let mut check = json!({"path": path, "interval": format!("{}s", interval.0),
        "timeout": format!("{}s", timeout.0), "followRedirects": false});
    if let Some(port) = port {
        set(&mut check, "port", json!(port));
    }
    if let Some(host) = host {
        set(&mut check, "hostname", json!(host));
    }
    if let Some(over_tls) = over_tls {
        set(&mut check, "scheme", json!(if *over_tls { "https" } else { "http" }));
    }
    if let Some(status) = one_status(statuses) {
        set(&mut check, "status", json!(status));
    }
    Some(check)
}

/// Tells why Traefik cannot ask targets so; then it does not ask them.
pub(super) fn why_no_health(health: &Health) -> Option<&'static str> {
    let Probe::Http(HttpProbe { path, statuses, body, host: _, over_tls: _ }) = &health.probe
    else {
        return Some("Traefik asks targets by requests only");
    };
    let is_usual = matches!(statuses.as_slice(), [one] if one.to_string() == "200-399");
    if !is_usual && one_status(statuses).is_none() {
        return Some("Traefik waits for one status or for 200-399");
    }
    if body.is_some() {
        return Some("Traefik does not look at the body");
    }
    let is_plain = path.chars().all(|c| c.is_ascii_graphic());
    (!is_plain || !crate::path::has_whole_escapes(path)).then_some("the path cannot be written")
}

fn one_status(statuses: &[StatusRange]) -> Option<u16> {
    match statuses {
        [one] => one.to_string().parse().ok(),
        _ => None,
    }
}
