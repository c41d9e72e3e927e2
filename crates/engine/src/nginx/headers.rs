//! Changes of headers, in both directions.

use std::collections::BTreeMap;

use portway_model::{FieldPath, site::HeaderEdits};

use super::{
    names::Draft,
    routes::braced,
    syntax::{Directive, line},
    value::{header, literal},
};

/// The module that changes headers which nginx itself writes.
pub(super) const HEADERS_MORE: &str = "headers-more";

/// Headers that nginx writes itself behind everything that its own directives can say of them, to every
/// answer.
const OWN: [&str; 2] = ["date", "server"];

/// Headers that nginx writes itself to answers that it makes.
const OWN_OF_ANSWERS: [&str; 7] = [
    "accept-ranges",
    "content-encoding",
    "content-type",
    "etag",
    "last-modified",
    "location",
    "vary",
];

/// Tells whether nginx alone writes a header, so that only a module changes it.
pub(super) fn is_own(name: &str, is_proxied: bool) -> bool {
    OWN.contains(&name) || (!is_proxied && OWN_OF_ANSWERS.contains(&name))
}

/// Returns the line that tells clients the id of their request.
pub(super) fn request_id() -> Directive {
    line!("add_header", "X-Request-ID", "$portway_request_id", "always")
}

/// Returns the changes of an answer's headers. `prefix` names the module that speaks with the upstream,
/// where one does.
pub(super) fn response(
    edits: &HeaderEdits,
    prefix: Option<&str>,
    at: &FieldPath,
) -> Vec<Directive> {
    let HeaderEdits { remove, set, add } = edits;
    let is_own = |name: &str| is_own(name, prefix.is_some());
    let mut block = Vec::new();
    for (index, name) in remove.iter().enumerate() {
        let at = at.key("remove").index(index);
        if is_own(name) {
            // What the upstream says is hidden all the same where no module removes it wholly.
            block.push(clear(name).from_field(&at));
        }
        block.extend(prefix.map(|prefix| line!(format!("{prefix}_hide_header"), name)));
    }
    for (name, value) in set {
        let at = at.key("set").key(name);
        if is_own(name) {
            let header = literal(&format!("{name}: {value}"));
            block.push(line!("more_set_headers", header).from_field(&at));
            continue;
        }
        block.extend(prefix.map(|prefix| line!(format!("{prefix}_hide_header"), name)));
        block.push(line!("add_header", name, literal(value), "always").from_field(&at));
    }
    for (name, value) in add {
        let at = at.key("add").key(name);
        block.push(line!("add_header", name, literal(value), "always").from_field(&at));
    }
    block
}

fn clear(name: &str) -> Directive {
    line!("more_clear_headers", name)
}

/// Makes the changes of a request's headers in what an upstream is sent: values of nginx by name in
/// lower case.
pub(super) fn request(
    draft: &mut Draft<'_>,
    suffix: &str,
    edits: &HeaderEdits,
    sent: &mut BTreeMap<String, String>,
    at: &FieldPath,
) {
    let HeaderEdits { remove, set, add } = edits;
    for name in remove {
        sent.insert(name.clone(), String::new());
    }
    for (name, value) in set {
        sent.insert(name.clone(), literal(value));
    }
    for (place, (name, value)) in add.iter().enumerate() {
        let before = sent.get(name).cloned().or_else(|| header(name));
        let value = literal(value);
        let joined = match before {
            Some(before) if !before.is_empty() => {
                let none = [(String::new(), value.clone())];
                let suffix = format!("{suffix}_a{place}");
                let default = format!("{before}, {value}");
                let variable =
                    draft.map(&suffix, &before, none, &default, &at.key("add").key(name));
                braced(&variable)
            }
            Some(_) | None => value,
        };
        sent.insert(name.clone(), joined);
    }
}
