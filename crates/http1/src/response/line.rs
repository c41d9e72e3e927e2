//! The status line.

use http::StatusCode;

use crate::{
    meaning::Version,
    octet,
    reject::{Kind, Reject},
    scan::Line,
};

/// How every answer begins.
const PROTOCOL: &[u8] = b"HTTP/";

/// Where the status begins: after a version and a space.
const STATUS_AT: usize = 9;

/// Reads the status line. The reason may be missing along with the space in front of it: the
/// grammar has the space, servers leave it out, and nothing can be misread.
pub(super) fn parse(line: Line<'_>) -> Result<(Version, StatusCode), Reject> {
    if !line.text.starts_with(PROTOCOL) {
        return Err(line.reject(Kind::BadStatusLine, 0));
    }
    let (version, rest) = line.split(STATUS_AT - 1);
    let [b' ', rest @ ..] = rest else {
        return Err(line.reject(Kind::BadStatusLine, 0));
    };
    let version = match Version::parse(version) {
        Ok(version) => version,
        Err(Kind::UnsupportedVersion) => return Err(line.reject(Kind::UnsupportedVersion, 0)),
        Err(_) => return Err(line.reject(Kind::BadStatusLine, 0)),
    };
    let (status, reason) = rest.split_at_checked(3).unwrap_or((rest, &[]));
    let status = parse_status(status).ok_or_else(|| line.reject(Kind::BadStatus, STATUS_AT))?;
    let reason_at = STATUS_AT + 3;
    match reason {
        [] => Ok((version, status)),
        [b' ', reason @ ..] => match octet::TEXT.first_outside(reason) {
            None => Ok((version, status)),
            Some(at) => Err(line.reject_byte(Kind::BadReason, reason_at + 1 + at)),
        },
        [b'0'..=b'9', ..] => Err(line.reject(Kind::BadStatus, STATUS_AT)),
        [_, ..] => Err(line.reject_byte(Kind::BadReason, reason_at)),
    }
}

fn parse_status(text: &[u8]) -> Option<StatusCode> {
    matches!(text, [b'1'..=b'5', _, _]).then_some(())?;
    StatusCode::from_bytes(text).ok()
}

/// Refuses the beginning of a head that nothing can make a good one, such as that of another
/// protocol.
pub(super) fn judge_unfinished(text: &[u8]) -> Result<(), Reject> {
    let begins_well = text.iter().zip(PROTOCOL).all(|(byte, expected)| byte == expected);
    match text {
        [b'\r'] => Ok(()),
        [b'\r', b'\n', ..] => Err(Reject::new(Kind::LeadingEmptyLine, 0)),
        _ if begins_well => Ok(()),
        _ => Err(Reject::new(Kind::BadStatusLine, 0)),
    }
}
