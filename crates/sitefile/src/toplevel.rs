//! The sections of a site file: `version`, `parameters`, `environments` and `sites`; and how those
//! of several files and of an environment become one.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use indexmap::IndexMap;
use portway_model::{FieldPath, FindingCode, RemedyAction, ResourceRef, did_you_mean};
use serde_json::Value as Json;

use crate::{
    expand::{self, is_name},
    load::Options,
    merge::merge_maps,
    node::{Entry, Map, Node, Value},
    report::{self, Report},
    shape::{self, Fields, Shape},
    source::{Pos, SourceFile},
    walk::{Mode, Walker},
};

const SECTIONS: [&str; 4] = ["version", "parameters", "environments", "sites"];
const OVERLAY_SECTIONS: [&str; 2] = ["parameters", "sites"];

/// A file, by sections.
pub(crate) struct Document {
    resource: ResourceRef,
    parameters: Map,
    sites: Option<Map>,
    environments: IndexMap<String, Overlay>,
    /// Every parameter to which anything in the file refers.
    references: BTreeSet<String>,
}

/// What an environment changes.
struct Overlay {
    parameters: Map,
    sites: Map,
}

/// The sections that count, from all files and the environment.
pub(crate) struct Combined {
    /// Names the first file, for findings about the whole.
    resource: ResourceRef,
    parameters: Map,
    /// Nothing when no file has the section.
    pub(crate) sites: Option<Map>,
    references: BTreeSet<String>,
}

impl Document {
    /// Sorts a document by sections and reports what is no section.
    pub(crate) fn read(root: Option<Node>, file: &Arc<SourceFile>, report: &mut Report) -> Self {
        let mut document = Self {
            resource: report::file(&file.name),
            parameters: Map::new(),
            sites: None,
            environments: IndexMap::new(),
            references: BTreeSet::new(),
        };
        let Some(root) = root else {
            return document;
        };
        expand::references(&root, &mut document.references);
        let Value::Map(map) = root.value else {
            if !root.is_null() {
                document.refuse_root(&root.pos, report);
            }
            return document;
        };
        for (key, entry) in map {
            document.section(&key, entry, report);
        }
        document
    }

    fn refuse_root(&self, pos: &Pos, report: &mut Report) {
        let root = FieldPath::root();
        let text = "a site file is a mapping with the section `sites`";
        report
            .field(FindingCode::WrongType, &self.resource, &root, Some(pos), text)
            .remedy("begin with `sites:` and give each site a name below it");
    }

    fn section(&mut self, key: &str, entry: Entry, report: &mut Report) {
        let path = FieldPath::root().key(key);
        match key {
            "version" => self.version(&entry, &path, report),
            "parameters" => {
                self.parameters = mapping(entry, &path, &self.resource, report).unwrap_or_default();
            }
            "sites" => {
                self.sites =
                    Some(mapping(entry, &path, &self.resource, report).unwrap_or_default());
            }
            "environments" => {
                let environments = mapping(entry, &path, &self.resource, report);
                for (name, entry) in environments.unwrap_or_default() {
                    let overlay = self.overlay(entry, &path.key(&name), report);
                    self.environments.insert(name, overlay);
                }
            }
            _ => self.unknown_section(key, &entry.key_pos, report),
        }
    }

    fn version(&self, entry: &Entry, path: &FieldPath, report: &mut Report) {
        let is_one = matches!(&entry.node.value, Value::Scalar(scalar) if scalar.text == "1");
        if !is_one {
            let text = "this version of Portway reads site files of version 1";
            report
                .field(FindingCode::InvalidValue, &self.resource, path, Some(entry.pos()), text)
                .remedy("write `version: 1`, or remove the line");
        }
    }

    fn unknown_section(&self, key: &str, pos: &Pos, report: &mut Report) {
        let path = FieldPath::root().key(key);
        let text = format!("there is no section `{}`", key.escape_debug());
        let finding =
            report.field(FindingCode::UnknownField, &self.resource, &path, Some(pos), text);
        if let Some(meant) = did_you_mean(key, SECTIONS) {
            finding.remedy_action(
                format!("did you mean `{meant}`?"),
                RemedyAction::RenameField(meant.to_owned()),
            );
        } else if is_site_field(key) {
            finding.remedy("fields of a site stand below its name: `sites: {NAME: {hosts: …}}`");
        } else {
            finding.remedy("the sections are `version`, `parameters`, `environments` and `sites`");
        }
    }

