//! Limits of requests, as Traefik can be told.
//!
//! Traefik forgets a client that was silent for two seconds, or for a second more than one request needs,
//! and then gives it its whole burst again. So a burst is never larger than what comes in that time
//! anyway; otherwise whoever makes pauses would get past the rate.
//!
//! It also counts for each router by itself. A route has one for most requests, and one for those whose
//! bodies must be read first; they divide the limit, so that together they let in no more than it says.
//! What would be divided further is refused.

use portway_model::site::{Action, CountedBy, LimitScope, Rate, RateLimit, Route};
use serde_json::{Value, json};

use super::site::Draft;
use crate::Use;

/// The routers of a route, each of which counts by itself, and the tenths of a limit that each has.
#[derive(Clone, Copy, Debug)]
pub(super) enum Share {
    /// Most requests.
    Most = 9,
    /// Requests whose bodies must be read to know how large they are.
    Unmeasured = 1,
}

/// Adds the limits of a route for one of its routers; returns the names.
pub(super) fn add(draft: &mut Draft<'_>, name: &str, route: &Route, share: Share) -> Vec<String> {
    let mut names = Vec::new();
    let tenths = share as u32;
    let rates = route.filters.rate_limits.iter().filter(|limit| !limit.dry_run);
    for (number, limit) in rates.enumerate() {
        let Rate { requests, period } = limit.rate;
        let value = json!({"rateLimit": {
            "average": requests * tenths, "period": format!("{}s", period.0 * 10),
            "burst": burst(limit, share), "sourceCriterion": source(&limit.by),
        }});
        names.push(draft.middleware(name, &format!("rate{number}-{tenths}"), value));
    }
    if let Some(limit) = route.filters.connection_limit.as_deref().filter(|limit| !limit.dry_run) {
        let value = json!({"inFlightReq":
            {"amount": part(limit.most, share), "sourceCriterion": source(&limit.by)}});
        names.push(draft.middleware(name, &format!("connections-{tenths}"), value));
    }
    names
}

/// Returns the part of a number that a router has; the parts are the whole, but each has at least one.
fn part(number: u32, share: Share) -> u32 {
    let least = (number / 10).max(1);
    match share {
        Share::Most => number.saturating_sub(least).max(1),
        Share::Unmeasured => least,
    }
}

/// Returns how many requests may come at once.
pub(super) fn burst(limit: &RateLimit, share: Share) -> u32 {
    let Rate { requests, period } = limit.rate;
    let requests = u64::from(requests) * u64::from(share as u32);
    let period = period.0.max(1) * 10;
    // How long Traefik remembers a client, in seconds.
    let remembered = if requests >= period { 2 } else { 1 + period / requests.max(1) };
    let come = requests.saturating_mul(remembered) / period;
    u32::try_from(come).unwrap_or(u32::MAX).clamp(1, part(limit.burst, share))
}

/// Returns why a limit would not be one: each router counts by itself.
pub(super) fn why_not(used: &Use<'_>) -> Option<&'static str> {
    let (site, route) = (used.site, used.route?);
    let is_of_site = |route: &Route| {
        let filters = &route.filters;
        let scopes = filters.rate_limits.iter().map(|limit| limit.scope);
        let connections = filters.connection_limit.as_deref().map(|limit| limit.scope);
        scopes.chain(connections).any(|scope| scope == LimitScope::Site)
    };
    if is_of_site(route) && site.routes.iter().filter(|route| is_of_site(route)).count() > 1 {
        return Some("Traefik counts for each route by itself; write the limit into the routes");
    }
    if site.https.as_ref().is_some_and(|https| !https.redirect) {
        return Some(
            "Traefik counts HTTP and HTTPS by themselves; write `https: {redirect: true}`",
        );
    }
    let mut kinds: Vec<u64> = site.hosts.iter().map(super::route::kind).collect();
    kinds.sort_unstable();
    kinds.dedup();
    if kinds.len() > 1 {
        return Some(
            "Traefik counts names and patterns by themselves; give each a site of its own",
        );
    }
    match &route.action {
        Action::Split(split) if split.sides.iter().any(|side| !side.rules.is_empty()) => {
            Some("Traefik counts sides with rules by themselves")
        }
        Action::Proxy(_)
        | Action::Split(_)
        | Action::Files(_)
        | Action::Redirect(_)
        | Action::Respond(_) => None,
    }
}

/// Returns what is counted together. All addresses are excluded where all requests are one: what is
/// left of them is nothing, and nothing is the same for everybody.
fn source(by: &CountedBy) -> Value {
    match by {
        CountedBy::Client { ipv6_prefix } => json!({"ipStrategy": {"ipv6Subnet": ipv6_prefix}}),
        CountedBy::Header(name) => json!({"requestHeaderName": name}),
        CountedBy::Site => json!({"ipStrategy": {"excludedIPs": ["0.0.0.0/0", "::/0"]}}),
    }
}

/// Tells whether it must be known who is behind a trusted proxy.
pub(super) fn judge_addresses(route: &Route) -> bool {
    let by_client = |by: &CountedBy| matches!(by, CountedBy::Client { .. });
    let filters = &route.filters;
    let connections = filters.connection_limit.as_deref();
    filters.rate_limits.iter().any(|limit| !limit.dry_run && by_client(&limit.by))
        || connections.is_some_and(|limit| !limit.dry_run && by_client(&limit.by))
}
