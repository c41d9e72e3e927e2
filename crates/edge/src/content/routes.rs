//! Which route takes a request: an exact path before a regular expression, in file order, before
//! the longest prefix; among equal paths the one with more conditions, then file order.

use std::{collections::HashMap, sync::Arc};

use portway_model::{FieldPath, FindingCode, Findings, site::PathMatch};
use regex::Regex;

use super::site::{CompiledRoute, CompiledSite};
use crate::canonical;

/// The largest compiled expression, so that one site cannot take the memory of all.
const REGEX_SIZE_LIMIT: usize = 1 << 20;

/// The routes of one site, ordered as they are tried. Knows them by their place in the site.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    exact: HashMap<Box<str>, Vec<Entry>>,
    regexes: Vec<(Regex, Vec<Entry>)>,
    prefixes: HashMap<Box<str>, Vec<Entry>>,
}

/// A route among those with the same path, in the order in which they are tried.
#[derive(Clone, Copy, Debug)]
struct Entry {
    conditions: usize,
    route: usize,
}

/// The routes of all sites that share a host.
pub(crate) struct HostTable {
    /// The sites, the oldest first.
    pub(crate) sites: Box<[Arc<CompiledSite>]>,
}

/// A route that takes a request.
#[derive(Clone)]
pub(crate) struct Located {
    /// The site.
    pub(crate) site: Arc<CompiledSite>,
    /// The route's place in the site.
    route: usize,
}

impl RouteTable {
    /// Orders routes, given by their paths and how many conditions each has.
    pub(crate) fn build(findings: &mut Findings, routes: &[(PathMatch, usize)]) -> Self {
        let mut table = Self::default();
        for (route, (path, conditions)) in routes.iter().enumerate() {
            let entry = Entry { conditions: *conditions, route };
            match path {
                PathMatch::Exact(path) => {
                    if let Some(key) = key(findings, path, route) {
                        insert(table.exact.entry(key), entry);
                    }
                }
                PathMatch::Prefix(prefix) => {
                    if let Some(key) = key(findings, prefix.as_str(), route) {
                        insert(table.prefixes.entry(key), entry);
                    }
                }
                PathMatch::Regex(pattern) => table.insert_regex(findings, pattern, entry),
            }
        }
        table
    }

    fn insert_regex(&mut self, findings: &mut Findings, pattern: &str, entry: Entry) {
        if let Some((_, entries)) = self.regexes.iter_mut().find(|(r, _)| r.as_str() == pattern) {
            insert_ordered(entries, entry);
            return;
        }
        match regex::RegexBuilder::new(pattern).size_limit(REGEX_SIZE_LIMIT).build() {
            Ok(regex) => self.regexes.push((regex, vec![entry])),
            Err(error) => {
                let at = FieldPath::root().key("routes").index(entry.route).key("regex");
                let text = format!("`{pattern}` is not a regular expression: {error}");
                findings.error(FindingCode::InvalidPath, &at, text);
            }
        }
    }

    fn exact_entries(&self, path: &str) -> &[Entry] {
        self.exact.get(path).map_or(&[], Vec::as_slice)
    }

    fn prefix_entries(&self, prefix: &str) -> &[Entry] {
        self.prefixes.get(prefix).map_or(&[], Vec::as_slice)
    }
}

/// Returns a path as it is compared: canonical, with every escape decoded, as requests are.
fn key(findings: &mut Findings, path: &str, route: usize) -> Option<Box<str>> {
    let read = canonical::path(path)
        .and_then(|path| canonical::decode(&path).map(|path| Box::from(path.as_ref())));
    match read {
        Ok(key) => Some(key),
        Err(fault) => {
            let at = FieldPath::root().key("routes").index(route).key("path");
            findings.error(
                FindingCode::InvalidPath,
                &at,
                format!("`{path}` can never match: {fault}"),
            );
            None
        }
    }
}

fn insert(slot: std::collections::hash_map::Entry<'_, Box<str>, Vec<Entry>>, entry: Entry) {
    insert_ordered(slot.or_default(), entry);
}

