//! What the edge counts. The hot path touches atomics only; a lock is taken when a site, target or
//! listener is seen for the first time, and while metrics are read. Sites without traffic cost
//! nothing.
//!
//! The counts of a site belong to whoever serves it: with the last request of a site that is gone, or
//! that has another name now, they are gone too. So there are never more series than sites are
//! served and targets configured.

mod collect;
mod upstreams;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::StatusCode;
use prometheus_client::registry::Registry;

use self::collect::Collected;
pub(crate) use self::upstreams::SiteUpstreams;
use crate::{
    admission::Kind,
    body::Memory,
    cache::{Store, Verdict},
};

/// The upper bounds of the duration's buckets, in seconds; the last bucket has none.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0];

/// The classes of statuses: 1xx to 5xx, and what is none.
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "other"];

/// Everything the edge counts; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct Metrics(Arc<Counts>);

/// The counts of one site; kept by whoever serves it.
#[derive(Debug, Default)]
pub(crate) struct SiteMetrics {
    requests: [AtomicU64; CLASSES.len()],
    bytes_in: AtomicU64,
    bytes_out: AtomicU64,
    duration_buckets: [AtomicU64; BOUNDS.len() + 1],
    duration_micros: AtomicU64,
    retries: AtomicU64,
    queue_full: AtomicU64,
    queue_late: AtomicU64,
    copies: [AtomicU64; Copied::ALL.len()],
    limited: [[AtomicU64; 2]; Kind::ALL.len()],
    cache: [AtomicU64; Verdict::ALL.len()],
    targets: Mutex<BTreeMap<String, UpstreamState>>,
}

/// What became of a copy of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Copied {
    /// The mirror answered it.
    Sent,
    /// The mirror did not.
    Failed,
    /// Its body was too large to be copied.
    TooLarge,
    /// There was no place or memory for it.
    Busy,
}

/// What became of a request beyond a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Limited {
    /// It was answered 429.
    Refused,
    /// It went on, as the limit is only tried out.
    DryRun,
}

/// Whether a target takes connections; a cheap handle.
#[derive(Clone, Debug)]
pub(crate) struct UpstreamState(Arc<AtomicBool>);

/// The connections of one listener; a cheap handle.
#[derive(Clone, Debug, Default)]
pub(crate) struct ListenerConnections(Arc<AtomicU64>);

/// An open connection, counted until it is dropped.
#[derive(Debug)]
pub(crate) struct ConnectionGuard(ListenerConnections);

/// What counts by itself.
#[derive(Clone, Debug)]
pub(crate) struct Counted {
    /// Lines that no log could take.
    pub(crate) log_dropped: Arc<AtomicU64>,
    /// The memory of bodies.
    pub(crate) memory: Arc<Memory>,
    /// Kept answers.
    pub(crate) cache: Arc<Store>,
}

#[derive(Debug)]
struct Counts {
    version: String,
    sites: Mutex<BTreeMap<String, Weak<SiteMetrics>>>,
    listeners: Mutex<BTreeMap<SocketAddr, ListenerConnections>>,
    handshake_failures: AtomicU64,
    counted: Counted,
}

impl Metrics {
    /// Returns metrics that count from zero, but for what counts by itself.
    pub(crate) fn new(version: &str, counted: Counted) -> Self {
        Self(Arc::new(Counts {
            version: version.to_owned(),
            sites: Mutex::default(),
            listeners: Mutex::default(),
            handshake_failures: AtomicU64::new(0),
            counted,
        }))
    }

    /// Returns the counts of a site, begun at its first request. They are told of for as long as
    /// somebody holds them.
    pub(crate) fn site(&self, name: &str) -> Arc<SiteMetrics> {
        let mut sites = lock(&self.0.sites);
        if let Some(site) = sites.get(name).and_then(Weak::upgrade) {
            return site;
        }
        let site = Arc::<SiteMetrics>::default();
        sites.insert(name.to_owned(), Arc::downgrade(&site));
        site
    }

    /// Returns the connections of a listener.
    pub(crate) fn listener(&self, address: SocketAddr) -> ListenerConnections {
        lock(&self.0.listeners).entry(address).or_default().clone()
    }

    /// Returns the open connections of all listeners.
    pub(crate) fn connections(&self) -> u64 {
        lock(&self.0.listeners).values().map(ListenerConnections::open).sum()
    }

    /// Counts a TLS handshake that failed.
    pub(crate) fn handshake_failed(&self) {
        self.0.handshake_failures.fetch_add(1, Relaxed);
    }

