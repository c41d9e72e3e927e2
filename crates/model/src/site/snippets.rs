//! Texts of an engine's own that a site brings.

use serde::{Deserialize, Serialize};

use crate::EngineKind;

/// Texts in the languages of engines, which go as they are into what the engine is given of the site.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snippets {
    /// Directives of nginx.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nginx: Option<String>,
    /// Directives of Caddy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caddy: Option<String>,
}

impl Snippets {
    /// Tells whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.nginx.is_none() && self.caddy.is_none()
    }

    /// Returns the one of an engine.
    pub fn of(&self, engine: EngineKind) -> Option<&str> {
        match engine {
            EngineKind::Nginx => self.nginx.as_deref(),
            EngineKind::Caddy => self.caddy.as_deref(),
            EngineKind::Traefik | EngineKind::Edge => None,
        }
    }

    /// Returns the engines that have one.
    pub fn engines(&self) -> impl Iterator<Item = EngineKind> + '_ {
        let all = [EngineKind::Nginx, EngineKind::Caddy];
        all.into_iter().filter(|engine| self.of(*engine).is_some())
    }
}