/// Routes come in file order, so an equal number of conditions keeps it.
fn insert_ordered(entries: &mut Vec<Entry>, entry: Entry) {
    let at = entries.partition_point(|other| other.conditions >= entry.conditions);
    entries.insert(at, entry);
}

impl HostTable {
    /// Returns the route that takes a request with this decoded canonical path, among the sites that
    /// `serves` lets in.
    pub(crate) fn find(
        &self,
        path: &str,
        request: &http::request::Parts,
        serves: impl Fn(&CompiledSite) -> bool,
    ) -> Option<Located> {
        if let Some(located) =
            pick(&self.sites, &serves, request, |table| table.exact_entries(path))
        {
            return Some(located);
        }
        for site in self.sites.iter().filter(|site| serves(site)) {
            for (regex, entries) in &site.table.regexes {
                if !regex.is_match(path) {
                    continue;
                }
                if let Some(entry) = first_that_holds(site, entries, request) {
                    return Some(Located { site: Arc::clone(site), route: entry.route });
                }
            }
        }
        prefixes_of(path).find_map(|prefix| {
            pick(&self.sites, &serves, request, |table| table.prefix_entries(prefix))
        })
    }
}

/// Returns the first entry whose conditions hold: those with more conditions first, then by site,
/// then in file order.
fn pick(
    sites: &[Arc<CompiledSite>],
    serves: impl Fn(&CompiledSite) -> bool,
    request: &http::request::Parts,
    entries: impl Fn(&RouteTable) -> &[Entry],
) -> Option<Located> {
    let mut best: Option<(Entry, &Arc<CompiledSite>)> = None;
    for site in sites.iter().filter(|site| serves(site)) {
        let Some(entry) = first_that_holds(site, entries(&site.table), request) else { continue };
        if best.is_none_or(|(other, _)| entry.conditions > other.conditions) {
            best = Some((entry, site));
        }
    }
    best.map(|(entry, site)| Located { site: Arc::clone(site), route: entry.route })
}

fn first_that_holds(
    site: &CompiledSite,
    entries: &[Entry],
    request: &http::request::Parts,
) -> Option<Entry> {
    let holds = |entry: &&Entry| {
        site.routes.get(entry.route).is_some_and(|route| route.conditions.hold(request))
    };
    entries.iter().find(holds).copied()
}

/// Returns the routes of a site that take a decoded canonical path, but not the request, and would
/// have come before the one that takes it; with what does not hold.
pub(crate) fn passed_over(
    site: &CompiledSite,
    path: &str,
    request: &http::request::Parts,
) -> Vec<(String, String)> {
    let table = &site.table;
    let regexes = table.regexes.iter().filter(|(regex, _)| regex.is_match(path));
    let exact = std::iter::once(table.exact_entries(path));
    let entries = exact
        .chain(regexes.map(|(_, entries)| entries.as_slice()))
        .chain(prefixes_of(path).map(|prefix| table.prefix_entries(prefix)))
        .flatten();
    let mut passed = Vec::new();
    for route in entries.filter_map(|entry| site.routes.get(entry.route)) {
        let Some(why) = route.conditions.why_not(request) else { break };
        passed.push((route.label.to_string(), why));
    }
    passed
}

/// Returns the prefixes of whole segments of a path, the longest first: of `/a/b` these are `/a/b`,
/// `/a` and `/`.
fn prefixes_of(path: &str) -> impl Iterator<Item = &str> {
    let whole = path.strip_suffix('/').unwrap_or(path);
    let first = if whole.is_empty() { "/" } else { whole };
    std::iter::successors(Some(first), |prefix| {
        let (parent, _) = prefix.rsplit_once('/')?;
        match parent {
            "" if *prefix == "/" => None,
            "" => Some("/"),
            parent => Some(parent),
        }
    })
}

impl Located {
    /// Returns the route, which a compiled site has at the place where its table says.
    pub(crate) fn route(&self) -> Option<&CompiledRoute> {
        self.site.routes.get(self.route)
    }

