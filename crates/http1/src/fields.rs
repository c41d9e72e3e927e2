//! Header lines: from bytes to a [`HeaderMap`] whose values are slices of the input.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header::MaxSizeReached};

use crate::{
    names::{self, Role},
    octet,
    reject::{Kind, Reject},
    scan::Line,
};

/// For as many more headers than were sent there is room, as a proxy adds some: to let the map grow
/// then would cost more than the memory.
pub(crate) const MORE: usize = 10;

/// One header line, taken apart.
pub(crate) struct Field {
    pub(crate) name: HeaderName,
    pub(crate) value: HeaderValue,
    /// What the name means to the codec.
    pub(crate) role: Role,
    /// Where the value begins in its line.
    pub(crate) value_at: usize,
}

/// Reads a header line, which is part of `section`.
#[inline]
pub(crate) fn parse(section: &Bytes, line: Line<'_>) -> Result<Field, Reject> {
    let end = octet::TOKEN.first_outside(line.text);
    let (name, rest) = line.split(end.unwrap_or(line.text.len()));
    let (name, [b':', raw @ ..]) = (name, rest) else {
        return Err(name_fault(line, name.len()));
    };
    if name.is_empty() {
        return Err(line.reject(Kind::EmptyName, 0));
    }
    let value = octet::trim(raw);
    let shared = if value.is_empty() { Bytes::new() } else { section.slice_ref(value) };
    // Looks at every byte once more, which costs less than building the value without that would.
    let Ok(value) = HeaderValue::from_maybe_shared(shared) else {
        return Err(value_fault(line, name.len() + 1));
    };
    let value_at = name.len() + 1;
    if let Some(known) = names::find(name) {
        return Ok(Field { name: known.name.clone(), value, role: known.role, value_at });
    }
    let role = Role::Plain;
    match HeaderName::from_bytes(name) {
        Ok(name) => Ok(Field { name, value, role, value_at }),
        Err(_) => Err(line.reject(Kind::BadName, 0)),
    }
}

/// Puts a header among the others.
#[inline]
pub(crate) fn append(
    headers: &mut HeaderMap,
    name: HeaderName,
    value: HeaderValue,
) -> Result<(), MaxSizeReached> {
    headers.try_append(name, value).map(drop)
}

/// Says why a line has no name followed by a colon; `end` is the first byte that is no token's.
#[cold]
fn name_fault(line: Line<'_>, end: usize) -> Reject {
    match line.text.get(end) {
        None => line.reject(Kind::MissingColon, end),
        Some(b' ' | b'\t') if end == 0 => line.reject(Kind::ObsFold, 0),
        Some(b' ' | b'\t') => line.reject(Kind::SpaceInName, end),
        Some(_) => line.reject_byte(Kind::BadName, end),
    }
}

/// Names the first byte of a value that no value may have.
#[cold]
fn value_fault(line: Line<'_>, start: usize) -> Reject {
    let (_, raw) = line.split(start);
    let place = octet::TEXT.first_outside(raw).unwrap_or(0);
    line.reject_byte(Kind::Control, start + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_line(text: &'static [u8]) -> Result<(String, Vec<u8>), Reject> {
        let section = Bytes::from_static(text);
        parse(&section, Line { start: 100, text: &section })
            .map(|field| (field.name.to_string(), field.value.as_bytes().to_vec()))
    }

    #[test]
    fn a_line_is_a_name_and_a_value_without_the_space_around_it() {
        for (line, name, value) in [
            (&b"Host: a.org"[..], "host", &b"a.org"[..]),
            (b"x-Mine:\t a\tb:c \t", "x-mine", b"a\tb:c"),
            (b"X:", "x", b""),
            (b"X: \t ", "x", b""),
            (b"X: \xff\x80", "x", b"\xff\x80"),
            (b"!#$%&'*+-.^_`|~1: y", "!#$%&'*+-.^_`|~1", b"y"),
        ] {
            assert_eq!(parse_line(line), Ok((name.to_owned(), value.to_vec())));
        }
    }

    #[test]
    fn a_malformed_line_is_refused_at_its_first_wrong_byte() {
        for (line, kind, place) in [
            (&b": x"[..], Kind::EmptyName, 0),
            (b" Host: x", Kind::ObsFold, 0),
            (b"\tx", Kind::ObsFold, 0),
            (b"Host : x", Kind::SpaceInName, 4),
            (b"Ho st: x", Kind::SpaceInName, 2),
            (b"Host\t: x", Kind::SpaceInName, 4),
            (b"Host", Kind::MissingColon, 4),
            (b"Ho(st: x", Kind::BadName, 2),
            (b"H\xc3\xb6: x", Kind::BadName, 1),
            (b"Ho\0st: x", Kind::Nul, 2),
            (b"Host\r: x", Kind::BareCr, 4),
            (b"Host: x\ry", Kind::BareCr, 7),
            (b"Host: x\r", Kind::BareCr, 7),
            (b"Host: \0", Kind::Nul, 6),
            (b"Host: x\x0by", Kind::Control, 7),
            (b"Host: \x7f", Kind::Control, 6),
        ] {
            assert_eq!(parse_line(line), Err(Reject::new(kind, 100 + place)), "{line:?}");
        }
    }

    #[test]
    fn values_are_not_copied() {
        let section = Bytes::from_static(b"a: value");
        let field = parse(&section, Line { start: 0, text: &section }).unwrap();
        assert_eq!(field.value.as_bytes().as_ptr(), section[3..].as_ptr());
    }
}
