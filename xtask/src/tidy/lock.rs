//! Where packages come from: the public registries, named by nothing but their client's default.
//!
//! A lock file made behind a mirror, or a setting that points at one, works on no other machine.

use crate::fault::Fault;

const CRATES_IO: [&str; 2] =
    ["registry+https://github.com/rust-lang/crates.io-index", "sparse+https://index.crates.io/"];
const NPM: &str = "https://registry.npmjs.org/";
const MEND_SETTING: &str = "keep it in the settings of your own account";

/// Returns each line of a lock file or a client's settings that names another source of packages.
pub(super) fn faults(file: &str, text: &str) -> Vec<Fault> {
    let Some(judge) = judge(file) else { return Vec::new() };
    (1..)
        .zip(text.lines())
        .filter_map(|(number, line)| judge(line.trim()).map(|it| it.at(file, number)))
        .collect()
}

struct Foreign {
    what: String,
    mend: &'static str,
}

impl Foreign {
    fn at(self, file: &str, line: usize) -> Fault {
        Fault::new(file, line, self.what, self.mend)
    }
}

type Judge = fn(&str) -> Option<Foreign>;

fn judge(file: &str) -> Option<Judge> {
    let name = file.rsplit('/').next().unwrap_or(file);
    match name {
        "Cargo.lock" => Some(cargo_lock),
        "package-lock.json" | "npm-shrinkwrap.json" => Some(npm_lock),
        ".npmrc" | "pip.conf" => Some(ini),
        "config.toml" if file.contains(".cargo/") => Some(cargo_settings),
        _ if name.starts_with("requirements") || name.starts_with("constraints") => {
            Some(requirements)
        }
        _ => None,
    }
}

fn cargo_lock(line: &str) -> Option<Foreign> {
    let source = line.strip_prefix("source = \"")?.strip_suffix('"')?;
    (!CRATES_IO.contains(&source)).then(|| Foreign {
        what: format!("a crate from {source}"),
        mend: "take a release from crates.io, and lock without a mirror",
    })
}

fn npm_lock(line: &str) -> Option<Foreign> {
    let source = line.strip_prefix("\"resolved\": \"")?;
    (!source.starts_with(NPM)).then(|| Foreign {
        what: "a package from elsewhere than npm's own registry".to_owned(),
        mend: "lock with `npm install --omit-lockfile-registry-resolved`",
    })
}

fn requirements(line: &str) -> Option<Foreign> {
    let option = line.split([' ', '=']).next()?;
    let options =
        ["-i", "--index-url", "--extra-index-url", "-f", "--find-links", "--trusted-host"];
    options.contains(&option).then(|| Foreign {
        what: format!("{option} names a source of packages"),
        mend: MEND_SETTING,
    })
}

fn cargo_settings(line: &str) -> Option<Foreign> {
    let table = line.strip_prefix('[')?.split([']', '.']).next()?;
    ["source", "registries", "registry"].contains(&table).then(|| Foreign {
        what: format!("[{table}] names a source of crates"),
        mend: MEND_SETTING,
    })
}

fn ini(line: &str) -> Option<Foreign> {
    let (key, _) = line.split_once('=')?;
    let key = key.trim();
    let names_source = key.ends_with("registry") && !key.starts_with("omit-")
        || ["index-url", "extra-index-url", "find-links"].contains(&key);
    names_source
        .then(|| Foreign { what: format!("{key} names a source of packages"), mend: MEND_SETTING })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn crates_come_from_crates_io() {
        let lock = "source = \"registry+https://github.com/rust-lang/crates.io-index\"\n\
                    source = \"registry+https://mirror.example/index\"\n\
                    source = \"git+https://example.com/a.git#0123\"\n";

        assert_eq!(lines("Cargo.lock", lock), [2, 3]);
        assert_eq!(lines("docs/locks.md", lock), [0; 0]);
    }

    #[test]
    fn npm_packages_come_from_its_registry_or_from_nowhere_named() {
        let lock = "\"resolved\": \"https://registry.npmjs.org/a/-/a-1.tgz\",\n\
                    \"resolved\": \"http://mirror.example:4873/a/-/a-1.tgz\",\n";

        assert_eq!(lines("tests/browser/package-lock.json", lock), [2]);
    }

    #[test]
    fn requirements_name_packages_and_no_index() {
        let file = "flask==3.1.0\n--index-url https://mirror.example/simple\n-f=wheels\n";

        assert_eq!(lines("tests/requirements.txt", file), [2, 3]);
    }

    #[test]
    fn settings_of_clients_name_no_source() {
        assert_eq!(lines(".cargo/config.toml", "[alias]\n[source.crates-io]\n"), [2]);
        assert_eq!(
            lines(".npmrc", "omit-lockfile-registry-resolved=true\nregistry=http://m\n"),
            [2]
        );
    }

    fn lines(file: &str, text: &str) -> Vec<usize> {
        faults(file, text).into_iter().map(|fault| fault.line).collect()
    }
}
