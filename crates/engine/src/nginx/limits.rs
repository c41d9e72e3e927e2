//! Limits of requests: how many in a time, and how many at the same time.
//!
//! What nginx counts lies in zones that outlive a reload, as long as they have the same name, size and
//! key; with the same name and another key it refuses the configuration. So a zone is named by its key
//! and by where its limit stands. It counts as the edge does: a burst of `n` is one request and `n - 1`
//! more.

use ipnet::IpNet;
use portway_model::{
    FieldPath,
    site::{Action, ConnectionLimit, CountedBy, LimitScope, Rate, RateLimit, Route},
};
use portway_policy::Digest;

use super::{
    names::Draft,
    syntax::{Directive, line},
    value::header,
};

/// What a zone has for clients: about 80,000 of them.
const CLIENTS: &str = "10m";

/// What a zone has for one number.
const ONE: &str = "64k";

/// Tells whether anything limits a route here.
pub(super) fn are_any(route: &Route) -> bool {
    !rates(route).is_empty() || connections(route).is_some()
}

/// Tells whether a route has both limits and others that are only tried out.
pub(super) fn is_mixed(route: &Route) -> bool {
    let filters = &route.filters;
    let in_flight = match &route.action {
        Action::Proxy(upstream) => upstream.max_in_flight.is_some(),
        Action::Split(split) => {
            split.sides.iter().any(|side| side.upstream.max_in_flight.is_some())
        }
        Action::Files(_) | Action::Redirect(_) | Action::Respond(_) => false,
    };
    let connections = filters.connection_limit.as_deref().map(|limit| limit.dry_run);
    let tried: Vec<bool> =
        filters.rate_limits.iter().map(|limit| limit.dry_run).chain(connections).collect();
    tried.contains(&true) && (tried.contains(&false) || in_flight)
}

/// Tells whether requests at the same time are limited, by which nginx then answers all that are.
pub(super) fn are_connections(route: &Route) -> bool {
    connections(route).is_some()
}

/// Returns the whole requests of a minute.
pub(super) fn per_minute(rate: Rate) -> u64 {
    u64::from(rate.requests) * 60 / rate.period.0.max(1)
}

/// Returns the limits in time that nginx carries out.
fn rates(route: &Route) -> Vec<(usize, &RateLimit)> {
    let mixed = is_mixed(route);
    let limits = route.filters.rate_limits.iter().enumerate();
    limits.filter(|(_, limit)| !(mixed && limit.dry_run) && per_minute(limit.rate) > 0).collect()
}

fn connections(route: &Route) -> Option<&ConnectionLimit> {
    let mixed = is_mixed(route);
    route.filters.connection_limit.as_deref().filter(|limit| !(mixed && limit.dry_run))
}

/// Returns the limits of a route.
pub(super) fn of(draft: &mut Draft<'_>, route: &Route, at: &FieldPath) -> Vec<Directive> {
    let mut block = Vec::new();
    let rates = rates(route);
    for (number, limit) in &rates {
        block.push(rate(draft, route, (*number, limit), &at.key("rate_limit")));
    }
    let slowest = rates.iter().map(|(_, limit)| seconds_of_one(limit.rate)).max();
    if let Some((_, first)) = rates.first() {
        block.push(line!("limit_req_status", "429"));
        block.push(line!("limit_req_dry_run", on(first.dry_run)));
    }
    let connections = connections(route);
    if let Some(limit) = connections {
        block.push(connection(draft, route, limit, &at.key("connection_limit")));
        block.push(line!("limit_conn_status", "429"));
        block.push(line!("limit_conn_dry_run", on(limit.dry_run)));
    }
    if slowest.is_some() || connections.is_some() {
        block.push(line!("add_header", "Retry-After", retry_after(draft, slowest), "always"));
    }
    block
}

fn on(is_on: bool) -> &'static str {
    if is_on { "on" } else { "off" }
}

/// Returns the time after which one more request may come, in whole seconds.
fn seconds_of_one(rate: Rate) -> u64 {
    60_u64.div_ceil(per_minute(rate).max(1))
}

/// Makes the variable of what a client is told that had too many requests; for others it is empty, so
/// that the header is not there.
fn retry_after(draft: &mut Draft<'_>, seconds: Option<u64>) -> String {
    let seconds = seconds.unwrap_or(1);
    let suffix = format!("retry_{seconds}");
    let variable = format!("${}", draft.name(&suffix));
    let entries = [
        ("\\AREJECTED:".to_owned(), seconds.to_string()),
        (":REJECTED\\z".to_owned(), "1".to_owned()),
    ];
    once(draft, &variable, |draft| {
        let source = "$limit_req_status:$limit_conn_status";
        draft.map(&suffix, source, entries, "", &FieldPath::root());
    });
    variable
}

/// Makes what has a name unless it is there.
fn once(draft: &mut Draft<'_>, name: &str, make: impl FnOnce(&mut Draft<'_>)) {
    let is_there =
        draft.beside.iter().any(|directive| directive.args().iter().any(|arg| arg == name));
    if !is_there {
        make(draft);
    }
}

