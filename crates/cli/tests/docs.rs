//! The documentation: its site files are sound, its commands exist, its links lead somewhere.
#![expect(clippy::unwrap_used, reason = "a failed assumption fails the test")]

use std::{
    fs,
    io::Write as _,
    process::{Command, Stdio},
};

use camino::{Utf8Path, Utf8PathBuf};

/// A page of the documentation.
struct Page {
    path: Utf8PathBuf,
    text: String,
}

/// A part of a page between fences.
#[derive(Debug, PartialEq, Eq)]
struct Block<'a> {
    kind: &'a str,
    text: String,
}

#[test]
fn every_site_file_that_is_shown_is_sound() {
    let mut count = 0;
    for page in pages() {
        let blocks = blocks(&page.text);
        let is_site_file = |block: &&Block<'_>| {
            block.kind == "yaml" && block.text.lines().any(|line| line == "sites:")
        };
        for block in blocks.iter().filter(is_site_file) {
            count += 1;
            assert_sound(&page.path, &block.text, &[]);
            if block.text.contains("environments:") {
                assert_sound(&page.path, &block.text, &["--env", "prod"]);
            }
        }
    }
    assert!(count > 15, "only {count} site files were found");
}

#[test]
fn every_small_example_is_sound() {
    let examples = files(&repository().join("examples"), "yaml");
    assert!(!examples.is_empty());
    for path in examples {
        let output = portway().args(["check", "-f", path.as_str()]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{path}: {output:?}");
    }
}

#[test]
fn every_command_that_is_shown_exists() {
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page.text).iter().filter(|block| block.kind == "console") {
            // A command may go on in the next line.
            let text = block.text.replace("\\\n", " ");
            for words in text.lines().filter_map(typed).filter_map(|line| words(&line)) {
                count += 1;
                let mut command = portway();
                // What stands behind `--` is another program's.
                command.args(words.iter().take_while(|word| word.as_str() != "--"));
                if words.first().is_none_or(|first| first != "help") {
                    command.arg("--help");
                }
                let output = command.output().unwrap();
                let path = &page.path;
                assert_eq!(output.status.code(), Some(0), "{path}: {words:?}: {output:?}");
            }
        }
    }
    assert!(count > 40, "only {count} commands were found");
}

#[test]
fn every_link_leads_to_a_file() {
    for page in pages() {
        let folder = page.path.parent().unwrap();
        for link in links(&page.text) {
            let file = folder.join(link);
            assert!(file.exists(), "{}: {link} does not exist", page.path);
        }
    }
}

fn pages() -> Vec<Page> {
    let root = repository();
    let mut paths = files(&root, "md");
    for folder in ["docs", "docs/adr"] {
        paths.extend(files(&root.join(folder), "md"));
    }
    let read = |path: Utf8PathBuf| Page { text: fs::read_to_string(&path).unwrap(), path };
    paths.into_iter().map(read).collect()
}

/// Returns the files of a folder with an extension, in order.
fn files(folder: &Utf8Path, extension: &str) -> Vec<Utf8PathBuf> {
    let entries = folder.read_dir_utf8().unwrap();
    let paths = entries.map(|entry| entry.unwrap().path().to_owned());
    let mut paths: Vec<_> = paths.filter(|path| path.extension() == Some(extension)).collect();
    paths.sort();
    paths
}

fn repository() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize_utf8().unwrap()
}

/// Returns what stands between fences, without the indentation of its fence.
fn blocks(text: &str) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, Block<'_>)> = None;
    for line in text.lines() {
        let bare = line.trim_start();
        match (&mut open, bare.strip_prefix("```")) {
            (None, Some(kind)) => {
                let block = Block { kind, text: String::new() };
                open = Some((line.len() - bare.len(), block));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(_, block)| block)),
            (Some((indent, block)), None) => {
                block.text.push_str(line.get(*indent..).unwrap_or_default());
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "a fence is not closed");
    blocks
}

/// Returns what is typed on a line of a terminal.
fn typed(line: &str) -> Option<String> {
    line.strip_prefix("$ ").map(str::to_owned)
}

/// Returns the words after `portway`, where that is what a line runs. What follows a pipe, a
/// redirection or a comment sign is not the command's.
fn words(line: &str) -> Option<Vec<String>> {
    let mut words = split(line).into_iter().skip_while(|word| is_prefix(word));
    let program = words.next()?;
    if program != "portway" && !program.ends_with("/portway") {
        return None;
    }
    Some(words.take_while(|word| !matches!(word.as_str(), "|" | ">" | "#" | "&&" | ";")).collect())
}

/// Tells whether a word stands before the program: `sudo`, `env`, or a variable.
fn is_prefix(word: &str) -> bool {
    let is_variable =
        |name: &str| name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
    matches!(word, "sudo" | "env")
        || word.split_once('=').is_some_and(|(name, _)| is_variable(name))
}

/// Splits a line as a shell does, as far as our examples go: blanks, and both kinds of quotes.
fn split(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, c) if c.is_whitespace() => words.push(String::new()),
            (_, c) => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// Returns the links of a page that lead to files.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    let files = targets.filter(|link| !link.contains("://") && !link.starts_with('#'));
    files.map(|link| link.split('#').next().unwrap_or(link)).collect()
}

fn assert_sound(page: &Utf8Path, text: &str, more: &[&str]) {
    // What site files name beside them.
    let folder = tempfile::tempdir().unwrap();
    let pem = |kind: &str| format!("-----BEGIN {kind}-----\nMIIB\n-----END {kind}-----\n");
    for (file, kind) in [
        ("internal-ca.pem", "CERTIFICATE"),
        ("edge.pem", "CERTIFICATE"),
        ("edge.key", "PRIVATE KEY"),
    ] {
        fs::write(folder.path().join(file), pem(kind)).unwrap();
    }
    fs::write(folder.path().join("moved.csv"), "/old,/new,308\n").unwrap();
    let mut child = portway()
        .current_dir(folder.path())
        .args(["check", "-f", "-"])
        .args(more)
        .env("ADA_PASSWORD", "seven herons over the quay")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{page}:\n{text}\n{said}");
}

/// The command with nothing of this machine.
fn portway() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_portway"));
    command.env_clear().env("HOME", "/nonexistent");
    command
}
