//! Compression of answers, as the client and the answer allow (RFC 9110 §12.5.3). A page that is
//! streamed arrives as it is written: the coder is flushed whenever its source has to be waited for.

mod coder;

use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{
        ACCEPT_ENCODING, ACCEPT_RANGES, AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING,
        CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, VARY,
    },
    response::Parts,
};
use http_body::Body as HttpBody;

use crate::{
    body::Body,
    coding::{Accepted, Coding},
};

/// Headers that hold a sum over the bytes of the answer.
const SEALS: [HeaderName; 4] = [
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-md5"),
];

/// From where a browser says that a request was caused (Fetch Metadata Request Headers, §2.4).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Smaller bodies gain nothing.
const MIN_LENGTH: u64 = 1024;

/// Stands in the extensions of an answer that was coded as it is to stay, or has no coded form.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settled;

/// Returns the codings that may be used for a client. There are none where another site caused the
/// request and the browser sent credentials along: whoever reads the length of such an answer on the
/// network could learn its secrets letter by letter, by having it asked for again and again with
/// guesses in the request (BREACH).
pub(crate) fn acceptable(headers: &HeaderMap) -> Option<&HeaderValue> {
    let foreign = headers.get(&FETCH_SITE).is_some_and(|site| site == "cross-site");
    let credentials = headers.contains_key(COOKIE) || headers.contains_key(AUTHORIZATION);
    headers.get(ACCEPT_ENCODING).filter(|_| !(foreign && credentials))
}

/// Returns an answer compressed, where the client takes it and the answer gains by it. The answer to
/// HEAD gets the same headers as the one to GET, provided it carries its `Content-Length`.
pub(crate) fn compress(
    accept_encoding: Option<&HeaderValue>,
    response: Response<Body>,
) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if parts.extensions.get::<Settled>().is_some() {
        return Response::from_parts(parts, body);
    }
    let accepted = Accepted::of(accept_encoding);
    let best = accepted.ranked().next();
    if parts.status == StatusCode::NOT_MODIFIED {
        // It stands for an answer that would have been compressed, if it has such a validator.
        if best.is_some() && parts.headers.contains_key(ETAG) {
            weaken_etag(&mut parts.headers);
            add_vary(&mut parts.headers);
        }
        return Response::from_parts(parts, body);
    }
    if !is_open_to_coding(&parts) {
        return Response::from_parts(parts, body);
    }
    let insists = best.is_some() && accepted.refuses_identity();
    if !insists && !is_compressible(&parts.headers) {
        return Response::from_parts(parts, body);
    }
    add_vary(&mut parts.headers);
    let Some(coding) = best.filter(|_| insists || is_worth_it(&parts.headers, &body)) else {
        return Response::from_parts(parts, body);
    };
    describe(&mut parts.headers, coding);
    // The answer to HEAD has no body, and stays without one.
    let body = if body.is_end_stream() { body } else { coder::code(body, coding) };
    Response::from_parts(parts, body)
}

/// Tells whether an answer may be coded at all, whatever it holds.
fn is_open_to_coding(parts: &Parts) -> bool {
    let status = parts.status;
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT);
    let partial =
        status == StatusCode::PARTIAL_CONTENT || parts.headers.contains_key(CONTENT_RANGE);
    !bodiless
        && !partial
        && !parts.headers.contains_key(CONTENT_ENCODING)
        && !SEALS.iter().any(|name| parts.headers.contains_key(name))
        && !lists(&parts.headers, CACHE_CONTROL, "no-transform")
        // Every event must arrive at once and most are tiny.
        && media_type(&parts.headers) != Some("text/event-stream")
}

fn is_worth_it(headers: &HeaderMap, body: &Body) -> bool {
    let stated = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    stated.or_else(|| body.size_hint().exact()).is_none_or(|length: u64| length >= MIN_LENGTH)
}

fn is_compressible(headers: &HeaderMap) -> bool {
    media_type(headers).is_some_and(gains)
}

/// Tells whether bodies of a media type become smaller by compression.
pub(crate) fn gains(media: &str) -> bool {
    let media = media.to_ascii_lowercase();
    let Some((family, subtype)) = media.split_once('/') else { return false };
    match family {
        "text" => true,
        "application" => {
            ["json", "xml", "javascript", "yaml"].iter().any(|kind| subtype.ends_with(kind))
                || matches!(
                    subtype,
                    "ecmascript"
                        | "wasm"
                        | "x-ndjson"
                        | "toml"
                        | "graphql"
                        | "rtf"
                        | "sql"
                        | "vnd.ms-fontobject"
                        | "x-font-ttf"
                        | "x-sh"
                )
        }
        "image" => {
            subtype.ends_with("+xml") || matches!(subtype, "bmp" | "x-icon" | "vnd.microsoft.icon")
        }
        "font" => matches!(subtype, "ttf" | "otf" | "collection"),
        "model" => subtype.ends_with("+json") || subtype.ends_with("+xml"),
        _ => false,
    }
}

fn media_type(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    value.split(';').next().map(str::trim)
}

/// Makes the headers those of the coded answer.
fn describe(headers: &mut HeaderMap, coding: Coding) {
    headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    headers.remove(CONTENT_LENGTH);
    // Ranges of the file are no ranges of what is sent.
    headers.remove(ACCEPT_RANGES);
    weaken_etag(headers);
}

/// The coded bytes differ from one run to the next, so the validator holds for the meaning only.
fn weaken_etag(headers: &mut HeaderMap) {
    let Some(tag) = headers.get(ETAG).filter(|tag| !tag.as_bytes().starts_with(b"W/")) else {
        return;
    };
    let weak = [b"W/", tag.as_bytes()].concat();
    match HeaderValue::from_bytes(&weak) {
        Ok(weak) => drop(headers.insert(ETAG, weak)),
        Err(_) => drop(headers.remove(ETAG)),
    }
}

fn add_vary(headers: &mut HeaderMap) {
    if !lists(headers, VARY, "*") && !lists(headers, VARY, "accept-encoding") {
        headers.append(VARY, HeaderValue::from_static("accept-encoding"));
    }
}

fn lists(headers: &HeaderMap, name: HeaderName, item: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.split(',').any(|found| found.trim().eq_ignore_ascii_case(item)))
}

#[cfg(test)]
mod tests;
