//! Reads `nodes.yaml`: nodes with positions, every fault at once. `${…}` is text in it.

use std::sync::Arc;

use indexmap::IndexMap;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, Name, NodeSpec, RemedyAction, ResourceKind,
    ResourceRef, node::check,
};

use crate::{
    node::{Entry, Map, Value},
    report::{self, Report},
    shape,
    source::{SourceFile, SourceText},
    toplevel::mapping,
    walk::{Mode, Walker},
    yaml,
};

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct LoadedNodes {
    /// The nodes in which nothing is wrong, as they stand in the file.
    pub nodes: IndexMap<Name, NodeSpec>,
    /// The names of those in which something is wrong.
    pub refused: Vec<String>,
    /// All that is wrong or deserves attention, as it stands in the file.
    pub findings: Vec<Finding>,
}

/// Reads a file of nodes. What is wrong with one of them keeps no other from being read.
pub fn load_nodes(source: &SourceText) -> LoadedNodes {
    let mut report = Report::default();
    let mut loaded = LoadedNodes::default();
    for (name, entry) in section(source, &mut report) {
        let resource = ResourceRef { kind: ResourceKind::Node, name: name.clone() };
        let errors = report.errors();
        match read(&resource, &entry, &mut report) {
            Some((name, spec)) if report.errors() == errors => {
                loaded.nodes.insert(name, spec);
            }
            Some(_) | None => loaded.refused.push(name),
        }
    }
    loaded.findings = report.into_sorted(std::slice::from_ref(source));
    loaded
}

/// Returns the section `nodes`.
fn section(source: &SourceText, report: &mut Report) -> Map {
    let file = Arc::new(SourceFile { name: source.name.clone(), folder: source.folder.clone() });
    let resource = report::file(&file.name);
    let Ok(Some(root)) = yaml::read(&source.text, &file, report) else { return Map::new() };
    let pos = root.pos.clone();
    let Value::Map(sections) = root.value else {
        let text = "a file of nodes is a mapping with the section `nodes`";
        report
            .field(FindingCode::WrongType, &resource, &FieldPath::root(), Some(&pos), text)
            .remedy("begin with `nodes:` and give each node a name below it");
        return Map::new();
    };
    let mut nodes = Map::new();
    for (key, entry) in sections {
        let path = FieldPath::root().key(&key);
        if key == "nodes" {
            nodes = mapping(entry, &path, &resource, report).unwrap_or_default();
        } else {
            let text = format!("there is no section `{}`", key.escape_debug());
            report
                .field(FindingCode::UnknownField, &resource, &path, Some(&entry.key_pos), text)
                .remedy("the one section is `nodes`");
        }
    }
    nodes
}

fn read(resource: &ResourceRef, entry: &Entry, report: &mut Report) -> Option<(Name, NodeSpec)> {
    let name = name(resource, entry, report);
    let mut walker = Walker::new(report, resource, Mode::Literal);
    let json = walker.entry(entry, shape::of_node(), &FieldPath::root())?;
    let spec: NodeSpec = match serde_json::from_value(json) {
        Ok(spec) => spec,
        Err(error) => {
            let text = format!("the node cannot be read: {error}");
            let pos = Some(entry.pos());
            walker
                .report
                .field(FindingCode::WrongType, resource, &FieldPath::root(), pos, text)
                .remedy("compare it with docs/nodes.md");
            return None;
        }
    };
    // A name that is none was reported; the rest is judged all the same.
    let any = name.clone().or_else(|| "node".parse().ok())?;
    for mut finding in check(&any, &spec).1 {
        if let Location::Field { resource: about, path, source } = &mut finding.at {
            let original = walker.original(path);
            if finding.code == FindingCode::MissingField && walker.is_incomplete(&original) {
                continue;
            }
            about.clone_from(resource);
            *source = walker.positions.locate(&original);
            *path = original;
        }
        walker.report.push(finding);
    }
    Some((name?, spec))
}

