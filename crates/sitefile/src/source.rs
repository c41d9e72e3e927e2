//! The texts that are read, and places in them.

use std::sync::Arc;

use camino::Utf8PathBuf;
use portway_model::SourcePos;

/// A site file that has been read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceText {
    /// The file as the user named it; shown in findings.
    pub name: String,
    /// The folder to which relative paths in it refer; absolute.
    pub folder: Utf8PathBuf,
    /// What stands in it.
    pub text: String,
}

/// A file without its text, shared by all places in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct SourceFile {
    pub(crate) name: String,
    pub(crate) folder: Utf8PathBuf,
}

/// A place in a file; line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pos {
    pub(crate) file: Arc<SourceFile>,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

impl Pos {
    pub(crate) fn to_model(&self) -> SourcePos {
        SourcePos { file: self.file.name.clone(), line: self.line, column: self.column }
    }
}

/// Returns the lines of a text. Lines end as YAML has it: with LF, CR LF or CR.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// Returns a text without its byte order mark, which is not part of what it says.
pub(crate) fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// How far a text reaches. Parsers may report the end of a text beyond it.
pub(crate) struct Extent {
    lengths: Vec<usize>,
}

impl Extent {
    pub(crate) fn of(text: &str) -> Self {
        Self { lengths: lines(text).map(|line| line.chars().count()).collect() }
    }

    /// Returns the nearest place within the text; one column behind the end of a line is within.
    pub(crate) fn clamp(&self, line: usize, column: usize) -> (usize, usize) {
        let line = line.clamp(1, self.lengths.len().max(1));
        let length = self.lengths.get(line - 1).copied().unwrap_or(0);
        (line, column.clamp(1, length + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_line_end_ends_a_line() {
        assert_eq!(lines("a\nb\r\nc\rd").collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        assert_eq!(lines("a\n").collect::<Vec<_>>(), ["a", ""]);
    }

    #[test]
    fn a_place_beyond_the_text_is_drawn_back() {
        let extent = Extent::of("ab\n");
        assert_eq!(extent.clamp(1, 9), (1, 3));
        assert_eq!(extent.clamp(7, 1), (2, 1));
        assert_eq!(extent.clamp(0, 0), (1, 1));
    }
}
