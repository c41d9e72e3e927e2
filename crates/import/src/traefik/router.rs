//! Routers: which requests go to which service, and the sites that they make.

use std::collections::BTreeMap;

use portway_model::{
    HostPattern, SiteSpec,
    site::spec::{HttpsSettingsSpec, HttpsSpec, RouteSpec},
};

use super::{
    Cx,
    middleware::Way,
    rule::{self, Atom},
    service,
    table::Table,
};
use crate::{
    ordered::{Case, Item, Paths, arrange},
    report::Id,
    sites::{Draft, nobody, unavailable},
};

/// A way in which a router's rule holds.
#[derive(Clone, Debug)]
struct Entry {
    id: Id,
    /// Nothing where it is for every host.
    host: Option<String>,
    item: Item,
    priority: i64,
    is_tls: bool,
    to_https: bool,
}

/// Returns the sites of all routers.
pub(super) fn drafts(cx: &mut Cx<'_>) -> Vec<Draft> {
    let mut entries = Vec::new();
    // Hosts of which not everything is known; with nothing in it, all.
    let mut closed: Vec<Option<String>> = Vec::new();
    for (_, table) in cx.routers.clone() {
        read(&table, &mut entries, &mut closed, cx);
    }
    // Of equal priority the earlier one; a sort that is stable keeps them so.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.priority));
    let mut hosts: Vec<String> = Vec::new();
    for host in entries.iter().filter_map(|entry| entry.host.clone()) {
        if !hosts.contains(&host) {
            hosts.push(host);
        }
    }
    if entries.iter().any(|entry| entry.host.is_none()) {
        hosts.push("*".to_owned());
    }
    let mut drafts: Vec<Draft> = Vec::new();
    for host in hosts {
        let is_closed =
            closed.iter().any(|other| other.as_ref().is_none_or(|other| *other == host));
        let mine: Vec<Entry> = entries
            .iter()
            .filter(|entry| entry.host.as_ref().is_none_or(|other| *other == host))
            .cloned()
            .collect();
        let draft = draft(host, mine, is_closed, cx);
        let is_alike = |other: &&mut Draft| {
            let hosts = other.spec.hosts.clone();
            SiteSpec { hosts, ..draft.spec.clone() } == other.spec
        };
        match drafts.iter_mut().find(is_alike) {
            Some(other) => other.spec.hosts.extend(draft.spec.hosts),
            None => drafts.push(draft),
        }
    }
    drafts
}

fn draft(host: String, entries: Vec<Entry>, is_closed: bool, cx: &mut Cx<'_>) -> Draft {
    let redirects = entries.iter().any(|entry| entry.to_https);
    let has_tls = entries.iter().any(|entry| entry.is_tls);
    let is_plain = entries.iter().any(|entry| !entry.is_tls && !entry.to_https);
    let https = match (has_tls || redirects, is_plain) {
        (false, _) => Some(HttpsSpec::Enabled(false)),
        (true, true) => {
            let redirect = Some(false);
            Some(HttpsSpec::Settings(HttpsSettingsSpec {
                redirect,
                ..HttpsSettingsSpec::default()
            }))
        }
        (true, false) => None,
    };
    let id = entries.first().map(|entry| entry.id);
    // What only leads to HTTPS is done by the site, where something else answers there.
    let answering: Vec<Entry> = if entries.iter().any(|entry| !entry.to_https) {
        entries.into_iter().filter(|entry| !entry.to_https).collect()
    } else {
        entries
    };
    let items: Vec<Item> = answering.into_iter().map(|entry| entry.item).collect();
    let mut draft = Draft::new(
        id.unwrap_or_else(|| cx.ledger.enter("", 0, &[])),
        SiteSpec { hosts: vec![host], https, ..SiteSpec::default() },
    );
    for (id, mut route) in arrange(items, Case::Exact, &mut cx.ledger) {
        if is_closed {
            route.access = Some(nobody());
        }
        draft.push(id, route);
    }
    draft
}

