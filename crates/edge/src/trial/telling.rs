//! What is told of a request that is not sent, stage by stage.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderValue, Response, header};
use ipnet::IpNet;
use portway_policy::bundle::{TrialReport, TrialStep};
use portway_telemetry::access::Stage;

use crate::{
    admission::Kind,
    body::Body,
    canonical::RequestPath,
    content::{CompiledRoute, CompiledSite},
    exchange::Refusal,
    headers::Origin,
    metrics::Limited,
    pages::Fault,
    pipeline::Witness,
    waited::Step,
};

/// Notes what each stage decides.
pub(super) struct Telling {
    report: TrialReport,
    stage: Stage,
    site: Option<Arc<CompiledSite>>,
    path: String,
    /// Where the steps of the route begin.
    routes_at: Option<usize>,
    /// Who may, as far as it is known before the stage judges.
    rule: Option<&'static str>,
}

impl Telling {
    /// Begins with who asks.
    pub(super) fn begin(origin: &Origin, peer: IpAddr) -> Self {
        let mut telling = Self {
            report: TrialReport::default(),
            stage: Stage::Read,
            site: None,
            path: String::new(),
            routes_at: None,
            rule: None,
        };
        if origin.trusted {
            let client = origin.client;
            telling.say(format!("{peer} is a trusted proxy, and speaks for {client}"));
        }
        telling
    }

    /// Says something of the stage.
    pub(super) fn say(&mut self, text: impl Into<String>) {
        self.report.steps.push(step(self.stage, text.into()));
    }

    /// The handshake would already fail.
    pub(super) fn no_certificate(mut self) -> TrialReport {
        self.stage = Stage::Connection;
        self.say("no site with HTTPS answers to this host, so the TLS handshake would fail");
        self.end()
    }

    /// Returns the site and the path, once they are known.
    pub(super) fn place(&self) -> Option<(Arc<CompiledSite>, String)> {
        Some((Arc::clone(self.site.as_ref()?), self.path.clone()))
    }

    /// A route takes the path, but not the request.
    pub(super) fn passed_over(&mut self, label: &str, why: &str) {
        let step = step(Stage::Route, format!("route {label} takes the path, but {why}"));
        match self.routes_at {
            Some(at) if at <= self.report.steps.len() => {
                self.report.steps.insert(at, step);
                self.routes_at = Some(at + 1);
            }
            _ => self.report.steps.push(step),
        }
    }

    /// A stage refuses it.
    pub(super) fn refused(&mut self, refusal: &Refusal) {
        let (status, code) = (refusal.fault.status().as_u16(), refusal.fault.code());
        let reason = refusal.report.as_ref().map(|(_, _, reason)| reason.as_str());
        let reason = reason.unwrap_or_else(|| refusal.fault.title());
        let text = if let Fault::Unauthorized { realm } = &refusal.fault {
            format!("a name and password are asked for (realm `{realm}`): {reason}")
        } else {
            reason.to_owned()
        };
        self.say(format!("answered {status}: {text} ({code})"));
        self.report.status = Some(status);
        self.report.code = Some(code.to_owned());
    }

    /// A stage or an action answers it.
    pub(super) fn answered(&mut self, response: &Response<Body>) {
        let status = response.status().as_u16();
        let location = response.headers().get(header::LOCATION);
        match location.and_then(|location| location.to_str().ok()) {
            Some(location) => self.say(format!("answered {status}: sent on to {location}")),
            None => self.say(format!("answered {status}")),
        }
        self.report.status = Some(status);
    }

    /// Ends it.
    pub(super) fn end(mut self) -> TrialReport {
        self.report.stage = Some(self.stage.name().to_owned());
        self.report
    }
}

impl Witness for Telling {
    fn enters(&mut self, stage: Stage) {
        let before = std::mem::replace(&mut self.stage, stage);
        if stage == Stage::Route {
            self.routes_at = Some(self.report.steps.len());
        }
        if before == Stage::Access
            && let Some(rule) = self.rule.take()
        {
            self.report.steps.push(step(before, rule.to_owned()));
        }
    }

    fn understood(&mut self, host: Option<&HeaderValue>, path: &RequestPath) {
        let host = host.map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
        let host = host.unwrap_or_else(|| "none".to_owned());
        path.as_str().clone_into(&mut self.path);
        self.say(format!("read as host {host} and path {}", path.as_str()));
    }

    fn found_site(&mut self, site: &Arc<CompiledSite>) {
        self.report.site = Some(site.name.to_string());
        self.site = Some(Arc::clone(site));
        self.say(format!("site {}", site.name));
    }

    fn found_route(&mut self, route: &CompiledRoute) {
        self.report.route = Some(route.label.to_string());
        self.rule = match &route.access {
            None => Some("open to everybody"),
            Some(rule) if rule.allow.is_none() => Some("the address is not denied"),
            Some(_) => None,
        };
        self.say(format!("route {}", route.label));
    }

    fn found_network(&mut self, network: IpNet) {
        self.say(format!("the address is allowed ({network})"));
    }

    /// What a trial takes is not what a request would.
    fn waits(&mut self, _: Step, _: Duration) {}

    fn is_counted(&self) -> bool {
        false
    }

    fn within(&mut self, text: String) {
        self.say(text);
    }

    fn exceeds(&mut self, _: Kind, limit: &str, outcome: Limited) {
        match outcome {
            Limited::Refused => self.say(format!("limit {limit} is exceeded")),
            Limited::DryRun => {}
        }
    }

    fn found_user(&mut self, user: String) {
        self.say(format!("the password of {user} is right"));
    }
}

fn step(stage: Stage, text: String) -> TrialStep {
    TrialStep { stage: stage.name().to_owned(), text }
}
