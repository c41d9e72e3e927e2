//! The JSON Schemas of site files and of files of nodes, for editors.

use portway_model::{NodeSpec, SiteSpec};
use serde_json::{Map, Value as Json, json};

/// Returns the JSON Schema (draft 2020-12) of a site file. It describes what may be written, so
/// that an editor can complete and explain; what it means is judged when the file is read.
///
/// Every single value may be a `${…}` instead.
pub fn json_schema() -> Json {
    let mut site = Json::from(schemars::schema_for!(SiteSpec));
    let mut definitions = take_object(&mut site, "$defs");
    for definition in definitions.values_mut() {
        open(definition);
    }
    open(&mut site);
    if let Some(site) = site.as_object_mut() {
        site.remove("$schema");
        site.remove("title");
    }
    definitions.insert("Site".to_owned(), site);
    definitions.insert("Parameter".to_owned(), parameter());
    let sites = json!({
        "description": "The sites, by name: letters a-z, digits, `-`, `_` and `.`.",
        "type": "object",
        "additionalProperties": {"$ref": "#/$defs/Site"}
    });
    let parameters = json!({
        "description": "The parameters that values may use as `${NAME}`, with their defaults.",
        "type": "object",
        "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
        "additionalProperties": {"$ref": "#/$defs/Parameter"}
    });
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portway site file",
        "description": "The sites that Portway publishes.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "version": {"description": "The version of the format.", "const": 1},
            "parameters": parameters,
            "environments": environments(&parameters),
            "sites": sites
        },
        "$defs": definitions
    })
}

/// Returns the JSON Schema (draft 2020-12) of a file of nodes.
pub fn nodes_json_schema() -> Json {
    let mut node = Json::from(schemars::schema_for!(NodeSpec));
    let mut definitions = take_object(&mut node, "$defs");
    if let Some(node) = node.as_object_mut() {
        node.remove("$schema");
        node.remove("title");
    }
    definitions.insert("Node".to_owned(), node);
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Portway nodes",
        "description": "The nodes on which Portway serves sites.",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "nodes": {
                "description": "The nodes, by name: letters a-z, digits, `-`, `_` and `.`.",
                "type": "object",
                "additionalProperties": {"$ref": "#/$defs/Node"}
            }
        },
        "$defs": definitions
    })
}

fn take_object(value: &mut Json, key: &str) -> Map<String, Json> {
    match value.as_object_mut().and_then(|object| object.remove(key)) {
        Some(Json::Object(map)) => map,
        Some(_) | None => Map::new(),
    }
}

fn parameter() -> Json {
    let scalar = json!(["string", "number", "boolean"]);
    json!({
        "description": "A parameter: its default, or settings.",
        "anyOf": [
            {"type": ["string", "number", "boolean", "null"]},
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "default": {
                        "description": "The value where nothing else gives one.",
                        "type": scalar
                    },
                    "description": {"description": "What it is for.", "type": "string"},
                    "required": {
                        "description": "Whether a value must be given (default `false`).",
                        "type": "boolean"
                    }
                }
            }
        ]
    })
}

/// An overlay may remove with `null`, so its sites are not held against the schema of a site.
fn environments(parameters: &Json) -> Json {
    json!({
        "description": "What is different where: `--env NAME` chooses one. Mappings merge, other \
                        values replace, `null` removes.",
        "type": "object",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": false,
            "properties": {
                "parameters": parameters,
                "sites": {
                    "description": "Changes of sites, by name.",
                    "type": "object",
                    "additionalProperties": {"type": ["object", "null"]}
                }
            }
        }
    })
}

/// Lets every single value be a `${…}`, and text be written like a number, as the reader does; and
/// takes `null` away, which is no value in a site file.
fn open(schema: &mut Json) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    for keyword in ["properties", "additionalProperties", "items", "anyOf"] {
        match object.get_mut(keyword) {
            Some(Json::Array(forms)) => {
                forms.retain(|form| form.get("type") != Some(&json!("null")));
                forms.iter_mut().for_each(open);
            }
            Some(Json::Object(map)) if keyword == "properties" => map.values_mut().for_each(open),
            Some(inner) => open(inner),
            None => {}
        }
    }
    open_type(object);
}

fn open_type(object: &mut Map<String, Json>) {
    let types: Vec<&str> = match object.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(types)) => types.iter().filter_map(Json::as_str).collect(),
        Some(_) | None => return,
    };
    let types: Vec<String> =
        types.into_iter().filter(|name| *name != "null").map(str::to_owned).collect();
    let [name] = &*types else {
        return;
    };
    let reference =
        json!({"type": "string", "pattern": "\\$\\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\\}"});
    match name.as_str() {
        "string" => {
            object.insert("type".to_owned(), json!(["string", "number", "boolean"]));
        }
        "integer" | "boolean" => {
            let mut own = Map::new();
            own.insert("type".to_owned(), json!(name));
            for keyword in ["format", "minimum", "maximum"] {
                if let Some(value) = object.remove(keyword) {
                    own.insert(keyword.to_owned(), value);
                }
            }
            object.remove("type");
            object.insert("anyOf".to_owned(), json!([own, reference]));
        }
        _ => {
            object.insert("type".to_owned(), json!(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_nothing_is_null() {
        let schema = json_schema();
        let text = schema.to_string();
        for part in text.split("\"$ref\":\"#/$defs/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schema["$defs"][name].is_object(), "{name}");
        }
        assert!(!schema["$defs"]["Site"].to_string().contains("\"null\""));
    }

    #[test]
    fn a_number_may_be_a_parameter() {
        let schema = json_schema();
        let status = &schema["$defs"]["RespondSpec"]["properties"]["status"];
        assert_eq!(status["anyOf"][0]["type"], "integer");
        assert_eq!(status["anyOf"][1]["type"], "string");
        assert_eq!(status["type"], Json::Null);
    }
}
