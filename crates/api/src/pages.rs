//! The pages: start, set-up, one-time link, login. Plain files under `pages/`, part of the program;
//! what they show they fetch from the API, like any other client.

use axum::{
    Router,
    extract::State,
    response::{IntoResponse as _, Response},
    routing::get,
};
use http::{HeaderValue, header};
use portway_wire::ProblemCode;
use serde::Deserialize;

use crate::{
    extract::{Path, Query},
    headers::PAGE_POLICY,
    problem::Refusal,
    state::ApiState,
};

const START: &str = include_str!("../pages/start.html");
const SETUP: &str = include_str!("../pages/setup.html");
const LINK: &str = include_str!("../pages/link.html");
const LOGIN: &str = include_str!("../pages/login.html");
const EXPIRED: &str = include_str!("../pages/expired.html");

/// Where a page names the port of HTTPS, for its script.
const HTTPS_PORT: &str = "{{https_port}}";

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// What pages load, by name.
const ASSETS: [(&str, &str, &str); 7] = [
    ("portway.css", "text/css; charset=utf-8", include_str!("../pages/portway.css")),
    ("portway.svg", "image/svg+xml", include_str!("../pages/portway.svg")),
    ("portway.js", SCRIPT, include_str!("../pages/portway.js")),
    ("start.js", SCRIPT, include_str!("../pages/start.js")),
    ("setup.js", SCRIPT, include_str!("../pages/setup.js")),
    ("link.js", SCRIPT, include_str!("../pages/link.js")),
    ("login.js", SCRIPT, include_str!("../pages/login.js")),
];

/// The token of a one-time link, as it stands in the address.
#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: String,
}

/// Returns the routes of the pages.
pub(crate) fn routes() -> Router<ApiState> {
    Router::new()
        .route("/", get(async |State(api): State<ApiState>| start(&api)))
        .route("/setup", get(setup))
        .route("/link", get(async || page(LINK)))
        .route("/login", get(async || page(LOGIN)))
        .route("/favicon.ico", get(async || asset("portway.svg")))
        .route("/assets/{name}", get(async |Path(name): Path<String>| asset(&name)))
}

fn start(api: &ApiState) -> Response {
    page(START.replace(HTTPS_PORT, &api.settings().https_port.to_string()))
}

/// Shows the form only to whom it can serve: a link that has ended is said to have ended before
/// anybody thinks of a password.
async fn setup(
    State(api): State<ApiState>,
    Query(Token { token }): Query<Token>,
) -> Result<Response, Refusal> {
    let valid = !token.is_empty() && api.control().setup_link_valid(&token).await?;
    Ok(page(if valid { SETUP } else { EXPIRED }))
}

fn page(html: impl Into<axum::body::Body>) -> Response {
    served("text/html; charset=utf-8", html.into())
}

fn asset(name: &str) -> Result<Response, Refusal> {
    let found = ASSETS.into_iter().find(|(known, ..)| *known == name);
    let (_, kind, text) = found
        .ok_or_else(|| Refusal::new(ProblemCode::NotFound, "there is no such part of a page"))?;
    Ok(served(kind, text.into()))
}

fn served(kind: &'static str, body: axum::body::Body) -> Response {
    let mut response = body.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, PAGE_POLICY);
    response
}
