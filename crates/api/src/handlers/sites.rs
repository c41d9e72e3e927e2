//! Sites, plans and site files.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, StatusCode, header};
use portway_control::Resource;
use portway_wire::{
    Page, ProblemCode,
    plan::PlanQuery,
    revision::RevertSite,
    site::{
        ApplySites, BlockSite, Changed, EditSite, Export, NewSite, Plan, SiteQuery, SiteSummary,
        SiteView,
    },
};

use super::Answer;
use crate::{
    auth::Caller,
    etag::{self, IfMatch, IfNoneMatch, Tagged},
    extract::{Body, Path, Query},
    idempotency::{Once, once},
    problem::Refusal,
    state::ApiState,
};

/// Lists sites.
///
/// Clients see their own.
#[utoipa::path(
    get, path = "/sites", tag = "sites", params(SiteQuery),
    responses((status = 200, description = "A part of the list.", body = Page<SiteSummary>)),
)]
pub(crate) async fn list_sites(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<SiteQuery>,
) -> Answer<Page<SiteSummary>> {
    Ok(Json(api.control().sites(&actor).await?.list(query).await?))
}

/// Makes a site and deploys it.
#[utoipa::path(
    post, path = "/sites", tag = "sites",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless.")),
    request_body = NewSite,
    responses((
        status = 201, description = "It is made.", body = SiteView,
        headers(
            ("Location" = String, description = "The site."),
            ("ETag" = String, description = "Its version, for If-Match."),
        ),
    )),
)]
pub(crate) async fn create_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Once { body, key }: Once<NewSite>,
) -> Result<Response, Refusal> {
    let control = api.control();
    let create = Box::pin(async { Ok(control.editor(&actor).await?.create(body).await?) });
    let found = async |revision| {
        let sites = control.sites(&actor).await?;
        let made = sites.written_by(revision).await?.sites;
        Ok(sites.get(made.first().map_or("", String::as_str)).await?)
    };
    let site: SiteView = once(control, &actor, key, StatusCode::CREATED, create, found).await?;
    let location = HeaderValue::try_from(format!("/api/v1/sites/{}", site.summary.id))
        .map_err(|e| Refusal::new(ProblemCode::Internal, "the site has no address").cause(e))?;
    let tagged = Tagged { revision: Some(site.summary.revision), body: site };
    Ok((StatusCode::CREATED, [(header::LOCATION, location)], tagged).into_response())
}

/// Shows a site.
#[utoipa::path(
    get, path = "/sites/{site}", tag = "sites",
    params(
        ("site" = String, Path, description = "The id or the name."),
        ("If-None-Match" = Option<String>, Header, description = "The version that is known."),
    ),
    responses(
        (
            status = 200, description = "The site.", body = SiteView,
            headers(("ETag" = String, description = "Its version, for If-Match.")),
        ),
        (status = 304, description = "What is declared has not changed."),
    ),
)]
pub(crate) async fn show_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    known: IfNoneMatch,
) -> Result<Response, Refusal> {
    let view = api.control().sites(&actor).await?.get(&site).await?;
    let revision = view.summary.revision;
    if known.has(revision) {
        return Ok(etag::not_modified(revision));
    }
    Ok(Tagged { revision: Some(revision), body: view }.into_response())
}

/// Replaces a site and deploys it.
#[utoipa::path(
    put, path = "/sites/{site}", tag = "sites",
    params(
        ("site" = String, Path, description = "The id or the name."),
        ("If-Match" = String, Header, description = "The version that is changed, or `*`."),
    ),
    request_body = EditSite,
    responses((
        status = 200, description = "It is changed.", body = Changed,
        headers(("ETag" = String, description = "Its new version.")),
    )),
)]
pub(crate) async fn edit_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    IfMatch(expected): IfMatch,
    Body(edit): Body<EditSite>,
) -> Result<Tagged<Changed>, Refusal> {
    let changed = api.control().editor(&actor).await?.edit(&site, edit, expected).await?;
    Ok(Tagged { revision: changed.revision, body: changed })
}

