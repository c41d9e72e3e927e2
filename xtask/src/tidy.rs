//! `cargo xtask tidy`: what every committed file must be like, whatever language it is in.
//!
//! It judges what git tracks, one file at a time and by bytes; formatting and spelling are left to
//! the tools made for them.

mod lock;
mod text;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::fault::Fault;
use crate::output_of;

/// The size above which a file does not belong into the repository.
const LARGEST_FILE: usize = 1024 * 1024;

/// Folders that programs fill; none of them belongs into the repository.
const FILLED_BY_PROGRAMS: [&str; 4] = ["target", "node_modules", "__pycache__", ".venv"];

/// How the output of compilers and linkers begins.
const BUILD_OUTPUT: [(&[u8], &str); 6] = [
    (b"\x7fELF", "an ELF binary"),
    (b"\xcf\xfa\xed\xfe", "a Mach-O binary"),
    (b"\xca\xfe\xba\xbe", "a universal binary or a Java class"),
    (b"MZ\x90\0", "a Windows binary"),
    (b"!<arch>\n", "an object archive"),
    (b"\0asm", "a WebAssembly module"),
];

/// Reads all files git tracks below `root` and returns what is wrong with them.
pub(crate) fn faults(root: &PathBuf) -> anyhow::Result<Vec<Fault>> {
    let listed = output_of("git", &["ls-files", "-z"], Some(root))?;
    let listed = String::from_utf8(listed).context("git lists a file whose name is not UTF-8")?;
    let mut faults = Vec::new();
    for file in listed.split_terminator('\0') {
        if let Some(bytes) = content(&root.join(file))? {
            faults.extend(check(file, &bytes));
        }
    }
    Ok(faults)
}

/// Returns what a file holds; nothing for links, submodules and what was deleted but not committed.
fn content(path: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => {
            let bytes =
                fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
            Ok(Some(bytes))
        }
        Ok(_) => Ok(None),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot look at {}", path.display())),
    }
}

fn check(file: &str, bytes: &[u8]) -> Vec<Fault> {
    let mut faults = Vec::new();
    faults.extend(fault_of_place(file));
    faults.extend(fault_of_size(file, bytes.len()));
    faults.extend(fault_of_kind(file, bytes));
    if !is_binary(bytes) {
        let text = String::from_utf8_lossy(bytes);
        faults.extend(text::faults(file, &text));
        faults.extend(lock::faults(file, &text));
    }
    faults
}

fn fault_of_place(file: &str) -> Option<Fault> {
    let folder = file.split('/').rev().skip(1).find(|it| FILLED_BY_PROGRAMS.contains(it))?;
    let mend = format!("`git rm -r --cached` it and list {folder}/ in .gitignore");
    Some(Fault::new(file, 1, format!("a file of {folder}/, which a program fills"), mend))
}

fn fault_of_size(file: &str, size: usize) -> Option<Fault> {
    (size > LARGEST_FILE).then(|| {
        let what = format!("{} KiB, and 1 MiB is the most", size / 1024);
        Fault::new(file, 1, what, "make it smaller, or have it made or fetched when it is needed")
    })
}

fn fault_of_kind(file: &str, bytes: &[u8]) -> Option<Fault> {
    let (_, kind) = BUILD_OUTPUT.iter().find(|(magic, _)| bytes.starts_with(magic))?;
    Some(Fault::new(file, 1, *kind, "commit what it is built from instead"))
}

/// Git's own rule: a NUL byte near the beginning.
fn is_binary(bytes: &[u8]) -> bool {
    bytes.iter().take(8000).any(|byte| *byte == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tidy_file_is_without_fault() {
        assert_eq!(check("src/lib.rs", b"//! A crate.\n\nfn main() {}\n"), []);
    }

    #[test]
    fn the_output_of_a_compiler_is_a_fault() {
        let faults = check("tests/helper", b"\x7fELF\x02\x01\x01\0\0\0");

        assert_eq!(
            faults[0].to_string(),
            "tests/helper:1: an ELF binary; commit what it is built from instead"
        );
    }

    #[test]
    fn a_picture_is_not_read_as_text() {
        assert_eq!(check("docs/console.png", b"\x89PNG\r\n\x1a\n\0\0\t \n\t"), []);
    }

    #[test]
    fn a_file_of_more_than_a_mebibyte_is_a_fault() {
        let mut bytes = vec![b'a'; LARGEST_FILE - 1];
        bytes.push(b'\n');
        assert_eq!(check("data.txt", &bytes), []);

        bytes.insert(0, b'a');
        assert!(check("data.txt", &bytes)[0].what.contains("1 MiB is the most"));
    }

    #[test]
    fn a_folder_that_programs_fill_is_a_fault_and_a_file_of_that_name_is_not() {
        assert!(check("ui/node_modules/a/index.js", b"a\n")[0].what.contains("node_modules/"));
        assert_eq!(check("docs/target", b"a\n"), []);
    }

    #[test]
    fn all_faults_of_a_file_are_found_at_once() {
        let faults = check("src/lib.rs", b"fn main() {}  \n\tlet a = 1;");

        let lines: Vec<usize> = faults.iter().map(|fault| fault.line).collect();
        assert_eq!(lines, [1, 1, 2, 2], "{faults:?}");
    }
}
