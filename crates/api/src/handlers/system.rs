//! The installation: health, tasks, certificates, deployments, metrics.

use axum::{Json, extract::State, response::IntoResponse};
use http::{StatusCode, header};
use portway_control::Resource;
use portway_wire::{
    Page, PageQuery, ProblemCode,
    deploy::{DeploymentStep, DeploymentView},
    system::{CertificateView, Health, RootView, Roots, TaskView},
};
use uuid::Uuid;

use super::Answer;
use crate::{
    auth::Caller,
    context::Context,
    extract::{Path, Query},
    host::Way,
    problem::Refusal,
    state::ApiState,
};

/// Tells how Portway is.
///
/// Everybody is told in a word; administrators, viewers and tokens with `read:system` also see the
/// version and each check. What was found is told again for some seconds, so that asking costs
/// nothing. The status is 200 also where something is wrong: the question was answered.
#[utoipa::path(
    get, path = "/health", tag = "system", security((), ("bearer" = []), ("cookie" = [])),
    responses((status = 200, description = "How it is.", body = Health)),
)]
pub(crate) async fn health(State(api): State<ApiState>, caller: Option<Caller>) -> Answer<Health> {
    let actor = caller.map(|Caller(actor)| actor);
    Ok(Json(api.control().health(actor.as_ref()).await))
}

/// Lists the background tasks.
#[utoipa::path(
    get, path = "/tasks", tag = "system",
    responses((status = 200, description = "All tasks.", body = Page<TaskView>)),
)]
pub(crate) async fn list_tasks(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Answer<Page<TaskView>> {
    let overseer = api.control().overseer(&actor, Resource::System, "task.read").await?;
    Ok(Json(Page { items: overseer.task_runs().await?, next: None }))
}

/// Lists certificates, without their keys.
#[utoipa::path(
    get, path = "/certificates", tag = "system", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<CertificateView>)),
)]
pub(crate) async fn list_certificates(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<Page<CertificateView>> {
    let overseer = api.control().overseer(&actor, Resource::System, "certificate.read").await?;
    Ok(Json(overseer.certificates(page).await?))
}

/// Lists deployments, the newest first.
#[utoipa::path(
    get, path = "/deployments", tag = "system", params(PageQuery),
    responses((status = 200, description = "A part of the list.", body = Page<DeploymentView>)),
)]
pub(crate) async fn list_deployments(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(page): Query<PageQuery>,
) -> Answer<Page<DeploymentView>> {
    let overseer = api.control().overseer(&actor, Resource::System, "deployment.read").await?;
    Ok(Json(overseer.deployments(page).await?))
}

/// Shows a deployment.
#[utoipa::path(
    get, path = "/deployments/{id}", tag = "system",
    params(("id" = Uuid, Path, description = "The deployment.")),
    responses((status = 200, description = "The deployment.", body = DeploymentView)),
)]
pub(crate) async fn show_deployment(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<Uuid>,
) -> Answer<DeploymentView> {
    let overseer = api.control().overseer(&actor, Resource::System, "deployment.read").await?;
    Ok(Json(overseer.deployment(id).await?))
}

/// Lists what was done on the node in a deployment, step by step.
///
/// Commands stand with their arguments and what they printed. Known to the manager that did it, until
/// it ends.
#[utoipa::path(
    get, path = "/deployments/{id}/steps", tag = "system",
    params(("id" = Uuid, Path, description = "The deployment.")),
    responses((status = 200, description = "The steps in their order.", body = Vec<DeploymentStep>)),
)]
pub(crate) async fn deployment_steps(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(id): Path<Uuid>,
) -> Answer<Vec<DeploymentStep>> {
    let overseer = api.control().overseer(&actor, Resource::System, "deployment.read").await?;
    Ok(Json(overseer.deployment_steps(id).await?))
}

/// Returns the roots of the local authority in one file.
///
/// The one that issues certificates stands first. Its successor, once it was made, and roots before
/// it that have not ended stand in the file, too: whoever trusts all of them is ready for the change
/// from one to the next.
#[utoipa::path(
    get, path = "/ca", tag = "system", security(()),
    responses((
        status = 200, description = "The certificates in PEM.",
        body = String, content_type = "application/x-pem-file",
    )),
)]
pub(crate) async fn local_root(State(api): State<ApiState>) -> Result<impl IntoResponse, Refusal> {
    let headers = [
        (header::CONTENT_TYPE, "application/x-pem-file"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"portway-root.pem\""),
    ];
    Ok((headers, api.control().local_roots_pem().await?))
}

/// Lists the roots of the local authority, each with its certificate.
#[utoipa::path(
    get, path = "/ca/roots", tag = "system", security(()),
    responses((status = 200, description = "The roots that have not ended.", body = Roots)),
)]
pub(crate) async fn list_roots(State(api): State<ApiState>) -> Answer<Roots> {
    Ok(Json(Roots { items: api.control().local_roots().await? }))
}

/// Makes the successor of the local authority's root.
///
/// It issues nothing yet: first have it trusted on every device that uses the sites, then activate
/// it. While one waits for that, no other is made.
#[utoipa::path(
    post, path = "/ca/renew", tag = "system",
    responses((status = 201, description = "The new root.", body = RootView)),
)]
pub(crate) async fn renew_root(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Result<(StatusCode, Json<RootView>), Refusal> {
    let operator = api.control().operator(&actor, Resource::System, "ca.renew").await?;
    Ok((StatusCode::CREATED, Json(operator.renew_root().await?)))
}

/// Lets the successor issue from here on, and issues every certificate anew.
///
/// Devices that do not trust it warn of the sites from then on. The root before it stays in the
/// download until its end. Where nobody asks for it, it happens 30 days before that end.
#[utoipa::path(
    post, path = "/ca/activate", tag = "system",
    responses((status = 200, description = "The root that issues.", body = RootView)),
)]
pub(crate) async fn activate_root(
    State(api): State<ApiState>,
    Caller(actor): Caller,
) -> Answer<RootView> {
    let operator = api.control().operator(&actor, Resource::System, "ca.activate").await?;
    Ok(Json(operator.activate_root().await?))
}

/// Returns the metrics of the control plane and the edge, for Prometheus.
///
/// From this machine no login is needed; through the edge a token with `read:system` is.
#[utoipa::path(
    get, path = "/metrics", tag = "system", security((), ("bearer" = [])),
    responses((
        status = 200, description = "The text format.", body = String, content_type = "text/plain",
    )),
)]
pub(crate) async fn metrics(
    State(api): State<ApiState>,
    context: Context,
    caller: Option<Caller>,
) -> Result<impl IntoResponse, Refusal> {
    match (context.way, caller) {
        (Way::Loopback | Way::Socket, _) => {}
        (Way::Edge, Some(Caller(actor))) => {
            api.control().overseer(&actor, Resource::System, "metrics.read").await?;
        }
        (Way::Edge, None) => {
            let detail = "send a token with the scope `read:system`";
            return Err(Refusal::new(ProblemCode::Unauthenticated, detail));
        }
    }
    let kind = "text/plain; version=0.0.4; charset=utf-8";
    Ok(([(header::CONTENT_TYPE, kind)], api.control().metrics().await))
}
