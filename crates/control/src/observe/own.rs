//! The edge of this manager: its machine is read as any other, and the edge itself is asked by its
//! control socket.

use camino::Utf8PathBuf;
use portway_engine::{Counts, Layout};
use portway_model::EngineKind;
use portway_observe::{Sample, Service, Subject, Told, look};
use portway_telemetry::metrics::EdgeMetric;
use portway_transport::{Local, TransportError};

use crate::Control;

impl Control {
    pub(super) async fn sample_own(&self) -> Result<Sample, TransportError> {
        let config = &self.inner.config;
        let layout = Layout {
            home: config.data_dir.clone(),
            logs: config.log_dir.clone(),
            top_level: config.data_dir.clone(),
            reached_by: config.data_dir.clone(),
            copy: None,
            program: Utf8PathBuf::from("portway"),
            authorities: Utf8PathBuf::from("/"),
        };
        let subject =
            Subject { engine: EngineKind::Edge, layout: &layout, ports: &[], probe: None };
        let sample = look(&Local::new(), &subject, || self.now()).await?;
        let (status, metrics) = tokio::join!(self.inner.edge.status(), self.inner.edge.metrics());
        let requests = match metrics {
            Ok(text) => Ok(sum(&text, EdgeMetric::Requests)),
            Err(error) => Err(error.to_string()),
        };
        Ok(match status {
            Ok(status) => Sample {
                service: Ok(Service {
                    running: true,
                    since: Some(status.started_at),
                    told_by: Told::Edge,
                    state: format!("process {}", status.pid),
                }),
                counts: Counts { connections: Ok(status.connections), requests },
                answer: Ok(status.digest.to_string()),
                ..sample
            },
            Err(error) => Sample {
                service: Ok(Service {
                    running: false,
                    since: None,
                    told_by: Told::Edge,
                    state: error.to_string(),
                }),
                counts: Counts::unknown(error.to_string()),
                answer: Err(error.to_string()),
                ..sample
            },
        })
    }
}

/// Adds up a counter over all its labels.
fn sum(text: &str, metric: EdgeMetric) -> u64 {
    let prefix = format!("{}{{", metric.name());
    let lines = text.lines().filter(|line| line.starts_with(&prefix));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_added_up_over_sites() {
        let text = "# HELP portway_edge_requests_total Requests.\n\
                    portway_edge_requests_total{site=\"a\",status_class=\"2xx\"} 7\n\
                    portway_edge_requests_total{site=\"b\",status_class=\"4xx\"} 5\n\
                    portway_edge_retries_total{site=\"b\"} 90\n";
        assert_eq!(sum(text, EdgeMetric::Requests), 12);
    }
}
