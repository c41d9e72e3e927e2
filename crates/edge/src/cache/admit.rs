//! What of an answer may be kept (RFC 9111 §3).

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    conditions::has_validator,
    directives::Directives,
    question::Question,
    rules::CompiledCache,
    terms::{Terms, Times},
    vary::Variant,
};

/// Why an answer is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unkept {
    /// Answers with its status are never kept.
    Status,
    /// It forbids it.
    NoStore,
    /// It is for one client.
    Private,
    /// It sets a cookie.
    SetCookie,
    /// It answers somebody who says who they are, and does not say that it is for others too.
    Personal,
    /// It depends on what nobody else has, or on too much.
    Vary,
    /// It allows another site to read it, and does not say that it depends on which.
    Origin,
    /// Neither it nor the rules say how long it is fresh.
    NoTime,
    /// It could never be given without asking, and there is nothing to ask by.
    Expired,
    /// Its body is too large.
    TooLarge,
    /// Nobody can tell where its body ends.
    NoEnd,
    /// It is a part, and nothing is kept of which it could be one.
    Part,
    /// Only the headers were asked for.
    Head,
    /// Another request fetches the same.
    Beside,
}

/// Judges an answer by its head: how long it may be given, and to whom.
pub(crate) fn judge(
    rules: &CompiledCache,
    question: &Question,
    asked: &HeaderMap,
    (status, headers): (StatusCode, &HeaderMap),
    times: Times,
) -> Result<(Terms, Variant), Unkept> {
    let said = Directives::of(headers);
    if !is_keepable(status) || headers.contains_key(header::CONTENT_RANGE) {
        return Err(Unkept::Status);
    }
    if said.no_store {
        return Err(Unkept::NoStore);
    }
    if said.private {
        return Err(Unkept::Private);
    }
    if headers.contains_key(header::SET_COOKIE) {
        return Err(Unkept::SetCookie);
    }
    let terms = Terms::of(rules, status.as_u16(), headers, times).ok_or(Unkept::NoTime)?;
    if !question.may_share(&terms) {
        return Err(Unkept::Personal);
    }
    if !terms.is_of_use(times.answered) && !has_validator(headers) {
        return Err(Unkept::Expired);
    }
    if reflects_origin(asked, headers) {
        return Err(Unkept::Origin);
    }
    let variant = Variant::of(question.own.clone(), asked, headers).ok_or(Unkept::Vary)?;
    let length = crate::exchange::content_length(headers);
    if length.is_some_and(|length| length > rules.settings.max_object.0) {
        return Err(Unkept::TooLarge);
    }
    Ok((terms, variant))
}

/// Tells whether answers with a status may be kept at all: parts and what confirms others may not, nor
/// what is said of one client (RFC 6585 §3 to §6).
fn is_keepable(status: StatusCode) -> bool {
    (200..=599).contains(&status.as_u16())
        && !matches!(status.as_u16(), 206 | 304 | 428 | 429 | 431 | 511)
}

/// Tells whether an answer names the site that asked, as CORS does, without saying that it depends on
/// it. Kept, it would lock out, or let in, everybody else.
fn reflects_origin(asked: &HeaderMap, headers: &HeaderMap) -> bool {
    let allowed = headers.get(header::ACCESS_CONTROL_ALLOW_ORIGIN);
    let is_named = allowed.is_some_and(|allowed| asked.get(header::ORIGIN) == Some(allowed));
    is_named && !crate::lists::names(headers, &header::VARY, "origin")
}

/// Headers that are one answer's, and are not kept (RFC 9111 §3.1). Those of one connection are gone
/// already.
const OWN: [HeaderName; 2] =
    [header::PROXY_AUTHENTICATE, HeaderName::from_static("proxy-authentication-info")];

/// Returns the headers of an answer as they are kept: with the time at which it came, where it does not
/// say when it was made (RFC 9110 §6.6.1).
pub(crate) fn kept_headers(headers: &HeaderMap, times: Times) -> HeaderMap {
    let mut kept = headers.clone();
    for name in OWN {
        kept.remove(name);
    }
    kept.remove(header::AGE);
    kept.entry(header::DATE).or_insert_with(|| date(times));
    kept
}

