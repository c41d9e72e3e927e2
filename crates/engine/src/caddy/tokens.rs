//! Reads a Caddyfile into tokens, with where each stands.
//!
//! It follows Caddy's own rules, here-documents included, so that what is read of a machine's own file
//! is what Caddy reads of it.

use super::text::OPEN_BRACE;

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// What it says.
    pub text: String,
    /// The line on which it begins, counted from 1.
    pub line: usize,
    /// Where it begins and ends in the text, quotes included.
    pub span: (usize, usize),
    /// Whether it stood in quotes.
    pub is_quoted: bool,
    /// Whether it is the first of its line.
    pub is_first: bool,
}

/// Why a text is no Caddyfile.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{problem}")]
pub struct TokenError {
    /// The line.
    pub line: usize,
    /// What is wrong there.
    pub problem: &'static str,
}

/// Returns the tokens of a text. What environment variables would bring is not known here: each
/// stays as it is written, but for the one by which Portway writes a brace.
pub fn tokens(text: &str) -> Result<Vec<Token>, TokenError> {
    let mut reader = Reader { text, at: 0, line: 1, is_fresh: true };
    let mut tokens = Vec::new();
    while let Some(token) = reader.token()? {
        tokens.push(token);
    }
    Ok(tokens)
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
    line: usize,
    /// Whether no token has begun on this line.
    is_fresh: bool,
}

impl Reader<'_> {
    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        if c == '\n' {
            self.line += 1;
        }
        Some(c)
    }

    fn token(&mut self) -> Result<Option<Token>, TokenError> {
        self.skip();
        let (line, start, is_first) = (self.line, self.at, self.is_fresh);
        let Some(c) = self.peek() else { return Ok(None) };
        self.is_fresh = false;
        let (text, is_quoted) = match c {
            '"' | '`' => (self.quoted(c), true),
            _ if self.rest().starts_with("<<") => match self.here_document(line)? {
                Some(text) => (text, true),
                None => (self.bare(), false),
            },
            _ => (self.bare(), false),
        };
        let text = text.replace(OPEN_BRACE, "{");
        Ok(Some(Token { text, line, span: (start, self.at), is_quoted, is_first }))
    }

    /// Skips spaces and comments. A line that ends in a backslash goes on.
    fn skip(&mut self) {
        while let Some(c) = self.peek() {
            if c == '#' {
                while self.peek().is_some_and(|c| c != '\n') {
                    self.bump();
                }
            } else if self.rest().starts_with("\\\n") || self.rest().starts_with("\\\r\n") {
                while self.bump() != Some('\n') {}
            } else if c.is_whitespace() {
                self.bump();
                self.is_fresh |= c == '\n';
            } else {
                break;
            }
        }
    }

    fn quoted(&mut self, quote: char) -> String {
        self.bump();
        let mut text = String::new();
        while let Some(c) = self.bump() {
            match c {
                c if c == quote => break,
                '\\' if quote == '"' => match self.bump() {
                    Some('"') => text.push('"'),
                    Some(other) => text.extend(['\\', other]),
                    None => text.push('\\'),
                },
                c => text.push(c),
            }
        }
        text
    }

    fn bare(&mut self) -> String {
        let mut text = String::new();
        while let Some(c) = self.peek() {
            if c.is_whitespace() || self.rest().starts_with("\\\n") {
                break;
            }
            self.bump();
            text.push(c);
        }
        text
    }

    /// Reads `<<MARKER`, its lines, and the marker at the end of one.
    fn here_document(&mut self, line: usize) -> Result<Option<String>, TokenError> {
        let first = self.rest().lines().next().unwrap_or_default();
        let marker = first.trim_start_matches("<<").trim_end_matches('\r').to_owned();
        let is_marker = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
        if marker.is_empty() || !marker.chars().all(is_marker) {
            return Ok(None);
        }
        while self.bump().is_some_and(|c| c != '\n') {}
        let start = self.at;
        let found = self.rest().find(&marker);
        let error = TokenError { line, problem: "a here-document does not end" };
        let end = start + found.ok_or(error)? + marker.len();
        while self.at < end {
            self.bump();
        }
        let inner = self.text.get(start..end - marker.len()).unwrap_or_default();
        Ok(Some(inner.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_as_caddy_reads_them() {
        let text = "a.example, {\n\t# import no\n\trespond \"a \\\"b\\\" \\n\" `x\\` 200 # end\n\
                    \tx#y \\\n z <<E\n import not\n E\n\tw\n}\n";
        let tokens = tokens(text).unwrap();
        let words: Vec<&str> = tokens.iter().map(|token| token.text.as_str()).collect();
        assert_eq!(
            words,
            [
                "a.example,",
                "{",
                "respond",
                "a \"b\" \\n",
                "x\\",
                "200",
                "x#y",
                "z",
                " import not\n ",
                "w",
                "}"
            ]
        );
        let first: Vec<&str> =
            tokens.iter().filter(|token| token.is_first).map(|token| token.text.as_str()).collect();
        assert_eq!(first, ["a.example,", "respond", "x#y", "w", "}"]);
        let last = tokens.last().unwrap();
        assert_eq!((last.line, text.get(last.span.0..last.span.1).unwrap()), (9, "}"));
    }
}
