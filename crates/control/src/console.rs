//! The console behind the edge: the key by which the edge proves to the API that a request came
//! through it. The key is added when a site is compiled; what is declared never holds it.

use std::net::SocketAddr;

use portway_model::{
    HostPattern, SiteSpec,
    site::{Action, Target, Upstream, spec::HeaderEditsSpec},
};
use portway_policy::SitePolicy;
use portway_secrets::Redacted;
use portway_wire::site::EditSite;
use tracing::warn;

use crate::{Actor, Control, ControlError, Precondition, sites::spec_of};

/// The site that `portway setup --console-host` makes.
pub const CONSOLE_SITE: &str = "portway-console";
/// The header by which the edge proves itself to the API.
const EDGE_KEY: &str = "x-portway-edge";

/// How the console is published.
#[derive(Clone, Debug)]
pub struct PublishedConsole {
    /// The name under which it is reached, in lower case.
    pub host: String,
    /// By this the edge proves that a request came through it.
    pub key: Redacted<String>,
    /// Where the API listens.
    pub api: SocketAddr,
}

impl PublishedConsole {
    /// Gives a site the edge's key where it is the console's: it answers to the console's name, and
    /// the request goes to the API and to nobody else.
    pub(crate) fn introduce(&self, policy: &mut SitePolicy) {
        let is_ours = |host: &HostPattern| matches!(host, HostPattern::Exact(name) if name.as_str() == self.host);
        if !policy.hosts.iter().any(is_ours) {
            return;
        }
        let mut leads_to_api = false;
        for route in &mut policy.routes {
            // A mirror would get a copy of the key.
            let is_copied = route.filters.mirror.is_some();
            if !is_copied
                && matches!(&route.action, Action::Proxy(upstream) if self.is_api(upstream))
            {
                let key = self.key.expose().clone();
                route.filters.request_headers.set.insert(EDGE_KEY.to_owned(), key);
                leads_to_api = true;
            }
        }
        if !leads_to_api {
            warn!(
                site.name = %policy.name,
                "the site has the console's name, but does not lead to the API at {}; `portway \
                 setup --console-host {}` mends it",
                self.api,
                self.host,
            );
        }
    }

    /// Tells whether the API and nobody else is behind an upstream.
    fn is_api(&self, upstream: &Upstream) -> bool {
        let is_api = |target: &Target| match target {
            Target::Tcp(to) => to.port == self.api.port() && to.host.parse() == Ok(self.api.ip()),
            Target::Unix(_) => false,
        };
        upstream.tls.is_none() && upstream.targets.iter().all(|target| is_api(&target.to))
    }
}

impl Control {
    /// Takes the edge's key out of the declaration of the console's site, where an earlier version
    /// wrote it there. Returns whether it did: the history has the key then, so that it must be
    /// replaced.
    pub async fn forget_declared_edge_key(&self) -> Result<bool, ControlError> {
        let actor = Actor::system();
        let row = match self.site_row(&actor, CONSOLE_SITE).await {
            Err(ControlError::NotFound { .. }) => return Ok(false),
            other => other?,
        };
        let mut spec = spec_of(&row)?;
        if !remove_edge_key(&mut spec) {
            return Ok(false);
        }
        let spec = serde_json::to_value(spec)
            .map_err(|error| ControlError::internal("writing the console's site", error))?;
        let message = Some("leave the edge's key out of the declaration".to_owned());
        let at = Precondition::Revision(row.revision.0);
        self.editor(&actor)
            .await?
            .edit(CONSOLE_SITE, EditSite { spec, message, rollout: None }, at)
            .await?;
        Ok(true)
    }
}

/// Returns whether there was one.
fn remove_edge_key(spec: &mut SiteSpec) -> bool {
    let Some(headers) = spec.headers.as_mut() else { return false };
    let Some(request) = headers.request.as_mut() else { return false };
    let before = request.set.len();
    request.set.retain(|name, _| !name.eq_ignore_ascii_case(EDGE_KEY));
    if request.set.len() == before {
        return false;
    }
    if *request == HeaderEditsSpec::default() {
        headers.request = None;
    }
    if headers.request.is_none() && headers.response.is_none() {
        spec.headers = None;
    }
    true
}

#[cfg(test)]
mod tests {
    use portway_model::{Id, site::check};
    use portway_policy::{CompileInput, compile};
    use uuid::Uuid;

    use super::*;

    fn console() -> PublishedConsole {
        PublishedConsole {
            host: "console.example".to_owned(),
            key: Redacted::new("secret".to_owned()),
            api: "127.0.0.1:8900".parse().unwrap(),
        }
    }

    /// Returns the key that the first route of a site is given; nothing where it is given none.
    fn key(spec: &SiteSpec) -> String {
        let site = check(&"app".parse().unwrap(), spec).0.unwrap();
        let (mut policy, _) = compile(Id::from_uuid(Uuid::nil()), &site, &CompileInput::default());
        console().introduce(&mut policy);
        policy.routes[0].filters.request_headers.set.remove(EDGE_KEY).unwrap_or_default()
    }

    #[test]
    fn the_console_s_site_is_given_the_key() {
        for target in ["127.0.0.1:8900", "8900", "http://127.0.0.1:8900"] {
            let spec = SiteSpec::proxy("console.example", target);
            assert_eq!(key(&spec), "secret", "{target}");
        }
    }

    #[test]
    fn no_other_site_and_no_other_target_learns_it() {
        for (host, target) in [
            ("other.example", "127.0.0.1:8900"),
            ("*.example", "127.0.0.1:8900"),
            ("*", "127.0.0.1:8900"),
            ("console.example", "127.0.0.1:8901"),
            ("console.example", "192.0.2.1:8900"),
            ("console.example", "localhost:8900"),
            ("console.example", "https://127.0.0.1:8900"),
            ("console.example", "unix:/run/api.sock"),
        ] {
            assert_eq!(key(&SiteSpec::proxy(host, target)), "", "{host} to {target}");
        }
        let mut spec = SiteSpec::proxy("console.example", "127.0.0.1:8900");
        spec.to = Some(portway_model::site::spec::ToSpec::Many(vec![
            "127.0.0.1:8900".to_owned().into(),
            "192.0.2.1:8900".to_owned().into(),
        ]));
        assert_eq!(key(&spec), "", "one of two targets is somebody else");
        let mut spec = SiteSpec::proxy("console.example", "127.0.0.1:8900");
        let mirror = serde_json::from_str(r#"{"to": "192.0.2.1:8900"}"#).unwrap();
        spec.mirror = Some(mirror);
        assert_eq!(key(&spec), "", "somebody else gets copies");
    }

    #[test]
    fn the_key_is_printed_nowhere() {
        assert!(!format!("{:?}", console()).contains("secret"));
    }

    #[test]
    fn a_declared_key_goes_and_the_rest_stays() {
        let read = |text: &str| serde_json::from_str::<SiteSpec>(text).unwrap();
        let mut alone = read(
            r#"{"hosts": ["a.example"], "to": "1",
                "headers": {"request": {"set": {"X-Portway-Edge": "k"}}}}"#,
        );
        assert!(remove_edge_key(&mut alone));
        assert_eq!(alone, SiteSpec::proxy("a.example", "1"));
        assert!(!remove_edge_key(&mut alone));
        let mut more = read(
            r#"{"hosts": ["a.example"], "to": "1", "headers":
                {"request": {"set": {"x-portway-edge": "k", "X-Other": "1"}}}}"#,
        );
        assert!(remove_edge_key(&mut more));
        assert_eq!(more.headers.unwrap().request.unwrap().set.len(), 1);
    }
}
