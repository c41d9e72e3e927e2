//! Routes of which the first that matches counts, as the routes of a site say the same: whole paths,
//! then expressions in their order, then the longest prefix.

use portway_model::site::spec::{FileSettingsSpec, FilesSpec, RedirectSpec, RouteSpec};

use crate::{
    paths::{encode, escape},
    report::{Id, Ledger},
    sites::{is_alike, nobody, status, unavailable},
};

/// Which paths an item is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Paths {
    /// All.
    All,
    /// One.
    Exact(String),
    /// Those that begin with a text.
    Prefix(String),
    /// Those that an expression matches.
    Regex(String),
}

/// A route in a list of which the first that matches counts. Its action is meant for whole paths:
/// folders and redirects that keep the path do not know a prefix yet.
#[derive(Clone, Debug)]
pub(crate) struct Item {
    pub(crate) id: Id,
    pub(crate) paths: Paths,
    /// The route without a path; it may have methods, headers and queries.
    pub(crate) route: RouteSpec,
    /// The prefix that is taken away before files are looked up or an application is asked.
    pub(crate) strips: Option<String>,
    /// It only keeps what nothing else answers from what follows.
    pub(crate) is_filler: bool,
}

impl Item {
    fn is_conditional(&self) -> bool {
        !self.route.methods.is_empty()
            || !self.route.match_headers.is_empty()
            || !self.route.match_query.is_empty()
    }
}

/// Whether paths are matched whatever the case of their letters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Case {
    /// As they are written.
    Exact,
    /// In any case.
    Any,
}

/// Returns routes that choose as the list does. What cannot be put so lets nobody in.
pub(crate) fn arrange(items: Vec<Item>, case: Case, ledger: &mut Ledger) -> Vec<(Id, RouteSpec)> {
    let mut kept: Vec<(Id, RouteSpec)> = Vec::new();
    for (id, route) in arranged(items, case, ledger) {
        if !kept.iter().any(|(_, earlier)| is_alike(earlier, &route)) {
            kept.push((id, route));
        }
    }
    kept
}

fn arranged(items: Vec<Item>, case: Case, ledger: &mut Ledger) -> Vec<(Id, RouteSpec)> {
    let items = reachable(items, ledger);
    // Where all let in the same, another spelling of a path opens nothing.
    let case = if let_in_alike(&items) { Case::Exact } else { case };
    if case == Case::Any || !is_plain(&items) {
        let all = items.clone();
        let routes = items.into_iter().map(|item| {
            let is_apart = item.strips.is_none() || is_apart(&item, &all);
            match item.paths {
                Paths::All => plain(item, ledger),
                Paths::Prefix(_) if item.strips.is_some() && is_apart => plain(item, ledger),
                Paths::Exact(_) | Paths::Prefix(_) | Paths::Regex(_) => {
                    by_pattern(item, case, ledger)
                }
            }
        });
        return last_prefixes(routes.collect());
    }
    let mut routes = Vec::new();
    for item in &items {
        routes.extend(beside(item, &items));
        routes.push(plain(item.clone(), ledger));
    }
    routes
}

/// An item for all paths that others follow takes what is left, so it must not be a prefix: those that
/// follow are expressions, which come first.
fn last_prefixes(mut routes: Vec<(Id, RouteSpec)>) -> Vec<(Id, RouteSpec)> {
    let count = routes.len();
    for (index, (_, route)) in routes.iter_mut().enumerate() {
        if index + 1 < count && route.path.as_deref() == Some("/") && route.strip_prefix.is_none() {
            route.path = None;
            route.regex = Some("^/".to_owned());
        }
    }
    routes
}

/// Tells whether the same clients are let in everywhere.
fn let_in_alike(items: &[Item]) -> bool {
    let who = |item: &Item| {
        let status = item.route.respond.as_ref().and_then(|respond| respond.status);
        (item.route.access.clone(), status.is_some_and(|status| status >= 400))
    };
    items.windows(2).all(|pair| match pair {
        [one, other] => who(one) == who(other),
        _ => true,
    })
}

/// Tells whether no other item but that for all paths has paths of this one.
fn is_apart(item: &Item, all: &[Item]) -> bool {
    let Paths::Prefix(own) = &item.paths else { return false };
    let own = own.to_ascii_lowercase();
    all.iter().filter(|other| other.id != item.id || other.paths != item.paths).all(|other| {
        match &other.paths {
            Paths::All => true,
            Paths::Exact(text) | Paths::Prefix(text) => {
                let text = text.to_ascii_lowercase();
                !text.starts_with(own.trim_end_matches('/')) && !own.starts_with(&text)
            }
            Paths::Regex(_) => false,
        }
    })
}

