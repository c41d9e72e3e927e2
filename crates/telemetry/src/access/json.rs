//! Records as lines of JSON.

use std::io::{self, Write};

use jiff::Timestamp;
use serde::{Serialize, Serializer};
use serde_json::ser::{Formatter, Serializer as JsonSerializer};

/// Appends a record as one line.
pub(super) fn write<T: Serialize>(record: &T, line: &mut Vec<u8>) {
    let start = line.len();
    if record.serialize(&mut JsonSerializer::with_formatter(&mut *line, Escaping)).is_err() {
        // Records hold text and numbers only; half a line must not stay all the same.
        line.truncate(start);
        return;
    }
    line.push(b'\n');
}

/// Serializes a time as RFC 3339 in UTC with milliseconds.
pub(super) fn milliseconds<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(&format_args!("{time:.3}"))
}

/// JSON demands escapes up to U+001F only; terminals and viewers act on more.
struct Escaping;

impl Formatter for Escaping {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // The formatter is given no control character below U+0020, and nearly all text is plain.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(found) = rest.find(needs_escape) {
            let (plain, tail) = rest.split_at(found);
            writer.write_all(plain.as_bytes())?;
            let mut chars = tail.chars();
            if let Some(c) = chars.next() {
                write!(writer, "\\u{:04x}", u32::from(c))?;
            }
            rest = chars.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

/// All of these lie in the basic plane, so each is one escape.
fn needs_escape(c: char) -> bool {
    c.is_control()
        || matches!(
            c,
            '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}'
        )
}
