//! A Caddyfile as a tree, as far as Portway writes one.
//!
//! A word is what a directive gets when Caddy has read the file: the printer takes care of everything
//! that happens on the way there (environment variables, quotes, what an `import` does to braces).

use super::text::{Unwritable, escape_placeholders};

/// A word of a directive.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Word(String);

/// A directive, a site block, or an option within a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Directive {
    /// Its words; the first is its name.
    pub(crate) words: Vec<Word>,
    /// What stands in its braces, where it has them.
    pub(crate) block: Option<Vec<Directive>>,
}

impl Word {
    /// Returns a word of ours, in which placeholders are meant as such.
    pub(crate) fn ours(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns a user's text where Caddy replaces placeholders: none of it becomes one.
    pub(crate) fn text(text: &str) -> Result<Self, Unwritable> {
        escape_placeholders(text).map(Self)
    }

    /// Returns a user's text between two parts of ours, where Caddy replaces placeholders.
    pub(crate) fn around(before: &str, text: &str, after: &str) -> Result<Self, Unwritable> {
        let text = escape_placeholders(text)?;
        Ok(Self(format!("{before}{text}{after}")))
    }

    /// Returns what the directive gets.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Directive {
    /// Returns a directive without a block.
    pub(crate) fn new<W: Into<Word>>(words: impl IntoIterator<Item = W>) -> Self {
        Self { words: words.into_iter().map(Into::into).collect(), block: None }
    }

    /// Returns the directive with a block.
    pub(crate) fn with(mut self, block: Vec<Self>) -> Self {
        self.block = Some(block);
        self
    }

    /// Returns the directive with a block where there is something to stand in it.
    pub(crate) fn with_any(mut self, block: Vec<Self>) -> Self {
        self.block = (!block.is_empty()).then_some(block);
        self
    }
}

impl From<&'static str> for Word {
    fn from(text: &'static str) -> Self {
        Self::ours(text)
    }
}

/// Only what Portway itself composed is a `String` here; a user's text is a [`Word`] already.
impl From<String> for Word {
    fn from(text: String) -> Self {
        Self(text)
    }
}
