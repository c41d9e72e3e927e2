//! Parameters: `${NAME}` and `${NAME:-default}` in values, `$$` for a dollar sign.
//!
//! What is put in is never read as YAML again: a parameter can fill a value, not add a field. And
//! it is put in once: a `${…}` within a parameter's value stays as it is.

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
};

use portway_model::did_you_mean;

use crate::{
    load::Options,
    node::{Node, Scalar, Style, Value},
};

/// What all values taken from parameters may come to; more is a mistake or an attack on memory.
const MOST_BYTES: usize = 64 << 20;

/// The parameters of a load and their values.
#[derive(Debug)]
pub(crate) struct Parameters<'a> {
    options: &'a Options,
    /// Declared names with their defaults.
    declared: BTreeMap<String, Option<String>>,
    bytes: Cell<usize>,
}

/// Why a value cannot be put in.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// A `${` without its `}`.
    Unclosed,
    /// What stands in the braces is no name.
    Name(String),
    /// Nothing gives the parameter a value.
    Unset { name: String, meant: Option<String> },
    /// All values together have become too large.
    TooMuch,
}

impl<'a> Parameters<'a> {
    pub(crate) fn new(options: &'a Options, declared: BTreeMap<String, Option<String>>) -> Self {
        Self { options, declared, bytes: Cell::new(0) }
    }

    /// Returns the value of a parameter: from the command line, the environment or its default.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        let given = self.options.set.get(name).or_else(|| self.options.variables.get(name));
        given.or_else(|| self.declared.get(name)?.as_ref()).map(String::as_str)
    }

    /// Puts values in. Returns the scalar as it is meant, or all that is wrong with it.
    pub(crate) fn expand(&self, scalar: &Scalar) -> Result<Scalar, Vec<Problem>> {
        if !scalar.text.contains('$') {
            return Ok(scalar.clone());
        }
        let parts = split(&scalar.text);
        let mut text = String::new();
        let mut problems = Vec::new();
        for part in &parts {
            match self.part(part) {
                Ok(value) => text.push_str(value),
                Err(problem) => problems.push(problem),
            }
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        self.bytes.set(self.bytes.get().saturating_add(text.len()));
        if self.bytes.get() > MOST_BYTES {
            return Err(vec![Problem::TooMuch]);
        }
        let is_filled = parts.iter().any(|part| matches!(part, Part::Reference { .. }));
        let is_whole = parts.len() == 1;
        let style = if is_filled && (is_whole || scalar.style != Style::Quoted) {
            Style::Substituted
        } else {
            scalar.style
        };
        Ok(Scalar { text, style })
    }

    fn unset(&self, name: &str) -> Problem {
        let others = self.declared.keys().map(String::as_str).filter(|other| *other != name);
        let meant = did_you_mean(name, others).filter(|_| !self.declared.contains_key(name));
        Problem::Unset { name: name.to_owned(), meant: meant.map(str::to_owned) }
    }

    fn part<'b>(&'b self, part: &'b Part<'b>) -> Result<&'b str, Problem> {
        match part {
            Part::Text(text) => Ok(text),
            Part::Unclosed => Err(Problem::Unclosed),
            Part::Reference { name, .. } if !is_name(name) => {
                Err(Problem::Name((*name).to_owned()))
            }
            Part::Reference { name, default } => {
                // As in a shell, `:-` also stands in for an empty value.
                let value = self.value(name).filter(|value| default.is_none() || !value.is_empty());
                value.or(*default).ok_or_else(|| self.unset(name))
            }
        }
    }
}

/// A piece of a value.
#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    Text(&'a str),
    Reference { name: &'a str, default: Option<&'a str> },
    Unclosed,
}

fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        push_text(&mut parts, before);
        if let Some(after) = after.strip_prefix('$') {
            parts.push(Part::Text("$"));
            rest = after;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some((inner, after)) = inner.split_once('}') else {
                parts.push(Part::Unclosed);
                return parts;
            };
            parts.push(match inner.split_once(":-") {
                Some((name, default)) => Part::Reference { name, default: Some(default) },
                None => Part::Reference { name: inner, default: None },
            });
            rest = after;
        } else {
            parts.push(Part::Text("$"));
            rest = after;
        }
    }
    push_text(&mut parts, rest);
    parts
}

fn push_text<'a>(parts: &mut Vec<Part<'a>>, text: &'a str) {
    if !text.is_empty() {
        parts.push(Part::Text(text));
    }
}

/// Tells whether a text can name a parameter, and an environment variable.
pub(crate) fn is_name(text: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !text.is_empty() && text.bytes().all(is_word) && !text.starts_with(|c: char| c.is_ascii_digit())
}

/// Collects the names to which a tree refers.
pub(crate) fn references(node: &Node, names: &mut BTreeSet<String>) {
    match &node.value {
        Value::Scalar(scalar) => {
            names.extend(split(&scalar.text).into_iter().filter_map(|part| match part {
                Part::Reference { name, .. } => Some(name.to_owned()),
                Part::Text(_) | Part::Unclosed => None,
            }));
        }
        Value::List(items) => items.iter().for_each(|item| references(item, names)),
        Value::Map(map) => map.values().for_each(|entry| references(&entry.node, names)),
    }
}

/// Writes a text so that expanding it gives the text back.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        escaped.push(c);
        if c == '$' && matches!(chars.peek(), Some('$' | '{')) {
            escaped.push('$');
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn expand(text: &str, style: Style) -> Result<Scalar, Vec<Problem>> {
        let set = [("port".to_owned(), "80".to_owned()), ("none".to_owned(), String::new())];
        let options = Options { set: set.into(), ..Options::default() };
        let declared =
            [("host".to_owned(), Some("a.example".to_owned())), ("pass".to_owned(), None)];
        Parameters::new(&options, declared.into()).expand(&Scalar { text: text.to_owned(), style })
    }

    fn text(text: &str) -> String {
        expand(text, Style::Quoted).unwrap().text
    }

    #[test]
    fn values_are_put_in() {
        assert_eq!(text("https://${host}:${port}/"), "https://a.example:80/");
        assert_eq!(text("${other:-x}${none:-y}${none}"), "xy");
        assert_eq!(text("$$${port} costs $5 $$5 $"), "$80 costs $5 $5 $");
        assert_eq!(text("$$${host}"), "$a.example");
        assert_eq!(text("$${host}"), "${host}");
    }

    #[test]
    fn the_style_says_what_a_value_may_become() {
        let style = |text, style| expand(text, style).unwrap().style;
        assert_eq!(style("${port}", Style::Quoted), Style::Substituted);
        assert_eq!(style("${port}", Style::Plain), Style::Substituted);
        assert_eq!(style("${port}0", Style::Quoted), Style::Quoted);
        assert_eq!(style("$$", Style::Quoted), Style::Quoted);
    }

    #[test]
    fn all_problems_of_a_value_are_named() {
        let unset = |name: &str, meant: Option<&str>| Problem::Unset {
            name: name.to_owned(),
            meant: meant.map(str::to_owned),
        };
        assert_eq!(
            expand("${hots}${pass}${a b}${", Style::Plain).unwrap_err(),
            [
                unset("hots", Some("host")),
                unset("pass", None),
                Problem::Name("a b".to_owned()),
                Problem::Unclosed
            ]
        );
    }

    proptest! {
        #[test]
        fn what_is_escaped_expands_to_itself(written in "[${}a:-]{0,12}") {
            prop_assert_eq!(text(&escape(&written)), written);
        }
    }
}
