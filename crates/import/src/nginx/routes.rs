//! The routes of a server, in an order in which the edge chooses as nginx would: whole paths, then
//! expressions in their order, then the longest prefix. nginx's prefixes are texts and not parts of
//! paths, and some of them come before expressions; where that decides who is let in, an expression
//! says the same.

use portway_model::site::spec::{RedirectSettingsSpec, RedirectSpec, RouteSpec};

use super::{
    Cx,
    location::{Action, Location, Matcher},
    making::{Making, lets_in_alike, works_by_pattern},
    pattern::{self, Inside},
};
use crate::{
    paths::{encode, escape},
    sites::{Draft, nobody, unavailable},
};

/// Adds the routes of a server. `fallback` is the server itself: what no location matches.
pub(super) fn add(draft: &mut Draft, locations: &[Location], fallback: &Location, cx: &mut Cx<'_>) {
    let named: Vec<&Location> =
        locations.iter().filter(|location| matches!(location.matcher, Matcher::Named(_))).collect();
    let making = Making { named, fallback };
    let mut levels = Level::default();
    levels.read(locations, &[], &[], false, cx);
    let has_root = levels.prefixes.iter().any(|prefix| prefix.text == "/");
    for location in &levels.exact {
        if let Matcher::Exact(text) = &location.matcher {
            making.push(draft, location, |route| route.exact = Some(encode(text)), cx);
        }
    }
    levels.rules(&making, draft, cx);
    levels.prefixes(&making, draft, cx);
    if !has_root {
        making.push(draft, fallback, |route| route.path = Some("/".to_owned()), cx);
    }
}

/// A location that a prefix matches.
struct Prefixed<'l> {
    text: &'l str,
    location: &'l Location,
    /// No expression of the server is tried there.
    is_quiet: bool,
    /// The prefixes that it is nested in.
    outer: Vec<&'l str>,
}

/// The locations of a server by what they match, nested ones among them.
#[derive(Default)]
struct Level<'l> {
    exact: Vec<&'l Location>,
    /// Expressions of the server itself.
    regexes: Vec<(&'l str, &'l Location)>,
    /// Expressions that count only within a prefix.
    nested: Vec<(&'l str, &'l str, &'l Location)>,
    prefixes: Vec<Prefixed<'l>>,
}

