//! From the texts of files to checked sites: read, combine, walk, resolve, check. Every stage
//! reports all it finds and hands on what is sound.

use std::{collections::BTreeMap, sync::Arc};

use indexmap::IndexMap;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, Name, RemedyAction, ResourceRef, Site, SiteSpec,
    site::check,
};

use crate::{
    expand::Parameters,
    files::Files,
    node::Entry,
    paths,
    positions::Positions,
    report::{self, Report},
    shape,
    source::{SourceFile, SourceText},
    toplevel::{Document, combine},
    walk::{Mode, Walker},
    yaml,
};

/// What is said beside the files.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Values of parameters, as `--set NAME=VALUE` gives them.
    pub set: BTreeMap<String, String>,
    /// The environment whose overlay applies, as `--env NAME` gives it.
    pub environment: Option<String>,
    /// The variables of the process. A parameter takes its value from `set`, then from here, then
    /// from its default, then from `${NAME:-default}`.
    pub variables: BTreeMap<String, String>,
}

/// What was read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The sites in which nothing is wrong, as they stand in the files.
    pub sites: IndexMap<Name, LoadedSite>,
    /// All that is wrong or deserves attention, as it stands in the files.
    pub findings: Vec<Finding>,
}

/// A site that was read.
#[derive(Clone, Debug)]
pub struct LoadedSite {
    /// The site as written, with parameters put in, paths absolute and password files read.
    pub spec: SiteSpec,
    /// What is meant by it.
    pub site: Site,
    /// Where its fields stand.
    pub positions: Positions,
}

impl Loaded {
    /// Tells whether something is wrong, so that the files must not be applied.
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(Finding::is_error)
    }
}

/// Reads site files. Later files change earlier ones, then the chosen environment changes both.
pub fn load(files: &[SourceText], options: &Options, reader: &dyn Files) -> Loaded {
    let mut report = Report::default();
    let sites = read_all(files, options, reader, &mut report).unwrap_or_default();
    Loaded { sites, findings: report.into_sorted(files) }
}

/// Returns nothing when a file cannot be read at all: without it, what the others mean is unknown.
fn read_all(
    files: &[SourceText],
    options: &Options,
    reader: &dyn Files,
    report: &mut Report,
) -> Option<IndexMap<Name, LoadedSite>> {
    let mut documents = Vec::new();
    let mut is_whole = true;
    for source in files {
        let file =
            Arc::new(SourceFile { name: source.name.clone(), folder: source.folder.clone() });
        match yaml::read(&source.text, &file, report) {
            Ok(root) => documents.push(Document::read(root, &file, report)),
            Err(yaml::Unreadable) => is_whole = false,
        }
    }
    if !is_whole {
        return None;
    }
    let combined = combine(documents, options.environment.as_deref(), report);
    let parameters = Parameters::new(options, combined.declared(options, report));
    let Some(sites) = &combined.sites else {
        // After another fault it would be no news.
        if report.errors() == 0 {
            combined.refuse_emptiness(report);
        }
        return None;
    };
    let mut loaded = IndexMap::new();
    for (name, entry) in sites {
        let resource = report::site(name);
        let reading = Reading { resource: &resource, entry, parameters: &parameters, reader };
        let errors = report.errors();
        if let Some((name, site)) = reading.run(report)
            && report.errors() == errors
        {
            loaded.insert(name, site);
        }
    }
    Some(loaded)
}

/// The reading of one site.
struct Reading<'a> {
    resource: &'a ResourceRef,
    entry: &'a Entry,
    parameters: &'a Parameters<'a>,
    reader: &'a dyn Files,
}

impl Reading<'_> {
    fn run(&self, report: &mut Report) -> Option<(Name, LoadedSite)> {
        let name = self.name(report);
        let mut walker = Walker::new(report, self.resource, Mode::Whole(self.parameters));
        let json = walker.entry(self.entry, shape::of_site(), &FieldPath::root())?;
        let mut spec = match serde_json::from_value::<SiteSpec>(json) {
            Ok(spec) => spec,
            Err(error) => {
                self.refuse(&error, walker.report);
                return None;
            }
        };
        paths::resolve(&mut spec, &mut walker, self.reader);
        let (site, findings) = check(&name, &spec);
        for finding in findings {
            if let Some(finding) = self.place(finding, &walker) {
                walker.report.push(finding);
            }
        }
        Some((name, LoadedSite { spec, site: site?, positions: walker.positions }))
    }

    /// Returns the name, or one in its place, so that the rest is still checked.
    fn name(&self, report: &mut Report) -> Name {
        let written = &self.resource.name;
        let error = match written.parse::<Name>() {
            Ok(name) => return name,
            Err(error) => error,
        };
        let root = FieldPath::root();
        let text = format!("`{}` is not the name of a site: {error}", written.escape_debug());
        let pos = Some(&self.entry.key_pos);
        let finding = report.field(FindingCode::InvalidName, self.resource, &root, pos, text);
        let suggestion = Name::suggest(written);
        if let Some(name) = &suggestion {
            finding.remedy_action(
                format!("write `{name}`"),
                RemedyAction::RenameField(name.to_string()),
            );
        } else {
            finding.remedy("write a plain word, for example `blog`");
        }
        suggestion.unwrap_or_else(placeholder)
    }

    fn refuse(&self, error: &serde_json::Error, report: &mut Report) {
        let root = FieldPath::root();
        let text = format!("the site cannot be read: {error}");
        let pos = Some(self.entry.pos());
        report
            .field(FindingCode::WrongType, self.resource, &root, pos, text)
            .remedy("compare it with the reference of the site file");
    }

    /// Gives a finding its place in the file. Nothing is returned when it only says that something
    /// is missing which was reported and left out before.
    fn place(&self, mut finding: Finding, walker: &Walker<'_>) -> Option<Finding> {
        let Location::Field { resource, path, source } = &mut finding.at else {
            return Some(finding);
        };
        let original = walker.original(path);
        let says_missing = matches!(finding.code, FindingCode::MissingField | FindingCode::Advice);
        if says_missing && walker.is_incomplete(&original) {
            return None;
        }
        *resource = self.resource.clone();
        *source = walker.positions.locate(&original);
        *path = original;
        Some(finding)
    }
}

#[expect(clippy::expect_used, reason = "the word is a name")]
fn placeholder() -> Name {
    "site".parse().expect("a valid name")
}
