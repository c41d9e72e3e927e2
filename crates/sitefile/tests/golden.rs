//! Site files and what is said about them: one file each in `tests/cases`. What is expected stands
//! beside it: `NAME.txt` has the findings as people read them, `NAME.json` the sites of a sound file.
//!
//! Adding a case is adding a file. `UPDATE=1 cargo test -p portway-sitefile --test golden` writes
//! what is expected; read the difference before you keep it.
//!
//! A case may hold several files: a line `#--- NAME` begins the next one, which is a later site file
//! when its name ends in `.yaml` and otherwise a file that can be read. `#! set NAME=VALUE`,
//! `#! env NAME` and `#! var NAME=VALUE` stand for the command line and the environment.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected ends the test")]

use std::{collections::BTreeMap, fs, io, path::Path};

use camino::Utf8Path;
use portway_model::{Finding, Location, SourcePos};
use portway_sitefile::{Files, Loaded, Options, SourceText, load, render};

#[test]
fn every_case_gives_what_is_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = std::env::var_os("UPDATE").is_some();
    let mut names: Vec<_> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "yaml"))
        .collect();
    names.sort();
    let mut failures = Vec::new();
    let (mut wrong, mut right) = (0, 0);
    for path in names {
        let case = Case::parse(&fs::read_to_string(&path).unwrap());
        let loaded = load(&case.sources, &case.options, &case);
        judge(&case, &loaded, &path);
        if loaded.has_errors() {
            wrong += 1;
        } else {
            right += 1;
        }
        let shown: Vec<String> =
            loaded.findings.iter().map(|finding| render(finding, &case.sources)).collect();
        let sites = (!loaded.has_errors()).then(|| sites(&loaded));
        for (extension, actual) in [("txt", Some(shown.join("\n"))), ("json", sites)] {
            let actual = actual.filter(|text| !text.is_empty());
            let file = path.with_extension(extension);
            if fs::read_to_string(&file).ok() == actual {
                continue;
            }
            match (&actual, update) {
                (Some(actual), true) => fs::write(&file, actual).unwrap(),
                (None, true) => fs::remove_file(&file).unwrap(),
                (actual, false) => {
                    failures.push(format!(
                        "{}:\n{}",
                        file.display(),
                        actual.as_deref().unwrap_or("")
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "not as expected:\n\n{}", failures.join("\n"));
    assert!(wrong >= 45 && right >= 10, "{wrong} wrong and {right} right cases");
}

/// A file with its options and the other files it names.
#[derive(Default)]
struct Case {
    sources: Vec<SourceText>,
    files: BTreeMap<String, String>,
    options: Options,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case = Self::default();
        let mut name = "portway.yaml".to_owned();
        let mut content = String::new();
        for line in text.split_inclusive('\n') {
            if let Some(next) = line.strip_prefix("#--- ") {
                case.add(&name, std::mem::take(&mut content));
                next.trim().clone_into(&mut name);
                continue;
            }
            if let Some(option) = line.strip_prefix("#! ") {
                case.option(option.trim());
            }
            content.push_str(line);
        }
        case.add(&name, content);
        case
    }

    fn add(&mut self, name: &str, text: String) {
        let folder = Utf8Path::new("/site");
        if Utf8Path::new(name).extension() == Some("yaml") {
            self.sources.push(SourceText { name: name.to_owned(), folder: folder.into(), text });
        } else {
            self.files.insert(folder.join(name).into_string(), text);
        }
    }

    fn option(&mut self, option: &str) {
        let (kind, value) = option.split_once(' ').unwrap();
        let pair = || {
            let (name, value) = value.split_once('=').unwrap();
            (name.to_owned(), value.to_owned())
        };
        match kind {
            "set" => self.options.set.extend([pair()]),
            "var" => self.options.variables.extend([pair()]),
            "env" => self.options.environment = Some(value.to_owned()),
            other => panic!("no option {other}"),
        }
    }
}

impl Files for Case {
    fn read(&self, path: &Utf8Path) -> io::Result<String> {
        self.files.get(path.as_str()).cloned().ok_or(io::ErrorKind::NotFound.into())
    }
}

fn sites(loaded: &Loaded) -> String {
    let sites: BTreeMap<&str, _> =
        loaded.sites.iter().map(|(name, loaded)| (name.as_str(), &loaded.site)).collect();
    serde_json::to_string_pretty(&sites).unwrap() + "\n"
}

/// What holds for every finding, whatever it says.
fn judge(case: &Case, loaded: &Loaded, path: &Path) {
    for finding in &loaded.findings {
        assert!(finding.remedy.is_some(), "{}: no remedy: {}", path.display(), finding.text);
        if let Some(pos) = place(finding)
            && let Some(source) = case.sources.iter().find(|source| source.name == pos.file)
        {
            let line = source.text.lines().nth(pos.line - 1).unwrap_or("");
            assert!(pos.column <= line.chars().count() + 1, "{}: {pos}", path.display());
        }
        let rest = loaded.findings.iter().filter(|other| *other == finding);
        assert_eq!(rest.count(), 1, "{}: twice: {}", path.display(), finding.text);
    }
}

fn place(finding: &Finding) -> Option<&SourcePos> {
    match &finding.at {
        Location::Field { source, .. } => source.as_ref(),
        Location::Source(source) => Some(source),
        Location::Host(_) | Location::Installation => None,
    }
}