    /// Returns everything in Prometheus' text format; `served` is the number of sites, `upstreams`
    /// how the targets of those are that get requests.
    pub(crate) fn encode(
        &self,
        served: usize,
        upstreams: Vec<SiteUpstreams>,
    ) -> Result<String, fmt::Error> {
        let mut registry = Registry::default();
        let counts = Arc::clone(&self.0);
        registry.register_collector(Box::new(Collected { counts, served, upstreams }));
        portway_telemetry::metrics::render(&registry)
    }
}

impl SiteMetrics {
    /// Counts a request that was answered.
    pub(crate) fn request(
        &self,
        status: StatusCode,
        duration: Duration,
        bytes_in: u64,
        bytes_out: u64,
    ) {
        add(self.requests.get(class(status)), 1);
        self.bytes_in.fetch_add(bytes_in, Relaxed);
        self.bytes_out.fetch_add(bytes_out, Relaxed);
        let seconds = duration.as_secs_f64();
        let bucket = BOUNDS.iter().position(|bound| seconds <= *bound).unwrap_or(BOUNDS.len());
        add(self.duration_buckets.get(bucket), 1);
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration_micros.fetch_add(micros, Relaxed);
    }

    /// Counts further attempts of a request.
    pub(crate) fn retried(&self, times: u64) {
        if times > 0 {
            self.retries.fetch_add(times, Relaxed);
        }
    }

    /// Counts a request that found as many waiting as may.
    pub(crate) fn queue_was_full(&self) {
        self.queue_full.fetch_add(1, Relaxed);
    }

    /// Counts a request that waited for a place in vain.
    pub(crate) fn queue_took_too_long(&self) {
        self.queue_late.fetch_add(1, Relaxed);
    }

    /// Counts a copy of a request for a mirror.
    pub(crate) fn copied(&self, copied: Copied) {
        let place = Copied::ALL.iter().position(|one| *one == copied);
        add(place.and_then(|place| self.copies.get(place)), 1);
    }

    /// Counts a request beyond a limit.
    pub(crate) fn limited(&self, kind: Kind, outcome: Limited) {
        let place = Kind::ALL.iter().position(|one| *one == kind);
        let outcomes = place.and_then(|place| self.limited.get(place));
        let place = Limited::ALL.iter().position(|one| *one == outcome);
        add(outcomes.zip(place).and_then(|(outcomes, place)| outcomes.get(place)), 1);
    }

    /// Counts what a cache did for a request.
    pub(crate) fn cached(&self, verdict: Verdict) {
        let place = Verdict::ALL.iter().position(|one| *one == verdict);
        add(place.and_then(|place| self.cache.get(place)), 1);
    }

    /// Returns what a cache did, and how often.
    pub(crate) fn cache_counts(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.cache.iter().map(|count| count.load(Relaxed));
        Verdict::ALL.iter().map(|verdict| verdict.word()).zip(counts)
    }

    /// Returns the state of a target, taken to be up until it proves otherwise.
    pub(crate) fn upstream(&self, target: &str) -> UpstreamState {
        let mut targets = lock(&self.targets);
        if let Some(state) = targets.get(target) {
            return state.clone();
        }
        let state = UpstreamState(Arc::new(AtomicBool::new(true)));
        targets.insert(target.to_owned(), state.clone());
        state
    }

    /// Forgets the targets that the site no longer has.
    pub(crate) fn keep_targets(&self, targets: &BTreeSet<String>) {
        lock(&self.targets).retain(|target, _| targets.contains(target));
    }
}

impl Copied {
    /// All that may become of one.
    const ALL: [Self; 4] = [Self::Sent, Self::Failed, Self::TooLarge, Self::Busy];

    fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Failed => "failed",
            Self::TooLarge => "too_large",
            Self::Busy => "busy",
        }
    }
}

impl Limited {
    /// All that may become of one.
    const ALL: [Self; 2] = [Self::Refused, Self::DryRun];

    fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::DryRun => "dry_run",
        }
    }
}

impl UpstreamState {
    /// Notes that the target took a connection.
    pub(crate) fn up(&self) {
        self.0.store(true, Relaxed);
    }

    /// Notes that the target took none.
    pub(crate) fn down(&self) {
        self.0.store(false, Relaxed);
    }
}

impl ListenerConnections {
    /// Counts a connection for as long as the guard lives.
    pub(crate) fn connection(&self) -> ConnectionGuard {
        self.0.fetch_add(1, Relaxed);
        ConnectionGuard(self.clone())
    }

    fn open(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Relaxed);
    }
}

fn class(status: StatusCode) -> usize {
    let class = usize::from(status.as_u16() / 100);
    if (1..=5).contains(&class) { class - 1 } else { CLASSES.len() - 1 }
}

