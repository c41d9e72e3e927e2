//! The rules of a route, ready for requests.

use http::HeaderName;
use portway_model::site::{Cache, CookieRule};

/// The rules of a route, ready for requests.
#[derive(Debug)]
pub(crate) struct CompiledCache {
    /// As they were written.
    pub(crate) settings: Cache,
    /// Headers whose presence leads past the cache.
    pub(super) bypass_headers: Vec<HeaderName>,
    /// Headers whose values tell answers apart.
    pub(super) key_headers: Vec<HeaderName>,
    /// Sets apart what routes ask of their upstreams in different ways.
    pub(crate) scope: u64,
}

impl CompiledCache {
    /// Compiles rules. Names were checked before.
    pub(crate) fn of(settings: Cache) -> Self {
        let typed = |names: &[String]| {
            names.iter().filter_map(|name| HeaderName::from_bytes(name.as_bytes()).ok()).collect()
        };
        Self {
            bypass_headers: typed(&settings.bypass.headers),
            key_headers: typed(&settings.key.headers),
            settings,
            scope: 0,
        }
    }

    /// Sets its answers apart from those of other routes.
    pub(crate) const fn within(mut self, scope: u64) -> Self {
        self.scope = scope;
        self
    }

    /// Tells whether a cookie says who asks.
    pub(super) fn is_personal(&self, cookie: &str) -> bool {
        let is_in = |names: &[String]| names.iter().any(|name| name == cookie);
        // What tells answers apart anyway need not keep them from being kept.
        !is_in(&self.settings.key.cookies)
            && match &self.settings.cookies {
                CookieRule::Any => true,
                CookieRule::AllBut(names) => !is_in(names),
                CookieRule::None => false,
            }
    }
}
