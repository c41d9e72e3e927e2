//! How nodes fare, as their users see it: what is measured, and what is not known and why.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};

use crate::{
    fleet::machine::{Machine, get},
    support::{PROGRAM, eventually, json, manager, ok},
};

/// A manager that reads its nodes each second.
async fn quick_manager() -> Manager {
    let mut manager = Manager::new(PROGRAM).unwrap().with("--observe-every=1");
    manager.serve().await.unwrap();
    manager
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_measured_on_a_node_is_told_and_what_is_not_says_why() {
    let manager = quick_manager().await;
    let mut machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &[]).await;
    let unread = json(&manager, &["node", "stats", "web-1"]).await;
    let why = unread["values"]["cpu_percent"]["unknown"].as_str().unwrap();
    assert!(why.contains("not confirmed"), "{why}");

    ok(&manager, &["node", "confirm", "web-1", "--host-key", &machine.pin()]).await;
    let add = ["site", "add", "app.example", "--to", &to, "--node", "web-1"];
    ok(&manager, &add).await;
    for _ in 0..5 {
        assert!(machine.get("app.example", "/").await.is_some());
    }
    let read = eventually("rates and certificates are known", async || {
        let read = json(&manager, &["node", "stats", "web-1"]).await;
        let known = ["cpu_percent", "requests_rate", "certificate_left"];
        let is_known = |name: &&str| read["values"][name]["value"].is_number();
        let requests = read["values"]["requests"]["value"].as_f64().unwrap_or_default();
        (known.iter().all(is_known) && requests >= 5.0).then_some(read)
    })
    .await;
    let value = |name: &str| read["values"][name]["value"].as_f64().unwrap_or(f64::NAN);
    assert!((0.0..=100.0).contains(&value("cpu_percent")), "{read}");
    for name in ["memory_total", "memory_available", "home_free", "logs_free", "root_total"] {
        assert!(value(name) > 1e6, "{name}: {read}");
    }
    assert!(value("uptime") > 1.0 && value("load1") >= 0.0, "{read}");
    assert!(value("clock_ahead").abs() < 2.0, "it is the same clock: {read}");
    assert!(value("certificate_left") > 86_400.0, "{read}");
    assert!((0.0..50.0).contains(&value("connections")), "{read}");
    assert_eq!(read["service"]["running"], json!(true), "{read}");
    assert!(read["service"]["since"].is_string(), "{read}");
    let metrics = scrape(&manager).await;
    for name in [
        "portway_node_memory_bytes{node=\"web-1\",kind=\"total\"}",
        "portway_node_requests_total{node=\"web-1\"}",
    ] {
        assert!(metrics.contains(name), "{name} is missing in {metrics}");
    }

    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    let away = eventually("it is told that nothing is known", async || {
        let read = json(&manager, &["node", "stats", "web-1"]).await;
        read["values"]["load1"]["unknown"].is_string().then_some(read)
    })
    .await;
    assert!(away["values"]["load1"]["since"].is_string(), "{away}");
    assert!(!scrape(&manager).await.contains("portway_node_load{node=\"web-1\""));
    machine.sshd.start().unwrap();
    eventually("it is known again", async || {
        let read = json(&manager, &["node", "stats", "web-1"]).await;
        read["values"]["load1"]["value"].is_number().then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_tells_of_its_own_machine_and_edge() {
    let manager = manager().await;
    let all = eventually("the machine was read", async || {
        let all = json(&manager, &["node", "stats"]).await;
        all[0]["values"]["memory_total"]["value"].is_number().then_some(all)
    })
    .await;
    let own = &all.as_array().map(Vec::as_slice).unwrap_or_default()[0];
    assert_eq!(own["engine"], json!("edge"));
    assert_eq!(own["service"]["told_by"], json!("edge"));
    for name in ["connections", "requests", "uptime", "logs_free"] {
        assert!(own["values"][name]["value"].is_number(), "{name}: {own}");
    }
    let shown = ok(&manager, &["node", "stats"]).await.out;
    assert!(shown.contains("MEMORY") && shown.contains(" up "), "{shown}");
}

async fn scrape(manager: &Manager) -> String {
    let (_, body) = get(manager.api().port(), "localhost", "/metrics").await.unwrap();
    body
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_engine_is_killed_is_down_and_well_again_when_it_runs() {
    let manager = quick_manager().await;
    let mut machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    ok(&manager, &["site", "add", "app.example", "--to", &to, "--node", "web-1"]).await;
    health(&manager, "healthy").await;

    machine.nginx().kill().unwrap();
    let down = health(&manager, "down").await;
    let checks = down["health"]["checks"].as_array().unwrap();
    let failed = checks.iter().find(|check| check["check"] == "probe").unwrap();
    assert_eq!(failed["verdict"], json!("failed"), "{down}");
    assert!(failed["remedy"].is_string(), "{down}");
    assert!(
        scrape(&manager).await.contains("portway_node_health{node=\"web-1\",state=\"down\"} 1")
    );
    let listed = ok(&manager, &["node", "list"]).await.out;
    assert!(listed.contains(" down "), "{listed}");

    machine.nginx().start_again().unwrap();
    health(&manager, "healthy").await;
    let audit = json(&manager, &["audit"]).await;
    let told: Vec<&str> = audit
        .as_array()
        .unwrap()
        .iter()
        .filter(|line| line["action"] == "node.health")
        .filter_map(|line| line["detail"].as_str())
        .collect();
    let changes: Vec<&str> =
        told.iter().rev().map(|text| text.split(" (").next().unwrap_or_default()).collect();
    assert_eq!(changes, ["healthy", "down", "healthy"], "each change is told once: {told:?}");

    ok(&manager, &["node", "set", "web-1", "--least-disk", "99", "--readings", "1"]).await;
    let degraded = health(&manager, "degraded").await;
    assert!(degraded["health"]["checks"].to_string().contains("make room"), "{degraded}");

    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    health(&manager, "unknown").await;
    assert!(machine.get("app.example", "/").await.is_some(), "it serves on");
}

/// What the installation says holds for every node, value by value, where it says nothing itself.
#[tokio::test(flavor = "multi_thread")]
async fn thresholds_of_the_installation_hold_for_nodes_that_say_nothing_themselves() {
    let mut manager = Manager::new(PROGRAM).unwrap().with("--observe-every=1");
    std::fs::create_dir_all(manager.data()).unwrap();
    // No disk is so empty.
    let config = "health: {disk: 99, memory: 1, certificate: 1h, readings: 1}\n";
    std::fs::write(manager.data().join("config.yaml"), config).unwrap();
    manager.serve().await.unwrap();
    let (machine, other) = (Machine::start(), Machine::start());
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let own = ["--host-key", &other.pin(), "--least-disk", "1"];
    other.add(&manager, "web-2", &own).await;
    for node in ["web-1", "web-2"] {
        let host = format!("{node}.example");
        ok(&manager, &["site", "add", &host, "--to", "127.0.0.1:9", "--node", node, "--no-https"])
            .await;
    }

    let degraded = health(&manager, "degraded").await;
    let of_disk = |shown: &Value| {
        let checks = shown["health"]["checks"].as_array().unwrap();
        checks.iter().find(|check| check["check"] == "disk").unwrap().clone()
    };
    assert_ne!(of_disk(&degraded)["verdict"], json!("ok"), "{degraded}");
    let healthy = health_of(&manager, "web-2", "healthy").await;
    assert_eq!(of_disk(&healthy)["verdict"], json!("ok"), "{healthy}");

    // What the node says itself counts, whatever the installation says.
    ok(&manager, &["node", "set", "web-2", "--least-disk", "99"]).await;
    health_of(&manager, "web-2", "degraded").await;
    let config = "health: {disk: 1, memory: 1, certificate: 1h, readings: 1}\n";
    std::fs::write(manager.data().join("config.yaml"), config).unwrap();
    manager.stop().await.unwrap();
    manager.serve().await.unwrap();
    health(&manager, "healthy").await;
    health_of(&manager, "web-2", "degraded").await;
}

/// Waits until the node is in a state.
async fn health(manager: &Manager, state: &str) -> Value {
    health_of(manager, "web-1", state).await
}

async fn health_of(manager: &Manager, node: &str, state: &str) -> Value {
    eventually(&format!("{node} to be {state}"), async || {
        let shown = json(manager, &["node", "show", node]).await;
        (shown["health"]["state"] == state).then_some(shown)
    })
    .await
}
