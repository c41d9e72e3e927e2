//! Holds a tree against a shape and makes JSON of what fits. What does not fit is reported and left
//! out, so that the rest is still read.

use std::collections::BTreeMap;

use portway_model::{FieldPath, FindingCode, RemedyAction, ResourceRef, Step, did_you_mean};
use serde_json::{Map as JsonMap, Value as Json};

use crate::{
    expand::{Parameters, Problem},
    node::{Entry, Kind, Map, Node, Scalar, Style, Value},
    positions::{Positions, parent},
    report::Report,
    shape::{Fields, Shape},
    source::Pos,
};

/// Walks one site (or one section of a file).
pub(crate) struct Walker<'a> {
    pub(crate) report: &'a mut Report,
    pub(crate) resource: &'a ResourceRef,
    /// Where the fields stand.
    pub(crate) positions: Positions,
    /// What was left out.
    pub(crate) dropped: Vec<FieldPath>,
    mode: Mode<'a>,
    /// Of lists from which elements were left out: the places of those that stayed.
    kept: BTreeMap<FieldPath, Vec<usize>>,
}

/// How values are read.
#[derive(Clone, Copy)]
pub(crate) enum Mode<'a> {
    /// A whole thing, with parameters put in.
    Whole(&'a Parameters<'a>),
    /// As it stands; `${…}` is text.
    Literal,
    /// An overlay that is not in use: `null` removes, and `${…}` may become anything.
    Overlay,
}

/// Words of other programs for fields of ours.
const ALIASES: [(&str, &str); 23] = [
    ("auth", "access"),
    ("backend", "to"),
    ("client_max_body_size", "max_body"),
    ("dir", "files"),
    ("domain", "hosts"),
    ("domains", "hosts"),
    ("folder", "files"),
    ("gzip", "compress"),
    ("htaccess", "htpasswd"),
    ("location", "path"),
    ("locations", "routes"),
    ("prefix", "path"),
    ("proxy", "to"),
    ("proxy_pass", "to"),
    ("root", "files"),
    ("server_name", "hosts"),
    ("sni", "server_name"),
    ("ssl", "https"),
    ("static", "files"),
    ("target", "to"),
    ("targets", "to"),
    ("tls", "https"),
    ("upstream", "to"),
];

impl<'a> Walker<'a> {
    pub(crate) fn new(report: &'a mut Report, resource: &'a ResourceRef, mode: Mode<'a>) -> Self {
        Self {
            report,
            resource,
            positions: Positions::default(),
            dropped: Vec::new(),
            mode,
            kept: BTreeMap::new(),
        }
    }

    /// Reads the value of a field.
    pub(crate) fn entry(&mut self, entry: &Entry, shape: &Shape, path: &FieldPath) -> Option<Json> {
        let pos = entry.pos();
        self.positions.set(path.clone(), pos.clone());
        self.value(&entry.node, pos, shape, path)
    }

    /// Reads a value that stands at `pos`. Nothing is returned for what does not fit.
    pub(crate) fn value(
        &mut self,
        node: &Node,
        pos: &Pos,
        shape: &Shape,
        path: &FieldPath,
    ) -> Option<Json> {
        let json = match &node.value {
            Value::Scalar(scalar) => self.scalar(scalar, pos, shape, path),
            Value::List(items) => match &shape.list {
                Some(shape) => Some(self.list(items, shape, path)),
                None => self.wrong_type("a list", pos, shape, path),
            },
            Value::Map(map) => match &shape.map {
                Some(fields) => Some(self.map(map, pos, fields, path)),
                None => self.wrong_type("a mapping", pos, shape, path),
            },
        };
        if json.is_none() {
            self.dropped.push(path.clone());
        }
        json
    }

    fn wrong_type(
        &mut self,
        what: &str,
        pos: &Pos,
        shape: &Shape,
        path: &FieldPath,
    ) -> Option<Json> {
        let text = format!("{} is {}, not {what}", last(path), shape.in_words());
        let finding =
            self.report.field(FindingCode::WrongType, self.resource, path, Some(pos), text);
        if shape.text.is_some() && what == "a list" {
            finding.remedy("write the one value, without brackets or dash");
        } else {
            finding.remedy(format!("write {}", shape.in_words()));
        }
        None
    }

