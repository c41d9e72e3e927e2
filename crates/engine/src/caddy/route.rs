//! Which requests a route takes, and what happens to them.

use portway_model::{
    FieldPath,
    site::{Match, PathMatch, Route},
};

use super::{
    access, action, headers,
    site::{Ground, Lines},
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::go_pattern::GoPattern;

/// Writes a route: a matcher, and what it leads to.
pub(super) fn write(
    lines: &mut Lines<'_>,
    ground: &Ground<'_>,
    (index, route): (usize, &Route),
) -> Result<(), Unwritable> {
    let at = FieldPath::root().key("routes").index(index);
    let name = format!("@portway_{index}");
    lines.from(&at);
    lines.put(Directive::new([Word::from(name.clone())]).with(matcher(&route.matches)))?;
    lines.open(&[Word::ours("handle"), Word::from(name)])?;
    lines.open(&[Word::ours("route")])?;
    access::write(lines, route, &at.key("access"))?;
    body_limit(lines, route, &at)?;
    if route.filters.compress {
        lines.from(&at.key("compress"));
        lines.put(Directive::new(["encode", "zstd", "gzip"]))?;
    }
    headers::response(lines, &route.filters.response_headers, &at.key("headers"))?;
    action::write(lines, ground, route, &at)?;
    lines.close();
    lines.close();
    Ok(())
}

/// All that is given must hold. Expressions on variables would hold if one of them did, so each stands
/// in a negation of its own, twice.
fn matcher(matches: &Match) -> Vec<Directive> {
    let mut all = Vec::new();
    match &matches.path {
        PathMatch::Exact(path) => all.push(path_regexp(&GoPattern::whole(&decoded(path)))),
        PathMatch::Prefix(prefix) => {
            all.push(path_regexp(&GoPattern::below(&decoded(prefix.as_str()))));
        }
        // What cannot be translated was refused before (`support`).
        PathMatch::Regex(regex) => {
            all.extend(GoPattern::like(regex).iter().map(path_regexp));
        }
    }
    if !matches.methods.is_empty() {
        let methods = matches.methods.iter().map(|method| Word::ours(method.clone()));
        all.push(Directive::new(std::iter::once(Word::ours("method")).chain(methods)));
    }
    for (name, value) in &matches.headers {
        all.push(Directive::new([
            Word::ours("header_regexp"),
            Word::ours(name.clone()),
            Word::from(GoPattern::whole(value).to_string()),
        ]));
    }
    for (name, value) in &matches.query {
        let pattern = GoPattern::query(name, value).to_string();
        let vars = ["vars_regexp", "{http.request.uri.query}"].map(Word::ours);
        let query = Directive::new(vars.into_iter().chain([Word::from(pattern)]));
        let negated = Directive::new(["not"]).with(vec![query]);
        all.push(Directive::new(["not"]).with(vec![negated]));
    }
    all
}

fn path_regexp(pattern: &GoPattern) -> Directive {
    Directive::new([Word::ours("path_regexp"), Word::from(pattern.to_string())])
}

/// Returns a path as Caddy compares it, with its escapes undone.
fn decoded(path: &str) -> String {
    crate::path::decoded(path)
}

/// A body that says it is too large is refused at once; any other when it becomes so.
fn body_limit(lines: &mut Lines<'_>, route: &Route, at: &FieldPath) -> Result<(), Unwritable> {
    let limit = route.filters.max_body.0;
    lines.from(&at.key("max_body"));
    let pattern = GoPattern::number_above(limit).to_string();
    let words = ["@portway_large", "header_regexp", "Content-Length"].map(Word::ours);
    lines.put(Directive::new(words.into_iter().chain([Word::from(pattern)])))?;
    lines.put(super::prelude::respond("@portway_large", ("413 Content too large", "413")))?;
    let size = Directive::new([Word::ours("max_size"), Word::from(limit.to_string())]);
    lines.put(Directive::new(["request_body"]).with(vec![size]))
}
