//! What a location comes to as a route; what it matches is said by [`super::routes`].

use portway_model::{
    ByteSize,
    site::spec::{AccessSpec, FileSettingsSpec, FilesSpec, RedirectSpec, RouteSpec, SizeSpec},
};

use super::{
    Cx, access,
    location::{Action, Location, Matcher},
    proxy,
    rewrite::{self, Returned, Rewrite},
    scope::Scope,
};
use crate::{
    paths::encode,
    report::Id,
    sites::{Draft, nobody, status, unavailable},
};

/// nginx's own limit for bodies, unless set.
const MAX_BODY: u64 = 1 << 20;

/// A route with the directive that it was made from.
struct Made {
    id: Id,
    route: RouteSpec,
}

/// Adds the redirects of a server, which come before its locations.
pub(super) fn add_redirects(draft: &mut Draft, server: &Location, cx: &mut Cx<'_>) {
    for made in redirects(server, cx) {
        draft.push(made.id, made.route);
    }
}

/// What is needed to make routes of locations.
pub(super) struct Making<'l> {
    pub(super) named: Vec<&'l Location>,
    pub(super) fallback: &'l Location,
}

impl Making<'_> {
    /// Adds a location, with the methods that are taken and the answer for all others, and its own
    /// redirects before it.
    pub(super) fn push(
        &self,
        draft: &mut Draft,
        location: &Location,
        matches: impl Fn(&mut RouteSpec),
        cx: &mut Cx<'_>,
    ) {
        for made in redirects(location, cx) {
            draft.push(made.id, made.route);
        }
        if location.rewrites.iter().any(Rewrite::is_whole) {
            return;
        }
        let mut route = self.route(location, cx);
        matches(&mut route);
        if let Some((methods, code)) = &location.scope.methods {
            let mut refusal = RouteSpec { respond: Some(status(*code)), ..RouteSpec::default() };
            matches(&mut refusal);
            route.methods.clone_from(methods);
            draft.push(location.id, route);
            draft.push(location.id, refusal);
            return;
        }
        draft.push(location.id, route);
    }

    /// Adds a location that an expression matches.
    pub(super) fn push_pattern(
        &self,
        draft: &mut Draft,
        location: &Location,
        pattern: &str,
        cx: &mut Cx<'_>,
    ) {
        let location = location.by_pattern(pattern.to_owned());
        self.push(draft, &location, |route| route.regex = Some(pattern.to_owned()), cx);
    }

    /// Returns what happens in a location; what it matches is said by the caller.
    fn route(&self, location: &Location, cx: &mut Cx<'_>) -> RouteSpec {
        let scope = &location.scope;
        let mut route = RouteSpec { access: access::of(scope, cx), ..RouteSpec::default() };
        match &location.action {
            Action::Return { id, args } => {
                // nginx answers before it asks who the client is.
                if !scope.closed && scope.only.is_none() {
                    route.access = None;
                }
                match rewrite::returned(*id, args, &location.matcher, scope, cx) {
                    Some(Returned::Redirect(redirect)) => route.redirect = Some(redirect),
                    Some(Returned::Respond(respond)) => route.respond = Some(respond),
                    None => {
                        cx.ledger.not_converted(*id, "it cannot be told; answered 503");
                        route.respond = Some(unavailable("an answer"));
                    }
                }
                route.headers = proxy::headers(scope, false, cx);
            }
            Action::Missing { what, status: code } => {
                let mut respond = unavailable(what);
                respond.status = Some(*code);
                if *code == 404 {
                    respond.body = None;
                }
                route.respond = Some(respond);
            }
            Action::Proxy { .. } => proxied(location, location, &mut route, cx),
            Action::Files => self.files(location, &mut route, cx),
        }
        if scope.gzip == Some(false) {
            route.compress = Some(false);
        }
        route
    }

    fn files(&self, location: &Location, route: &mut RouteSpec, cx: &mut Cx<'_>) {
        let scope = &location.scope;
        let mut spa = false;
        if let Some((id, tries)) = &location.tries {
            let last = tries.last().map_or("", String::as_str);
            if let Some(name) = last.strip_prefix('@') {
                return self.fall_back_to(name, *id, location, route, cx);
            }
            spa = falls_back_to_index(*id, last, location, cx);
        }
        if only_refuses(route.access.as_ref()) && !scope.closed {
            route.access = None;
            route.respond = Some(status(403));
            return;
        }
        route.headers = proxy::headers(scope, false, cx);
        let Some(root) = root(location) else {
            let note = "it has no folder that can be told; answered 404";
            cx.ledger.approximated(location.id, note);
            route.respond = Some(status(404));
            return;
        };
        let settings = FileSettingsSpec {
            root: root.clone(),
            index: scope.index.clone().filter(|index| *index != ["index.html"]),
            cache_control: scope.expires.clone(),
            spa: spa.then_some(true),
            listing: (scope.autoindex && !spa).then_some(true),
            precompressed: None,
        };
        let is_plain =
            settings == FileSettingsSpec { root: root.clone(), ..FileSettingsSpec::default() };
        route.files =
            Some(if is_plain { FilesSpec::Root(root) } else { FilesSpec::Settings(settings) });
    }

    /// `try_files … @name`: the application gets every request.
    fn fall_back_to(
        &self,
        name: &str,
        id: Id,
        location: &Location,
        route: &mut RouteSpec,
        cx: &mut Cx<'_>,
    ) {
        let who = self.named.iter().find(|who| who.matcher == Matcher::Named(name.to_owned()));
        let Some(who) = who.filter(|who| matches!(who.action, Action::Proxy { .. })) else {
            cx.ledger.not_converted(id, format!("`@{name}` is no application here; answered 503"));
            route.respond = Some(unavailable("where requests go"));
            return;
        };
        let note = format!("`@{name}` gets every request; files are not looked for first");
        cx.ledger.approximated(id, note);
        if access::of(&who.scope, cx) != route.access {
            cx.ledger.closes(
                id,
                "its own access rules and those of the location differ; nobody is let in",
            );
            route.access = Some(nobody());
        }
        proxied(location, who, route, cx);
    }
}

