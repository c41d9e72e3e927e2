//! Sites as a site file: stable, readable, and read back as what they were.

use indexmap::IndexMap;
use portway_model::{Name, NodeSpec, SiteSpec};
use serde::Serialize;
use serde_json::Value as Json;

use crate::{
    expand::escape,
    node::{Kind, kind_of},
};

/// A list of short words stands in one line of at most this length.
const LONGEST_FLOW: usize = 80;

/// Writes sites as a site file. Reading it back gives equal specs.
pub fn export(sites: &IndexMap<Name, SiteSpec>) -> String {
    let mut out = "version: 1\n".to_owned();
    if sites.is_empty() {
        out.push_str("sites: {}\n");
        return out;
    }
    out.push_str("sites:\n");
    for (name, spec) in sites {
        out.push_str("  ");
        out.push_str(&key(name.as_str()));
        out.push(':');
        let json = to_json(spec);
        write_field(&mut out, &json, 4);
    }
    out
}

/// Writes nodes as a file of nodes. Reading it back gives equal specs.
pub fn export_nodes(nodes: &IndexMap<Name, NodeSpec>) -> String {
    if nodes.is_empty() {
        return "nodes: {}\n".to_owned();
    }
    let mut out = "nodes:\n".to_owned();
    for (name, spec) in nodes {
        out.push_str("  ");
        out.push_str(&key(name.as_str()));
        out.push(':');
        write_field(&mut out, &to_json(spec), 4);
    }
    // `${…}` is text in it, and needs no escape.
    out.replace("$${", "${")
}

#[expect(clippy::expect_used, reason = "a site has string keys only and no custom serializer")]
fn to_json(spec: &impl Serialize) -> Json {
    serde_json::to_value(spec).expect("a site serializes")
}

/// Writes the value behind a key and its colon.
fn write_field(out: &mut String, value: &Json, indent: usize) {
    match value {
        Json::Object(map) if !map.is_empty() => {
            out.push('\n');
            write_map(out, map, indent, true);
        }
        Json::Array(items) if !items.is_empty() => {
            if let Some(line) = flow(items) {
                push_line(out, &line);
            } else {
                out.push('\n');
                write_list(out, items, indent);
            }
        }
        Json::String(text) => {
            let text = block(text, indent).unwrap_or_else(|| scalar(text));
            push_line(out, &text);
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Array(_) | Json::Object(_) => {
            push_line(out, &value.to_string());
        }
    }
}

fn push_line(out: &mut String, text: &str) {
    out.push(' ');
    out.push_str(text);
    out.push('\n');
}

/// Writes fields; the first one stands behind a dash where `is_at_start` says no.
fn write_map(
    out: &mut String,
    map: &serde_json::Map<String, Json>,
    indent: usize,
    mut is_at_start: bool,
) {
    for (name, value) in map {
        if is_at_start {
            out.push_str(&" ".repeat(indent));
        }
        is_at_start = true;
        out.push_str(&key(name));
        out.push(':');
        write_field(out, value, indent + 2);
    }
}

fn write_list(out: &mut String, items: &[Json], indent: usize) {
    for item in items {
        out.push_str(&" ".repeat(indent));
        out.push('-');
        match item {
            Json::Object(map) if !map.is_empty() => {
                out.push(' ');
                write_map(out, map, indent + 2, false);
            }
            Json::Null
            | Json::Bool(_)
            | Json::Number(_)
            | Json::String(_)
            | Json::Array(_)
            | Json::Object(_) => write_field(out, item, indent + 2),
        }
    }
}

/// Returns a list of short words in one line.
fn flow(items: &[Json]) -> Option<String> {
    let words: Option<Vec<String>> = items
        .iter()
        .map(|item| match item {
            Json::String(text) => Some(scalar(text)),
            Json::Bool(_) | Json::Number(_) => Some(item.to_string()),
            Json::Null | Json::Array(_) | Json::Object(_) => None,
        })
        .collect();
    let line = format!("[{}]", words?.join(", "));
    (line.chars().count() <= LONGEST_FLOW).then_some(line)
}

/// Returns text of several lines as a literal block, where that says exactly the same.
fn block(text: &str, indent: usize) -> Option<String> {
    let body = text.trim_end_matches('\n');
    let is_plain =
        |line: &str| line.chars().all(|c| matches!(c, ' '..='~')) && !line.ends_with(' ');
    if !body.contains('\n') || body.starts_with([' ', '\n']) || !body.split('\n').all(is_plain) {
        return None;
    }
    let chomping = match text.len() - body.len() {
        0 => "-",
        1 => "",
        _ => return None,
    };
    let mut block = format!("|{chomping}");
    for line in escape(body).split('\n') {
        block.push('\n');
        if !line.is_empty() {
            block.push_str(&" ".repeat(indent));
            block.push_str(line);
        }
    }
    Some(block)
}

fn scalar(text: &str) -> String {
    let escaped = escape(text);
    if is_safe(&escaped) { escaped } else { quote(&escaped) }
}

/// Parameters are not put into keys, so nothing is escaped there.
fn key(text: &str) -> String {
    if is_safe(text) && !text.contains(':') { text.to_owned() } else { quote(text) }
}

/// Tells whether a text means itself without quotes, in block and in flow.
fn is_safe(text: &str) -> bool {
    let is_safe_char = |c: char| c.is_ascii_alphanumeric() || " ._/$@%+=:;*^~()<-".contains(c);
    let begins = text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '$'));
    begins
        && text.chars().all(is_safe_char)
        && !text.ends_with([' ', ':'])
        && !text.ends_with(" -")
        && !text.contains(": ")
        && !text.contains("<<")
        && kind_of(text) == Kind::Text
        && !is_switch(text)
}

/// Words that older readers of YAML take for `true` and `false`.
fn is_switch(text: &str) -> bool {
    let words = ["y", "n", "yes", "no", "on", "off"];
    words.iter().any(|word| text.eq_ignore_ascii_case(word))
}

fn quote(text: &str) -> String {
    use std::fmt::Write;

    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            ' '..='~' => quoted.push(c),
            _ if c.is_alphanumeric() => quoted.push(c),
            // Everything that could be a break, invisible or not printable is spelt out.
            _ => {
                let code = u32::from(c);
                #[expect(
                    clippy::let_underscore_must_use,
                    reason = "writing to a string cannot fail"
                )]
                let _ = if code <= 0xffff {
                    write!(quoted, "\\u{code:04X}")
                } else {
                    write!(quoted, "\\U{code:08X}")
                };
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_be_mistaken_is_quoted() {
        for text in [
            "", "5000", "1.2", "true", "null", "yes", "::1", "*", "a: b", "a #b", "- a", "x:", "ä",
            "a,b", "[a]", "a -", "{a}", "'a'", "\n", " a", "a ", "a\tb", "!a", "&a", "@a", "%a",
        ] {
            assert!(scalar(text).starts_with('"'), "{text}");
        }
        for text in ["a.example", "127.0.0.1:5000", "/srv/www", "https://a/b", "$2y$05$abc"] {
            assert_eq!(scalar(text), text);
        }
    }

    #[test]
    fn a_site_reads_like_one_that_a_person_wrote() {
        let mut spec = SiteSpec::proxy("a.example", "127.0.0.1:5000");
        spec.description = Some("first\nsecond\n".to_owned());
        let sites = [("blog".parse().unwrap(), spec)].into_iter().collect();
        assert_eq!(
            export(&sites),
            "version: 1\nsites:\n  blog:\n    hosts: [a.example]\n    to: 127.0.0.1:5000\n    \
             description: |\n      first\n      second\n"
        );
    }
}
