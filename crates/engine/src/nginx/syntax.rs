//! nginx's configuration as a tree, and its printer.
//!
//! A word of the tree is what nginx understands after it has undone quotes and escapes. The printer
//! quotes every word that is not plain, so whatever a word holds stays within it. Variables are another
//! matter: see [`super::value`].

use portway_model::FieldPath;

use crate::Place;

/// A directive, with a block or without one.
#[derive(Clone, Debug)]
pub struct Directive {
    /// Its name and arguments; an entry of a `map` begins with its key.
    pub words: Vec<String>,
    /// What stands in its braces.
    pub block: Option<Vec<Directive>>,
    /// The line on which it begins, counted from 1; 0 where it was not read from a file.
    pub line: usize,
    /// The field of the site that it was made from.
    pub field: Option<FieldPath>,
}

/// A configuration as text, with the fields that its lines were made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Printed {
    /// The text.
    pub text: String,
    /// The fields, in the order of lines.
    pub places: Vec<Place>,
}

/// The longest word that nginx reads, with room for its quotes: its buffer has 4,096 bytes.
pub(super) const LONGEST_WORD: usize = 4000;

/// Makes a directive without a block of words that need not be texts.
macro_rules! line {
    ($($word:expr),+ $(,)?) => {
        $crate::nginx::syntax::Directive::new([$(::std::string::ToString::to_string(&$word)),+])
    };
}
pub(crate) use line;

/// Two directives are equal when nginx reads the same, wherever they come from.
impl PartialEq for Directive {
    fn eq(&self, other: &Self) -> bool {
        self.words == other.words && self.block == other.block
    }
}

impl Eq for Directive {}

impl Directive {
    /// Returns a directive without a block.
    pub fn new(words: impl IntoIterator<Item = String>) -> Self {
        Self { words: words.into_iter().collect(), block: None, line: 0, field: None }
    }

    /// Returns it with a block.
    #[must_use]
    pub fn with(mut self, block: Vec<Self>) -> Self {
        self.block = Some(block);
        self
    }

    /// Returns it with the field that it was made from.
    #[must_use]
    pub fn from_field(mut self, field: &FieldPath) -> Self {
        self.field = Some(field.clone());
        self
    }

    /// Returns its name.
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// Returns its arguments.
    pub fn args(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }

    /// Returns the field from which a word was made that nginx would not read because it is too long.
    pub(super) fn too_long<'a>(&'a self, outer: &'a FieldPath) -> Option<&'a FieldPath> {
        let field = self.field.as_ref().unwrap_or(outer);
        if self.words.iter().any(|word| quoted(word).len() > LONGEST_WORD) {
            return Some(field);
        }
        self.block.iter().flatten().find_map(|inner| inner.too_long(field))
    }
}

/// Prints directives.
pub fn print(directives: &[Directive]) -> Printed {
    let mut printer = Printer::default();
    printer.all(directives, 0);
    printer.printed
}

/// Returns a word as it stands in a file.
pub(super) fn quoted(word: &str) -> String {
    if is_plain(word) {
        return word.to_owned();
    }
    let mut text = String::with_capacity(word.len() + 2);
    text.push('"');
    for c in word.chars() {
        match c {
            '"' | '\\' => text.extend(['\\', c]),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            c => text.push(c),
        }
    }
    text.push('"');
    text
}

/// Tells whether a word needs no quotes, whoever reads it.
fn is_plain(word: &str) -> bool {
    let name = word.strip_prefix('$').unwrap_or(word);
    !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"_./:=@,+~^*()-".contains(&byte))
}

#[derive(Default)]
struct Printer {
    printed: Printed,
    line: usize,
}

impl Printer {
    fn all(&mut self, directives: &[Directive], depth: usize) {
        for directive in directives {
            self.one(directive, depth);
        }
    }

    fn one(&mut self, directive: &Directive, depth: usize) {
        if let Some(field) = &directive.field {
            let place = Place { line: self.line + 1, field: field.clone() };
            self.printed.places.push(place);
        }
        let words: Vec<String> = directive.words.iter().map(|word| quoted(word)).collect();
        let words = words.join(" ");
        match &directive.block {
            None => self.write(depth, &format!("{words};")),
            Some(block) => {
                self.write(depth, &format!("{words} {{"));
                self.all(block, depth + 1);
                self.write(depth, "}");
            }
        }
    }

    fn write(&mut self, depth: usize, text: &str) {
        self.printed.text.push_str(&"    ".repeat(depth));
        self.printed.text.push_str(text);
        self.printed.text.push('\n');
        self.line += 1;
    }
}
