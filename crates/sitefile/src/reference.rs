//! The references of the site file and of files of nodes, made from the schemas, so that they cannot
//! say anything else.

use portway_model::{NodeSpec, SiteSpec};
use serde_json::{Map, Value as Json};

/// What the reference shows and a test reads: one example for each way to answer, and the rest.
const EXAMPLES: [(&str, &str); 8] = [
    ("An application behind a name", include_str!("reference/proxy.yaml")),
    ("An upstream with settings", include_str!("reference/upstream.yaml")),
    ("Files", include_str!("reference/files.yaml")),
    ("A redirect", include_str!("reference/redirect.yaml")),
    ("A fixed answer", include_str!("reference/respond.yaml")),
    ("Routes", include_str!("reference/routes.yaml")),
    ("Closed to all but a few", include_str!("reference/access.yaml")),
    ("Parameters and environments", include_str!("reference/parameters.yaml")),
];

const INTRODUCTION: &str = include_str!("reference/introduction.md");

/// Returns the reference of the site file in Markdown.
pub fn reference_markdown() -> String {
    let schema = Json::from(schemars::schema_for!(SiteSpec));
    let mut out = String::from(INTRODUCTION);
    out.push_str("\n## Examples\n");
    for (title, example) in EXAMPLES {
        push(&mut out, &format!("\n### {title}\n\n```yaml\n{example}```"));
    }
    push_fields(&mut out, "Site", &schema);
    out
}

const NODES_INTRODUCTION: &str = "\
# Reference of nodes.yaml

A file of nodes is a mapping with the one section `nodes`, which holds nodes by name. What it is for, with one \
example for each thing, stands in [Nodes](../nodes.md). The same fields are used by the API.
";

/// Returns the reference of files of nodes in Markdown.
pub fn nodes_reference_markdown() -> String {
    let mut out = NODES_INTRODUCTION.to_owned();
    push_fields(&mut out, "Node", &Json::from(schemars::schema_for!(NodeSpec)));
    out
}

/// Writes the fields of a mapping and of all that it refers to.
fn push_fields(out: &mut String, name: &str, schema: &Json) {
    out.push_str("\n## Fields\n");
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Json::as_object).unwrap_or(&empty);
    push_section(out, name, schema, definitions);
    for (name, definition) in definitions {
        if definition.get("properties").is_some() {
            push_section(out, &title(name), definition, definitions);
        }
    }
}

fn push(out: &mut String, text: &str) {
    out.push_str(text);
    out.push('\n');
}

fn push_section(out: &mut String, name: &str, schema: &Json, definitions: &Map<String, Json>) {
    push(out, &format!("\n### {name}\n\n{}\n", description(schema)));
    push(out, "| field | type | default | meaning |\n|---|---|---|---|");
    let properties = schema.get("properties").and_then(Json::as_object);
    for (name, property) in properties.into_iter().flatten() {
        let (meaning, default) = split_default(&description(property));
        let row = format!("| `{name}` | {} | {default} | {meaning} |", kind(property, definitions));
        push(out, &row);
    }
}

/// `UpstreamTlsSpec` is `Upstream tls` for readers.
fn title(name: &str) -> String {
    let mut title = String::new();
    for c in name.strip_suffix("Spec").unwrap_or(name).chars() {
        if c.is_ascii_uppercase() && !title.is_empty() {
            title.push(' ');
            title.push(c.to_ascii_lowercase());
        } else {
            title.push(c);
        }
    }
    title
}

fn description(schema: &Json) -> String {
    let text = schema.get("description").and_then(Json::as_str).unwrap_or_default();
    text.replace('\n', " ").replace('|', "\\|")
}

/// Takes `(default …)` out of a description. With `(the default)` the words before it are the
/// default, and the description stays whole.
fn split_default(text: &str) -> (String, String) {
    if let Some((before, _)) = text.split_once(" (the default)") {
        let word = before.rsplit(' ').next().unwrap_or_default();
        return (text.to_owned(), word.to_owned());
    }
    let parts = text.split_once("(default").and_then(|(before, rest)| {
        let (default, after) = rest.split_once(')')?;
        Some((before, default, after))
    });
    match parts {
        Some((before, default, after)) => {
            let default = default.trim_start_matches(':').trim();
            (format!("{}{after}", before.trim_end()), default.to_owned())
        }
        None => (text.to_owned(), String::new()),
    }
}

