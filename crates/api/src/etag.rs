//! Entity tags (RFC 9110 §8.8.3) against lost updates.
//!
//! The tag of a site is the number of the revision that last touched it: it stands for what is
//! declared. How the site stands on its node is observed, changes by itself and has no tag.

use axum::{
    Json,
    extract::FromRequestParts,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use portway_control::Precondition;
use portway_wire::ProblemCode;
use serde::Serialize;

use crate::problem::Refusal;

/// The version that a write expects to find, from `If-Match`.
#[derive(Clone, Copy, Debug)]
pub(crate) struct IfMatch(pub(crate) Precondition);

/// The versions that the caller has, from `If-None-Match`.
#[derive(Clone, Debug)]
pub(crate) struct IfNoneMatch(Vec<String>);

/// An answer with the tag of its version, where it has one.
pub(crate) struct Tagged<T> {
    pub(crate) revision: Option<i64>,
    pub(crate) body: T,
}

impl IfNoneMatch {
    /// Tells whether the caller has the version of this revision.
    pub(crate) fn has(&self, revision: i64) -> bool {
        let tag = tag(revision);
        self.0.iter().any(|known| known == "*" || known.trim_start_matches("W/") == tag)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        let tags = tags(&parts.headers, &header::IF_MATCH);
        let [tag] = tags.as_slice() else {
            return Err(if tags.is_empty() { required() } else { unreadable("more than one tag") });
        };
        if tag == "*" {
            return Ok(Self(Precondition::Any));
        }
        let number = tag.strip_prefix('"').and_then(|tag| tag.strip_suffix('"'));
        let number = number.and_then(|number| number.parse().ok());
        number.map(|number| Self(Precondition::Revision(number))).ok_or_else(|| unreadable(tag))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfNoneMatch {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Refusal> {
        Ok(Self(tags(&parts.headers, &header::IF_NONE_MATCH)))
    }
}

impl<T: Serialize> IntoResponse for Tagged<T> {
    fn into_response(self) -> Response {
        let mut response = Json(self.body).into_response();
        if let Some(revision) = self.revision {
            insert(&mut response, revision);
        }
        response
    }
}

/// Answers that the caller has the version of this revision.
pub(crate) fn not_modified(revision: i64) -> Response {
    let mut response = StatusCode::NOT_MODIFIED.into_response();
    insert(&mut response, revision);
    response
}

fn insert(response: &mut Response, revision: i64) {
    // Digits and quotes always make a header.
    if let Ok(value) = HeaderValue::from_str(&tag(revision)) {
        response.headers_mut().insert(header::ETAG, value);
    }
}

fn tag(revision: i64) -> String {
    format!("\"{revision}\"")
}

fn tags(headers: &HeaderMap, name: &header::HeaderName) -> Vec<String> {
    let lines = headers.get_all(name).iter().map(|line| String::from_utf8_lossy(line.as_bytes()));
    let mut tags = Vec::new();
    for line in lines {
        tags.extend(line.split(',').map(|tag| tag.trim().to_owned()).filter(|tag| !tag.is_empty()));
    }
    tags
}

fn required() -> Refusal {
    Refusal::new(
        ProblemCode::PreconditionRequired,
        "say with `If-Match` which version you change: the ETag that came with it, or `*`",
    )
}

fn unreadable(what: &str) -> Refusal {
    let detail = format!(
        "If-Match holds the ETag of one version, like \"12\", or `*`, and not {}",
        what.escape_default()
    );
    Refusal::new(ProblemCode::BadRequest, detail)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn read<T: FromRequestParts<(), Rejection = Refusal>>(
        name: header::HeaderName,
        value: Option<&str>,
    ) -> Result<T, ProblemCode> {
        let (mut parts, ()) = http::Request::new(()).into_parts();
        parts.headers.extend(value.and_then(|value| value.parse().ok()).map(|value| (name, value)));
        T::from_request_parts(&mut parts, &()).now_or_never().unwrap().map_err(|r| r.code())
    }

    #[test]
    fn a_write_says_which_version_it_changes() {
        let judged = |value| read::<IfMatch>(header::IF_MATCH, value).map(|read| read.0);
        assert!(matches!(judged(Some("\"12\"")), Ok(Precondition::Revision(12))));
        assert!(matches!(judged(Some("*")), Ok(Precondition::Any)));
        assert_eq!(judged(None).unwrap_err(), ProblemCode::PreconditionRequired);
        for odd in ["12", "\"x\"", "W/\"12\"", "\"1\", \"2\"", "\""] {
            assert_eq!(judged(Some(odd)).unwrap_err(), ProblemCode::BadRequest, "{odd}");
        }
    }

    #[test]
    fn a_reader_who_has_the_version_is_told_so() {
        let read = |value| read::<IfNoneMatch>(header::IF_NONE_MATCH, value).unwrap();
        assert!(read(Some("\"3\", W/\"4\"")).has(4));
        assert!(read(Some("*")).has(9));
        assert!(!read(Some("\"3\"")).has(4));
        assert!(!read(None).has(1));
    }
}