fn name(resource: &ResourceRef, entry: &Entry, report: &mut Report) -> Option<Name> {
    let written = &resource.name;
    let error = match written.parse::<Name>() {
        Ok(name) => return Some(name),
        Err(error) => error,
    };
    let text = format!("`{}` is not the name of a node: {error}", written.escape_debug());
    let pos = Some(&entry.key_pos);
    let finding = report.field(FindingCode::InvalidName, resource, &FieldPath::root(), pos, text);
    match Name::suggest(written) {
        Some(name) => finding
            .remedy_action(format!("write `{name}`"), RemedyAction::RenameField(name.to_string())),
        None => finding.remedy("write a plain word, for example `web-1`"),
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::render;

    fn loaded(text: &str) -> (LoadedNodes, Vec<String>) {
        let source = SourceText {
            name: "nodes.yaml".to_owned(),
            folder: "/etc/portway".into(),
            text: text.to_owned(),
        };
        let loaded = load_nodes(&source);
        let shown =
            loaded.findings.iter().map(|finding| render(finding, std::slice::from_ref(&source)));
        let shown = shown.collect();
        (loaded, shown)
    }

    #[test]
    fn sound_nodes_are_taken_beside_wrong_ones() {
        let (loaded, shown) = loaded(
            "nodes:\n  web-1:\n    engine: nginx\n    ssh: deploy@192.0.2.7\n  web-2:\n    \
             engine: ngnix\n    ssh: {adress: root@web}\n  Web 3: {engine: caddy}\n",
        );

        let names: Vec<&str> = loaded.nodes.keys().map(Name::as_str).collect();
        assert_eq!(names, ["web-1"]);
        assert_eq!(loaded.refused, ["web-2", "Web 3"]);
        let errors: Vec<&String> = shown.iter().filter(|text| text.starts_with("error")).collect();
        assert_eq!(errors.len(), 3, "{shown:#?}");
        assert!(errors[0].contains("nodes.yaml:6:13") && errors[0].contains("`nginx`"));
        assert!(errors[1].contains("nodes.yaml:7:11") && errors[1].contains("`address`"));
        assert!(errors[2].contains("nodes.yaml:8:3") && errors[2].contains("`web-3`"));
    }

    #[test]
    fn a_password_with_a_dollar_is_itself() {
        let (loaded, _) = loaded(
            "nodes:\n  a:\n    engine: nginx\n    ssh: {address: root@a, login: {password: \
             '${HOME}'}}\n",
        );
        let mut spec = loaded.nodes.into_values().next().unwrap();
        let (_, secret) = spec.secrets_mut().remove(0);
        let plain = portway_model::node::spec::NodeSecretSpec::Plain("${HOME}".to_owned());
        assert_eq!(*secret, plain);
    }

    #[test]
    fn what_is_exported_is_read_back() {
        let (loaded, _) = loaded(
            "nodes:\n  web-1:\n    engine: nginx\n    ssh:\n      address: root@web\n      \
             jump: [ops@bastion, {address: ops@inner, login: agent}]\n    labels: {tier: \
             front}\n    description: costs ${5}\n    ports: {http: 8080}\n",
        );
        let text = crate::export_nodes(&loaded.nodes);
        assert_eq!(self::loaded(&text).0.nodes, loaded.nodes, "{text}");
        assert_eq!(crate::export_nodes(&IndexMap::new()), "nodes: {}\n");
    }

    #[test]
    fn what_is_no_file_of_nodes_is_told() {
        for (text, part) in [
            ("- a", "is a mapping with the section"),
            ("sites: {}", "there is no section `sites`"),
            ("nodes: [a]", "nodes"),
            ("nodes: {", "error"),
        ] {
            let (loaded, shown) = loaded(text);
            assert!(loaded.nodes.is_empty());
            assert!(shown.join("\n").contains(part), "{text}: {shown:?}");
        }
        assert!(loaded("").1.is_empty());
        assert!(loaded("nodes:\n").0.nodes.is_empty());
    }
}
