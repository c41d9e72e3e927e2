//! All routes.

use axum::{
    Router,
    extract::{DefaultBodyLimit, State},
    middleware::from_fn_with_state,
    routing::get,
};
use tower_http::catch_panic::CatchPanicLayer;

use crate::{extract::MAX_BODY, handlers, pages, problem, request, state::ApiState, swagger};

/// Returns the API with its pages. Requests must carry a [`crate::Peer`] among their extensions.
pub fn router(state: ApiState) -> Router {
    let (described, _) = handlers::routes().split_for_parts();
    described
        .merge(pages::routes())
        .merge(swagger::routes())
        .route(
            "/api/openapi.json",
            get(async |State(api): State<ApiState>| swagger::document(&api)),
        )
        .fallback(async || problem::no_such_route())
        .method_not_allowed_fallback(async || problem::no_such_method())
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .layer(CatchPanicLayer::custom(request::panicked))
        .layer(from_fn_with_state(state.clone(), request::entrance))
        .with_state(state)
}
