//! Finds the end of a head or trailer section in bytes that arrive piece by piece.
//!
//! Every byte is looked at once, however many reads bring it. Where lines end is remembered, so that
//! parsing does not search again. Nothing is judged here but line ends and size.

use crate::{
    octet,
    reject::{Kind, Reject},
};

/// What makes sections differ.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Section {
    /// The most bytes, with the empty line at the end.
    pub(crate) max: usize,
    /// What is wrong with more.
    pub(crate) too_large: Kind,
    /// Whether the empty line may be the first one.
    pub(crate) may_be_empty: bool,
}

/// Where the lines of a section end, as far as they have come.
#[derive(Debug, Default)]
pub(crate) struct Scanner {
    /// The place after the LF of each complete line.
    ends: Vec<usize>,
    /// How far the search went.
    searched: usize,
}

impl Scanner {
    /// Returns the length of the section once it is complete, its empty line included.
    ///
    /// `input` is all that has come of the section, and what may follow it.
    pub(crate) fn scan(&mut self, input: &[u8], section: Section) -> Result<Option<usize>, Reject> {
        let from = self.searched;
        let Some(fresh) = input.get(from..) else { return Ok(None) };
        for at in memchr::memchr_iter(b'\n', fresh) {
            let at = from + at;
            let start = self.complete();
            if at >= section.max {
                return Err(Reject::new(section.too_large, section.max));
            }
            match input.get(start..at) {
                Some([b'\r']) if self.ends.is_empty() && !section.may_be_empty => {
                    return Err(Reject::new(Kind::LeadingEmptyLine, start));
                }
                Some([b'\r']) => return Ok(Some(at + 1)),
                Some([.., b'\r']) => self.ends.push(at + 1),
                Some(_) | None => return Err(Reject::new(Kind::BareLf, at)),
            }
        }
        self.searched = input.len();
        if input.len() >= section.max {
            return Err(Reject::new(section.too_large, section.max));
        }
        Ok(None)
    }

    /// Returns how many bytes stand in complete lines.
    pub(crate) fn complete(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    /// Returns how many lines are complete.
    pub(crate) fn count(&self) -> usize {
        self.ends.len()
    }

    /// Returns the complete lines with their places, without the CR LF at their ends.
    pub(crate) fn lines<'a>(&'a self, input: &'a [u8]) -> impl Iterator<Item = Line<'a>> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let text = input.get(start..end.saturating_sub(2)).unwrap_or_default();
            let line = Line { start, text };
            start = *end;
            line
        })
    }

    /// Makes ready for the next section, and keeps the memory.
    pub(crate) fn clear(&mut self) {
        self.ends.clear();
        self.searched = 0;
    }
}

/// One line without its CR LF.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Line<'a> {
    /// Where it begins in its section.
    pub(crate) start: usize,
    /// Its bytes. There may be a CR among them, but no LF.
    pub(crate) text: &'a [u8],
}

impl<'a> Line<'a> {
    /// Refuses the line for the byte at `place`.
    pub(crate) fn reject(self, kind: Kind, place: usize) -> Reject {
        Reject::new(kind, self.start + place)
    }

    /// Refuses the line for a byte that is out of place: for what it is when no head has such a
    /// byte, else for `otherwise`.
    pub(crate) fn reject_byte(self, otherwise: Kind, place: usize) -> Reject {
        let kind = self.text.get(place).map_or(otherwise, |byte| octet::fault_of(*byte, otherwise));
        self.reject(kind, place)
    }

    /// Splits in front of `place`.
    pub(crate) fn split(self, place: usize) -> (&'a [u8], &'a [u8]) {
        self.text.split_at_checked(place).unwrap_or((self.text, &[]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECTION: Section =
        Section { max: 40, too_large: Kind::HeadTooLarge, may_be_empty: false };

    #[test]
    fn the_end_is_found_however_the_bytes_come() {
        let input = b"a\r\nbc: d\r\n\r\nrest";
        for split in 0..=input.len() {
            let mut scanner = Scanner::default();
            let first = scanner.scan(&input[..split], SECTION).unwrap();
            let end = match first {
                Some(end) => end,
                None => scanner.scan(input, SECTION).unwrap().unwrap(),
            };
            assert_eq!(end, 12);
            let lines: Vec<_> = scanner.lines(input).map(|line| line.text).collect();
            assert_eq!(lines, [&b"a"[..], b"bc: d"]);
        }
    }

    #[test]
    fn a_line_without_cr_is_refused_when_it_ends() {
        let reject = Scanner::default().scan(b"a\r\nb\n", SECTION).unwrap_err();
        assert_eq!(reject, Reject::new(Kind::BareLf, 4));
    }

    #[test]
    fn a_section_of_exactly_the_bound_passes_and_one_byte_more_does_not() {
        let fits = [&[b'a'; 36][..], b"\r\n\r\n"].concat();
        let over = [&[b'a'; 37][..], b"\r\n\r\n"].concat();
        assert_eq!(Scanner::default().scan(&fits, SECTION), Ok(Some(40)));
        let reject = Reject::new(Kind::HeadTooLarge, 40);
        assert_eq!(Scanner::default().scan(&over, SECTION), Err(reject));
        assert_eq!(Scanner::default().scan(&over[..40], SECTION), Err(reject));
        assert_eq!(Scanner::default().scan(&over[..39], SECTION), Ok(None));
    }

    #[test]
    fn only_some_sections_may_be_empty() {
        let empty = Section { may_be_empty: true, ..SECTION };
        assert_eq!(Scanner::default().scan(b"\r\n", empty), Ok(Some(2)));
        let reject = Reject::new(Kind::LeadingEmptyLine, 0);
        assert_eq!(Scanner::default().scan(b"\r\n", SECTION), Err(reject));
    }
}