    fn overlay(&self, entry: Entry, path: &FieldPath, report: &mut Report) -> Overlay {
        let mut overlay = Overlay { parameters: Map::new(), sites: Map::new() };
        for (key, entry) in mapping(entry, path, &self.resource, report).unwrap_or_default() {
            let path = path.key(&key);
            match key.as_str() {
                "parameters" => {
                    overlay.parameters =
                        mapping(entry, &path, &self.resource, report).unwrap_or_default();
                }
                "sites" => {
                    overlay.sites =
                        mapping(entry, &path, &self.resource, report).unwrap_or_default();
                }
                _ => self.unknown_in_overlay(&key, &path, &entry.key_pos, report),
            }
        }
        overlay
    }

    fn unknown_in_overlay(&self, key: &str, path: &FieldPath, pos: &Pos, report: &mut Report) {
        let text = format!("there is no field `{}` in an environment", key.escape_debug());
        let finding =
            report.field(FindingCode::UnknownField, &self.resource, path, Some(pos), text);
        let Some(meant) = did_you_mean(key, OVERLAY_SECTIONS) else {
            return finding.remedy("an environment changes `parameters` and `sites`");
        };
        finding.remedy_action(
            format!("did you mean `{meant}`?"),
            RemedyAction::RenameField(meant.to_owned()),
        );
    }
}

fn is_site_field(key: &str) -> bool {
    match &shape::of_site().map {
        Some(Fields::Known { fields, .. }) => {
            did_you_mean(key, fields.keys().map(String::as_str)).is_some()
        }
        Some(Fields::Any(_)) | None => false,
    }
}

pub(crate) fn mapping(
    entry: Entry,
    path: &FieldPath,
    resource: &ResourceRef,
    report: &mut Report,
) -> Option<Map> {
    let pos = entry.pos().clone();
    let problem = if entry.node.is_null() { "has no value" } else { "is a mapping of names" };
    let Value::Map(map) = entry.node.value else {
        let text = format!("`{path}` {problem}");
        report
            .field(FindingCode::WrongType, resource, path, Some(&pos), text)
            .remedy("write names with their values below it, indented, or remove it");
        return None;
    };
    Some(map)
}

/// Makes one of several documents: later files change earlier ones, then the environment.
pub(crate) fn combine(
    documents: Vec<Document>,
    environment: Option<&str>,
    report: &mut Report,
) -> Combined {
    let first = documents.first().map(|document| document.resource.clone());
    let mut combined = Combined {
        resource: first.unwrap_or_else(|| report::file("")),
        parameters: Map::new(),
        sites: None,
        references: BTreeSet::new(),
    };
    let names: BTreeSet<String> =
        documents.iter().flat_map(|document| document.environments.keys().cloned()).collect();
    let mut chosen = Vec::new();
    for document in documents {
        combined.references.extend(document.references);
        merge_maps(&mut combined.parameters, document.parameters);
        if let Some(sites) = document.sites {
            merge_maps(combined.sites.get_or_insert_default(), sites);
        }
        for (name, overlay) in document.environments {
            if environment == Some(name.as_str()) {
                chosen.push(overlay);
            } else {
                review(&overlay, report);
            }
        }
    }
    if let Some(environment) = environment
        && !names.contains(environment)
    {
        refuse_environment(environment, &names, &combined.resource, report);
    }
    for overlay in chosen {
        merge_maps(&mut combined.parameters, overlay.parameters);
        if !overlay.sites.is_empty() {
            merge_maps(combined.sites.get_or_insert_default(), overlay.sites);
        }
    }
    combined
}

/// Checks the form of an environment that is not in use, so that it does not fail on the day it is.
fn review(overlay: &Overlay, report: &mut Report) {
    for (name, entry) in overlay.sites.iter().filter(|(_, entry)| !entry.node.is_null()) {
        let resource = report::site(name);
        Walker::new(report, &resource, Mode::Overlay).entry(
            entry,
            shape::of_site(),
            &FieldPath::root(),
        );
    }
}

fn refuse_environment(
    environment: &str,
    names: &BTreeSet<String>,
    resource: &ResourceRef,
    report: &mut Report,
) {
    let path = FieldPath::root().key("environments");
    let text = format!("there is no environment `{}`", environment.escape_debug());
    let finding = report.field(FindingCode::InvalidValue, resource, &path, None, text);
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    if let Some(meant) = did_you_mean(environment, known.iter().copied()) {
        finding.remedy(format!("did you mean `--env {meant}`?"));
    } else if known.is_empty() {
        finding.remedy("the files declare no `environments`; leave `--env` out");
    } else {
        finding.remedy(format!("the environments are: {}", known.join(", ")));
    }
}

