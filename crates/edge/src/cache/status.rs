//! What a cache did for a request, as `Cache-Status` (RFC 9211) and logs tell it.

use std::fmt::Write as _;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::key::Key;

const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What a cache did for a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It gave a fresh answer.
    Hit,
    /// It gave a stale answer while a new one is fetched.
    Stale,
    /// It gave a stale answer as there was no new one.
    StoodIn,
    /// The upstream said that the kept answer is still the one.
    Renewed,
    /// It had nothing that could be given.
    Miss,
    /// The request passed it by.
    Passed,
    /// It had nothing, and the client wanted nothing else.
    Refused,
}

/// Why a request was forwarded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forwarded {
    /// The rules or the request led past the cache.
    Bypass,
    /// Its method is not one that is answered from what is kept.
    Method,
    /// Nothing was kept under its URL.
    UriMiss,
    /// What was kept under its URL is for other requests.
    VaryMiss,
    /// What was kept is stale.
    Stale,
    /// The request wanted something fresher.
    Request,
}

/// What a cache did, in full.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    /// What it did.
    pub(crate) verdict: Verdict,
    /// Why the request was forwarded, if it was.
    pub(crate) forwarded: Option<Forwarded>,
    /// What the upstream answered.
    pub(crate) status: Option<u16>,
    /// For how many seconds the answer is fresh.
    pub(crate) ttl: Option<i64>,
    /// Whether the answer is kept.
    pub(crate) stored: bool,
    /// Whether it waited for another request.
    pub(crate) collapsed: bool,
    /// Why the answer is not kept, or the request not answered from what is.
    pub(crate) why: Option<&'static str>,
}

impl Verdict {
    /// All of them.
    pub(crate) const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::StoodIn,
        Self::Renewed,
        Self::Miss,
        Self::Passed,
        Self::Refused,
    ];

    /// Returns a word for it, as logs and metrics have it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::StoodIn => "stale_if_error",
            Self::Renewed => "revalidated",
            Self::Miss => "miss",
            Self::Passed => "bypass",
            Self::Refused => "only_if_cached",
        }
    }
}

impl Forwarded {
    const fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Method => "method",
            Self::UriMiss => "uri-miss",
            Self::VaryMiss => "vary-miss",
            Self::Stale => "stale",
            Self::Request => "request",
        }
    }
}

impl Report {
    /// Begins with what it did.
    pub(crate) const fn of(verdict: Verdict) -> Self {
        Self {
            verdict,
            forwarded: None,
            status: None,
            ttl: None,
            stored: false,
            collapsed: false,
            why: None,
        }
    }

    /// Appends it to the `Cache-Status` of the caches that the answer passed before. The key is told
    /// only where somebody wants to know.
    pub(crate) fn tell(&self, headers: &mut HeaderMap, debug: Option<&Key>) {
        if let Ok(value) = HeaderValue::try_from(self.text(debug)) {
            headers.append(CACHE_STATUS, value);
        }
    }

    /// The same where there is no key.
    pub(crate) fn tell_why(&self, headers: &mut HeaderMap, debug: bool) {
        let mut text = self.text(None);
        if let Some(why) = self.why.filter(|_| debug) {
            text.push_str("; detail=");
            text.push_str(why);
        }
        if let Ok(value) = HeaderValue::try_from(text) {
            headers.append(CACHE_STATUS, value);
        }
    }

    fn text(&self, debug: Option<&Key>) -> String {
        let mut text = String::with_capacity(64);
        text.push_str("portway");
        match self.forwarded {
            None => text.push_str(if self.verdict == Verdict::Refused { "" } else { "; hit" }),
            Some(forwarded) => {
                text.push_str("; fwd=");
                text.push_str(forwarded.word());
            }
        }
        // Writing to a text never fails.
        if let Some(status) = self.status {
            write!(text, "; fwd-status={status}").ok();
        }
        if let Some(ttl) = self.ttl {
            write!(text, "; ttl={ttl}").ok();
        }
        for (is_so, word) in [(self.stored, "; stored"), (self.collapsed, "; collapsed")] {
            text.push_str(if is_so { word } else { "" });
        }
        if let Some(key) = debug {
            if let Some(why) = self.why {
                write!(text, "; detail={why}").ok();
            }
            text.push_str("; key=\"");
            for byte in key.url().bytes() {
                match byte {
                    b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
                    b' '..=b'~' => text.push(char::from(byte)),
                    _ => {
                        write!(text, "%{byte:02X}").ok();
                    }
                }
            }
            text.push('"');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{super::key::tests::key, *};

    #[test]
    fn it_is_told_as_the_rfc_has_it() {
        let hit = Report { ttl: Some(30), ..Report::of(Verdict::Hit) };
        assert_eq!(hit.text(None), "portway; hit; ttl=30");
        let miss = Report {
            forwarded: Some(Forwarded::UriMiss),
            status: Some(200),
            stored: true,
            collapsed: true,
            ..Report::of(Verdict::Miss)
        };
        assert_eq!(miss.text(None), "portway; fwd=uri-miss; fwd-status=200; stored; collapsed");
        let passed = Report {
            forwarded: Some(Forwarded::Bypass),
            why: Some("bypass-cookie"),
            ..Report::of(Verdict::Passed)
        };
        let key = key(1, true, "a.example", "/x?a=\\");
        assert_eq!(
            passed.text(Some(&key)),
            r#"portway; fwd=bypass; detail=bypass-cookie; key="https://a.example/x?a=\\""#
        );
        assert_eq!(Report::of(Verdict::Refused).text(None), "portway");
    }
}