/// Returns the type of a field in words, with links to the sections of mappings.
fn kind(schema: &Json, definitions: &Map<String, Json>) -> String {
    let mut kinds: Vec<String> = Vec::new();
    collect_kinds(schema, definitions, &mut kinds);
    kinds.dedup();
    kinds.join(" or ")
}

fn collect_kinds(schema: &Json, definitions: &Map<String, Json>, kinds: &mut Vec<String>) {
    if let Some(name) = schema.get("$ref").and_then(Json::as_str) {
        let name = name.trim_start_matches("#/$defs/");
        match definitions.get(name) {
            Some(definition) if definition.get("properties").is_some() => {
                let title = title(name);
                let anchor = title.to_lowercase().replace(' ', "-");
                kinds.push(format!("[{}](#{anchor})", title.to_lowercase()));
            }
            Some(definition) => collect_kinds(definition, definitions, kinds),
            None => {}
        }
    }
    let forms = schema.get("anyOf").and_then(Json::as_array);
    for form in forms.into_iter().flatten() {
        collect_kinds(form, definitions, kinds);
    }
    let one = schema.get("type");
    let many = one.and_then(Json::as_array).cloned();
    for name in many.unwrap_or_else(|| one.cloned().into_iter().collect()) {
        kinds.extend(simple_kind(name.as_str().unwrap_or_default(), schema, definitions));
    }
}

fn simple_kind(name: &str, schema: &Json, definitions: &Map<String, Json>) -> Option<String> {
    Some(match name {
        "string" => "text".to_owned(),
        "integer" => "number".to_owned(),
        "boolean" => "switch".to_owned(),
        "array" => format!("list of {}", kind(schema.get("items")?, definitions)),
        "object" => {
            format!("names with {}", kind(schema.get("additionalProperties")?, definitions))
        }
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LocalFiles, Options, SourceText, load};

    #[test]
    fn every_example_is_a_sound_site_file() {
        for (title, text) in EXAMPLES {
            let name = "portway.yaml".to_owned();
            let source = SourceText { name, folder: "/srv".into(), text: text.to_owned() };
            for environment in [None, title.contains("environments").then(|| "prod".to_owned())] {
                let options = Options { environment, ..Options::default() };
                let loaded = load(std::slice::from_ref(&source), &options, &LocalFiles);
                assert_eq!(loaded.findings, [], "{title}");
                assert!(!loaded.sites.is_empty(), "{title}");
            }
        }
    }

    #[test]
    fn defaults_have_a_column_of_their_own() {
        let split = |text: &str| split_default(text);
        assert_eq!(
            split("The status (default 302)."),
            ("The status.".to_owned(), "302".to_owned())
        );
        assert_eq!(split("HTTPS: `true` (the default), `false`.").1, "`true`");
        assert_eq!(split("A limit (default: none).").1, "none");
        assert_eq!(split("Nothing."), ("Nothing.".to_owned(), String::new()));
    }

    #[test]
    fn every_field_of_a_site_has_a_row_with_type_and_meaning() {
        judge(&reference_markdown(), &Json::from(schemars::schema_for!(SiteSpec)));
        judge(&nodes_reference_markdown(), &Json::from(schemars::schema_for!(NodeSpec)));
    }

    fn judge(reference: &str, schema: &Json) {
        for (name, _) in schema["properties"].as_object().unwrap() {
            let row = format!("| `{name}` | ");
            let line = reference.lines().find(|line| line.starts_with(&row)).unwrap();
            let cells: Vec<&str> = line.split(" | ").collect();
            assert!(cells.len() >= 4 && cells[1].len() > 2 && cells[3].len() > 4, "{line}");
        }
        assert!(!reference.contains("Spec"), "names of types are no words for readers");
    }
}
