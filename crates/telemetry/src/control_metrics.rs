//! The metrics of the control plane: their names, and the registry behind them.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError, atomic::AtomicU64},
};

use jiff::Timestamp;
use prometheus_client::{
    encoding::{EncodeLabelSet, EncodeLabelValue, EncodeMetric, LabelValueEncoder, MetricEncoder},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Metric, Registry},
};

use crate::metrics;

/// A metric of the control plane. Labels come from bounded sets only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlMetric {
    /// The control plane itself, by `version`.
    BuildInfo,
    /// Requests of the API, by `method`, `route` (its template) and `status_class`.
    HttpRequests,
    /// How long they took, by `method` and `route`.
    HttpRequestDuration,
    /// Users who may log in.
    UsersActive,
    /// Sessions that are open.
    SessionsActive,
    /// Deployments that ended, by `outcome`.
    Deployments,
    /// Runs of tasks, by `task` and `outcome`.
    TaskRuns,
    /// Time since the end of a task's last run, by `task`.
    TaskLastRunAge,
    /// Time until the end of the certificate that ends first, by `source`.
    CertificateExpiry,
}

/// How a deployment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeploymentOutcome {
    /// It is live.
    Live,
    /// It was undone.
    RolledBack,
    /// It was refused before anything changed.
    Rejected,
    /// The node is in no known state.
    Stuck,
}

/// How a run of a task ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TaskOutcome {
    /// It did what it should.
    Succeeded,
    /// It did not.
    Failed,
}

/// The metrics of a control plane. Clones share their values.
#[derive(Clone, Debug)]
pub struct ControlMetrics {
    registry: Arc<Registry>,
    requests: Family<RequestLabels, Counter>,
    durations: Family<RouteLabels, Histogram, fn() -> Histogram>,
    users: Number,
    sessions: Number,
    deployments: Family<DeploymentLabels, Counter>,
    task_runs: Family<TaskRunLabels, Counter>,
    task_ages: Family<TaskLabels, Seconds>,
    expiries: Family<SourceLabels, Seconds>,
    times: Arc<Mutex<Times>>,
}

type Seconds = Gauge<f64, AtomicU64>;

/// A gauge whose value may be unknown: then it is not scraped at all.
#[derive(Clone, Debug, Default)]
struct Number(Arc<Mutex<Option<u32>>>);

/// Points in time from which seconds are counted at every scrape.
#[derive(Debug, Default)]
struct Times {
    last_runs: BTreeMap<&'static str, Timestamp>,
    first_ends: BTreeMap<&'static str, Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    method: Method,
    route: String,
    status_class: StatusClass,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: Method,
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct DeploymentLabels {
    outcome: DeploymentOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskRunLabels {
    task: &'static str,
    outcome: TaskOutcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TaskLabels {
    task: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SourceLabels {
    source: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabels {
    version: &'static str,
}

/// One of the methods that the API has, or `OTHER`: a client may send any word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Method(&'static str);

/// The hundreds of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct StatusClass(u16);

/// Bounds of the duration histogram in seconds: from what a read takes to what a wait may take.
const BUCKETS: [f64; 12] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];
const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];

impl ControlMetric {
    /// Every metric.
    pub const ALL: [Self; 9] = [
        Self::BuildInfo,
        Self::HttpRequests,
        Self::HttpRequestDuration,
        Self::UsersActive,
        Self::SessionsActive,
        Self::Deployments,
        Self::TaskRuns,
        Self::TaskLastRunAge,
        Self::CertificateExpiry,
    ];

    /// Returns the name under which it is scraped.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuildInfo => "portway_build_info",
            Self::HttpRequests => "portway_http_requests_total",
            Self::HttpRequestDuration => "portway_http_request_duration_seconds",
            Self::UsersActive => "portway_users_active",
            Self::SessionsActive => "portway_sessions_active",
            Self::Deployments => "portway_deployments_total",
            Self::TaskRuns => "portway_task_runs_total",
            Self::TaskLastRunAge => "portway_task_last_run_age_seconds",
            Self::CertificateExpiry => "portway_certificate_expiry_seconds",
        }
    }

    /// Returns what it tells.
    pub const fn help(self) -> &'static str {
        match self {
            Self::BuildInfo => "The version of the control plane",
            Self::HttpRequests => "Requests of the API by method, route and class of the status",
            Self::HttpRequestDuration => "Time that requests of the API took",
            Self::UsersActive => "Users who may log in",
            Self::SessionsActive => "Sessions that are open",
            Self::Deployments => "Deployments that ended, by outcome",
            Self::TaskRuns => "Runs of background tasks by outcome",
            Self::TaskLastRunAge => "Time since the last run of a background task ended",
            Self::CertificateExpiry => "Time until the first certificate of a source ends",
        }
    }