    /// Tells whether two look-ups found the same route, or neither any.
    pub(crate) fn are_same(one: Option<&Self>, other: Option<&Self>) -> bool {
        match (one, other) {
            (Some(one), Some(other)) => {
                one.route == other.route && Arc::ptr_eq(&one.site, &other.site)
            }
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use portway_model::{ResourceKind, site::Match};

    use super::*;
    use crate::content::made::compiled;

    #[test]
    fn prefixes_are_whole_segments_and_the_longest_comes_first() {
        assert_eq!(prefixes_of("/a/b").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(prefixes_of("/a/b/").collect::<Vec<_>>(), ["/a/b", "/a", "/"]);
        assert_eq!(prefixes_of("/").collect::<Vec<_>>(), ["/"]);
    }

    #[test]
    fn an_exact_path_wins_over_a_regex_and_a_regex_over_a_prefix() {
        let table = table(&[&[("p:/a", &[]), ("r:^/a", &[]), ("e:/a", &[])]]);
        assert_eq!(found(&table, "GET", "/a"), Some((0, 2)));
        assert_eq!(found(&table, "GET", "/a/x"), Some((0, 1)));
    }

    #[test]
    fn regexes_are_tried_in_file_order_and_prefixes_by_length() {
        let table = table(&[&[("p:/", &[]), ("p:/a/b", &[]), ("r:x", &[]), ("r:xy", &[])]]);
        assert_eq!(found(&table, "GET", "/a/xy"), Some((0, 2)));
        assert_eq!(found(&table, "GET", "/a/b/c"), Some((0, 1)));
        assert_eq!(found(&table, "GET", "/a/bc"), Some((0, 0)));
    }

    #[test]
    fn more_conditions_win_and_one_that_fails_leaves_the_next() {
        let table = table(&[&[("p:/a", &[]), ("p:/a", &["POST"]), ("p:/", &[])]]);
        assert_eq!(found(&table, "POST", "/a"), Some((0, 1)));
        assert_eq!(found(&table, "GET", "/a"), Some((0, 0)));
        let table = table_of_one_method();
        assert_eq!(found(&table, "GET", "/a"), None);
    }

    #[test]
    fn sites_that_share_a_host_are_tried_in_one_table() {
        let table = table(&[&[("p:/", &[])], &[("p:/api", &[])]]);
        assert_eq!(found(&table, "GET", "/api/x"), Some((1, 0)));
        assert_eq!(found(&table, "GET", "/x"), Some((0, 0)));
    }

    #[test]
    fn a_regex_that_is_none_is_a_finding_at_its_route() {
        let mut findings = Findings::about(ResourceKind::Site, "a");
        RouteTable::build(&mut findings, &[(PathMatch::Regex("(".into()), 0)]);
        let findings = findings.into_vec();
        assert_eq!(findings.len(), 1);
        assert_eq!(findings[0].code, FindingCode::InvalidPath);
    }

    fn table_of_one_method() -> HostTable {
        table(&[&[("p:/a", &["POST"])]])
    }

    fn found(table: &HostTable, method: &str, path: &str) -> Option<(usize, usize)> {
        let request = http::Request::builder().method(method).uri(path).body(()).unwrap();
        let located = table.find(path, &request.into_parts().0, |_| true)?;
        let site = table.sites.iter().position(|site| Arc::ptr_eq(site, &located.site))?;
        Some((site, located.route))
    }

    fn table(sites: &[&[(&str, &[&str])]]) -> HostTable {
        let matches = |routes: &&[(&str, &[&str])]| -> Vec<Match> {
            routes.iter().map(|(path, methods)| written(path, methods)).collect()
        };
        let sites: Vec<_> = sites.iter().map(matches).collect();
        HostTable { sites: sites.iter().enumerate().map(compiled).collect() }
    }

    fn written(path: &str, methods: &[&str]) -> Match {
        let path = match path.split_once(':').unwrap() {
            ("e", path) => PathMatch::Exact(path.into()),
            ("r", path) => PathMatch::Regex(path.into()),
            (_, path) => PathMatch::Prefix(path.parse().unwrap()),
        };
        let methods = methods.iter().map(ToString::to_string).collect();
        Match { path, methods, headers: [].into(), query: [].into() }
    }
}
