//! The answers that files give.

use std::{collections::VecDeque, ops::Range, time::SystemTime};

use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG,
        LAST_MODIFIED, LOCATION, X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
};
use portway_model::site::FileRoot;

use super::{Selected, conditions::Part, find::OpenFile};
use crate::body::{self, Body, Piece};

/// HTTP dates end here (RFC 9110 §5.6.7 gives years four digits).
const LAST_DATE: u64 = 253_402_300_799;

/// Returns the way to a folder whose slash was left out.
pub(super) fn to_folder(public_path: &str, query: Option<&str>) -> Response<Body> {
    let mut location = format!("{public_path}/");
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::MOVED_PERMANENTLY;
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::from_str(&location) {
        headers.insert(LOCATION, location);
    }
    // What is a folder today may be a file tomorrow.
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
    response
}

/// Returns the answer that a file gives.
pub(super) fn of(selected: Selected, root: &FileRoot, parts: &Parts) -> Response<Body> {
    let mut response = Response::new(body::empty());
    add_validators(&selected, root, response.headers_mut());
    let Selected { file, tag, part, content } = selected;
    match part {
        Part::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
        Part::PreconditionFailed => nothing(&mut response, StatusCode::PRECONDITION_FAILED),
        Part::NoSuchRange => {
            insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", file.length));
            nothing(&mut response, StatusCode::RANGE_NOT_SATISFIABLE);
        }
        Part::Whole => {
            let length = file.length;
            add_content(response.headers_mut(), content_type(&file.name), length);
            if let Some(content) = content {
                *response.body_mut() = body::full(content);
            } else if parts.method == Method::GET {
                *response.body_mut() = body::of_file(file.file, slice(&(0..length)));
            }
        }
        Part::Ranges(ranges) => partial(&mut response, file, &tag, &ranges),
    }
    response
}

fn partial(response: &mut Response<Body>, file: OpenFile, tag: &str, ranges: &[Range<u64>]) {
    let media = content_type(&file.name);
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let pieces = if let [range] = ranges {
        insert(response.headers_mut(), CONTENT_RANGE, &content_range(range, file.length));
        add_content(response.headers_mut(), media, range.end - range.start);
        slice(range)
    } else {
        let boundary = format!("portway-{}", tag.trim_matches('"'));
        let pieces = multipart(ranges, &boundary, &media, file.length);
        let media = format!("multipart/byteranges; boundary={boundary}");
        add_content(response.headers_mut(), media, pieces.iter().map(Piece::length).sum());
        pieces
    };
    *response.body_mut() = body::of_file(file.file, pieces);
}

/// Returns the parts of RFC 9110 §14.6.
fn multipart(ranges: &[Range<u64>], boundary: &str, media: &str, length: u64) -> VecDeque<Piece> {
    let mut pieces = VecDeque::new();
    let mut line_end = "";
    for range in ranges {
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Type: {media}\r\nContent-Range: {}\r\n\r\n",
            content_range(range, length)
        );
        pieces.push_back(Piece::Text(head.into()));
        pieces.extend(slice(range));
        line_end = "\r\n";
    }
    pieces.push_back(Piece::Text(format!("\r\n--{boundary}--\r\n").into()));
    pieces
}

fn slice(range: &Range<u64>) -> VecDeque<Piece> {
    [Piece::Slice { offset: range.start, length: range.end - range.start }].into()
}

fn content_range(range: &Range<u64>, length: u64) -> String {
    format!("bytes {}-{}/{length}", range.start, range.end.saturating_sub(1))
}

fn add_validators(selected: &Selected, root: &FileRoot, headers: &mut HeaderMap) {
    insert(headers, ETAG, &selected.tag);
    if let Some(date) = last_modified(selected.file.modified) {
        insert(headers, LAST_MODIFIED, &date);
    }
    if !root.cache_control.is_empty() {
        insert(headers, CACHE_CONTROL, &root.cache_control);
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn last_modified(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    (seconds <= LAST_DATE).then(|| httpdate::fmt_http_date(time))
}

fn add_content(headers: &mut HeaderMap, media: String, length: u64) {
    if let Ok(media) = HeaderValue::try_from(media) {
        headers.insert(CONTENT_TYPE, media);
    }
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
}

fn nothing(response: &mut Response<Body>, status: StatusCode) {
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
}

/// Values are dates, digests and checked settings; one that is no header is left out.
fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Returns the media type that a file's name tells. Text is UTF-8.
fn content_type(name: &str) -> String {
    let media = mime_guess::from_path(name).first_or_octet_stream();
    let essence = match media.essence_str() {
        "application/javascript" => "text/javascript", // RFC 9239 §6
        essence => essence,
    };
    let is_text =
        essence.starts_with("text/") || essence.ends_with("+xml") || essence == "application/xml";
    if is_text { format!("{essence}; charset=utf-8") } else { essence.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_type_follows_from_the_name() {
        for (name, media) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a.css", "text/css; charset=utf-8"),
            ("a.js", "text/javascript; charset=utf-8"),
            ("a.mjs", "text/javascript; charset=utf-8"),
            ("a.svg", "image/svg+xml; charset=utf-8"),
            ("a.json", "application/json"),
            ("a.PNG", "image/png"),
            ("a.wasm", "application/wasm"),
            ("a.woff2", "font/woff2"),
            ("a.webmanifest", "application/manifest+json"),
            ("token", "application/octet-stream"),
        ] {
            assert_eq!(content_type(name), media, "{name}");
        }
    }

    #[test]
    fn a_time_that_http_cannot_write_is_left_out() {
        let epoch = SystemTime::UNIX_EPOCH;
        let seconds = std::time::Duration::from_secs;
        assert_eq!(last_modified(epoch).as_deref(), Some("Thu, 01 Jan 1970 00:00:00 GMT"));
        assert_eq!(last_modified(epoch - seconds(1)), None);
        assert_eq!(last_modified(epoch + seconds(LAST_DATE + 1)), None);
    }
}
