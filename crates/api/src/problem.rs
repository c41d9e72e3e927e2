//! The one place where errors gain an HTTP face (RFC 9457).
//!
//! A refusal travels as an extension of its answer; the entrance writes the body once the request's
//! id is at hand, and logs there what the body does not say.

use std::{error::Error, fmt, sync::Arc};

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use portway_control::ControlError;
use portway_wire::{Problem, ProblemCode};
use tracing::{debug, error, warn};

/// The media type of problems.
pub(crate) const MEDIA_TYPE: &str = "application/problem+json";

/// A request that is not answered as it was meant.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    problem: Box<Problem>,
    cause: Option<Arc<dyn Error + Send + Sync>>,
    retry_after: Option<u64>,
}

impl Refusal {
    /// Returns a refusal of a kind with what happened.
    pub(crate) fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self { problem: Box::new(Problem::new(code, detail)), cause: None, retry_after: None }
    }

    /// Gives the refusal a more exact status than its kind has.
    pub(crate) fn status(mut self, status: StatusCode) -> Self {
        self.problem.status = status.as_u16();
        self
    }

    /// Says in the log, and only there, why.
    pub(crate) fn cause(self, cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { cause: Some(cause.into().into()), ..self }
    }

    /// Says after how many seconds it is worth trying again.
    pub(crate) fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Returns the kind.
    pub(crate) fn code(&self) -> ProblemCode {
        self.problem.code
    }

    fn log(&self) {
        let chain = self.cause.as_deref().map(|cause| format!(": {}", Chain(cause)));
        let chain = chain.unwrap_or_default();
        let Problem { status, detail, .. } = &*self.problem;
        match self.problem.code {
            ProblemCode::Internal => error!("{detail}{chain}"),
            ProblemCode::Unavailable => warn!("{detail}{chain}"),
            ProblemCode::BadRequest
            | ProblemCode::Invalid
            | ProblemCode::Unauthenticated
            | ProblemCode::Forbidden
            | ProblemCode::NotFound
            | ProblemCode::Stale
            | ProblemCode::PreconditionRequired
            | ProblemCode::Taken
            | ProblemCode::Conflict
            | ProblemCode::TooManyAttempts
            | ProblemCode::Setup => debug!("refused with {status}: {detail}{chain}"),
        }
    }
}

impl From<ControlError> for Refusal {
    fn from(error: ControlError) -> Self {
        let detail = error.to_string();
        let new = |code| Self::new(code, detail.as_str());
        match error {
            ControlError::Invalid(findings) => {
                let mut refusal = new(ProblemCode::Invalid);
                refusal.problem.findings = findings;
                refusal
            }
            ControlError::MovedOn(findings) => {
                let mut refusal = new(ProblemCode::Conflict);
                refusal.problem.findings = findings;
                refusal
            }
            ControlError::BadRequest(_) => new(ProblemCode::BadRequest),
            ControlError::Unauthenticated(_) => new(ProblemCode::Unauthenticated),
            ControlError::Denied(_) => new(ProblemCode::Forbidden),
            ControlError::NotFound { .. } | ControlError::NotLogged { .. } => {
                new(ProblemCode::NotFound)
            }
            ControlError::Stale { .. } => new(ProblemCode::Stale),
            ControlError::Taken(_) => new(ProblemCode::Taken),
            ControlError::Conflict(_) => new(ProblemCode::Conflict),
            ControlError::TooManyAttempts { minutes } => {
                Self { retry_after: Some(minutes * 60), ..new(ProblemCode::TooManyAttempts) }
            }
            ControlError::Setup(_) => new(ProblemCode::Setup),
            ControlError::Collision { source } => new(ProblemCode::Conflict).cause(source),
            ControlError::Unavailable { source, retry_after, .. } => {
                let refusal = new(ProblemCode::Unavailable).cause(source);
                Self { retry_after: Some(retry_after.as_secs()), ..refusal }
            }
            ControlError::Damaged { source } => new(ProblemCode::Internal).cause(source),
            ControlError::Internal { source, .. } => {
                let detail = format!(
                    "{detail}; this is a fault of Portway, and its log tells why under the id of \
                     this request"
                );
                Self::new(ProblemCode::Internal, detail).cause(source)
            }
        }
    }
}

impl IntoResponse for Refusal {
    /// Returns an answer without a body; [`render`] writes it.
    fn into_response(self) -> Response {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status(&self.problem);
        response.extensions_mut().insert(self);
        response
    }
}

