//! Names that people give to things.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A name of a site, log, zone or parameter set: 1 to 63 characters of `a-z`, `0-9`, `-`, `_` and
/// `.`, beginning and ending with a letter or digit. It is safe as a file name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// Why a text is not a [`Name`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Nothing, or more than 63 characters.
    #[error("a name has 1 to 63 characters, this one has {0}")]
    Length(usize),
    /// A character that names do not have.
    #[error("`{0}` cannot stand in a name; use a-z, 0-9, `-`, `_` and `.`")]
    Character(char),
    /// A name that begins or ends with punctuation.
    #[error("a name begins and ends with a letter or digit")]
    Edge,
}

impl Name {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the nearest valid name to any text, for remedies and for names made from hosts.
    pub fn suggest(text: &str) -> Option<Self> {
        let lower = text.to_lowercase();
        let cleaned: String =
            lower.chars().map(|c| if is_name_char(c) { c } else { '-' }).take(63).collect();
        cleaned.trim_matches(['-', '_', '.']).parse().ok()
    }
}

fn is_name_char(c: char) -> bool {
    c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.')
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let length = text.chars().count();
        if !(1..=63).contains(&length) {
            return Err(NameError::Length(length));
        }
        if let Some(c) = text.chars().find(|c| !is_name_char(*c)) {
            return Err(NameError::Character(c));
        }
        if text.starts_with(['-', '_', '.']) || text.ends_with(['-', '_', '.']) {
            return Err(NameError::Edge);
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_leave_its_folder_is_refused() {
        for text in ["..", ".", "a/b", "-a", "a-", "", "Ä", "a b", "A"] {
            assert!(text.parse::<Name>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn the_suggestion_is_a_valid_name() {
        assert_eq!(Name::suggest("My Blog!").map(String::from).as_deref(), Some("my-blog"));
        assert_eq!(
            Name::suggest("*.example.org").map(String::from).as_deref(),
            Some("example.org")
        );
        assert_eq!(Name::suggest("***"), None);
    }
}
