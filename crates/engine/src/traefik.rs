//! Traefik 3 with its file provider, from 3.4.1 on.
//!
//! Traefik includes nothing, so the entry of a release holds everything; certificates, keys and password
//! files are objects. It reads the file as a Go template first: no brace of a user ever stands in it
//! ([`yaml`]). Rules are made of quoted texts in which everything but plain letters is escaped
//! ([`rule`]), and of expressions ([`crate::go_pattern`]). Every router has its priority, so that the
//! order is ours.
//!
//! Which address an entry point listens on stands in Traefik's own configuration. Portway's routers
//! expect the names `web` (plain HTTP), `websecure` (HTTPS) and `portway` (the probe, on loopback).
//!
//! Traefik cleans paths before it looks for a router since 3.4.1, which is why nothing older will do.
//! What the edge refuses in a path is answered 403 here, as Traefik gives no answer of its own.

mod access;
mod candidate;
mod document;
mod limits;
mod middleware;
mod node;
mod output;
mod route;
mod rule;
mod service;
mod site;
mod support;
mod transport;
mod yaml;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use portway_model::Finding;
use portway_policy::{CertificateObject, Digest, NodeSettings, SitePolicy};

use crate::{
    Candidate, CandidateError, Engine, EngineFacts, Layout, Ports, Probe, Release, RenderError,
    Rendered, Setting, Steps, Support, TopLevel, Use, Version,
};

/// The entry point of plain HTTP.
const WEB: &str = "web";
/// The entry point of HTTPS.
const WEBSECURE: &str = "websecure";
/// The entry point of the probe.
const PROBE: &str = "portway";
/// Answers nothing, and is never reached: a middleware answers before it.
const NOBODY: &str = "noop@internal";

/// Returns what is known of a usual Traefik, with Portway's usual folders.
pub fn usual_facts() -> EngineFacts {
    EngineFacts {
        version: Version::new(3, 7, 0),
        modules: BTreeSet::new(),
        layout: Layout {
            home: portway_model::node::HOME.into(),
            logs: "/var/log/portway".into(),
            top_level: "/etc/traefik/traefik.yml".into(),
            reached_by: "/etc/traefik/dynamic/portway.yml".into(),
            copy: None,
            program: "/usr/local/bin/traefik".into(),
            authorities: "/etc/ssl/certs/ca-certificates.crt".into(),
        },
        ports: Ports::default(),
    }
}

/// Traefik.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traefik;

impl Engine for Traefik {
    fn name(&self) -> &'static str {
        "Traefik"
    }

    fn oldest(&self) -> Version {
        Version::new(3, 4, 1)
    }

    fn support(&self, setting: Setting, facts: &EngineFacts) -> Support {
        support::support(setting, facts)
    }

    fn support_of(&self, used: &Use<'_>, facts: &EngineFacts) -> Support {
        support::support_of(used, facts)
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
        _: &EngineFacts,
    ) -> Result<Release, RenderError> {
        node::render(sites, settings)
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

    fn read_test_output(&self, output: &str, release: &Release) -> Vec<Finding> {
        output::read(output, release)
    }
}
