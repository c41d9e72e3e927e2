//! Values in which nginx looks for variables. Many of its directives know no escape for `$`, so a
//! dollar sign of a user becomes a variable of ours that holds one.

/// A constant that holds a dollar sign; [`super::common`] makes it.
pub(super) const DOLLAR: &str = "portway_dollar";

/// A constant that holds nothing; [`super::common`] makes it.
pub(super) const EMPTY: &str = "$portway_empty";

/// Returns a text as a value that stands for exactly this text.
pub(super) fn literal(text: &str) -> String {
    text.replace('$', &format!("${{{DOLLAR}}}"))
}

/// Returns a text as part of a regular expression that matches exactly this text, byte by byte.
pub(super) fn in_regex(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len() + 8);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-') {
            pattern.push(char::from(byte));
        } else {
            pattern.extend(["\\x", &format!("{byte:02x}")]);
        }
    }
    pattern
}

/// Returns the variable that holds a header of the request, where nginx has one for it.
pub(super) fn header(name: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    let name = name.to_ascii_lowercase();
    name.bytes().all(known).then(|| format!("${{http_{}}}", name.replace('-', "_")))
}

/// Returns the variable that holds a cookie of the request, where nginx has one for it.
pub(super) fn cookie(name: &str) -> Option<String> {
    let known = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let is_known = !name.is_empty() && name.bytes().all(known);
    is_known.then(|| format!("${{cookie_{name}}}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_user_is_a_variable() {
        assert_eq!(literal("a$b${c}$"), "a${portway_dollar}b${portway_dollar}{c}${portway_dollar}");
        assert_eq!(literal("a b"), "a b");
    }

    #[test]
    fn a_text_in_an_expression_stands_for_itself() {
        assert_eq!(in_regex("/a.b$ä"), "/a\\x2eb\\x24\\xc3\\xa4");
    }

    #[test]
    fn only_what_nginx_has_a_variable_for_is_read() {
        assert_eq!(header("X-Beta").as_deref(), Some("${http_x_beta}"));
        assert_eq!(header("x_beta"), None, "nginx drops such headers");
        assert_eq!(header("a$b"), None);
        assert_eq!(cookie("a-b"), None);
    }
}
