//! Hands the counts to the registry when metrics are read.

use std::{
    fmt::Error,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use portway_telemetry::metrics::EdgeMetric;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
};

use super::{
    BOUNDS, CLASSES, Copied, Counts, Limited, SiteMetrics, SiteUpstreams, lock,
    upstreams::{self, TargetFigures},
};
use crate::admission::Kind;

#[derive(Debug)]
pub(super) struct Collected {
    pub(super) counts: Arc<Counts>,
    pub(super) served: usize,
    pub(super) upstreams: Vec<SiteUpstreams>,
}

type Sites = [(String, Arc<SiteMetrics>)];

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), Error> {
        let counts = &self.counts;
        let sites = sites(counts);
        let found = &self.upstreams;
        for metric in EdgeMetric::ALL {
            let encoder = encoder.encode_descriptor(
                metric.registered_name(),
                metric.help(),
                None,
                metric.metric_type(),
            )?;
            match metric {
                EdgeMetric::Info => info(encoder, &counts.version),
                EdgeMetric::Sites => served(encoder, self.served),
                EdgeMetric::Requests => requests(encoder, &sites),
                EdgeMetric::RequestDuration => durations(encoder, &sites),
                EdgeMetric::Bytes => bytes(encoder, &sites),
                EdgeMetric::Connections => connections(encoder, counts),
                EdgeMetric::UpstreamUp => targets_up(encoder, &sites),
                EdgeMetric::UpstreamHealthy => {
                    upstreams::targets(encoder, found, |it: &TargetFigures| u32::from(it.healthy))
                }
                EdgeMetric::UpstreamEjected => {
                    upstreams::targets(encoder, found, |it| u32::from(it.ejected))
                }
                EdgeMetric::UpstreamInFlight => {
                    upstreams::targets(encoder, found, |it| it.in_flight)
                }
                EdgeMetric::UpstreamPanic => {
                    upstreams::sites(encoder, found, |it| u32::from(it.panic))
                }
                EdgeMetric::QueueLength => upstreams::sites(encoder, found, |it| it.waiting),
                EdgeMetric::Retries => retries(encoder, &sites),
                EdgeMetric::QueueRefused => queue_refused(encoder, &sites),
                EdgeMetric::MirrorRequests => mirrored(encoder, &sites),
                EdgeMetric::Limited => limited(encoder, &sites),
                EdgeMetric::BodyMemory => gauge(encoder, counts.counted.memory.used()),
                EdgeMetric::BodyMemoryRefused => count(encoder, counts.counted.memory.refused()),
                EdgeMetric::CacheRequests => cached(encoder, &sites),
                EdgeMetric::CacheMemory => gauge(encoder, counts.counted.cache.used()),
                EdgeMetric::CacheEvicted => count(encoder, counts.counted.cache.evicted()),
                EdgeMetric::LogDropped => counter(encoder, &counts.counted.log_dropped),
                EdgeMetric::HandshakeFailures => counter(encoder, &counts.handshake_failures),
            }?;
        }
        Ok(())
    }
}

/// Returns the counts that somebody still holds, and forgets the rest. The lock is not held while
/// text is written.
fn sites(counts: &Counts) -> Vec<(String, Arc<SiteMetrics>)> {
    let mut found = Vec::new();
    lock(&counts.sites).retain(|name, site| match site.upgrade() {
        Some(site) => {
            found.push((name.clone(), site));
            true
        }
        None => false,
    });
    found
}

fn served(mut encoder: MetricEncoder<'_>, sites: usize) -> Result<(), Error> {
    encoder.encode_gauge(&u64::try_from(sites).unwrap_or(u64::MAX))
}

fn info(mut encoder: MetricEncoder<'_>, version: &str) -> Result<(), Error> {
    encoder.encode_info(&[("version", version)])
}

fn counter(encoder: MetricEncoder<'_>, value: &AtomicU64) -> Result<(), Error> {
    count(encoder, value.load(Relaxed))
}

fn count(mut encoder: MetricEncoder<'_>, value: u64) -> Result<(), Error> {
    encoder.encode_counter::<NoLabelSet, _, u64>(&value, None)
}

fn gauge(mut encoder: MetricEncoder<'_>, value: u64) -> Result<(), Error> {
    encoder.encode_gauge(&value)
}

fn requests(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (class, count) in CLASSES.iter().zip(&site.requests) {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = [("site", name.as_str()), ("status_class", class)];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn bytes(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (direction, count) in [("in", &site.bytes_in), ("out", &site.bytes_out)] {
            let labels = [("site", name.as_str()), ("direction", direction)];
            encoder
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&count.load(Relaxed), None)?;
        }
    }
    Ok(())
}

fn durations(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        let bounds = BOUNDS.iter().copied().chain([f64::INFINITY]);
        let counts = site.duration_buckets.iter().map(|count| count.load(Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum = std::time::Duration::from_micros(site.duration_micros.load(Relaxed));
        encoder.encode_family(&[("site", name.as_str())])?.encode_histogram::<NoLabelSet>(
            sum.as_secs_f64(),
            count,
            &buckets,
            None,
        )?;
    }
    Ok(())
}

fn connections(mut encoder: MetricEncoder<'_>, counts: &Counts) -> Result<(), Error> {
    for (address, connections) in lock(&counts.listeners).iter() {
        let listener = address.to_string();
        encoder
            .encode_family(&[("listener", listener.as_str())])?
            .encode_gauge(&connections.open())?;
    }
    Ok(())
}

fn retries(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        encoder
            .encode_family(&[("site", name.as_str())])?
            .encode_counter::<NoLabelSet, _, u64>(&site.retries.load(Relaxed), None)?;
    }
    Ok(())
}

fn queue_refused(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (reason, count) in [("full", &site.queue_full), ("late", &site.queue_late)] {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = [("site", name.as_str()), ("reason", reason)];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn mirrored(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (outcome, count) in Copied::ALL.iter().zip(&site.copies) {
            let count = count.load(Relaxed);
            if count > 0 {
                let labels = [("site", name.as_str()), ("outcome", outcome.name())];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn limited(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (kind, outcomes) in Kind::ALL.iter().zip(&site.limited) {
            for (outcome, count) in Limited::ALL.iter().zip(outcomes) {
                let count = count.load(Relaxed);
                if count == 0 {
                    continue;
                }
                let (limit, outcome) = (kind.name(), outcome.name());
                let labels = [("site", name.as_str()), ("limit", limit), ("outcome", outcome)];
                encoder
                    .encode_family(&labels)?
                    .encode_counter::<NoLabelSet, _, u64>(&count, None)?;
            }
        }
    }
    Ok(())
}

fn cached(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (result, count) in site.cache_counts().filter(|(_, count)| *count > 0) {
            let labels = [("site", name.as_str()), ("result", result)];
            encoder.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&count, None)?;
        }
    }
    Ok(())
}

fn targets_up(mut encoder: MetricEncoder<'_>, sites: &Sites) -> Result<(), Error> {
    for (name, site) in sites {
        for (target, state) in lock(&site.targets).iter() {
            let labels = [("site", name.as_str()), ("target", target.as_str())];
            let up = u32::from(state.0.load(Relaxed));
            encoder.encode_family(&labels)?.encode_gauge(&up)?;
        }
    }
    Ok(())
}
