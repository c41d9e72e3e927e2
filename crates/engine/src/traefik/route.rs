//! The routers of a site: what is refused in a path, then its routes, then nothing.

use portway_model::{
    FieldPath, HostPattern,
    site::{Action, HostHeader, Maintenance, PathMatch, Route, Side, SideRule, Upstream},
};
use serde_json::{Value, json};

use super::{
    NOBODY,
    document::set,
    limits::{self, Share},
    middleware,
    rule::Rule,
    service,
    site::{Door, Draft},
};
use crate::{
    go_pattern::{GoPattern, UPGRADE_TO_HTTP},
    order::order,
};

/// Between the priorities of a host's kinds.
const KIND: u64 = 1_000_000;
/// Between the priorities of a site's routes.
const STEP: u64 = 100;

/// What stands over a route: rules of splits, and requests whose bodies must be counted.
const OVER: u64 = 50;

/// What the edge refuses in a path, as far as Traefik leaves it there: escaped slashes and percent signs
/// before digits, backslashes, control characters, what is no UTF-8, dots with parameters.
const ODD: &str = concat!(
    "%2[Ff]|%5[Cc]|%25[0-9A-Fa-f][0-9A-Fa-f]|[\\x00-\\x1f\\x7f\\x5c\\x{fffd}]",
    "|/\\.\\.?(?:;|%3[Bb])",
);

/// Escapes that stay where a path is compared. Expressions of users know nothing of them.
const ESCAPES: &str = "%[0-9A-Fa-f][0-9A-Fa-f]";

/// Writes the routers behind a door.
pub(super) fn write(draft: &mut Draft<'_>, door: &Door) {
    let site = draft.site;
    let nobody = middleware::nobody(draft, "site");
    let kinds = [
        site.hosts.iter().filter(|host| kind(host) == 3).collect::<Vec<_>>(),
        site.hosts.iter().filter(|host| kind(host) == 2).collect(),
        site.hosts.iter().filter(|host| kind(host) == 1).collect(),
    ];
    let parts: Vec<Part> = if site.blocked.is_some() || door.redirects {
        Vec::new()
    } else {
        site.routes.iter().enumerate().map(|route| part(draft, route)).collect()
    };
    for (hosts, kind) in kinds.iter().zip([3_u64, 2, 1]).filter(|(hosts, _)| !hosts.is_empty()) {
        let host = Rule::any(hosts.iter().map(|host| Rule::host(host)));
        let mut routers = Routers { door, host, first: kind * KIND, kind, draft: &mut *draft };
        routers.put("odd", &odd(), KIND - 1, (std::slice::from_ref(&nobody), NOBODY));
        if site.blocked.is_some() {
            routers.put(
                "blocked",
                &Rule::call("PathRegexp", &["^"]),
                1,
                (std::slice::from_ref(&nobody), NOBODY),
            );
        } else if door.redirects {
            let https = middleware::to_https(routers.draft, "site");
            routers.put("https", &Rule::call("PathRegexp", &["^"]), 1, (&[https], NOBODY));
        } else {
            if let Some(maintenance) = &site.maintenance {
                let closed = middleware::maintenance(routers.draft, "site");
                routers.put("maintenance", &guests(maintenance), KIND - 3, (&[closed], NOBODY));
            }
            let has_regex = site.routes.iter().any(is_by_expression);
            if has_regex {
                let rule = Rule::call("PathRegexp", &[ESCAPES]);
                routers.put("escapes", &rule, KIND - 2, (std::slice::from_ref(&nobody), NOBODY));
            }
            for (place, index) in order(&site.routes).into_iter().enumerate() {
                let priority = STEP * u64::try_from(parts.len() - place).unwrap_or(1);
                if let Some(part) = parts.get(index) {
                    part.put(&mut routers, index, priority);
                }
            }
        }
    }
}

/// Returns who is not let through to a site that is being worked on.
fn guests(maintenance: &Maintenance) -> Rule {
    let all = Rule::call("PathRegexp", &["^"]);
    if maintenance.allow.is_empty() {
        return all;
    }
    let allowed = maintenance.allow.iter().map(ToString::to_string);
    all.and(&Rule::any(allowed.map(|network| Rule::call("ClientIP", &[&network]))).not())
}

fn is_by_expression(route: &Route) -> bool {
    matches!(route.matches.path, PathMatch::Regex(_))
}

/// Returns what is refused before any route is looked for.
fn odd() -> Rule {
    let path = Rule::call("PathRegexp", &[ODD]);
    Rule::any([path, Rule::call("HeaderRegexp", &["Upgrade", UPGRADE_TO_HTTP])])
}

/// Returns what a host's routers are tried before: names before patterns, patterns before all.
pub(super) fn kind(host: &HostPattern) -> u64 {
    match host {
        HostPattern::Exact(_) | HostPattern::Ip(_) => 3,
        HostPattern::Wildcard(_) => 2,
        HostPattern::Any => 1,
    }
}

/// Puts routers for some hosts of a site behind a door.
struct Routers<'a, 'b> {
    door: &'a Door,
    host: Rule,
    first: u64,
    kind: u64,
    draft: &'a mut Draft<'b>,
}

impl Routers<'_, '_> {
    fn put(&mut self, part: &str, rule: &Rule, over: u64, (through, to): (&[String], &str)) {
        let rule = self.host.clone().and(rule);
        let mut router = json!({"entryPoints": [self.door.entry_point], "rule": rule.as_str(),
            "priority": self.first + over, "service": to});
        if !through.is_empty() {
            set(&mut router, "middlewares", json!(through));
        }
        if let Some(tls) = &self.door.tls {
            set(&mut router, "tls", tls.clone());
        }
        if !self.draft.site.log.access {
            set(&mut router, "observability", json!({"accessLogs": false}));
        }
        let name = format!("{part}-{}-{}", self.kind, self.door.entry_point);
        let name = self.draft.name(&name);
        self.draft.document.routers.insert(name, router);
    }
}

