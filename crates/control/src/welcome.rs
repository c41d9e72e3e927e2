//! The first site of a fresh installation: something to open before anything was declared.

use portway_model::{RevisionNumber, SiteSpec, site::spec::RespondSpec};
use portway_wire::site::NewSite;

use crate::{Actor, Control, ControlError};

/// The name of the first site, and the first label of its host.
const NAME: &str = "hello";
/// Names below `localhost` mean this machine in every browser (RFC 6761 §6.3).
const HOST: &str = "hello.localhost";
const PAGE: &str = include_str!("welcome.html");

impl Control {
    /// Makes the first site, unless something was declared before. Returns its host.
    pub async fn welcome(&self) -> Result<Option<&'static str>, ControlError> {
        if self.inner.store.revisions().latest().await? > RevisionNumber(0) {
            return Ok(None);
        }
        let spec = SiteSpec {
            hosts: vec![HOST.to_owned()],
            respond: Some(RespondSpec {
                status: None,
                body: Some(PAGE.to_owned()),
                content_type: Some("text/html; charset=utf-8".to_owned()),
            }),
            description: Some("The first site; remove it when you like.".to_owned()),
            ..SiteSpec::default()
        };
        let spec = serde_json::to_value(spec)
            .map_err(|error| ControlError::internal("making the first site", error))?;
        let new = NewSite {
            rollout: None,
            name: Some(NAME.to_owned()),
            owner: None,
            spec,
            message: Some("add a first site".to_owned()),
        };
        let actor = Actor::system();
        self.editor(&actor).await?.create(new).await?;
        Ok(Some(HOST))
    }
}
