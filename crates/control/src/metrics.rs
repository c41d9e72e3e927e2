//! The metrics of the control plane, and the edge's beside them.

use std::{future::Future, time::Duration};

use portway_model::CertificateSource;
use portway_store::StoreError;
use portway_telemetry::{DeploymentOutcome, TaskOutcome};
use tracing::warn;

use crate::Control;

/// Scrapers wait about ten seconds for everything together.
const DEADLINE: Duration = Duration::from_secs(2);

impl Control {
    /// Counts a request of the API.
    pub fn observe_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.inner.metrics.observe_request(method, route, status, seconds);
    }

    /// Returns everything in Prometheus' text format. What cannot be known is left out: numbers of
    /// users and sessions while the database does not answer, the edge's metrics while it does not
    /// (`portway_edge_info` is then missing).
    pub async fn metrics(&self) -> String {
        let now = self.now();
        let metrics = &self.inner.metrics;
        let (users, sessions) = tokio::join!(
            counted("users", self.inner.store.users().count_active()),
            counted("sessions", self.inner.store.sessions().count_open(now)),
        );
        metrics.set_users_active(users);
        metrics.set_sessions_active(sessions);
        self.look_at_certificates().await;
        let own = metrics.render(now).unwrap_or_else(|error| {
            warn!("the metrics cannot be written: {error}");
            String::new()
        });
        let edge = match self.inner.edge.metrics().await {
            Ok(text) => text,
            Err(error) => {
                warn!("the edge's metrics cannot be read: {error}");
                String::new()
            }
        };
        own + &edge + &self.node_metrics().await
    }

    /// Ends of certificates do not change while the database is away, so the last known ones stay.
    async fn look_at_certificates(&self) {
        let request = portway_store::PageRequest::first(portway_store::MAX_LIMIT);
        // Sorted by expiry: the first page holds the first ends of every source.
        let visible = portway_store::Visible::All;
        let listed = self.inner.store.certificates().list(visible, &request);
        let Some(certificates) = answered("certificates", listed).await else { return };
        let ends = certificates.items.iter().map(|certificate| {
            let source = match certificate.source {
                CertificateSource::Local => "local",
                CertificateSource::LocalRoot => "local_root",
            };
            (source, certificate.not_after)
        });
        self.inner.metrics.set_certificates(ends.collect::<Vec<_>>());
    }

    pub(crate) fn count_task(&self, name: &'static str, ok: bool) {
        let outcome = if ok { TaskOutcome::Succeeded } else { TaskOutcome::Failed };
        self.inner.metrics.task_ended(name, outcome, self.now());
    }

    pub(crate) fn count_deployment(&self, outcome: DeploymentOutcome) {
        self.inner.metrics.deployment_ended(outcome);
    }
}

async fn counted(what: &str, count: impl Future<Output = Result<u64, StoreError>>) -> Option<u32> {
    answered(what, count).await.map(|count| u32::try_from(count).unwrap_or(u32::MAX))
}

/// Returns what the database answers in time.
async fn answered<T>(
    what: &str,
    question: impl Future<Output = Result<T, StoreError>>,
) -> Option<T> {
    match tokio::time::timeout(DEADLINE, question).await {
        Ok(Ok(answer)) => Some(answer),
        Ok(Err(error)) => {
            warn!("metrics of {what} are left out: {error}");
            None
        }
        Err(_) => {
            warn!("metrics of {what} are left out: no answer within {} s", DEADLINE.as_secs());
            None
        }
    }
}
