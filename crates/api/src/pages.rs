//! The pages: start, set-up, one-time link, login. What is a page's own stands in a file under
//! `pages/`, what they share in `frame.html`; all are part of the program. What they show they fetch
//! from the API, like any other client.

use std::sync::LazyLock;

use axum::{
    Router,
    body::Bytes,
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

static SETUP: LazyLock<Bytes> = LazyLock::new(|| {
    let main = include_str!("../pages/setup.html");
    form("Set up Portway", "setup.js", &with_new_password(main, "Password", ""))
});
static EXPIRED: LazyLock<Bytes> = LazyLock::new(|| {
    let main = include_str!("../pages/expired.html");
    Frame { title: "Set up Portway", width: NARROW, main, ..Frame::default() }.render()
});
static LINK: LazyLock<Bytes> = LazyLock::new(|| {
    let main = include_str!("../pages/link.html");
    form("Set a password · Portway", "link.js", &with_new_password(main, "New password", FOCUS))
});
static LOGIN: LazyLock<Bytes> =
    LazyLock::new(|| form("Log in · Portway", "login.js", include_str!("../pages/login.html")));

const NARROW: &str = " class=\"narrow\"";
const FOCUS: &str = " autofocus";

/// What all pages share, around what is a page's own: `frame.html`.
#[derive(Default)]
struct Frame<'a> {
    title: &'a str,
    /// The name of its script, where it has one.
    script: Option<&'a str>,
    /// Further attributes of the document.
    attributes: &'a str,
    /// The class of head and content.
    width: &'a str,
    /// What stands in the head beside the name.
    header: &'a str,
    main: &'a str,
}

impl Frame<'_> {
    fn render(&self) -> Bytes {
        let script = self.script.map(|script| {
            format!("    <script type=\"module\" src=\"/assets/{script}\"></script>\n")
        });
        let parts = [
            ("attributes", self.attributes),
            ("title", self.title),
            ("script", script.as_deref().unwrap_or_default()),
            ("width", self.width),
            ("header", self.header),
            ("main", self.main),
        ];
        fill(include_str!("../pages/frame.html"), &parts).into()
    }
}

/// Returns a page that is one form.
fn form(title: &str, script: &str, main: &str) -> Bytes {
    Frame { title, script: Some(script), width: NARROW, main, ..Frame::default() }.render()
}

/// Puts the field for a new password with its rules into a form.
fn with_new_password(main: &str, label: &str, focus: &str) -> String {
    let field = include_str!("../pages/new-password.html");
    let field = fill(field, &[("label", label), ("focus", focus)]);
    fill(main, &[("new_password", &field)])
}

/// Puts parts where a template names them. All of them are ours; none comes from a request.
fn fill(template: &str, parts: &[(&str, &str)]) -> String {
    parts.iter().fold(template.to_owned(), |text, (name, part)| {
        text.replace(&format!("{{{{{name}}}}}"), part)
    })
}

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
        .route("/link", get(async || page(LINK.clone())))
        .route("/login", get(async || page(LOGIN.clone())))
        .route("/favicon.ico", get(async || asset("portway.svg")))
        .route("/assets/{name}", get(async |Path(name): Path<String>| asset(&name)))
}

fn start(api: &ApiState) -> Response {
    // The script builds the addresses of sites.
    let attributes = format!(" data-https-port=\"{}\"", api.settings().https_port);
    let frame = Frame {
        title: "Portway",
        script: Some("start.js"),
        attributes: &attributes,
        header: include_str!("../pages/start-header.html"),
        main: include_str!("../pages/start.html"),
        ..Frame::default()
    };
    page(frame.render())
}

/// Shows the form only to whom it can serve: a link that has ended is said to have ended before
/// anybody thinks of a password.
async fn setup(
    State(api): State<ApiState>,
    Query(Token { token }): Query<Token>,
) -> Result<Response, Refusal> {
    let valid = !token.is_empty() && api.control().setup_link_valid(&token).await?;
    Ok(page(if valid { SETUP.clone() } else { EXPIRED.clone() }))
}

fn page(html: Bytes) -> Response {
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
