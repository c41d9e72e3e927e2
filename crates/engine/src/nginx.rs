//! nginx, from the 1.22 of Debian 12 on.
//!
//! What is rendered follows the edge: one canonical path, routes in the same order, the address before
//! the password. Routes are `location`s that only choose; each leads to a named location that carries a
//! route out, so nothing depends on how nginx nests and inherits. Every condition is a `map`.

mod access;
mod answers;
mod candidate;
mod common;
mod conditions;
mod expression;
mod files;
mod headers;
mod limits;
mod maintenance;
mod names;
mod node;
mod output;
mod parse;
mod path;
mod proxy;
mod routes;
mod site;
mod split;
mod support;
mod syntax;
mod types;
mod upstream;
mod value;

use std::{collections::BTreeMap, sync::Arc};

use portway_model::Finding;
use portway_policy::{CertificateObject, Digest, NodeSettings, SitePolicy};

pub use self::{
    candidate::copy_of,
    parse::{SyntaxError, parse},
    syntax::{Directive, Printed, print},
};
use crate::{
    Candidate, CandidateError, Command, Engine, EngineFacts, Layout, Ports, Probe, Release,
    RenderError, Rendered, Setting, Steps, Support, TopLevel, Use, Version,
};

/// Returns what is known of nginx as Debian 12 has it, with Portway's usual folders.
pub fn usual_facts() -> EngineFacts {
    EngineFacts {
        version: Version::new(1, 22, 1),
        modules: ["http_gzip_static_module", "http_realip_module", "http_stub_status_module"]
            .map(str::to_owned)
            .into(),
        layout: Layout {
            home: portway_model::node::HOME.into(),
            logs: "/var/log/portway".into(),
            top_level: "/etc/nginx/nginx.conf".into(),
            reached_by: "/etc/nginx/conf.d/portway.conf".into(),
            copy: None,
            program: "/usr/sbin/nginx".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        },
        ports: Ports::default(),
    }
}

/// Returns the group in which nginx's workers read, where its own configuration says so: that of
/// `user`, which is named as the user unless it is given.
pub fn worker_group(text: &str) -> Option<String> {
    let directives = parse(text).ok()?;
    let user = directives.iter().find(|directive| directive.name() == "user")?;
    user.words.get(2).or_else(|| user.words.get(1)).cloned()
}

/// Returns the command that has nginx open its logs anew, after they were renamed.
pub fn reopen(layout: &Layout) -> Command {
    candidate::reopen(layout)
}

/// The engine nginx.
#[derive(Clone, Copy, Debug, Default)]
pub struct Nginx;

impl Engine for Nginx {
    fn name(&self) -> &'static str {
        "nginx"
    }

    fn oldest(&self) -> Version {
        Version::new(1, 22, 0)
    }

    fn support(&self, setting: Setting, facts: &EngineFacts) -> Support {
        support::of_setting(setting, facts)
    }

    fn support_of(&self, used: &Use<'_>, facts: &EngineFacts) -> Support {
        support::of_use(used, facts)
    }

    fn snippet<'a>(&self, site: &'a SitePolicy) -> Option<&'a str> {
        site.snippets.nginx.as_deref()
    }

    fn render_site(
        &self,
        site: &SitePolicy,
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Rendered, RenderError> {
        site::render(*self, site, certificates, facts)
    }

    fn render_node(
        &self,
        sites: &[Arc<Rendered>],
        settings: &NodeSettings,
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Release, RenderError> {
        node::render(sites, settings, certificates, facts)
    }

    fn candidate(
        &self,
        top_level: &TopLevel,
        release: &Release,
        facts: &EngineFacts,
    ) -> Result<Candidate, CandidateError> {
        candidate::of(top_level, release, facts)
    }

    fn steps(&self, candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
        candidate::steps(candidate, release, facts)
    }

    fn probe(&self, release: Digest, facts: &EngineFacts) -> Probe {
        candidate::probe(release, facts)
    }

    fn read_test_output(&self, output: &str, release: &Release) -> Vec<Finding> {
        output::read(output, release)
    }
}
