//! The REST API, the few pages that come with it, OpenAPI and Swagger UI.
//!
//! Routes and OpenAPI come from one place ([`openapi()`], [`router()`]); a handler reads parsed
//! extractors, asks `portway-control` and returns a typed answer. What may be done is decided
//! there, what it looks like over HTTP here: this crate knows no database and no rules, and errors
//! gain their HTTP face in one place (`problem`).
//!
//! ```no_run
//! # async fn example(control: portway_control::Control) -> Result<(), Box<dyn std::error::Error>> {
//! use portway_api::{ApiSettings, ApiState, Listeners, serve};
//!
//! let listeners = Listeners {
//!     tcp: vec![tokio::net::TcpListener::bind("127.0.0.1:8900").await?],
//!     unix: None,
//! };
//! let state = ApiState::new(control, ApiSettings { console: None, https_port: 8443 })?;
//! serve(listeners, state, tokio_util::sync::CancellationToken::new()).await?;
//! # Ok(()) }
//! ```

mod auth;
mod context;
mod cookie;
mod etag;
mod extract;
mod handlers;
mod headers;
mod host;
mod idempotency;
mod openapi;
mod origin;
mod pages;
mod peer;
mod problem;
mod request;
mod router;
mod serve;
mod state;
mod swagger;

pub use self::{
    openapi::{openapi, openapi_json},
    peer::Peer,
    router::router,
    serve::{Listeners, ServeError, serve},
    state::{ApiSettings, ApiState, Console},
};
