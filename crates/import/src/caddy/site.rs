//! Sites of a Caddyfile: their addresses and what happens to requests there.

use portway_model::{
    HostPattern, SiteSpec,
    site::spec::{AccessRulesSpec, AccessSpec, HttpsSettingsSpec, HttpsSpec, RouteSpec, SizeSpec},
};

use super::{
    Cx, answers,
    matcher::{Clients, Matcher},
    proxy,
    scope::Scope,
};
use crate::{
    node::Node,
    ordered::{Case, Item, Paths, arrange},
    report::Id,
    sites::{Draft, nobody, status, unavailable},
};

/// Directives that answer, in the order in which Caddy tries them.
const ORDER: [&str; 13] = [
    "redir",
    "rewrite",
    "uri",
    "try_files",
    "handle",
    "handle_path",
    "route",
    "abort",
    "error",
    "respond",
    "reverse_proxy",
    "php_fastcgi",
    "file_server",
];

/// An answer with the requests that it is for.
#[derive(Clone, Debug)]
struct Answer {
    id: Id,
    matcher: Matcher,
    route: RouteSpec,
    strips: Option<String>,
    is_filler: bool,
}

/// Returns the sites of a block.
pub(super) fn drafts(node: &Node, global: &Scope, cx: &mut Cx<'_>) -> Vec<Draft> {
    let addresses = addresses(node, cx);
    let mut scope = global.clone();
    let mut answers = Vec::new();
    read(node, &Matcher::all(), None, &mut scope, &mut answers, cx);
    let mut drafts = Vec::new();
    for (hosts, https) in addresses {
        let mut apart: Vec<String> = Vec::new();
        for host in answers.iter().flat_map(|answer| &answer.matcher.hosts) {
            if !apart.contains(host) {
                apart.push(host.clone());
            }
        }
        for host in apart.iter().filter(|host| !hosts.contains(host)) {
            let of_host = |answer: &&Answer| {
                answer.matcher.hosts.is_empty() || answer.matcher.hosts.contains(host)
            };
            let answers = answers.iter().filter(of_host).cloned().collect();
            drafts.push(draft(node.id, vec![host.clone()], https.clone(), answers, &scope, cx));
        }
        for host in hosts {
            let of_host = |answer: &&Answer| {
                answer.matcher.hosts.is_empty() || answer.matcher.hosts.contains(&host)
            };
            let answers: Vec<Answer> = answers.iter().filter(of_host).cloned().collect();
            drafts.push(draft(node.id, vec![host.clone()], https.clone(), answers, &scope, cx));
        }
    }
    merged(drafts)
}

/// Puts drafts that differ only in their host into one.
fn merged(drafts: Vec<Draft>) -> Vec<Draft> {
    let mut kept: Vec<Draft> = Vec::new();
    for draft in drafts {
        let is_alike = |other: &&mut Draft| {
            let mut spec = draft.spec.clone();
            spec.hosts.clone_from(&other.spec.hosts);
            spec == other.spec
        };
        match kept.iter_mut().find(is_alike) {
            Some(other) => other.spec.hosts.extend(draft.spec.hosts),
            None => kept.push(draft),
        }
    }
    kept
}

fn draft(
    id: Id,
    hosts: Vec<String>,
    https: Option<HttpsSpec>,
    answers: Vec<Answer>,
    scope: &Scope,
    cx: &mut Cx<'_>,
) -> Draft {
    let mut draft = Draft::new(id, SiteSpec { hosts, https, ..SiteSpec::default() });
    let mut items = Vec::new();
    for answer in answers {
        for paths in &answer.matcher.paths {
            let mut route = answer.route.clone();
            route.methods.clone_from(&answer.matcher.methods);
            route.match_headers.clone_from(&answer.matcher.headers);
            route.match_query.clone_from(&answer.matcher.query);
            items.push(Item {
                id: answer.id,
                paths: paths.clone(),
                route,
                strips: answer.strips.clone(),
                is_filler: answer.is_filler,
            });
        }
    }
    if items.is_empty() {
        items.push(Item {
            id,
            paths: Paths::All,
            route: RouteSpec { respond: Some(status(404)), ..RouteSpec::default() },
            strips: None,
            is_filler: true,
        });
    }
    for (id, mut route) in arrange(items, Case::Any, &mut cx.ledger) {
        if scope.closed {
            route.access = Some(nobody());
        }
        draft.push(id, route);
    }
    draft
}