/// Returns the time at which an answer came as a header.
pub(crate) fn date(times: Times) -> HeaderValue {
    let text = httpdate::fmt_http_date(times.answered.into());
    // The text of a date is a header's value.
    HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// Puts the headers of a 304 in the place of those that are kept (RFC 9111 §3.2).
pub(crate) fn renewed_headers(kept: &HeaderMap, confirmed: &HeaderMap) -> HeaderMap {
    let mut renewed = kept.clone();
    for name in confirmed.keys() {
        let is_of_body = [
            header::CONTENT_LENGTH,
            header::CONTENT_ENCODING,
            header::CONTENT_TYPE,
            header::CONTENT_RANGE,
            header::AGE,
        ];
        if is_of_body.contains(name) || OWN.contains(name) {
            continue;
        }
        renewed.remove(name);
        for value in confirmed.get_all(name) {
            renewed.append(name.clone(), value.clone());
        }
    }
    renewed
}

impl Unkept {
    /// Returns a word for it, as logs and `Cache-Status` have it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::NoStore => "no-store",
            Self::Private => "private",
            Self::SetCookie => "set-cookie",
            Self::Personal => "personal",
            Self::Vary => "vary",
            Self::Origin => "origin",
            Self::NoTime => "no-time",
            Self::Expired => "expired",
            Self::TooLarge => "too-large",
            Self::NoEnd => "no-end",
            Self::Part => "part",
            Self::Head => "head",
            Self::Beside => "beside",
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use portway_model::{Seconds, site::Cache};

    use super::{super::question::tests::question, *};

    fn verdict(
        settings: Cache,
        asked: &[(&str, &str)],
        status: u16,
        answer: &[(&str, &str)],
    ) -> Option<Unkept> {
        let question = question(settings.clone(), "GET", asked).unwrap();
        let now = Timestamp::now();
        let times = Times { asked: now, answered: now };
        let status = StatusCode::from_u16(status).unwrap();
        let (asked, answer) = (headers(asked), headers(answer));
        judge(&CompiledCache::of(settings), &question, &asked, (status, &answer), times).err()
    }

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn ten_minutes() -> Cache {
        Cache { ttl: Some(Seconds(600)), ..Cache::default() }
    }

    #[test]
    fn what_must_not_be_kept_is_not_even_where_the_rules_would() {
        let greedy = Cache { overrides: true, ..ten_minutes() };
        for (answer, why) in [
            (&[("cache-control", "no-store")][..], Unkept::NoStore),
            (&[("cache-control", "private, max-age=60")], Unkept::Private),
            (&[("cache-control", "private=\"x\", max-age=60")], Unkept::Private),
            (&[("cache-control", "public, max-age=60"), ("set-cookie", "a=b")], Unkept::SetCookie),
            (&[("vary", "*")], Unkept::Vary),
            (&[("content-range", "bytes 0-1/2")], Unkept::Status),
            (&[("content-length", "99999999999")], Unkept::TooLarge),
        ] {
            assert_eq!(verdict(greedy.clone(), &[], 200, answer), Some(why), "{answer:?}");
        }
        for status in [206, 304, 101, 428, 429, 431, 511] {
            assert_eq!(verdict(greedy.clone(), &[], status, &[]), Some(Unkept::Status));
        }
        assert_eq!(verdict(greedy, &[], 200, &[]), None);
    }

    #[test]
    fn what_says_nothing_is_kept_only_where_the_rules_say_how_long() {
        assert_eq!(verdict(Cache::default(), &[], 200, &[]), Some(Unkept::NoTime));
        assert_eq!(verdict(Cache::default(), &[], 200, &[("etag", "\"a\"")]), Some(Unkept::NoTime));
        assert_eq!(verdict(ten_minutes(), &[], 200, &[]), None);
        assert_eq!(verdict(ten_minutes(), &[], 404, &[]), Some(Unkept::NoTime));
        let stated = [("cache-control", "max-age=5")];
        assert_eq!(verdict(Cache::default(), &[], 404, &stated), None);
    }

    #[test]
    fn what_is_always_asked_for_is_kept_only_where_there_is_something_to_ask_by() {
        for answer in ["max-age=0", "no-cache"] {
            let plain = [("cache-control", answer)];
            assert_eq!(verdict(Cache::default(), &[], 200, &plain), Some(Unkept::Expired));
            let tagged = [("cache-control", answer), ("etag", "\"a\"")];
            assert_eq!(verdict(Cache::default(), &[], 200, &tagged), None);
        }
    }

    #[test]
    fn the_answer_to_somebody_is_kept_only_where_it_says_that_it_is_for_all() {
        for (asked, said, kept) in [
            (("authorization", "Basic eDp5"), "max-age=60", false),
            (("authorization", "Basic eDp5"), "public, max-age=60", true),
            (("authorization", "Basic eDp5"), "s-maxage=60", true),
            (("authorization", "Basic eDp5"), "max-age=60, must-revalidate", true),
            (("cookie", "sid=1"), "max-age=60", false),
            (("cookie", "sid=1"), "max-age=60, must-revalidate", false),
            (("cookie", "sid=1"), "public, max-age=60", true),
            (("cookie", "sid=1"), "s-maxage=60", true),
        ] {
            let expected = (!kept).then_some(Unkept::Personal);
            let found = verdict(ten_minutes(), &[asked], 200, &[("cache-control", said)]);
            assert_eq!(found, expected, "{asked:?} {said}");
        }
    }

    #[test]
    fn an_answer_that_names_who_asked_must_say_that_it_depends_on_it() {
        let asked = [("origin", "https://evil.example")];
        let allowed = ("access-control-allow-origin", "https://evil.example");
        assert_eq!(verdict(ten_minutes(), &asked, 200, &[allowed]), Some(Unkept::Origin));
        assert_eq!(verdict(ten_minutes(), &asked, 200, &[allowed, ("vary", "Origin")]), None);
        let any = ("access-control-allow-origin", "*");
        assert_eq!(verdict(ten_minutes(), &asked, 200, &[any]), None);
    }

    #[test]
    fn what_does_not_say_when_it_was_made_was_made_when_it_came() {
        let now = Timestamp::from_second(1_767_323_045).unwrap();
        let times = Times { asked: now, answered: now };
        let kept = kept_headers(&headers(&[("age", "5")]), times);
        assert_eq!(kept.get("date").unwrap(), "Fri, 02 Jan 2026 03:04:05 GMT");
        assert!(!kept.contains_key("age"));
        let own = "Thu, 01 Jan 2026 03:04:05 GMT";
        assert_eq!(kept_headers(&headers(&[("date", own)]), times).get("date").unwrap(), own);
    }

    #[test]
    fn a_304_renews_headers_but_not_those_of_the_body() {
        let kept =
            headers(&[("etag", "\"a\""), ("content-length", "5"), ("x-a", "1"), ("x-b", "1")]);
        let confirmed = headers(&[("content-length", "0"), ("x-a", "2"), ("x-a", "3")]);
        let renewed = renewed_headers(&kept, &confirmed);
        assert_eq!(renewed.get("content-length").unwrap(), "5");
        assert_eq!(renewed.get_all("x-a").iter().collect::<Vec<_>>(), ["2", "3"]);
        assert_eq!(renewed.get("x-b").unwrap(), "1");
    }
}
