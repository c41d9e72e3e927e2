//! Swagger UI under `/api/docs`, from assets that are part of the program.

use std::sync::Arc;

use axum::{
    Router,
    response::{IntoResponse, Redirect, Response},
    routing::get,
};
use http::{HeaderValue, header};
use portway_wire::ProblemCode;
use utoipa_swagger_ui::Config;

use crate::{extract::Path, headers::DOCS_POLICY, problem::Refusal, state::ApiState};

/// Returns the routes of Swagger UI. Its files refer to each other by relative paths.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/api/docs", get(async || Redirect::permanent("/api/docs/")))
        .route("/api/docs/", get(async || file("")))
        .route("/api/docs/{file}", get(async |Path(name): Path<String>| file(&name)))
}

/// Returns `openapi.json`.
pub(crate) fn document(api: &ApiState) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], api.openapi()).into_response()
}

fn file(name: &str) -> Result<Response, Refusal> {
    let config = Config::new(["/api/openapi.json"])
        .use_base_layout()
        .display_request_duration(true)
        .default_models_expand_depth(0)
        .validator_url("none");
    let found = utoipa_swagger_ui::serve(name, Arc::new(config)).map_err(|error| {
        let reason = error.to_string();
        Refusal::new(ProblemCode::Internal, "Swagger UI cannot be shown").cause(reason)
    })?;
    let Some(file) = found else {
        return Err(Refusal::new(ProblemCode::NotFound, "Swagger UI has no such file"));
    };
    let mut response = file.bytes.into_owned().into_response();
    let headers = response.headers_mut();
    let kind = HeaderValue::try_from(file.content_type).map_err(|error| {
        Refusal::new(ProblemCode::Internal, "Swagger UI cannot be shown").cause(error)
    })?;
    headers.insert(header::CONTENT_TYPE, kind);
    headers.insert(header::CONTENT_SECURITY_POLICY, DOCS_POLICY);
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("max-age=3600"));
    Ok(response)
}