/// Returns the hosts of a site, by how they are reached.
fn addresses(node: &Node, cx: &mut Cx<'_>) -> Vec<(Vec<String>, Option<HttpsSpec>)> {
    let (mut plain, mut secure): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
    let mut notes = Vec::new();
    for word in &node.words {
        for address in word.split(',').map(str::trim).filter(|address| !address.is_empty()) {
            let (scheme, rest) = address.split_once("://").unwrap_or(("", address));
            let rest = rest.split('/').next().unwrap_or(rest);
            if rest.contains('{') {
                notes.push(format!("`{address}` has a placeholder"));
                continue;
            }
            let (host, port) = match rest.rsplit_once(':') {
                Some((host, port)) if port.parse::<u16>().is_ok() => (host, port),
                Some(_) | None => (rest, ""),
            };
            let host = if host.is_empty() { "*" } else { host };
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let Ok(pattern) = host.parse::<HostPattern>() else {
                notes.push(format!("`{address}` has no host that a site can have"));
                continue;
            };
            if !matches!(port, "" | "80" | "443") {
                notes.push(format!("sites answer on the ports of their node, not on {port}"));
            }
            let is_plain = scheme == "http"
                || port == "80"
                || (scheme.is_empty() && host == "*" && port != "443");
            let list = if is_plain || cx.no_https { &mut plain } else { &mut secure };
            let host = pattern.to_string();
            if !list.contains(&host) {
                list.push(host);
            }
        }
    }
    if notes.is_empty() {
        cx.ledger.converted(node.id);
    } else {
        cx.ledger.approximated(node.id, notes.join("; "));
    }
    let both: Vec<String> = secure.iter().filter(|host| plain.contains(host)).cloned().collect();
    plain.retain(|host| !both.contains(host));
    secure.retain(|host| !both.contains(host));
    let serve_both = HttpsSettingsSpec { redirect: Some(false), ..HttpsSettingsSpec::default() };
    let groups = [
        (secure, cx.no_redirect.then(|| HttpsSpec::Settings(serve_both.clone()))),
        (both, Some(HttpsSpec::Settings(serve_both))),
        (plain, Some(HttpsSpec::Enabled(false))),
    ];
    groups.into_iter().filter(|(hosts, _)| !hosts.is_empty()).collect()
}

/// Reads the directives of a block: first what changes requests and answers, then what answers, in the
/// order of Caddy.
fn read(
    block: &Node,
    outer: &Matcher,
    strips: Option<&str>,
    scope: &mut Scope,
    answers: &mut Vec<Answer>,
    cx: &mut Cx<'_>,
) {
    let nodes = block.inner();
    scope.define(nodes, cx);
    let mut strips = strips.map(str::to_owned);
    let mut answering: Vec<&Node> = Vec::new();
    let mut refusals: Vec<&Node> = Vec::new();
    for node in nodes {
        if node.name().starts_with('@') {
            continue;
        }
        if ORDER.contains(&node.name()) {
            answering.push(node);
        } else {
            scope.take(node, cx);
        }
    }
    // What refuses addresses holds for all that follows it.
    answering.retain(|node| {
        let is_refusal = refuses_clients(node, scope, cx);
        if is_refusal {
            refusals.push(node);
        }
        !is_refusal
    });
    let place = |node: &&Node| ORDER.iter().position(|name| *name == node.name());
    // In a `route` the order is the written one.
    let is_sorted = block.name() != "route";
    answering.sort_by_key(|node| {
        if !is_sorted {
            return (None, std::cmp::Reverse(0));
        }
        let length = scope.peek(node).map_or(0, |matcher| longest(&matcher));
        // `handle` and its kin are one kind.
        let kind = place(node).map(|at| if (4..=6).contains(&at) { 4 } else { at });
        (kind, std::cmp::Reverse(length))
    });
    for node in answering {
        if node.name() == "uri" && node.arg(0) == "strip_prefix" && strips.is_none() {
            strips = Some(node.arg(1).to_owned());
            cx.ledger.converted(node.id);
            continue;
        }
        answer(node, outer, strips.as_deref(), scope, answers, cx);
    }
}

