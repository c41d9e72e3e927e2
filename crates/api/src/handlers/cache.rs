//! What edges keep of the answers of a site's upstreams.

use axum::{Json, extract::State};
use portway_wire::cache::{CachePurged, CacheView, PurgeCache};

use super::Answer;
use crate::{
    auth::Caller,
    extract::{Body, Path},
    state::ApiState,
};

/// Tells what is kept of a site's answers, on each node.
///
/// A node that cannot be asked is told with the reason.
#[utoipa::path(
    get, path = "/sites/{site}/cache", tag = "sites",
    params(("site" = String, Path, description = "The id or the name.")),
    responses((status = 200, description = "What is kept.", body = CacheView)),
)]
pub(crate) async fn show_cache(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
) -> Answer<CacheView> {
    Ok(Json(api.control().sites(&actor).await?.cache(&site).await?))
}

/// Purges kept answers of a site on all its nodes.
///
/// What is under way when it is purged is not kept either. A node that cannot be reached is told with
/// the reason, and hinders no other one.
#[utoipa::path(
    post, path = "/sites/{site}/cache/purge", tag = "sites",
    params(("site" = String, Path, description = "The id or the name.")),
    request_body = PurgeCache,
    responses((status = 200, description = "What was purged.", body = CachePurged)),
)]
pub(crate) async fn purge_cache(
    State(api): State<ApiState>,
    Caller(actor): Caller,
    Path(site): Path<String>,
    Body(wanted): Body<PurgeCache>,
) -> Answer<CachePurged> {
    Ok(Json(api.control().editor(&actor).await?.purge_cache(&site, wanted).await?))
}