fn rate(
    draft: &mut Draft<'_>,
    route: &Route,
    (number, limit): (usize, &RateLimit),
    at: &FieldPath,
) -> Directive {
    let RateLimit { rate, burst, by, exempt, dry_run: _, headers: _, scope } = limit;
    let at = at.index(number);
    let (key, size) = key(draft, by, exempt, &at);
    let place = format!("rate {number} {}", place(*scope, route));
    let name = zone_name(draft, &place, &key);
    let zone = format!("zone={name}:{size}");
    let per_minute = per_minute(*rate);
    let speed = if per_minute.is_multiple_of(60) {
        format!("rate={}r/s", per_minute / 60)
    } else {
        format!("rate={per_minute}r/m")
    };
    let zone_argument = zone.clone();
    once(draft, &zone_argument, |draft| {
        draft.beside.push(line!("limit_req_zone", key, zone, speed).from_field(&at));
    });
    let (zone, more) = (format!("zone={name}"), burst.saturating_sub(1));
    let directive = if more == 0 {
        line!("limit_req", zone)
    } else {
        line!("limit_req", zone, format!("burst={more}"), "nodelay")
    };
    directive.from_field(&at)
}

fn connection(
    draft: &mut Draft<'_>,
    route: &Route,
    limit: &ConnectionLimit,
    at: &FieldPath,
) -> Directive {
    let ConnectionLimit { most, by, exempt, dry_run: _, scope } = limit;
    let (key, size) = key(draft, by, exempt, at);
    let name = zone_name(draft, &format!("connections {}", place(*scope, route)), &key);
    let zone = format!("zone={name}:{size}");
    let zone_argument = zone.clone();
    once(draft, &zone_argument, |draft| {
        draft.beside.push(line!("limit_conn_zone", key, zone).from_field(at));
    });
    line!("limit_conn", name, most).from_field(at)
}

/// Returns what tells a limit from others, also when routes come and go.
fn place(scope: LimitScope, route: &Route) -> String {
    match scope {
        LimitScope::Site => "site".to_owned(),
        LimitScope::Route => format!("{:?}", route.matches),
    }
}

fn zone_name(draft: &Draft<'_>, place: &str, key: &str) -> String {
    draft.name(&format!("z{}", short(&format!("{place} {key}"))))
}

fn short(text: &str) -> String {
    Digest::of(text.as_bytes())
        .to_string()
        .chars()
        .filter(char::is_ascii_hexdigit)
        .take(16)
        .collect()
}

/// Returns the key of a limit, which is empty for whom it does not count, and the size of its zone.
fn key(
    draft: &mut Draft<'_>,
    by: &CountedBy,
    exempt: &[IpNet],
    at: &FieldPath,
) -> (String, &'static str) {
    let (key, size) = match by {
        CountedBy::Client { ipv6_prefix } => (client(draft, *ipv6_prefix, at), CLIENTS),
        // Refused before where nginx has no variable for it. A key that is empty would not be counted.
        CountedBy::Header(name) => (format!("v{}", header(name).unwrap_or_default()), CLIENTS),
        CountedBy::Site => ("all".to_owned(), ONE),
    };
    if exempt.is_empty() {
        return (key, size);
    }
    let networks: Vec<String> = exempt.iter().map(ToString::to_string).collect();
    let suffix = short(&format!("{key} {}", networks.join(" ")));
    let is_exempt = format!("${}", draft.name(&format!("x{suffix}")));
    let variable = format!("${}", draft.name(&format!("k{suffix}")));
    once(draft, &variable, |draft| {
        let mut block = vec![line!("default", "0")];
        block.extend(networks.iter().map(|network| line!(network, "1")));
        let geo = line!("geo", is_exempt).with(block);
        draft.beside.push(geo.from_field(&at.key("exempt")));
        let none = [("\\A1\\z".to_owned(), String::new())];
        draft.map(&format!("k{suffix}"), &is_exempt, none, &key, at);
    });
    (variable, size)
}

/// Makes the variable of a client's address in bytes: of IPv6, those of its network.
fn client(draft: &mut Draft<'_>, ipv6_prefix: u8, at: &FieldPath) -> String {
    const ADDRESS: &str = "$binary_remote_addr";
    if ipv6_prefix >= 128 {
        return ADDRESS.to_owned();
    }
    let (network, host) = (ipv6_prefix / 8, 16 - ipv6_prefix / 8);
    let suffix = format!("client{ipv6_prefix}");
    let variable = format!("${}", draft.name(&suffix));
    once(draft, &variable, |draft| {
        let pattern = format!("(?s)\\A(?<portway_network>.{{{network}}}).{{{host}}}\\z");
        let entry = [(pattern, "$portway_network".to_owned())];
        draft.map(&suffix, ADDRESS, entry, ADDRESS, at);
    });
    variable
}
