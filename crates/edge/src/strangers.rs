//! What holds for whatever strangers send. Each check takes what stands in a header or in the first line
//! of a request, and panics where a promise is broken: the tests call it with generated text, the fuzz
//! targets (`fuzz/`) with whatever the fuzzer makes.

use std::net::{IpAddr, Ipv4Addr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request,
    header::{
        AUTHORIZATION, CACHE_CONTROL, CONNECTION, COOKIE, FORWARDED, HOST, IF_MATCH,
        IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE, RANGE, TE, UPGRADE,
    },
    request::Parts,
};

use crate::{
    access::basic,
    cache::directives::Directives,
    canonical,
    coding::{Accepted, Coding},
    cookies,
    files::{
        conditions::{Conditions, Part},
        ranges::parse as ranges,
    },
    headers::{
        client::last_stranger,
        forwarded,
        hop_by_hop::{is_hop_by_hop, strip_hop_by_hop},
    },
    lists,
    pages::accept,
    quality, tags,
};

/// A client that no proxy vouches for.
const STRANGER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7));
/// A proxy that is trusted, as all that begins with 10 is.
const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 1));

/// Cookies: what is found lies in the line, and a cookie that is added is found after all others.
pub(crate) fn cookie(line: &[u8]) {
    const NAME: &[u8] = b"sid";
    let found: Vec<_> = cookies::values_of(line, NAME).collect();
    assert!(found.iter().all(|value| !value.contains(&b';')));
    let mut expected = found;
    expected.push(b"own");
    let more = [line, b" ; sid=own"].concat();
    assert_eq!(cookies::values_of(&more, NAME).collect::<Vec<_>>(), expected);

    let Some(headers) = header(&COOKIE, line) else { return };
    let pairs: Vec<_> = cookies::pairs(&headers).collect();
    for (name, value) in &pairs {
        assert!(!name.contains(['=', ';']) && !value.contains(';'));
    }
    let written: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let again = header(&COOKIE, written.join(";").as_bytes()).unwrap_or_default();
    assert_eq!(cookies::pairs(&again).collect::<Vec<_>>(), pairs);
}

/// `Range`: no range leaves the file, and what is read can be written and is read as the same.
pub(crate) fn range(text: &str, length: u64) {
    let read = ranges(text, length);
    let Part::Ranges(found) = &read else {
        assert!(matches!(read, Part::Whole | Part::NoSuchRange));
        return;
    };
    assert!(!found.is_empty() && found.len() <= 16);
    assert!(found.iter().all(|range| range.start < range.end && range.end <= length));
    let total: u64 = found.iter().map(|range| range.end - range.start).sum();
    assert!(found.len() == 1 || total < length, "the whole would be cheaper");
    let written: Vec<_> =
        found.iter().map(|range| format!("{}-{}", range.start, range.end - 1)).collect();
    assert_eq!(ranges(&format!("bytes={}", written.join(",")), length), read);
}

/// Conditions: lines of `If-Match`, `If-None-Match`, `If-Modified-Since`, `If-Unmodified-Since`,
/// `If-Range` and `Range`, in this order. Only GET gets a part, only where one was asked for, and what
/// the client has is never sent.
pub(crate) fn conditions(lines: [&str; 6]) {
    const TAG: &str = "\"abc\"";
    let names = [IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE, IF_RANGE, RANGE];
    let mut headers = HeaderMap::new();
    for (name, line) in names.iter().zip(lines).filter(|(_, line)| !line.is_empty()) {
        let Ok(value) = HeaderValue::from_str(line) else { return };
        headers.insert(name, value);
    }
    let judge = |method, headers: &HeaderMap| {
        Conditions::of(&parts(method, headers.clone())).judge(TAG, 1_700_000_000, 100)
    };
    let of_get = judge(Method::GET, &headers);
    let of_head = judge(Method::HEAD, &headers);
    match &of_get {
        Part::Ranges(_) | Part::NoSuchRange => {
            assert_eq!(of_head, Part::Whole);
            assert!(headers.contains_key(RANGE));
        }
        Part::Whole | Part::NotModified | Part::PreconditionFailed => assert_eq!(of_get, of_head),
    }
    headers.insert(IF_NONE_MATCH, HeaderValue::from_static(TAG));
    let known = judge(Method::GET, &headers);
    assert!(matches!(known, Part::NotModified | Part::PreconditionFailed), "{known:?}");
    headers.insert(IF_MATCH, HeaderValue::from_static("\"other\""));
    assert_eq!(judge(Method::GET, &headers), Part::PreconditionFailed);
}

/// Lists of entity tags: what is read can be written and is read as the same.
pub(crate) fn tag_list(text: &str) {
    let read: Vec<_> = tags::listed(text).collect();
    assert!(read.iter().all(|tag| !tag.is_empty() && text.contains(tag)));
    assert!(read.iter().all(|tag| tags::holds(text, |listed| listed == *tag)));
    let written = read.join(", ");
    assert_eq!(tags::listed(&written).collect::<Vec<_>>(), read);
}

