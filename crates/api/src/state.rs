//! What every request has at hand.

use std::{fmt, sync::Arc};

use axum::body::Bytes;
use portway_control::Control;
use subtle::ConstantTimeEq as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::openapi;

/// What the API is told when it starts.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// The public name of the console, when it has one.
    pub console: Option<Console>,
    /// The port on which the edge speaks HTTPS, for links to sites.
    pub https_port: u16,
}

/// The public name of the console. Its requests come through the edge, which proves itself by a
/// key: a page that lets a browser resolve this name to the loopback address does not have it, and
/// neither has another program on this machine that pretends to forward for someone.
#[derive(Clone)]
pub struct Console {
    /// The host, in lower case and without a port.
    pub host: String,
    /// What the edge sends as `X-Portway-Edge`.
    pub key: String,
}

/// The state of the API. Cheap to clone.
#[derive(Clone)]
pub struct ApiState(Arc<Inner>);

struct Inner {
    control: Control,
    settings: ApiSettings,
    openapi: Bytes,
    closing: CancellationToken,
    writes: TaskTracker,
}

impl ApiState {
    /// Returns the state of an API in front of `control`.
    pub fn new(control: Control, settings: ApiSettings) -> Result<Self, serde_json::Error> {
        let openapi = openapi::openapi_json()?.into();
        let closing = CancellationToken::new();
        let writes = TaskTracker::new();
        Ok(Self(Arc::new(Inner { control, settings, openapi, closing, writes })))
    }

    pub(crate) fn control(&self) -> &Control {
        &self.0.control
    }

    pub(crate) fn settings(&self) -> &ApiSettings {
        &self.0.settings
    }

    /// Returns `openapi.json`.
    pub(crate) fn openapi(&self) -> Bytes {
        self.0.openapi.clone()
    }

    /// Returns the requests that change something and are under way.
    pub(crate) fn writes(&self) -> &TaskTracker {
        &self.0.writes
    }

    /// Returns what is cancelled when answers without an end must end.
    pub(crate) fn closing(&self) -> &CancellationToken {
        &self.0.closing
    }
}

impl Console {
    /// Tells whether this is the key of the edge, in a time that does not depend on it.
    pub(crate) fn is_key(&self, presented: &[u8]) -> bool {
        !self.key.is_empty() && bool::from(self.key.as_bytes().ct_eq(presented))
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").field("host", &self.host).finish_non_exhaustive()
    }
}

impl fmt::Debug for ApiState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiState").field("settings", self.settings()).finish_non_exhaustive()
    }
}