/// Returns how specific a matcher is, as Caddy sorts directives of one name.
fn longest(matcher: &Matcher) -> usize {
    let length = |paths: &Paths| match paths {
        Paths::All => 0,
        Paths::Exact(text) => text.len() * 2 + 1,
        Paths::Prefix(text) | Paths::Regex(text) => text.len() * 2,
    };
    let own = matcher.paths.iter().map(length).max().unwrap_or(0);
    own.max(usize::from(!matcher.is_all()))
}

/// Takes `respond @outside 403`, where `@outside` is about addresses alone.
fn refuses_clients(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) -> bool {
    let is_refusal = match node.name() {
        "abort" => true,
        "error" | "respond" => node
            .args()
            .iter()
            .any(|arg| arg.parse::<u16>().is_ok_and(|status| (400..500).contains(&status))),
        _ => false,
    };
    let Some(matcher) = scope.peek(node).filter(|_| is_refusal) else { return false };
    let only_clients = Matcher { clients: None, ..matcher.clone() }.is_all();
    let Some(Clients { is_negated, nets }) = matcher.clients.filter(|_| only_clients) else {
        return false;
    };
    if scope.is_behind_proxy {
        scope.close(node.id, "the address is told by a proxy before Caddy", cx);
    } else if is_negated {
        if scope.allow.is_some() {
            scope.close(node.id, "a second list of addresses cannot be said", cx);
        } else {
            scope.allow = Some(nets);
            cx.ledger.converted(node.id);
        }
    } else {
        scope.deny.extend(nets);
        cx.ledger.converted(node.id);
    }
    true
}

fn answer(
    node: &Node,
    outer: &Matcher,
    strips: Option<&str>,
    scope: &mut Scope,
    answers: &mut Vec<Answer>,
    cx: &mut Cx<'_>,
) {
    let (matcher, args) = match scope.matcher(node) {
        Some((own, args)) => match joined(outer, &own, strips) {
            Some(matcher) => (matcher, args),
            None => return lose(node, scope, cx),
        },
        None => return lose(node, scope, cx),
    };
    if matcher.clients.is_some() {
        return lose(node, scope, cx);
    }
    if matcher.paths.is_empty() {
        node.each(&mut |node| cx.ledger.not_converted(node.id, "nothing matches it here"));
        return;
    }
    match node.name() {
        "handle" | "route" => {
            cx.ledger.converted(node.id);
            block(node, &matcher, strips, scope, answers, cx);
        }
        "handle_path" => {
            let prefix = match matcher.paths.as_slice() {
                [Paths::Prefix(text) | Paths::Exact(text)] => text.clone(),
                _ => return lose(node, scope, cx),
            };
            cx.ledger.converted(node.id);
            block(node, &matcher, Some(&prefix), scope, answers, cx);
        }
        "rewrite" | "uri" => {
            node.each(&mut |node| cx.ledger.not_converted(node.id, "paths are not rewritten"));
            scope.close(node.id, "what the new path leads to is not known", cx);
        }
        "try_files" => scope.tries(node, &args, cx),
        "php_fastcgi" => {
            node.each(&mut |node| {
                cx.ledger
                    .not_converted(node.id, "only HTTP is spoken with applications; answered 503");
            });
            let paths = vec![Paths::Regex("(?i)\\.php(?:$|/)".to_owned())];
            let matcher = Matcher { paths, ..Matcher::all() };
            let respond = Some(unavailable("an application that is not spoken to in HTTP"));
            let route = RouteSpec { respond, ..RouteSpec::default() };
            answers.push(Answer { id: node.id, matcher, route, strips: None, is_filler: false });
        }
        name => {
            let route = match name {
                "reverse_proxy" => proxy::route(node, &args, scope, cx),
                "file_server" => Some(answers::files(node, &args, scope, cx)),
                "redir" => answers::redirect(node, &args, cx),
                _ => answers::respond(node, &args, cx),
            };
            let mut route = route.unwrap_or_else(|| RouteSpec {
                respond: Some(unavailable("an answer")),
                ..RouteSpec::default()
            });
            finish(&mut route, scope);
            guarded(node.id, &matcher, route, strips, scope, answers);
        }
    }
}

