//! OpenAPI schemas of types that describe themselves by JSON Schema.

use std::borrow::Cow;

use portway_model::{Finding, Role, SiteSpec};
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{RefOr, Schema},
};

/// Stands for [`SiteSpec`] in OpenAPI.
#[derive(Debug)]
pub struct SiteSpecSchema;

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
    let read = |value| serde_json::from_value(value).expect("JSON Schema reads as OpenAPI 3.1");
    let others = match definitions {
        Some(Value::Object(map)) => {
            map.into_iter().map(|(name, value)| (name, read(value))).collect()
        }
        Some(_) | None => Vec::new(),
    };
    (read(root), others)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_reads_as_openapi() {
        let (root, others) = components::<SiteSpec>();
        let text = serde_json::to_string(&root).unwrap();
        assert!(text.contains("#/components/schemas/RouteSpec"), "{text}");
        assert!(others.iter().any(|(name, _)| name == "RouteSpec"));
    }
}
