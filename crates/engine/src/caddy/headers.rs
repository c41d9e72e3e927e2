//! Changes of headers, and what an upstream is told of the client.

use portway_model::{FieldPath, site::HeaderEdits};

use super::{
    site::Lines,
    syntax::{Directive, Word},
    text::Unwritable,
};

use crate::go_pattern::UPGRADE_TO_HTTP;

/// What claims to say who asks, also with underscores for its hyphens, as applications read it.
const CLAIMS: [&str; 10] = [
    "-X-Forwarded-*",
    "-X_Forwarded_*",
    "-X-Forwarded_*",
    "-X_Forwarded-*",
    "-Forwarded",
    "-X-Real-Ip",
    "-X_Real_Ip",
    "-X-Request-Id",
    "-X_Request_Id",
    "-X-Portway-*",
];

/// Tells whether Caddy takes a header's name for itself; it reads other characters as instructions.
pub(super) fn is_plain(name: &str) -> bool {
    let begins = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    begins && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// Writes the changes of an answer. They wrap each other, and the innermost is applied first, so the
/// order is turned round: remove, then set, then add.
pub(super) fn response(
    lines: &mut Lines<'_>,
    edits: &HeaderEdits,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let HeaderEdits { remove, set, add } = edits;
    let at = at.key("response");
    let added = add.iter().map(|(name, value)| (format!("+{name}"), Some(value.as_str())));
    deferred(lines, added.collect(), &at.key("add"))?;
    let set = set.iter().map(|(name, value)| (name.clone(), Some(value.as_str())));
    deferred(lines, set.collect(), &at.key("set"))?;
    let removed = remove.iter().map(|name| (format!("-{name}"), None));
    deferred(lines, removed.collect(), &at.key("remove"))
}

/// Writes changes that are made when the answer begins, whoever gives it.
pub(super) fn deferred(
    lines: &mut Lines<'_>,
    edits: Vec<(String, Option<&str>)>,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let mut block = Vec::new();
    for (name, value) in edits {
        let value = value.map(Word::text).transpose()?;
        block.push(Directive::new(std::iter::once(Word::from(name)).chain(value)));
    }
    if block.is_empty() {
        return Ok(());
    }
    block.push(Directive::new(["defer"]));
    lines.from(at);
    lines.put(Directive::new(["header", "*"]).with(block))
}

/// Writes the changes of a request, in their order.
pub(super) fn request(
    lines: &mut Lines<'_>,
    edits: &HeaderEdits,
    at: &FieldPath,
) -> Result<(), Unwritable> {
    let HeaderEdits { remove, set, add } = edits;
    let at = at.key("request");
    for (index, name) in remove.iter().enumerate() {
        lines.from(&at.key("remove").index(index));
        lines.put(change(format!("-{name}"), None)?)?;
    }
    for (name, value) in set {
        lines.from(&at.key("set").key(name));
        lines.put(change(name.clone(), Some(value))?)?;
    }
    for (name, value) in add {
        lines.from(&at.key("add").key(name));
        lines.put(change(format!("+{name}"), Some(value.as_str()))?)?;
    }
    Ok(())
}

fn change(name: String, value: Option<&str>) -> Result<Directive, Unwritable> {
    let value = value.map(Word::text).transpose()?;
    let words = [Word::ours("request_header"), Word::ours("*"), Word::from(name)];
    Ok(Directive::new(words.into_iter().chain(value)))
}

/// Writes what an upstream is told of the client. What strangers claim is dropped first; Caddy itself
/// sets `X-Forwarded-For`, `-Proto` and `-Host` when it forwards.
pub(super) fn forwarded(
    lines: &mut Lines<'_>,
    port: u16,
    stripped: Option<&str>,
) -> Result<(), Unwritable> {
    for claim in CLAIMS {
        lines.put(Directive::new(["request_header", "*", claim]))?;
    }
    let words = ["@portway_upgrade", "header_regexp", "Upgrade", UPGRADE_TO_HTTP];
    lines.put(Directive::new(words))?;
    for name in ["-Upgrade", "-Http2-Settings"] {
        lines.put(Directive::new(["request_header", "@portway_upgrade", name]))?;
    }
    let mut told = vec![
        ("X-Real-IP", Word::ours("{http.request.remote.host}")),
        ("X-Request-Id", Word::ours("{http.request.uuid}")),
        ("X-Forwarded-Port", Word::from(port.to_string())),
    ];
    if let Some(prefix) = stripped {
        told.push(("X-Forwarded-Prefix", Word::text(prefix)?));
    }
    for (name, value) in told {
        let words = ["request_header", "*", name].map(Word::ours);
        lines.put(Directive::new(words.into_iter().chain([value])))?;
    }
    Ok(())
}
