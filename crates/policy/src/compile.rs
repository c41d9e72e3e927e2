//! From a checked site to the policy of a node.

use std::collections::BTreeMap;

use portway_model::{
    FieldPath, Finding, FindingCode, Findings, Id, ResourceKind, Site,
    site::{ClientKey, Password, Route},
};

use crate::{Blocked, Digest, FORMAT, HttpsPolicy, NetworkGuard, SitePolicy};

/// What a site's policy is made from, beside the site itself.
#[derive(Clone, Debug, Default)]
pub struct CompileInput {
    /// The password hashes that the site refers to, by reference.
    pub hashes: BTreeMap<String, String>,
    /// The keys of client certificates that the site refers to, in PEM, by reference.
    pub client_keys: BTreeMap<String, String>,
    /// The site's certificate, where it has one.
    pub certificate: Option<Digest>,
    /// Set while the site is blocked.
    pub blocked: Option<Blocked>,
    /// Where the owner's upstreams may lie.
    pub guard: Option<NetworkGuard>,
}

/// Compiles a site for a node. Never fails: what is wrong is a finding, and a password that cannot
/// be resolved closes its user out instead of letting anyone in.
pub fn compile(id: Id<Site>, site: &Site, input: &CompileInput) -> (SitePolicy, Vec<Finding>) {
    let mut findings = Findings::about(ResourceKind::Site, site.name.as_str());
    let path = FieldPath::root().key("routes");
    let routes = site
        .routes
        .iter()
        .enumerate()
        .map(|(index, route)| {
            let mut route = route.clone();
            let path = path.index(index);
            resolve_passwords(&mut route, input, &path, &mut findings);
            resolve_client_keys(&mut route, input, &path, &mut findings);
            route
        })
        .collect();
    let https = site.https.as_ref().map(|https| HttpsPolicy {
        redirect: https.redirect,
        min_version: https.min_version,
        http2: https.http2,
        certificate: input.certificate,
    });
    let mut policy = SitePolicy {
        format: FORMAT,
        id,
        name: site.name.clone(),
        hosts: site.hosts.clone(),
        https,
        log: site.log.clone(),
        routes,
        limits: site.limits.clone(),
        paths: site.paths,
        snippets: site.snippets.clone(),
        maintenance: site.maintenance.clone(),
        blocked: input.blocked.clone(),
        guard: input.guard.clone(),
    };
    policy.format = policy.least_format();
    (policy, findings.into_vec())
}

/// A certificate without its key is left out; the finding keeps the site from being served so.
fn resolve_client_keys(
    route: &mut Route,
    input: &CompileInput,
    path: &FieldPath,
    findings: &mut Findings,
) {
    for upstream in route.upstreams_mut() {
        let Some(client) = &mut upstream.client else { continue };
        let ClientKey::Secret(reference) = &client.key else { continue };
        if let Some(key) = input.client_keys.get(reference) {
            client.key = ClientKey::Pem(key.clone());
            continue;
        }
        findings
            .error(
                FindingCode::UnknownSecret,
                &path.key("to").key("tls").key("client_key"),
                "the key of the client certificate is not kept in this installation",
            )
            .remedy("set the key again");
        upstream.client = None;
    }
}

fn resolve_passwords(
    route: &mut Route,
    input: &CompileInput,
    path: &FieldPath,
    findings: &mut Findings,
) {
    let Some(basic) = route.filters.access.as_mut().and_then(|access| access.basic.as_mut()) else {
        return;
    };
    let users = path.key("access").key("basic").key("users");
    basic.users.retain(|name, password| {
        let hash = match password {
            Password::Hash(hash) => Some(hash.clone()),
            Password::Secret(reference) => input.hashes.get(reference).cloned(),
            Password::Plain(_) => None,
        };
        let Some(hash) = hash else {
            findings
                .error(
                    FindingCode::UnknownSecret,
                    &users.key(name),
                    format!("the password of `{name}` is not kept in this installation"),
                )
                .remedy("set the password again");
            return false;
        };
        *password = Password::Hash(hash);
        true
    });
}
