//! Which part of a file a request is to get: conditions (RFC 9110 §13), then ranges (§14).

use std::{
    ops::Range,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use http::{
    HeaderMap, HeaderName, Method,
    header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE},
    request::Parts,
};

use super::ranges;
use crate::{
    lists::joined,
    tags::{self, opaque},
};

/// What of a file is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// All of it.
    Whole,
    /// These ranges, at least one.
    Ranges(Vec<Range<u64>>),
    /// None of the ranges lies in the file.
    NoSuchRange,
    /// The client has it.
    NotModified,
    /// It is not the file the client wants.
    PreconditionFailed,
}

/// The conditions and ranges of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conditions {
    get: bool,
    if_match: Option<String>,
    if_unmodified_since: Option<SystemTime>,
    if_none_match: Option<String>,
    if_modified_since: Option<SystemTime>,
    if_range: Option<String>,
    range: Option<String>,
}

impl Conditions {
    /// Reads them from a request. What cannot be read is as if it were not there.
    pub(crate) fn of(parts: &Parts) -> Self {
        let headers = &parts.headers;
        Self {
            get: parts.method == Method::GET,
            if_match: joined(headers, &IF_MATCH),
            if_unmodified_since: date(headers, &IF_UNMODIFIED_SINCE),
            if_none_match: joined(headers, &IF_NONE_MATCH),
            if_modified_since: date(headers, &IF_MODIFIED_SINCE),
            if_range: joined(headers, &IF_RANGE),
            range: joined(headers, &RANGE),
        }
    }

    /// Judges them in the order of RFC 9110 §13.2.2. `modified` is in whole seconds since 1970.
    pub(crate) fn judge(&self, tag: &str, modified: u64, length: u64) -> Part {
        let unchanged_since = |date: SystemTime| modified <= whole_seconds(date);
        let wanted = match (&self.if_match, self.if_unmodified_since) {
            (Some(tags), _) => tags::holds(tags, |listed| listed == tag),
            (None, Some(date)) => unchanged_since(date),
            (None, None) => true,
        };
        if !wanted {
            return Part::PreconditionFailed;
        }
        let known = match (&self.if_none_match, self.if_modified_since) {
            (Some(tags), _) => tags::holds(tags, |listed| opaque(listed) == tag),
            (None, Some(date)) => unchanged_since(date),
            (None, None) => false,
        };
        if known {
            return Part::NotModified;
        }
        match &self.range {
            Some(range) if self.get && self.range_applies(tag, modified) => {
                ranges::parse(range, length)
            }
            Some(_) | None => Part::Whole,
        }
    }

    /// A weak tag never matches here, and a date only exactly (RFC 9110 §13.1.5).
    fn range_applies(&self, tag: &str, modified: u64) -> bool {
        let Some(condition) = self.if_range.as_deref() else { return true };
        if condition.starts_with('"') || condition.starts_with("W/") {
            return condition == tag;
        }
        httpdate::parse_http_date(condition).is_ok_and(|date| whole_seconds(date) == modified)
    }
}

fn date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    httpdate::parse_http_date(headers.get(name)?.to_str().ok()?).ok()
}

/// HTTP dates have no fractions; what is older than they reach is as old as they reach.
fn whole_seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs()
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const TAG: &str = "\"abc\"";
    const DATE: &str = "Fri, 02 Jan 2026 03:04:05 GMT";
    const BEFORE: &str = "Fri, 02 Jan 2026 03:04:04 GMT";
    const AFTER: &str = "Fri, 02 Jan 2026 03:04:06 GMT";

    #[test]
    fn conditions_are_judged_in_their_order() {
        for (headers, part) in [
            (&[][..], Part::Whole),
            (&[("if-none-match", TAG)], Part::NotModified),
            (&[("if-none-match", "W/\"abc\"")], Part::NotModified),
            (&[("if-none-match", "\"x\", \"abc\"")], Part::NotModified),
            (&[("if-none-match", "*")], Part::NotModified),
            (&[("if-none-match", "\"x\"")], Part::Whole),
            (&[("if-modified-since", DATE)], Part::NotModified),
            (&[("if-modified-since", AFTER)], Part::NotModified),
            (&[("if-modified-since", BEFORE)], Part::Whole),
            (&[("if-modified-since", "yesterday")], Part::Whole),
            (&[("if-none-match", "\"x\""), ("if-modified-since", AFTER)], Part::Whole),
            (&[("if-match", TAG)], Part::Whole),
            (&[("if-match", "*")], Part::Whole),
            (&[("if-match", "W/\"abc\"")], Part::PreconditionFailed),
            (&[("if-match", "\"x\"")], Part::PreconditionFailed),
            (&[("if-unmodified-since", DATE)], Part::Whole),
            (&[("if-unmodified-since", BEFORE)], Part::PreconditionFailed),
            (&[("if-match", TAG), ("if-unmodified-since", BEFORE)], Part::Whole),
            (&[("if-match", TAG), ("if-none-match", TAG)], Part::NotModified),
            (&[("if-match", "\"x\""), ("if-none-match", TAG)], Part::PreconditionFailed),
        ] {
            assert_eq!(judge("GET", headers), part, "{headers:?}");
        }
    }

    #[test]
    fn ranges_count_only_for_the_file_they_were_meant_for() {
        let range = ("range", "bytes=0-3");
        let part = Part::Ranges(std::iter::once(0..4).collect());
        for (condition, expected) in [
            (("if-range", TAG), &part),
            (("if-range", DATE), &part),
            (("if-range", "W/\"abc\""), &Part::Whole),
            (("if-range", "\"x\""), &Part::Whole),
            (("if-range", BEFORE), &Part::Whole),
            (("if-range", AFTER), &Part::Whole),
            (("if-range", "nonsense"), &Part::Whole),
            (("if-none-match", TAG), &Part::NotModified),
        ] {
            assert_eq!(&judge("GET", &[range, condition]), expected, "{condition:?}");
        }
        assert_eq!(judge("GET", &[range]), part);
        assert_eq!(judge("HEAD", &[range]), Part::Whole);
    }

    fn judge(method: &str, headers: &[(&str, &str)]) -> Part {
        let mut request = Request::builder().method(method);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let parts = request.body(()).unwrap().into_parts().0;
        let modified = whole_seconds(httpdate::parse_http_date(DATE).unwrap());
        Conditions::of(&parts).judge(TAG, modified, 100)
    }
}
