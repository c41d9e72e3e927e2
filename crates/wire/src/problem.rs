//! Errors as RFC 9457 problems.

use std::fmt;

use portway_model::Finding;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::FindingSchema;

/// An error answer: `application/problem+json` (RFC 9457).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Always `about:blank`; `code` tells problems apart.
    #[serde(rename = "type", default = "about_blank")]
    pub kind: String,
    /// What it is, the same for every problem of this code.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What kind of problem it is; stable, for programs.
    pub code: ProblemCode,
    /// What happened here, and what to do next.
    pub detail: String,
    /// The request, as the logs know it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// What is wrong with what was sent, all of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<FindingSchema>)]
    pub findings: Vec<Finding>,
}

fn about_blank() -> String {
    "about:blank".to_owned()
}

/// The kinds of problems. Names are stable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ProblemCode {
    /// The request itself is malformed.
    BadRequest,
    /// What was declared has errors; see `findings`.
    Invalid,
    /// Nobody is logged in, or the login has ended.
    Unauthenticated,
    /// The login may not do this.
    Forbidden,
    /// There is no such thing, or it is not yours to see.
    NotFound,
    /// The thing has been changed since it was read.
    Stale,
    /// The `If-Match` header is missing.
    PreconditionRequired,
    /// The name or host is taken.
    Taken,
    /// The request contradicts the state of things.
    Conflict,
    /// Too many attempts.
    TooManyAttempts,
    /// Portway is not set up yet, or already is.
    Setup,
    /// Something that Portway needs does not answer.
    Unavailable,
    /// A fault of Portway's own.
    Internal,
}

impl ProblemCode {
    /// Returns the HTTP status of the kind.
    pub const fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Invalid => 422,
            Self::Unauthenticated => 401,
            Self::Forbidden => 403,
            Self::NotFound => 404,
            Self::Stale => 412,
            Self::PreconditionRequired => 428,
            Self::Taken | Self::Conflict | Self::Setup => 409,
            Self::TooManyAttempts => 429,
            Self::Unavailable => 503,
            Self::Internal => 500,
        }
    }

    /// Returns the title of the kind.
    pub const fn title(self) -> &'static str {
        match self {
            Self::BadRequest => "The request is malformed",
            Self::Invalid => "What was sent has errors",
            Self::Unauthenticated => "Not logged in",
            Self::Forbidden => "Not allowed",
            Self::NotFound => "Not found",
            Self::Stale => "Changed by someone else",
            Self::PreconditionRequired => "If-Match is missing",
            Self::Taken => "Already taken",
            Self::Conflict => "Conflict",
            Self::TooManyAttempts => "Too many attempts",
            Self::Setup => "Set-up",
            Self::Unavailable => "Not available",
            Self::Internal => "A fault of Portway",
        }
    }
}

impl Problem {
    /// Returns a problem of a kind with what happened.
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            kind: about_blank(),
            title: code.title().to_owned(),
            status: code.status(),
            code,
            detail: detail.into(),
            request_id: None,
            findings: Vec::new(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)
    }
}

impl std::error::Error for Problem {}