    fn register(self, registry: &mut Registry, metric: impl Metric) {
        // The encoder appends the suffix of counters itself.
        let name = self.name().strip_suffix("_total").unwrap_or(self.name());
        registry.register(name, self.help(), metric);
    }
}

impl ControlMetrics {
    /// Makes the metrics of a control plane of this version.
    pub fn new(version: &'static str) -> Self {
        let mut registry = Registry::default();
        let metrics = Self {
            registry: Arc::default(),
            requests: Family::default(),
            durations: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            users: Number::default(),
            sessions: Number::default(),
            deployments: Family::default(),
            task_runs: Family::default(),
            task_ages: Family::default(),
            expiries: Family::default(),
            times: Arc::default(),
        };
        let info: Family<VersionLabels, Gauge> = Family::default();
        info.get_or_create(&VersionLabels { version }).set(1);
        for metric in ControlMetric::ALL {
            let to = &mut registry;
            match metric {
                ControlMetric::BuildInfo => metric.register(to, info.clone()),
                ControlMetric::HttpRequests => metric.register(to, metrics.requests.clone()),
                ControlMetric::HttpRequestDuration => {
                    metric.register(to, metrics.durations.clone());
                }
                ControlMetric::UsersActive => metric.register(to, metrics.users.clone()),
                ControlMetric::SessionsActive => metric.register(to, metrics.sessions.clone()),
                ControlMetric::Deployments => metric.register(to, metrics.deployments.clone()),
                ControlMetric::TaskRuns => metric.register(to, metrics.task_runs.clone()),
                ControlMetric::TaskLastRunAge => metric.register(to, metrics.task_ages.clone()),
                ControlMetric::CertificateExpiry => metric.register(to, metrics.expiries.clone()),
            }
        }
        metrics.begin_at_zero();
        Self { registry: Arc::new(registry), ..metrics }
    }

    /// A counter that is there from the start lets `rate` see its first step.
    fn begin_at_zero(&self) {
        for outcome in DeploymentOutcome::ALL {
            drop(self.deployments.get_or_create(&DeploymentLabels { outcome }));
        }
    }

    /// Counts a request of the API. The route is its template, as `/api/v1/sites/{site}`, never its
    /// path; a request that met none has a fixed word.
    pub fn observe_request(&self, method: &str, route: &str, status: u16, seconds: f64) {
        let method = Method::of(method);
        let route = route.to_owned();
        let status_class = StatusClass(status / 100);
        let labels = RequestLabels { method, route: route.clone(), status_class };
        self.requests.get_or_create(&labels).inc();
        self.durations.get_or_create(&RouteLabels { method, route }).observe(seconds);
    }

    /// Sets the number of users who may log in; without one, it is not known and not scraped.
    pub fn set_users_active(&self, users: impl Into<Option<u32>>) {
        self.users.set(users.into());
    }

    /// Sets the number of open sessions; without one, it is not known and not scraped.
    pub fn set_sessions_active(&self, sessions: impl Into<Option<u32>>) {
        self.sessions.set(sessions.into());
    }

    /// Counts a deployment that ended.
    pub fn deployment_ended(&self, outcome: DeploymentOutcome) {
        self.deployments.get_or_create(&DeploymentLabels { outcome }).inc();
    }

    /// Takes over that a run of a task ended which another manager made.
    pub fn task_seen(&self, task: &'static str, at: Timestamp) {
        self.times().last_runs.insert(task, at);
    }

    /// Counts a run of a task that ended.
    pub fn task_ended(&self, task: &'static str, outcome: TaskOutcome, at: Timestamp) {
        self.task_runs.get_or_create(&TaskRunLabels { task, outcome }).inc();
        self.times().last_runs.insert(task, at);
    }

    /// Sets when the certificates end; each with its source. What was set before is forgotten.
    pub fn set_certificates(&self, ends: impl IntoIterator<Item = (&'static str, Timestamp)>) {
        let mut first_ends: BTreeMap<&'static str, Timestamp> = BTreeMap::new();
        for (source, end) in ends {
            first_ends.entry(source).and_modify(|first| *first = end.min(*first)).or_insert(end);
        }
        self.times().first_ends = first_ends;
    }

    /// Returns all metrics in Prometheus' text format, [`metrics::CONTENT_TYPE`].
    pub fn render(&self, now: Timestamp) -> Result<String, fmt::Error> {
        // Held to the end, so that of two scrapes none sees the seconds of the other half set.
        let times = self.times();
        self.task_ages.clear();
        for (&task, &last) in &times.last_runs {
            let age = now.duration_since(last).as_secs_f64();
            self.task_ages.get_or_create(&TaskLabels { task }).set(age);
        }
        self.expiries.clear();
        for (&source, &end) in &times.first_ends {
            let left = end.duration_since(now).as_secs_f64();
            self.expiries.get_or_create(&SourceLabels { source }).set(left);
        }
        metrics::render(&self.registry)
    }

    fn times(&self) -> MutexGuard<'_, Times> {
        self.times.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Number {
    fn set(&self, value: Option<u32>) {
        *self.value() = value;
    }

    fn value(&self) -> MutexGuard<'_, Option<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EncodeMetric for Number {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        let value = *self.value();
        value.map_or(Ok(()), |value| encoder.encode_gauge(&value))
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }

    fn is_empty(&self) -> bool {
        self.value().is_none()
    }
}

impl DeploymentOutcome {
    /// All outcomes.
    pub const ALL: [Self; 4] = [Self::Live, Self::RolledBack, Self::Rejected, Self::Stuck];