    fn list(&mut self, items: &[Node], shape: &Shape, path: &FieldPath) -> Json {
        let mut list = Vec::new();
        let mut kept = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = path.index(index);
            self.positions.set(path.clone(), item.pos.clone());
            if let Some(json) = self.value(item, &item.pos, shape, &path) {
                list.push(json);
                kept.push(index);
            }
        }
        if list.is_empty() && !items.is_empty() {
            self.dropped.push(path.clone());
        }
        if list.len() < items.len() {
            self.kept.insert(path.clone(), kept);
        }
        Json::Array(list)
    }

    fn map(&mut self, map: &Map, pos: &Pos, fields: &Fields, path: &FieldPath) -> Json {
        match fields {
            Fields::Known { fields, required } => {
                let json = self.known_fields(map, fields, path);
                self.require(map, required, pos, path);
                json
            }
            Fields::Any(shape) => {
                let mut json = JsonMap::new();
                for (key, entry) in map {
                    if let Some(value) = self.entry(entry, shape, &path.key(key)) {
                        json.insert(key.clone(), value);
                    }
                }
                if json.is_empty() && !map.is_empty() {
                    self.dropped.push(path.clone());
                }
                Json::Object(json)
            }
        }
    }

    fn known_fields(
        &mut self,
        map: &Map,
        fields: &indexmap::IndexMap<String, Shape>,
        path: &FieldPath,
    ) -> Json {
        let mut json = JsonMap::new();
        for (key, entry) in map {
            let meant = if fields.contains_key(key) {
                Some(key.as_str())
            } else {
                // What was probably meant is read as such, so that its value is checked too.
                self.unknown_field(key, entry, fields, path)
                    .filter(|meant| !map.contains_key(*meant) && !json.contains_key(*meant))
            };
            let Some((meant, shape)) = meant.and_then(|meant| Some((meant, fields.get(meant)?)))
            else {
                self.dropped.push(path.key(key));
                continue;
            };
            if let Some(value) = self.entry(entry, shape, &path.key(meant)) {
                json.insert(meant.to_owned(), value);
            }
        }
        Json::Object(json)
    }

    fn require(&mut self, map: &Map, required: &[String], pos: &Pos, path: &FieldPath) {
        for name in required.iter().filter(|name| !map.contains_key(*name)) {
            self.report
                .field(
                    FindingCode::MissingField,
                    self.resource,
                    &path.key(name),
                    Some(pos),
                    format!("the field `{name}` is missing"),
                )
                .remedy(format!("add `{name}:`"));
            self.dropped.push(path.key(name));
        }
    }

    /// Reports a field that does not exist, and returns the one it was probably meant to be.
    fn unknown_field<'s>(
        &mut self,
        key: &str,
        entry: &Entry,
        fields: &'s indexmap::IndexMap<String, Shape>,
        path: &FieldPath,
    ) -> Option<&'s str> {
        let finding = self.report.field(
            FindingCode::UnknownField,
            self.resource,
            &path.key(key),
            Some(&entry.key_pos),
            format!("there is no field `{}`{}", key.escape_debug(), within(path)),
        );
        let word = key.to_lowercase().replace('-', "_");
        let meant = did_you_mean(&word, fields.keys().map(String::as_str));
        let alias = ALIASES.iter().find(|(foreign, _)| *foreign == word).map(|(_, ours)| *ours);
        let alias = alias.filter(|ours| fields.contains_key(*ours));
        let exact = meant.filter(|meant| *meant == word || alias.is_none());
        if let Some(meant) = exact.or(alias) {
            finding.remedy_action(
                format!("did you mean `{meant}`?"),
                RemedyAction::RenameField(meant.to_owned()),
            );
        } else {
            let names: Vec<String> = fields.keys().map(|name| format!("`{name}`")).collect();
            finding.remedy(format!("the fields here are {}", names.join(", ")));
        }
        exact
    }

    fn scalar(
        &mut self,
        scalar: &Scalar,
        pos: &Pos,
        shape: &Shape,
        path: &FieldPath,
    ) -> Option<Json> {
        let scalar = match self.mode {
            Mode::Overlay if scalar.kind() == Kind::Null || scalar.text.contains("${") => {
                return Some(Json::Null);
            }
            Mode::Literal | Mode::Overlay => scalar.clone(),
            Mode::Whole(parameters) => match parameters.expand(scalar) {
                Ok(scalar) => scalar,
                Err(problems) => {
                    for problem in &problems {
                        self.refuse_reference(problem, pos, path);
                    }
                    return None;
                }
            },
        };
        let is_word = matches!(scalar.style, Style::Plain) && switch_word(&scalar.text).is_some();
        match scalar.kind() {
            Kind::Null => self.no_value(pos, shape, path),
            Kind::Bool(value) if shape.boolean => Some(Json::Bool(value)),
            Kind::Integer if shape.integer.is_some() => self.number(&scalar, pos, shape, path),
            Kind::Text if shape.boolean && is_word => self.misspelt(&scalar, pos, shape, path),
            Kind::Bool(_) | Kind::Integer | Kind::Float | Kind::Text => match &shape.text {
                Some(words) => self.word(scalar.text, words, pos, path),
                None => self.misspelt(&scalar, pos, shape, path),
            },
        }
    }

    fn refuse_reference(&mut self, problem: &Problem, pos: &Pos, path: &FieldPath) {
        let (code, text, remedy) = match problem {
            Problem::Unclosed => (
                FindingCode::InvalidValue,
                "`${` is not closed".to_owned(),
                "write `${NAME}`, or `$${` for the characters themselves".to_owned(),
            ),
            Problem::Name(name) => (
                FindingCode::InvalidName,
                format!("`{}` is not the name of a parameter", name.escape_debug()),
                "use letters, digits and `_`, or write `$${` for the characters themselves"
                    .to_owned(),
            ),
            Problem::Unset { name, meant: Some(meant) } => (
                FindingCode::UnsetParameter,
                format!("the parameter `{name}` has no value"),
                format!("did you mean `${{{meant}}}`?"),
            ),
            Problem::Unset { name, meant: None } => (
                FindingCode::UnsetParameter,
                format!("the parameter `{name}` has no value"),
                format!("give `--set {name}=…`, export {name}, or write `${{{name}:-default}}`"),
            ),
            Problem::TooMuch => (
                FindingCode::InvalidValue,
                "the values of parameters come to more than 64 MiB".to_owned(),
                "use shorter values".to_owned(),
            ),
        };
        self.report.field(code, self.resource, path, Some(pos), text).remedy(remedy);
    }

    fn no_value(&mut self, pos: &Pos, shape: &Shape, path: &FieldPath) -> Option<Json> {
        let text = format!("{} has no value", last(path));
        self.report
            .field(FindingCode::WrongType, self.resource, path, Some(pos), text)
            .remedy(format!("write {}, or remove the field", shape.in_words()));
        None
    }

    fn number(
        &mut self,
        scalar: &Scalar,
        pos: &Pos,
        shape: &Shape,
        path: &FieldPath,
    ) -> Option<Json> {
        let (least, most) = shape.integer?;
        let number = scalar.number().filter(|number| (least..=most).contains(number));
        if number.is_none() {
            self.report
                .field(
                    FindingCode::InvalidValue,
                    self.resource,
                    path,
                    Some(pos),
                    format!("{} is out of range", last(path)),
                )
                .remedy(match most {
                    u64::MAX => format!("write a whole number, {least} or more"),
                    most => format!("write a whole number from {least} to {most}"),
                });
        }
        number.map(Json::from)
    }

    fn word(
        &mut self,
        text: String,
        words: &[String],
        pos: &Pos,
        path: &FieldPath,
    ) -> Option<Json> {
        if words.is_empty() || words.contains(&text) {
            return Some(Json::String(text));
        }
        let finding = self.report.field(
            FindingCode::InvalidValue,
            self.resource,
            path,
            Some(pos),
            format!("`{}` is none of the words for {}", text.escape_debug(), last(path)),
        );
        if let Some(meant) = did_you_mean(&text, words.iter().map(String::as_str)) {
            finding.remedy_action(
                format!("did you mean `{meant}`?"),
                RemedyAction::ReplaceValue(meant.to_owned()),
            );
        } else {
            finding.remedy(format!("write one of: {}", words.join(", ")));
        }
        None
    }

    /// Reports a single value of the wrong type. A value that stands where a list of such is wanted
    /// is read on as a list of one.
    fn misspelt(
        &mut self,
        scalar: &Scalar,
        pos: &Pos,
        shape: &Shape,
        path: &FieldPath,
    ) -> Option<Json> {
        let found = match scalar.kind() {
            Kind::Null => "nothing",
            Kind::Bool(_) => "`true` or `false`",
            Kind::Integer => "a whole number",
            Kind::Float => "a number",
            Kind::Text => "text",
        };
        let switch = switch_word(&scalar.text).filter(|_| shape.boolean);
        let text = match switch {
            Some(word) => format!("`{}` is text in YAML 1.2, not `{word}`", scalar.text),
            None => format!("{} is {}, not {found}", last(path), shape.in_words()),
        };
        let finding =
            self.report.field(FindingCode::WrongType, self.resource, path, Some(pos), text);
        let plain = Scalar { text: scalar.text.clone(), style: Style::Plain };
        let fits_unquoted = match plain.kind() {
            Kind::Bool(_) => shape.boolean,
            Kind::Integer => shape.integer.is_some(),
            Kind::Null | Kind::Float | Kind::Text => false,
        };
        let element = shape.list.as_ref().filter(|shape| shape.text.is_some());
        if let Some(word) = switch {
            finding.remedy_action(
                format!("write `{word}`"),
                RemedyAction::ReplaceValue(word.to_owned()),
            );
        } else if scalar.style == Style::Quoted && fits_unquoted {
            finding.remedy("remove the quotes");
        } else if element.is_some() {
            finding.remedy("put it into brackets, `[…]`, or on a line of its own behind a dash");
        } else {
            finding.remedy(format!("write {}", shape.in_words()));
        }
        let element = element?;
        let path = path.index(0);
        self.positions.set(path.clone(), pos.clone());
        let json = self.word(scalar.text.clone(), element.text.as_deref()?, pos, &path)?;
        Some(Json::Array(vec![json]))
    }

    /// Returns a path into the JSON as a path into the file: elements that were left out count.
    pub(crate) fn original(&self, path: &FieldPath) -> FieldPath {
        path.steps().iter().fold(FieldPath::root(), |outer, step| match step {
            Step::Key(key) => outer.key(key),
            Step::Index(index) => {
                let place = self.kept.get(&outer).and_then(|kept| kept.get(*index));
                outer.index(*place.unwrap_or(index))
            }
        })
    }

    /// Tells whether something that was left out is this field or stands directly in it.
    pub(crate) fn is_incomplete(&self, path: &FieldPath) -> bool {
        self.dropped.iter().any(|dropped| dropped == path || parent(dropped).as_ref() == Some(path))
    }
}

/// Returns what a field is called in a sentence.
fn last(path: &FieldPath) -> String {
    match (path.steps().last(), parent(path)) {
        (Some(Step::Key(key)), _) => format!("`{}`", key.escape_debug()),
        (Some(Step::Index(_)), Some(list)) => format!("an element of {}", last(&list)),
        (Some(Step::Index(_)), None) | (None, _) => "a site".to_owned(),
    }
}

fn within(path: &FieldPath) -> String {
    if path.steps().is_empty() { String::new() } else { format!(" in `{path}`") }
}

/// YAML 1.1 read these as switches; YAML 1.2 reads them as text.
fn switch_word(text: &str) -> Option<&'static str> {
    match text.to_ascii_lowercase().as_str() {
        "yes" | "on" | "y" => Some("true"),
        "no" | "off" | "n" => Some("false"),
        _ => None,
    }
}