/// `Accept-Encoding` and `Accept`: no wish is more than 1, each coding is ranked once, and whoever
/// refuses a coding is not given it.
pub(crate) fn accept(text: &str) {
    for (value, quality) in quality::parse(text) {
        assert!(!value.is_empty() && !value.contains([',', ';']) && quality <= 1000);
    }
    let ranked = |text: &str| -> Vec<Coding> {
        let value = HeaderValue::from_str(text).ok();
        Accepted::of(value.as_ref()).ranked().collect()
    };
    let Ok(value) = HeaderValue::from_str(text) else { return };
    if value.to_str().is_err() {
        assert_eq!(Accepted::of(Some(&value)), Accepted::default(), "it is no text");
        return;
    }
    let found = ranked(text);
    for coding in &found {
        let lower = text.to_ascii_lowercase();
        assert!(
            lower.contains(coding.name()) || lower.contains('*'),
            "nobody asked for {coding:?}"
        );
        assert_eq!(found.iter().filter(|other| *other == coding).count(), 1);
    }
    let none = "br;q=0, zstd;q=0, gzip;q=0, x-gzip;q=0";
    assert!(ranked(&format!("{none}, {text}")).is_empty());
    assert!(ranked(&format!("br, {text}")).contains(&Coding::Brotli));
    let refuses = HeaderValue::from_str(&format!("identity;q=0, {text}")).ok();
    assert!(Accepted::of(refuses.as_ref()).refuses_identity());

    let media = accept::choose(Some(&value));
    let view = accept::view(Some(&value));
    if !text.contains('/') {
        assert_eq!((media, view), (accept::Media::Plain, accept::View::Neither));
    }
}

/// `Cache-Control`: two lines say what each of them says, and the stricter counts. What is read of a list
/// can be written and is read as the same.
pub(crate) fn cache_control(first: &str, second: &str) {
    let read = |lines: &[&str]| {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_str(line).ok()?);
        }
        Some(Directives::of(&headers))
    };
    for text in [first, second] {
        let items: Vec<_> = lists::split(text).collect();
        let written = items.join(",");
        assert_eq!(lists::split(&written).collect::<Vec<_>>(), items);
    }
    let (Some(a), Some(b)) = (read(&[first]), read(&[second])) else { return };
    let least = |a: Option<u64>, b: Option<u64>| a.into_iter().chain(b).min();
    let both = Directives {
        any: a.any || b.any,
        no_store: a.no_store || b.no_store,
        no_cache: a.no_cache || b.no_cache,
        private: a.private || b.private,
        public: a.public || b.public,
        must_revalidate: a.must_revalidate || b.must_revalidate,
        proxy_revalidate: a.proxy_revalidate || b.proxy_revalidate,
        only_if_cached: a.only_if_cached || b.only_if_cached,
        max_age: least(a.max_age, b.max_age),
        s_maxage: least(a.s_maxage, b.s_maxage),
        max_stale: least(a.max_stale, b.max_stale),
        min_fresh: a.min_fresh.max(b.min_fresh),
        stale_while_revalidate: least(a.stale_while_revalidate, b.stale_while_revalidate),
        stale_if_error: least(a.stale_if_error, b.stale_if_error),
    };
    assert_eq!(read(&[first, second]), Some(both));
}

/// `X-Forwarded-For` and `Forwarded` from a trusted proxy: whatever stands left of a stranger is not
/// believed, and `Forwarded` can be written again.
pub(crate) fn forwarded(bytes: &[u8]) {
    let trusts = |address: &IpAddr| matches!(address, IpAddr::V4(v4) if v4.octets()[0] == 10);
    let client = |name: &HeaderName, value: &[u8]| {
        header(name, value).map(|headers| last_stranger(&headers, PROXY, trusts).0)
    };
    let chain = HeaderName::from_static("x-forwarded-for");
    for rest in [", 192.0.2.7", ", 192.0.2.7:80, 10.0.0.2", ", 192.0.2.7,10.0.0.2 ,\t10.0.0.3"] {
        let found = client(&chain, &[bytes, rest.as_bytes()].concat());
        // What is no text counts for nothing.
        let expected = if bytes.is_ascii() { STRANGER } else { PROXY };
        assert!(found.is_none_or(|found| found == expected), "{found:?}");
    }
    let found = client(&FORWARDED, &[bytes, b", for=192.0.2.7"].concat());
    assert!(found.is_none_or(|found| found == STRANGER || found == PROXY), "{found:?}");

    let hops = header(&FORWARDED, bytes).and_then(|headers| forwarded::parse(&headers));
    for hop in hops.unwrap_or_default() {
        let Some(address) = hop.asked_by else { continue };
        let text = forwarded::write(&address.to_string(), None, hop.https);
        let again = header(&FORWARDED, text.as_bytes()).and_then(|it| forwarded::parse(&it));
        assert_eq!(again, Some(vec![hop]));
    }
}

