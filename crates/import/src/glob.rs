//! Patterns of paths, as `include` and `import` have them: `*`, `?` and `[…]` within one part.

use camino::{Utf8Path, Utf8PathBuf};

use crate::tree::{ReadError, Tree};

/// More is no configuration.
const MOST_FILES: usize = 10_000;

/// Tells whether a path is a pattern.
pub(crate) fn is_pattern(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Returns the paths that fit a pattern, sorted. Names that begin with a dot fit only patterns that do.
pub(crate) fn expand(tree: &dyn Tree, pattern: &Utf8Path) -> Result<Vec<Utf8PathBuf>, ReadError> {
    let mut found = vec![Utf8PathBuf::new()];
    for part in pattern.components() {
        let part = part.as_str();
        if !is_pattern(part) {
            for path in &mut found {
                path.push(part);
            }
            continue;
        }
        let mut next = Vec::new();
        for folder in &found {
            let names = match tree.list(folder) {
                Ok(names) => names,
                Err(ReadError::Absent) => continue,
                Err(error @ ReadError::Unreadable(_)) => return Err(error),
            };
            let fits = |name: &&String| {
                (!name.starts_with('.') || part.starts_with('.')) && matches(part, name)
            };
            next.extend(names.iter().filter(fits).map(|name| folder.join(name)));
            if next.len() > MOST_FILES {
                let text = format!("more than {MOST_FILES} files fit it");
                return Err(ReadError::Unreadable(text));
            }
        }
        found = next;
    }
    found.sort();
    Ok(found)
}

/// Tells whether a name fits a pattern.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), name.chars().collect());
    // Where the last star stood, and how much of the name it holds: going back there is enough.
    let (mut at, mut read, mut star) = (0, 0, None);
    while read < name.len() {
        if pattern.get(at) == Some(&'*') {
            star = Some((at, read));
            at += 1;
            continue;
        }
        if let Some(length) = name.get(read).and_then(|c| one(pattern.get(at..)?, *c)) {
            at += length;
            read += 1;
            continue;
        }
        let Some((place, held)) = star else { return false };
        star = Some((place, held + 1));
        at = place + 1;
        read = held + 1;
    }
    pattern.get(at..).unwrap_or_default().iter().all(|c| *c == '*')
}

/// Returns the length of the element with which a pattern begins, where a character fits it.
fn one(pattern: &[char], c: char) -> Option<usize> {
    match pattern.split_first()? {
        ('?', _) => Some(1),
        ('[', rest) => {
            let end = rest.iter().skip(1).position(|c| *c == ']')? + 1;
            let set = rest.get(..end)?;
            let (is_negated, set) = match set.split_first() {
                Some(('!' | '^', set)) => (true, set),
                Some(_) | None => (false, set),
            };
            (in_set(set, c) != is_negated).then_some(end + 2)
        }
        ('\\', [escaped, ..]) => (*escaped == c).then_some(2),
        (plain, _) => (*plain == c).then_some(1),
    }
}

fn in_set(mut set: &[char], c: char) -> bool {
    loop {
        set = match set {
            [from, '-', to, rest @ ..] => {
                if (*from..=*to).contains(&c) {
                    return true;
                }
                rest
            }
            [one, rest @ ..] => {
                if *one == c {
                    return true;
                }
                rest
            }
            [] => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_patterns_as_in_a_shell() {
        for (pattern, name) in [
            ("*.conf", "a.conf"),
            ("*", ""),
            ("a*b*c", "aXbXbXc"),
            ("[a-c]?", "b1"),
            ("[!a]x", "bx"),
            ("\\*", "*"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("*.conf", "a.conf~"), ("[a", "a"), ("?", ""), ("[!a]x", "ax")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
