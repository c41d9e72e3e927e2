//! Use cases, authorisation, audit and background tasks of the control plane.
//!
//! Everything someone can do begins with a right: [`Control::sites`], [`Control::editor`],
//! [`Control::operator`] and their like judge the actor and return a type whose methods are what
//! the right permits. What one may not see is not found, because the queries know who asks.
//!
//! This crate deliberately knows no HTTP server and no terminal, and never handles a visitor's
//! request.

pub mod actor;
mod audit;
mod auth;
mod background;
mod bounds;
mod cache;
mod certificates;
mod console;
mod control;
mod deploy;
mod diff;
mod edge_client;
mod engines;
mod error;
mod fleet;
mod health;
mod history;
mod idempotency;
mod jwt;
mod links;
mod login;
mod logs;
mod manager;
mod metrics;
mod nodes;
mod observe;
mod page;
mod password;
mod plan;
mod preflight;
mod recent;
pub mod rights;
mod rollout;
mod roots;
mod session;
mod sites;
mod tasks;
mod tokens;
mod users;
mod welcome;

pub use actor::{Actor, Resource, Scopes, Verb};
pub use auth::{ClientInfo, Credentials};
pub use console::{CONSOLE_SITE, PublishedConsole};
pub use control::{Control, ControlConfig, StartError, rotate_key};
pub use edge_client::{EdgeClient, EdgeClientError};
pub use engines::engines;
pub use error::ControlError;
pub use idempotency::{Claimed, Idempotency};
pub use manager::IdentityError;
pub use portway_model::rollout::Command as RolloutCommand;
pub use preflight::check_key;
pub use sites::Precondition;
pub use tasks::{Clock, TaskHandle, TaskInfo, TaskReport, TaskScope};
