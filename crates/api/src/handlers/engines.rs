//! Engines: what each makes of what a site can have.

use axum::Json;
use portway_wire::{Page, engine::EngineView};

use super::Answer;
use crate::auth::Caller;

/// Lists the engines, with what becomes of every setting there.
///
/// Nothing of the installation stands in it, so everybody who is logged in may read it. It is made
/// from the code that renders, as the page about engines is.
#[utoipa::path(
    get, path = "/engines", tag = "nodes",
    responses((status = 200, description = "All engines but the edge.", body = Page<EngineView>)),
)]
pub(crate) async fn list_engines(Caller(_): Caller) -> Answer<Page<EngineView>> {
    Ok(Json(Page { items: portway_control::engines(), next: None }))
}