/// A prefix of the edge holds the path without its last slash, and only whole parts; a text that paths
/// begin with does neither. Returns what happens to these paths.
fn beside(item: &Item, items: &[Item]) -> Option<(Id, RouteSpec)> {
    let Paths::Prefix(prefix) = &item.paths else { return None };
    let lost = RouteSpec { respond: Some(status(404)), ..RouteSpec::default() };
    let Some(bare) = prefix.strip_suffix('/') else {
        let route = if item.strips.is_some() { lost } else { item.route.clone() };
        return Some((
            item.id,
            RouteSpec { regex: Some(format!("^{}[^/]", escape(prefix))), ..route },
        ));
    };
    if bare.is_empty() || items.iter().any(|other| other.paths == Paths::Exact(bare.to_owned())) {
        return None;
    }
    let mut fits = items.iter().filter(|other| holds(&other.paths, &Paths::Exact(bare.to_owned())));
    let found = fits.next().filter(|other| other.strips.is_none() && !other.is_conditional());
    let (id, route) = found.map_or((item.id, lost), |found| (found.id, found.route.clone()));
    Some((id, RouteSpec { exact: Some(encode(bare)), ..route }))
}

/// Leaves away what an earlier item takes wholly.
fn reachable(items: Vec<Item>, ledger: &mut Ledger) -> Vec<Item> {
    let mut kept: Vec<Item> = Vec::new();
    for item in items {
        let is_taken = kept
            .iter()
            .any(|earlier| !earlier.is_conditional() && holds(&earlier.paths, &item.paths));
        if is_taken {
            if !item.is_filler {
                ledger.not_converted(item.id, "an earlier one takes all of its requests");
            }
        } else {
            kept.push(item);
        }
    }
    kept
}

/// Tells whether all paths of one are paths of the other, as far as that is known.
fn holds(outer: &Paths, inner: &Paths) -> bool {
    match (outer, inner) {
        (Paths::All, _) => true,
        (Paths::Prefix(prefix), Paths::Exact(text) | Paths::Prefix(text)) => {
            text.starts_with(prefix)
        }
        (outer, inner) => outer == inner,
    }
}

/// Tells whether the order of the edge is that of the list: no later item is more specific than an
/// earlier one that has some of its paths, and none begins like another within a part.
fn is_plain(items: &[Item]) -> bool {
    let text = |item: &Item| match &item.paths {
        Paths::All => Some("/".to_owned()),
        Paths::Exact(text) | Paths::Prefix(text) => Some(text.clone()),
        Paths::Regex(_) => None,
    };
    items.iter().enumerate().all(|(index, item)| {
        let Some(own) = text(item).filter(|own| own.starts_with('/')) else { return false };
        let bare = own.trim_end_matches('/');
        let is_open = matches!(&item.paths, Paths::Prefix(prefix) if !prefix.ends_with('/'));
        items.iter().enumerate().all(|(place, other)| {
            let Some(other_text) = text(other) else { return false };
            let is_same = other.paths == item.paths;
            let is_twin = !is_same && !bare.is_empty() && other_text.trim_end_matches('/') == bare;
            let begins = other_text.starts_with(&own);
            let shares_part = is_open
                && other_text
                    .strip_prefix(&own)
                    .is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
            is_same || (!is_twin && !shares_part && (place < index || !begins))
        })
    })
}

/// Returns an item by its path or prefix.
fn plain(item: Item, ledger: &mut Ledger) -> (Id, RouteSpec) {
    let Item { id, paths, mut route, strips, .. } = item;
    match paths {
        Paths::Exact(text) => {
            route.exact = Some(encode(&text));
            if strips.is_some() {
                refuse(&mut route);
                ledger
                    .closes(id, "a prefix of a single path cannot be taken away; nobody is let in");
            }
        }
        Paths::Prefix(prefix) => {
            route.path = Some(encode(&prefix));
            below(id, &mut route, &prefix, strips.as_deref(), ledger);
        }
        Paths::All | Paths::Regex(_) => {
            route.path = Some("/".to_owned());
            below(id, &mut route, "/", strips.as_deref(), ledger);
        }
    }
    (id, route)
}

/// Makes the action of a route one below its prefix.
fn below(id: Id, route: &mut RouteSpec, prefix: &str, strips: Option<&str>, ledger: &mut Ledger) {
    let bare = prefix.trim_end_matches('/');
    match strips.map(|strips| strips.trim_end_matches('/')) {
        None => {
            if let Some(files) = &mut route.files {
                let (FilesSpec::Root(root) | FilesSpec::Settings(FileSettingsSpec { root, .. })) =
                    files;
                *root = format!("{}{bare}", root.trim_end_matches('/'));
            }
            if let Some(RedirectSpec::Settings(redirect)) = &mut route.redirect
                && redirect.keep_path == Some(true)
            {
                redirect.to = format!("{}{bare}", redirect.to.trim_end_matches('/'));
            }
        }
        Some(strips) if strips == bare => {
            if route.to.is_some() || route.split.is_some() {
                route.strip_prefix = (!bare.is_empty()).then_some(true);
            }
        }
        Some(_) => {
            refuse(route);
            let why = "another prefix than the one that is matched cannot be taken away; nobody is let in";
            ledger.closes(id, why);
        }
    }
}