impl<'l> Level<'l> {
    /// Reads the locations of a level and all that they nest. What begins with one of `rivals` is
    /// never reached: nginx goes into the longer prefix beside those that it is nested in.
    fn read(
        &mut self,
        all: &'l [Location],
        outer: &[&'l str],
        rivals: &[&'l str],
        is_quiet: bool,
        cx: &mut Cx<'_>,
    ) {
        let is_reached = |location: &&Location| match &location.matcher {
            Matcher::Exact(text) | Matcher::Prefix { text, .. } => {
                !rivals.iter().any(|rival| text.starts_with(rival))
            }
            Matcher::Regex(_) | Matcher::Named(_) => true,
        };
        let (locations, lost): (Vec<&Location>, Vec<&Location>) = all.iter().partition(is_reached);
        for location in lost {
            location.lose(
                "nginx never comes to it: a longer prefix beside those around it is taken",
                cx,
            );
        }
        let texts: Vec<&str> = locations.iter().filter_map(|location| location.prefix()).collect();
        for location in &locations {
            let Some(text) = location.prefix() else { continue };
            let chain: Vec<&str> = outer.iter().copied().chain([text]).collect();
            let beside =
                texts.iter().filter(|other| other.len() > text.len() && other.starts_with(text));
            let rivals: Vec<&str> = rivals.iter().chain(beside).copied().collect();
            // What the outermost prefix says of expressions holds for all that it nests.
            let ends = matches!(location.matcher, Matcher::Prefix { ends: true, .. });
            let is_quiet = if outer.is_empty() { ends } else { is_quiet };
            self.read(&location.inner, &chain, &rivals, is_quiet, cx);
            // The same prefix within it takes all of its paths.
            if location.inner.iter().any(|inner| inner.prefix() == Some(text)) {
                continue;
            }
            let outer = outer.to_vec();
            self.prefixes.push(Prefixed { text, location, is_quiet, outer });
        }
        for location in locations {
            match (&location.matcher, outer.last()) {
                (Matcher::Exact(_), _) => self.exact.push(location),
                (Matcher::Regex(pattern), None) => self.regexes.push((pattern, location)),
                (Matcher::Regex(pattern), Some(prefix)) => {
                    self.nested.push((prefix, pattern, location));
                }
                (Matcher::Prefix { .. } | Matcher::Named(_), _) => {}
            }
        }
    }

    /// Adds what is matched by expressions: first what prefixes say within themselves, the longest
    /// first, then the expressions of the server.
    fn rules(&self, making: &Making<'_>, draft: &mut Draft, cx: &mut Cx<'_>) {
        let mut sorted: Vec<&Prefixed<'l>> = self.prefixes.iter().collect();
        sorted.sort_by_key(|prefix| std::cmp::Reverse(prefix.text.len()));
        for prefix in &sorted {
            for (within, pattern, location) in &self.nested {
                if *within == prefix.text {
                    match pattern::inside(pattern, &encode(within)) {
                        Inside::Pattern(pattern) => {
                            making.push_pattern(draft, location, &pattern, cx);
                        }
                        Inside::Never => {}
                        Inside::Unknown => {
                            let note = "which of the paths in its prefix it matches cannot be said; they are closed";
                            cx.ledger.closes(location.id, note);
                            draft.push(location.id, closed(format!("^{}", escape(within))));
                        }
                    }
                }
            }
            if self.comes_early(prefix) {
                self.early(prefix, making, draft, cx);
            }
        }
        for (pattern, location) in &self.regexes {
            making.push_pattern(draft, location, pattern, cx);
        }
        self.longer_names(&sorted, making, draft, cx);
    }

    /// Tells whether expressions that stand before all prefixes would take what belongs to this one.
    fn comes_early(&self, prefix: &Prefixed<'_>) -> bool {
        let has_nested = |text: &str| self.nested.iter().any(|(within, ..)| *within == text);
        (prefix.is_quiet && !self.regexes.is_empty())
            || self.prefixes.iter().any(|other| {
                let is_around = other.text.len() < prefix.text.len()
                    && prefix.text.starts_with(other.text)
                    && !prefix.outer.contains(&other.text);
                is_around
                    && (has_nested(other.text) || (other.is_quiet && !self.regexes.is_empty()))
            })
    }

    /// Returns the expressions that nginx tries before it takes a prefix: those around it from the
    /// inside, then those of the server.
    fn before(&self, prefix: &Prefixed<'l>) -> Vec<(&'l str, &'l Location)> {
        let around = prefix.outer.iter().rev().flat_map(|outer| {
            let nested = self.nested.iter().filter(move |(within, ..)| within == outer);
            nested.map(|(_, pattern, location)| (*pattern, *location))
        });
        let of_server = self.regexes.iter().filter(|_| !prefix.is_quiet).copied();
        around.chain(of_server).collect()
    }

    /// Adds a prefix as an expression. One that cannot be said so is closed where an expression would
    /// take its place.
    fn early(
        &self,
        prefix: &Prefixed<'l>,
        making: &Making<'_>,
        draft: &mut Draft,
        cx: &mut Cx<'_>,
    ) {
        let Prefixed { text, location, .. } = prefix;
        let whole = format!("^{}", escape(text));
        for (pattern, other) in self.before(prefix) {
            match pattern::inside(pattern, &encode(text)) {
                Inside::Pattern(pattern) => making.push_pattern(draft, other, &pattern, cx),
                Inside::Never => {}
                Inside::Unknown => {
                    let note =
                        "which of its paths an expression takes cannot be said; it is closed";
                    cx.ledger.closes(location.id, note);
                    return draft.push(location.id, closed(whole));
                }
            }
        }
        if works_by_pattern(location) {
            return making.push_pattern(draft, location, &whole, cx);
        }
        let note = "paths in it that another expression matches too are closed, not served";
        cx.ledger.approximated(location.id, note);
        let of_server =
            self.regexes.iter().filter(|_| prefix.is_quiet).map(|(pattern, _)| *pattern);
        let nested = self.nested.iter().filter(|(within, ..)| {
            text.starts_with(within) && within != text && !prefix.outer.contains(within)
        });
        for pattern in of_server.chain(nested.map(|(_, pattern, _)| *pattern)) {
            match pattern::inside(pattern, &encode(text)) {
                Inside::Pattern(pattern) => draft.push(location.id, closed(pattern)),
                Inside::Never => {}
                Inside::Unknown => return draft.push(location.id, closed(whole)),
            }
        }
        let is_covered = self.prefixes.iter().any(|other| {
            other.text.len() < text.len() && text.starts_with(other.text) && self.comes_early(other)
        });
        if is_covered {
            draft.push(location.id, closed(whole));
        }
    }

    /// `/admin` matches `/administrator` too. Where others would be let in there than before, an
    /// expression keeps it as it was.
    fn longer_names(
        &self,
        sorted: &[&Prefixed<'_>],
        making: &Making<'_>,
        draft: &mut Draft,
        cx: &mut Cx<'_>,
    ) {
        let mut guarded: Vec<&str> = Vec::new();
        for Prefixed { text, location, .. } in sorted.iter().copied().rev() {
            if text.ends_with('/') {
                continue;
            }
            let outer = self.around(text).unwrap_or(making.fallback);
            if lets_in_alike(location, outer, cx) {
                let note =
                    format!("`{text}` does not match `{text}x`, only itself and what is below it");
                cx.ledger.approximated(location.id, note);
            } else {
                guarded.push(text);
            }
        }
        for Prefixed { text, location, .. } in sorted.iter().copied() {
            let hides = guarded.iter().any(|short| {
                let rest = text.strip_prefix(short);
                rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'))
            });
            let pattern = match (guarded.contains(text), hides) {
                (false, false) if self.has_twin(text) => format!("^{}$", escape(text)),
                (true, false) if self.has_twin(text) => format!("^{}(?:[^/]|$)", escape(text)),
                (_, true) => format!("^{}", escape(text)),
                (true, false) => format!("^{}[^/]", escape(text)),
                (false, false) => continue,
            };
            if works_by_pattern(location) {
                making.push_pattern(draft, location, &pattern, cx);
            } else {
                draft.push(location.id, closed(pattern));
            }
        }
    }

    /// Tells whether the same path with a slash is a location too: to the edge, both prefixes are one.
    fn has_twin(&self, text: &str) -> bool {
        let with_slash = format!("{text}/");
        self.prefixes.iter().any(|other| other.text == with_slash)
    }

    fn around(&self, text: &str) -> Option<&'l Location> {
        self.prefixes
            .iter()
            .filter(|other| other.text.len() < text.len() && text.starts_with(other.text))
            .max_by_key(|other| other.text.len())
            .map(|other| other.location)
    }

    fn prefixes(&self, making: &Making<'_>, draft: &mut Draft, cx: &mut Cx<'_>) {
        for Prefixed { text, location, .. } in &self.prefixes {
            if let Some(bare) = text.strip_suffix('/').filter(|bare| !bare.is_empty()) {
                self.without_slash(bare, text, location, making, draft, cx);
            }
            // With the slash it is another location's.
            if self.has_twin(text) {
                continue;
            }
            making.push(draft, location, |route| route.path = Some(encode(text)), cx);
        }
    }
}

impl<'l> Level<'l> {
    /// A prefix of the edge holds the path without its last slash too; one of nginx does not. nginx
    /// sends clients on from there to an application; anything else is as what stands around it.
    fn without_slash(
        &self,
        bare: &str,
        text: &str,
        location: &'l Location,
        making: &Making<'_>,
        draft: &mut Draft,
        cx: &mut Cx<'_>,
    ) {
        let is_taken =
            self.exact.iter().any(|exact| exact.matcher == Matcher::Exact(bare.to_owned()))
                || self.prefixes.iter().any(|other| other.text == bare);
        if is_taken {
            return;
        }
        let exact = RouteSpec { exact: Some(encode(bare)), ..RouteSpec::default() };
        if matches!(location.action, Action::Proxy { .. }) {
            let redirect =
                RedirectSettingsSpec { to: encode(text), status: Some(301), keep_path: None };
            let redirect = Some(RedirectSpec::Settings(redirect));
            return draft.push(location.id, RouteSpec { redirect, ..exact });
        }
        let outer = self.around(text).unwrap_or(making.fallback);
        if !lets_in_alike(location, outer, cx) {
            let note = format!(
                "`{bare}` without its slash is closed, as what is around it has other rules"
            );
            cx.ledger.approximated(location.id, note);
            let respond = Some(unavailable("a path without its slash"));
            draft.push(location.id, RouteSpec { respond, access: Some(nobody()), ..exact });
        }
    }
}

/// Returns a route that lets nobody in, where an expression would take the place of a location.
fn closed(pattern: String) -> RouteSpec {
    RouteSpec {
        regex: Some(pattern),
        respond: Some(unavailable("a location that comes before an expression")),
        access: Some(nobody()),
        ..RouteSpec::default()
    }
}