fn add(counter: Option<&AtomicU64>, n: u64) {
    if let Some(counter) = counter {
        counter.fetch_add(n, Relaxed);
    }
}

/// Counts stay usable after a panic elsewhere: none is ever half-written.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_counted_by_site_and_class() {
        let (metrics, _) = metrics();
        let site = metrics.site("blog");
        site.request(StatusCode::OK, Duration::from_millis(2), 10, 1000);
        site.request(StatusCode::NOT_FOUND, Duration::from_secs(61), 0, 50);
        metrics.site("blog").request(StatusCode::OK, Duration::ZERO, 0, 0);
        let text = metrics.encode(1, vec![]).unwrap();
        for line in [
            r#"portway_edge_requests_total{site="blog",status_class="2xx"} 2"#,
            r#"portway_edge_requests_total{site="blog",status_class="4xx"} 1"#,
            r#"portway_edge_bytes_total{site="blog",direction="in"} 10"#,
            r#"portway_edge_bytes_total{site="blog",direction="out"} 1050"#,
            r#"portway_edge_request_duration_seconds_count{site="blog"} 3"#,
            r#"portway_edge_request_duration_seconds_sum{site="blog"} 61.002"#,
            r#"portway_edge_request_duration_seconds_bucket{le="0.001",site="blog"} 1"#,
            r#"portway_edge_request_duration_seconds_bucket{le="0.0025",site="blog"} 2"#,
            r#"portway_edge_request_duration_seconds_bucket{le="60.0",site="blog"} 2"#,
            r#"portway_edge_request_duration_seconds_bucket{le="+Inf",site="blog"} 3"#,
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("5xx"), "classes that never occurred are left out");
    }

    #[test]
    fn connections_count_while_they_live() {
        let (metrics, _) = metrics();
        let address: SocketAddr = "127.0.0.1:8080".parse().unwrap();
        let guard = metrics.listener(address).connection();
        let line = r#"portway_edge_connections{listener="127.0.0.1:8080"} "#;
        assert!(metrics.encode(1, vec![]).unwrap().contains(&format!("{line}1\n")));
        assert_eq!(metrics.connections(), 1);
        drop(guard);
        assert!(metrics.encode(1, vec![]).unwrap().contains(&format!("{line}0\n")));
    }

    #[test]
    fn targets_are_up_or_down_and_a_site_that_is_gone_is_forgotten() {
        let (metrics, _) = metrics();
        let site = metrics.site("blog");
        let state = site.upstream("unix:/run/a\"b.sock");
        let line = r#"portway_edge_upstream_up{site="blog",target="unix:/run/a\"b.sock"} "#;
        assert!(metrics.encode(1, vec![]).unwrap().contains(&format!("{line}1\n")));
        state.down();
        assert!(metrics.encode(1, vec![]).unwrap().contains(&format!("{line}0\n")));
        state.up();
        drop(site);
        assert!(!metrics.encode(0, vec![]).unwrap().contains("blog"));
        assert!(lock(&metrics.0.sites).is_empty(), "nothing of it is kept");
    }

    #[test]
    fn a_target_that_the_site_no_longer_has_is_forgotten() {
        let (metrics, _) = metrics();
        let site = metrics.site("blog");
        for target in ["127.0.0.1:1", "127.0.0.1:2"] {
            site.upstream(target).down();
        }
        site.keep_targets(&BTreeSet::from(["127.0.0.1:2".to_owned()]));
        let text = metrics.encode(1, vec![]).unwrap();
        assert!(!text.contains("127.0.0.1:1"), "{text}");
        assert!(text.contains("target=\"127.0.0.1:2\"} 0\n"), "the other keeps its state: {text}");
    }

    #[test]
    fn the_edge_itself_is_described() {
        let (metrics, dropped) = metrics();
        dropped.fetch_add(3, Relaxed);
        metrics.handshake_failed();
        let text = metrics.encode(1, vec![]).unwrap();
        assert!(text.contains("portway_edge_info{version=\"1.2.3\"} 1\n"), "{text}");
        assert!(text.contains("portway_edge_sites 1\n"), "{text}");
        assert!(text.contains("portway_edge_log_dropped_total 3\n"), "{text}");
        assert!(text.contains("portway_edge_handshake_failures_total 1\n"), "{text}");
    }

    fn metrics() -> (Metrics, Arc<AtomicU64>) {
        let dropped = Arc::<AtomicU64>::default();
        let log_dropped = Arc::clone(&dropped);
        let counted = Counted { log_dropped, memory: Memory::new(0), cache: Store::new(1_000) };
        (Metrics::new("1.2.3", counted), dropped)
    }
}