/// A route, as far as it is the same for all hosts and doors.
struct Part {
    rule: Rule,
    /// Middlewares before everything else.
    before: Vec<String>,
    /// The same where the body is counted.
    before_body: Vec<String>,
    /// What counts the body.
    body: Option<(Rule, String)>,
    /// Middlewares after that.
    after: Vec<String>,
    service: String,
    /// Rules that lead elsewhere.
    others: Vec<(Rule, String)>,
}

impl Part {
    fn put(&self, routers: &mut Routers<'_, '_>, index: usize, priority: u64) {
        let through = [self.before.as_slice(), &self.after].concat();
        routers.put(&format!("r{index}"), &self.rule, priority, (&through, &self.service));
        let counted = self.body.as_ref().map(|(when, middleware)| {
            let through =
                [self.before_body.as_slice(), std::slice::from_ref(middleware), &self.after]
                    .concat();
            (when, through)
        });
        if let Some((when, through)) = &counted {
            let rule = self.rule.clone().and(when);
            routers.put(&format!("r{index}-body"), &rule, priority + 1, (through, &self.service));
        }
        for (place, (rule, service)) in self.others.iter().enumerate() {
            let rule = self.rule.clone().and(rule);
            let over = priority + OVER - 2 * u64::try_from(place).unwrap_or(0).min(20);
            let name = format!("r{index}-by{place}");
            routers.put(&name, &rule, over, (&through, service));
            if let Some((when, through)) = &counted {
                let rule = rule.and(when);
                routers.put(&format!("{name}-body"), &rule, over + 1, (through, service));
            }
        }
    }
}

/// Makes what a route leads to.
fn part(draft: &mut Draft<'_>, (index, route): (usize, &Route)) -> Part {
    let name = format!("r{index}");
    let at = FieldPath::root().key("routes").index(index);
    let mut before = middleware::access(draft, &name, route);
    let mut before_body = before.clone();
    before.extend(limits::add(draft, &name, route, Share::Most));
    before_body.extend(limits::add(draft, &name, route, Share::Unmeasured));
    let upstreams = route.action.upstreams();
    let host = upstreams.iter().find_map(|upstream| match &upstream.host {
        HostHeader::Set(host) => Some(host.as_str()),
        HostHeader::Preserve | HostHeader::Target => None,
    });
    let mut after = Vec::new();
    if route.filters.compress {
        after.push(middleware::compress(draft, &name));
    }
    after.push(middleware::headers(draft, &name, route, host));
    if let Some(upstream) = upstreams.first() {
        after.extend(of_upstream(draft, &name, upstream));
    }
    if route.filters.strip_prefix {
        after.extend(middleware::strip(draft, &name, route));
    }
    if let Action::Redirect(redirect) = &route.action {
        after.extend(middleware::redirect(draft, &name, route, redirect));
    }
    let mut service = service::of_action(draft, &name, &route.action, &at);
    if let (Some(found), Some(mirror)) = (&service, &route.filters.mirror) {
        service = Some(service::mirrored(draft, &name, found, mirror, &at));
    }
    let body = Some((
        counted(route.filters.max_body.0),
        middleware::body_limit(draft, &name, route.filters.max_body.0),
    ));
    let others = others(draft, &name, &route.action);
    let service = service.unwrap_or_else(|| NOBODY.to_owned());
    Part { rule: Rule::of(&route.matches), before, before_body, body, after, service, others }
}

fn of_upstream(draft: &mut Draft<'_>, name: &str, upstream: &Upstream) -> Vec<String> {
    let mut names = Vec::new();
    if let Some(most) = upstream.max_in_flight {
        names.push(middleware::in_flight(draft, name, most));
    }
    if upstream.retries.attempts > 0 {
        names.push(middleware::retry(draft, name, upstream.retries.attempts));
    }
    names
}

/// Returns which requests have a body that must be counted: one that says it is too large, or that does
/// not say how large it is, unless its method has none. All others need not be read first.
fn counted(most: u64) -> Rule {
    let above = GoPattern::number_above(most).to_string();
    let large = Rule::call("HeaderRegexp", &["Content-Length", &above]);
    let silent = Rule::call("HeaderRegexp", &["Content-Length", "^"]).not();
    let may = Rule::methods(&["GET", "HEAD", "OPTIONS"]).not();
    Rule::any([large, Rule::any([silent.and(&may)])])
}

/// Returns the rules that lead to sides of a split.
fn others(draft: &Draft<'_>, name: &str, action: &Action) -> Vec<(Rule, String)> {
    let Action::Split(split) = action else { return Vec::new() };
    let sides = split.sides.iter().enumerate();
    let rules = sides.flat_map(|(index, Side { name: _, weight: _, rules, upstream: _ })| {
        let service = draft.name(&service::side(name, index));
        rules.iter().map(move |rule| {
            let rule = match rule {
                SideRule::Header(wanted) => Rule::header(wanted),
                SideRule::Cookie(wanted) => Rule::cookie(wanted),
            };
            (rule, service.clone())
        })
    });
    rules.collect()
}

/// Returns the router that answers the probe, and the headers that it answers.
pub(super) fn probe(entry_point: &str, digest: &str) -> (Value, Value) {
    let router = json!({"entryPoints": [entry_point], "rule": "Path(\"/portway/digest\")",
        "priority": 10 * KIND, "service": NOBODY, "middlewares": ["portway-digest"]});
    let headers = json!({"headers": {"customResponseHeaders": {"X-Portway-Digest": digest}}});
    (router, headers)
}
