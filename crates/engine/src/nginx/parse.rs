//! Reads nginx's configuration as nginx itself reads it (`ngx_conf_read_token`), with line numbers.

use super::syntax::Directive;

/// Why a text is no configuration of nginx.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {problem}")]
pub struct SyntaxError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there.
    pub problem: String,
}

/// What ended a directive.
enum End {
    /// A semicolon.
    Line,
    /// An opening brace.
    Open,
    /// A closing brace, with no words before it.
    Close,
    /// The end of the text.
    Text,
}

/// Reads a whole file.
pub fn parse(text: &str) -> Result<Vec<Directive>, SyntaxError> {
    let mut reader = Reader { bytes: text.as_bytes(), at: 0, line: 1, begun: 1 };
    // A block that is being read, for each depth.
    let mut open: Vec<(Directive, Vec<Directive>)> = Vec::new();
    let mut current = Vec::new();
    loop {
        let (words, end) = reader.directive()?;
        let directive = Directive { words, block: None, line: reader.begun, field: None };
        match end {
            End::Line => current.push(directive),
            End::Open => open.push((directive, std::mem::take(&mut current))),
            End::Close => {
                let Some((mut outer, before)) = open.pop() else {
                    return Err(reader.error("a closing brace without an opening one"));
                };
                outer.block = Some(std::mem::replace(&mut current, before));
                current.push(outer);
            }
            End::Text => match open.pop() {
                Some((outer, _)) => {
                    let problem = format!("the block of `{}` is not closed", outer.name());
                    return Err(SyntaxError { line: outer.line, problem });
                }
                None => return Ok(current),
            },
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    line: usize,
    /// The line on which the last directive began.
    begun: usize,
}

impl Reader<'_> {
    fn error(&self, problem: impl Into<String>) -> SyntaxError {
        SyntaxError { line: self.line, problem: problem.into() }
    }

    fn next(&mut self) -> Option<u8> {
        let byte = self.bytes.get(self.at).copied()?;
        self.at += 1;
        self.line += usize::from(byte == b'\n');
        Some(byte)
    }

    fn directive(&mut self) -> Result<(Vec<String>, End), SyntaxError> {
        let mut words = Vec::new();
        loop {
            let Some(byte) = self.next() else {
                return match words.first() {
                    None => Ok((words, End::Text)),
                    Some(name) => Err(self.error(format!("`{name}` is not ended by a semicolon"))),
                };
            };
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' => {}
                b'#' => self.skip_comment(),
                b';' | b'{' if words.is_empty() => {
                    return Err(self.error(format!("unexpected `{}`", char::from(byte))));
                }
                b';' => return Ok((words, End::Line)),
                b'{' => return Ok((words, End::Open)),
                b'}' if words.is_empty() => return Ok((words, End::Close)),
                b'}' => return Err(self.error("unexpected `}`")),
                quote @ (b'"' | b'\'') => {
                    self.begin(&words);
                    let word = self.quoted_word(quote)?;
                    words.push(word);
                    self.expect_gap()?;
                }
                _ => {
                    self.begin(&words);
                    self.at -= 1;
                    let word = self.bare_word()?;
                    words.push(word);
                }
            }
        }
    }

    fn begin(&mut self, words: &[String]) {
        if words.is_empty() {
            self.begun = self.line;
        }
    }

    fn skip_comment(&mut self) {
        while let Some(byte) = self.next() {
            if byte == b'\n' {
                return;
            }
        }
    }

    fn quoted_word(&mut self, quote: u8) -> Result<String, SyntaxError> {
        let (start, line) = (self.at, self.line);
        while let Some(byte) = self.next() {
            if byte == b'\\' {
                self.next();
            } else if byte == quote {
                return Ok(self.word(start, self.at - 1));
            }
        }
        Err(SyntaxError { line, problem: "a quote that is not closed".to_owned() })
    }

    /// Behind a quoted word stands white space, or what ends the directive.
    fn expect_gap(&mut self) -> Result<(), SyntaxError> {
        match self.bytes.get(self.at) {
            // As in `if ($a = "b")`: the parenthesis is a word of its own.
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' | b')') => Ok(()),
            Some(byte) => {
                Err(self.error(format!("unexpected `{}` behind a quote", char::from(*byte))))
            }
        }
    }

    fn bare_word(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        let mut in_variable = false;
        while let Some(byte) = self.next() {
            if byte == b'{' && in_variable {
                continue;
            }
            in_variable = byte == b'$';
            match byte {
                b'\\' => drop(self.next()),
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'{' => {
                    self.at -= 1;
                    self.line -= usize::from(byte == b'\n');
                    return Ok(self.word(start, self.at));
                }
                _ => {}
            }
        }
        Err(self.error("the file ends within a directive"))
    }

    /// Undoes the escapes that nginx knows; any other keeps its backslash.
    fn word(&self, start: usize, end: usize) -> String {
        let raw = self.bytes.get(start..end).unwrap_or_default();
        let mut bytes = Vec::with_capacity(raw.len());
        let mut rest = raw.iter().copied().peekable();
        while let Some(byte) = rest.next() {
            let escaped = match (byte, rest.peek()) {
                (b'\\', Some(c @ (b'"' | b'\'' | b'\\'))) => Some(*c),
                (b'\\', Some(b't')) => Some(b'\t'),
                (b'\\', Some(b'r')) => Some(b'\r'),
                (b'\\', Some(b'n')) => Some(b'\n'),
                _ => None,
            };
            if escaped.is_some() {
                rest.next();
            }
            bytes.push(escaped.unwrap_or(byte));
        }
        // Words begin and end at ASCII, so a text in UTF-8 stays one.
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::nginx::syntax::{line, print};

    #[test]
    fn a_file_is_read_as_nginx_reads_it() {
        let text = "user  www-data; # who\n\nhttp {\n  log_format main '$a \"$b\"'\n    \"\\$c\\n\";\n  if ($x ~ \"^a{2}\") { return 403; }\n  map $a $b { default ${c}d; ~*\\.jpg$ 1; }\n}\n";
        let read = parse(text).unwrap();
        let log = line!("log_format", "main", "$a \"$b\"", "\\$c\n");
        let condition = line!("if", "($x", "~", "^a{2}", ")").with(vec![line!("return", "403")]);
        let map =
            line!("map", "$a", "$b").with(vec![line!("default", "${c}d"), line!("~*\\.jpg$", "1")]);
        let http = line!("http").with(vec![log, condition, map]);
        assert_eq!(read, [line!("user", "www-data"), http]);
        let lines: Vec<usize> = read[1].block.iter().flatten().map(|inner| inner.line).collect();
        assert_eq!((read[1].line, lines), (3, vec![4, 6, 7]));
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [
            ("a;\n}", 2),
            ("a {\n b;\n", 1),
            ("a\n\"b", 2),
            ("\n;", 2),
            ("a \"b\"c;", 1),
            ("a b", 1),
            ("a b }\n", 1),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text}");
        }
    }

    fn words() -> impl Strategy<Value = Vec<String>> {
        let odd = prop_oneof!["\\PC{0,12}", "[\"'\\\\;{}$ \n\r\t#~=a()]{0,12}", "[a-z]{1,8}"];
        prop::collection::vec(odd, 1..4)
    }

    fn tree() -> impl Strategy<Value = Vec<Directive>> {
        let leaf = words().prop_map(Directive::new);
        let one = leaf.prop_recursive(3, 24, 4, |inner| {
            (words(), prop::collection::vec(inner, 0..4))
                .prop_map(|(words, block)| Directive::new(words).with(block))
        });
        prop::collection::vec(one, 0..5)
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_back(tree in tree()) {
            let printed = print(&tree);
            prop_assert_eq!(parse(&printed.text).unwrap(), tree);
        }

        #[test]
        fn no_text_makes_the_parser_fail_otherwise_than_by_saying_so(text in "[\"'\\\\;{}$ \n#a]{0,40}") {
            let known_lines = text.lines().count() + 1;
            if let Err(error) = parse(&text) {
                prop_assert!(error.line <= known_lines);
            }
        }
    }
}
