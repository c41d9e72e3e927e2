//! The id by which a request is found in logs, at the upstream and in error pages.

use http::{HeaderMap, HeaderName, HeaderValue};
use jiff::Timestamp;

use crate::random;

/// The header that tells it.
pub(crate) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of a request, kept as the headers carry it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// Returns an id that sorts by time (RFC 9562 §5.7).
    pub(crate) fn new(now: Timestamp) -> Self {
        let milliseconds = u64::try_from(now.as_millisecond()).unwrap_or_default();
        let id = uuid::Builder::from_unix_timestamp_millis(milliseconds, &random::unique());
        let mut digits = [0; uuid::fmt::Simple::LENGTH];
        let digits = id.as_uuid().simple().encode_lower(&mut digits);
        // Digits are a header's value.
        Self(HeaderValue::from_str(digits).unwrap_or_else(|_| HeaderValue::from_static("-")))
    }

    /// Returns the id that a trusted proxy gave, if it gave one that can stand in logs.
    pub(crate) fn given(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(REQUEST_ID).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return None };
        let bytes = value.as_bytes();
        let fits = (8..=128).contains(&bytes.len()) && bytes.iter().all(|byte| may_stand(*byte));
        fits.then(|| Self(value.clone()))
    }

    /// Returns it as text.
    pub(crate) fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }

    /// Returns it as a header's value.
    pub(crate) fn value(&self) -> HeaderValue {
        self.0.clone()
    }
}

fn may_stand(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_sort_by_time_and_differ() {
        let later = Timestamp::UNIX_EPOCH + jiff::SignedDuration::from_millis(1);
        let [first, second] = [Timestamp::UNIX_EPOCH, later].map(RequestId::new);
        assert!(first.as_str() < second.as_str());
        assert_eq!(first.as_str().len(), 32);
        assert_ne!(RequestId::new(later), second);
    }

    #[test]
    fn only_one_plain_id_of_fitting_length_is_taken_over() {
        let given = |ids: &[&str]| {
            let values = ids.iter().map(|id| (REQUEST_ID, HeaderValue::from_str(id).unwrap()));
            RequestId::given(&values.collect())
        };
        assert_eq!(given(&["outer-request.1"]).unwrap().as_str(), "outer-request.1");
        for ids in [&["short"][..], &["has a space"], &["one-of-two", "two-of-two"], &[]] {
            assert_eq!(given(ids), None, "{ids:?}");
        }
        assert_eq!(given(&["x".repeat(129).as_str()]), None);
    }
}
