//! One reading of one node.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use portway_deploy::layout;
use portway_engine::{EngineFacts, Ports, Version};
use portway_model::{Id, Node, Site};
use portway_observe::{Sample, Seen, Service, Subject, Told, judge_unseen, look, measures, unseen};
use portway_policy::Digest;
use portway_store::{NodeRow, PageRequest};
use portway_transport::TransportError;
use portway_wire::node::NodeService;

use super::{Known, Observed, Target, health::ports_of};
use crate::{
    Control, ControlError,
    deploy::lock,
    fleet::{ReachError, engine_of},
};

/// How long it is believed when the first certificate of a node's sites ends.
const CERTIFICATE_AGE: SignedDuration = SignedDuration::from_mins(1);

/// Why a node was not seen.
#[derive(Debug, thiserror::Error)]
pub(super) enum UnseenError {
    #[error(transparent)]
    Reach(#[from] ReachError),
    #[error(transparent)]
    Transport(#[from] TransportError),
}

impl Control {
    /// Reads a node, and notes what was seen or why nothing was.
    pub(super) async fn read_node(&self, row: &NodeRow, target: &Target) {
        let sample = match target {
            Target::Declared(node) => self.sample(row, node).await,
            Target::OwnEdge => self.sample_own().await.map_err(UnseenError::from),
        };
        match sample {
            Ok(sample) => {
                self.seen(row, target, sample).await;
                if let Target::Declared(node) = target {
                    self.look_after_logs(row, node).await;
                }
            }
            Err(UnseenError::Transport(error)) => {
                self.not_seen(row, target, &error.to_string(), Some(error.remedy())).await;
            }
            Err(error @ UnseenError::Reach(_)) => {
                self.not_seen(row, target, &error.to_string(), None).await;
            }
        }
    }

    async fn sample(&self, row: &NodeRow, node: &Node) -> Result<Sample, UnseenError> {
        let reach = self.reach(row, node).await?;
        let layout = layout(node, None, None);
        // How it is asked depends on its ports alone.
        let facts = EngineFacts {
            version: Version::new(0, 0, 0),
            modules: BTreeSet::new(),
            layout: layout.clone(),
            ports: Ports {
                addresses: Vec::new(),
                http: node.ports.http,
                https: node.ports.https,
                probe: node.ports.probe,
            },
        };
        let probe = engine_of(node.engine).map(|engine| engine.probe(Digest::of(b""), &facts));
        let ports = ports_of(node);
        let subject =
            Subject { engine: node.engine, layout: &layout, ports: &ports, probe: probe.as_ref() };
        Ok(look(&*reach, &subject, || self.now()).await?)
    }

    async fn seen(&self, row: &NodeRow, target: &Target, sample: Sample) {
        let certificate = self.first_end(row.id).await;
        let health = match target {
            Target::Declared(node) => {
                let end = certificate.as_ref().ok().copied();
                let checks = self.judged(row, node, &sample, end).await;
                Some(self.health_after(row, &self.thresholds(row, node), checks, sample.at).await)
            }
            Target::OwnEdge => None,
        };
        let values = {
            let all = lock(&self.inner.observer.known);
            let known = all.get(&row.id);
            let values = known.and_then(|known| known.observed.as_ref()).map(|seen| &seen.values);
            let last = known.and_then(|known| known.last.as_ref());
            measures(last, values, &sample, certificate)
        };
        let observed = Observed {
            read_at: sample.at,
            manager: self.inner.manager.name.to_string(),
            values,
            service: sample.service.as_ref().ok().map(service),
            health,
        };
        self.note_observed(row, observed, Some(sample)).await;
    }

    /// Notes that nothing was seen of a node.
    pub(super) async fn not_seen(
        &self,
        row: &NodeRow,
        target: &Target,
        why: &str,
        remedy: Option<String>,
    ) {
        let now = self.now();
        let told = remedy.as_ref().map_or(why.to_owned(), |remedy| format!("{why}; {remedy}"));
        let health = match target {
            Target::Declared(node) => {
                let checks = judge_unseen(why, remedy);
                Some(self.health_after(row, &self.thresholds(row, node), checks, now).await)
            }
            Target::OwnEdge => None,
        };
        let before = self.inner.observer.observed(row.id);
        let observed = Observed {
            read_at: now,
            manager: self.inner.manager.name.to_string(),
            values: unseen(before.as_ref().map(|before| &before.values), &told, now),
            service: None,
            health,
        };
        self.note_observed(row, observed, None).await;
    }

    /// Returns when the first certificate of the sites on a node ends.
    async fn first_end(&self, node: Id<NodeRow>) -> Seen<Timestamp> {
        let now = self.now();
        let is_young = |at: Timestamp| now.duration_since(at) < CERTIFICATE_AGE;
        let kept = lock(&self.inner.observer.known)
            .get(&node)
            .and_then(|known| known.certificate.clone())
            .filter(|(at, end)| end.is_ok() && is_young(*at));
        if let Some((_, kept)) = kept {
            return kept;
        }
        let found = match self.look_up_first_end(node).await {
            Ok(Some(end)) => Ok(end),
            Ok(None) => Err("no site there has a certificate".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        let mut all = lock(&self.inner.observer.known);
        let known: &mut Known = all.entry(node).or_default();
        known.certificate = Some((now, found.clone()));
        found
    }

    async fn look_up_first_end(
        &self,
        node: Id<NodeRow>,
    ) -> Result<Option<Timestamp>, ControlError> {
        let mut first: Option<Timestamp> = None;
        let mut request = Some(PageRequest::first(portway_store::MAX_LIMIT));
        while let Some(page) = request {
            let found = self.inner.store.nodes().sites(node, &page).await?;
            request = page.next(&found);
            let sites: Vec<Id<Site>> = found
                .items
                .iter()
                .filter(|site| site.digest.is_some())
                .map(|site| site.site)
                .collect();
            let certificates = self.inner.store.certificates();
            let used: BTreeSet<_> = certificates.of_sites(&sites).await?.into_values().collect();
            let used: Vec<_> = used.into_iter().collect();
            let ends = certificates.by_ids(&used).await?;
            first = ends.values().map(|kept| kept.certificate.not_after).chain(first).min();
        }
        Ok(first)
    }
}

/// Returns an engine as a service, as the API shows it.
fn service(service: &Service) -> NodeService {
    let told_by = match service.told_by {
        Told::Systemd => "systemd",
        Told::Openrc => "openrc",
        Told::Processes => "processes",
        Told::Edge => "edge",
    };
    NodeService {
        running: service.running,
        state: service.state.clone(),
        told_by: told_by.to_owned(),
        since: service.since,
    }
}
