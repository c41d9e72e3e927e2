//! Expressions of the `regex` crate as expressions of PCRE.
//!
//! The expression is not passed on as it was written, because the two read many things differently
//! (`\d`, `$`, `(?i)`, classes, bytes above 127). It is parsed and written anew from its meaning, byte
//! by byte, so that both match the same paths. What has no such form is refused.

use regex_syntax::{
    Parser,
    hir::{Class, Hir, HirKind, Look},
    utf8::Utf8Sequences,
};

/// Why an expression cannot be carried over; worded to follow the name of its field.
pub(super) fn translate(expression: &str) -> Result<String, String> {
    let hir = Parser::new().parse(expression).map_err(|error| {
        let lines = error.to_string();
        lines.lines().last().unwrap_or("it cannot be read").to_owned()
    })?;
    if repeats_repetition(&hir, false) {
        return Err("a repetition within a repetition can take nginx exponential time".to_owned());
    }
    let mut pattern = String::new();
    write(&hir, &mut pattern)?;
    if pattern.len() > super::syntax::LONGEST_WORD / 2 {
        return Err(
            "it is too long for nginx; write `[0-9A-Za-z_]` for `\\w`, `[0-9]` for `\\d`, \
             which otherwise mean the letters and digits of all scripts"
                .to_owned(),
        );
    }
    Ok(pattern)
}

/// PCRE tries all ways to divide a text between two nested repetitions; the `regex` crate does not.
fn repeats_repetition(hir: &Hir, within: bool) -> bool {
    match hir.kind() {
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => false,
        HirKind::Repetition(repetition) => {
            let is_open = repetition.max.is_none_or(|max| max > 64);
            (within && is_open) || repeats_repetition(&repetition.sub, within || is_open)
        }
        HirKind::Capture(capture) => repeats_repetition(&capture.sub, within),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().any(|part| repeats_repetition(part, within))
        }
    }
}

fn write(hir: &Hir, out: &mut String) -> Result<(), String> {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => literal.0.iter().for_each(|byte| push_byte(*byte, out)),
        HirKind::Class(class) => write_class(class, out),
        HirKind::Look(look) => out.push_str(assertion(*look)?),
        HirKind::Repetition(repetition) => {
            group(&repetition.sub, out)?;
            let max = repetition.max.map(|max| max.to_string()).unwrap_or_default();
            out.extend(["{", &repetition.min.to_string(), ",", &max, "}"]);
        }
        HirKind::Capture(capture) => group(&capture.sub, out)?,
        HirKind::Concat(parts) => parts.iter().try_for_each(|part| group(part, out))?,
        HirKind::Alternation(parts) => {
            out.push_str("(?:");
            for (place, part) in parts.iter().enumerate() {
                if place > 0 {
                    out.push('|');
                }
                write(part, out)?;
            }
            out.push(')');
        }
    }
    Ok(())
}

fn group(hir: &Hir, out: &mut String) -> Result<(), String> {
    let is_one = match hir.kind() {
        HirKind::Class(_) | HirKind::Look(_) | HirKind::Alternation(_) => true,
        HirKind::Literal(literal) => literal.0.len() == 1,
        HirKind::Empty | HirKind::Repetition(_) | HirKind::Capture(_) | HirKind::Concat(_) => false,
    };
    if is_one {
        return write(hir, out);
    }
    out.push_str("(?:");
    write(hir, out)?;
    out.push(')');
    Ok(())
}

/// A path has no line breaks, so the ends of lines are the ends of the path.
fn assertion(look: Look) -> Result<&'static str, String> {
    match look {
        Look::Start | Look::StartLF | Look::StartCRLF => Ok("\\A"),
        Look::End | Look::EndLF | Look::EndCRLF => Ok("\\z"),
        Look::WordAscii => Ok("\\b"),
        Look::WordAsciiNegate => Ok("\\B"),
        Look::WordStartAscii
        | Look::WordEndAscii
        | Look::WordStartHalfAscii
        | Look::WordEndHalfAscii
        | Look::WordUnicode
        | Look::WordUnicodeNegate
        | Look::WordStartUnicode
        | Look::WordEndUnicode
        | Look::WordStartHalfUnicode
        | Look::WordEndHalfUnicode => {
            Err("borders of words are those of all scripts; write `(?-u:\\b)` for those of ASCII"
                .to_owned())
        }
    }
}

fn write_class(class: &Class, out: &mut String) {
    let mut alternatives: Vec<String> = Vec::new();
    let mut single = String::new();
    match class {
        Class::Bytes(class) => {
            for range in class.ranges() {
                push_range(range.start(), range.end(), &mut single);
            }
        }
        Class::Unicode(class) => {
            for range in class.ranges() {
                for sequence in Utf8Sequences::new(range.start(), range.end()) {
                    match sequence.as_slice() {
                        [one] => push_range(one.start, one.end, &mut single),
                        several => alternatives
                            .push(several.iter().map(|one| class_of(one.start, one.end)).collect()),
                    }
                }
            }
        }
    }
    if !single.is_empty() {
        alternatives.insert(0, format!("[{single}]"));
    }
    match alternatives.as_slice() {
        // A class of nothing never matches.
        [] => out.push_str("(?!)"),
        [one] if !single.is_empty() => out.push_str(one),
        several => out.extend(["(?:", &several.join("|"), ")"]),
    }
}

fn class_of(start: u8, end: u8) -> String {
    let mut range = String::new();
    push_range(start, end, &mut range);
    if start == end { range } else { format!("[{range}]") }
}

fn push_range(start: u8, end: u8, out: &mut String) {
    push_byte(start, out);
    if end > start {
        out.push('-');
        push_byte(end, out);
    }
}

fn push_byte(byte: u8, out: &mut String) {
    if byte.is_ascii_alphanumeric() || byte == b'/' || byte == b'_' {
        out.push(char::from(byte));
    } else {
        out.extend(["\\x", &format!("{byte:02x}")]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_written_from_its_meaning() {
        for (expression, pattern) in [
            ("^/v[0-9]+/", r"\A(?:/v)(?:[0-9]{1,})/"),
            ("a.b$", r"a(?:[\x00-\x09\x0b-\x7f]|"),
            ("(?i)x", "[Xx]"),
            ("a|bc", "(?:a|bc)"),
            ("(?m)^a$", r"\Aa\z"),
            ("\\.php$", r"(?:\x2ephp)\z"),
            ("ä", r"\xc3\xa4"),
        ] {
            let translated = translate(expression).unwrap();
            assert!(translated.contains(pattern), "{expression}: {translated}");
        }
    }

    #[test]
    fn what_pcre_would_read_otherwise_or_slowly_is_refused() {
        for expression in ["(a+)+$", "(?:[a-z]*x*)*", r"\bx\b", r"^\w+$", "("] {
            assert!(translate(expression).is_err(), "{expression}");
        }
    }
}
