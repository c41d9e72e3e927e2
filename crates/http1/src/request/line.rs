//! The request line.

use bytes::Bytes;
use http::Method;

use crate::{
    Limits,
    meaning::Version,
    octet,
    reject::{Kind, Reject},
    scan::Line,
    target::Target,
};

/// The most bytes that a target may have for [`http::Uri`] to hold it.
const HELD_BY_URI: usize = 65_533;

/// Bytes of a request line besides method and target: two spaces, the version, CR LF.
const REST_OF_LINE: usize = 12;

/// Reads the request line, which is part of `head`.
///
/// What is wrong is found from left to right and within the lengths that are allowed, so that it
/// does not depend on how much of the line is there.
pub(super) fn parse(
    head: &Bytes,
    line: Line<'_>,
    limits: &Limits,
) -> Result<(Method, Target, Version), Reject> {
    let (method, rest) = method(line, limits)?;
    let target_at = line.text.len() - rest.len();
    let max = limits.target.min(HELD_BY_URI);
    let target_end = memchr::memchr(b' ', rest).unwrap_or(rest.len());
    if target_end > max {
        return Err(long_target_fault(line, target_at, rest, max));
    }
    let (target, version) = rest.split_at_checked(target_end).unwrap_or((rest, &[]));
    if target.is_empty() {
        return Err(line.reject(Kind::MissingTarget, target_at));
    }
    let target = Target::parse(head, target, &method)
        .map_err(|(kind, place)| line.reject(kind, target_at + place))?;
    let version_at = target_at + target_end + 1;
    let [b' ', version @ ..] = version else {
        return Err(line.reject(Kind::MissingVersion, target_at + target_end));
    };
    match Version::parse(version) {
        Ok(version) => Ok((method, target, version)),
        Err(kind) => Err(line.reject(kind, version_at)),
    }
}

/// Reads the method, and returns what follows the space after it.
fn method<'a>(line: Line<'a>, limits: &Limits) -> Result<(Method, &'a [u8]), Reject> {
    let end = octet::TOKEN.first_outside(line.text).unwrap_or(line.text.len());
    if end > limits.method {
        return Err(line.reject(Kind::MethodTooLong, limits.method));
    }
    let (method, rest) = line.split(end);
    let rest = match rest {
        [b' ', rest @ ..] if !method.is_empty() => rest,
        [] => return Err(line.reject(Kind::MissingTarget, end)),
        _ => return Err(line.reject_byte(Kind::BadMethod, end)),
    };
    let method = Method::from_bytes(method).map_err(|_| line.reject(Kind::BadMethod, 0))?;
    Ok((method, rest))
}

/// A target that is too long is judged by as much of it as is allowed.
#[cold]
fn long_target_fault(line: Line<'_>, target_at: usize, rest: &[u8], max: usize) -> Reject {
    let allowed = rest.get(..max).unwrap_or(rest);
    match octet::TARGET.first_outside(allowed) {
        Some(place) => line.reject(Target::fault_of_byte(allowed, place), target_at + place),
        None => line.reject(Kind::TargetTooLong, target_at + max),
    }
}

/// Refuses the beginning of a head that nothing can make a good one: it begins with a byte no method
/// has (such as that of a TLS record), or its first line is already too long.
pub(super) fn judge_unfinished(text: &[u8], limits: &Limits) -> Result<(), Reject> {
    let line = Line { start: 0, text };
    match text {
        [] | [b'\r'] => return Ok(()),
        [b'\r', b'\n', ..] => return Err(line.reject(Kind::LeadingEmptyLine, 0)),
        [first, ..] if !octet::TOKEN.has(*first) => {
            return Err(line.reject_byte(Kind::BadMethod, 0));
        }
        [_, ..] => {}
    }
    let max = limits.method + limits.target.min(HELD_BY_URI) + REST_OF_LINE;
    if text.len() <= max || memchr::memchr(b'\n', text.get(..max).unwrap_or(text)).is_some() {
        return Ok(());
    }
    let text = Bytes::copy_from_slice(text);
    parse(&text, Line { start: 0, text: &text }, limits).map(drop)
}
