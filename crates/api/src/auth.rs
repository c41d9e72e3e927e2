//! Who calls: a bearer token, the session cookie of a browser, or a login of this machine.

use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use http::{header, request::Parts};
use portway_control::{Actor, Credentials};
use portway_wire::ProblemCode;

use crate::{context::Context, cookie, origin, peer::Peer, problem::Refusal, state::ApiState};

/// Whoever calls, proven.
pub(crate) struct Caller(pub(crate) Actor);

impl FromRequestParts<ApiState> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &ApiState) -> Result<Self, Refusal> {
        let context = Context::from_request_parts(parts, state).await?;
        let Some(credentials) = presented(parts, &context)? else {
            let detail = "log in, or send a token as `Authorization: Bearer …`";
            return Err(Refusal::new(ProblemCode::Unauthenticated, detail));
        };
        if matches!(credentials, Credentials::Cookie(_)) {
            origin::judge_cookie(&parts.method, &parts.headers, context.secure)?;
        }
        let request_id = Some(context.request_id.clone());
        let actor = state.control().authenticate(credentials, &context.from, request_id).await?;
        Ok(Self(actor))
    }
}

impl OptionalFromRequestParts<ApiState> for Caller {
    type Rejection = Refusal;

    /// Whoever is not logged in is nobody; a token that is wrong is told so, a cookie or a login of
    /// this machine comes along by itself and may mean nothing.
    async fn from_request_parts(
        parts: &mut Parts,
        state: &ApiState,
    ) -> Result<Option<Self>, Refusal> {
        match <Self as FromRequestParts<ApiState>>::from_request_parts(parts, state).await {
            Ok(caller) => Ok(Some(caller)),
            Err(refusal)
                if refusal.code() == ProblemCode::Unauthenticated
                    && !parts.headers.contains_key(header::AUTHORIZATION) =>
            {
                Ok(None)
            }
            Err(refusal) => Err(refusal),
        }
    }
}

/// Returns what a request presents. A token counts before what comes along by itself.
fn presented<'a>(parts: &'a Parts, context: &Context) -> Result<Option<Credentials<'a>>, Refusal> {
    if let Some(value) = parts.headers.get(header::AUTHORIZATION) {
        let token = value.to_str().ok().and_then(bearer);
        return token.map(|token| Some(Credentials::Bearer(token))).ok_or_else(|| {
            let detail = "write the token as `Authorization: Bearer …`";
            Refusal::new(ProblemCode::Unauthenticated, detail)
        });
    }
    Ok(match parts.extensions.get::<Peer>() {
        Some(Peer::Unix { uid, gids }) => Some(Credentials::Peer { uid: *uid, gids }),
        Some(Peer::Tcp(_)) | None => {
            cookie::read(&parts.headers, context.secure).map(Credentials::Cookie)
        }
    })
}

/// Reads `Bearer TOKEN` (RFC 6750 §2.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_read_in_its_scheme_alone() {
        assert_eq!(bearer("Bearer pwt_x"), Some("pwt_x"));
        assert_eq!(bearer("bearer  pwt_x"), Some("pwt_x"));
        assert_eq!(bearer("Basic YTpi"), None);
        assert_eq!(bearer("Bearer "), None);
        assert_eq!(bearer("pwt_x"), None);
    }
}
