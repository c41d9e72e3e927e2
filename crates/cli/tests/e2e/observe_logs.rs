//! Logs of sites on nodes, as their readers see them: the last lines, lines as they are written over a
//! rotation and a lost connection, and the log of the engine itself.

use std::{process::Stdio, time::Duration};

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
    peer::Peer,
};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};

use crate::{
    fleet::machine::{Engine, Machine, put},
    support::{PROGRAM, ends, eventually, json, manager, ok},
};

/// A manager that reads its nodes each second, and a node with a site whose log is put aside early.
async fn bed() -> (Manager, Machine, Origin) {
    let mut manager = Manager::new(PROGRAM).unwrap().with("--observe-every=1");
    manager.serve().await.unwrap();
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let site = json!({
        "hosts": ["app.example"], "to": to, "https": false, "nodes": ["web-1"],
        "log": {"max_size": "4KiB", "keep": 100},
    });
    put(&manager, "app", &site).await;
    machine.serves("app.example", &(200, "")).await;
    (manager, machine, origin)
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_node_are_read_and_filtered_as_those_of_the_edge_are() {
    let (manager, machine, origin) = bed().await;
    machine.get("app.example", "/found?x=1").await.unwrap();

    let line = eventually("the line", async || {
        let lines = json(&manager, &["logs", "app"]).await;
        let lines = lines.as_array().unwrap().clone();
        lines
            .into_iter()
            .find(|line| line["line"].as_str().is_some_and(|text| text.contains("/found")))
    })
    .await;

    assert_eq!((&line["node"], &line["log"]), (&json!("web-1"), &json!("main")));
    let record: Value = serde_json::from_str(line["line"].as_str().unwrap()).unwrap();
    assert_eq!((&record["status"], &record["query"]), (&json!(200), &json!("x=1")), "{record}");
    let with = async |words: &[&str]| {
        json(&manager, &[&["logs", "app"], words].concat()).await.as_array().unwrap().len()
    };
    assert_eq!(with(&["-n", "1"]).await, 1);
    assert!(with(&["--status", "2xx"]).await > 0);
    assert_eq!(with(&["--status", "5xx"]).await, 0);
    assert_eq!(with(&["--node", "web-1", "--since", "1h", "--status", "404"]).await, 0);
    let id = record["request_id"].as_str().unwrap();
    assert_eq!(with(&["--request-id", id]).await, 1);
    ends(&manager, &["logs", "app", "--node", "nobody"], 4).await;
    let told = ok(&manager, &["explain", id, "--site", "app"]).await.out;
    assert!(told.contains("on node web-1") && told.contains("/found?x=1"), "{told}");
    let url = "http://app.example/there?x=1";
    let tried = json(&manager, &["explain", url, "--node", "web-1"]).await;
    assert_eq!((&tried["site"], &tried["route"]), (&json!("app"), &json!("/")), "{tried}");
    assert_eq!((&tried["node"], &tried["status"]), (&json!("web-1"), &json!(200)), "{tried}");
    let nobody = json(&manager, &["explain", "http://no.example/", "--node", "web-1"]).await;
    assert_eq!((&nobody["site"], &nobody["status"]), (&Value::Null, &json!(404)), "{nobody}");
    assert!(nobody["steps"].to_string().contains("no site is on the node"), "{nobody}");
    let posted = ok(&manager, &["explain", "POST", url, "--node", "web-1"]).await.out;
    assert!(posted.contains("the node is not asked"), "{posted}");
    ends(&manager, &["explain", id, "--node", "web-1"], 2).await;

    drop(origin);
    // Connections that stand may be answered for a moment yet.
    machine.serves("app.example", &(502, "")).await;
    let error = eventually("what went wrong", async || {
        let lines = json(&manager, &["logs", "app", "--errors"]).await;
        lines[0]["line"].as_str().map(str::to_owned)
    })
    .await;
    let error: Value = serde_json::from_str(&error).unwrap();
    assert_eq!((&error["kind"], &error["client"]), (&json!("upstream"), &json!("127.0.0.1")));
    let age = error["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    assert!(age.duration_since(jiff::Timestamp::now()).abs().as_secs() < 60, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_followed_log_goes_on_over_a_rotation_and_a_lost_connection() {
    let (manager, mut machine, _origin) = bed().await;
    let mut lines = follow(&manager, &["logs", "app", "-f", "-n", "1"]);
    next(&mut lines).await;

    for number in 0..40 {
        machine.get("app.example", &format!("/{number}")).await.unwrap();
    }
    for number in 0..40 {
        assert_eq!(path(&next(&mut lines).await), format!("/{number}"));
    }
    let folder = machine.engine.folder().join("logs");
    let aside = eventually("files to be put aside", async || {
        let mut sites = folder.read_dir_utf8().unwrap();
        sites.find_map(|site| {
            let mut files = site.unwrap().path().read_dir_utf8().ok()?;
            files.find(|file| file.as_ref().unwrap().file_name().contains(".access.2"))
        })
    })
    .await;
    assert!(aside.unwrap().metadata().unwrap().len() >= 4096);
    machine.get("app.example", "/after-rotation").await.unwrap();
    assert_eq!(path(&next(&mut lines).await), "/after-rotation");
    let all = json(&manager, &["logs", "app", "-n", "1000"]).await;
    assert!(all.as_array().unwrap().len() > 40, "what was put aside is read too");

    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    machine.get("app.example", "/while-away").await.unwrap();
    machine.sshd.start().unwrap();
    assert_eq!(path(&next(&mut lines).await), "/while-away");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_of_the_engine_itself_is_for_administrators() {
    let (manager, machine, _origin) = bed().await;
    let log = machine.engine.folder().join("error.log");
    let write = |text: &str| {
        let mut file = std::fs::File::options().append(true).open(&log).unwrap();
        std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
    };
    write("2026/01/31 12:00:00 [alert] 1#1: one\n2026/01/31 12:00:01 [alert] 1#1: two\n");

    let last = ok(&manager, &["logs", "--node", "web-1", "--engine", "-n", "1"]).await.out;
    assert_eq!(last, "2026/01/31 12:00:01 [alert] 1#1: two\n");
    let mut lines = follow(&manager, &["logs", "--node", "web-1", "--engine", "-f", "-n", "2"]);
    assert!(next(&mut lines).await.ends_with("one"));
    assert!(next(&mut lines).await.ends_with("two"));
    write("2026/01/31 12:00:02 [alert] 1#1: three\n");
    assert!(next(&mut lines).await.ends_with("three"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_traefik_logs_is_told_apart_by_site_and_followed_over_a_rotation() {
    const TEST: &str = "portway-cli::e2e observe_logs::what_traefik_logs_is_told_apart_by_site_and_followed_over_a_rotation";
    let Some(traefik) = Peer::traefik(TEST).unwrap() else { return };
    let log = traefik.folder().join("access.log");
    let manager = manager().await;
    let machine = Machine::with(Engine::Other(traefik));
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    for name in ["one", "two"] {
        let host = format!("{name}.example");
        let site = json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
        put(&manager, name, &site).await;
        assert_eq!(machine.get(&host, &format!("/of-{name}?x=1")).await.unwrap().0, 200);
    }

    for (name, other) in [("one", "/of-two"), ("two", "/of-one")] {
        let found = eventually("the line", async || {
            let read = ok(&manager, &["logs", name, "--status", "2xx"]).await.out;
            read.contains(&format!("/of-{name}")).then_some(read)
        })
        .await;
        assert!(!found.contains(other), "{found}");
    }
    let errors = ends(&manager, &["logs", "one", "--errors"], 7).await.err;
    assert!(errors.contains("--engine"), "{errors}");

    let mut lines = follow(&manager, &["logs", "one", "-f", "-n", "1"]);
    assert_eq!(path(&next(&mut lines).await), "/of-one");
    std::fs::rename(&log, format!("{log}.1")).unwrap();
    machine.get("one.example", "/before-it-knows").await.unwrap();
    assert_eq!(path(&next(&mut lines).await), "/before-it-knows");
    let Engine::Other(traefik) = &machine.engine else { panic!("it is Traefik") };
    traefik.reopen_log().unwrap();
    eventually("a new log", async || log.exists().then_some(())).await;
    machine.get("two.example", "/after-of-two").await.unwrap();
    machine.get("one.example", "/after").await.unwrap();
    assert_eq!(path(&next(&mut lines).await), "/after");
    let all = ok(&manager, &["logs", "one", "-n", "100"]).await.out;
    for part in ["/of-one", "/before-it-knows", "/after"] {
        assert!(all.contains(part), "{part}: {all}");
    }
}

struct Follow {
    _process: tokio::process::Child,
    lines: Lines<BufReader<tokio::process::ChildStdout>>,
}

fn follow(manager: &Manager, words: &[&str]) -> Follow {
    let mut process = manager
        .command(words)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap()).lines();
    Follow { _process: process, lines }
}

async fn next(follow: &mut Follow) -> String {
    let line = tokio::time::timeout(Duration::from_secs(40), follow.lines.next_line()).await;
    line.expect("no line in time").unwrap().unwrap()
}

fn path(line: &str) -> String {
    let record: Value = serde_json::from_str(line).unwrap();
    record["path"].as_str().unwrap().to_owned()
}
