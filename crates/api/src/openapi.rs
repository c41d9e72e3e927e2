//! The description of the API (OpenAPI 3.1), made from the same routes that answer.

use portway_wire::Problem;
use utoipa::{
    Modify, OpenApi as _, ToSchema as _,
    openapi::{
        ContentBuilder, OpenApi, Ref, RefOr, ResponseBuilder, Schema,
        path::{Operation, PathItem},
        schema::ArrayItems,
        security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme},
    },
};

use crate::{handlers, problem};

const INTRODUCTION: &str = "\
Manages the sites of a Portway installation.

**Logging in.** `POST /api/v1/login` returns a JWT for the `Authorization: Bearer` header; it holds
for an hour and is renewed by `POST /api/v1/login/refresh`. Programs use an API token
(`POST /api/v1/tokens`) in the same header. Browsers get a session cookie from
`POST /api/v1/session`.

**Errors** are problems (RFC 9457, `application/problem+json`) with a stable `code`; what is wrong
with what was sent is listed in `findings`, all at once. What one may not see is `not-found`.

**Lists** come in pages: pass `next` of one page as `cursor` to get the next.

**Changes.** A site or node carries an `ETag`; `PUT` and `DELETE` name it in `If-Match`, so that nobody's
change is lost unseen. A `POST` that makes something takes an `Idempotency-Key` and is carried out
once, however often it is sent. A change is a revision and is deployed at once, or node after node
where it comes with a `rollout`; `GET /api/v1/revisions/{number}/progress` waits for its end, and
`GET /api/v1/events` tells it.";

#[derive(utoipa::OpenApi)]
#[openapi(
    info(title = "Portway", description = INTRODUCTION),
    components(schemas(Problem)),
    tags(
        (name = "sites", description = "Sites, plans and site files"),
        (name = "nodes", description = "Nodes: where sites are served"),
        (name = "history", description = "Revisions of what is declared, and undo"),
        (name = "users", description = "Users, their tokens and the audit log"),
        (name = "login", description = "Logging in and the caller's own account"),
        (name = "system", description = "The installation"),
    ),
    security(("bearer" = []), ("cookie" = [])),
    modifiers(&Security),
)]
struct Frame;

struct Security;

/// Returns the description.
pub fn openapi() -> OpenApi {
    let mut openapi = handlers::routes().into_openapi();
    for item in openapi.paths.paths.values_mut() {
        operations(item).for_each(complete);
    }
    if let Some(components) = &mut openapi.components {
        components.schemas.iter_mut().for_each(|(name, schema)| refer(name, schema));
    }
    openapi
}

/// Returns the description as it stands in `openapi.json` of the repository.
pub fn openapi_json() -> Result<String, serde_json::Error> {
    openapi().to_pretty_json().map(|text| text + "\n")
}

/// Returns the description without operations, for the routes to add theirs.
pub(crate) fn frame() -> OpenApi {
    Frame::openapi()
}

impl Modify for Security {
    fn modify(&self, openapi: &mut OpenApi) {
        let components = openapi.components.get_or_insert_default();
        let bearer = Http::builder()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some("A JWT from `POST /api/v1/login`, or an API token (`pwt_…`)."))
            .build();
        components.add_security_scheme("bearer", SecurityScheme::Http(bearer));
        let cookie = ApiKeyValue::with_description(
            "__Host-portway",
            "The session of a browser; `portway_session` on the loopback listener. What changes \
             something also needs an `Origin` header of this address.",
        );
        components.add_security_scheme("cookie", SecurityScheme::ApiKey(ApiKey::Cookie(cookie)));
    }
}

/// Adds what all operations have in common: how they say no.
fn complete(operation: &mut Operation) {
    let schema = RefOr::Ref(Ref::from_schema_name(Problem::name()));
    let content = ContentBuilder::new().schema(Some(schema)).build();
    let response = ResponseBuilder::new()
        .description("It was not done, and why.")
        .content(problem::MEDIA_TYPE, content)
        .build();
    operation.responses.responses.insert("default".to_owned(), response.into());
}

/// Lets a page refer to the schema of its elements, which the derived schema repeats in full.
fn refer(name: &str, schema: &mut RefOr<Schema>) {
    if let Some(element) = name.strip_prefix("Page_")
        && let RefOr::T(Schema::Object(page)) = schema
        && let Some(RefOr::T(Schema::Array(items))) = page.properties.get_mut("items")
    {
        let element = RefOr::Ref(Ref::from_schema_name(element));
        items.items = ArrayItems::RefOrSchema(Box::new(element));
    }
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    [&mut item.get, &mut item.put, &mut item.post, &mut item.patch, &mut item.delete]
        .into_iter()
        .filter_map(Option::as_mut)
}
