//! From expressions of the `regex` crate to expressions of Go that match the same texts.
//!
//! Both read much alike and mean different things by it: `\d`, `\w` and `\s` are Unicode in one and
//! ASCII in the other. So the expression is taken apart and written anew from what it means.

use regex_syntax::hir::{Class, ClassBytes, ClassUnicode, Hir, HirKind, Look, Repetition};

use super::{push, push_literal};

/// The most repetitions that Go allows, also of repetitions within each other.
const MOST_REPETITIONS: u32 = 1000;

/// The longest expression that is written.
const LONGEST: usize = 100_000;

/// Why an expression cannot be written for Go.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Untranslatable {
    /// It is no expression.
    #[error("it is no expression: {0}")]
    Invalid(String),
    /// Go knows words of ASCII only.
    #[error("it asks for the edges of words; write `(?-u:\\b)` for words of ASCII")]
    Word,
    /// Go has no such edge of lines.
    #[error("it asks for lines that end in CR")]
    Line,
    /// It matches bytes that are no text.
    #[error("it matches bytes that are no text")]
    Bytes,
    /// It can match nothing.
    #[error("it can never match")]
    Never,
    /// Too many repetitions.
    #[error("it repeats something more than {MOST_REPETITIONS} times")]
    Repetitions,
    /// It would be too long.
    #[error("it would be longer than {LONGEST} bytes")]
    Long,
}

/// Returns the expression for Go.
pub(super) fn translate(pattern: &str) -> Result<String, Untranslatable> {
    let hir =
        regex_syntax::parse(pattern).map_err(|error| Untranslatable::Invalid(error.to_string()))?;
    let mut out = String::new();
    write(&mut out, &hir, 1)?;
    if out.len() > LONGEST {
        return Err(Untranslatable::Long);
    }
    Ok(out)
}

/// Writes an expression that stands within so many repetitions.
fn write(out: &mut String, hir: &Hir, repeated: u32) -> Result<(), Untranslatable> {
    match hir.kind() {
        HirKind::Empty => out.push_str("(?:)"),
        HirKind::Literal(literal) => {
            let text = std::str::from_utf8(&literal.0).map_err(|_| Untranslatable::Bytes)?;
            out.push_str("(?:");
            text.chars().for_each(|c| push_literal(out, c));
            out.push(')');
        }
        HirKind::Class(Class::Unicode(class)) => write_class(out, class)?,
        HirKind::Class(Class::Bytes(class)) => write_class(out, &ascii(class)?)?,
        HirKind::Look(look) => out.push_str(write_look(*look)?),
        HirKind::Repetition(repetition) => write_repetition(out, repetition, repeated)?,
        HirKind::Capture(capture) => write(out, &capture.sub, repeated)?,
        HirKind::Concat(parts) => write_all(out, parts, "", repeated)?,
        HirKind::Alternation(parts) => write_all(out, parts, "|", repeated)?,
    }
    if out.len() > LONGEST { Err(Untranslatable::Long) } else { Ok(()) }
}

fn write_all(
    out: &mut String,
    parts: &[Hir],
    between: &str,
    repeated: u32,
) -> Result<(), Untranslatable> {
    out.push_str("(?:");
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            out.push_str(between);
        }
        write(out, part, repeated)?;
    }
    out.push(')');
    Ok(())
}

fn ascii(class: &ClassBytes) -> Result<ClassUnicode, Untranslatable> {
    class.to_unicode_class().ok_or(Untranslatable::Bytes)
}

fn write_class(out: &mut String, class: &ClassUnicode) -> Result<(), Untranslatable> {
    if class.ranges().is_empty() {
        return Err(Untranslatable::Never);
    }
    out.push('[');
    for range in class.ranges() {
        for (index, end) in [range.start(), range.end()].into_iter().enumerate() {
            if index == 1 && range.start() == end {
                break;
            }
            if index == 1 {
                out.push('-');
            }
            push(out, format_args!("\\x{{{:X}}}", u32::from(end)));
        }
    }
    out.push(']');
    Ok(())
}

fn write_look(look: Look) -> Result<&'static str, Untranslatable> {
    match look {
        Look::Start => Ok("\\A"),
        Look::End => Ok("\\z"),
        Look::StartLF => Ok("(?m:^)"),
        Look::EndLF => Ok("(?m:$)"),
        Look::WordAscii => Ok("\\b"),
        Look::WordAsciiNegate => Ok("\\B"),
        Look::StartCRLF | Look::EndCRLF => Err(Untranslatable::Line),
        Look::WordUnicode
        | Look::WordUnicodeNegate
        | Look::WordStartAscii
        | Look::WordEndAscii
        | Look::WordStartUnicode
        | Look::WordEndUnicode
        | Look::WordStartHalfAscii
        | Look::WordEndHalfAscii
        | Look::WordStartHalfUnicode
        | Look::WordEndHalfUnicode => Err(Untranslatable::Word),
    }
}

fn write_repetition(
    out: &mut String,
    repetition: &Repetition,
    repeated: u32,
) -> Result<(), Untranslatable> {
    let Repetition { min, max, greedy, sub } = repetition;
    let times = max.unwrap_or(*min).max(1).saturating_mul(repeated);
    if times > MOST_REPETITIONS {
        return Err(Untranslatable::Repetitions);
    }
    out.push_str("(?:");
    write(out, sub, times)?;
    out.push(')');
    match (*min, *max) {
        (0, None) => out.push('*'),
        (1, None) => out.push('+'),
        (0, Some(1)) => out.push('?'),
        (min, None) => push(out, format_args!("{{{min},}}")),
        (min, Some(max)) => push(out, format_args!("{{{min},{max}}}")),
    }
    if !greedy {
        out.push('?');
    }
    Ok(())
}
