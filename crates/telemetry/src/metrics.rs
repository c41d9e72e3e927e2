//! The names of the edge's metrics, and the text in which metrics are scraped.

use std::{collections::BTreeMap, fmt};

use prometheus_client::{encoding::text, metrics::MetricType, registry::Registry};

/// The `Content-Type` of [`render`]'s text.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A metric of the edge. Labels come from bounded sets only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EdgeMetric {
    /// Requests, by `site` and `status_class`.
    Requests,
    /// How long requests took, by `site`.
    RequestDuration,
    /// Bytes of bodies, by `site` and `direction`.
    Bytes,
    /// Open connections, by `listener`.
    Connections,
    /// Whether targets answer, by `site` and `target`.
    UpstreamUp,
    /// Whether targets pass their checks, by `site` and `target`.
    UpstreamHealthy,
    /// Whether failures keep targets out, by `site` and `target`.
    UpstreamEjected,
    /// Requests in flight, by `site` and `target`.
    UpstreamInFlight,
    /// Whether all targets are used although most are not well, by `site`.
    UpstreamPanic,
    /// Further attempts of requests, by `site`.
    Retries,
    /// Requests that wait for a place, by `site`.
    QueueLength,
    /// Requests that got no place, by `site` and `reason`.
    QueueRefused,
    /// Copies of requests, by `site` and `outcome`.
    MirrorRequests,
    /// Requests beyond a limit, by `site`, `limit` and `outcome`.
    Limited,
    /// Memory of bodies that are read ahead.
    BodyMemory,
    /// Bodies that were not read ahead because the memory was used up.
    BodyMemoryRefused,
    /// Requests of routes with a cache, by `site` and `result`.
    CacheRequests,
    /// Memory of kept answers.
    CacheMemory,
    /// Kept answers that had to go for others.
    CacheEvicted,
    /// Lines that no log could take.
    LogDropped,
    /// TLS handshakes that failed.
    HandshakeFailures,
    /// The edge itself, by `version`.
    Info,
    /// How many sites are served.
    Sites,
}

impl EdgeMetric {
    /// Every metric.
    pub const ALL: [Self; 23] = [
        Self::Info,
        Self::Sites,
        Self::Requests,
        Self::RequestDuration,
        Self::Bytes,
        Self::Connections,
        Self::UpstreamUp,
        Self::UpstreamHealthy,
        Self::UpstreamEjected,
        Self::UpstreamInFlight,
        Self::UpstreamPanic,
        Self::Retries,
        Self::QueueLength,
        Self::QueueRefused,
        Self::MirrorRequests,
        Self::Limited,
        Self::BodyMemory,
        Self::BodyMemoryRefused,
        Self::CacheRequests,
        Self::CacheMemory,
        Self::CacheEvicted,
        Self::LogDropped,
        Self::HandshakeFailures,
    ];

