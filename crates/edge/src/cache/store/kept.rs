//! A kept answer.

use http::{HeaderMap, HeaderName, StatusCode};

use super::{
    super::{content::Content, terms::Terms},
    length,
};
use crate::lists::items;

/// Headers that name the tags of an answer. Tags in the second are divided by blanks.
const CACHE_TAG: HeaderName = HeaderName::from_static("cache-tag");
const SURROGATE_KEY: HeaderName = HeaderName::from_static("surrogate-key");
/// More tags than an answer has.
const MOST_TAGS: usize = 128;

/// What a kept answer takes beside its bytes.
pub(super) const OVERHEAD: usize = 400;

/// A kept answer.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Its status.
    pub(crate) status: StatusCode,
    /// Its headers.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) content: Content,
    /// How long it may be given.
    pub(crate) terms: Terms,
    pub(super) tags: Box<[Box<str>]>,
}

impl Kept {
    /// Keeps an answer.
    pub(crate) fn new(
        status: StatusCode,
        headers: HeaderMap,
        content: Content,
        terms: Terms,
    ) -> Self {
        Self { status, tags: tags(&headers), headers, content, terms }
    }

    /// Returns the same answer with other headers, for one client.
    pub(crate) fn with_headers(&self, headers: HeaderMap) -> Self {
        Self::new(self.status, headers, self.content.clone(), self.terms)
    }

    pub(super) fn weight(&self) -> u64 {
        let headers =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64);
        let tags = self.tags.iter().map(|tag| tag.len() + 16);
        let rest = headers.sum::<usize>() + tags.sum::<usize>() + OVERHEAD;
        self.content.len().saturating_add(length(rest))
    }
}

/// Returns the tags of an answer.
fn tags(headers: &HeaderMap) -> Box<[Box<str>]> {
    let comma_tags = CACHE_TAG;
    let by_comma = items(headers, &comma_tags);
    let keys = headers.get_all(SURROGATE_KEY).iter().filter_map(|value| value.to_str().ok());
    let by_blank = keys.flat_map(str::split_ascii_whitespace);
    by_comma.chain(by_blank).take(MOST_TAGS).map(Box::from).collect()
}