/// Returns the redirects that a location begins with.
fn redirects(location: &Location, cx: &mut Cx<'_>) -> Vec<Made> {
    let mut made = Vec::new();
    for rewrite in &location.rewrites {
        let mut route = RouteSpec {
            redirect: Some(RedirectSpec::Settings(rewrite.redirect.clone())),
            regex: rewrite.pattern.clone(),
            path: rewrite.prefix.clone(),
            ..RouteSpec::default()
        };
        if location.scope.closed {
            route.access = Some(nobody());
        }
        if rewrite.is_whole() {
            match &location.matcher {
                Matcher::Exact(text) => route.exact = Some(encode(text)),
                Matcher::Prefix { text, .. } if text == "/" => route.path = Some("/".to_owned()),
                Matcher::Regex(text) => route.regex = Some(text.clone()),
                Matcher::Prefix { .. } | Matcher::Named(_) => {
                    cx.ledger
                        .not_converted(rewrite.id, "which of its paths are sent on cannot be told");
                    continue;
                }
            }
        }
        made.push(Made { id: rewrite.id, route });
    }
    made
}

/// Tells whether the prefix of a location is taken away; another path in its place cannot be said.
fn strip(location: &Location, path: Option<&str>) -> Result<bool, &'static str> {
    if location.strips {
        return Ok(true);
    }
    let prefix = match &location.matcher {
        Matcher::Prefix { text, .. } => text.as_str(),
        Matcher::Exact(text) => {
            return match path {
                None => Ok(false),
                Some(path) if path == text => Ok(false),
                Some(_) => Err("another path in the place of this one cannot be said"),
            };
        }
        Matcher::Regex(_) | Matcher::Named(_) => "/",
    };
    match path {
        None => Ok(false),
        Some(path) if path == prefix => Ok(false),
        Some("/") => Ok(prefix != "/"),
        Some(_) => Err("another path in the place of the prefix cannot be said"),
    }
}

