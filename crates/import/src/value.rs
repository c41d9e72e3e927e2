//! YAML and TOML as one tree in which every value knows its line.

use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser};

/// A value with its line.
#[derive(Clone, Debug)]
pub(crate) struct Value {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Kind {
    Text(String),
    List(Vec<Value>),
    Map(Vec<(String, Value)>),
}

const DEEPEST: usize = 64;

/// Reads YAML. Aliases are refused: expanded, a small file can fill the memory.
pub(crate) fn of_yaml(text: &str) -> Result<Option<Value>, String> {
    /// What is open, with the key that waits for its value.
    struct Open {
        value: Value,
        key: Option<String>,
    }
    let mut open: Vec<Open> = Vec::new();
    let mut root = None;
    let mut documents = 0;
    for event in Parser::new_from_str(text) {
        let (event, span) =
            event.map_err(|error| format!("{}: {}", error.marker().line(), error.info()))?;
        let line = span.start.line();
        let done = match event {
            Event::DocumentStart(_) => {
                documents += 1;
                if documents > 1 {
                    return Err(format!("{line}: a second document begins"));
                }
                None
            }
            Event::Alias(_) => return Err(format!("{line}: aliases are not followed")),
            Event::Scalar(text, ..) => Some(Value { line, kind: Kind::Text(text.into_owned()) }),
            Event::SequenceStart(..) | Event::MappingStart(..) => {
                if open.len() >= DEEPEST {
                    return Err(format!("{line}: more than {DEEPEST} levels"));
                }
                let is_list = matches!(event, Event::SequenceStart(..));
                let kind = if is_list { Kind::List(Vec::new()) } else { Kind::Map(Vec::new()) };
                open.push(Open { value: Value { line, kind }, key: None });
                None
            }
            Event::SequenceEnd | Event::MappingEnd => open.pop().map(|open| open.value),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => None,
        };
        let Some(done) = done else { continue };
        let Some(top) = open.last_mut() else {
            root = Some(done);
            continue;
        };
        match (&mut top.value.kind, top.key.take()) {
            (Kind::List(items), _) => items.push(done),
            (Kind::Map(entries), Some(key)) => entries.push((key, done)),
            (Kind::Map(_), None) => match done.kind {
                Kind::Text(key) => top.key = Some(key),
                Kind::List(_) | Kind::Map(_) => return Err(format!("{line}: a key is no text")),
            },
            (Kind::Text(_), _) => {}
        }
    }
    Ok(root)
}

/// Reads TOML.
pub(crate) fn of_toml(text: &str) -> Result<Value, String> {
    let document = toml_edit::Document::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line_at(text, span.start));
        format!("{line}: {}", error.message())
    })?;
    Ok(of_item(document.as_item(), text, 1))
}

fn of_item(item: &toml_edit::Item, text: &str, outer: usize) -> Value {
    let line = item.span().map_or(outer, |span| line_at(text, span.start));
    let kind = match item {
        toml_edit::Item::None => Kind::Text(String::new()),
        toml_edit::Item::Value(value) => return of_value(value, text, line),
        toml_edit::Item::Table(table) => Kind::Map(
            table.iter().map(|(key, item)| (key.to_owned(), of_item(item, text, line))).collect(),
        ),
        toml_edit::Item::ArrayOfTables(tables) => Kind::List(
            tables
                .iter()
                .map(|table| {
                    let line = table.span().map_or(line, |span| line_at(text, span.start));
                    let entries =
                        table.iter().map(|(key, item)| (key.to_owned(), of_item(item, text, line)));
                    Value { line, kind: Kind::Map(entries.collect()) }
                })
                .collect(),
        ),
    };
    Value { line, kind }
}

fn of_value(value: &toml_edit::Value, text: &str, outer: usize) -> Value {
    let line = value.span().map_or(outer, |span| line_at(text, span.start));
    let kind = match value {
        toml_edit::Value::String(text) => Kind::Text(text.value().clone()),
        toml_edit::Value::Integer(number) => Kind::Text(number.value().to_string()),
        toml_edit::Value::Float(number) => Kind::Text(number.value().to_string()),
        toml_edit::Value::Boolean(switch) => Kind::Text(switch.value().to_string()),
        toml_edit::Value::Datetime(time) => Kind::Text(time.value().to_string()),
        toml_edit::Value::Array(items) => {
            Kind::List(items.iter().map(|item| of_value(item, text, line)).collect())
        }
        toml_edit::Value::InlineTable(table) => Kind::Map(
            table
                .iter()
                .map(|(key, value)| (key.to_owned(), of_value(value, text, line)))
                .collect(),
        ),
    };
    Value { line, kind }
}

fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

impl Value {
    /// Returns the entries of a mapping by their names.
    pub(crate) fn entries(&self) -> BTreeMap<&str, &Self> {
        match &self.kind {
            Kind::Map(entries) => {
                entries.iter().map(|(key, value)| (key.as_str(), value)).collect()
            }
            Kind::Text(_) | Kind::List(_) => BTreeMap::new(),
        }
    }
}
