//! The metrics of the control plane, and the edge's beside them.

use portway_model::CertificateSource;
use portway_telemetry::{DeploymentOutcome, TaskOutcome};
use tracing::warn;

use crate::Control;

impl Control {
    /// Counts a request of the API.
    pub fn observe_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        self.inner.metrics.observe_request(method, route, status, seconds);
    }

    /// Returns everything in Prometheus' text format. The edge's metrics are left out while it
    /// does not answer; `portway_edge_info` is then missing.
    pub async fn metrics(&self) -> String {
        let now = self.now();
        let store = &self.inner.store;
        if let Ok(users) = store.users().count_active().await {
            self.inner.metrics.set_users_active(u32::try_from(users).unwrap_or(u32::MAX));
        }
        if let Ok(sessions) = store.sessions().count_open(now).await {
            self.inner.metrics.set_sessions_active(u32::try_from(sessions).unwrap_or(u32::MAX));
        }
        let request = portway_store::PageRequest::first(portway_store::MAX_LIMIT);
        // Sorted by expiry: the first page holds the first ends of every source.
        let visible = portway_store::Visible::All;
        if let Ok(certificates) = store.certificates().list(visible, &request).await {
            let ends = certificates.items.iter().map(|certificate| {
                let source = match certificate.source {
                    CertificateSource::Local => "local",
                    CertificateSource::LocalRoot => "local_root",
                };
                (source, certificate.not_after)
            });
            self.inner.metrics.set_certificates(ends.collect::<Vec<_>>());
        }
        let own = self.inner.metrics.render(now).unwrap_or_else(|error| {
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
        own + &edge
    }

    pub(crate) fn count_task(&self, name: &'static str, ok: bool) {
        let outcome = if ok { TaskOutcome::Succeeded } else { TaskOutcome::Failed };
        self.inner.metrics.task_ended(name, outcome, self.now());
    }

    pub(crate) fn count_deployment(&self, outcome: DeploymentOutcome) {
        self.inner.metrics.deployment_ended(outcome);
    }
}
