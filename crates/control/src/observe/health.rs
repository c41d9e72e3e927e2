//! Whether nodes are well: what is expected of each, and what is told when that changes.

use std::sync::Arc;

use jiff::Timestamp;
use portway_model::{
    EngineKind, Id, Node, ResourceKind, Severity,
    node::{HealthState, Thresholds, check_thresholds, spec::ThresholdsSpec},
};
use portway_observe::{Check, Expected, Health, Judged, Sample, Verdict, judge};
use portway_store::{AuditOutcome, NodeRow};
use portway_wire::node::{NodeHealth, NodeHealthCheck};
use tracing::{error, info, warn};

use super::Observed;
use crate::{Control, actor::Actor, audit::Record};

impl Control {
    /// Judges a reading of a node.
    pub(super) async fn judged(
        &self,
        row: &NodeRow,
        node: &Node,
        sample: &Sample,
        certificate: Option<Timestamp>,
    ) -> Vec<Judged> {
        let release = self.proven_release(row.id).await;
        let thresholds = self.thresholds(row, node);
        let expected = Expected {
            engine: node.engine,
            release: release.as_deref(),
            certificate,
            thresholds: &thresholds,
        };
        let mut checks = judge(&expected, sample);
        // What a distribution may have mended is no reason for alarm.
        let holes = self.inner.fleet.known_holes(row.id, node);
        let holes = holes.filter(|finding| finding.severity == Severity::Warning);
        checks.extend(holes.map(|finding| Judged {
            check: Check::Version,
            verdict: Verdict::Warning,
            text: finding.text,
            remedy: finding.remedy.map(|remedy| remedy.text),
        }));
        checks
    }

    /// Returns from where on something about a node deserves attention: as the node says, and of the
    /// rest as this installation does.
    pub(super) fn thresholds(&self, row: &NodeRow, node: &Node) -> Thresholds {
        let spec = row.declared.as_ref().and_then(|declared| declared.spec.get("health"));
        let own: Option<ThresholdsSpec> =
            spec.and_then(|spec| serde_json::from_value(spec.clone()).ok());
        let both = own.unwrap_or_default().over(&self.inner.config.health);
        // What is stored was checked, and so was the configuration.
        check_thresholds(&both).unwrap_or_else(|_| node.health.clone())
    }

    /// Returns the release that was last proven on a node.
    async fn proven_release(&self, node: Id<NodeRow>) -> Option<String> {
        match self.inner.store.nodes().get(node).await {
            Ok(row) => row.and_then(|row| row.digest),
            Err(error) => {
                warn!(%error, "what a node should serve cannot be read");
                None
            }
        }
    }

    /// Returns the health of a node after a reading, and tells of it where its state changed.
    pub(super) async fn health_after(
        &self,
        row: &NodeRow,
        thresholds: &Thresholds,
        checks: Vec<Judged>,
        now: Timestamp,
    ) -> Health {
        let before = self.health_before(row.id).await;
        let health = Health::after(before.as_ref(), checks, thresholds.readings, now);
        if before.as_ref().map(|before| before.state) != Some(health.state) {
            self.tell(row, before.map(|before| before.state), &health).await;
        }
        health
    }

    /// Returns what this manager knows, or another one noted before it.
    async fn health_before(&self, node: Id<NodeRow>) -> Option<Health> {
        let own = self.inner.observer.observed(node);
        let known = match own {
            Some(own) => Some(own),
            None => match self.observed(&[node]).await {
                Ok(mut found) => found.remove(&node),
                Err(error) => {
                    warn!(%error, "how a node was before cannot be read");
                    None
                }
            },
        };
        known.and_then(|known: Arc<Observed>| known.health.clone())
    }

    /// Tells of a change of state, once: in the log, and in the audit log.
    async fn tell(&self, row: &NodeRow, before: Option<HealthState>, health: &Health) {
        let reasons: Vec<&str> = health
            .checks
            .iter()
            .filter(|judged| judged.verdict != Verdict::Ok)
            .map(|judged| judged.text.as_str())
            .collect();
        let was = before.map_or("not known", HealthState::as_str);
        let mut text = format!("{} (was {was})", health.state);
        if !reasons.is_empty() && health.state != HealthState::Healthy {
            text = format!("{text}: {}", reasons.join("; "));
        }
        match health.state {
            HealthState::Healthy | HealthState::Degraded => {
                info!(node.name = %row.name, "the node is {text}");
            }
            HealthState::Down | HealthState::Unknown => {
                warn!(node.name = %row.name, "the node is {text}");
            }
        }
        let outcome = match health.state {
            HealthState::Healthy => AuditOutcome::Done,
            HealthState::Degraded | HealthState::Down | HealthState::Unknown => {
                AuditOutcome::Failed
            }
        };
        let actor = Actor::system();
        let record = Record::of(&actor, "node.health")
            .resource(ResourceKind::Node, row.name.as_str())
            .outcome(outcome)
            .detail(text);
        if let Err(error) = self.write_audit(record).await {
            error!(node.name = %row.name, %error, "a change of a node's health cannot be noted");
        }
    }
}

/// Returns the ports on which a node's engine listens once it serves something.
pub(super) fn ports_of(node: &Node) -> Vec<u16> {
    match node.engine {
        EngineKind::Nginx | EngineKind::Traefik => vec![node.ports.http, node.ports.https],
        // It listens for HTTPS when a site has it.
        EngineKind::Caddy => vec![node.ports.http],
        EngineKind::Edge => Vec::new(),
    }
}

/// Returns the health of a node as the API shows it.
pub(crate) fn view(observed: &Observed) -> Option<NodeHealth> {
    let health = observed.health.as_ref()?;
    let check = |judged: &Judged| NodeHealthCheck {
        check: word(&judged.check),
        verdict: word(&judged.verdict),
        text: judged.text.clone(),
        remedy: judged.remedy.clone(),
    };
    Some(NodeHealth {
        state: health.state,
        since: health.since,
        read_at: observed.read_at,
        checks: health.checks.iter().map(check).collect(),
    })
}

/// Returns the word of a variant.
fn word(value: &impl serde::Serialize) -> String {
    let word = serde_json::to_value(value).ok();
    word.and_then(|word| word.as_str().map(str::to_owned)).unwrap_or_default()
}