    /// Returns the name under which it is scraped.
    pub fn name(self) -> &'static str {
        match self {
            Self::Requests => "portway_edge_requests_total",
            Self::RequestDuration => "portway_edge_request_duration_seconds",
            Self::Bytes => "portway_edge_bytes_total",
            Self::Connections => "portway_edge_connections",
            Self::UpstreamUp => "portway_edge_upstream_up",
            Self::UpstreamHealthy => "portway_edge_upstream_healthy",
            Self::UpstreamEjected => "portway_edge_upstream_ejected",
            Self::UpstreamInFlight => "portway_edge_upstream_in_flight",
            Self::UpstreamPanic => "portway_edge_upstream_panic",
            Self::Retries => "portway_edge_retries_total",
            Self::QueueLength => "portway_edge_queue_length",
            Self::QueueRefused => "portway_edge_queue_refused_total",
            Self::MirrorRequests => "portway_edge_mirror_requests_total",
            Self::Limited => "portway_edge_limited_requests_total",
            Self::BodyMemory => "portway_edge_body_memory_bytes",
            Self::BodyMemoryRefused => "portway_edge_body_memory_refused_total",
            Self::CacheRequests => "portway_edge_cache_requests_total",
            Self::CacheMemory => "portway_edge_cache_memory_bytes",
            Self::CacheEvicted => "portway_edge_cache_evicted_total",
            Self::LogDropped => "portway_edge_log_dropped_total",
            Self::HandshakeFailures => "portway_edge_handshake_failures_total",
            Self::Info => "portway_edge_info",
            Self::Sites => "portway_edge_sites",
        }
    }

    /// Returns the name under which it is registered: the encoder appends the suffixes of counters
    /// and infos.
    pub fn registered_name(self) -> &'static str {
        let name = self.name();
        name.strip_suffix("_total").or_else(|| name.strip_suffix("_info")).unwrap_or(name)
    }

    /// Returns what it tells.
    pub fn help(self) -> &'static str {
        match self {
            Self::Requests => "Requests by site and class of the answer's status.",
            Self::RequestDuration => {
                "Time from the first byte of a request to the last of its answer."
            }
            Self::Bytes => "Bytes of request (in) and answer (out) bodies by site.",
            Self::Connections => "Open connections of clients by listener.",
            Self::UpstreamUp => "Whether a target took the last connection (1) or not (0).",
            Self::UpstreamHealthy => "Whether a target passes its health checks (1) or not (0).",
            Self::UpstreamEjected => "Whether failures keep a target out (1) or not (0).",
            Self::UpstreamInFlight => "Requests in flight by site and target.",
            Self::UpstreamPanic => {
                "Whether all targets of an upstream of the site are used because too many are out (1)."
            }
            Self::Retries => "Further attempts of requests with the same or another target.",
            Self::QueueLength => "Requests that wait for a place at an upstream by site.",
            Self::QueueRefused => {
                "Requests that found the queue full (full) or waited too long (late)."
            }
            Self::MirrorRequests => {
                "Copies of requests for a mirror: answered (sent), not answered (failed), or not made (too_large, busy)."
            }
            Self::Limited => {
                "Requests beyond a limit (rate, connections): answered 429 (refused), or only counted (dry_run)."
            }
            Self::BodyMemory => "Memory of bodies that are read ahead of who takes them.",
            Self::BodyMemoryRefused => {
                "Bodies that were not read ahead, or no further, because the memory was used up."
            }
            Self::CacheRequests => {
                "Requests of routes with a cache by what it did: hit, stale, stale_if_error, revalidated, miss, bypass or only_if_cached."
            }
            Self::CacheMemory => "Memory of the answers that the cache keeps.",
            Self::CacheEvicted => "Kept answers that had to go because the memory was used up.",
            Self::LogDropped => "Log lines lost because the queue or the disk was full.",
            Self::HandshakeFailures => "TLS handshakes that failed.",
            Self::Info => "The version of the edge.",
            Self::Sites => "Sites that the edge serves.",
        }
    }

    /// Returns its type.
    pub fn metric_type(self) -> MetricType {
        match self {
            Self::Requests
            | Self::Bytes
            | Self::Retries
            | Self::QueueRefused
            | Self::MirrorRequests
            | Self::Limited
            | Self::BodyMemoryRefused
            | Self::CacheRequests
            | Self::CacheEvicted
            | Self::LogDropped
            | Self::HandshakeFailures => MetricType::Counter,
            Self::RequestDuration => MetricType::Histogram,
            Self::Connections
            | Self::UpstreamUp
            | Self::UpstreamHealthy
            | Self::UpstreamEjected
            | Self::UpstreamInFlight
            | Self::UpstreamPanic
            | Self::QueueLength
            | Self::BodyMemory
            | Self::CacheMemory
            | Self::Sites => MetricType::Gauge,
            Self::Info => MetricType::Info,
        }
    }
}

/// Returns everything in a registry in Prometheus' text format 0.0.4, which unlike `OpenMetrics`
/// gives a counter's name with its suffix in `HELP` and `TYPE` and knows no infos; every scraper
/// and `promtool check metrics` read it.
pub fn render(registry: &Registry) -> Result<String, fmt::Error> {
    let mut open_metrics = String::new();
    text::encode(&mut open_metrics, registry)?;
    Ok(classic(&open_metrics))
}

fn classic(open_metrics: &str) -> String {
    let types: BTreeMap<&str, &str> = open_metrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .collect();
    let mut out = String::with_capacity(open_metrics.len());
    for line in open_metrics.lines() {
        match classic_line(line, &types) {
            Some(line) => out.push_str(&line),
            None if line.starts_with('#') => continue,
            None => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

/// Returns a `HELP` or `TYPE` line as the classic format has it; nothing for any other line.
fn classic_line(line: &str, types: &BTreeMap<&str, &str>) -> Option<String> {
    let (keyword, rest) = line.strip_prefix("# ")?.split_once(' ')?;
    let (name, text) = rest.split_once(' ')?;
    let kind = types.get(name).copied().unwrap_or_default();
    let (suffix, classic_kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        kind => ("", kind),
    };
    match keyword {
        "HELP" => Some(format!("# HELP {name}{suffix} {text}")),
        "TYPE" => Some(format!("# TYPE {name}{suffix} {classic_kind}")),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::metrics::{counter::Counter, info::Info};

    use super::*;

    #[test]
    fn counters_and_infos_are_described_under_the_names_they_are_scraped_by() {
        let mut registry = Registry::default();
        let counter: Counter = Counter::default();
        counter.inc();
        registry.register("things", "Things", counter);
        registry.register("build", "Build", Info::new([("version", "1")]));
        let text = render(&registry).unwrap();
        let expected = "# HELP things_total Things.\n# TYPE things_total counter\nthings_total 1\n\
                        # HELP build_info Build.\n# TYPE build_info gauge\n\
                        build_info{version=\"1\"} 1\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn counters_end_as_prometheus_wants_them_to() {
        for metric in EdgeMetric::ALL {
            let counter = matches!(metric.metric_type(), MetricType::Counter);
            assert_eq!(metric.name().ends_with("_total"), counter, "{metric:?}");
            assert!(metric.name().starts_with("portway_edge_"));
        }
    }
}
