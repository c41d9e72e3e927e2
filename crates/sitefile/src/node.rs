//! A YAML document as a tree in which every value knows its place.

use indexmap::IndexMap;

use crate::source::Pos;

/// A value.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) pos: Pos,
    pub(crate) value: Value,
}

/// What a value is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Map),
}

/// The fields of a mapping, as they stand in the file.
pub(crate) type Map = IndexMap<String, Entry>;

/// A field of a mapping.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key_pos: Pos,
    pub(crate) node: Node,
}

/// A single value, as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Scalar {
    pub(crate) text: String,
    pub(crate) style: Style,
}

/// How a single value was written, which decides what it may mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: a number, `true`, `null` or text.
    Plain,
    /// With quotes or as a block: text.
    Quoted,
    /// Taken from a parameter: a number, `true` or text, but never nothing.
    Substituted,
}

/// What a single value means by the core schema of YAML 1.2 (§10.3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Null,
    Bool(bool),
    Integer,
    Float,
    Text,
}

impl Node {
    /// Tells whether nothing stands there: `null`, `~` or no value at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind() == Kind::Null)
    }
}

impl Entry {
    /// Returns the place that shows the field best: the value itself where it is a single one, the
    /// key where the value spans lines or is missing.
    pub(crate) fn pos(&self) -> &Pos {
        match &self.node.value {
            Value::Scalar(scalar) if !scalar.text.is_empty() => &self.node.pos,
            Value::Scalar(_) | Value::List(_) | Value::Map(_) => &self.key_pos,
        }
    }
}

impl Scalar {
    pub(crate) fn kind(&self) -> Kind {
        match self.style {
            Style::Quoted => Kind::Text,
            Style::Plain => kind_of(&self.text),
            Style::Substituted => match kind_of(&self.text) {
                Kind::Null => Kind::Text,
                kind @ (Kind::Bool(_) | Kind::Integer | Kind::Float | Kind::Text) => kind,
            },
        }
    }

    /// Returns the number, where it is a whole one that is not negative.
    pub(crate) fn number(&self) -> Option<u64> {
        let text = self.text.strip_prefix('+').unwrap_or(&self.text);
        if let Some(digits) = text.strip_prefix("0x") {
            return u64::from_str_radix(digits, 16).ok();
        }
        if let Some(digits) = text.strip_prefix("0o") {
            return u64::from_str_radix(digits, 8).ok();
        }
        text.parse().ok()
    }
}

/// Returns what a text without quotes means.
pub(crate) fn kind_of(text: &str) -> Kind {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Kind::Null,
        "true" | "True" | "TRUE" => Kind::Bool(true),
        "false" | "False" | "FALSE" => Kind::Bool(false),
        _ if is_integer(text) => Kind::Integer,
        _ if is_float(text) => Kind::Float,
        _ => Kind::Text,
    }
}

fn is_integer(text: &str) -> bool {
    let all = |digits: &str, is_digit: fn(&u8) -> bool| {
        !digits.is_empty() && digits.as_bytes().iter().all(is_digit)
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return all(digits, u8::is_ascii_hexdigit);
    }
    if let Some(digits) = text.strip_prefix("0o") {
        return all(digits, |b| (b'0'..=b'7').contains(b));
    }
    all(text.strip_prefix(['+', '-']).unwrap_or(text), u8::is_ascii_digit)
}

fn is_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return true;
    }
    let begins = unsigned.trim_start_matches('.').starts_with(|c: char| c.is_ascii_digit());
    let allowed = |b: u8| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-');
    begins && unsigned.bytes().all(allowed) && unsigned.parse::<f64>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_texts_mean_what_yaml_1_2_says() {
        assert_eq!(kind_of("~"), Kind::Null);
        assert_eq!(kind_of("True"), Kind::Bool(true));
        for text in ["0", "-7", "+7", "0x1f", "0o17"] {
            assert_eq!(kind_of(text), Kind::Integer, "{text}");
        }
        for text in ["1.2", ".5", "1e3", "-.inf", ".nan"] {
            assert_eq!(kind_of(text), Kind::Float, "{text}");
        }
        for text in ["yes", "off", "1.2.3", "-", "+", "0x", "127.0.0.1", "e", "1-2", "::1", "nan"] {
            assert_eq!(kind_of(text), Kind::Text, "{text}");
        }
    }
}
