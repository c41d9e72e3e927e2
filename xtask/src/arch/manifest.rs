//! Finds lines in a `Cargo.toml`, so that a fault points at the dependency it is about.
//!
//! This is not a TOML parser: cargo has already accepted the file, and only line numbers are wanted.

/// Returns the line (from 1) on which `table` lists `key`, or 1 if the text does not show it.
///
/// A table may stand for one target only (`[target.'cfg(unix)'.dependencies]`) or for one
/// dependency (`[dependencies.serde]`).
pub(super) fn line_of_dependency(manifest: &str, table: &str, key: &str) -> usize {
    line_of_key(manifest, table, key)
        .or_else(|| line_of_table(manifest, &format!("{table}.{key}")))
        .unwrap_or(1)
}

/// Returns the line (from 1) of `key` in the table of that name.
pub(super) fn line_of_key(manifest: &str, table: &str, key: &str) -> Option<usize> {
    let mut inside = false;
    for (number, line) in (1..).zip(manifest.lines()) {
        match table_name(line) {
            Some(name) => inside = is_table(name, table),
            None if inside && begins_with_key(line, key) => return Some(number),
            None => {}
        }
    }
    None
}

fn line_of_table(manifest: &str, table: &str) -> Option<usize> {
    let found = |line: &str| table_name(line).is_some_and(|name| is_table(name, table));
    (1..).zip(manifest.lines()).find(|(_, line)| found(line)).map(|(number, _)| number)
}

fn table_name(line: &str) -> Option<&str> {
    line.trim_start().strip_prefix('[')?.split(']').next()
}

fn is_table(name: &str, wanted: &str) -> bool {
    name == wanted || (name.starts_with("target.") && name.ends_with(&format!(".{wanted}")))
}

fn begins_with_key(line: &str, key: &str) -> bool {
    let quoted = line.trim_start().trim_start_matches(['"', '\'']);
    let Some(rest) = quoted.strip_prefix(key) else { return false };
    rest.starts_with([' ', '.', '=', '"', '\''])
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "\
[package]
name = \"portway-edge\"

[dependencies]
serde_json.workspace = true
serde = { version = \"1\" }

[dev-dependencies]
serde = \"1\"

[target.'cfg(unix)'.dependencies]
rustix.workspace = true

[build-dependencies.cc]
version = \"1\"
";

    #[test]
    fn a_dependency_is_found_in_its_own_table() {
        assert_eq!(line_of_dependency(MANIFEST, "dependencies", "serde"), 6);
        assert_eq!(line_of_dependency(MANIFEST, "dev-dependencies", "serde"), 9);
    }

    #[test]
    fn a_dependency_of_one_target_is_found() {
        assert_eq!(line_of_dependency(MANIFEST, "dependencies", "rustix"), 12);
    }

    #[test]
    fn a_dependency_with_a_table_of_its_own_is_found() {
        assert_eq!(line_of_dependency(MANIFEST, "build-dependencies", "cc"), 14);
    }

    #[test]
    fn what_the_text_does_not_show_is_on_the_first_line() {
        assert_eq!(line_of_dependency(MANIFEST, "dependencies", "tokio"), 1);
    }
}
