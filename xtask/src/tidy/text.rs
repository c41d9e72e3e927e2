//! What every text file must be like, line by line.

use std::path::Path;

use crate::fault::Fault;

/// Folders of files that record bytes as they are: what a test compares with, or feeds in because it
/// is ill-formed. Their white space is part of what they say.
const VERBATIM_FOLDERS: [&str; 4] = ["cases", "fixtures", "golden", "snapshots"];

/// Marks of unfinished work. Put together here, so that this file does not carry them itself.
const MARKS: [&str; 2] = [concat!("TO", "DO"), concat!("FIX", "ME")];

/// Folders of one machine: what stands there is nowhere else.
const MACHINE_FOLDERS: [&str; 2] = [concat!("/ro", "ot/"), concat!("/wo", "rk/")];

/// Returns what is wrong with the text of a file.
pub(super) fn faults(file: &str, text: &str) -> Vec<Fault> {
    let mut faults = Vec::new();
    let place = Place { file, white_space_counts: is_verbatim(file) };
    faults.extend(place.fault_of_opening(text));
    for (number, line) in (1..).zip(text.split_terminator('\n')) {
        faults.extend(place.fault_of_tab(number, line));
        faults.extend(place.fault_of_blanks(number, line));
        faults.extend(place.fault_of_mark(number, line));
        faults.extend(place.fault_of_machine(number, line));
    }
    faults.extend(place.fault_of_end(text));
    faults
}

struct Place<'a> {
    file: &'a str,
    white_space_counts: bool,
}

impl Place<'_> {
    fn fault_of_opening(&self, text: &str) -> Option<Fault> {
        let bare = has_extension(self.file, &["rs"]) && !text.starts_with("//!");
        bare.then(|| {
            let mend = "say there what the file is for and what it deliberately does not do";
            Fault::new(self.file, 1, "no `//!` at the beginning", mend)
        })
    }

    fn fault_of_tab(&self, number: usize, line: &str) -> Option<Fault> {
        if self.white_space_counts || needs_tabs(self.file) || !line.contains('\t') {
            return None;
        }
        Some(Fault::new(self.file, number, "a tab", "use spaces, or `\\t` inside a string"))
    }

    fn fault_of_blanks(&self, number: usize, line: &str) -> Option<Fault> {
        if self.white_space_counts || line.trim_end() == line {
            return None;
        }
        Some(match line.strip_suffix('\r') {
            Some(rest) if rest.trim_end() == rest => {
                Fault::new(self.file, number, "a carriage return", "end lines with LF alone")
            }
            _ => Fault::new(self.file, number, "blanks at the end of the line", "remove them"),
        })
    }

    fn fault_of_mark(&self, number: usize, line: &str) -> Option<Fault> {
        let mark = MARKS.iter().find(|mark| has_unnumbered(line, mark))?;
        let mend = format!("do it, or open an issue and write {mark}(#n)");
        Some(Fault::new(self.file, number, format!("{mark} without an issue"), mend))
    }

    fn fault_of_machine(&self, number: usize, line: &str) -> Option<Fault> {
        let folder = MACHINE_FOLDERS.iter().find(|folder| has_path_into(line, folder))?;
        let mend = "make it relative, or take it from an argument or the environment";
        Some(Fault::new(self.file, number, format!("a path into {folder}, of one machine"), mend))
    }

    fn fault_of_end(&self, text: &str) -> Option<Fault> {
        if self.white_space_counts || text.is_empty() || text.ends_with('\n') {
            return None;
        }
        let last = text.lines().count();
        Some(Fault::new(self.file, last, "no line feed at the end of the file", "add one"))
    }
}

fn is_verbatim(file: &str) -> bool {
    has_extension(file, &["snap"])
        || file.split('/').rev().skip(1).any(|folder| VERBATIM_FOLDERS.contains(&folder))
}

fn needs_tabs(file: &str) -> bool {
    let name = file.rsplit('/').next().unwrap_or(file);
    name == "Makefile" || name == ".gitmodules" || has_extension(file, &["mk", "go", "tsv"])
}

fn has_extension(file: &str, wanted: &[&str]) -> bool {
    Path::new(file).extension().is_some_and(|found| wanted.iter().any(|it| found == *it))
}

fn has_unnumbered(line: &str, mark: &str) -> bool {
    line.match_indices(mark).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        let after = line.get(at + mark.len()..).unwrap_or_default();
        let is_word = !before.is_some_and(is_of_word) && !after.starts_with(is_of_word);
        is_word && !begins_with_issue(after)
    })
}

fn is_of_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

fn begins_with_issue(text: &str) -> bool {
    let number = text.strip_prefix("(#").and_then(|rest| rest.split_once(')')).map(|(it, _)| it);
    number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Whether a path begins with `folder`, rather than having it in its midst (`$HOME`, a URL).
fn has_path_into(line: &str, folder: &str) -> bool {
    line.match_indices(folder).any(|(at, _)| {
        let before = line.get(..at).and_then(|text| text.chars().next_back());
        !before.is_some_and(|it| it.is_alphanumeric() || "._-~*})>%".contains(it))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rust_file_without_an_opening_is_a_fault() {
        assert_eq!(whats("a.rs", "use std::fs;\n"), ["no `//!` at the beginning"]);
        assert_eq!(whats("a.py", "import os\n"), [""; 0]);
    }

    #[test]
    fn tabs_are_faults_except_where_the_format_needs_them() {
        assert_eq!(whats("a.sh", "if x; then\n\ty\nfi\n"), ["a tab"]);
        assert_eq!(whats("Makefile", "run:\n\tcargo run\n"), [""; 0]);
    }

    #[test]
    fn blanks_at_the_end_of_a_line_are_faults() {
        assert_eq!(whats("a.md", "one \ntwo\n"), ["blanks at the end of the line"]);
        assert_eq!(whats("a.md", "one\r\n"), ["a carriage return"]);
    }

    #[test]
    fn a_file_ends_with_a_line_feed() {
        let faults = faults("a.md", "one\ntwo");

        assert_eq!(faults[0].line, 2);
        assert_eq!(whats("empty", ""), [""; 0]);
    }

    #[test]
    fn white_space_is_left_alone_where_bytes_are_recorded() {
        for file in ["src/snapshots/a.snap", "tests/cases/tab.yaml", "tests/golden/a.conf"] {
            assert_eq!(whats(file, "a:\n\tb: \nend"), [""; 0]);
        }
    }

    #[test]
    fn unfinished_work_names_its_issue() {
        for mark in MARKS {
            assert_eq!(whats("a.sh", &format!("# {mark}(#12): later\n")), [""; 0]);
            assert_eq!(whats("a.sh", &format!("# {mark}S and {mark}_LIST\n")), [""; 0]);
            for bad in ["", ": later", "(#)", "(#x)", "(me)"] {
                assert_eq!(whats("a.sh", &format!("# {mark}{bad}\n")).len(), 1, "{mark}{bad}");
            }
        }
    }

    #[test]
    fn a_path_of_one_machine_is_a_fault() {
        for folder in MACHINE_FOLDERS {
            for line in [format!("cd {folder}x"), format!("\"{folder}\""), format!("A={folder}b")] {
                assert_eq!(whats("a.sh", &format!("{line}\n")).len(), 1, "{line}");
            }
            let line = format!("$HOME{folder}x https://host{folder}x ${{dir}}{folder}\n");
            assert_eq!(whats("a.sh", &line), [""; 0]);
        }
    }

    fn whats(file: &str, text: &str) -> Vec<String> {
        faults(file, text).into_iter().map(|fault| fault.what).collect()
    }
}
