//! Upstreams: the targets, how one is chosen, and how they are watched.

use portway_model::site::{Balance, Ejection, HashKey, Route, Upstream, WeightedTarget};

use super::{
    limits,
    names::Draft,
    proxy::Place,
    syntax::{Directive, line},
    value::{cookie, header},
};

/// Declares an upstream and returns its name.
pub(super) fn declare(draft: &mut Draft<'_>, upstream: &Upstream, place: &Place) -> String {
    let name = draft.name(&place.suffix);
    let mut block = Vec::new();
    if upstream.targets.len() > 1 || most_connections(upstream).is_some() {
        // What is known of targets is shared by all workers.
        let kilobytes = 64 + 2 * upstream.targets.len();
        block.push(line!("zone", name, format!("{kilobytes}k")));
    }
    if upstream.targets.len() > 1 {
        block.extend(
            balance(&upstream.balance).map(|line| line.from_field(&place.at.key("balance"))),
        );
    }
    for (index, target) in upstream.targets.iter().enumerate() {
        let field = place.at.key("targets").index(index);
        block.push(server(upstream, target).from_field(&field));
    }
    block
        .extend(keepalive(upstream).into_iter().map(|line| line.from_field(&place.at.key("pool"))));
    draft.beside.push(line!("upstream", name).with(block).from_field(&place.at));
    name
}

fn server(upstream: &Upstream, target: &WeightedTarget) -> Directive {
    let WeightedTarget { to, weight, backup } = target;
    let mut words = vec!["server".to_owned(), to.to_string()];
    if *weight != 1 {
        words.push(format!("weight={weight}"));
    }
    if *backup {
        words.push("backup".to_owned());
    }
    match &upstream.eject {
        Some(Ejection { failures, within: _, lasts, statuses: _ }) => {
            words.push(format!("max_fails={failures}"));
            words.push(format!("fail_timeout={}s", lasts.0));
        }
        None => words.push("max_fails=0".to_owned()),
    }
    if let Some(most) = most_connections(upstream) {
        words.push(format!("max_conns={most}"));
    }
    Directive::new(words)
}

/// nginx counts connections, and has one for each request.
fn most_connections(upstream: &Upstream) -> Option<u32> {
    let limits = [upstream.max_in_flight_per_target, upstream.pool.max_connections];
    limits.into_iter().flatten().min()
}

fn balance(balance: &Balance) -> Option<Directive> {
    match balance {
        Balance::RoundRobin => None,
        Balance::LeastRequests => Some(line!("least_conn")),
        Balance::TwoChoices => Some(line!("random", "two", "least_conn")),
        Balance::Hash(key) => {
            // Refused before where nginx has no variable for it.
            let key = match key {
                HashKey::Client => Some("$remote_addr".to_owned()),
                HashKey::Header(name) => header(name),
                HashKey::Cookie(name) => cookie(name),
            };
            Some(line!("hash", key.unwrap_or_default(), "consistent"))
        }
    }
}

fn keepalive(upstream: &Upstream) -> Vec<Directive> {
    let pool = &upstream.pool;
    if pool.max_idle == 0 {
        return Vec::new();
    }
    vec![
        line!("keepalive", pool.max_idle),
        line!("keepalive_timeout", format!("{}s", pool.idle_timeout.0)),
        line!("keepalive_requests", pool.max_requests.unwrap_or(100_000)),
    ]
}

/// Returns what bounds the requests in flight over all targets.
pub(super) fn in_flight(
    draft: &mut Draft<'_>,
    (route, upstream): (&Route, &Upstream),
    place: &Place,
) -> Vec<Directive> {
    let Some(most) = upstream.max_in_flight else { return Vec::new() };
    let at = place.at.key("max_in_flight");
    let name = draft.name(&format!("{}_flight", place.suffix));
    let zone = line!("limit_conn_zone", "portway", format!("zone={name}:64k"));
    draft.beside.push(zone.from_field(&at));
    let mut block = vec![line!("limit_conn", name, most).from_field(&at)];
    // A location has one status for all that it limits so.
    if !limits::are_connections(route) {
        block.push(line!("limit_conn_status", "503"));
    }
    block
}
