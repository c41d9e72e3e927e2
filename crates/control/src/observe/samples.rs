//! What is measured on nodes, as Prometheus scrapes it. Each manager tells of the nodes that it reads.

use portway_model::{
    Id,
    node::{HealthState, Measures, Quantity},
};
use portway_store::{NodeFilter, NodeRow};
use portway_telemetry::{NodeMetric, NodeSamples};
use tracing::warn;

use super::{Observed, STALE};
use crate::Control;

impl Control {
    /// Returns the metrics of nodes. What was read too long ago is left out.
    pub(crate) async fn node_metrics(&self) -> String {
        let rows = match self.all_nodes(&NodeFilter::default()).await {
            Ok(rows) => rows,
            Err(error) => {
                warn!("metrics of nodes are left out: {error}");
                return String::new();
            }
        };
        let read: Vec<_> = rows.iter().map(|row| row.id).filter(|id| self.reads(*id)).collect();
        let observed = match self.observed(&read).await {
            Ok(observed) => observed,
            Err(error) => {
                warn!("metrics of nodes are left out: {error}");
                return String::new();
            }
        };
        let own = self.inner.manager.name.as_str();
        let mut samples = NodeSamples::default();
        for row in rows {
            // Another manager that has read it since tells of it.
            if let Some(observed) = observed.get(&row.id).filter(|seen| seen.manager == own) {
                self.add_node(&mut samples, &row, observed);
            }
        }
        samples.render()
    }

    fn reads(&self, node: Id<NodeRow>) -> bool {
        self.inner.observer.observed(node).is_some()
    }

    fn add_node(&self, samples: &mut NodeSamples, row: &NodeRow, observed: &Observed) {
        let age = self.now().duration_since(observed.read_at);
        let name = row.name.as_str();
        samples.add(NodeMetric::ReadingAge, name, &[], age.as_secs_f64());
        if let Some(health) = &observed.health {
            for state in HealthState::ALL {
                let is_so = if health.state == state { 1.0 } else { 0.0 };
                samples.add(NodeMetric::Health, name, &[("state", state.as_str())], is_so);
            }
        }
        if age < STALE {
            add_values(samples, name, &observed.values);
        }
    }
}

fn add_values(samples: &mut NodeSamples, node: &str, values: &Measures) {
    for (quantity, measured) in values {
        let (Some((metric, labels)), Some(value)) = (place(*quantity), measured.value()) else {
            continue;
        };
        let value = if *quantity == Quantity::CpuPercent { value / 100.0 } else { value };
        samples.add(metric, node, labels, value);
    }
}

type Place = (NodeMetric, &'static [(&'static str, &'static str)]);

/// Returns where a quantity stands among the metrics. Rates are Prometheus' to make.
const fn place(quantity: Quantity) -> Option<Place> {
    use NodeMetric as M;
    use Quantity as Q;
    Some(match quantity {
        Q::CpuPercent => (M::CpuRatio, &[]),
        Q::Load1 => (M::Load, &[("minutes", "1")]),
        Q::Load5 => (M::Load, &[("minutes", "5")]),
        Q::Load15 => (M::Load, &[("minutes", "15")]),
        Q::MemoryTotal => (M::Memory, &[("kind", "total")]),
        Q::MemoryAvailable => (M::Memory, &[("kind", "available")]),
        Q::HomeTotal => (M::Disk, &[("disk", "home"), ("kind", "total")]),
        Q::HomeFree => (M::Disk, &[("disk", "home"), ("kind", "free")]),
        Q::LogsTotal => (M::Disk, &[("disk", "logs"), ("kind", "total")]),
        Q::LogsFree => (M::Disk, &[("disk", "logs"), ("kind", "free")]),
        Q::RootTotal => (M::Disk, &[("disk", "root"), ("kind", "total")]),
        Q::RootFree => (M::Disk, &[("disk", "root"), ("kind", "free")]),
        Q::NetworkReceived => (M::Network, &[("direction", "in")]),
        Q::NetworkSent => (M::Network, &[("direction", "out")]),
        Q::Uptime => (M::Uptime, &[]),
        Q::ClockAhead => (M::ClockAhead, &[]),
        Q::ServiceUp => (M::ServiceUp, &[]),
        Q::Connections => (M::Connections, &[]),
        Q::Requests => (M::Requests, &[]),
        Q::CertificateLeft => (M::CertificateExpiry, &[]),
        Q::NetworkReceivedRate | Q::NetworkSentRate | Q::RequestsRate | Q::ServiceTime => {
            return None;
        }
    })
}

#[cfg(test)]
mod tests {
    use portway_model::node::Measured;

    use super::*;

    #[test]
    fn what_is_known_is_scraped_and_nothing_else() {
        let at = "2026-06-15T12:00:00Z".parse().unwrap();
        let values: Measures = [
            (Quantity::CpuPercent, Measured::Known { value: 25.0, at }),
            (Quantity::RootFree, Measured::Known { value: 1024.0, at }),
            (Quantity::Requests, Measured::Unknown { unknown: "it is away".to_owned(), since: at }),
        ]
        .into();
        let mut samples = NodeSamples::default();
        add_values(&mut samples, "web-1", &values);
        let text = samples.render();
        assert!(text.contains("portway_node_cpu_busy_ratio{node=\"web-1\"} 0.25\n"), "{text}");
        let disk = "portway_node_disk_bytes{node=\"web-1\",disk=\"root\",kind=\"free\"} 1024\n";
        assert!(text.contains(disk), "{text}");
        assert!(!text.contains("requests"), "{text}");
    }

    #[test]
    fn every_metric_of_nodes_but_age_and_health_is_measured() {
        let mut measured: Vec<NodeMetric> =
            Quantity::ALL.into_iter().filter_map(place).map(|(metric, _)| metric).collect();
        measured.extend([NodeMetric::ReadingAge, NodeMetric::Health]);
        for metric in NodeMetric::ALL {
            assert!(measured.contains(&metric), "{metric:?}");
        }
    }
}
