//! Header names and values, and the changes that are made to them.

use std::collections::BTreeMap;

use super::{Checked, Faulty, each};
use crate::{
    FieldPath, FindingCode, Findings,
    site::{HeaderEdits, spec::HeaderEditsSpec},
};

/// Longer values are refused by many servers, whose whole header section ends at 8 KiB.
const LONGEST_VALUE: usize = 8192;

/// Headers that say how a message is framed or that belong to one connection (RFC 9110 §7.6.1,
/// RFC 9112 §6), and the one by which the edge proves itself to Portway's own API. Changing the
/// former would let two readers of one message disagree about its end; the latter is a secret.
const OWNED: [&str; 12] = [
    "connection",
    "content-length",
    "expect",
    "host",
    "http2-settings",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-portway-edge",
];

/// Reads the changes of one direction.
pub(super) fn edits(
    spec: Option<&HeaderEditsSpec>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<HeaderEdits> {
    let Some(spec) = spec else {
        return Ok(HeaderEdits::default());
    };
    let set = edited_values(&spec.set, &path.key("set"), findings);
    let add = edited_values(&spec.add, &path.key("add"), findings);
    let remove =
        each(&spec.remove, &path.key("remove"), |name, path| edited_name(name, path, findings));
    let mut remove = remove?;
    remove.sort();
    remove.dedup();
    Ok(HeaderEdits { remove, set: set?, add: add? })
}

fn edited_values(
    written: &BTreeMap<String, String>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BTreeMap<String, String>> {
    read_values(written, path, findings, edited_name)
}

/// Reads the headers that a route asks for.
pub(super) fn matched(
    written: &BTreeMap<String, String>,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<BTreeMap<String, String>> {
    read_values(written, path, findings, header_name)
}

fn read_values(
    written: &BTreeMap<String, String>,
    path: &FieldPath,
    findings: &mut Findings,
    read_name: fn(&str, &FieldPath, &mut Findings) -> Checked<String>,
) -> Checked<BTreeMap<String, String>> {
    let mut headers = BTreeMap::new();
    let mut sound = true;
    for (name, text) in written {
        let path = path.key(name);
        let name = read_name(name, &path, findings);
        let text = value(text, &path, findings);
        let (Ok(name), Ok(text)) = (name, text) else {
            sound = false;
            continue;
        };
        if headers.insert(name.clone(), text).is_some() {
            findings
                .error(
                    FindingCode::DuplicateField,
                    &path,
                    format!("`{name}` stands here twice; header names have no case"),
                )
                .remedy("remove one of them");
        }
    }
    if sound { Ok(headers) } else { Err(Faulty) }
}

fn edited_name(name: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let name = header_name(name, path, findings)?;
    if !OWNED.contains(&name.as_str()) {
        return Ok(name);
    }
    let finding = findings.error(
        FindingCode::InvalidValue,
        path,
        format!("`{name}` belongs to the connection and cannot be changed"),
    );
    if name == "host" {
        finding
            .remedy("set the Host header that the upstream sees with `to: {targets: …, host: …}`");
    } else {
        finding.remedy("remove it; Portway sets it as each connection needs it");
    }
    Err(Faulty)
}

/// Reads the name of a header, in lower case.
pub(super) fn header_name(
    name: &str,
    path: &FieldPath,
    findings: &mut Findings,
) -> Checked<String> {
    if is_token(name) {
        return Ok(name.to_ascii_lowercase());
    }
    findings
        .error(FindingCode::InvalidName, path, format!("`{name}` is not a header name"))
        .remedy("use letters, digits and `-`, for example `X-Frame-Options`");
    Err(Faulty)
}

/// Reads a header value.
pub(super) fn value(text: &str, path: &FieldPath, findings: &mut Findings) -> Checked<String> {
    let problem = if text.chars().any(char::is_control) {
        "a header value has no line breaks and control characters"
    } else if text.len() > LONGEST_VALUE {
        "a header value has at most 8192 bytes"
    } else {
        return Ok(text.trim().to_owned());
    };
    findings
        .error(FindingCode::InvalidValue, path, problem)
        .remedy("write the value in one line of text");
    Err(Faulty)
}

/// Tells whether a text is a token (RFC 9110 §5.6.2), as header names and methods are.
pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}
