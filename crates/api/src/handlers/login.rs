//! Logging in, and the caller's own account.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderMap, StatusCode, header};
use portway_wire::{
    auth::{Login, RedeemLink, Refresh, Setup, Tokens, Whoami},
    user::ChangePassword,
};

use super::Answer;
use crate::{
    auth::Caller,
    context::Context,
    cookie,
    extract::{Body, Brief},
    problem::Refusal,
    state::ApiState,
};

/// Makes the first administrator.
///
/// It takes the token of the set-up link that `portway serve` prints at its first start, and works
/// only while there is no administrator.
#[utoipa::path(
    post, path = "/setup", tag = "login", security(()),
    request_body = Setup, responses((status = 200, description = "Logged in.", body = Tokens)),
)]
pub(crate) async fn set_up(
    State(api): State<ApiState>,
    context: Context,
    Brief(setup): Brief<Setup>,
) -> Answer<Tokens> {
    Ok(Json(api.control().setup(&setup, &context.client()).await?))
}

/// Logs in a program.
///
/// After 10 wrong attempts within 15 minutes for an account from one network (an IPv4 address, or a
/// /64 of IPv6), or 100 for whatever accounts, the answer is `too-many-attempts` whatever the
/// password.
#[utoipa::path(
    post, path = "/login", tag = "login", security(()),
    request_body = Login, responses((status = 200, description = "Logged in.", body = Tokens)),
)]
pub(crate) async fn log_in(
    State(api): State<ApiState>,
    context: Context,
    Brief(login): Brief<Login>,
) -> Answer<Tokens> {
    Ok(Json(api.control().login(&login, &context.client()).await?))
}

/// Renews a login.
///
/// A refresh token works once. One that is used again ends the login: somebody else has a copy.
#[utoipa::path(
    post, path = "/login/refresh", tag = "login", security(()),
    request_body = Refresh, responses((status = 200, description = "Renewed.", body = Tokens)),
)]
pub(crate) async fn refresh(
    State(api): State<ApiState>,
    context: Context,
    Brief(refresh): Brief<Refresh>,
) -> Answer<Tokens> {
    Ok(Json(api.control().refresh(&refresh, &context.client()).await?))
}

/// Ends the login by which this request came.
#[utoipa::path(
    post, path = "/logout", tag = "login",
    responses((status = 204, description = "Logged out.")),
)]
pub(crate) async fn log_out(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Result<StatusCode, Refusal> {
    api.control().logout(&actor).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Logs in a browser with a session cookie.
///
/// The session that the browser had before ends.
#[utoipa::path(
    post, path = "/session", tag = "login", security(()),
    request_body = Login,
    responses((
        status = 200, description = "Logged in.", body = Whoami,
        headers(("Set-Cookie" = String, description = "The session: HttpOnly, SameSite=Strict.")),
    )),
)]
pub(crate) async fn begin_session(
    State(api): State<ApiState>,
    context: Context,
    headers: HeaderMap,
    Brief(login): Brief<Login>,
) -> Result<Response, Refusal> {
    let (session, whoami) = api.control().login_browser(&login, &context.client()).await?;
    if let Some(before) = cookie::read(&headers, context.secure) {
        api.control().forget_cookie(before).await?;
    }
    let cookie = cookie::give(&session, context.secure)?;
    Ok(([(header::SET_COOKIE, cookie)], Json(whoami)).into_response())
}

/// Ends the session of a browser.
#[utoipa::path(
    delete, path = "/session", tag = "login",
    responses((status = 204, description = "Logged out.")),
)]
pub(crate) async fn end_session(
    State(api): State<ApiState>,
    context: Context,
    Caller(actor): Caller,
) -> Result<Response, Refusal> {
    api.control().logout(&actor).await?;
    let cookie = cookie::take(context.secure);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, cookie)]).into_response())
}

/// Tells who calls.
#[utoipa::path(
    get, path = "/whoami", tag = "login",
    responses((status = 200, description = "The caller.", body = Whoami)),
)]
pub(crate) async fn whoami(State(api): State<ApiState>, Caller(actor): Caller) -> Answer<Whoami> {
    Ok(Json(api.control().account(&actor).whoami()))
}

/// Sets a password by a one-time link.
///
/// Invitations and resets carry such a link. It works once, and ends every login of the user.
#[utoipa::path(
    post, path = "/links/redeem", tag = "login", security(()),
    request_body = RedeemLink, responses((status = 204, description = "The password is set.")),
)]
pub(crate) async fn redeem_link(
    State(api): State<ApiState>,
    context: Context,
    Brief(redeem): Brief<RedeemLink>,
) -> Result<StatusCode, Refusal> {
    api.control().redeem_link(&redeem, &context.client()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Changes the caller's password.
///
/// The login by which this request came goes on; all others end, with their refresh tokens, and so
/// do one-time links. API tokens stay: remove those that may be known to others.
#[utoipa::path(
    post, path = "/password", tag = "login",
    request_body = ChangePassword, responses((status = 204, description = "It is changed.")),
)]
pub(crate) async fn change_password(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Body(change): Body<ChangePassword>,
) -> Result<StatusCode, Refusal> {
    api.control().account(&actor).change_password(&change).await?;
    Ok(StatusCode::NO_CONTENT)
}
