//! Sites on machines with other engines that are reached over SSH, from the first look at them to their
//! removal.

mod acceptance;
mod care;
mod drain;
mod drift;
mod engines;
pub(crate) mod machine;
mod matrix;
mod pins;
mod plans;
mod probes;
mod rollouts;
mod snippets;
mod steps;
mod two_managers;
mod waves;
mod ways_in;

use portway_testkit::{
    origin::{Origin, Speaks},
    sshd::Sshd,
};
use serde_json::{Value, json};

use self::machine::{Machine, put, put_without_waiting};
use crate::support::{eventually, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_site_comes_to_a_machine_with_nginx_changes_there_and_leaves() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();

    machine.add(&manager, "web-1", &[]).await;
    let unknown = manager.run(&["--output=json", "node", "check", "web-1"]).await.unwrap();
    let unknown: Value = unknown.json().unwrap();
    assert_eq!((&unknown["ready"], &unknown["unseen"]), (&json!(false), &json!("host_key")));
    assert_eq!(unknown["offered_host_key"], json!(machine.pin()));

    ok(&manager, &["node", "confirm", "web-1", "--host-key", &machine.pin()]).await;
    let seen = json(&manager, &["node", "check", "web-1"]).await;
    assert_eq!(seen["ready"], json!(true), "{seen}");
    assert!(seen["engine_version"].as_str().is_some_and(|version| version.starts_with("1.")));

    let add = ["site", "add", "app.example", "--to", &to, "--node", "web-1", "--no-https"];
    ok(&manager, &add).await;
    let (status, _) = machine.get("app.example", "/").await.unwrap();
    assert_eq!(status, 200, "it is there when the command returns");
    let shown = json(&manager, &["node", "show", "web-1"]).await;
    assert_eq!(shown["state"], json!("ready"), "{shown}");

    ok(&manager, &["site", "rm", "app.example"]).await;
    machine.serves("app.example", &(404, "")).await;
}

/// One connection serves all that a manager does on a node.
#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_a_node_refuses_is_held_there_and_others_go_on() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let good = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    put(&manager, "one", &good("one.example")).await;
    machine.serves("one.example", &(200, "")).await;

    // nginx cannot speak the PROXY protocol to upstreams over HTTP.
    let mut bad = good("one.example");
    bad["to"] = json!({"targets": [to], "proxy_protocol": "v2"});
    let held = put(&manager, "one", &bad).await;
    assert!(held.contains("proxy_protocol"), "{held}");
    put(&manager, "two", &good("two.example")).await;

    machine.serves("two.example", &(200, "")).await;
    machine.serves("one.example", &(200, "")).await;
    put(&manager, "one", &good("uno.example")).await;
    machine.serves("uno.example", &(200, "")).await;
    machine.serves("one.example", &(404, "")).await;
    assert_eq!(machine.sshd.logins(), 1, "one connection is used for everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_away_gets_what_it_missed_when_it_is_back() {
    let manager = manager().await;
    let mut machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let site = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    put(&manager, "one", &site("one.example")).await;
    machine.serves("one.example", &(200, "")).await;

    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    put_without_waiting(&manager, "two", &site("two.example")).await;
    let failed = eventually("the trouble is told", async || {
        let shown = json(&manager, &["node", "show", "web-1"]).await;
        (shown["state"] == "failed").then_some(shown)
    })
    .await;
    assert!(failed["facts"]["error"].is_string(), "{failed}");
    assert_eq!(machine.get("one.example", "/").await.unwrap().0, 200, "it serves on");

    machine.sshd.start().unwrap();
    machine.serves("two.example", &(200, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_a_jump_host_is_not_taken_for_the_nodes_own() {
    let manager = manager().await;
    let (machine, bastion) = (Machine::start(), Sshd::run().unwrap());
    bastion.authorize(&ok(&manager, &["node", "key"]).await.out).unwrap();
    let at = format!("127.0.0.1:{}", bastion.port());
    let (known, theirs) = (machine.pin(), bastion.fingerprint("ed25519").unwrap());
    let jump = format!("{}@{at},{known}", bastion.user());
    machine.add(&manager, "web-1", &["--host-key", &known, "--jump", &jump]).await;

    let found = manager.run(&["--output=json", "node", "check", "web-1"]).await.unwrap();
    let found: Value = found.json().unwrap();
    let refused = manager.run(&["node", "confirm", "web-1", "--host-key", &theirs]).await.unwrap();

    assert_eq!((&found["offered_host_key"], &found["offered_by"]), (&json!(theirs), &json!(at)));
    assert_ne!(refused.code, 0, "{}", refused.out);
    assert!(refused.err.contains(&format!("--jump {at}")), "{}", refused.err);
    ok(&manager, &["node", "confirm", "web-1", "--jump", &at, "--host-key", &theirs]).await;
    let ssh = json(&manager, &["node", "show", "web-1"]).await["spec"]["ssh"].clone();
    assert_eq!(
        (&ssh["host_keys"], &ssh["jump"][0]["host_keys"]),
        (&json!([known]), &json!([theirs]))
    );
    assert_eq!(json(&manager, &["node", "check", "web-1"]).await["ready"], json!(true));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_shows_another_key_is_told_nothing() {
    let manager = manager().await;
    let mut machine = Machine::start();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    assert_eq!(json(&manager, &["node", "check", "web-1"]).await["ready"], json!(true));
    let before = machine.sshd.logins();
    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    machine.sshd.change_host_keys().unwrap();
    machine.sshd.start().unwrap();

    let found = manager.run(&["--output=json", "node", "check", "web-1"]).await.unwrap();

    let found: Value = found.json().unwrap();
    assert_eq!((&found["ready"], &found["unseen"]), (&json!(false), &json!("host_key")), "{found}");
    assert_eq!(found["offered_host_key"], json!(machine.pin()));
    assert_eq!(machine.sshd.logins(), before, "nobody logged in");
    ok(&manager, &["node", "confirm", "web-1", "--host-key", &machine.pin()]).await;
    assert_eq!(json(&manager, &["node", "check", "web-1"]).await["ready"], json!(true));
}
