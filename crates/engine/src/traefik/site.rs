//! A site as routers, middlewares and services.

use std::{collections::BTreeMap, sync::Arc};

use portway_model::{Finding, HostPattern, site::TlsVersion};
use portway_policy::{CertificateObject, Digest, HttpsPolicy, SitePolicy};
use serde_json::{Value, json};

use super::{
    Traefik, WEB, WEBSECURE,
    document::{Document, set},
    limits, route,
};
use crate::{EngineFacts, Extension, Object, RenderError, Rendered, Secrecy, judge};

/// What the release says of a site, beside its parts.
pub(super) const JUDGES_ADDRESSES: &str = "judges_addresses";

/// A site under construction.
pub(super) struct Draft<'a> {
    /// The site.
    pub(super) site: &'a SitePolicy,
    /// The node.
    pub(super) facts: &'a EngineFacts,
    /// What was made.
    pub(super) document: Document,
    key: String,
    objects: Vec<Arc<Object>>,
}

/// Where requests come from, and what is done with all of them.
#[derive(Clone, Debug)]
pub(super) struct Door {
    /// The entry point.
    pub(super) entry_point: &'static str,
    /// How handshakes are answered; nothing for plain HTTP.
    pub(super) tls: Option<Value>,
    /// Whether requests are only sent on to HTTPS.
    pub(super) redirects: bool,
}

/// Renders a site.
pub(super) fn render(
    site: &SitePolicy,
    certificates: &BTreeMap<Digest, CertificateObject>,
    facts: &EngineFacts,
) -> Result<Rendered, RenderError> {
    let findings = judge(&Traefik, site, facts);
    if findings.iter().any(Finding::is_error) {
        return Err(RenderError::Refused(findings));
    }
    let document = Document::default();
    let mut draft = Draft { site, facts, document, key: key(site), objects: Vec::new() };
    for door in doors(&mut draft, certificates)? {
        route::write(&mut draft, &door);
    }
    let judges =
        |access: &portway_model::site::Access| access.allow.is_some() || !access.deny.is_empty();
    let lets_through = site.maintenance.as_ref().is_some_and(|it| !it.allow.is_empty());
    let judges_addresses = lets_through
        || site.routes.iter().any(|route| {
            route.filters.access.as_ref().is_some_and(judges) || limits::judge_addresses(route)
        });
    let entry = json!({"parts": draft.document, JUDGES_ADDRESSES: judges_addresses});
    let mut claims: Vec<String> = site.hosts.iter().map(ToString::to_string).collect();
    claims.sort();
    Ok(Rendered {
        id: site.id,
        name: site.name.clone(),
        policy: site.digest(),
        objects: draft.objects,
        entry: entry.to_string(),
        folders: Vec::new(),
        claims,
        findings,
    })
}

/// Returns what the names of a site's parts begin with. The end of the id keeps a later site of the
/// same name apart.
pub(super) fn key(site: &SitePolicy) -> String {
    format!("portway-{}", site.log_folder())
}

fn doors(
    draft: &mut Draft<'_>,
    certificates: &BTreeMap<Digest, CertificateObject>,
) -> Result<Vec<Door>, RenderError> {
    let site = draft.site;
    let redirects = site.https.as_ref().is_some_and(|https| https.redirect);
    let mut doors = vec![Door { entry_point: WEB, tls: None, redirects }];
    if let Some(https) = &site.https
        && let Some(certificate) = https.certificate
    {
        let found = certificates.get(&certificate);
        let found = found.ok_or(RenderError::NoCertificate(certificate))?;
        let tls = Some(tls(draft, https, found));
        doors.push(Door { entry_point: WEBSECURE, tls, redirects: false });
    }
    Ok(doors)
}

/// Options are named for what they say, so that sites with the same share them.
fn tls(draft: &mut Draft<'_>, https: &HttpsPolicy, found: &CertificateObject) -> Value {
    let chain = draft.object(Extension::Crt, Secrecy::Open, &found.chain_pem);
    let key = draft.object(Extension::Key, Secrecy::Workers, &found.key_pem);
    draft.document.certificates.push(json!({"certFile": chain, "keyFile": key}));
    let (oldest, version) = match https.min_version {
        TlsVersion::V1_2 => ("VersionTLS12", "12"),
        TlsVersion::V1_3 => ("VersionTLS13", "13"),
    };
    let mut options = json!({"minVersion": oldest, "sniStrict": true});
    if !https.http2 {
        set(&mut options, "alpnProtocols", json!(["http/1.1"]));
    }
    let name = format!("portway-tls{version}{}", if https.http2 { "" } else { "-http1" });
    draft.document.tls_options.insert(name.clone(), options);
    // Traefik finds the options of a handshake by names in rules; a pattern has none.
    let has_name = |host: &HostPattern| matches!(host, HostPattern::Exact(_) | HostPattern::Ip(_));
    if draft.site.hosts.iter().all(has_name) { json!({"options": name}) } else { json!({}) }
}

impl Draft<'_> {
    /// Returns the name of a part.
    pub(super) fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.key)
    }

    /// Tells whether clients come by HTTPS alone.
    pub(super) fn is_secure(&self) -> bool {
        self.site.https.as_ref().is_some_and(|https| https.redirect)
    }

    /// Adds a middleware of a part and returns its name.
    pub(super) fn middleware(&mut self, part: &str, kind: &str, value: Value) -> String {
        let name = self.name(&format!("{part}-{kind}"));
        self.document.middlewares.insert(name.clone(), value);
        name
    }

    /// Adds a service and returns its name.
    pub(super) fn service(&mut self, part: &str, value: Value) -> String {
        let name = self.name(part);
        self.document.services.insert(name.clone(), value);
        name
    }

    /// Adds a transport and returns its name.
    pub(super) fn transport(&mut self, part: &str, value: Value) -> String {
        let name = self.name(part);
        self.document.transports.insert(name.clone(), value);
        name
    }

    /// Keeps a text beside the configuration and returns where it lies.
    pub(super) fn object(&mut self, extension: Extension, secrecy: Secrecy, text: &str) -> String {
        let object = Arc::new(Object::new(extension, secrecy, text.as_bytes()));
        let path = object.path(&self.facts.layout).to_string();
        if !self.objects.contains(&object) {
            self.objects.push(object);
        }
        path
    }
}
