//! Writes a tree as a Caddyfile that is reached by one `import`.

use portway_model::FieldPath;

use super::{
    syntax::{Directive, Word},
    text::{Unwritable, before_import, quote},
};
use crate::Place;

/// A text that grows, with the fields that its lines were made from.
#[derive(Debug, Default)]
pub(crate) struct Printer {
    text: String,
    lines: usize,
    places: Vec<Place>,
}

impl Printer {
    /// Says that what follows is made from this field.
    pub(crate) fn from(&mut self, field: &FieldPath) {
        self.places.push(Place { line: self.lines + 1, field: field.clone() });
    }

    /// Writes a comment of ours.
    pub(crate) fn comment(&mut self, text: &str) {
        self.line(0, &format!("# {text}"));
    }

    /// Writes directives.
    pub(crate) fn print(
        &mut self,
        directives: &[Directive],
        depth: usize,
    ) -> Result<(), Unwritable> {
        directives.iter().try_for_each(|directive| self.directive(directive, depth))
    }

    fn directive(&mut self, directive: &Directive, depth: usize) -> Result<(), Unwritable> {
        let words: Vec<String> =
            directive.words.iter().map(written).collect::<Result<_, Unwritable>>()?;
        let line = words.join(" ");
        match &directive.block {
            None => self.line(depth, &line),
            Some(block) => {
                self.line(depth, &format!("{line} {{"));
                self.print(block, depth + 1)?;
                self.close(depth);
            }
        }
        Ok(())
    }

    /// Begins a block.
    pub(crate) fn open(&mut self, words: &[Word], depth: usize) -> Result<(), Unwritable> {
        let words: Vec<String> = words.iter().map(written).collect::<Result<_, Unwritable>>()?;
        self.line(depth, &format!("{} {{", words.join(" ")));
        Ok(())
    }

    /// Ends a block.
    pub(crate) fn close(&mut self, depth: usize) {
        self.line(depth, "}");
    }

    fn line(&mut self, depth: usize, line: &str) {
        self.text.extend(std::iter::repeat_n('\t', depth));
        self.text.push_str(line);
        self.text.push('\n');
        self.lines += 1 + line.matches('\n').count();
    }

    /// Returns the text and the fields of its lines.
    pub(crate) fn finish(self) -> (String, Vec<Place>) {
        (self.text, self.places)
    }
}

fn written(word: &Word) -> Result<String, Unwritable> {
    quote(&before_import(word.as_str())?)
}
