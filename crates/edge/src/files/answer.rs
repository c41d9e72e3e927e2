//! The answers that files give.

use std::{collections::VecDeque, ops::Range, sync::Arc};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE,
        CONTENT_TYPE, ETAG, LAST_MODIFIED, LOCATION, VARY, X_CONTENT_TYPE_OPTIONS,
    },
    request::Parts,
};
use portway_model::site::FileRoot;

use super::{
    conditions::{Conditions, Part},
    find::Hit,
    known::Known,
    media,
    wanted::{Choice, Role},
};
use crate::{
    body::{self, Body, Piece},
    compress::Settled,
};

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
pub(super) fn of(choice: Choice, root: &FileRoot, parts: &Parts) -> Response<Body> {
    let known = &choice.hit.known;
    let tag = known.tag.to_str().unwrap_or_default();
    let part = Conditions::of(parts).judge(tag, known.modified(), known.length());
    let mut response = Response::new(body::empty());
    describe(&choice, root, response.headers_mut());
    let not_coded = part == Part::NotModified && media::is_packed(&choice.media);
    if choice.coding.is_some() || not_coded {
        response.extensions_mut().insert(Settled);
    }
    match part {
        Part::NotModified => *response.status_mut() = StatusCode::NOT_MODIFIED,
        Part::PreconditionFailed => nothing(&mut response, StatusCode::PRECONDITION_FAILED),
        Part::NoSuchRange => {
            insert(response.headers_mut(), CONTENT_RANGE, &format!("bytes */{}", known.length()));
            nothing(&mut response, StatusCode::RANGE_NOT_SATISFIABLE);
        }
        Part::Whole => whole(&mut response, choice, &parts.method),
        Part::Ranges(ranges) => partial(&mut response, choice, &ranges),
    }
    response
}

fn whole(response: &mut Response<Body>, choice: Choice, method: &Method) {
    let length = choice.hit.known.length();
    add_content(response.headers_mut(), &choice, choice.media.clone(), length);
    if *method == Method::GET {
        *response.body_mut() = send(choice.hit, slice(&(0..length)));
    }
}

fn partial(response: &mut Response<Body>, choice: Choice, ranges: &[Range<u64>]) {
    let length = choice.hit.known.length();
    *response.status_mut() = StatusCode::PARTIAL_CONTENT;
    let pieces = if let [range] = ranges {
        insert(response.headers_mut(), CONTENT_RANGE, &content_range(range, length));
        let media = choice.media.clone();
        add_content(response.headers_mut(), &choice, media, range.end - range.start);
        slice(range)
    } else {
        let tag = choice.hit.known.tag.to_str().unwrap_or_default();
        let boundary = format!("portway-{}", tag.trim_matches('"'));
        let media = choice.media.to_str().unwrap_or_default();
        let pieces = multipart(ranges, &boundary, media, length);
        let media = HeaderValue::try_from(format!("multipart/byteranges; boundary={boundary}"));
        let media = media.unwrap_or_else(|_| HeaderValue::from_static("multipart/byteranges"));
        let total = pieces.iter().map(Piece::length).sum();
        add_content(response.headers_mut(), &choice, media, total);
        pieces
    };
    *response.body_mut() = send(choice.hit, pieces);
}

/// Returns a body of pieces of a file, from memory where it is there.
fn send(hit: Hit, pieces: VecDeque<Piece>) -> Body {
    match (hit.known.content.clone(), hit.file) {
        (Some(content), _) => body::full(cut(&content, &pieces)),
        (None, Some(file)) => body::of_file(file, pieces),
        // HEAD opens nothing.
        (None, None) => body::empty(),
    }
}

fn cut(content: &Bytes, pieces: &VecDeque<Piece>) -> Bytes {
    let bytes = |piece: &Piece| match piece {
        Piece::Text(text) => text.clone(),
        Piece::Slice { offset, length } => {
            let place = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(content.len());
            content.slice(place(*offset)..place(offset.saturating_add(*length)))
        }
    };
    if let [piece] = pieces.as_slices().0
        && pieces.len() == 1
    {
        return bytes(piece);
    }
    let mut joined = BytesMut::new();
    for piece in pieces {
        joined.extend_from_slice(&bytes(piece));
    }
    joined.freeze()
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

/// What every answer about a file says of it.
fn describe(choice: &Choice, root: &FileRoot, headers: &mut HeaderMap) {
    let known: &Arc<Known> = &choice.hit.known;
    headers.insert(ETAG, known.tag.clone());
    if let Some(date) = &known.last_modified {
        headers.insert(LAST_MODIFIED, date.clone());
    }
    match choice.role {
        Role::File if root.cache_control.is_empty() => {}
        Role::File => insert(headers, CACHE_CONTROL, &root.cache_control),
        // The page names the assets of its release, so an old one must not be taken for the new.
        Role::Page | Role::Fallback => {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        }
    }
    let varies = match (choice.negotiated, choice.role) {
        (true, Role::Fallback) => Some("accept-encoding, accept"),
        (true, Role::File | Role::Page) => Some("accept-encoding"),
        (false, Role::Fallback) => Some("accept"),
        (false, Role::File | Role::Page) => None,
    };
    if let Some(varies) = varies {
        headers.insert(VARY, HeaderValue::from_static(varies));
    }
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
}

fn add_content(headers: &mut HeaderMap, choice: &Choice, media: HeaderValue, length: u64) {
    headers.insert(CONTENT_TYPE, media);
    headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    if let Some(coding) = choice.coding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
    }
}

fn nothing(response: &mut Response<Body>, status: StatusCode) {
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
}

/// Values are numbers and checked settings; one that is no header is left out.
fn insert(headers: &mut HeaderMap, name: http::HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
