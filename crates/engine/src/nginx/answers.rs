//! What carries a route out: the named location that its action needs.

use portway_model::{
    FieldPath,
    site::{Action, Redirect, Respond, Route},
};

use super::{
    access, files, headers,
    names::Draft,
    path, proxy,
    routes::named,
    site::route_block,
    split,
    syntax::{Directive, line},
    value::{EMPTY, in_regex, literal},
};

/// Adds the locations that carry a route out.
pub(super) fn carry_out(draft: &mut Draft<'_>, index: usize, route: &Route) {
    let at = FieldPath::root().key("routes").index(index);
    match &route.action {
        Action::Proxy(upstream) => {
            let place = proxy::Place { index, suffix: format!("r{index}"), at: at.key("to") };
            let block = proxy::block(draft, route, upstream, &place);
            add(draft, &named(index), block, &at);
        }
        Action::Split(sides) => {
            for (number, side) in sides.sides.iter().enumerate() {
                let at = at.key("split").key("sides").index(number);
                let suffix = format!("r{index}_s{number}");
                let place = proxy::Place { index, suffix, at: at.key("to") };
                let block = proxy::block(draft, route, &side.upstream, &place);
                add(draft, &split::side(index, number), block, &at);
            }
        }
        Action::Files(root) => files::add(draft, index, route, root, &at),
        Action::Redirect(redirect) => {
            let answer = send_on(draft, index, route, redirect, &at.key("redirect"));
            answer_after_access(draft, index, route, answer);
        }
        Action::Respond(respond) => answer_after_access(draft, index, route, say(respond)),
    }
}

/// Adds a named location.
pub(super) fn add(draft: &mut Draft<'_>, name: &str, block: Vec<Directive>, at: &FieldPath) {
    draft.locations.push(line!("location", name).with(block).from_field(at));
}

/// Adds the location of an answer that nginx makes itself.
///
/// nginx carries out `return`, `rewrite` and `if` before it asks who may. So where not everyone may, or
/// not as often, the
/// location of the route asks, and leads on to the one that answers by `try_files`, which comes after.
pub(super) fn answer_after_access(
    draft: &mut Draft<'_>,
    index: usize,
    route: &Route,
    answer: Vec<Directive>,
) {
    let at = FieldPath::root().key("routes").index(index);
    let mut answers = route_block(draft, index);
    let edits = at.key("headers").key("response");
    answers.extend(headers::response(&route.filters.response_headers, None, &edits));
    answers.extend(answer);
    if !access::asks(route) {
        answers.extend(access::of(draft, index, route));
        add(draft, &named(index), answers, &at);
        return;
    }
    let name = format!("{}_answer", named(index));
    let mut asks = route_block(draft, index);
    asks.extend(access::of(draft, index, route));
    asks.push(line!("root", "/dev/null"));
    asks.push(line!("try_files", "/nothing", name));
    add(draft, &named(index), asks, &at);
    add(draft, &name, answers, &at);
}

fn send_on(
    draft: &mut Draft<'_>,
    index: usize,
    route: &Route,
    redirect: &Redirect,
    at: &FieldPath,
) -> Vec<Directive> {
    let Redirect { to, status, keep_path } = redirect;
    let target = if *keep_path {
        let rest = kept_path(draft, index, route, at);
        format!("{}{rest}$is_args$args", literal(to.trim_end_matches('/')))
    } else {
        literal(to)
    };
    vec![line!("return", status, target).from_field(at)]
}

/// Makes the variable that holds the path below the route's prefix, as the client escaped it. An odd
/// spelling is taken in its decoded form, where that needs no escapes.
fn kept_path(draft: &mut Draft<'_>, index: usize, route: &Route, at: &FieldPath) -> String {
    let prefix = route.matches.path.prefix().filter(|prefix| !prefix.is_root());
    let prefix = prefix.map(|prefix| (prefix.as_str().to_owned(), path::decoded(prefix.as_str())));
    let (written, decoded) = prefix.unwrap_or_default();
    let safe = "(?<portway_kept>(?:/[A-Za-z0-9_~!&'()*+,;=:@-][A-Za-z0-9._~!&'()*+,;=:@-]*)+/?)";
    let plain = format!("\\A{}{safe}\\z", in_regex(&decoded.unwrap_or_default()));
    let at = at.key("keep_path");
    let value = "$portway_kept".to_owned();
    let fallback =
        draft.map(&format!("r{index}_plain"), "$uri", [(plain, value.clone())], "/", &at);
    let raw = format!(
        "\\A{}(?<portway_kept>(?:/(?!%2[Ee])[^/.?#][^/?#]*)+/?)(?:\\?|\\z)",
        in_regex(&written)
    );
    draft.map(&format!("r{index}_rest"), "$request_uri", [(raw, value)], &fallback, &at)
}

fn say(respond: &Respond) -> Vec<Directive> {
    let Respond { status, body, content_type } = respond;
    let text = if body.is_empty() { EMPTY.to_owned() } else { literal(body) };
    vec![
        // The end of the path must not decide the type.
        line!("types").with(Vec::new()),
        // nginx looks for no variables here.
        line!("default_type", content_type),
        line!("return", status, text),
    ]
}
