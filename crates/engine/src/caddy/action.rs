//! Who answers: an upstream, files, a redirect, a fixed answer.

use portway_model::{
    FieldPath,
    site::{Action, Redirect, Respond, Route},
};

use super::{
    files, headers, proxy,
    site::{Ground, Lines},
    syntax::{Directive, Word},
    text::Unwritable,
};
use crate::go_pattern::GoPattern;

/// Writes who answers the requests of a route.
pub(super) fn write(
    lines: &mut Lines<'_>,
    ground: &Ground<'_>,
    route: &Route,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    match &route.action {
        Action::Proxy(upstream) => {
            lines.from(&at.key("to"));
            let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
            let stripped = prefix
                .filter(|_| route.filters.strip_prefix)
                .map(portway_model::PathPrefix::as_str);
            headers::forwarded(lines, ground.port, stripped)?;
            if stripped.is_some() {
                strip(lines, route)?;
            }
            headers::request(lines, &route.filters.request_headers, &at.key("headers"))?;
            proxy::write(lines, upstream, &route.filters.request_headers, &at.key("to"))
        }
        // Refused before (`support`).
        Action::Split(_) => Ok(()),
        Action::Files(root) => {
            to_folder(lines, route)?;
            strip(lines, route)?;
            files::write(lines, root, &at.key("files"))
        }
        Action::Redirect(redirect) => write_redirect(lines, route, redirect, at),
        Action::Respond(respond) => write_respond(lines, respond, &at.key("respond")),
    }
}

/// Takes the route's prefix off the path. Its segments are counted, because a client may spell it with
/// escapes.
fn strip(lines: &mut Lines<'_>, route: &Route) -> Result<(), Unwritable> {
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
    let Some(prefix) = prefix else { return Ok(()) };
    let segments = GoPattern::segments(prefix.as_str().matches('/').count());
    for (find, replacement) in [(format!("{segments}$"), "/"), (format!("{segments}/"), "/")] {
        lines.put(Directive::new([
            Word::ours("uri"),
            Word::ours("*"),
            Word::ours("path_regexp"),
            Word::from(find),
            Word::ours(replacement),
        ]))?;
    }
    Ok(())
}

/// A folder asked for without its slash leads to the one with it, also where it is the root of a route.
fn to_folder(lines: &mut Lines<'_>, route: &Route) -> Result<(), Unwritable> {
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
    let Some(prefix) = prefix else { return Ok(()) };
    let whole = format!("{}$", GoPattern::segments(prefix.as_str().matches('/').count()));
    let words = ["@portway_folder", "path_regexp"].map(Word::ours);
    lines.put(Directive::new(words.into_iter().chain([Word::from(whole.clone())])))?;
    lines.open(&[Word::ours("route"), Word::ours("@portway_folder")])?;
    let words = ["uri", "*", "path_regexp"].map(Word::ours);
    lines.put(Directive::new(words.into_iter().chain([Word::from(whole), Word::ours("$0/")])))?;
    lines.put(Directive::new(["redir", "*", "{http.request.uri}", "301"]))?;
    lines.close();
    Ok(())
}

fn write_redirect(
    lines: &mut Lines<'_>,
    route: &Route,
    redirect: &Redirect,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let Redirect { to, status, keep_path } = redirect;
    lines.from(&at.key("redirect"));
    let to = if *keep_path {
        strip(lines, route)?;
        Word::around("", to.trim_end_matches('/'), "{http.request.uri}")?
    } else {
        Word::text(to)?
    };
    let words = [Word::ours("redir"), Word::ours("*"), to, Word::from(status.to_string())];
    lines.put(Directive::new(words))
}

fn write_respond(
    lines: &mut Lines<'_>,
    respond: &Respond,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let Respond { status, body, content_type } = respond;
    lines.from(&at.key("content_type"));
    lines.put(Directive::new([
        Word::ours("header"),
        Word::ours("*"),
        Word::ours("Content-Type"),
        Word::text(content_type)?,
    ]))?;
    lines.from(&at.key("body"));
    let words =
        [Word::ours("respond"), Word::ours("*"), Word::text(body)?, Word::from(status.to_string())];
    lines.put(Directive::new(words))
}
