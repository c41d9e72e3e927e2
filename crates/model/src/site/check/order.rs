//! The order in which routes are tried, and routes that it makes pointless.

use std::cmp::Reverse;

use crate::{
    FieldPath, FindingCode, Findings,
    site::{Action, Match, PathMatch, Route},
};

/// Expressions that every path fits.
const CATCH_ALL: [&str; 12] =
    ["", "^", "/", "^/", ".*", "^.*", ".*$", "^.*$", "^/.*", "^/.*$", "/.*", "/.*$"];

/// Sorts routes: exact paths, then expressions as they stand in the file, then prefixes, the
/// longest first. Of equal paths the one with more conditions comes first, then the earlier one.
pub(super) fn sort(routes: &mut [(FieldPath, Route)]) {
    routes.sort_by_key(|(_, route)| {
        let conditions = Reverse(conditions(&route.matches));
        match &route.matches.path {
            PathMatch::Exact(path) => (0, Reverse(0), path.clone(), conditions),
            // All alike, so that a stable sort leaves them as they stand in the file.
            PathMatch::Regex(_) => (1, Reverse(0), String::new(), Reverse(0)),
            PathMatch::Prefix(prefix) => {
                let text = prefix.as_str();
                (2, Reverse(text.len()), text.to_owned(), conditions)
            }
        }
    });
}

fn conditions(matches: &Match) -> usize {
    usize::from(!matches.methods.is_empty()) + matches.headers.len() + matches.query.len()
}

/// Reports routes that match the same requests, that can never be reached, or that send clients
/// round in a circle. Expects them sorted.
pub(super) fn review(routes: &[(FieldPath, Route)], findings: &mut Findings) {
    let unconditional = Unconditional::of(routes);
    for (position, (path, route)) in routes.iter().enumerate() {
        let earlier =
            routes.iter().take(position).find(|(_, other)| covers(&other.matches, &route.matches));
        if let Some((other_path, other)) = earlier {
            report_covered((path, &route.matches), (other_path, &other.matches), findings);
        }
        if unconditional.circles(route) {
            findings
                .warning(
                    FindingCode::Advice,
                    &path.key("redirect"),
                    "this redirect leads back to the same route, so clients go round in a circle",
                )
                .remedy("add a route that answers the address to which it leads");
        }
    }
}

fn report_covered(
    (path, matches): (&FieldPath, &Match),
    (other_path, other): (&FieldPath, &Match),
    findings: &mut Findings,
) {
    if matches == other {
        // Sorting keeps equal routes as they stand in the file, so this one is the later.
        findings
            .error(
                FindingCode::RouteTaken,
                path,
                format!("`{}` is taken: `{other_path}` matches the same requests", matches.path),
            )
            .remedy("remove one of the routes, or tell them apart by `methods` or headers");
        return;
    }
    findings
        .warning(
            FindingCode::Advice,
            path,
            format!("this route is never reached: `{other_path}` is tried before it and takes all"),
        )
        .remedy("put the more specific route first, or remove this one");
}

/// Tells whether every request that `later` matches is matched by `earlier` too, as far as that can
/// be told without looking into expressions.
fn covers(earlier: &Match, later: &Match) -> bool {
    let paths = match (&earlier.path, &later.path) {
        (PathMatch::Regex(pattern), PathMatch::Regex(_) | PathMatch::Prefix(_))
            if CATCH_ALL.contains(&pattern.as_str()) =>
        {
            true
        }
        (earlier, later) => earlier == later,
    };
    paths
        && (earlier.methods.is_empty() || is_subset(&later.methods, &earlier.methods))
        && earlier.headers.iter().all(|(name, value)| later.headers.get(name) == Some(value))
        && earlier.query.iter().all(|(name, value)| later.query.get(name) == Some(value))
}

/// No methods means all of them, which only all of them hold.
fn is_subset(inner: &[String], outer: &[String]) -> bool {
    !inner.is_empty() && inner.iter().all(|method| outer.contains(method))
}

/// Routes that take every request for their paths. One with conditions may not take the request
/// that follows a redirect.
struct Unconditional<'a> {
    routes: Vec<(&'a Route, Option<regex::Regex>)>,
}

impl<'a> Unconditional<'a> {
    fn of(routes: &'a [(FieldPath, Route)]) -> Self {
        let routes = routes.iter().map(|(_, route)| route);
        let routes = routes.filter(|route| conditions(&route.matches) == 0);
        Self { routes: routes.map(|route| (route, expression(&route.matches.path))).collect() }
    }

    /// Tells whether a redirect leads back to its own route.
    fn circles(&self, route: &Route) -> bool {
        let Action::Redirect(redirect) = &route.action else {
            return false;
        };
        if !redirect.to.starts_with('/') {
            return false;
        }
        let path = redirect.to.split(['?', '#']).next().unwrap_or_default();
        let next = self.routes.iter().find(|(other, expression)| match &other.matches.path {
            PathMatch::Exact(exact) => exact == path,
            PathMatch::Prefix(prefix) => prefix.rest(path).is_some(),
            PathMatch::Regex(_) => expression.as_ref().is_some_and(|regex| regex.is_match(path)),
        });
        next.is_some_and(|(next, _)| std::ptr::eq(*next, route))
    }
}

fn expression(matcher: &PathMatch) -> Option<regex::Regex> {
    match matcher {
        PathMatch::Regex(pattern) => regex::Regex::new(pattern).ok(),
        PathMatch::Exact(_) | PathMatch::Prefix(_) => None,
    }
}
