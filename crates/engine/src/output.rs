//! What the tests of engines say.

use camino::Utf8Path;

/// Returns every `FILE:LINE` in a text, in order.
pub(crate) fn places(text: &str) -> Vec<(&Utf8Path, usize)> {
    let is_around = |c: char| c.is_whitespace() || "'\"`(),[]".contains(c);
    let words = text.split(is_around).filter(|word| word.starts_with('/'));
    words
        .filter_map(|word| {
            let (file, rest) = word.split_once(':')?;
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Some((Utf8Path::new(file), rest.get(..digits)?.parse().ok()?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_found_in_what_engines_say() {
        let text = "parsing caddyfile tokens for 'route': unknown directive, at /o/a.caddy:12 import chain (/p/b.caddy:3 (import)), at /e:7";
        let found: Vec<_> = places(text).into_iter().map(|(f, l)| (f.as_str(), l)).collect();
        assert_eq!(found, [("/o/a.caddy", 12), ("/p/b.caddy", 3), ("/e", 7)]);
    }
}
