//! What happens to a text between the file and the directive, and how it is written so that it
//! arrives as it was meant.
//!
//! Caddy reads a file in these steps; each was tried with 2.6.2 and 2.11:
//! 1. `{$NAME}` and `{$NAME:default}` become environment variables, in quotes too. So a brace before a
//!    dollar sign is written as the default of a variable that nobody sets; what a variable became is
//!    not looked at again.
//! 2. Tokens are made. Between backticks everything is itself; between double quotes `\"` is a quote,
//!    and every other backslash is itself.
//! 3. `import` replaces `{args[0]}` and the like in each token that it brings, and takes the backslash
//!    from `\{` and `\}`, unless the token has no brace that opens (2.9 and before) or none at all.
//! 4. Most directives replace placeholders when they run, by the same rule.

use std::borrow::Cow;

/// What `{` is written as before a dollar sign.
pub(super) const OPEN_BRACE: &str = "{$PORTWAY_BRACE:{}";

/// Why a text cannot stand in a Caddyfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unwritable {
    /// A backslash before a closing brace, which versions of Caddy read differently.
    #[error("Caddy cannot be given a backslash before a brace that closes and no brace that opens")]
    Brace,
    /// No kind of quotes holds it.
    #[error(
        "Caddy has no quotes for a text with a backtick and a backslash before a quote or at its end"
    )]
    Quotes,
    /// Caddy 2.6 ends a block there, in quotes too.
    #[error("Caddy cannot be given a closing brace alone")]
    Alone,
    /// A control character, which would be lost or end a line.
    #[error("Caddy cannot be given control characters")]
    Control,
}

/// Returns a text in which nothing is a placeholder (step 4).
pub(super) fn escape_placeholders(text: &str) -> Result<String, Unwritable> {
    escape(text).map(Cow::into_owned)
}

/// Returns the token that becomes `word` when it is imported (step 3).
pub(super) fn before_import(word: &str) -> Result<Cow<'_, str>, Unwritable> {
    // A placeholder of ours is no argument of an import, so it stays whole; what is escaped in it for
    // the directive needs its backslash twice.
    if !word.contains("\\{") && !word.contains("\\}") {
        return Ok(Cow::Borrowed(word));
    }
    if !word.contains('{') {
        return Err(Unwritable::Brace);
    }
    Ok(Cow::Owned(word.replace("\\{", "\\\\{").replace("\\}", "\\\\}")))
}

/// Returns the text with a backslash before every brace.
fn escape(text: &str) -> Result<Cow<'_, str>, Unwritable> {
    if !text.contains('{') {
        // Without one that opens, the others are themselves, and escapes depend on the version.
        return if text.contains("\\}") { Err(Unwritable::Brace) } else { Ok(Cow::Borrowed(text)) };
    }
    Ok(Cow::Owned(text.replace('{', "\\{").replace('}', "\\}")))
}

/// Returns a token as it is written (steps 1 and 2).
pub(super) fn quote(token: &str) -> Result<String, Unwritable> {
    if token == "}" {
        return Err(Unwritable::Alone);
    }
    if token.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Err(Unwritable::Control);
    }
    let quoted = if is_bare(token) {
        token.to_owned()
    } else if !token.contains('`') {
        format!("`{token}`")
    } else if !token.ends_with('\\') && !token.contains("\\\"") {
        format!("\"{}\"", token.replace('"', "\\\""))
    } else {
        return Err(Unwritable::Quotes);
    };
    Ok(quoted.replace("{$", &format!("{OPEN_BRACE}$")))
}

/// Tells whether a token needs no quotes: it holds no space, quote, backslash or comment, opens no
/// block and is no here-document. Placeholders of ours are bare.
fn is_bare(token: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./:@*+,%=~^|()?[]$!&;{}".contains(c);
    !token.is_empty() && token.chars().all(is_plain) && !matches!(token, "{" | "}")
}
