//! What a client has already, and which part it wants (RFC 9110 §13, §14).

use std::ops::Range;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::terms::parse_date;
use crate::{
    files::{Part, ranges},
    lists::joined,
    tags::{self, opaque},
};

/// The conditions and the range of a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    none_match: Option<String>,
    modified_since: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
}

impl Conditions {
    /// Reads them.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        Self {
            none_match: joined(headers, &header::IF_NONE_MATCH),
            modified_since: joined(headers, &header::IF_MODIFIED_SINCE),
            range: joined(headers, &header::RANGE),
            if_range: joined(headers, &header::IF_RANGE),
        }
    }

    /// Takes them out of a request whose answer is to be kept whole.
    pub(crate) fn take_out(headers: &mut HeaderMap) {
        for name in
            [header::IF_NONE_MATCH, header::IF_MODIFIED_SINCE, header::RANGE, header::IF_RANGE]
        {
            headers.remove(name);
        }
    }

    /// Tells whether a part is wanted.
    pub(crate) const fn has_range(&self) -> bool {
        self.range.is_some()
    }

    /// Tells whether an answer is wanted only where the client has it not.
    pub(crate) const fn asks_for_changes(&self) -> bool {
        self.none_match.is_some() || self.modified_since.is_some()
    }

    /// Tells whether the client has an answer already.
    pub(crate) fn is_known(&self, answer: &HeaderMap) -> bool {
        let text = |name: &HeaderName| answer.get(name).and_then(|value| value.to_str().ok());
        if let Some(tags) = &self.none_match {
            let own = text(&header::ETAG).map(opaque);
            return tags::holds(tags, |tag| own == Some(opaque(tag)));
        }
        let since = self.modified_since.as_deref().and_then(parse_date);
        let modified = text(&header::LAST_MODIFIED).and_then(parse_date);
        since.zip(modified).is_some_and(|(since, modified)| modified <= since)
    }

    /// Returns which part of an answer of this length is wanted: `Err` where there is no such part,
    /// nothing where all of it is to be sent, as also where several parts are wanted.
    pub(crate) fn part(&self, answer: &HeaderMap, length: u64) -> Result<Option<Range<u64>>, ()> {
        let Some(range) = self.range.as_deref().filter(|_| self.is_for(answer)) else {
            return Ok(None);
        };
        match ranges(range, length) {
            Part::NoSuchRange => Err(()),
            Part::Ranges(mut ranges) if ranges.len() == 1 => Ok(ranges.pop()),
            Part::Ranges(_) | Part::Whole | Part::NotModified | Part::PreconditionFailed => {
                Ok(None)
            }
        }
    }

    /// A weak tag never matches here, and a date only exactly (RFC 9110 §13.1.5).
    fn is_for(&self, answer: &HeaderMap) -> bool {
        let Some(condition) = self.if_range.as_deref() else { return true };
        let is = |name: &HeaderName| answer.get(name).is_some_and(|value| value == condition);
        if condition.starts_with("W/") {
            return false;
        }
        if condition.starts_with('"') { is(&header::ETAG) } else { is(&header::LAST_MODIFIED) }
    }
}

/// Asks whether a kept answer is still the one; tells whether there is anything to ask by.
pub(crate) fn ask_by(kept: &HeaderMap, request: &mut HeaderMap) -> bool {
    let pairs =
        [(header::ETAG, header::IF_NONE_MATCH), (header::LAST_MODIFIED, header::IF_MODIFIED_SINCE)];
    let mut asks = false;
    for (from, to) in pairs {
        if let Some(value) = kept.get(from) {
            request.insert(to, HeaderValue::clone(value));
            asks = true;
        }
    }
    asks
}

/// Tells whether a 304 speaks of a kept answer (RFC 9111 §4.3.4).
pub(crate) fn confirms(kept: &HeaderMap, answer: &HeaderMap) -> bool {
    let tag = |headers: &HeaderMap| {
        headers
            .get(header::ETAG)
            .and_then(|tag| tag.to_str().ok())
            .map(|tag| opaque(tag).to_owned())
    };
    tag(answer).is_none_or(|new| tag(kept).is_some_and(|old| old == new))
}

/// Tells whether an answer can be asked for by what it is.
pub(super) fn has_validator(headers: &HeaderMap) -> bool {
    headers.contains_key(header::ETAG) || headers.contains_key(header::LAST_MODIFIED)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DATE: &str = "Fri, 02 Jan 2026 03:04:05 GMT";

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        pairs.collect()
    }

    #[test]
    fn a_client_has_what_one_of_its_tags_or_its_date_says() {
        let answer = headers(&[("etag", "\"a,b\""), ("last-modified", DATE)]);
        for (request, known) in [
            (&[][..], false),
            (&[("if-none-match", "\"a,b\"")], true),
            (&[("if-none-match", "W/\"a,b\", \"x\"")], true),
            (&[("if-none-match", "*")], true),
            (&[("if-none-match", "\"x\""), ("if-modified-since", DATE)], false),
            (&[("if-modified-since", DATE)], true),
            (&[("if-modified-since", "Fri, 02 Jan 2026 03:04:04 GMT")], false),
            (&[("if-modified-since", "nonsense")], false),
        ] {
            assert_eq!(Conditions::of(&headers(request)).is_known(&answer), known, "{request:?}");
        }
        let dateless = headers(&[("etag", "\"a\"")]);
        assert!(!Conditions::of(&headers(&[("if-modified-since", DATE)])).is_known(&dateless));
    }

    #[test]
    fn a_part_is_sent_only_of_the_answer_that_is_meant() {
        let answer = headers(&[("etag", "\"a\""), ("last-modified", DATE)]);
        let part = |pairs| Conditions::of(&headers(pairs)).part(&answer, 10);
        assert_eq!(part(&[("range", "bytes=2-4")]), Ok(Some(2..5)));
        assert_eq!(part(&[("range", "bytes=20-")]), Err(()));
        assert_eq!(part(&[("range", "bytes=0-1,4-5")]), Ok(None), "several are sent as a whole");
        assert_eq!(part(&[("range", "bytes=2-4"), ("if-range", "\"a\"")]), Ok(Some(2..5)));
        assert_eq!(part(&[("range", "bytes=2-4"), ("if-range", DATE)]), Ok(Some(2..5)));
        assert_eq!(part(&[("range", "bytes=2-4"), ("if-range", "\"b\"")]), Ok(None));
        assert_eq!(part(&[("range", "bytes=2-4"), ("if-range", "W/\"a\"")]), Ok(None));
    }

    #[test]
    fn a_304_with_another_tag_speaks_of_another_answer() {
        let kept = headers(&[("etag", "\"a\"")]);
        assert!(confirms(&kept, &headers(&[])));
        assert!(confirms(&kept, &headers(&[("etag", "W/\"a\"")])));
        assert!(!confirms(&kept, &headers(&[("etag", "\"b\"")])));
    }
}
