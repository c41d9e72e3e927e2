//! The description of the API in the repository.

use std::collections::BTreeSet;

use serde_json::Value;

#[test]
fn the_description_in_the_repository_is_current() {
    let kept = include_str!("../../../../openapi.json");
    let current = portway_api::openapi_json().unwrap();
    assert!(kept == current, "openapi.json is out of date: `make openapi` writes it anew");
}

#[test]
fn every_reference_leads_somewhere() {
    let description = serde_json::to_value(portway_api::openapi()).unwrap();
    let schemas = description["components"]["schemas"].as_object().unwrap();
    let mut referred = BTreeSet::new();
    collect(&description, &mut referred);
    let known: BTreeSet<String> =
        schemas.keys().map(|name| format!("#/components/schemas/{name}")).collect();
    assert_eq!(referred, known);
}

#[test]
fn every_operation_says_what_it_does_and_how_it_says_no() {
    let description = serde_json::to_value(portway_api::openapi()).unwrap();
    assert_eq!(description["openapi"], "3.1.0");
    let mut ids = BTreeSet::new();
    for (path, item) in description["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let place = format!("{method} {path}");
            assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{place}");
            assert!(operation["tags"][0].is_string(), "{place}");
            assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{place}");
            let problem = &operation["responses"]["default"]["content"];
            assert!(problem["application/problem+json"]["schema"]["$ref"].is_string(), "{place}");
        }
    }
}

fn collect(value: &Value, referred: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            if let Some(Value::String(target)) = map.get("$ref") {
                referred.insert(target.clone());
            }
            map.values().for_each(|value| collect(value, referred));
        }
        Value::Array(values) => values.iter().for_each(|value| collect(value, referred)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