/// `Authorization`: what is read can be written and is read as the same, and two are none.
pub(crate) fn authorization(bytes: &[u8]) {
    let Some(mut headers) = header(&AUTHORIZATION, bytes) else { return };
    if let Some((user, password)) = basic::credentials(&headers) {
        assert!(!user.contains(':'));
        let text = [user.as_bytes(), b":", &password].concat();
        let written = header(&AUTHORIZATION, basic_of(&text).as_bytes()).unwrap_or_default();
        assert_eq!(basic::credentials(&written), Some((user, password)));
    }
    headers.append(AUTHORIZATION, HeaderValue::from_static("Basic YTpi"));
    assert_eq!(basic::credentials(&headers), None);
}

/// `Connection`, `TE` and `Upgrade`: nothing of the connection is passed on, nor what it names, and all
/// else is.
pub(crate) fn connection(bytes: &[u8]) {
    let Ok(value) = HeaderValue::from_bytes(bytes) else { return };
    let mut headers: HeaderMap =
        [CONNECTION, TE, UPGRADE].into_iter().map(|name| (name, value.clone())).collect();
    headers.insert("x-kept", HeaderValue::from_static("1"));
    headers.insert(COOKIE, HeaderValue::from_static("a=b"));
    let before = headers.clone();

    strip_hop_by_hop(&mut headers);

    let text = value.to_str().unwrap_or_default();
    let is_named = |name: &HeaderName| {
        text.split(',').any(|option| option.trim().eq_ignore_ascii_case(name.as_str()))
    };
    for name in before.keys() {
        let ends = is_hop_by_hop(name.as_str()) || is_named(name);
        let stays = *name == TE && has_trailers(text);
        assert_eq!(headers.contains_key(name), !ends || stays);
    }
    assert!(headers.get(TE).is_none_or(|value| value == "trailers"));
    let once = headers.clone();
    strip_hop_by_hop(&mut headers);
    assert_eq!(headers, once);
}

/// Paths and hosts: a form is its own form, and what routes see is among the ways to read a path.
pub(crate) fn place(text: &str) {
    if let Ok((form, spellings)) = canonical::path::spelled(text) {
        assert_eq!(canonical::path::spelled(&form).map(|(again, _)| again), Ok(form.clone()));
        assert!(form.starts_with('/') && !form.contains("//"));
        let decoded = canonical::decode(&form).map(std::borrow::Cow::into_owned);
        assert!(decoded.as_ref().is_ok_and(|path| !path.contains(['\0', '\\'])), "{form}");
        if spellings.is_empty() {
            assert_eq!(decoded.as_deref().ok(), undone(&form).as_deref());
        }
        if let Ok(readings) = canonical::readings(&form, spellings) {
            assert!(decoded.is_ok_and(|path| readings.contains(&path)), "{form}");
        }
    }
    let Some(headers) = header(&HOST, text.as_bytes()) else { return };
    if let Ok(host) = canonical::host(&parts(Method::GET, headers)) {
        let written = header(&HOST, host.to_string().as_bytes()).unwrap_or_default();
        assert_eq!(canonical::host(&parts(Method::GET, written)), Ok(host));
    }
}

/// Returns a path with all its escapes undone, in the plainest way.
fn undone(path: &str) -> Option<String> {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next()?.as_bytes().to_vec();
    for piece in pieces {
        let (digits, rest) = piece.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend_from_slice(rest.as_bytes());
    }
    String::from_utf8(bytes).ok()
}

fn basic_of(text: &[u8]) -> String {
    format!("Basic {}", STANDARD.encode(text))
}

fn has_trailers(text: &str) -> bool {
    text.split(',').any(|item| item.trim().eq_ignore_ascii_case("trailers"))
}

fn header(name: &HeaderName, value: &[u8]) -> Option<HeaderMap> {
    let value = HeaderValue::from_bytes(value).ok()?;
    Some(HeaderMap::from_iter([(name.clone(), value)]))
}

