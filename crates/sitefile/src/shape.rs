//! What a value may look like, taken from the JSON Schema of the model. A value may have several
//! forms, but each of another JSON type, so that the type of what is written always says which form
//! was meant.

use std::sync::LazyLock;

use indexmap::IndexMap;
use portway_model::{NodeSpec, SiteSpec};
use serde_json::{Map as JsonMap, Value as Json};

/// The forms a value may have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Shape {
    /// Text; one of these words, or any text when there are none.
    pub(crate) text: Option<Vec<String>>,
    pub(crate) boolean: bool,
    /// A whole number within bounds.
    pub(crate) integer: Option<(u64, u64)>,
    pub(crate) list: Option<Box<Shape>>,
    pub(crate) map: Option<Fields>,
}

/// The fields of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Fields {
    /// These and no others.
    Known { fields: IndexMap<String, Shape>, required: Vec<String> },
    /// Any names, with values of one shape.
    Any(Box<Shape>),
}

/// Why a schema is no shape: a fault of this program, which a test finds.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShapeError {
    /// Two forms have the same JSON type.
    #[error("two forms of {0} cannot be told apart")]
    Ambiguous(&'static str),
    /// A keyword that is not read here.
    #[error("the keyword `{0}` is not known")]
    Keyword(String),
    /// A `$ref` that leads nowhere.
    #[error("`{0}` is not defined")]
    Reference(String),
}

/// Returns the shape of a site.
#[expect(
    clippy::expect_used,
    reason = "the schema is fixed when this is compiled; a test reads it"
)]
pub(crate) fn of_site() -> &'static Shape {
    static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
        let schema = Json::from(schemars::schema_for!(SiteSpec));
        Shape::from_schema(&schema).expect("the schema of a site is a shape")
    });
    &SHAPE
}

/// Returns the shape of a node.
#[expect(
    clippy::expect_used,
    reason = "the schema is fixed when this is compiled; a test reads it"
)]
pub(crate) fn of_node() -> &'static Shape {
    static SHAPE: LazyLock<Shape> = LazyLock::new(|| {
        let schema = Json::from(schemars::schema_for!(NodeSpec));
        Shape::from_schema(&schema).expect("the schema of a node is a shape")
    });
    &SHAPE
}

impl Shape {
    /// Any text.
    pub(crate) fn any_text() -> Self {
        Self { text: Some(Vec::new()), ..Self::default() }
    }

    /// `true` or `false`.
    pub(crate) fn boolean() -> Self {
        Self { boolean: true, ..Self::default() }
    }

