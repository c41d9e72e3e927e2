//! Paths that routes match.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// A prefix of whole path segments: `/open` holds `/open` and `/open/x`, not `/opener`. Kept
/// without a trailing slash, except for the root.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PathPrefix(String);

/// Why a text is not a path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// No slash in front.
    #[error("a path begins with `/`")]
    NoSlash,
    /// A character that never arrives in a canonical path.
    #[error("`{0}` cannot stand in a path; percent-encode it")]
    Character(char),
    /// Dot segments or empty segments, which requests are freed of before they are matched.
    #[error(
        "`.`, `..` and `//` are removed from requests before they are matched, so this path can never match"
    )]
    NotCanonical,
}

impl PathPrefix {
    /// The prefix of every path.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Returns the prefix as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Tells whether this is the prefix of every path.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// Returns what follows the prefix in `path`, beginning with `/`, or `None` when `path` lies
    /// outside. `/open` of `/open/x` leaves `/x`, of `/open` leaves `/`.
    pub fn rest<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.is_root() {
            return path.starts_with('/').then_some(path);
        }
        match path.strip_prefix(self.as_str())? {
            "" => Some("/"),
            rest if rest.starts_with('/') => Some(rest),
            _ => None,
        }
    }
}

/// Checks a whole path: absolute, canonical, only characters of RFC 3986 `pchar` and `/`.
pub(crate) fn check_path(text: &str) -> Result<(), PathError> {
    if !text.starts_with('/') {
        return Err(PathError::NoSlash);
    }
    if let Some(c) = text.chars().find(|c| !is_path_char(*c)) {
        return Err(PathError::Character(c));
    }
    let inner = text.strip_suffix('/').unwrap_or(text);
    if inner.split('/').skip(1).any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(PathError::NotCanonical);
    }
    Ok(())
}

fn is_path_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || "/-._~!$&'()*+,;=:@%".contains(c)
}

impl FromStr for PathPrefix {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, PathError> {
        check_path(text)?;
        let trimmed = text.strip_suffix('/').unwrap_or(text);
        Ok(Self(if trimmed.is_empty() { "/".to_owned() } else { trimmed.to_owned() }))
    }
}

impl TryFrom<String> for PathPrefix {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, PathError> {
        text.parse()
    }
}

impl From<PathPrefix> for String {
    fn from(prefix: PathPrefix) -> Self {
        prefix.0
    }
}

impl fmt::Display for PathPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_segment() {
        let open: PathPrefix = "/open/".parse().unwrap();
        assert_eq!(open.rest("/open"), Some("/"));
        assert_eq!(open.rest("/open/x"), Some("/x"));
        assert_eq!(open.rest("/opener"), None);
        assert_eq!(PathPrefix::root().rest("/x"), Some("/x"));
    }

    #[test]
    fn a_path_that_can_never_match_is_refused() {
        for text in ["x", "/a//b", "/a/../b", "/./a", "/a b", "/ä", "/a?b", "//"] {
            assert!(text.parse::<PathPrefix>().is_err(), "{text}");
        }
    }
}
