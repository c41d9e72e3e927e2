//! Users, API tokens and the audit log.

use axum::{Json, extract::State};
use http::StatusCode;
use portway_control::{Resource, Verb};
use portway_wire::{
    Page, PageQuery,
    auth::LinkView,
    user::{
        AuditQuery, AuditView, CreatedToken, CreatedUser, EditUser, NewToken, NewUser, TokenView,
        UserView,
    },
};
use uuid::Uuid;

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path, Query},
    idempotency::{Once, OnceEmpty, lost, once},
    problem::Refusal,
    state::ApiState,
};

/// Lists users.
#[utoipa::path(
    get, path = "/users", tag = "users", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<UserView>)),
)]
pub(crate) async fn list_users(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<Page<UserView>> {
    let overseer = api.control().overseer(&actor, Resource::Users, "user.read").await?;
    Ok(Json(overseer.users(page).await?))
}

/// Makes a user.
///
/// Without a password the answer carries a one-time link with which the user chooses one.
#[utoipa::path(
    post, path = "/users", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless.")),
    request_body = NewUser,
    responses((status = 201, description = "The user is made.", body = CreatedUser)),
)]
pub(crate) async fn create_user(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Once { body, key }: Once<NewUser>,
) -> Result<(StatusCode, Json<CreatedUser>), Refusal> {
    let control = api.control();
    let operator = control.operator(&actor, Resource::Users, "user.create").await?;
    let create = Box::pin(async { Ok(operator.create_user(body).await?) });
    let found = lost("the user is there; make a new link by `POST /api/v1/users/{user}/reset`");
    let made = once(control, &actor, key, StatusCode::CREATED, create, found).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Shows a user.
#[utoipa::path(
    get, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "The user.", body = UserView)),
)]
pub(crate) async fn show_user(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(user): Path<String>,
) -> Answer<UserView> {
    let overseer = api.control().overseer(&actor, Resource::Users, "user.read").await?;
    Ok(Json(overseer.user(&user).await?))
}

/// Changes a user; what is not named stays.
#[utoipa::path(
    patch, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "The id or the name.")),
    request_body = EditUser,
    responses((status = 200, description = "The user is changed.", body = UserView)),
)]
pub(crate) async fn edit_user(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(user): Path<String>,
    Body(edit): Body<EditUser>,
) -> Answer<UserView> {
    let operator = api.control().operator(&actor, Resource::Users, "user.edit").await?;
    Ok(Json(operator.edit_user(&user, edit).await?))
}

/// Removes a user who owns no sites.
#[utoipa::path(
    delete, path = "/users/{user}", tag = "users",
    params(("user" = String, Path, description = "The id or the name.")),
    responses((status = 204, description = "The user is removed.")),
)]
pub(crate) async fn remove_user(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(user): Path<String>,
) -> Result<StatusCode, Refusal> {
    let operator = api.control().operator(&actor, Resource::Users, "user.remove").await?;
    operator.remove_user(&user).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Makes a one-time link with which a user sets a new password.
#[utoipa::path(
    post, path = "/users/{user}/reset", tag = "users",
    params(
        ("user" = String, Path, description = "The id or the name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless."),
    ),
    responses((status = 200, description = "The link, shown once.", body = LinkView)),
)]
pub(crate) async fn reset_user(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(user): Path<String>,
    OnceEmpty(key): OnceEmpty,
) -> Answer<LinkView> {
    let control = api.control();
    let operator = control.operator(&actor, Resource::Users, "user.reset").await?;
    let reset = Box::pin(async { Ok(operator.reset_user(&user).await?) });
    let found = lost("make a new link with a new key");
    Ok(Json(once(control, &actor, key, StatusCode::OK, reset, found).await?))
}

/// Lists API tokens: one's own, for administrators everybody's.
#[utoipa::path(
    get, path = "/tokens", tag = "users", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<TokenView>)),
)]
pub(crate) async fn list_tokens(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<Page<TokenView>> {
    Ok(Json(api.control().tokens(&actor, Verb::Read).await?.list(page).await?))
}

/// Makes an API token for oneself.
///
/// Its secret is shown once. A token never may more than its owner.
#[utoipa::path(
    post, path = "/tokens", tag = "users",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless.")),
    request_body = NewToken,
    responses((status = 201, description = "The token with its secret.", body = CreatedToken)),
)]
pub(crate) async fn create_token(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Once { body, key }: Once<NewToken>,
) -> Result<(StatusCode, Json<CreatedToken>), Refusal> {
    let control = api.control();
    let tokens = control.tokens(&actor, Verb::Write).await?;
    let create = Box::pin(async { Ok(tokens.create(body).await?) });
    let found = lost("remove the token and make another");
    let made = once(control, &actor, key, StatusCode::CREATED, create, found).await?;
    Ok((StatusCode::CREATED, Json(made)))
}

/// Removes an API token.
#[utoipa::path(
    delete, path = "/tokens/{id}", tag = "users",
    params(("id" = Uuid, Path, description = "The token.")),
    responses((status = 204, description = "It opens nothing any more.")),
)]
pub(crate) async fn revoke_token(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<Uuid>,
) -> Result<StatusCode, Refusal> {
    api.control().tokens(&actor, Verb::Write).await?.revoke(id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lists the audit log, the newest line first.
///
/// Clients see what they did themselves.
#[utoipa::path(
    get, path = "/audit", tag = "users", params(AuditQuery),
    responses((status = 200, description = "A part of the log.", body = Page<AuditView>)),
)]
pub(crate) async fn list_audit(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<AuditQuery>,
) -> Answer<Page<AuditView>> {
    Ok(Json(api.control().audit(&actor).await?.list(query).await?))
}
