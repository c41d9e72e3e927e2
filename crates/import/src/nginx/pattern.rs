//! Expressions as nginx has them and the edge does not: what must not follow, and what counts only
//! within a prefix.

use std::collections::BTreeMap;

use regex_syntax::hir::{
    Look,
    literal::{Extractor, Literal},
};

/// What an expression matches of the paths below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Inside {
    /// What this expression matches.
    Pattern(String),
    /// Nothing.
    Never,
    /// It cannot be said.
    Unknown,
}

/// Returns what an expression matches of the paths that begin with a text.
pub(super) fn inside(pattern: &str, prefix: &str) -> Inside {
    if matches!(prefix, "" | "/") {
        return Inside::Pattern(pattern.to_owned());
    }
    let Ok(hir) = regex_syntax::parse(pattern) else { return Inside::Unknown };
    let looks = hir.properties();
    let is_anchored = looks.look_set_prefix().contains(Look::Start);
    if !is_anchored && looks.look_set().contains(Look::Start) {
        return Inside::Unknown;
    }
    let begins = Extractor::new().extract(&hir);
    let Some(begins) = begins.literals() else { return Inside::Unknown };
    let begins: Vec<&[u8]> = begins.iter().map(Literal::as_bytes).collect();
    let agrees = |text: &[u8], begin: &[u8]| text.iter().zip(begin).all(|(a, b)| a == b);
    let prefix_bytes = prefix.as_bytes();
    if is_anchored {
        return if begins.iter().all(|begin| begin.starts_with(prefix_bytes)) {
            Inside::Pattern(pattern.to_owned())
        } else if begins.iter().any(|begin| agrees(prefix_bytes, begin)) {
            Inside::Unknown
        } else {
            Inside::Never
        };
    }
    // A match that begins within the prefix would be missed.
    let overlaps = (0..prefix_bytes.len()).any(|at| {
        let rest = prefix_bytes.get(at..).unwrap_or_default();
        begins.iter().any(|begin| agrees(rest, begin))
    });
    if overlaps {
        return Inside::Unknown;
    }
    let (flags, bare) = match pattern.strip_prefix("(?i)") {
        Some(bare) => ("(?i:", bare),
        None => ("(?:", pattern),
    };
    Inside::Pattern(format!("^{}.*{flags}{bare})", regex_syntax::escape(prefix)))
}

/// Returns an expression without its look-ahead, where that stands at the end and names texts, as in
/// `/\.(?!well-known).*`; any other expression as it is.
pub(super) fn plain(pattern: &str) -> String {
    rewritten(pattern).unwrap_or_else(|| pattern.to_owned())
}

fn rewritten(pattern: &str) -> Option<String> {
    let (before, after) = pattern.split_once("(?!")?;
    let (inner, rest) = after.split_once(')')?;
    if !matches!(rest, "" | ".*" | ".*$") || before.contains("(?!") || before.ends_with('\\') {
        return None;
    }
    let mut tree = Tree::default();
    for text in inner.split('|') {
        tree.add(&literal(text)?);
    }
    Some(format!("{before}{}", tree.other()))
}

/// Reads a text without anything special in it.
fn literal(text: &str) -> Option<Vec<char>> {
    let mut chars = Vec::new();
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => chars.push(rest.next().filter(|c| !c.is_ascii_alphanumeric())?),
            c if c.is_ascii_alphanumeric() || "-_/~".contains(c) => chars.push(c),
            _ => return None,
        }
    }
    (!chars.is_empty()).then_some(chars)
}

/// Texts by their characters.
#[derive(Default)]
struct Tree {
    next: BTreeMap<char, Self>,
    is_end: bool,
}

impl Tree {
    fn add(&mut self, text: &[char]) {
        match text.split_first() {
            Some((first, rest)) => self.next.entry(*first).or_default().add(rest),
            None => self.is_end = true,
        }
    }

    /// Returns what matches where none of the texts begins.
    fn other(&self) -> String {
        let escaped = |c: &char| regex_syntax::escape(&c.to_string());
        let class: String = self.next.keys().map(escaped).collect();
        let mut ways = vec!["$".to_owned(), format!("[^{class}]")];
        for (c, tree) in self.next.iter().filter(|(_, tree)| !tree.is_end) {
            ways.push(format!("{}{}", escaped(c), tree.other()));
        }
        format!("(?:{})", ways.join("|"))
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn what_must_not_follow_is_said_by_what_may() {
        let regex = Regex::new(&plain(r"/\.(?!well-known|acme).*")).unwrap();
        for path in
            ["/.git", "/.", "/a/.well", "/.well-knowx", "/.acm", "/.well-known/../.x/.htaccess"]
        {
            assert!(regex.is_match(path), "{path}");
        }
        for path in ["/.well-known", "/.well-known/x", "/.acme", "/a"] {
            assert!(!regex.is_match(path), "{path}");
        }
    }

    #[test]
    fn an_expression_counts_only_within_its_prefix() {
        let inside = |pattern: &str, prefix: &str| inside(pattern, prefix);
        let pattern = |text: &str| Inside::Pattern(text.to_owned());
        assert_eq!(inside(r"\.php$", "/a/"), pattern(r"^/a/.*(?:\.php$)"));
        assert_eq!(inside(r"(?i)\.php$", "/a/"), pattern(r"^/a/.*(?i:\.php$)"));
        assert_eq!(inside("^/a/b", "/a/"), pattern("^/a/b"));
        assert_eq!(inside("^/b", "/a/"), Inside::Never);
        for text in ["^/a", "a/b", "^.*x", ".*", "x|^/a/"] {
            assert_eq!(inside(text, "/a/"), Inside::Unknown, "{text}");
        }
    }

    #[test]
    fn any_other_expression_stays() {
        for pattern in [r"(?<=x)y", r"/(?!a*)", r"^/(?!index)x", r"\.php$", r"\(?!x)"] {
            assert_eq!(plain(pattern), pattern);
        }
    }
}
