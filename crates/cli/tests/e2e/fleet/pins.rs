//! Nodes that are taken back, kept where they are, and let go again.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};

use super::machine::{Machine, put};
use crate::support::{ends, json, manager, ok};

/// The exit code of what the state of things does not allow.
const CONFLICT: i32 = 6;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_goes_back_and_stays_there_until_it_is_released() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    ends(&manager, &["node", "rollback", "web-1"], CONFLICT).await;
    put(&manager, "one", &site("one.example")).await;
    put(&manager, "gone", &site("gone.example")).await;
    put(&manager, "one", &site("uno.example")).await;
    machine.serves("uno.example", &(200, "")).await;

    let back = json(&manager, &["node", "rollback", "web-1"]).await;

    assert_eq!(machine.status("one.example").await, Some(200), "{back}");
    assert_eq!(machine.status("uno.example").await, Some(404), "{back}");
    assert!(back["spec"]["pinned"].is_i64(), "{back}");
    ends(&manager, &["node", "rollback", "web-1"], CONFLICT).await;
    // What is changed or made since does not come; what is removed leaves.
    let held = put(&manager, "one", &site("eins.example")).await;
    assert!(held.contains("pinned at revision"), "{held}");
    put(&manager, "two", &site("two.example")).await;
    ok(&manager, &["site", "rm", "gone"]).await;
    machine.serves("gone.example", &(404, "")).await;
    for (host, status) in [("one.example", 200), ("eins.example", 404), ("two.example", 404)] {
        assert_eq!(machine.status(host).await, Some(status), "{host}");
    }
    let missed = findings(&manager, "web-1").await;
    for told in ["node `web-1`", "site `one`", "site `two`"] {
        let (kind, name) = told.trim_end_matches('`').split_once(" `").unwrap();
        assert!(
            missed.iter().any(|finding| {
                let resource = &finding["at"]["field"]["resource"];
                resource["kind"] == kind && resource["name"] == name
            }),
            "{told}: {missed:?}"
        );
    }

    ok(&manager, &["node", "release", "web-1"]).await;

    for (host, status) in [("one.example", 404), ("eins.example", 200), ("two.example", 200)] {
        assert_eq!(machine.status(host).await, Some(status), "{host}");
    }
    assert_eq!(findings(&manager, "web-1").await, Vec::<Value>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_pinned_keeps_what_it_has_through_restarts() {
    let mut manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site("one.example")).await;
    ok(&manager, &["node", "pin", "web-1", "-m", "a quiet weekend"]).await;
    put(&manager, "one", &site("uno.example")).await;
    assert_eq!(machine.status("one.example").await, Some(200));

    manager.stop().await.unwrap();
    manager.serve().await.unwrap();
    put(&manager, "one", &site("eins.example")).await;

    assert_eq!(machine.status("one.example").await, Some(200));
    assert_eq!(machine.status("eins.example").await, Some(404));
    ok(&manager, &["node", "deploy", "web-1"]).await;
    assert_eq!(machine.status("one.example").await, Some(200), "nor does this let it go");
    ok(&manager, &["node", "release", "web-1"]).await;
    assert_eq!(machine.status("eins.example").await, Some(200));
}

async fn findings(manager: &Manager, node: &str) -> Vec<Value> {
    let shown = json(manager, &["node", "show", node]).await;
    let all = shown["findings"].as_array().cloned().unwrap_or_default();
    // Which holes a machine's own nginx may have is another matter.
    all.into_iter().filter(|finding| finding["code"] != "advice").collect()
}

impl Machine {
    async fn status(&self, host: &str) -> Option<u16> {
        self.get(host, "/").await.map(|(status, _)| status)
    }
}
