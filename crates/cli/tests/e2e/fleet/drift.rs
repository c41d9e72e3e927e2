//! What somebody changed by hand on a node with nginx: it is shown, taken over where a site can say it,
//! and otherwise left alone until it is said to be overwritten.

use camino::Utf8PathBuf;
use portway_testkit::origin::{Origin, Speaks};
use serde_json::json;

use super::machine::{Machine, put};
use crate::support::{ends, eventually, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_shown_without_secrets_and_taken_over_as_a_revision() {
    let manager = manager().await;
    let (machine, other) = (Machine::start(), Machine::start());
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    other.add(&manager, "web-2", &["--host-key", &other.pin()]).await;
    let users = json!({"ann": {"password": crate::support::PASSWORD}});
    let site = json!({
        "hosts": ["one.example"], "to": to, "https": false, "nodes": ["web-1", "web-2"],
        "access": {"basic": {"users": users}},
    });
    put(&manager, "one", &site).await;
    ok(&manager, &["node", "drift", "web-1"]).await;
    let usual = "client_max_body_size 100000000;";
    let (conf, passwords) = (machine.object_with(usual), machine.object_named(".htpasswd"));
    let hashes = std::fs::read_to_string(&passwords).unwrap();
    std::fs::write(&passwords, "eve:$2y$05$notthehashofanybodyatall\n").unwrap();
    change(&conf, usual, "client_max_body_size 7m;");

    // It is shown, and secrets are not.
    let drift = ends(&manager, &["node", "drift", "web-1"], 8).await;
    assert!(drift.out.contains(&format!("-    {usual}")), "{}", drift.out);
    assert!(drift.out.contains("+    client_max_body_size 7m;"), "{}", drift.out);
    assert!(drift.out.contains(conf.as_str()) && drift.out.contains("(one)"), "{}", drift.out);
    assert!(drift.out.contains(passwords.as_str()), "{}", drift.out);
    for secret in ["eve", "notthehash", hashes.split_once(':').unwrap().1.trim()] {
        assert!(!drift.out.contains(secret), "{}", drift.out);
    }

    // What cannot be taken over is told, and nothing is done.
    let refused = ends(&manager, &["node", "adopt", "web-1", "--yes"], 8).await;
    assert!(refused.out.contains("it holds secrets"), "{}", refused.out);
    assert!(refused.out.contains("+    max_body: 7340032"), "the rest is planned: {}", refused.out);
    assert!(std::fs::read_to_string(&conf).unwrap().contains("7m"));
    std::fs::write(&passwords, &hashes).unwrap();

    // Who saw something else is refused.
    let seen = manager.client().unwrap().node_drift("web-1").await.unwrap().seen;
    change(&conf, "client_max_body_size 7m;", "client_max_body_size 8m;");
    let late = portway_wire::drift::AdoptNode { seen, ..Default::default() };
    let late = manager.client().unwrap().adopt_node("web-1", &late).await.unwrap_err();
    assert!(late.to_string().contains("something else than was shown"), "{late}");

    let before = json(&manager, &["history", "-n", "1"]).await;
    ok(&manager, &["node", "adopt", "web-1", "--yes", "-m", "as it is there"]).await;
    let spec = json(&manager, &["site", "show", "one"]).await["spec"].clone();
    assert_eq!(spec["max_body"], json!(8_388_608), "{spec}");
    let after = json(&manager, &["history", "-n", "1"]).await;
    assert_ne!(before, after);
    assert!(after.to_string().contains("as it is there"), "{after}");
    assert_eq!(json(&manager, &["node", "show", "web-1"]).await["state"], json!("ready"));
    ok(&manager, &["node", "drift", "web-1"]).await;
    machine.object_with("client_max_body_size 8388608;");
    eventually("the other node has it too", async || {
        other.find_object("client_max_body_size 8388608;").map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_site_says_is_told_with_its_line_and_stays_until_it_is_overwritten() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = json!({"hosts": ["one.example"], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site).await;
    let usual = "proxy_connect_timeout 60s;";
    let conf = machine.object_with(usual);
    change(&conf, usual, "proxy_connect_timeout 5s; limit_rate 10k;");
    let notes = conf.parent().unwrap().join("notes.txt");
    std::fs::write(&notes, "mine\n").unwrap();

    let drift = json_of(&manager, &["node", "drift", "web-1"], 8).await;
    let told: Vec<_> = drift["files"].as_array().unwrap().iter().collect();
    assert_eq!(told.len(), 2, "{drift}");
    assert!(told.iter().any(|file| file["what"] == "unknown" && file["path"] == notes.as_str()));
    let refused = json_of(&manager, &["node", "adopt", "web-1", "--dry-run"], 8).await;
    let left = refused["left"].as_array().unwrap();
    let line = left.iter().find(|left| left["text"] == "limit_rate 10k").unwrap();
    assert_eq!(line["why"], json!("nothing in a site says this"));
    assert!(line["line"].as_u64().is_some_and(|line| line > 1), "{line}");
    assert!(line["remedy"].as_str().unwrap().contains("overwrite"), "{line}");
    ends(&manager, &["node", "adopt", "web-1", "--yes"], 8).await;
    ends(&manager, &["node", "adopt", "web-1", "--yes", "--overwrite-rest"], 8).await;
    assert!(std::fs::read_to_string(&conf).unwrap().contains("limit_rate"));

    // Without that line the rest can be taken over, and what is nobody's stays.
    change(&conf, " limit_rate 10k;", "");
    ok(&manager, &["node", "adopt", "web-1", "--yes"]).await;
    assert_eq!(std::fs::read_to_string(&notes).unwrap(), "mine\n");
    let spec = json(&manager, &["site", "show", "one"]).await["spec"].clone();
    assert_eq!(spec["to"]["timeouts"], json!({"connect": "5s"}), "{spec}");
    machine.object_with("proxy_connect_timeout 5s;");
    machine.serves("one.example", &(200, "")).await;

    let changed = machine.object_with("proxy_connect_timeout 5s;");
    change(&changed, "proxy_connect_timeout 5s;", "proxy_connect_timeout 5s; limit_rate 10k;");
    ok(&manager, &["node", "deploy", "web-1"]).await;
    assert!(!std::fs::read_to_string(&changed).unwrap().contains("limit_rate"));
}

fn change(file: &Utf8PathBuf, before: &str, after: &str) {
    let text = std::fs::read_to_string(file).unwrap();
    assert!(text.contains(before), "{text}");
    std::fs::write(file, text.replacen(before, after, 1)).unwrap();
}

async fn json_of(
    manager: &portway_testkit::manager::Manager,
    words: &[&str],
    code: i32,
) -> serde_json::Value {
    ends(manager, &[&["--output=json"], words].concat(), code).await.json().unwrap()
}
