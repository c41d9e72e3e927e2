//! OpenAPI schemas of types that describe themselves by JSON Schema.

use std::borrow::Cow;

use portway_model::{Finding, NodeSpec, Role, SiteSpec};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// Stands for [`SiteSpec`] in OpenAPI.
#[derive(Debug)]
pub struct SiteSpecSchema;

/// Stands for [`NodeSpec`] in OpenAPI.
#[derive(Debug)]
pub struct NodeSpecSchema;

/// Stands for [`Finding`] in OpenAPI.
#[derive(Debug)]
pub struct FindingSchema;

/// Stands for [`Role`] in OpenAPI.
#[derive(Debug)]
pub struct RoleSchema;

macro_rules! bridge {
    ($stand_in:ty, $type:ty, $name:literal) => {
        impl PartialSchema for $stand_in {
            fn schema() -> RefOr<Schema> {
                components::<$type>().0
            }
        }

        impl ToSchema for $stand_in {
            fn name() -> Cow<'static, str> {
                Cow::Borrowed($name)
            }

            fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
                schemas.extend(components::<$type>().1);
            }
        }
    };
}
bridge!(SiteSpecSchema, SiteSpec, "SiteSpec");
bridge!(NodeSpecSchema, NodeSpec, "NodeSpec");
bridge!(FindingSchema, Finding, "Finding");
bridge!(RoleSchema, Role, "Role");

/// Returns the schema of a type and of those it refers to. JSON Schema 2020-12 is what OpenAPI 3.1
/// speaks, so the one reads the other.
#[expect(clippy::expect_used, reason = "both sides are fixed at compile time and read in a test")]
fn components<T: JsonSchema>() -> (RefOr<Schema>, Vec<(String, RefOr<Schema>)>) {
    let settings = SchemaSettings::draft2020_12().with(|settings| {
        settings.definitions_path = "/components/schemas".into();
        settings.meta_schema = None;
    });
    let mut root = settings.into_generator().into_root_schema_for::<T>().to_value();
    // They stand where `definitions_path` points.
    let mut place = root.as_object_mut().and_then(|object| object.remove("components"));
    let definitions = place.as_mut().and_then(|place| place.get_mut("schemas")).map(Value::take);
    let read = |mut value| {
        reword(&mut value);
        serde_json::from_value(value).expect("JSON Schema reads as OpenAPI 3.1")
    };
    let others = match definitions {
        Some(Value::Object(map)) => {
            map.into_iter().map(|(name, value)| (name, read(value))).collect()
        }
        Some(_) | None => Vec::new(),
    };
    (read(root), others)
}

/// Says in other words what the library of OpenAPI passes over: `const`, and elements of any kind.
fn reword(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if let Some(only) = map.remove("const") {
                map.insert("enum".to_owned(), Value::Array(vec![only]));
            }
            if map.get("items") == Some(&Value::Bool(true)) {
                map.remove("items");
            }
            map.values_mut().for_each(reword);
        }
        Value::Array(values) => values.iter_mut().for_each(reword),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_on_the_way_to_openapi() {
        fn judge<T: JsonSchema>() {
            let mut given = SchemaSettings::draft2020_12()
                .into_generator()
                .into_root_schema_for::<T>()
                .to_value();
            reword(&mut given);
            for (name, schema) in given["$defs"].as_object().into_iter().flatten() {
                let read: RefOr<Schema> = serde_json::from_value(schema.clone()).unwrap();
                assert_kept(name, schema, &serde_json::to_value(read).unwrap());
            }
        }
        judge::<SiteSpec>();
        judge::<NodeSpec>();
        judge::<Finding>();
        let (role, _) = components::<Role>();
        assert!(serde_json::to_string(&role).unwrap().contains(r#""enum":["viewer"]"#));
    }

    fn assert_kept(place: &str, given: &Value, kept: &Value) {
        match (given, kept) {
            (Value::Object(given), Value::Object(kept)) => {
                for (name, value) in given {
                    let place = format!("{place}/{name}");
                    assert_kept(&place, value, kept.get(name).unwrap_or(&Value::Null));
                }
            }
            (Value::Array(given), Value::Array(kept)) => {
                assert_eq!(given.len(), kept.len(), "{place}");
                given.iter().zip(kept).for_each(|(given, kept)| assert_kept(place, given, kept));
            }
            (given, kept) => assert_eq!(given, kept, "{place}"),
        }
    }

    #[test]
    fn every_definition_reads_as_openapi() {
        let (root, others) = components::<SiteSpec>();
        let text = serde_json::to_string(&root).unwrap();
        assert!(text.contains("#/components/schemas/RouteSpec"), "{text}");
        assert!(others.iter().any(|(name, _)| name == "RouteSpec"));
    }
}
