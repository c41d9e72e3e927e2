//! Caddy 2, from 2.6 on.
//!
//! Portway's part of a Caddyfile is reached by one `import`. It says for each site, once for plain HTTP
//! and once for HTTPS, where it is served and with which certificate, and imports an object with what
//! happens to requests there. Caddy gets no certificates by itself for these sites: each is given as a
//! file, and plain HTTP has blocks of its own, so that nothing is left for its automatic HTTPS to do.
//!
//! Global options (limits of header sections, trusted proxies) cannot be set from an import. What
//! depends on them is refused.
//!
//! Before anything is decided on a path it is brought into the one form that the edge gives it
//! ([`prelude`]); paths without such a form are answered 400 as there. Paths, headers and queries are
//! then matched by expressions alone ([`crate::go_pattern`]): Caddy's other matchers have no case and
//! know wildcards.

mod access;
mod action;
mod candidate;
mod files;
mod headers;
mod node;
mod output;
mod prelude;
mod print;
mod proxy;
mod route;
mod site;
mod support;
mod syntax;
mod text;
mod tokens;
mod transport;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod tree;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portway_model::Finding;
use portway_policy::{CertificateObject, Digest, NodeSettings, SitePolicy};

pub use self::{
    candidate::copy_of,
    tokens::{Token, TokenError, tokens},
};
use crate::{
    Candidate, CandidateError, Engine, EngineFacts, Layout, Ports, Probe, Release, RenderError,
    Rendered, Setting, Steps, Support, TopLevel, Use, Version,
};

/// Returns what is known of Caddy as Debian 12 has it, with Portway's usual folders.
pub fn usual_facts() -> EngineFacts {
    EngineFacts {
        version: Version::new(2, 6, 2),
        modules: BTreeSet::new(),
        layout: Layout {
            home: portway_model::node::HOME.into(),
            logs: "/var/log/portway".into(),
            top_level: "/etc/caddy/Caddyfile".into(),
            reached_by: format!("{}/current.caddy", portway_model::node::HOME).into(),
            copy: None,
            program: "/usr/bin/caddy".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        },
        ports: Ports::default(),
    }
}

/// Returns the words of a Caddyfile, braces among them; nothing where it is none.
pub(crate) fn words(text: &str) -> Option<Vec<String>> {
    let tokens = tokens(text).ok()?;
    Some(tokens.into_iter().map(|token| token.text).collect())
}

/// Caddy.
#[derive(Clone, Copy, Debug, Default)]
pub struct Caddy;

impl Engine for Caddy {
    fn name(&self) -> &'static str {
        "Caddy"
    }

    fn oldest(&self) -> Version {
        Version::new(2, 6, 0)
    }

    fn support(&self, setting: Setting, facts: &EngineFacts) -> Support {
        support::support(setting, facts)
    }

    fn support_of(&self, used: &Use<'_>, facts: &EngineFacts) -> Support {
        support::support_of(used, facts)
    }

    fn snippet<'a>(&self, site: &'a SitePolicy) -> Option<&'a str> {
        site.snippets.caddy.as_deref()
    }

    fn render_site(
        &self,
        site: &SitePolicy,
        certificates: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Rendered, RenderError> {
        site::render(site, certificates, facts)
    }

    fn render_node(
        &self,
        sites: &[Arc<Rendered>],
        settings: &NodeSettings,
        _: &BTreeMap<Digest, CertificateObject>,
        facts: &EngineFacts,
    ) -> Result<Release, RenderError> {
        node::render(sites, settings, facts)
    }

    fn candidate(
        &self,
        top_level: &TopLevel,
        release: &Release,
        facts: &EngineFacts,
    ) -> Result<Candidate, CandidateError> {
        candidate::candidate(top_level, release, facts)
    }

    fn steps(&self, candidate: Candidate, release: &Release, facts: &EngineFacts) -> Steps {
        candidate::steps(candidate, release, facts)
    }

    fn probe(&self, release: Digest, facts: &EngineFacts) -> Probe {
        candidate::probe(release, facts)
    }

    fn insists_on_entrance(&self) -> bool {
        true
    }

    fn read_test_output(&self, output: &str, release: &Release) -> Vec<Finding> {
        output::read(output, release)
    }
}
