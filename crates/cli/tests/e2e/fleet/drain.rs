//! Nodes that balancers in front of them are to leave alone.

use portway_model::node::READY_PATH;
use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
    peer::Peer,
};
use serde_json::json;

use super::machine::{Engine, Machine, put};
use crate::support::{ends, eventually, json, manager, ok};

/// What a balancer asks that knows nothing but the address.
const ADDRESS: &str = "127.0.0.1";

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_drains_says_so_to_balancers_and_serves_on() {
    let manager = manager().await;
    let test =
        "portway-cli::e2e fleet::drain::a_node_that_drains_says_so_to_balancers_and_serves_on";
    let mut machines = vec![Machine::start()];
    machines.extend(Peer::caddy(test).unwrap().map(|peer| Machine::with(Engine::Other(peer))));
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    for (number, machine) in machines.iter().enumerate() {
        let name = format!("web-{number}");
        machine.add(&manager, &name, &["--host-key", &machine.pin()]).await;
        let host = format!("{name}.example");
        let site = json!({"hosts": [host], "to": to, "https": false, "nodes": [name]});
        put(&manager, &name, &site).await;
        assert_eq!(ready(machine).await, Some(200), "{name}");

        let drained = ok(&manager, &["node", "drain", &name]).await;

        assert!(drained.err.contains(READY_PATH), "{}", drained.err);
        is(machine, 503).await;
        machine.serves(&host, &(200, "")).await;
        // It takes changes, too.
        let other = format!("other-{host}");
        let site = json!({"hosts": [other], "to": to, "https": false, "nodes": [name]});
        put(&manager, &name, &site).await;
        machine.serves(&other, &(200, "")).await;
        assert_eq!(ready(machine).await, Some(503), "{name}");
        let listed = ok(&manager, &["node", "list"]).await.out;
        assert!(listed.contains("draining"), "{listed}");
        assert!(!ok(&manager, &["node", "export"]).await.out.contains("draining"));

        ok(&manager, &["node", "undrain", &name]).await;
        is(machine, 200).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_rollout_begins_with_a_node_that_drains_unless_it_is_named() {
    let manager = manager().await;
    let (one, two) = (Machine::start(), Machine::start());
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    for (name, machine) in [("web-1", &one), ("web-2", &two)] {
        let label = ["--host-key", &machine.pin(), "--label", "tier=front"];
        machine.add(&manager, name, &label).await;
    }
    ok(&manager, &["node", "drain", "web-1"]).await;
    let add = |name: &str| {
        let host = format!("{name}.example");
        let words = ["site", "add", &host, "--to", &to, "--node", "label:tier=front", "--no-https"];
        words.map(str::to_owned).to_vec()
    };
    let run = async |manager: &Manager, words: Vec<String>, more: &[&str]| {
        let words: Vec<&str> =
            words.iter().map(String::as_str).chain(more.iter().copied()).collect();
        manager.run(&words).await.unwrap()
    };

    let by_label = run(&manager, add("one"), &["--canary", "label:tier=front"]).await;
    let by_name = run(&manager, add("two"), &["--canary", "web-1"]).await;
    let by_count = run(&manager, add("three"), &["--waves", "1,100%"]).await;

    for ran in [&by_label, &by_name, &by_count] {
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    }
    let mut first = Vec::new();
    for rollout in json(&manager, &["rollout", "list"]).await.as_array().unwrap() {
        let shown = json(&manager, &["rollout", "show", &rollout["revision"].to_string()]).await;
        let nodes = shown["nodes"].as_array().unwrap();
        let begins = nodes.iter().min_by_key(|node| node["wave"].as_u64()).unwrap();
        first.push(begins["node"].as_str().or(begins["name"].as_str()).unwrap().to_owned());
    }
    assert_eq!(first, ["web-2", "web-1", "web-2"], "the newest first");
    ok(&manager, &["node", "drain", "web-2"]).await;
    let words = ["site", "add", "four.example", "--to", &to, "--node", "label:tier=front"];
    let none = ends(&manager, &[&words[..], &["--canary", "label:tier=front"]].concat(), 2).await;
    assert!(none.err.contains("draining"), "{}", none.err);
}

async fn ready(machine: &Machine) -> Option<u16> {
    machine.get(ADDRESS, READY_PATH).await.map(|(status, _)| status)
}

async fn is(machine: &Machine, status: u16) {
    eventually(&format!("{status}"), async || (ready(machine).await == Some(status)).then_some(()))
        .await;
}