/// Writes the body of a refusal, and logs it; other answers stay as they are.
pub(crate) fn render(response: Response, request_id: &str) -> Response {
    let (mut head, body) = response.into_parts();
    let Some(mut refusal) = head.extensions.remove::<Refusal>() else {
        return Response::from_parts(head, body);
    };
    refusal.log();
    refusal.problem.request_id = Some(request_id.to_owned());
    let text = match serde_json::to_vec(&refusal.problem) {
        Ok(text) => text,
        Err(error) => {
            error!("a problem has no JSON form: {error}");
            Vec::new()
        }
    };
    head.status = status(&refusal.problem);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    if refusal.problem.code == ProblemCode::Unauthenticated {
        let scheme = HeaderValue::from_static("Bearer realm=\"portway\"");
        head.headers.insert(header::WWW_AUTHENTICATE, scheme);
    }
    if let Some(seconds) = refusal.retry_after {
        head.headers.insert(header::RETRY_AFTER, seconds.into());
    }
    Response::from_parts(head, text.into())
}

/// Answers what no route answers.
pub(crate) fn no_such_route() -> Refusal {
    let detail = "there is nothing at this path; /api/docs lists what there is";
    Refusal::new(ProblemCode::NotFound, detail)
}

/// Answers a method that the route does not have.
pub(crate) fn no_such_method() -> Refusal {
    let detail = "this path does not have this method; the Allow header names those it has";
    Refusal::new(ProblemCode::BadRequest, detail).status(StatusCode::METHOD_NOT_ALLOWED)
}

fn status(problem: &Problem) -> StatusCode {
    StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

/// Prints an error with all its causes.
struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(error: ControlError) -> (StatusCode, http::HeaderMap, Problem) {
        let response = render(Refusal::from(error).into_response(), "r-1");
        let (head, body) = response.into_parts();
        let body = futures_util::FutureExt::now_or_never(axum::body::to_bytes(body, 10_000));
        let problem = serde_json::from_slice(&body.unwrap().unwrap()).unwrap();
        (head.status, head.headers, problem)
    }

    #[test]
    fn what_failed_inside_stays_inside() {
        let (status, _, problem) = rendered(ControlError::Internal {
            what: "sealing a secret",
            source: "the master key at /etc/key is gone".into(),
        });
        assert_eq!((status.as_u16(), problem.code), (500, ProblemCode::Internal));
        assert!(problem.detail.starts_with("sealing a secret failed; "), "{}", problem.detail);
        assert!(!problem.detail.contains("/etc/key"), "{}", problem.detail);
        assert_eq!(problem.request_id.as_deref(), Some("r-1"));
    }

    #[test]
    fn what_is_away_for_a_while_says_when_to_come_back_and_what_helps() {
        let (status, headers, problem) = rendered(ControlError::Unavailable {
            what: "the disk is full",
            remedy: "free some space",
            retry_after: std::time::Duration::from_secs(60),
            source: "SQLITE_FULL".into(),
        });
        assert_eq!((status.as_u16(), problem.code), (503, ProblemCode::Unavailable));
        assert_eq!(headers.get(header::RETRY_AFTER).unwrap(), "60");
        assert_eq!(problem.detail, "the disk is full; free some space");
    }

    #[test]
    fn who_collides_with_another_may_try_again() {
        let (status, _, problem) =
            rendered(ControlError::Collision { source: "unique index sites_name".into() });
        assert_eq!((status.as_u16(), problem.code), (409, ProblemCode::Conflict));
        assert!(!problem.detail.contains("index"), "{}", problem.detail);
    }

    #[test]
    fn too_many_attempts_say_when_to_come_back() {
        let (status, headers, _) = rendered(ControlError::TooManyAttempts { minutes: 3 });
        assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(headers.get(header::RETRY_AFTER).unwrap(), "180");
    }

    #[test]
    fn who_is_not_logged_in_learns_how_to_log_in() {
        let (status, headers, _) = rendered(ControlError::Unauthenticated("log in".to_owned()));
        assert_eq!(status, StatusCode::UNAUTHORIZED);
        assert!(headers.contains_key(header::WWW_AUTHENTICATE));
        assert_eq!(headers.get(header::CONTENT_TYPE).unwrap(), MEDIA_TYPE);
    }

    #[test]
    fn a_chain_names_every_cause() {
        #[derive(Debug, thiserror::Error)]
        #[error("outer")]
        struct Outer(#[source] std::io::Error);
        let error = Outer(std::io::Error::other("inner"));
        assert_eq!(Chain(&error).to_string(), "outer: inner");
    }
}