fn parts(method: Method, headers: HeaderMap) -> Parts {
    let (mut parts, ()) = Request::new(()).into_parts();
    (parts.method, parts.headers) = (method, headers);
    parts
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Text of the pieces that mean something somewhere, and of any others.
    fn text(pieces: &'static [&'static str]) -> impl Strategy<Value = String> {
        let piece = prop_oneof![
            4 => prop::sample::select(pieces).prop_map(str::to_owned),
            2 => prop::sample::select(vec![",", ";", "=", "\"", "\\", " ", "\t"]).prop_map(str::to_owned),
            1 => "[ -~]{0,4}",
        ];
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    /// The same as bytes, some of which are no text.
    fn bytes(pieces: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
        let odd = prop::option::weighted(0.2, (any::<prop::sample::Index>(), any::<u8>()));
        (text(pieces), odd).prop_map(|(text, odd)| {
            let mut bytes = text.into_bytes();
            if let Some((at, byte)) = odd {
                let at = at.index(bytes.len() + 1);
                bytes.insert(at, byte);
            }
            bytes
        })
    }

    const RANGES: &[&str] = &[
        "bytes=",
        "Bytes =",
        "lines=",
        "0",
        "1",
        "17",
        "99",
        "100",
        "-",
        "0-0",
        "-5",
        "7-",
        "18446744073709551616",
    ];
    const TAGS: &[&str] = &["\"abc\"", "W/\"abc\"", "\"", "W/", "*", "\"a,b\"", "\"x\\\"", "abc"];
    const DATES: &[&str] = &[
        "Fri, 02 Jan 2026 03:04:05 GMT",
        "Tue, 14 Nov 2023 22:13:20 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ];
    const WISHES: &[&str] = &[
        "br",
        "gzip",
        "x-gzip",
        "zstd",
        "identity",
        "*",
        "q=0",
        ";q=0.5",
        "Q=1.000",
        "text/html",
        "*/*",
        "application/json",
    ];
    const DIRECTIVES: &[&str] = &[
        "no-store",
        "No-Cache",
        "private",
        "public",
        "max-age=10",
        "max-age",
        "s-maxage=\"20\"",
        "max-stale",
        "max-stale=5",
        "min-fresh=7",
        "must-revalidate",
        "only-if-cached",
        "stale-while-revalidate=3",
        "stale-if-error=99999999999999999999",
        "private=\"a, no-store\"",
    ];
    const HOPS: &[&str] = &[
        "for=",
        "192.0.2.9",
        "10.0.0.9",
        "\"[2001:db8::1]:80\"",
        "[::ffff:10.0.0.1]",
        "unknown",
        "_hidden",
        "proto=https",
        "host=a",
        "1.2.3.4:5",
    ];
    const COOKIES: &[&str] = &["sid=", "sid=1", "sid=\"a\"", " sid = 2", "other=x", "sid", "a=b=c"];
    const CREDENTIALS: &[&str] =
        &["Basic ", "basic", "Bearer ", "YTpi", "YQ==", "OnA=", "/w==", "ZDpl/w=="];
    const OPTIONS: &[&str] =
        &["close", "keep-alive", "x-kept", "X-Kept", "cookie", "te", "trailers", "upgrade", "h2c"];
    const PATHS: &[&str] = &[
        "/",
        "//",
        "/..",
        "/.",
        "%2e",
        "%2F",
        "%5c",
        "%25",
        "%00",
        "%zz",
        "%C3%A4",
        "ä",
        "a.example",
        ":80",
        "[::1]",
    ];

    proptest! {
        #[test]
        fn cookies_hold(line in bytes(COOKIES)) {
            cookie(&line);
        }

        #[test]
        fn ranges_hold(text in text(RANGES), length in prop_oneof![0_u64..200, any::<u64>()]) {
            range(&text, length);
            range(&format!("bytes={text}"), length);
        }

        #[test]
        fn conditions_hold(
            tags in prop::array::uniform3(text(TAGS)), dates in prop::array::uniform2(text(DATES)),
            date in prop::sample::select(DATES), range in text(RANGES), exact in any::<bool>(),
        ) {
            let [matching, none_match, if_range] = &tags;
            let [since, until] = &dates;
            let (since, until) = if exact { (date, date) } else { (since.as_str(), until.as_str()) };
            let range = format!("bytes={range}");
            conditions([matching, none_match, since, until, if_range, &range]);
            conditions(["", "", since, until, date, &range]);
            for text in &tags {
                tag_list(text);
            }
        }

        #[test]
        fn wishes_hold(text in text(WISHES)) {
            accept(&text);
        }

        #[test]
        fn directives_hold(first in text(DIRECTIVES), second in text(DIRECTIVES)) {
            cache_control(&first, &second);
        }

        #[test]
        fn chains_of_proxies_hold(value in bytes(HOPS)) {
            forwarded(&value);
        }

        #[test]
        fn credentials_hold(value in bytes(CREDENTIALS), text in ".{0,12}") {
            authorization(&value);
            authorization(basic_of(text.as_bytes()).as_bytes());
        }

        #[test]
        fn connections_hold(value in bytes(OPTIONS)) {
            connection(&value);
        }

        #[test]
        fn places_hold(text in text(PATHS)) {
            place(&text);
            place(&format!("/{text}"));
        }
    }
}
