//! The trailer section of a chunked body.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;

use crate::{
    Limits, fields, names,
    reject::{Kind, Reject},
    scan::{Scanner, Section},
};

/// Reads the trailers at the front of `input` and takes them out of it; `None` if they are not
/// complete. Returns how many bytes they took.
pub(super) fn parse(
    scanner: &mut Scanner,
    input: &mut BytesMut,
    limits: &Limits,
) -> Result<Option<(HeaderMap, usize)>, Reject> {
    let section =
        Section { max: limits.trailer, too_large: Kind::TrailerTooLarge, may_be_empty: true };
    match scanner.scan(input, section) {
        Ok(None) => Ok(None),
        Ok(Some(end)) => {
            let bytes = input.split_to(end).freeze();
            read_lines(scanner, &bytes, limits).map(|trailers| Some((trailers, end)))
        }
        Err(reject) => {
            let complete = input.get(..scanner.complete()).unwrap_or_default();
            let first = read_lines(scanner, &Bytes::copy_from_slice(complete), limits).err();
            Err(first.unwrap_or(reject))
        }
    }
}

fn read_lines(scanner: &Scanner, bytes: &Bytes, limits: &Limits) -> Result<HeaderMap, Reject> {
    let mut trailers = HeaderMap::new();
    for (count, line) in scanner.lines(bytes).enumerate() {
        if count == limits.trailer_fields {
            return Err(line.reject(Kind::TooManyTrailers, 0));
        }
        let field = fields::parse(bytes, line)?;
        if names::is_forbidden_in_trailers(field.name.as_str().as_bytes()) {
            return Err(line.reject(Kind::ForbiddenTrailer, 0));
        }
        fields::append(&mut trailers, field.name, field.value)
            .map_err(|_| line.reject(Kind::TooManyTrailers, 0))?;
    }
    Ok(trailers)
}