    /// Returns the value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::RolledBack => "rolled_back",
            Self::Rejected => "rejected",
            Self::Stuck => "stuck",
        }
    }
}

impl TaskOutcome {
    /// Returns the value of the label.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
        }
    }
}

impl Method {
    fn of(method: &str) -> Self {
        Self(METHODS.into_iter().find(|known| *known == method).unwrap_or("OTHER"))
    }
}

impl EncodeLabelValue for DeploymentOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for TaskOutcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.as_str().encode(encoder)
    }
}

impl EncodeLabelValue for Method {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

impl EncodeLabelValue for StatusClass {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        format!("{}xx", self.0).encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        io::Write,
        process::{Command, Stdio},
    };

    use super::*;

    fn now() -> Timestamp {
        "2026-06-15T12:00:00Z".parse().unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    /// Metrics in which every name has a value.
    fn filled() -> ControlMetrics {
        let metrics = ControlMetrics::new("1.2.3");
        metrics.observe_request("GET", "/api/v1/sites/{site}", 200, 0.002);
        metrics.observe_request("BREW", "unmatched", 404, 0.001);
        metrics.set_users_active(3);
        metrics.set_sessions_active(2);
        metrics.deployment_ended(DeploymentOutcome::Live);
        metrics.task_ended("renew", TaskOutcome::Succeeded, at("2026-06-15T11:59:30Z"));
        let ends = ["2026-07-15T12:00:00Z", "2026-06-16T12:00:00Z"].map(|end| ("local", at(end)));
        metrics.set_certificates(ends);
        metrics
    }

    #[test]
    fn every_metric_is_scraped_under_its_name_with_its_help() {
        let text = filled().render(now()).unwrap();
        for metric in ControlMetric::ALL {
            let help = format!("# HELP {} {}.\n", metric.name(), metric.help());
            assert!(text.contains(&help), "{help} is missing in\n{text}");
            let sample = text.lines().any(|line| line.starts_with(metric.name()));
            assert!(sample, "{metric:?} has no sample");
        }
    }

    #[test]
    fn values_stand_with_their_labels() {
        let text = filled().render(now()).unwrap();
        for line in [
            "portway_build_info{version=\"1.2.3\"} 1",
            "portway_http_requests_total{method=\"GET\",route=\"/api/v1/sites/{site}\",status_class=\"2xx\"} 1",
            "portway_http_requests_total{method=\"OTHER\",route=\"unmatched\",status_class=\"4xx\"} 1",
            "portway_users_active 3",
            "portway_sessions_active 2",
            "portway_deployments_total{outcome=\"live\"} 1",
            "portway_deployments_total{outcome=\"stuck\"} 0",
            "portway_task_runs_total{task=\"renew\",outcome=\"succeeded\"} 1",
            "portway_task_last_run_age_seconds{task=\"renew\"} 30.0",
            "portway_certificate_expiry_seconds{source=\"local\"} 86400.0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is missing in\n{text}");
        }
    }

    #[test]
    fn what_is_gone_is_not_scraped_any_more_and_time_goes_on() {
        let metrics = filled();
        metrics.set_certificates([]);
        metrics.set_users_active(None);
        metrics.set_sessions_active(None);
        let text = metrics.render(at("2026-06-15T12:00:30Z")).unwrap();
        for unknown in ["portway_users_active", "portway_sessions_active"] {
            assert!(!text.lines().any(|line| line.starts_with(unknown)), "{text}");
        }
        assert!(!text.contains("expiry_seconds{"), "{text}");
        assert!(text.contains("portway_task_last_run_age_seconds{task=\"renew\"} 60.0"), "{text}");
    }

    #[test]
    fn clones_count_together() {
        let metrics = ControlMetrics::new("1.2.3");
        metrics.clone().deployment_ended(DeploymentOutcome::Stuck);
        let text = metrics.render(now()).unwrap();
        assert!(text.contains("portway_deployments_total{outcome=\"stuck\"} 1"), "{text}");
    }

    /// Runs only where Prometheus' own tool is installed.
    #[test]
    fn promtool_has_nothing_to_say() {
        let mut promtool = Command::new("promtool");
        promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stderr(Stdio::piped());
        let Ok(mut child) = promtool.stdout(Stdio::piped()).spawn() else {
            return;
        };
        let text = filled().render(now()).unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
    }
}
