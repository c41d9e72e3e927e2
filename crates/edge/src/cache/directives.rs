//! What `Cache-Control` says (RFC 9111 §5.2).

use http::{HeaderMap, header};

use crate::lists::{names, split};

/// The greatest time that is told apart from forever (RFC 9111 §1.2.2).
const FOREVER: u64 = 1 << 31;

/// The directives of a request or an answer. Where one stands twice, the stricter one counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a directive that is given or not")]
pub(crate) struct Directives {
    /// Whether there are any.
    pub(crate) any: bool,
    /// `no-store`.
    pub(crate) no_store: bool,
    /// `no-cache`, with or without names of headers.
    pub(crate) no_cache: bool,
    /// `private`, with or without names of headers.
    pub(crate) private: bool,
    /// `public`.
    pub(crate) public: bool,
    /// `must-revalidate`.
    pub(crate) must_revalidate: bool,
    /// `proxy-revalidate`.
    pub(crate) proxy_revalidate: bool,
    /// `only-if-cached`.
    pub(crate) only_if_cached: bool,
    /// `max-age`; what is no number is 0.
    pub(crate) max_age: Option<u64>,
    /// `s-maxage`, likewise.
    pub(crate) s_maxage: Option<u64>,
    /// `max-stale`.
    pub(crate) max_stale: Option<u64>,
    /// `min-fresh`.
    pub(crate) min_fresh: Option<u64>,
    /// `stale-while-revalidate` (RFC 5861).
    pub(crate) stale_while_revalidate: Option<u64>,
    /// `stale-if-error` (RFC 5861).
    pub(crate) stale_if_error: Option<u64>,
}

impl Directives {
    /// Reads those of a message.
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(header::CACHE_CONTROL) {
            // What is no text may hold a directive that forbids something.
            let Ok(text) = value.to_str() else {
                (found.any, found.no_store) = (true, true);
                continue;
            };
            for directive in split(text) {
                found.add(directive);
            }
        }
        found
    }

    fn add(&mut self, directive: &str) {
        let (name, value) = match directive.split_once('=') {
            Some((name, value)) => (name.trim_end(), Some(value)),
            None => (directive, None),
        };
        self.any = true;
        let seconds = || value.and_then(seconds).unwrap_or(0);
        let strictest = |old: Option<u64>| Some(old.unwrap_or(u64::MAX).min(seconds()));
        match name.to_ascii_lowercase().as_str() {
            "no-store" => self.no_store = true,
            "no-cache" => self.no_cache = true,
            "private" => self.private = true,
            "public" => self.public = true,
            "must-revalidate" => self.must_revalidate = true,
            "proxy-revalidate" => self.proxy_revalidate = true,
            "only-if-cached" => self.only_if_cached = true,
            "max-age" => self.max_age = strictest(self.max_age),
            "s-maxage" => self.s_maxage = strictest(self.s_maxage),
            "max-stale" => {
                let most = value.map_or(FOREVER, |_| seconds());
                self.max_stale = Some(self.max_stale.unwrap_or(FOREVER).min(most));
            }
            "min-fresh" => self.min_fresh = Some(self.min_fresh.unwrap_or(0).max(seconds())),
            "stale-while-revalidate" => {
                self.stale_while_revalidate = strictest(self.stale_while_revalidate);
            }
            "stale-if-error" => self.stale_if_error = strictest(self.stale_if_error),
            _ => {}
        }
    }
}

/// Tells whether a request without `Cache-Control` wants what is new (RFC 9111 §5.4).
pub(super) fn has_pragma_no_cache(headers: &HeaderMap) -> bool {
    names(headers, &header::PRAGMA, "no-cache")
}

/// Reads a number of seconds, which may be quoted.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
    if bare.is_empty() || !bare.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    // What has too many digits for a number is forever.
    Some(bare.parse().unwrap_or(FOREVER).min(FOREVER))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(lines: &[&str]) -> Directives {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(header::CACHE_CONTROL, HeaderValue::from_str(line).unwrap());
        }
        Directives::of(&headers)
    }

    #[test]
    fn directives_are_read_whatever_their_case_and_over_several_lines() {
        let found = read(&["Public, MAX-AGE=10", "s-maxage=\"20\" , must-revalidate"]);
        assert!(found.public && found.must_revalidate && !found.no_store);
        assert_eq!((found.max_age, found.s_maxage), (Some(10), Some(20)));
        assert!(read(&["private =\"set-cookie\""]).private);
    }

    #[test]
    fn a_time_that_is_none_is_over_and_the_shorter_of_two_counts() {
        for text in
            ["max-age=", "max-age", "max-age=-1", "max-age=1.5", "max-age=abc", "max-age= 5"]
        {
            assert_eq!(read(&[text]).max_age, Some(0), "{text}");
        }
        assert_eq!(read(&["max-age=10, max-age=5"]).max_age, Some(5));
        assert_eq!(read(&["max-age=99999999999999999999"]).max_age, Some(FOREVER));
    }

    #[test]
    fn commas_within_quotes_divide_nothing() {
        let found = read(&[r#"private="a, no-store", x="\", no-cache", max-age=3"#]);
        assert!(found.private && !found.no_store && !found.no_cache);
        assert_eq!(found.max_age, Some(3));
        assert!(read(&[r#"x="a, max-age=9"#]).max_age.is_none(), "a quote that never ends");
    }

    #[test]
    fn what_is_no_text_forbids() {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(b"max-age=10, \xff").unwrap();
        headers.append(header::CACHE_CONTROL, value);
        assert!(Directives::of(&headers).no_store);
    }

    #[test]
    fn max_stale_without_a_value_is_forever() {
        assert_eq!(read(&["max-stale"]).max_stale, Some(FOREVER));
        assert_eq!(read(&["max-stale=5"]).max_stale, Some(5));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_fail(text in "[ -~]{0,60}") {
            read(&[&text]);
        }
    }
}