    /// A mapping with these fields.
    pub(crate) fn fields(fields: impl IntoIterator<Item = (&'static str, Self)>) -> Self {
        let fields = fields.into_iter().map(|(name, shape)| (name.to_owned(), shape)).collect();
        let map = Some(Fields::Known { fields, required: Vec::new() });
        Self { map, ..Self::default() }
    }

    /// Reads a JSON Schema with its definitions.
    pub(crate) fn from_schema(schema: &Json) -> Result<Self, ShapeError> {
        let empty = JsonMap::new();
        let definitions = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
        read(schema, definitions)
    }

    /// Adds the forms of another shape.
    fn or(self, other: Self) -> Result<Self, ShapeError> {
        Ok(Self {
            text: either(self.text, other.text, "text")?,
            boolean: either(self.boolean.then_some(()), other.boolean.then_some(()), "booleans")?
                .is_some(),
            integer: either(self.integer, other.integer, "numbers")?,
            list: either(self.list, other.list, "lists")?,
            map: either(self.map, other.map, "mappings")?,
        })
    }

    /// Returns the forms in words.
    pub(crate) fn in_words(&self) -> String {
        let words: Vec<&str> = [
            ("`true` or `false`", self.boolean),
            ("a whole number", self.integer.is_some()),
            ("text", self.text.is_some()),
            ("a list", self.list.is_some()),
            ("a mapping", self.map.is_some()),
        ]
        .into_iter()
        .filter_map(|(word, is_there)| is_there.then_some(word))
        .collect();
        match words.split_last() {
            Some((last, [])) => (*last).to_owned(),
            Some((last, others)) => format!("{} or {last}", others.join(", ")),
            None => "nothing".to_owned(),
        }
    }
}

fn either<T>(a: Option<T>, b: Option<T>, what: &'static str) -> Result<Option<T>, ShapeError> {
    match (a, b) {
        (Some(_), Some(_)) => Err(ShapeError::Ambiguous(what)),
        (a, b) => Ok(a.or(b)),
    }
}

/// Keywords that say nothing about the form of a value.
const ANNOTATIONS: [&str; 8] =
    ["$schema", "$defs", "title", "description", "default", "format", "minimum", "maximum"];

fn read(schema: &Json, definitions: &JsonMap<String, Json>) -> Result<Shape, ShapeError> {
    let mut shape = Shape::default();
    let empty = JsonMap::new();
    let schema = schema.as_object().unwrap_or(&empty);
    for (keyword, value) in schema {
        let more = match keyword.as_str() {
            "$ref" => reference(value, definitions)?,
            "anyOf" | "oneOf" => forms(value, definitions)?,
            "type" => types(value, schema, definitions)?,
            // Read together with `type`.
            "properties" | "additionalProperties" | "required" | "items" | "enum" => continue,
            other if ANNOTATIONS.contains(&other) => continue,
            other => return Err(ShapeError::Keyword(other.to_owned())),
        };
        shape = shape.or(more)?;
    }
    Ok(shape)
}

fn reference(value: &Json, definitions: &JsonMap<String, Json>) -> Result<Shape, ShapeError> {
    let name = value.as_str().unwrap_or_default();
    let definition = name.strip_prefix("#/$defs/").and_then(|name| definitions.get(name));
    read(definition.ok_or_else(|| ShapeError::Reference(name.to_owned()))?, definitions)
}

fn forms(value: &Json, definitions: &JsonMap<String, Json>) -> Result<Shape, ShapeError> {
    let mut shape = Shape::default();
    for form in value.as_array().into_iter().flatten() {
        shape = shape.or(read(form, definitions)?)?;
    }
    Ok(shape)
}

fn types(
    value: &Json,
    schema: &JsonMap<String, Json>,
    definitions: &JsonMap<String, Json>,
) -> Result<Shape, ShapeError> {
    let mut shape = Shape::default();
    let one = std::slice::from_ref(value);
    for name in value.as_array().map_or(one, Vec::as_slice) {
        shape = shape.or(match name.as_str().unwrap_or_default() {
            // Nothing is not a value in a site file: what is not wanted is not written.
            "null" => Shape::default(),
            "string" => Shape { text: Some(words(schema)), ..Shape::default() },
            "boolean" => Shape::boolean(),
            "integer" => Shape { integer: Some(bounds(schema)), ..Shape::default() },
            "array" => {
                let items = read(schema.get("items").unwrap_or(&Json::Null), definitions)?;
                Shape { list: Some(Box::new(items)), ..Shape::default() }
            }
            "object" => Shape { map: Some(fields(schema, definitions)?), ..Shape::default() },
            other => return Err(ShapeError::Keyword(format!("type: {other}"))),
        })?;
    }
    Ok(shape)
}

fn words(schema: &JsonMap<String, Json>) -> Vec<String> {
    let words = schema.get("enum").and_then(Json::as_array).into_iter().flatten();
    words.filter_map(Json::as_str).map(str::to_owned).collect()
}

fn bounds(schema: &JsonMap<String, Json>) -> (u64, u64) {
    let of_format = match schema.get("format").and_then(Json::as_str) {
        Some("uint8") => u64::from(u8::MAX),
        Some("uint16") => u64::from(u16::MAX),
        Some("uint32") => u64::from(u32::MAX),
        Some(_) | None => u64::MAX,
    };
    let number = |keyword| schema.get(keyword).and_then(Json::as_u64);
    (number("minimum").unwrap_or(0), number("maximum").unwrap_or(of_format))
}

fn fields(
    schema: &JsonMap<String, Json>,
    definitions: &JsonMap<String, Json>,
) -> Result<Fields, ShapeError> {
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        let values = schema.get("additionalProperties").unwrap_or(&Json::Null);
        return Ok(Fields::Any(Box::new(read(values, definitions)?)));
    };
    let mut fields = IndexMap::new();
    for (name, property) in properties {
        fields.insert(name.clone(), read(property, definitions)?);
    }
    let required = schema.get("required").and_then(Json::as_array).into_iter().flatten();
    let required = required.filter_map(Json::as_str).map(str::to_owned).collect();
    Ok(Fields::Known { fields, required })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_forms_of_every_field_can_be_told_apart() {
        let schema = Json::from(schemars::schema_for!(SiteSpec));
        let shape = Shape::from_schema(&schema).unwrap();
        let Some(Fields::Known { fields, .. }) = shape.map else { panic!("a mapping") };
        assert!(fields["hosts"].list.is_some());
        assert_eq!(fields["to"].in_words(), "text, a list or a mapping");
        assert_eq!(fields["log"].in_words(), "`true` or `false`, text or a mapping");
    }

    #[test]
    fn two_forms_of_one_type_are_a_fault() {
        let schema = json!({"anyOf": [{"type": "string"}, {"type": ["null", "string"]}]});
        assert!(matches!(Shape::from_schema(&schema), Err(ShapeError::Ambiguous("text"))));
    }

    #[test]
    fn what_is_not_understood_is_a_fault() {
        let schema = json!({"type": "string", "pattern": "x"});
        assert!(matches!(Shape::from_schema(&schema), Err(ShapeError::Keyword(_))));
        let schema = json!({"$ref": "#/$defs/Nothing"});
        assert!(matches!(Shape::from_schema(&schema), Err(ShapeError::Reference(_))));
    }

    #[test]
    fn numbers_have_the_bounds_of_their_type() {
        let schema = json!({"type": "integer", "format": "uint32", "minimum": 1});
        let shape = Shape::from_schema(&schema).unwrap();
        assert_eq!(shape.integer, Some((1, u64::from(u32::MAX))));
    }
}