impl Combined {
    /// Reports that no file has sites. Nothing at all is not the same as no sites: applied, it
    /// would remove every site there is.
    pub(crate) fn refuse_emptiness(&self, report: &mut Report) {
        report
            .field(
                FindingCode::MissingField,
                &self.resource,
                &FieldPath::root().key("sites"),
                None,
                "the section `sites` is missing",
            )
            .remedy("begin with `sites:`; write `sites: {}` where there shall be none");
    }

    /// Reads the declared parameters with their defaults, and reports what is wrong with them and
    /// with those that were given.
    pub(crate) fn declared(
        &self,
        options: &Options,
        report: &mut Report,
    ) -> BTreeMap<String, Option<String>> {
        let mut declared = BTreeMap::new();
        for (name, entry) in &self.parameters {
            let path = FieldPath::root().key("parameters").key(name);
            if !is_name(name) {
                let text = format!("`{}` is not the name of a parameter", name.escape_debug());
                let resource = report::file(&entry.key_pos.file.name);
                report
                    .field(FindingCode::InvalidName, &resource, &path, Some(&entry.key_pos), text)
                    .remedy("use letters, digits and `_`, and begin with a letter");
            }
            let default = Declaration { name, entry, path: &path, options }.read(report);
            declared.insert(name.clone(), default);
        }
        self.review_given(options, &declared, report);
        declared
    }

    fn review_given(
        &self,
        options: &Options,
        declared: &BTreeMap<String, Option<String>>,
        report: &mut Report,
    ) {
        let known = || declared.keys().chain(&self.references).map(String::as_str);
        for name in options.set.keys().filter(|name| !known().any(|known| known == *name)) {
            let finding = report.field(
                FindingCode::UnknownParameter,
                &self.resource,
                &FieldPath::root().key("parameters").key(name),
                None,
                format!("`--set {}`: there is no such parameter", name.escape_debug()),
            );
            let remedy = match did_you_mean(name, known()) {
                Some(meant) => format!("did you mean `--set {meant}=…`?"),
                None => "declare it under `parameters`, or leave it out".to_owned(),
            };
            finding.remedy(remedy);
        }
    }
}

/// The declaration of a parameter.
struct Declaration<'a> {
    name: &'a str,
    entry: &'a Entry,
    path: &'a FieldPath,
    options: &'a Options,
}

impl Declaration<'_> {
    /// Returns the default, where there is one.
    fn read(&self, report: &mut Report) -> Option<String> {
        let shape = Shape {
            text: Some(Vec::new()),
            ..Shape::fields([
                ("default", Shape::any_text()),
                ("description", Shape::any_text()),
                ("required", Shape::boolean()),
            ])
        };
        if self.entry.node.is_null() {
            return None;
        }
        let resource = report::file(&self.entry.key_pos.file.name);
        let json =
            Walker::new(report, &resource, Mode::Literal).entry(self.entry, &shape, self.path)?;
        let settings = |name| json.get(name);
        let default = settings("default").unwrap_or(&json).as_str().map(str::to_owned);
        let required = settings("required") == Some(&Json::Bool(true));
        if default.as_ref().is_some_and(|default| default.contains("${")) {
            self.refuse(
                FindingCode::InvalidValue,
                "the default of a parameter cannot refer to another one",
                "write the value itself; parameters are put together where they are used",
                report,
            );
        }
        if required && default.is_some() {
            self.refuse(
                FindingCode::Conflict,
                "a parameter with a default is not required",
                "remove `default` or `required`",
                report,
            );
        } else if required && !self.is_given() {
            let remedy = format!("give `--set {0}=…`, or export {0} in the environment", self.name);
            let text = format!("the parameter `{}` is required and has no value", self.name);
            self.refuse(FindingCode::UnsetParameter, &text, &remedy, report);
        }
        default
    }

    fn is_given(&self) -> bool {
        self.options.set.contains_key(self.name) || self.options.variables.contains_key(self.name)
    }

    fn refuse(&self, code: FindingCode, text: &str, remedy: &str, report: &mut Report) {
        let resource = report::file(&self.entry.key_pos.file.name);
        report.field(code, &resource, self.path, Some(&self.entry.key_pos), text).remedy(remedy);
    }
}