fn read(
    table: &Table,
    entries: &mut Vec<Entry>,
    closed: &mut Vec<Option<String>>,
    cx: &mut Cx<'_>,
) {
    let mut way = Way::default();
    let mut route = RouteSpec::default();
    let mut is_tls = false;
    cx.ledger.converted(table.id);
    let rule = table.get("rule").map_or("", Table::text).to_owned();
    let mut priority = i64::try_from(rule.len()).unwrap_or(i64::MAX);
    for (key, inner) in table.entries() {
        match key.to_ascii_lowercase().as_str() {
            "rule" | "rulesyntax" => inner.converted(&mut cx.ledger),
            "service" => {
                inner.converted(&mut cx.ledger);
                if let Err(why) = service::answer(inner.text(), &mut route, cx, 0) {
                    inner.lost(&format!("{why}; answered 503"), &mut cx.ledger);
                    route = RouteSpec {
                        respond: Some(unavailable("a service")),
                        ..RouteSpec::default()
                    };
                }
            }
            "middlewares" => {
                inner.converted(&mut cx.ledger);
                for item in inner.items() {
                    let was_closed = way.closed;
                    way.take(item.text(), cx, 0);
                    if way.closed && !was_closed {
                        item.closes(
                            "this middleware protects or changes what cannot be said",
                            &mut cx.ledger,
                        );
                    }
                }
            }
            "priority" => {
                priority = inner.text().parse().ok().filter(|own| *own != 0).unwrap_or(priority);
                inner.converted(&mut cx.ledger);
            }
            "entrypoints" => {
                inner.nearly(
                    "sites answer on the ports of their node, over HTTP and HTTPS as `https` says",
                    &mut cx.ledger,
                );
            }
            "tls" => {
                is_tls = true;
                inner.nearly("Portway issues and renews certificates itself", &mut cx.ledger);
                let options = inner.get("options").map_or("default", Table::text);
                let options = options.split('@').next().unwrap_or_default();
                if cx.asking.iter().any(|name| name == options) {
                    way.closed = true;
                    inner.closes("certificates of clients cannot be asked for yet", &mut cx.ledger);
                }
            }
            "observability" => inner.lost("logs and metrics are Portway's own", &mut cx.ledger),
            _ => {
                way.closed = true;
                inner.closes("it is not known here and may protect something", &mut cx.ledger);
            }
        }
    }
    if route == RouteSpec::default() {
        route.respond = Some(unavailable("a service"));
    }
    way.finish(&mut route);
    let found = Found { id: table.id, priority, is_tls, way: &way, route: &route };
    match rule::parse(&rule).and_then(|rule| rule.ways()) {
        Some(ways) => {
            for atoms in ways {
                found.add(&atoms, entries, closed, cx);
            }
        }
        None => {
            cx.ledger.closes(table.id, "its rule cannot be read; nobody is let in anywhere");
            closed.push(None);
        }
    }
}

/// A router without the requests that it is for.
struct Found<'a> {
    id: Id,
    priority: i64,
    is_tls: bool,
    way: &'a Way,
    route: &'a RouteSpec,
}

impl Found<'_> {
    fn add(
        &self,
        atoms: &[Atom],
        entries: &mut Vec<Entry>,
        closed: &mut Vec<Option<String>>,
        cx: &mut Cx<'_>,
    ) {
        let hosts: Vec<String> = atoms
            .iter()
            .filter(|(holds, name, _)| *holds && matches!(name.as_str(), "Host" | "HostHeader"))
            .flat_map(|(_, _, args)| args.iter().map(|host| host.to_ascii_lowercase()))
            .filter(|host| host.parse::<HostPattern>().is_ok())
            .collect();
        let mut paths = Paths::All;
        let mut route = self.route.clone();
        let is_known = atoms
            .iter()
            .all(|(holds, name, args)| *holds && take(name, args, &mut paths, &mut route));
        if !is_known {
            let why =
                "its rule says more than can be matched here; nobody is let in where it might hold";
            cx.ledger.closes(self.id, why);
            if hosts.is_empty() {
                closed.push(None);
            }
            // The host gets a site that says so.
            for host in hosts {
                closed.push(Some(host.clone()));
                entries.push(self.entry(Some(host), Paths::All, self.route.clone()));
            }
            return;
        }
        if hosts.is_empty() {
            entries.push(self.entry(None, paths, route));
            return;
        }
        for host in hosts {
            entries.push(self.entry(Some(host), paths.clone(), route.clone()));
        }
    }

    fn entry(&self, host: Option<String>, paths: Paths, route: RouteSpec) -> Entry {
        let item =
            Item { id: self.id, paths, route, strips: self.way.strips.clone(), is_filler: false };
        Entry {
            id: self.id,
            host,
            item,
            priority: self.priority,
            is_tls: self.is_tls,
            to_https: self.way.to_https,
        }
    }
}

/// Takes a matcher; tells whether it is known and goes with the others.
fn take(name: &str, args: &[String], paths: &mut Paths, route: &mut RouteSpec) -> bool {
    let pair = |list: &mut BTreeMap<String, String>| match args {
        [name, value] => list.insert(name.clone(), value.clone()).is_none(),
        _ => false,
    };
    let one_path = |paths: &mut Paths, make: fn(String) -> Paths| match (args, &paths) {
        ([text], Paths::All) if text.starts_with('/') && !text.contains('{') => {
            *paths = make(text.clone());
            true
        }
        _ => false,
    };
    match name {
        "Host" | "HostHeader" => true,
        "Path" => one_path(paths, Paths::Exact),
        "PathPrefix" => match args {
            [text] if text == "/" => true,
            _ => one_path(paths, Paths::Prefix),
        },
        "PathRegexp" => match (args, &paths) {
            ([text], Paths::All) => {
                *paths = Paths::Regex(text.clone());
                true
            }
            _ => false,
        },
        "Method" => {
            let is_first = route.methods.is_empty();
            route.methods.extend(args.iter().map(|method| method.to_ascii_uppercase()));
            is_first && !args.is_empty()
        }
        "Header" | "Headers" => pair(&mut route.match_headers),
        "Query" => pair(&mut route.match_query),
        _ => false,
    }
}
