//! Which route takes a request. Locations stand for paths and only choose; the order is that of the
//! edge: an exact path before an expression, in file order, before the longest prefix; of equal paths
//! the one with more conditions.
//!
//! nginx itself prefers an exact location to an expression, and a prefix of whole segments needs an
//! exact location. So expressions are no locations but conditions of every location.

use std::collections::BTreeMap;

use portway_model::{
    FieldPath,
    site::{Action, PathMatch, Route},
};

use super::{
    conditions::{self, holds},
    expression,
    names::Draft,
    path, split,
    syntax::{Directive, line},
};

/// The named location of requests that no route takes.
pub(super) const NONE: &str = "@portway_none";

/// The status that leads from a choosing location to the named one; nothing answers it.
const CHOSEN: &str = "418";

/// A route with what must hold.
#[derive(Clone)]
struct Entry {
    route: usize,
    conditions: Vec<String>,
    goal: String,
}

/// The routes of a site by their paths, each list in the order in which it is tried.
#[derive(Default)]
struct Table {
    exact: BTreeMap<String, Vec<Entry>>,
    expressions: Vec<(String, Vec<Entry>)>,
    prefixes: BTreeMap<String, Vec<Entry>>,
}

/// Returns the name of the location that carries a route out.
pub(super) fn named(index: usize) -> String {
    format!("@route_{index}")
}

/// Adds the locations that choose.
pub(super) fn choose(draft: &mut Draft<'_>) {
    let table = table(draft);
    let paths: Vec<String> = table.exact.keys().cloned().collect();
    for (place, path) in paths.iter().enumerate() {
        let candidates = table.candidates(path, true);
        let location = location(draft, &format!("e{place}"), &candidates, path);
        draft.locations.extend(location.into_iter().map(|block| at("=", path, block)));
    }
    let mut prefixes: Vec<String> = table.prefixes.keys().cloned().collect();
    if !prefixes.iter().any(|prefix| prefix == "/") {
        prefixes.push("/".to_owned());
    }
    for (place, prefix) in prefixes.iter().enumerate() {
        let candidates = table.candidates(prefix, false);
        let Some(block) = location(draft, &format!("p{place}"), &candidates, prefix) else {
            continue;
        };
        if prefix == "/" {
            draft.locations.push(at("^~", "/", block));
            continue;
        }
        if !table.exact.contains_key(prefix) {
            draft.locations.push(at("=", prefix, block.clone()));
        }
        draft.locations.push(at("^~", &format!("{prefix}/"), block));
    }
    let none = vec![line!("return", "404")];
    draft.locations.push(line!("location", NONE).with(none));
}

fn at(modifier: &str, path: &str, block: Vec<Directive>) -> Directive {
    line!("location", modifier, path).with(block)
}

fn table(draft: &mut Draft<'_>) -> Table {
    let mut table = Table::default();
    let routes: &[Route] = &draft.site.routes;
    for (index, route) in routes.iter().enumerate() {
        let entry = Entry {
            route: index,
            conditions: conditions::of(draft, index, &route.matches),
            goal: match &route.action {
                Action::Split(sides) => split::goal(draft, index, sides),
                Action::Proxy(_) | Action::Files(_) | Action::Redirect(_) | Action::Respond(_) => {
                    named(index)
                }
            },
        };
        // What has no such form is refused before.
        match &route.matches.path {
            PathMatch::Exact(text) => {
                if let Some(path) = path::decoded(text) {
                    table.exact.entry(path).or_default().push(entry);
                }
            }
            PathMatch::Prefix(prefix) => {
                if let Some(path) = path::decoded(prefix.as_str()) {
                    table.prefixes.entry(path).or_default().push(entry);
                }
            }
            PathMatch::Regex(text) => table.push_expression(text, entry),
        }
    }
    let by_conditions = |entries: &mut Vec<Entry>| {
        let count = |entry: &Entry| {
            routes.get(entry.route).map_or(0, |route| conditions::count(&route.matches))
        };
        entries.sort_by_key(|entry| std::cmp::Reverse(count(entry)));
    };
    table.exact.values_mut().for_each(by_conditions);
    table.prefixes.values_mut().for_each(by_conditions);
    for (text, entries) in &mut table.expressions {
        by_conditions(entries);
        let Some(first) = entries.first().map(|entry| entry.route) else { continue };
        let Ok(pattern) = expression::translate(text) else { continue };
        let at = FieldPath::root().key("routes").index(first).key("regex");
        let variable = holds(draft, &format!("r{first}_x"), "$uri", pattern, &at);
        for entry in entries.iter_mut() {
            entry.conditions.push(variable.clone());
        }
    }
    table
}