/// Removes a site.
#[utoipa::path(
    delete, path = "/sites/{site}", tag = "sites",
    params(
        ("site" = String, Path, description = "The id or the name."),
        ("If-Match" = String, Header, description = "The version that is removed, or `*`."),
    ),
    responses((status = 200, description = "It is removed.", body = Changed)),
)]
pub(crate) async fn remove_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    IfMatch(expected): IfMatch,
) -> Answer<Changed> {
    Ok(Json(api.control().editor(&actor).await?.remove(&site, expected).await?))
}

/// Keeps a site from being used.
///
/// Visitors get the reason with status 403. Only an administrator lifts it.
#[utoipa::path(
    post, path = "/sites/{site}/block", tag = "sites",
    params(("site" = String, Path, description = "The id or the name.")),
    request_body = BlockSite,
    responses((status = 200, description = "It is blocked.", body = Changed)),
)]
pub(crate) async fn block_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    Body(block): Body<BlockSite>,
) -> Answer<Changed> {
    let operator = api.control().operator(&actor, Resource::Sites, "site.block").await?;
    Ok(Json(operator.block(&site, block).await?))
}

/// Lets a site be used again.
#[utoipa::path(
    post, path = "/sites/{site}/unblock", tag = "sites",
    params(("site" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "It serves again.", body = Changed)),
)]
pub(crate) async fn unblock_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
) -> Answer<Changed> {
    let operator = api.control().operator(&actor, Resource::Sites, "site.unblock").await?;
    Ok(Json(operator.unblock(&site).await?))
}

/// Takes a site back to an earlier version.
#[utoipa::path(
    post, path = "/sites/{site}/revert", tag = "sites",
    params(("site" = String, Path, description = "The id or the name.")),
    request_body = RevertSite,
    responses((status = 200, description = "A new revision restores it.", body = Changed)),
)]
pub(crate) async fn revert_site(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    Body(revert): Body<RevertSite>,
) -> Answer<Changed> {
    Ok(Json(api.control().editor(&actor).await?.revert_site(&site, revert).await?))
}

/// Tells what applying sites would do, and what would come to which nodes. Nothing is changed, and no
/// node is spoken with unless `refresh` says so.
///
/// What becomes of nodes is told to whoever may see nodes.
#[utoipa::path(
    post, path = "/plan", tag = "sites", params(PlanQuery),
    request_body = ApplySites,
    responses((status = 200, description = "What would be done.", body = Plan)),
)]
pub(crate) async fn plan(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PlanQuery>,
    Body(sites): Body<ApplySites>,
) -> Answer<Plan> {
    Ok(Json(api.control().sites(&actor).await?.plan_as(&sites, query).await?))
}

/// Tells what nodes still lack of what is declared: those that are away or in trouble, and sites that
/// are held.
#[utoipa::path(
    get, path = "/plan", tag = "nodes", params(PlanQuery),
    responses((status = 200, description = "What is still to come to nodes.", body = Plan)),
)]
pub(crate) async fn pending(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Query(query): Query<PlanQuery>,
) -> Answer<Plan> {
    let overseer = api.control().overseer(&actor, Resource::Nodes, "node.read").await?;
    Ok(Json(overseer.pending(&actor, query).await?))
}

/// Applies sites: all of them in one revision, or nothing.
///
/// With the `basis` of a plan, exactly what was planned is done. Where something has moved on since,
/// the answer is 409 and `findings` names each such thing; nodes are read for that.
#[utoipa::path(
    post, path = "/apply", tag = "sites",
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition harmless.")),
    request_body = ApplySites,
    responses((status = 200, description = "What was done.", body = Changed)),
)]
pub(crate) async fn apply(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Once { body, key }: Once<ApplySites>,
) -> Answer<Changed> {
    let control = api.control();
    let apply = Box::pin(async { Ok(control.editor(&actor).await?.apply(&body).await?) });
    let found = async |revision| Ok(control.sites(&actor).await?.written_by(revision).await?);
    Ok(Json(once(control, &actor, key, StatusCode::OK, apply, found).await?))
}

/// Exports sites as they are declared, to be applied again here or elsewhere.
#[utoipa::path(
    get, path = "/export", tag = "sites",
    responses((status = 200, description = "All sites one may see.", body = Export)),
)]
pub(crate) async fn export(State(api): State<ApiState>, Caller(actor): Caller) -> Answer<Export> {
    Ok(Json(api.control().sites(&actor).await?.export().await?))
}
