//! The metrics of nodes that the manager reads: their names, and the text in which they are scraped.
//! What is not known of a node is not scraped at all.

use std::{collections::BTreeMap, fmt::Write as _};

/// A metric of nodes. Each has the label `node`; further ones come from bounded sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NodeMetric {
    /// Whether the node is in a state, by `state`.
    Health,
    /// How old what is known of the node is.
    ReadingAge,
    /// How much of the processors' time is used.
    CpuRatio,
    /// The load, by `minutes`.
    Load,
    /// The memory, by `kind`: `total`, `available`.
    Memory,
    /// The disks, by `disk` (`home`, `logs`, `root`) and `kind` (`total`, `free`).
    Disk,
    /// Bytes over the network, by `direction`: `in`, `out`.
    Network,
    /// How long the machine has been up.
    Uptime,
    /// By how much its clock is ahead of the manager's.
    ClockAhead,
    /// Whether the engine runs.
    ServiceUp,
    /// Open connections of clients.
    Connections,
    /// Requests that the engine counted.
    Requests,
    /// How long until the first certificate of the sites there ends.
    CertificateExpiry,
}

impl NodeMetric {
    /// Every metric.
    pub const ALL: [Self; 13] = [
        Self::Health,
        Self::ReadingAge,
        Self::CpuRatio,
        Self::Load,
        Self::Memory,
        Self::Disk,
        Self::Network,
        Self::Uptime,
        Self::ClockAhead,
        Self::ServiceUp,
        Self::Connections,
        Self::Requests,
        Self::CertificateExpiry,
    ];

    /// Returns the name under which it is scraped.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Health => "portway_node_health",
            Self::ReadingAge => "portway_node_reading_age_seconds",
            Self::CpuRatio => "portway_node_cpu_busy_ratio",
            Self::Load => "portway_node_load",
            Self::Memory => "portway_node_memory_bytes",
            Self::Disk => "portway_node_disk_bytes",
            Self::Network => "portway_node_network_bytes_total",
            Self::Uptime => "portway_node_uptime_seconds",
            Self::ClockAhead => "portway_node_clock_ahead_seconds",
            Self::ServiceUp => "portway_node_service_up",
            Self::Connections => "portway_node_connections",
            Self::Requests => "portway_node_requests_total",
            Self::CertificateExpiry => "portway_node_certificate_expiry_seconds",
        }
    }

    /// Returns what it tells.
    pub const fn help(self) -> &'static str {
        match self {
            Self::Health => {
                "Whether a node is healthy, degraded, down or unknown: 1 for the state it is in, 0 for the others."
            }
            Self::ReadingAge => "Time since a node was last read.",
            Self::CpuRatio => {
                "How much of a node's processors was used between the last two readings (0 to 1)."
            }
            Self::Load => "The load of a node over 1, 5 and 15 minutes.",
            Self::Memory => "The memory of a node: total, and what programs could still get.",
            Self::Disk => {
                "The disks of a node with Portway's own folder (home), the logs of sites (logs) and its root: total and free."
            }
            Self::Network => {
                "What went over a node's network interfaces since it was started, in and out."
            }
            Self::Uptime => "How long a node has been up.",
            Self::ClockAhead => "By how much a node's clock is ahead of the manager's.",
            Self::ServiceUp => "Whether the engine of a node runs (1) or not (0).",
            Self::Connections => "Connections that clients have open with the engine of a node.",
            Self::Requests => "Requests since the engine of a node began to count.",
            Self::CertificateExpiry => {
                "Time until the first certificate of the sites on a node ends."
            }
        }
    }

    const fn kind(self) -> &'static str {
        match self {
            Self::Network | Self::Requests => "counter",
            Self::Health
            | Self::ReadingAge
            | Self::CpuRatio
            | Self::Load
            | Self::Memory
            | Self::Disk
            | Self::Uptime
            | Self::ClockAhead
            | Self::ServiceUp
            | Self::Connections
            | Self::CertificateExpiry => "gauge",
        }
    }
}

/// Values of nodes, to be scraped once.
#[derive(Clone, Debug, Default)]
pub struct NodeSamples(BTreeMap<NodeMetric, Vec<String>>);

impl NodeSamples {
    /// Adds a value of a node, with the labels beside `node`. Names of nodes are plain words.
    pub fn add(
        &mut self,
        metric: NodeMetric,
        node: &str,
        labels: &[(&'static str, &str)],
        value: f64,
    ) {
        let more = labels.iter().fold(String::new(), |mut text, (name, value)| {
            let written = write!(text, ",{name}=\"{value}\"");
            debug_assert!(written.is_ok(), "a string takes everything");
            text
        });
        let line = format!("{}{{node=\"{node}\"{more}}} {value}\n", metric.name());
        self.0.entry(metric).or_default().push(line);
    }

    /// Returns all of them in Prometheus' text format.
    pub fn render(&self) -> String {
        let block = |(metric, lines): (&NodeMetric, &Vec<String>)| {
            let (name, help, kind) = (metric.name(), metric.help(), metric.kind());
            format!("# HELP {name} {help}\n# TYPE {name} {kind}\n{}", lines.concat())
        };
        self.0.iter().map(block).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stand_by_metric_with_their_labels() {
        let mut samples = NodeSamples::default();
        samples.add(NodeMetric::Requests, "web-1", &[], 31.0);
        samples.add(NodeMetric::Memory, "web-1", &[("kind", "total")], 4096.0);
        samples.add(NodeMetric::Memory, "web-2", &[("kind", "total")], 1.5);
        let text = samples.render();
        let expected = "# TYPE portway_node_memory_bytes gauge\n\
                        portway_node_memory_bytes{node=\"web-1\",kind=\"total\"} 4096\n\
                        portway_node_memory_bytes{node=\"web-2\",kind=\"total\"} 1.5\n";
        assert!(text.contains(expected), "{text}");
        assert!(text.contains("# TYPE portway_node_requests_total counter\n"), "{text}");
        assert!(!text.contains("portway_node_load"), "what is not known is not scraped");
    }

    #[test]
    fn counters_end_as_prometheus_wants_them_to() {
        for metric in NodeMetric::ALL {
            assert_eq!(metric.name().ends_with("_total"), metric.kind() == "counter");
            assert!(metric.name().starts_with("portway_node_") && metric.help().ends_with('.'));
        }
    }
}