impl Table {
    fn push_expression(&mut self, text: &str, entry: Entry) {
        match self.expressions.iter_mut().find(|(other, _)| other == text) {
            Some((_, entries)) => entries.push(entry),
            None => self.expressions.push((text.to_owned(), vec![entry])),
        }
    }

    /// Returns the routes that may take a request for a path, in the order in which they are tried, up to
    /// the first that takes whatever comes.
    fn candidates(&self, path: &str, is_exact: bool) -> Vec<Entry> {
        let exact = if is_exact { self.exact.get(path) } else { None };
        let expressions = self.expressions.iter().flat_map(|(_, entries)| entries);
        let prefixes = prefixes_of(path).filter_map(|prefix| self.prefixes.get(prefix)).flatten();
        let mut candidates = Vec::new();
        for entry in exact.into_iter().flatten().chain(expressions).chain(prefixes) {
            candidates.push(entry.clone());
            if entry.conditions.is_empty() {
                break;
            }
        }
        candidates
    }
}

/// Returns the prefixes of whole segments of a path, the longest first.
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

/// Returns what stands in a location that chooses among candidates.
fn location(
    draft: &mut Draft<'_>,
    suffix: &str,
    candidates: &[Entry],
    path: &str,
) -> Option<Vec<Directive>> {
    let goal = match candidates {
        [] if path == "/" => NONE.to_owned(),
        [] => return None,
        [first, ..] if first.conditions.is_empty() => first.goal.clone(),
        several => chooser(draft, suffix, several),
    };
    Some(vec![
        // Judged by the route: here it is not known yet.
        line!("client_max_body_size", "0"),
        line!("error_page", CHOSEN, "=", goal),
        line!("return", CHOSEN),
    ])
}

/// Makes the variable that names the location of the first candidate whose conditions hold.
fn chooser(draft: &mut Draft<'_>, suffix: &str, candidates: &[Entry]) -> String {
    let mut conditions: Vec<&String> = Vec::new();
    for condition in candidates.iter().flat_map(|entry| &entry.conditions) {
        if !conditions.contains(&condition) {
            conditions.push(condition);
        }
    }
    let needs = |entry: &Entry| {
        let digit = |condition| if entry.conditions.contains(condition) { '1' } else { '.' };
        format!("\\A{}", conditions.iter().map(|condition| digit(condition)).collect::<String>())
    };
    let is_open = candidates.last().filter(|last| last.conditions.is_empty());
    let default = is_open.map_or(NONE, |last| last.goal.as_str());
    let conditional = candidates.iter().filter(|entry| !entry.conditions.is_empty());
    let entries: Vec<_> = conditional.map(|entry| (needs(entry), entry.goal.clone())).collect();
    let source: String = conditions.iter().map(|condition| braced(condition)).collect();
    let first = candidates.first().map_or(0, |entry| entry.route);
    let field = FieldPath::root().key("routes").index(first);
    draft.map(&format!("{suffix}_goal"), &source, entries, default, &field)
}

/// Returns a variable so that what follows is not read as part of its name.
pub(super) fn braced(variable: &str) -> String {
    match variable.strip_prefix('$') {
        Some(name) if !name.starts_with('{') => format!("${{{name}}}"),
        Some(_) | None => variable.to_owned(),
    }
}
