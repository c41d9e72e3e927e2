//! Regular expressions as Go's `regexp` reads them, which Caddy and Traefik use for paths, headers and
//! queries.
//!
//! A pattern is made by construction only: whatever a user typed stands in it as letters, digits, `/`,
//! `-`, `_` or as an escape `\xHH`. So it can hold no quote, backtick or `{{`, wherever it is written.

mod rust;

use std::fmt::{self, Write as _};

pub(crate) use rust::Untranslatable;

/// What is found in an `Upgrade` to more HTTP, whose requests would pass every rule by.
pub(crate) const UPGRADE_TO_HTTP: &str = r"(?i)(?:^|,)[ \t]*(?:h2c|h2|http|tls)[ \t]*(?:/|,|$)";

/// An expression of Go's `regexp`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GoPattern(String);

impl GoPattern {
    /// Returns what is found in a text that is exactly this one.
    pub(crate) fn whole(text: &str) -> Self {
        Self(format!("^{}$", literal(text)))
    }

    /// Returns what is found in a text that has this one somewhere.
    pub(crate) fn containing(text: &str) -> Self {
        Self(literal(text))
    }

    /// Returns what is found in a path below a prefix of whole segments.
    pub(crate) fn below(prefix: &str) -> Self {
        if prefix == "/" {
            return Self("^/".to_owned());
        }
        Self(format!("^{}(?:/|$)", literal(prefix)))
    }

    /// Returns what [`Self::whole`] finds, in a path whose reserved characters may be escaped.
    pub(crate) fn routed_whole(path: &str) -> Self {
        Self(format!("^{}$", routed(path)))
    }

    /// Returns what [`Self::below`] finds, in a path whose reserved characters may be escaped.
    pub(crate) fn routed_below(prefix: &str) -> Self {
        if prefix == "/" {
            return Self("^/".to_owned());
        }
        Self(format!("^{}(?:/|$)", routed(prefix)))
    }

    /// Returns what is found wherever an expression of the `regex` crate is found.
    pub(crate) fn like(rust: &str) -> Result<Self, Untranslatable> {
        rust::translate(rust).map(Self)
    }

    /// Returns what is found in a query that has a parameter with this value, in whatever way both
    /// are encoded.
    pub(crate) fn query(name: &str, value: &str) -> Self {
        let equals = if value.is_empty() { "=?" } else { "=" };
        Self(format!("(?:^|&){}{equals}{}(?:&|$)", encoded(name), encoded(value)))
    }

    /// Returns what is found in a decimal number greater than this one.
    pub(crate) fn number_above(most: u64) -> Self {
        let digits = most.to_string();
        let mut ways = vec![format!("[1-9][0-9]{{{},}}", digits.len())];
        for (index, digit) in digits.char_indices().filter(|(_, digit)| *digit != '9') {
            let same = digits.get(..index).unwrap_or_default();
            let next = char::from_u32(u32::from(digit) + 1).unwrap_or('9');
            let rest = match digits.len() - index - 1 {
                0 => String::new(),
                1 => "[0-9]".to_owned(),
                rest => format!("[0-9]{{{rest}}}"),
            };
            ways.push(format!("{same}[{next}-9]{rest}"));
        }
        Self(format!("^0*(?:{})$", ways.join("|")))
    }

    /// Returns what is found in a part of a path that begins with a dot, unless it is one of `but`.
    pub(crate) fn hidden_but(shown: &str) -> Self {
        let name = shown.trim_start_matches('.');
        let mut ways = vec!["$".to_owned()];
        for (index, c) in name.char_indices() {
            let same = literal(name.get(..index).unwrap_or_default());
            let end = if index == 0 { String::new() } else { format!("|{same}$") };
            ways.push(format!("{same}[^{}]{end}", literal(&c.to_string())));
        }
        ways.push(format!("{}[^/]", literal(name)));
        Self(format!("/\\.(?:{})", ways.join("|")))
    }

    /// Returns what is found in a path that has this segment.
    pub(crate) fn with_segment(segment: &str) -> Self {
        Self(format!("/{}(?:/|$)", literal(segment)))
    }

    /// Returns what is found in the path of a file whose name has no dot.
    pub(crate) fn without_ending() -> &'static str {
        "^(?:/|(?:.*/)?[^./]+/?)$"
    }

    /// Returns the beginning of paths below so many segments.
    pub(crate) fn segments(count: usize) -> String {
        format!("^{}", "/[^/]+".repeat(count))
    }

    /// Returns the expression.
    #[cfg(test)]
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns an expression that matches a text and nothing else.
fn literal(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|c| push_literal(&mut out, c));
    out
}

/// Returns an expression that matches a path, also where its reserved characters (RFC 3986 §2.2) are
/// escaped.
fn routed(path: &str) -> String {
    let mut out = String::new();
    for c in path.chars() {
        if !":?#[]@!$&'()*+,;=%".contains(c) {
            push_literal(&mut out, c);
            continue;
        }
        out.push_str("(?:");
        if c != '%' {
            push_literal(&mut out, c);
            out.push('|');
        }
        let code = u32::from(c);
        out.push('%');
        for digit in [code >> 4, code & 15] {
            push_digit(&mut out, u8::try_from(digit).unwrap_or_default());
        }
        out.push(')');
    }
    out
}

fn push_literal(out: &mut String, c: char) {
    match c {
        'a'..='z' | 'A'..='Z' | '0'..='9' | '/' | '-' | '_' => out.push(c),
        '.' => out.push_str("\\."),
        c if c.is_ascii() => push(out, format_args!("\\x{:02X}", u32::from(c))),
        c => push(out, format_args!("\\x{{{:X}}}", u32::from(c))),
    }
}

/// Returns an expression that matches a text in every way in which a form may encode it.
fn encoded(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        out.push_str("(?:");
        if byte.is_ascii() && !matches!(byte, b'%' | b'&' | b'+' | b'=' | b' ' | b'#') {
            push_literal(&mut out, char::from(byte));
            out.push('|');
        }
        if byte == b'=' {
            // What comes after the first one is part of the value.
            out.push_str("\\x3D|");
        }
        if byte == b' ' {
            out.push_str("\\x2B|");
        }
        out.push('%');
        for digit in [byte >> 4, byte & 15] {
            push_digit(&mut out, digit);
        }
        out.push(')');
    }
    out
}

fn push_digit(out: &mut String, digit: u8) {
    match char::from_digit(u32::from(digit), 16) {
        Some(letter @ 'a'..='f') => {
            out.extend(['[', letter.to_ascii_uppercase(), letter, ']']);
        }
        Some(digit) => out.push(digit),
        None => {}
    }
}

/// Writing to a string cannot fail.
fn push(out: &mut String, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes every text");
}

impl fmt::Display for GoPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests;