/// Returns the folder of a location, as the edge looks for files: below the prefix.
fn root(location: &Location) -> Option<String> {
    let clean = |path: &str| {
        let trimmed = path.trim_end_matches('/');
        let is_known = path.starts_with('/') && !path.contains('$');
        is_known.then(|| if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() })
    };
    match (&location.matcher, &location.alias) {
        (Matcher::Prefix { .. }, Some(alias)) => clean(alias),
        (Matcher::Exact(text), Some(alias)) => clean(alias.strip_suffix(text.as_str())?),
        (Matcher::Regex(_) | Matcher::Named(_), Some(_)) => None,
        (Matcher::Prefix { text, .. }, None) => {
            let root = clean(location.scope.root.as_deref()?)?;
            clean(&format!("{}{text}", root.trim_end_matches('/')))
        }
        (Matcher::Exact(_) | Matcher::Regex(_) | Matcher::Named(_), None) => {
            clean(location.scope.root.as_deref()?)
        }
    }
}

/// Tells whether rules let nobody in at all, as `deny all` alone does.
fn only_refuses(access: Option<&AccessSpec>) -> bool {
    access == Some(&nobody())
}

/// Returns a location that stands for the server itself.
pub(super) fn of_server(id: Id, scope: Scope, action: Action) -> Location {
    Location {
        id,
        matcher: Matcher::Prefix { text: "/".to_owned(), ends: false },
        scope,
        action,
        alias: None,
        tries: None,
        rewrites: Vec::new(),
        strips: false,
        inner: Vec::new(),
        ids: Vec::new(),
    }
}

fn proxied(location: &Location, who: &Location, route: &mut RouteSpec, cx: &mut Cx<'_>) {
    let Action::Proxy { id, goal } = &who.action else { return };
    let scope = &who.scope;
    route.headers = proxy::headers(scope, true, cx);
    let bytes = match scope.max_body.unwrap_or(MAX_BODY) {
        0 => 1 << 50,
        bytes => bytes,
    };
    route.max_body = Some(SizeSpec::Text(ByteSize(bytes).to_string()));
    let answer = match strip(location, goal.path.as_deref()) {
        Ok(strips) => {
            route.strip_prefix = strips.then_some(true);
            proxy::to_spec(goal, scope, *id, cx)
        }
        Err(why) => Err(why.to_owned()),
    };
    match answer {
        Ok(to) => route.to = Some(to),
        Err(why) => {
            cx.ledger.not_converted(*id, format!("{why}; answered 503"));
            route.strip_prefix = None;
            route.respond = Some(unavailable("where requests go"));
        }
    }
}

/// Tells whether a `try_files` ends at the index of its folder, as applications in browsers do.
fn falls_back_to_index(id: Id, last: &str, location: &Location, cx: &mut Cx<'_>) -> bool {
    let prefix = match &location.matcher {
        Matcher::Prefix { text, .. } => text.trim_end_matches('/'),
        Matcher::Exact(_) | Matcher::Regex(_) | Matcher::Named(_) => "",
    };
    if last == "=404" || last == "=403" || last.contains("$uri") {
        cx.ledger.converted(id);
        return false;
    }
    let index = location.scope.index.clone().unwrap_or_else(|| vec!["index.html".to_owned()]);
    let name = last.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('/'));
    if let Some(name) = name
        && index.first().is_some_and(|first| first == name)
    {
        let note =
            "as `spa`: only for paths whose last part has no dot, and clients that take a page";
        cx.ledger.approximated(id, note);
        return true;
    }
    let note = format!("what is no file is answered 404, not by `{last}`");
    cx.ledger.not_converted(id, note);
    false
}

/// Tells whether a location may be matched by an expression instead of its prefix.
pub(super) fn works_by_pattern(location: &Location) -> bool {
    match &location.action {
        Action::Return { .. } | Action::Missing { .. } => true,
        Action::Proxy { goal, .. } => {
            matches!(strip(location, goal.path.as_deref()), Ok(false))
        }
        Action::Files => location.alias.is_none() && location.tries.is_none(),
    }
}

/// Tells whether the same clients are let in by two locations.
pub(super) fn lets_in_alike(one: &Location, other: &Location, cx: &mut Cx<'_>) -> bool {
    let refuses = |location: &Location| match &location.action {
        Action::Missing { .. } => true,
        Action::Return { args, .. } => args.first().is_some_and(|status| status.starts_with('4')),
        Action::Proxy { .. } | Action::Files => false,
    };
    let is_same_refusal = refuses(one) == refuses(other);
    is_same_refusal
        && one.scope.methods == other.scope.methods
        && access::of(&one.scope, cx) == access::of(&other.scope, cx)
}
