//! What a manager does about nodes that are not as they should be, and what it leaves to people.

use std::time::{Duration, Instant};

use camino::Utf8PathBuf;
use portway_testkit::origin::{Origin, Speaks};
use serde_json::json;

use super::machine::{Machine, put, put_without_waiting};
use crate::support::{eventually, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changed_is_told_and_overwritten_only_when_that_is_asked_for() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site("one.example")).await;
    let changed = machine.object_with("one.example");
    let was = std::fs::read_to_string(&changed).unwrap();
    std::fs::write(&changed, "# by hand\n").unwrap();

    // A look, and a site that is new: neither overwrites what is there.
    ok(&manager, &["node", "check", "web-1"]).await;
    put_without_waiting(&manager, "two", &site("two.example")).await;
    let shown = eventually("the change is told", async || {
        let shown = json(&manager, &["node", "show", "web-1"]).await;
        (shown["state"] == "failed").then_some(shown)
    })
    .await;

    let error = shown["facts"]["error"].as_str().unwrap();
    assert!(error.contains("changed") && error.contains(changed.file_name().unwrap()), "{error}");
    assert!(error.contains("`portway node deploy web-1` overwrites that"), "{error}");
    assert_eq!(std::fs::read_to_string(&changed).unwrap(), "# by hand\n");
    ok(&manager, &["node", "deploy", "web-1"]).await;
    assert_eq!(std::fs::read_to_string(&changed).unwrap(), was);
    machine.serves("two.example", &(200, "")).await;
    assert_eq!(json(&manager, &["node", "show", "web-1"]).await["state"], json!("ready"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_hangs_delays_no_other() {
    let manager = manager().await;
    let (hung, well) = (Machine::start(), Machine::start());
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |host: &str, node: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": [node]});
    hung.add(&manager, "web-1", &["--host-key", &hung.pin()]).await;
    well.add(&manager, "web-2", &["--host-key", &well.pin()]).await;
    put(&manager, "one", &site("one.example", "web-1")).await;
    put(&manager, "two", &site("two.example", "web-2")).await;

    hung.sshd.freeze().unwrap();
    put_without_waiting(&manager, "one", &site("uno.example", "web-1")).await;
    for host in ["dos.example", "due.example", "deux.example"] {
        let began = Instant::now();
        put(&manager, "two", &site(host, "web-2")).await;
        assert_eq!(well.get(host, "/").await.map(|(status, _)| status), Some(200));
        assert!(began.elapsed() < Duration::from_secs(8), "{host} took {:?}", began.elapsed());
    }

    hung.sshd.thaw().unwrap();
    hung.serves("uno.example", &(200, "")).await;
}

/// What is made of a site again reaches its nodes at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_elsewhere_costs_a_node_nothing() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let here = json!({"hosts": ["one.example"], "to": to, "https": false, "nodes": ["web-1"]});
    put(&manager, "one", &here).await;
    let before = json(&manager, &["node", "show", "web-1"]).await;

    let elsewhere = json!({"hosts": ["two.example"], "to": to, "https": false});
    put(&manager, "two", &elsewhere).await;

    let after = json(&manager, &["node", "show", "web-1"]).await;
    assert_eq!(before["facts"]["read_at"], after["facts"]["read_at"], "it was not read again");
}

impl Machine {
    /// Returns the object of Portway's on the machine whose text has a part.
    pub(super) fn object_with(&self, part: &str) -> Utf8PathBuf {
        let objects = self.nginx.folder().join("portway/objects");
        let mut files = objects.read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path());
        files
            .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains(part)))
            .unwrap()
    }
}
