//! Kept answers on their way to clients.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use jiff::Timestamp;

use super::{conditions::Conditions, question::Question, status::Report, store::Kept};
use crate::body::{self, Body};

/// Answers a request with what is kept: all of it, the part that is wanted, or that the client has it.
pub(crate) fn give(
    kept: &Kept,
    question: &Question,
    report: &Report,
    debug: bool,
    now: Timestamp,
) -> Response<Body> {
    let mut response = answer(kept, &question.conditions, question.head);
    let headers = response.headers_mut();
    headers.insert(header::AGE, HeaderValue::from(kept.terms.age(now) / 1_000));
    report.tell(headers, debug.then_some(&question.key));
    response
}

fn answer(kept: &Kept, conditions: &Conditions, head: bool) -> Response<Body> {
    let with = |status, headers: HeaderMap, body| {
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    };
    let mut headers = kept.headers.clone();
    let length = kept.content.len();
    // Conditions count for what would be a success (RFC 9110 §13.2.1).
    if kept.status.is_success() && conditions.is_known(&headers) {
        return with(StatusCode::NOT_MODIFIED, not_modified(&headers), body::empty());
    }
    if kept.status == StatusCode::OK && !head {
        match conditions.part(&headers, length) {
            Ok(None) => {}
            Ok(Some(range)) => {
                let text = format!("bytes {}-{}/{length}", range.start, range.end - 1);
                describe(&mut headers, &text, range.end - range.start);
                return with(StatusCode::PARTIAL_CONTENT, headers, kept.content.part(range));
            }
            Err(()) => {
                describe(&mut headers, &format!("bytes */{length}"), 0);
                headers.remove(header::CONTENT_TYPE);
                headers.remove(header::CONTENT_ENCODING);
                return with(StatusCode::RANGE_NOT_SATISFIABLE, headers, body::empty());
            }
        }
    }
    with(kept.status, headers, kept.content.whole())
}

fn describe(headers: &mut HeaderMap, range: &str, length: u64) {
    if let Ok(range) = HeaderValue::try_from(range) {
        headers.insert(header::CONTENT_RANGE, range);
    }
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
}

/// Returns the headers of an answer that says that the client has it (RFC 9110 §15.4.5).
pub(crate) fn not_modified(headers: &HeaderMap) -> HeaderMap {
    let mut left = headers.clone();
    for name in [
        header::CONTENT_LENGTH,
        header::CONTENT_TYPE,
        header::CONTENT_ENCODING,
        header::CONTENT_LANGUAGE,
        header::CONTENT_RANGE,
        header::ACCEPT_RANGES,
    ] {
        left.remove(name);
    }
    left
}
