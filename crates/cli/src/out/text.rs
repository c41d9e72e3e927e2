//! Small texts: times, lists, and foreign text made harmless.

use jiff::Timestamp;

/// Makes text of others harmless for a terminal: control characters are shown, not obeyed. Line
/// breaks and tabs stay.
pub(crate) fn clean(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) && c != '\n' { shown(c) } else { c }).collect()
}

/// As [`clean`], for one line.
pub(crate) fn clean_line(text: &str) -> String {
    text.chars().map(|c| if is_harmful(c) { shown(c) } else { c }).collect()
}

fn is_harmful(c: char) -> bool {
    // Beside control characters, those that turn the direction of what follows (UAX #9).
    c != '\t' && (c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'))
}

/// Returns the picture of a control character (U+2400 block), or the replacement character.
fn shown(c: char) -> char {
    match c {
        '\u{7f}' => '\u{2421}',
        '\u{0}'..='\u{1f}' => {
            char::from_u32(0x2400 + u32::from(c)).unwrap_or(char::REPLACEMENT_CHARACTER)
        }
        _ => char::REPLACEMENT_CHARACTER,
    }
}

/// Writes a time to the second, in UTC.
pub(crate) fn time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// Writes a value, or a dash where there is none.
pub(crate) fn or_dash<T: ToString>(value: Option<T>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| value.to_string())
}

/// Writes values side by side, or a dash where there is none.
pub(crate) fn list<T: ToString>(values: impl IntoIterator<Item = T>) -> String {
    let texts: Vec<String> = values.into_iter().map(|value| value.to_string()).collect();
    if texts.is_empty() { "-".to_owned() } else { texts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_cannot_command_the_terminal() {
        assert_eq!(clean("a\u{1b}[31mb\u{7f}\nc\td"), "a\u{241b}[31mb\u{2421}\nc\td");
        assert_eq!(clean_line("a\nb"), "a\u{240a}b");
        assert_eq!(clean("\u{9b}\u{202e}x"), "\u{fffd}\u{fffd}x");
    }

    #[test]
    fn a_time_is_written_in_utc() {
        assert_eq!(time("2026-01-31T13:00:00.5+01:00".parse().unwrap()), "2026-01-31 12:00:00Z");
    }

    #[test]
    fn nothing_is_a_dash() {
        assert_eq!(or_dash(None::<u8>), "-");
        assert_eq!(list(Vec::<String>::new()), "-");
        assert_eq!(list(["a", "b"]), "a, b");
    }
}
