//! The engines that Portway manages.

use std::{fmt, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What serves the sites of a node.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum EngineKind {
    /// Portway's own.
    Edge,
    /// nginx.
    Nginx,
    /// Caddy 2.
    Caddy,
    /// Traefik 3, by its file provider.
    Traefik,
}

/// A text that names no engine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an engine; there are `edge`, `nginx`, `caddy` and `traefik`")]
pub struct UnknownEngine(String);

impl EngineKind {
    /// All engines.
    pub const ALL: [Self; 4] = [Self::Edge, Self::Nginx, Self::Caddy, Self::Traefik];

    /// Returns the engine's name in files, requests and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Edge => "edge",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Traefik => "traefik",
        }
    }
}

impl FromStr for EngineKind {
    type Err = UnknownEngine;

    fn from_str(text: &str) -> Result<Self, UnknownEngine> {
        let found = Self::ALL.into_iter().find(|engine| engine.as_str() == text);
        found.ok_or_else(|| UnknownEngine(text.to_owned()))
    }
}

impl fmt::Display for EngineKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
