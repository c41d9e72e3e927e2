//! Configurations and what becomes of them: one file each in `tests/cases/ENGINE`. What is expected
//! stands beside it: `NAME.out` has the site file and the report.
//!
//! Adding a case is adding a file. `UPDATE=1 cargo test -p portway-import --test golden` writes what
//! is expected; read the difference before you keep it.
//!
//! A line `#--- PATH` begins a file, of which a case may have several; the first is where reading
//! begins. `#! without-limits` and `#! own PATH` stand for options.

#![expect(clippy::unwrap_used, clippy::panic, reason = "what is unexpected ends the test")]

use std::{collections::BTreeMap, fs, path::Path};

use camino::{Utf8Path, Utf8PathBuf};
use portway_import::{Detail, Imported, Options};
use portway_model::{Finding, site::check};

#[test]
fn every_case_gives_what_is_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let update = std::env::var_os("UPDATE").is_some();
    let (mut failures, mut count) = (Vec::new(), 0);
    for engine in ["nginx", "caddy", "traefik"] {
        let Ok(entries) = fs::read_dir(folder.join(engine)) else { continue };
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "conf"));
        paths.sort();
        for path in paths {
            count += 1;
            let imported = Case::parse(&fs::read_to_string(&path).unwrap()).import(engine);
            judge(&imported, &path);
            let actual = shown(&imported);
            let file = path.with_extension("out");
            if fs::read_to_string(&file).is_ok_and(|expected| expected == actual) {
                continue;
            }
            if update {
                fs::write(&file, actual).unwrap();
            } else {
                failures.push(format!("{}:\n{actual}", file.display()));
            }
        }
    }
    assert!(failures.is_empty(), "not as expected:\n\n{}", failures.join("\n"));
    assert!(count >= 60, "{count} cases");
}

/// What comes out can be applied, and reads back as what it is.
fn judge(imported: &Imported, path: &Path) {
    for (name, spec) in &imported.sites {
        let (site, findings) = check(name, spec);
        let errors: Vec<&Finding> = findings.iter().filter(|finding| finding.is_error()).collect();
        assert!(site.is_some() && errors.is_empty(), "{}: {errors:?}", path.display());
    }
}

struct Case {
    first: Utf8PathBuf,
    files: BTreeMap<Utf8PathBuf, String>,
    options: Options,
}

impl Case {
    fn parse(text: &str) -> Self {
        let mut case =
            Self { first: Utf8PathBuf::new(), files: BTreeMap::new(), options: Options::default() };
        let mut path = Utf8PathBuf::new();
        for line in text.split_inclusive('\n') {
            if let Some(next) = line.strip_prefix("#--- ") {
                path = Utf8PathBuf::from(next.trim());
                if case.first.as_str().is_empty() {
                    case.first.clone_from(&path);
                }
                case.files.insert(path.clone(), String::new());
            } else if let Some(option) = line.strip_prefix("#! ") {
                match option.trim().split_once(' ') {
                    None => case.options.without_limits = true,
                    Some(("taken", name)) => case.options.taken.push(name.to_owned()),
                    Some((_, own)) => case.options.own.push(own.into()),
                }
            } else {
                case.files.get_mut(&path).unwrap().push_str(line);
            }
        }
        case
    }

    /// Traefik reads a folder.
    fn folder(&self) -> &Utf8Path {
        self.first.parent().unwrap()
    }

    fn import(&self, engine: &str) -> Imported {
        match engine {
            "nginx" => portway_import::nginx(&self.first, &self.files, &self.options).unwrap(),
            "caddy" => portway_import::caddy(&self.first, &self.files, &self.options).unwrap(),
            "traefik" => {
                portway_import::traefik(self.folder(), &self.files, &self.options).unwrap()
            }
            other => panic!("{other} is no engine"),
        }
    }
}

fn shown(imported: &Imported) -> String {
    format!("{}\n{}", imported.site_file(), imported.report(Detail::All))
}