/// Returns an item by an expression, in the place where it stands.
fn by_pattern(item: Item, case: Case, ledger: &mut Ledger) -> (Id, RouteSpec) {
    let Item { id, paths, mut route, strips, .. } = item;
    let flags = if case == Case::Any { "(?i)" } else { "" };
    route.regex = Some(match paths {
        Paths::All => "^/".to_owned(),
        Paths::Exact(text) => format!("{flags}^{}$", escape(&text)),
        Paths::Prefix(text) => format!("{flags}^{}", escape(&text)),
        Paths::Regex(text) => text,
    });
    if strips.is_some() {
        refuse(&mut route);
        let why = "among these routes a prefix cannot be taken away; nobody is let in";
        ledger.closes(id, why);
    }
    (id, route)
}

fn refuse(route: &mut RouteSpec) {
    *route = RouteSpec {
        path: route.path.take(),
        exact: route.exact.take(),
        regex: route.regex.take(),
        methods: std::mem::take(&mut route.methods),
        match_headers: std::mem::take(&mut route.match_headers),
        match_query: std::mem::take(&mut route.match_query),
        respond: Some(unavailable("a prefix that is taken away")),
        access: Some(nobody()),
        ..RouteSpec::default()
    };
}

#[cfg(test)]
mod tests {
    use portway_model::{
        Name, SiteSpec,
        site::{Action, PathMatch, check, spec::RespondSpec},
    };
    use proptest::prelude::*;

    use super::*;

    fn paths() -> impl Strategy<Value = Paths> {
        let texts = ["/", "/a", "/a/", "/ab", "/a/b", "/a/b/", "/b/"];
        prop_oneof![
            Just(Paths::All),
            prop::sample::select(texts.to_vec()).prop_map(|text| Paths::Exact(text.to_owned())),
            prop::sample::select(texts.to_vec()).prop_map(|text| Paths::Prefix(text.to_owned())),
            prop::sample::select(vec!["b$", "^/a", "a/b"])
                .prop_map(|text| Paths::Regex(text.to_owned())),
        ]
    }

    fn fits(paths: &Paths, path: &str) -> bool {
        match paths {
            Paths::All => true,
            Paths::Exact(text) => text == path,
            Paths::Prefix(text) => path.starts_with(text),
            Paths::Regex(text) => regex::Regex::new(text).unwrap().is_match(path),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2000) })]

        #[test]
        fn the_first_that_matches_answers(
            list in prop::collection::vec(paths(), 1..6),
            asked in prop::collection::vec("(/a|/b|/ab|/a/b|/)(/|/x|b|c|)", 1..12),
        ) {
            let mut ledger = Ledger::default();
            let items: Vec<Item> = list.iter().zip(410..).map(|(paths, status)| {
                let respond = RespondSpec { status: Some(status), ..RespondSpec::default() };
                Item {
                    id: ledger.enter("x", 1, &[]),
                    paths: paths.clone(),
                    route: RouteSpec { respond: Some(respond), ..RouteSpec::default() },
                    strips: None,
                    is_filler: false,
                }
            }).collect();
            let routes = arrange(items, Case::Exact, &mut ledger).into_iter().map(|(_, route)| route).collect();
            let spec = SiteSpec { hosts: vec!["a.example".to_owned()], routes, ..SiteSpec::default() };
            let (site, findings) = check(&"a".parse::<Name>().unwrap(), &spec);
            let site = site.unwrap_or_else(|| panic!("{findings:?} {spec:?}"));
            for path in asked.iter().filter(|path| !path.contains("//")) {
                let expected = list.iter().position(|paths| fits(paths, path)).map(|at| u16::try_from(at).unwrap() + 410);
                let route = site.routes.iter().find(|route| match &route.matches.path {
                    PathMatch::Exact(exact) => exact == path,
                    PathMatch::Prefix(prefix) => prefix.rest(path).is_some(),
                    PathMatch::Regex(text) => regex::Regex::new(text).unwrap().is_match(path),
                });
                let answered = route.map(|route| match &route.action {
                    Action::Respond(respond) => respond.status,
                    Action::Proxy(_) | Action::Split(_) | Action::Files(_) | Action::Redirect(_) => 0,
                });
                prop_assert!(
                    answered == expected || answered == Some(404),
                    "{} {:?} {:?} {:?}", path, list, expected, answered
                );
            }
        }
    }
}
