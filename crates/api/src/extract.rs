//! What handlers read from requests. Whatever is malformed is refused with where and why.

use std::time::Duration;

use axum::{
    body::Bytes,
    extract::{FromRequest, FromRequestParts, Request},
};
use http::{HeaderMap, StatusCode, header, request::Parts};
use http_body_util::Limited;
use portway_wire::ProblemCode;
use serde::de::DeserializeOwned;

use crate::problem::Refusal;

/// The most bytes of a body: a site file of tens of thousands of sites fits.
pub(crate) const MAX_BODY: usize = 16 << 20;
/// The most bytes of a body from somebody who is not known yet.
const MAX_BRIEF: usize = 64 << 10;
/// How long a body may take to arrive.
const BODY_DEADLINE: Duration = Duration::from_secs(30);

/// A JSON body.
pub(crate) struct Body<T>(pub(crate) T);

/// A JSON body from somebody who is not known yet: what strangers can make us keep is small.
pub(crate) struct Brief<T>(pub(crate) T);

/// A JSON body with the bytes it was read from.
pub(crate) struct Raw<T> {
    pub(crate) value: T,
    pub(crate) bytes: Bytes,
}

/// The query of the address.
pub(crate) struct Query<T>(pub(crate) T);

/// The variable parts of the path.
pub(crate) struct Path<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Raw::from_request(request, state).await.map(|raw| Self(raw.value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Brief<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        let (head, body) = request.into_parts();
        let body = axum::body::Body::new(Limited::new(body, MAX_BRIEF));
        let raw = Raw::read(Request::from_parts(head, body), state, "64 KiB").await?;
        Ok(Self(raw.value))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Raw<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, state: &S) -> Result<Self, Refusal> {
        Self::read(request, state, "16 MiB").await
    }
}

impl<T: DeserializeOwned> Raw<T> {
    async fn read<S: Send + Sync>(
        request: Request,
        state: &S,
        most: &str,
    ) -> Result<Self, Refusal> {
        if !is_json(request.headers()) {
            let detail = "the body must be JSON, with `Content-Type: application/json`";
            let refusal = Refusal::new(ProblemCode::BadRequest, detail);
            return Err(refusal.status(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let reading = tokio::time::timeout(BODY_DEADLINE, Bytes::from_request(request, state));
        let bytes = reading.await.map_err(|_| {
            let detail = format!("the body did not arrive within {} s", BODY_DEADLINE.as_secs());
            Refusal::new(ProblemCode::BadRequest, detail).status(StatusCode::REQUEST_TIMEOUT)
        })?;
        let bytes = bytes.map_err(|rejection| {
            let detail = match rejection.status() {
                StatusCode::PAYLOAD_TOO_LARGE => format!("the body is longer than {most}"),
                _ => "the body broke off".to_owned(),
            };
            Refusal::new(ProblemCode::BadRequest, detail)
                .status(rejection.status())
                .cause(rejection)
        })?;
        Ok(Self { value: parse(&bytes)?, bytes })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        let query = query.map_err(|rejection| {
            let detail = format!("the query cannot be read: {}", innermost(&rejection));
            Refusal::new(ProblemCode::BadRequest, detail)
        })?;
        Ok(Self(query.0))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    /// A name in a path that cannot be one (an id that is no UUID) names nothing.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, state).await;
        let path = path.map_err(|rejection| {
            let detail = format!("there is no such thing: {}", rejection.body_text());
            Refusal::new(ProblemCode::NotFound, detail)
        })?;
        Ok(Self(path.0))
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Refusal> {
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { String::new() } else { format!(" at `{path}`") };
        malformed(&format!("{place}: {}", error.inner()))
    })?;
    reader.end().map_err(|error| malformed(&format!(": {error}")))?;
    Ok(value)
}

fn malformed(what: &str) -> Refusal {
    Refusal::new(ProblemCode::BadRequest, format!("the body cannot be read{what}"))
}

fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

#[cfg(test)]
mod tests {
    use axum::response::IntoResponse as _;
    use portway_wire::{revision::RevertSite, user::NewUser};

    use super::*;

    fn detail<T: DeserializeOwned>(body: &str) -> String {
        match parse::<T>(body.as_bytes()) {
            Ok(_) => panic!("{body} was read"),
            Err(refusal) => {
                let response = crate::problem::render(refusal.into_response(), "r");
                let body = axum::body::to_bytes(response.into_body(), 10_000);
                let body = futures_util::FutureExt::now_or_never(body).unwrap().unwrap();
                let problem: portway_wire::Problem = serde_json::from_slice(&body).unwrap();
                problem.detail
            }
        }
    }

    #[test]
    fn a_wrong_body_is_told_where_it_is_wrong() {
        assert_eq!(
            detail::<NewUser>(r#"{"name":"ann","role":"client","bounds":{"max_sites":"two"}}"#),
            "the body cannot be read at `bounds.max_sites`: invalid type: string \"two\", \
             expected u32 at line 1 column 57"
        );
        assert!(detail::<RevertSite>(r#"{"to":1,"tow":2}"#).contains("unknown field `tow`"));
        assert!(detail::<RevertSite>("").contains("EOF"));
        assert!(detail::<RevertSite>(r#"{"to":1} {}"#).contains("trailing characters"));
    }
}
