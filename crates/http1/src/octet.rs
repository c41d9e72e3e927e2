//! What a single byte may be: the character classes of RFC 9110 and RFC 3986 as tables.

use crate::reject::Kind;

/// A set of bytes.
pub(crate) struct Set([bool; 256]);

impl Set {
    const fn of(members: &[u8]) -> Self {
        Self([false; 256]).with(members)
    }

    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn with(mut self, members: &[u8]) -> Self {
        let mut at = 0;
        while at < members.len() {
            self.0[members[at] as usize] = true;
            at += 1;
        }
        self
    }

    #[expect(clippy::indexing_slicing, reason = "evaluated by the compiler")]
    const fn with_range(mut self, from: u8, to: u8) -> Self {
        let mut byte = from;
        while byte <= to {
            self.0[byte as usize] = true;
            byte += 1;
        }
        self
    }

    const fn with_alphanumeric(self) -> Self {
        self.with_range(b'0', b'9').with_range(b'a', b'z').with_range(b'A', b'Z')
    }

    #[inline]
    #[expect(clippy::indexing_slicing, reason = "a byte is below 256")]
    pub(crate) fn has(&self, byte: u8) -> bool {
        self.0[usize::from(byte)]
    }

    /// Returns the place of the first byte outside of the set.
    #[inline]
    pub(crate) fn first_outside(&self, bytes: &[u8]) -> Option<usize> {
        bytes.iter().position(|byte| !self.has(*byte))
    }

    /// Whether the bytes are one or more of the set.
    pub(crate) fn is_word(&self, bytes: &[u8]) -> bool {
        !bytes.is_empty() && self.first_outside(bytes).is_none()
    }
}

/// `tchar`: names, methods, options (RFC 9110 §5.6.2).
pub(crate) static TOKEN: Set = Set::of(b"!#$%&'*+-.^_`|~").with_alphanumeric();

/// What a host name is written with. RFC 3986 has more; no name in use does, and commas or escapes
/// in a host are read differently by different servers.
pub(crate) static HOST: Set = Set::of(b"-._").with_alphanumeric();

/// What a request target is written with: visible ASCII but for the mark of a fragment and `<` and
/// `>`, which no client leaves as they are.
///
/// RFC 3986 lacks some of these, among them `|`, `{` and `\`, but browsers send them and they mean
/// nothing to framing or routing. Bytes above ASCII are refused: some servers read them as Latin-1,
/// some as UTF-8, and whoever sends them can encode them.
pub(crate) static TARGET: Set = Set::of(b"!\"=").with_range(b'$', b';').with_range(b'?', b'~');

/// What stands between the quotes of a quoted string without a backslash (RFC 9110 §5.6.4).
pub(crate) static QUOTED: Set = Set::of(b"\t !")
    .with_range(b'#', b'[')
    .with_range(b']', b'~')
    .with_range(0x80, 0xfe)
    .with(b"\xff");

/// What a value, reason or escaped character is written with (RFC 9110 §5.5).
pub(crate) static TEXT: Set =
    Set::of(b"\t").with_range(b' ', b'~').with_range(0x80, 0xfe).with(b"\xff");

/// Names the fault of a byte that is out of place: what no head has at all goes before `otherwise`.
pub(crate) fn fault_of(byte: u8, otherwise: Kind) -> Kind {
    match byte {
        b'\r' => Kind::BareCr,
        b'\n' => Kind::BareLf,
        0 => Kind::Nul,
        1..0x20 | 0x7f => Kind::Control,
        _ => otherwise,
    }
}

/// Removes optional white space (RFC 9110 §5.6.3) from both ends.
#[inline]
pub(crate) fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] = bytes {
        bytes = rest;
    }
    while let [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

/// Splits a comma-separated list into its elements. Empty elements are passed over, as RFC 9110
/// §5.6.1 has recipients do.
pub(crate) fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(trim).filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(set: &Set) -> Vec<u8> {
        (0..=255).filter(|byte| set.has(*byte)).collect()
    }

    #[test]
    fn tokens_are_what_rfc_9110_says() {
        let delimiters = b"\"(),/:;<=>?@[\\]{}";
        let expected: Vec<u8> = (b'!'..=b'~').filter(|byte| !delimiters.contains(byte)).collect();
        assert_eq!(members(&TOKEN), expected);
    }

    #[test]
    fn targets_are_visible_ascii_but_for_three() {
        let expected: Vec<u8> =
            (b'!'..=b'~').filter(|byte| !matches!(byte, b'#' | b'<' | b'>')).collect();
        assert_eq!(members(&TARGET), expected);
    }

    #[test]
    fn text_is_everything_but_control_characters() {
        let expected: Vec<u8> =
            (0..=255).filter(|byte| *byte == b'\t' || (*byte >= 0x20 && *byte != 0x7f)).collect();
        assert_eq!(members(&TEXT), expected);
        let quoted: Vec<u8> =
            expected.into_iter().filter(|byte| !matches!(byte, b'"' | b'\\')).collect();
        assert_eq!(members(&QUOTED), quoted);
    }

    #[test]
    fn only_spaces_and_tabs_are_trimmed() {
        assert_eq!(trim(b" \t a b\t "), b"a b");
        assert_eq!(trim(b" \t "), b"");
        assert_eq!(trim(b"\x0ba\x0c"), b"\x0ba\x0c");
    }

    #[test]
    fn empty_elements_of_a_list_are_passed_over() {
        assert_eq!(list(b", a ,,b").collect::<Vec<_>>(), [b"a", b"b"]);
    }
}
