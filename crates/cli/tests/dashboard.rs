//! The Grafana dashboard and the alerts: every query is one that Prometheus understands, names
//! metrics that exist, and finds data on a system that runs.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a failed assumption fails the test"
)]

use std::{
    collections::BTreeSet,
    fs,
    net::SocketAddr,
    process::{Command, Output, Stdio},
    time::Duration,
};

use camino::{Utf8Path, Utf8PathBuf};
use portway_telemetry::{ControlMetric, NodeMetric, metrics::EdgeMetric};
use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Child,
    time::Instant,
};

/// How long data may take to appear.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often it is looked for.
const EVERY: Duration = Duration::from_millis(200);
/// What Grafana puts in the place of its variables; here for a scrape each second.
const VARIABLES: [(&str, &str); 2] = [("$__rate_interval", "10s"), ("$site", ".*")];

/// A query of a panel.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Query {
    panel: String,
    expr: String,
}

#[test]
fn prometheus_understands_every_query() {
    if may_skip("promtool") {
        return;
    }
    let rule = |(number, query): (usize, &Query)| json!({ "record": format!("dashboard:query:{number}"), "expr": query.expr });
    let queries = queries();
    let rules: Vec<Value> = queries.iter().enumerate().map(rule).collect();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("rules.yml");
    let groups = json!({ "groups": [{ "name": "dashboard", "rules": rules }] });
    fs::write(&file, groups.to_string()).unwrap();
    let output = promtool(&["check", "rules", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn every_query_names_metrics_that_exist() {
    let alerts = fs::read_to_string(repository().join("deploy/prometheus/alerts.yml")).unwrap();
    let texts = queries().into_iter().map(|query| query.expr).chain([alerts]);
    let named: BTreeSet<String> = texts.flat_map(|text| metrics_in(&text)).collect();
    assert!(named.len() > 10, "{named:?}");
    let known = known_metrics();
    let unknown: Vec<&String> = named.difference(&known).collect();
    assert!(unknown.is_empty(), "there are no such metrics: {unknown:?}");
}

#[test]
fn panels_have_places_and_names_of_their_own() {
    let dashboard = dashboard();
    assert!(dashboard["schemaVersion"].as_u64().unwrap() >= 39);
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has an id of its own");
    let mut taken = BTreeSet::new();
    for panel in panels {
        let place = |side: &str| panel["gridPos"][side].as_u64().unwrap();
        assert!(place("x") + place("w") <= 24, "{}", panel["title"]);
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(taken.insert((x, y)), "{} lies over another panel", panel["title"]);
            }
        }
    }
}

#[test]
fn alerts_fire_when_something_is_wrong_and_only_then() {
    if may_skip("promtool") {
        return;
    }
    let folder = repository().join("deploy/prometheus");
    let output = promtool(&["check", "rules", folder.join("alerts.yml").as_str()]);
    assert!(output.status.success(), "{}", said(&output));
    let output = promtool(&["test", "rules", folder.join("alerts_test.yml").as_str()]);
    assert!(output.status.success(), "{}", said(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_panel_shows_data_of_a_system_that_runs() {
    if may_skip("prometheus") {
        return;
    }
    let manager = Manager::start(env!("CARGO_BIN_EXE_portway")).await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let target = origin.address().unwrap().to_string();
    let words = ["site", "add", "app.localhost", "--no-https", "--to", &target];
    let added = manager.run(&words).await.unwrap();
    assert_eq!(added.code, 0, "{added:?}");
    let edge = SocketAddr::from(([127, 0, 0, 1], manager.http_port()));
    let prometheus = Prometheus::scraping(manager.api()).await;

    let deadline = Instant::now() + PATIENCE;
    let mut missing = queries();
    while !missing.is_empty() {
        assert!(Instant::now() < deadline, "no data for {missing:#?}");
        assert_eq!(get(edge, "app.localhost", "/").await.0, 200);
        assert_eq!(get(manager.api(), "localhost", "/api/v1/health").await.0, 200);
        let mut still = Vec::new();
        for query in missing {
            if !prometheus.has_data(&query.expr).await {
                still.push(query);
            }
        }
        missing = still;
        tokio::time::sleep(EVERY).await;
    }
}

/// Returns every query of every panel, as Grafana sends it.
fn queries() -> Vec<Query> {
    let mut queries = Vec::new();
    for panel in dashboard()["panels"].as_array().unwrap() {
        let title = panel["title"].as_str().unwrap();
        let is_row = panel["type"] == "row";
        let targets = panel["targets"].as_array().map(Vec::as_slice).unwrap_or_default();
        assert_eq!(targets.is_empty(), is_row, "{title} has queries unless it is a row");
        for target in targets {
            let mut expr = target["expr"].as_str().unwrap().to_owned();
            for (variable, value) in VARIABLES {
                expr = expr.replace(variable, value);
            }
            assert!(!expr.contains('$'), "{title} uses a variable that is not there: {expr}");
            queries.push(Query { panel: title.to_owned(), expr });
        }
    }
    queries
}

fn dashboard() -> Value {
    let text = fs::read_to_string(repository().join("dashboards/portway.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn repository() -> Utf8PathBuf {
    Utf8Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize_utf8().unwrap()
}

/// Returns the words of a text that are names of metrics of ours.
fn metrics_in(text: &str) -> Vec<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let words = text.split(|c: char| !is_part(c));
    words.filter(|word| word.starts_with("portway_")).map(str::to_owned).collect()
}

/// Returns the names under which our metrics are scraped.
fn known_metrics() -> BTreeSet<String> {
    let edge = EdgeMetric::ALL.map(EdgeMetric::name);
    let control = ControlMetric::ALL.map(ControlMetric::name);
    let mut known = BTreeSet::new();
    let nodes = NodeMetric::ALL.map(NodeMetric::name);
    for name in edge.iter().chain(&control).chain(&nodes) {
        if name.contains("_duration_") {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{name}_{part}")));
        } else {
            known.insert((*name).to_owned());
        }
    }
    known
}

/// Tells whether to leave a test out because this machine lacks a program. Where everything must
/// run, no test may be.
fn may_skip(program: &str) -> bool {
    let there = Command::new(program).arg("--version").output().is_ok();
    assert!(there || std::env::var_os("CI").is_none(), "{program} is missing");
    if !there {
        eprintln!("skipped: there is no {program}");
    }
    !there
}

fn promtool(words: &[&str]) -> Output {
    Command::new("promtool").args(words).output().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.as_slice(), &output.stderr].concat()).into_owned()
}

/// A Prometheus on a free port. It ends with this.
struct Prometheus {
    address: SocketAddr,
    _process: Child,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Starts one that asks `target` for its metrics each second.
    async fn scraping(target: SocketAddr) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = json!({
            "global": { "scrape_interval": "1s", "scrape_timeout": "1s" },
            "scrape_configs": [{
                "job_name": "portway",
                "static_configs": [{ "targets": [target.to_string()] }],
            }],
        });
        let file = folder.path().join("prometheus.yml");
        fs::write(&file, config.to_string()).unwrap();
        let log = folder.path().join("log");
        let process = tokio::process::Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).unwrap())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let deadline = Instant::now() + PATIENCE;
        let address = loop {
            let text = fs::read_to_string(&log).unwrap();
            if let Some(address) = listening(&text) {
                break address;
            }
            assert!(Instant::now() < deadline, "Prometheus does not start: {text}");
            tokio::time::sleep(EVERY).await;
        };
        Self { address, _process: process, _folder: folder }
    }

    /// Tells whether a query finds a series with a number.
    async fn has_data(&self, expr: &str) -> bool {
        let path = format!("/api/v1/query?query={}", escaped(expr));
        let (status, body) = get(self.address, "localhost", &path).await;
        // It answers 503 while it starts.
        if status == 503 {
            return false;
        }
        assert_eq!(status, 200, "{expr}: {body}");
        let answer: Value = serde_json::from_str(&body).unwrap();
        let series = answer["data"]["result"].as_array().unwrap();
        let number = |one: &Value| one["value"][1].as_str().unwrap().parse::<f64>().unwrap();
        series.iter().any(|one| number(one).is_finite())
    }
}

/// Finds the address on which Prometheus says that it listens.
fn listening(log: &str) -> Option<SocketAddr> {
    let line = log.lines().find(|line| line.contains("Listening on"))?;
    let (_, address) = line.split_once("address=")?;
    address.split_whitespace().next()?.parse().ok()
}

fn escaped(text: &str) -> String {
    let code = |byte: u8| format!("%{byte:02X}");
    text.bytes().map(code).collect::<Vec<String>>().concat()
}

/// Asks for a path, and returns status and body. HTTP/1.0 has no chunks to be put together.
async fn get(address: SocketAddr, host: &str, path: &str) -> (u16, String) {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: {host}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split_whitespace().nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}
