//! Writes YAML that Traefik reads as a Go template first, and nothing in it is one.
//!
//! Every text stands in double quotes, in which all but plain characters are escaped. The braces of
//! templates are among them, so `{{` never comes of a text; the structure has none, as it is written in
//! lines.

use std::fmt::Write as _;

use serde_json::{Map, Value};

/// Returns a mapping as YAML.
pub(super) fn write(document: &Map<String, Value>) -> String {
    let mut out = String::new();
    write_map(&mut out, document, 0);
    out
}

fn write_map(out: &mut String, map: &Map<String, Value>, depth: usize) {
    for (key, value) in map {
        indent(out, depth);
        write_key(out, key);
        out.push(':');
        write_value(out, value, depth + 1);
    }
}

/// Writes what follows a key or a dash, to the end of its lines.
fn write_value(out: &mut String, value: &Value, depth: usize) {
    match value {
        Value::Object(map) if map.is_empty() => out.push_str(" {}\n"),
        Value::Object(map) => {
            out.push('\n');
            write_map(out, map, depth);
        }
        Value::Array(items) if items.is_empty() => out.push_str(" []\n"),
        Value::Array(items) => {
            out.push('\n');
            for item in items {
                indent(out, depth);
                out.push('-');
                write_value(out, item, depth + 1);
            }
        }
        Value::String(text) => {
            out.push(' ');
            write_text(out, text);
            out.push('\n');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {
            push(out, format_args!(" {value}\n"));
        }
    }
}

fn indent(out: &mut String, depth: usize) {
    out.extend(std::iter::repeat_n("  ", depth));
}

/// Names of ours are plain; names of headers may be anything.
fn write_key(out: &mut String, key: &str) {
    let begins = key.chars().next().is_some_and(|c| c.is_ascii_alphabetic());
    let is_word = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"]
        .iter()
        .any(|word| key.eq_ignore_ascii_case(word));
    if begins && !is_word && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
        out.push_str(key);
    } else {
        write_text(out, key);
    }
}

fn write_text(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '{' | '}' => push(out, format_args!("\\x{:02x}", u32::from(c))),
            ' '..='~' => out.push(c),
            c if u32::from(c) <= 0xff => push(out, format_args!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) <= 0xffff => push(out, format_args!("\\u{:04x}", u32::from(c))),
            c => push(out, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
}

/// Writing to a string cannot fail.
fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes every text");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saphyr::{LoadableYamlNode as _, Yaml};
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_written_in_lines() {
        let document = json!({"http": {"routers": {"a-b": {"rule": "Host(\"x\")", "priority": 7}},
            "true": [], "x y": ["{{", {"k": true}]}});
        let text = "http:\n  routers:\n    a-b:\n      rule: \"Host(\\\"x\\\")\"\n      priority: 7\n  \
                    \"true\": []\n  \"x y\":\n    - \"\\x7b\\x7b\"\n    -\n      k: true\n";
        assert_eq!(write(document.as_object().unwrap()), text);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_is_no_template(
            key in "\\PC{1,8}",
            text in "[\\PC{}\n\t\"\\\\]{0,20}",
        ) {
            let document = json!({"a": {key.clone(): [text.clone(), {"b": text.clone()}]}});
            let written = write(document.as_object().unwrap());
            prop_assert!(!written.contains("{{"), "{}", written);
            let read = Yaml::load_from_str(&written).unwrap();
            let (name, list) = read[0]["a"].as_mapping().unwrap().iter().next().unwrap();
            prop_assert_eq!(name.as_str(), Some(key.as_str()));
            prop_assert_eq!(list[0].as_str(), Some(text.as_str()));
            prop_assert_eq!(list[1]["b"].as_str(), Some(text.as_str()));
        }
    }
}
