//! Which nodes a change comes to in which wave, as plans tell it and rollouts do it.

use portway_testkit::manager::Manager;
use serde_json::{Value, json};

use super::rollouts::{Bed, stand};
use crate::support::{PROGRAM, file, json, ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_pinned_node_takes_no_part_in_a_rollout_and_plans_say_so() {
    let bed = Bed::new(3).await;
    assert_eq!(bed.apply("one", &[], &[]).await.code, 0);
    ok(&bed.manager, &["node", "pin", "web-3"]).await;
    ok(&bed.manager, &["node", "drain", "web-1"]).await;
    // A plan that is made before that is deployed is refused: the node has another release since.
    ok(&bed.manager, &["node", "deploy", "web-1"]).await;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_the_installation_says_of_rollouts_holds_unless_a_change_says_otherwise() {
    let mut manager = Manager::new(PROGRAM).unwrap();
    std::fs::create_dir_all(manager.data()).unwrap();
    let config = "rollouts: {canary: [web-2, elsewhere], waves: [100%], soak: 2s}\n\
                  health: {readings: 1, clock: 5m}\n";
    std::fs::write(manager.data().join("config.yaml"), config).unwrap();
    manager.serve().await.unwrap();
    let bed = Bed::of(manager, 3, &[]).await;

    let began = std::time::Instant::now();
    let ran = bed.apply("one", &[], &[]).await;
    assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("in waves: 1. web-2; 2. web-1, web-3 (as always here"), "{}", ran.err);
    assert!(began.elapsed() >= std::time::Duration::from_secs(2), "the canary had it for a while");
    let first = bed.newest().await;
    assert_eq!((&first["state"], &first["waves"]), (&json!("done"), &json!(2)), "{first}");
    assert_eq!(first["strategy"]["soak"], json!(2), "{first}");

    // A change may say otherwise, and on one node there are no waves.
    assert_eq!(bed.apply("two", &[], &["--at-once"]).await.code, 0);
    bed.assert_serve(&["two", "two", "two"]).await;
    let alone = json!({
        "hosts": ["alone.example"], "respond": {"body": "x"}, "https": false, "nodes": ["web-1"],
    });
    let alone = json!({"sites": {"alone": alone}}).to_string();
    let alone = file(&bed.manager, "alone.yaml", &alone);
    ok(&bed.manager, &["apply", "-f", &alone]).await;
    assert_eq!(bed.newest().await["revision"], first["revision"], "none of them had a rollout");
    let both = bed.apply("four", &[], &["--at-once", "--soak", "1s"]).await;
    assert_eq!(both.code, 2, "{}{}", both.out, both.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_says_what_is_wrong_with_its_rollouts_and_does_not_start() {
    let manager = Manager::new(PROGRAM).unwrap();
    std::fs::create_dir_all(manager.data()).unwrap();
    for (config, why) in [
        ("rollouts: {waves: [0%]}\n", "config.yaml: `rollouts.waves`: `0%` is no wave"),
        ("health: {readings: 0}\n", "config.yaml: `health`: 0 readings cannot be asked to agree"),
    ] {
        std::fs::write(manager.data().join("config.yaml"), config).unwrap();
        let words = manager.serve_words();
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ended = manager.run(&words).await.unwrap();
        assert_eq!(ended.code, 3, "{}{}", ended.out, ended.err);
        assert!(ended.err.contains(why), "{}", ended.err);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_taken_over_from_a_node_comes_to_the_others_in_waves() {
    let mut manager = Manager::new(PROGRAM).unwrap();
    std::fs::create_dir_all(manager.data()).unwrap();
    let config = "rollouts: {waves: [1, 100%], pause-after: canary}\n";
    std::fs::write(manager.data().join("config.yaml"), config).unwrap();
    manager.serve().await.unwrap();
    let bed = Bed::of(manager, 2, &[]).await;
    let site = json!({
        "hosts": ["one.example"], "to": "127.0.0.1:9", "https": false, "nodes": ["group:all"],
    });
    let path = file(&bed.manager, "one.yaml", &json!({"sites": {"one": site}}).to_string());
    ok(&bed.manager, &["apply", "-f", &path, "--at-once"]).await;
    let (usual, by_hand) = ("client_max_body_size 100000000;", "client_max_body_size 7m;");
    let conf = bed.machines[1].object_with(usual);
    let text = std::fs::read_to_string(&conf).unwrap();
    std::fs::write(&conf, text.replacen(usual, by_hand, 1)).unwrap();

    ok(&bed.manager, &["node", "adopt", "web-2", "--yes"]).await;

    let adopted = "client_max_body_size 7340032;";
    bed.machines[1].object_with(adopted);
    let paused = bed.comes_to("paused").await;
    assert_eq!(stand(&paused), ["waiting", "has"], "{paused}");
    assert!(bed.machines[0].find_object(adopted).is_none(), "the other one waits");
    let revision = paused["revision"].to_string();
    ok(&bed.manager, &["rollout", "resume", &revision, "--wait"]).await;
    bed.machines[0].object_with(adopted);
}
