//! Which nodes a change comes to in which wave, as plans tell it and rollouts do it.

use serde_json::{Value, json};

use super::rollouts::{Bed, stand};
use crate::support::{file, json, ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_node_takes_no_part_in_a_rollout_and_plans_say_so() {
    let bed = Bed::new(3).await;
    assert_eq!(bed.apply("one", &[], &[]).await.code, 0);
    ok(&bed.manager, &["node", "pin", "web-3"]).await;
    ok(&bed.manager, &["node", "drain", "web-1"]).await;
    let waves = ["--canary", "web-2", "--waves", "100%", "--patience", "20s"];

    let path = sites(&bed, "two");
    let plan = [&["plan", "-f", &path], &waves[..]].concat();
    let told = ok(&bed.manager, &plan).await.out;
    let read = json(&bed.manager, &plan).await;

    assert!(told.contains("in waves: 1. web-2; 2. web-1\n"), "{told}");
    assert!(told.contains("app is kept as it is there\n    pinned at revision"), "{told}");
    assert!(told.contains("draining"), "{told}");
    assert_eq!(read["rollout"]["waves"], json!([["web-2"], ["web-1"]]), "{read}");
    let kept = read["effects"].as_array().unwrap().iter();
    let kept: Vec<_> = kept.filter(|effect| effect["action"] == "keep").collect();
    assert_eq!(kept.len(), 1, "{read}");
    assert_eq!(kept[0]["nodes"], json!(["web-3"]), "{read}");

    // The plan that is kept is carried out in these waves.
    let kept = bed.manager.folder().join("plan.json").into_string();
    ok(&bed.manager, &[&plan[..], &["--keep", &kept]].concat()).await;
    let ran = ok(&bed.manager, &["apply", "--plan", &kept]).await;
    assert!(ran.err.contains("pinned at revision"), "what the node misses is told: {}", ran.err);
    let done = bed.newest().await;
    assert_eq!((&done["state"], &done["waves"]), (&json!("done"), &json!(2)), "{done}");
    assert_eq!(stand(&done), ["has", "has"], "{done}");
    bed.assert_serve(&["two", "two", "one"]).await;

    ok(&bed.manager, &["node", "release", "web-3"]).await;
    bed.assert_serve(&["two", "two", "two"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_pinned_while_a_rollout_waits_fails_nothing() {
    let bed = Bed::new(3).await;
    assert_eq!(bed.apply("one", &[], &[]).await.code, 0);
    let waves = ["--canary", "web-1", "--waves", "100%", "--pause-after", "canary"];
    let ran = bed.apply("two", &[], &[&waves[..], &["--patience", "20s"]].concat()).await;
    assert_eq!(ran.code, 8, "{}{}", ran.out, ran.err);

    let revision = bed.newest().await["revision"].as_i64().unwrap();
    let (revision, before) = (revision.to_string(), (revision - 1).to_string());
    ok(&bed.manager, &["node", "pin", "web-3", "--revision", &before]).await;
    ok(&bed.manager, &["rollout", "resume", &revision, "--wait"]).await;

    let done = bed.newest().await;
    assert_eq!(done["state"], json!("done"), "{done}");
    assert_eq!(stand(&done), ["has", "has", "left"], "{done}");
    bed.assert_serve(&["two", "two", "one"]).await;
    ok(&bed.manager, &["node", "release", "web-3"]).await;
    bed.assert_serve(&["two", "two", "two"]).await;
}

/// Writes what `Bed::apply` brings to all nodes.
fn sites(bed: &Bed, body: &str) -> String {
    let site: Value = json!({
        "hosts": ["app.example"], "respond": {"body": body}, "https": false, "nodes": ["group:all"],
    });
    file(&bed.manager, "planned.yaml", &json!({"sites": {"app": site}}).to_string())
}
