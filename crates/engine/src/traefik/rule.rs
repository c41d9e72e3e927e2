//! Rules of routers.
//!
//! Traefik reads them as Go expressions, so a text stands in double quotes as Go has them.

use std::fmt::{self, Write as _};

use portway_model::{
    HostPattern,
    site::{Match, PathMatch, Wanted},
};

use crate::{go_pattern::GoPattern, path::decoded};

/// A rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule(String);

impl Rule {
    /// Returns a matcher with its arguments.
    pub(super) fn call(matcher: &'static str, arguments: &[&str]) -> Self {
        let quoted: Vec<String> = arguments.iter().map(|argument| quote(argument)).collect();
        Self(format!("{matcher}({})", quoted.join(", ")))
    }

    /// Returns what holds where both do.
    pub(super) fn and(self, other: &Self) -> Self {
        Self(format!("{} && {}", self.0, other.0))
    }

    /// Returns what holds where one of them does.
    pub(super) fn any(rules: impl IntoIterator<Item = Self>) -> Self {
        let rules: Vec<String> = rules.into_iter().map(|rule| rule.0).collect();
        if let [rule] = rules.as_slice() {
            Self(rule.clone())
        } else {
            Self(format!("({})", rules.join(" || ")))
        }
    }

    /// Returns what holds where this does not.
    pub(super) fn not(self) -> Self {
        Self(format!("!{}", self.0))
    }

    /// Returns what a host must be.
    pub(super) fn host(host: &HostPattern) -> Self {
        match host {
            HostPattern::Exact(name) => Self::call("Host", &[name.as_str()]),
            HostPattern::Ip(address) => Self::call("Host", &[&address.to_string()]),
            HostPattern::Wildcard(name) => {
                let pattern = format!("(?i)^[^.]+{}$", GoPattern::containing(&format!(".{name}")));
                Self::call("HostRegexp", &[&pattern])
            }
            HostPattern::Any => Self::call("HostRegexp", &["^"]),
        }
    }

    /// Returns what a request must have for a route, beside the host.
    pub(super) fn of(matches: &Match) -> Self {
        let mut rule = Self::path(&matches.path);
        if !matches.methods.is_empty() {
            let methods: Vec<&str> = matches.methods.iter().map(String::as_str).collect();
            rule = rule.and(&Self::methods(&methods));
        }
        for (name, value) in &matches.headers {
            rule = rule.and(&Self::pair(("Header", "HeaderRegexp"), name, value));
        }
        for (name, value) in &matches.query {
            rule = rule.and(&Self::pair(("Query", "QueryRegexp"), name, value));
        }
        rule
    }

    /// Returns what has a value under a name. Nothing is no argument, but can be an expression's.
    fn pair((is, matches): (&'static str, &'static str), name: &str, value: &str) -> Self {
        if value.is_empty() {
            Self::call(matches, &[name, "^$"])
        } else {
            Self::call(is, &[name, value])
        }
    }

    /// Returns what the method must be one of.
    pub(super) fn methods(methods: &[&str]) -> Self {
        Self::any(methods.iter().map(|method| Self::call("Method", &[method])))
    }

    fn path(path: &PathMatch) -> Self {
        let pattern = match path {
            PathMatch::Exact(path) => GoPattern::routed_whole(&decoded(path)).to_string(),
            PathMatch::Prefix(prefix) => {
                GoPattern::routed_below(&decoded(prefix.as_str())).to_string()
            }
            // What cannot be translated was refused before (`support`).
            PathMatch::Regex(regex) => {
                GoPattern::like(regex).map_or_else(|_| "[^/]^/".to_owned(), |p| p.to_string())
            }
        };
        Self::call("PathRegexp", &[&pattern])
    }

    /// Returns what leads a request to a side of a split by a header.
    pub(super) fn header(wanted: &Wanted) -> Self {
        match &wanted.value {
            Some(value) => Self::pair(("Header", "HeaderRegexp"), &wanted.name, value),
            None => Self::call("HeaderRegexp", &[&wanted.name, "^"]),
        }
    }

    /// Returns what leads a request to a side of a split by a cookie.
    pub(super) fn cookie(wanted: &Wanted) -> Self {
        let value = wanted
            .value
            .as_deref()
            .map_or_else(|| "[^;]*".to_owned(), |value| GoPattern::containing(value).to_string());
        let name = GoPattern::containing(&wanted.name);
        let pattern = format!("(?:^|;)[ \\t]*{name}={value}[ \\t]*(?:;|$)");
        Self::call("HeaderRegexp", &["Cookie", &pattern])
    }

    /// Returns the rule as Traefik reads it.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Returns a text as Go quotes it, with everything escaped but plain characters.
fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '"' | '`' | '{' | '}' => push(&mut out, format_args!("\\x{:02x}", u32::from(c))),
            ' '..='~' => out.push(c),
            c if u32::from(c) <= 0xffff => push(&mut out, format_args!("\\u{:04x}", u32::from(c))),
            c => push(&mut out, format_args!("\\U{:08x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// Writing to a string cannot fail.
fn push(out: &mut String, text: fmt::Arguments<'_>) {
    let written = out.write_fmt(text);
    debug_assert!(written.is_ok(), "a string takes every text");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_cannot_leave_its_quotes() {
        let rule = Rule::call("Header", &["X-A", "`\") || Host(\"evil\") {{x}} \\ ä 🦀 \n"]);
        let quoted = "Header(\"X-A\", \"\\x60\\x22) || Host(\\x22evil\\x22) \\x7b\\x7bx\\x7d\\x7d \
                      \\\\ \\u00e4 \\U0001f980 \\u000a\")";
        assert_eq!(rule.as_str(), quoted);
    }

    #[test]
    fn rules_are_put_together_with_their_precedence() {
        let methods = Rule::methods(&["GET", "HEAD"]);
        let rule = Rule::call("Host", &["a"]).and(&methods).and(&Rule::methods(&["PUT"]).not());
        assert_eq!(
            rule.as_str(),
            "Host(\"a\") && (Method(\"GET\") || Method(\"HEAD\")) && !Method(\"PUT\")"
        );
    }
}