/// Adds what the block says of all its answers.
fn finish(route: &mut RouteSpec, scope: &Scope) {
    route.headers = scope.headers(route.to.is_some());
    if route.compress.is_none()
        && !scope.compresses
        && (route.to.is_some() || route.files.is_some())
    {
        route.compress = Some(false);
    }
    if let (Some(bytes), true) = (scope.max_body, route.to.is_some()) {
        route.max_body = Some(SizeSpec::Bytes(bytes));
    }
    route.access = scope.access();
}

/// Adds an answer; where a part of its paths asks for a password, that part first.
fn guarded(
    id: Id,
    matcher: &Matcher,
    route: RouteSpec,
    strips: Option<&str>,
    scope: &mut Scope,
    answers: &mut Vec<Answer>,
) {
    let strips = strips.map(str::to_owned);
    for guard in scope.guards.clone() {
        match matcher.and(&guard.matcher) {
            Some(part) if part.paths.is_empty() => {}
            Some(part) => {
                let mut route = route.clone();
                route.access = Some(match (scope.access(), scope.closed) {
                    (_, true) => nobody(),
                    (Some(AccessSpec::Rules(rules)), _) => AccessSpec::Rules(AccessRulesSpec {
                        basic: Some(guard.basic.clone()),
                        ..rules
                    }),
                    _ => AccessSpec::Rules(AccessRulesSpec {
                        basic: Some(guard.basic.clone()),
                        ..AccessRulesSpec::default()
                    }),
                });
                answers.push(Answer {
                    id,
                    matcher: part,
                    route,
                    strips: strips.clone(),
                    is_filler: false,
                });
            }
            None => scope.closed = true,
        }
    }
    answers.push(Answer { id, matcher: matcher.clone(), route, strips, is_filler: false });
}

fn block(
    node: &Node,
    matcher: &Matcher,
    strips: Option<&str>,
    scope: &mut Scope,
    answers: &mut Vec<Answer>,
    cx: &mut Cx<'_>,
) {
    let mut inner = scope.clone();
    read(node, matcher, strips, &mut inner, answers, cx);
    // What nothing in it answers is answered by nothing behind it.
    let mut route = RouteSpec { respond: Some(status(404)), ..RouteSpec::default() };
    if inner.closed {
        route.access = Some(nobody());
        let clones = answers.iter_mut().filter(|answer| node_holds(node, answer.id));
        for answer in clones {
            answer.route.access = Some(nobody());
        }
    }
    if node.name() != "route" {
        answers.push(Answer {
            id: node.id,
            matcher: matcher.clone(),
            route,
            strips: None,
            is_filler: true,
        });
    } else if inner.closed {
        scope.closed = true;
    }
}

fn node_holds(node: &Node, id: Id) -> bool {
    let mut found = false;
    node.each(&mut |inner| found |= inner.id == id);
    found
}

/// Returns what an outer and an inner matcher both match; the inner one is asked behind the prefix that
/// was taken away.
fn joined(outer: &Matcher, own: &Matcher, strips: Option<&str>) -> Option<Matcher> {
    let Some(prefix) = strips.map(|prefix| prefix.trim_end_matches('/')) else {
        return outer.and(own);
    };
    let mut moved = own.clone();
    for paths in &mut moved.paths {
        match paths {
            Paths::All => {}
            Paths::Exact(text) | Paths::Prefix(text) => *text = format!("{prefix}{text}"),
            Paths::Regex(_) => return None,
        }
    }
    outer.and(&moved)
}

/// Nothing can be said of whom it keeps away or lets in, so nobody is let in.
fn lose(node: &Node, scope: &mut Scope, cx: &mut Cx<'_>) {
    node.each(&mut |node| {
        cx.ledger.not_converted(node.id, "it belongs to what cannot be matched here");
    });
    scope.close(node.id, "which requests it is about cannot be said", cx);
}
