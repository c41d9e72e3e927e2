//! What the REST API says and understands, as types with OpenAPI schemas, and the typed client.
//!
//! Names are `snake_case`, times RFC 3339 in UTC, lists come in pages with a cursor. Nothing here
//! knows how a request is answered.

pub mod auth;
pub mod cache;
pub mod client;
pub mod deploy;
pub mod drift;
pub mod engine;
pub mod explain;
pub mod join;
pub mod logs;
pub mod manage;
pub mod node;
mod page;
pub mod plan;
mod problem;
pub mod revision;
pub mod rollout;
pub mod scan;
mod schema;
pub mod site;
pub mod system;
pub mod user;

pub use page::{Page, PageQuery};
pub use problem::{Problem, ProblemCode};
pub use schema::{FindingSchema, NodeSpecSchema, RoleSchema, SiteSpecSchema};
