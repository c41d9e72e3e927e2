//! Nodes whose engine is Portway's own edge, reached over SSH: real servers, real edges, which are
//! started by whoever runs their machine.

use std::process::Stdio;

use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    ca::TestCa,
    manager::{Manager, get},
    origin::{Origin, Speaks},
    port::Port,
    sshd::{Sshd, SshdOptions},
};
use portway_wire::{client::IfMatch, deploy::WaitQuery, site::EditSite};
use serde_json::{Value, json};
use tokio::process::{Child, Command};

use crate::{
    load::{Load, PLAIN, SECURE},
    support::{PROGRAM, ends, eventually, file, json, manager, ok},
    web::Web,
};

/// A machine with an edge and an SSH server.
struct Machine {
    sshd: Sshd,
    http: Port,
    https: Port,
    edge: Option<Child>,
}

impl Machine {
    async fn start() -> Self {
        let mut machine = Self::without_edge(SshdOptions::default());
        machine.start_edge().await;
        machine
    }

    fn without_edge(options: SshdOptions) -> Self {
        let (http, https) = (Port::take().unwrap(), Port::take().unwrap());
        Self { sshd: options.start().unwrap(), http, https, edge: None }
    }

    async fn start_edge(&mut self) {
        let (http, https) = (self.http.number(), self.https.number());
        let log = std::fs::File::create(self.folder().join("edge.log")).unwrap();
        let child = Command::new(PROGRAM)
            .env_clear()
            .arg(format!("--data={}", self.folder().join("edge")))
            .args(["edge", "--bind=127.0.0.1"])
            .arg(format!("--control-socket={}", self.socket()))
            .args([format!("--http-port={http}"), format!("--https-port={https}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        self.edge = Some(child);
        eventually("the edge to answer", async || self.status().await).await;
    }

    fn folder(&self) -> &Utf8Path {
        self.sshd.folder()
    }

    fn socket(&self) -> Utf8PathBuf {
        self.folder().join("run/edge.sock")
    }

    async fn status(&self) -> Option<Value> {
        get(&self.socket(), "/v1/status").await.ok()
    }

    fn pin(&self) -> String {
        self.sshd.fingerprint("ed25519").unwrap()
    }

    /// Declares it as a node.
    async fn add(&self, manager: &Manager, name: &str, more: &[&str]) {
        let key = ok(manager, &["node", "key"]).await.out;
        self.sshd.authorize(&key).unwrap();
        let address = format!("{}@127.0.0.1:{}", self.sshd.user(), self.sshd.port());
        let socket = self.socket();
        let (http, https) = (self.http.number().to_string(), self.https.number().to_string());
        let home = self.folder().join("portway");
        let words = ["node", "add", name, "--engine", "edge", "--ssh", &address];
        let paths = ["--control-socket", socket.as_str(), "--home", home.as_str()];
        let ports = ["--http-port", &http, "--https-port", &https];
        ok(manager, &[&words[..], &paths, &ports, more].concat()).await;
    }

    /// Returns a client of what its edge serves.
    async fn web(&self, manager: &Manager) -> Web {
        Web::of(manager).await.at(self.http.number(), self.https.number())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sites_come_to_edges_on_other_machines_change_there_and_leave() {
    let mut manager = manager().await;
    let (first, second) = (Machine::start().await, Machine::start().await);
    first.add(&manager, "vm-1", &["--label", "tier=front"]).await;
    let unknown = manager.run(&["--output=json", "node", "check", "vm-1"]).await.unwrap();
    assert_eq!(unknown.json().unwrap()["offered_host_key"], json!(first.pin()));
    assert_eq!(first.sshd.logins(), 0);
    ok(&manager, &["node", "confirm", "vm-1", "--host-key", &first.pin()]).await;
    second.add(&manager, "vm-2", &["--host-key", &second.pin()]).await;
    for node in ["vm-1", "vm-2"] {
        let seen = json(&manager, &["node", "check", node]).await;
        assert_eq!(seen["ready"], json!(true), "{seen}");
        assert_eq!(seen["engine_version"], json!(env!("CARGO_PKG_VERSION")));
    }

    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    put(&manager, "two", "two.localhost", "both", &["vm-1", "vm-2"]).await;
    put(&manager, "own", "own.localhost", "own", &["local"]).await;
    let (one, two) = (first.web(&manager).await, second.web(&manager).await);
    let own = Web::of(&manager).await;
    assert_eq!(one.get("one.localhost", "/").send().await.text(), "first", "when put returns");
    assert_eq!(one.get("two.localhost", "/").http2().send().await.text(), "both");
    assert_eq!(two.get("two.localhost", "/").send().await.text(), "both");
    assert_eq!(own.get("own.localhost", "/").send().await.text(), "own");
    for (web, host) in [(&two, "one.localhost"), (&one, "own.localhost"), (&own, "one.localhost")] {
        assert!(web.get(host, "/").try_send().await.is_err(), "{host} has no certificate there");
    }
    assert_eq!(first.status().await.unwrap()["sites"], json!(2), "no other site is given to it");

    put(&manager, "one", "one.localhost", "changed", &["label:tier=front"]).await;
    assert_eq!(one.get("one.localhost", "/").send().await.text(), "changed");
    let shown = json(&manager, &["node", "show", "vm-1"]).await;
    assert_eq!((&shown["state"], &shown["engine"]), (&json!("ready"), &json!("edge")), "{shown}");
    assert_eq!(shown["facts"]["digest"], first.status().await.unwrap()["digest"]);

    // A manager that is started anew reads what is there, and sends nothing.
    let deployments = || async { json(&manager, &["history", "-n", "1"]).await };
    let before = (deployments().await, first.status().await.unwrap()["digest"].clone());
    manager.stop().await.unwrap();
    assert_eq!(one.get("one.localhost", "/").send().await.text(), "changed", "it serves alone");
    manager.serve().await.unwrap();
    ok(&manager, &["node", "deploy", "vm-1"]).await;
    assert_eq!(first.status().await.unwrap()["digest"], before.1);
    assert_eq!(deployments_to(&manager, "vm-1").await, 3, "one, two, and one again");

    // It leaves the group of nodes that the site chose, though nobody changed the site.
    ok(&manager, &["node", "set", "vm-1", "--label", "tier=back"]).await;
    eventually("the site to leave", async || {
        one.get("one.localhost", "/").try_send().await.is_err().then_some(())
    })
    .await;
    ok(&manager, &["site", "rm", "two"]).await;
    for (web, machine) in [(&one, &first), (&two, &second)] {
        eventually("the site to leave", async || {
            web.get("two.localhost", "/").try_send().await.is_err().then_some(())
        })
        .await;
        eventually("the edge to be empty", async || {
            (machine.status().await?["sites"] == 0).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn twenty_changes_of_an_edge_on_another_machine_lose_no_request() {
    let manager = manager().await;
    let machine = Machine::start().await;
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let sites = format!(
        "sites:\n  plain: {{ hosts: [{PLAIN}], https: false, to: \"{to}\", nodes: [vm-1] }}\n  \
         secure: {{ hosts: [{SECURE}], to: \"{to}\", nodes: [vm-1] }}\n"
    );
    ok(&manager, &["apply", "-f", &file(&manager, "load.yaml", &sites)]).await;
    let web = machine.web(&manager).await;
    let load = Load::begin(&web, machine.http.number()).await;
    let client = manager.client().unwrap();
    for number in 1..=20 {
        let headers = json!({"response": {"set": {"X-Version": number.to_string()}}});
        let spec = json!({"hosts": [SECURE], "to": to, "nodes": ["vm-1"], "headers": headers});
        let edit = EditSite { spec, message: None, rollout: None };
        let changed = client.edit_site("secure", &edit, IfMatch::Any).await.unwrap();
        let query = WaitQuery { timeout: Some(30) };
        let progress = client.progress(changed.revision.unwrap(), &query).await.unwrap();
        assert!(progress.done, "change {number}: {progress:?}");
        let answer = web.get(SECURE, "/big/10").send().await;
        assert_eq!(answer.header("x-version"), number.to_string(), "live when it is said to be");
    }
    load.go_on(1).await;
    let requests = load.end().await;
    assert!(requests > 100, "{requests} requests were made");
    assert_eq!(machine.sshd.logins(), 1, "one connection is used for everything");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_was_away_or_lost_its_disk_catches_up() {
    let manager = manager().await;
    let (mut machine, other) = (Machine::start().await, Machine::start().await);
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    other.add(&manager, "vm-2", &["--host-key", &other.pin()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1", "vm-2"]).await;
    let (web, unharmed) = (machine.web(&manager).await, other.web(&manager).await);

    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    apply(&manager, "one", "one.localhost", "second", &["vm-1", "vm-2"], "--no-wait").await;
    eventually("the other one to have it", async || {
        (unharmed.get("one.localhost", "/").send().await.text() == "second").then_some(())
    })
    .await;
    eventually("the trouble to be told", async || {
        let shown = json(&manager, &["node", "show", "vm-1"]).await;
        (shown["state"] == "failed" && shown["facts"]["error"].is_string()).then_some(())
    })
    .await;
    assert_eq!(web.get("one.localhost", "/").send().await.text(), "first", "it serves on");
    machine.sshd.start().unwrap();
    eventually("it to catch up", async || {
        (web.get("one.localhost", "/").send().await.text() == "second").then_some(())
    })
    .await;

    // A machine that was set up anew has nothing, and is given all.
    drop(machine.edge.take());
    eventually("the edge to end", async || machine.status().await.is_none().then_some(())).await;
    std::fs::remove_dir_all(machine.folder().join("edge/edge/state")).unwrap();
    ok(&manager, &["node", "deactivate", "vm-1"]).await;
    machine.start_edge().await;
    let drift = ends(&manager, &["node", "drift", "vm-1"], 8).await;
    assert!(
        drift.out.contains("gone one") && drift.out.contains("put right by itself"),
        "{}",
        drift.out
    );
    ok(&manager, &["node", "activate", "vm-1"]).await;
    ok(&manager, &["node", "deploy", "vm-1"]).await;
    ok(&manager, &["node", "drift", "vm-1"]).await;
    assert_eq!(web.get("one.localhost", "/").send().await.text(), "second");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_drains_says_so_to_balancers_and_serves_on() {
    let manager = manager().await;
    let machine = Machine::start().await;
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    let web = machine.web(&manager).await;
    let ready = async |status: u16| {
        eventually(&format!("{status}"), async || {
            let asked = web.get("127.0.0.1", portway_model::node::READY_PATH).plain().send().await;
            (asked.status == status).then_some(())
        })
        .await;
    };
    ready(200).await;

    ok(&manager, &["node", "drain", "vm-1"]).await;

    ready(503).await;
    assert_eq!(web.get("one.localhost", "/").send().await.text(), "first");
    assert_eq!(web.get("one.localhost", "/").http2().send().await.text(), "first");
    ok(&manager, &["node", "undrain", "vm-1"]).await;
    ready(200).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_an_edge_on_another_machine_answered_is_found_and_explained() {
    let manager = manager().await;
    let machine = Machine::start().await;
    let logs = machine.folder().join("edge/edge/logs");
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin(), "--logs", logs.as_str()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    let web = machine.web(&manager).await;
    for http2 in [false, true] {
        let ask = web.get("one.localhost", "/there");
        let answer = if http2 { ask.http2() } else { ask }.send().await;
        let id = answer.header("x-request-id").to_owned();
        let read = eventually("the line of the request", async || {
            let read = ok(&manager, &["logs", "one", "--node", "vm-1"]).await.out;
            read.contains(&id).then_some(read)
        })
        .await;
        assert!(read.contains("/there"), "{read}");

        let told = ok(&manager, &["explain", &id, "--site", "one"]).await.out;

        assert!(told.contains("on node vm-1") && told.contains("/there"), "{told}");
        let read = json(&manager, &["explain", &id, "--site", "one"]).await;
        assert_eq!((&read["node"], &read["status"]), (&json!("vm-1"), &json!(200)), "{read}");
        let unnamed = ends(&manager, &["explain", &id], 4).await;
        assert!(unnamed.err.contains("--site app"), "{}", unnamed.err);
    }
    // What would become of another one, told by that edge, and what it answers.
    let url = "https://one.localhost/tried";
    let tried = json(&manager, &["explain", url, "--node", "vm-1"]).await;
    assert_eq!((&tried["site"], &tried["status"]), (&json!("one"), &json!(200)), "{tried}");
    let told = tried["steps"].to_string();
    assert!(told.contains("asked on the node itself, it answers 200"), "{tried}");
    let here = json(&manager, &["explain", url]).await;
    assert_eq!(here["site"], Value::Null, "the manager's own edge does not have it: {here}");
    let none = "0190c2c4d1f27c3e8a5b6d7e8f901234";
    let none = ends(&manager, &["explain", none, "--site", "one"], 4).await;
    assert!(!none.err.contains("--site app"), "{}", none.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_is_pinned_keeps_its_sites_until_it_is_released() {
    let mut manager = manager().await;
    let machine = Machine::start().await;
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    put(&manager, "gone", "gone.localhost", "here", &["vm-1"]).await;
    put(&manager, "one", "one.localhost", "second", &["vm-1"]).await;
    let web = machine.web(&manager).await;

    ok(&manager, &["node", "rollback", "vm-1"]).await;

    assert_eq!(web.get("one.localhost", "/").send().await.text(), "first");
    apply(&manager, "one", "one.localhost", "third", &["vm-1"], "--no-wait").await;
    apply(&manager, "two", "two.localhost", "new", &["vm-1"], "--no-wait").await;
    ok(&manager, &["site", "rm", "gone"]).await;
    eventually("what is removed to leave", async || {
        web.get("gone.localhost", "/").try_send().await.is_err().then_some(())
    })
    .await;
    manager.stop().await.unwrap();
    manager.serve().await.unwrap();
    ok(&manager, &["node", "deploy", "vm-1"]).await;
    assert_eq!(
        web.get("one.localhost", "/").send().await.text(),
        "first",
        "deploying is no release"
    );
    assert!(web.get("two.localhost", "/").try_send().await.is_err(), "it was not there then");
    let shown = json(&manager, &["node", "show", "vm-1"]).await["findings"].to_string();
    for site in ["one", "two"] {
        assert!(shown.contains(&format!("\"name\":\"{site}\"")), "{shown}");
    }

    ok(&manager, &["node", "release", "vm-1"]).await;

    assert_eq!(web.get("one.localhost", "/").send().await.text(), "third");
    assert_eq!(web.get("two.localhost", "/").send().await.text(), "new");
    let shown = json(&manager, &["node", "show", "vm-1"]).await;
    assert!(!shown["findings"].to_string().contains("pinned"), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_an_edge_refuses_is_held_there_and_others_go_on() {
    let manager = manager().await;
    let machine = Machine::start().await;
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    // Only the edge reads the certificate inside: the authority's text is cut in the middle.
    let pem = TestCa::new().unwrap().root_pem();
    let lines: Vec<&str> = pem.lines().collect();
    let cut = [lines[0], lines[1], lines[lines.len() - 1]].join("\n");
    let broken = json!({
        "hosts": ["one.localhost"],
        "nodes": ["vm-1"],
        "to": {"targets": ["https://127.0.0.1:1"], "tls": {"ca": cut}},
    });
    let other = json!({"hosts": ["two.localhost"], "nodes": ["vm-1"], "respond": {"body": "two"}});
    let sites = json!({"sites": {"one": broken, "two": other}}).to_string();

    let held = ends(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &sites)], 8).await;

    assert!(held.err.contains("the version before keeps serving"), "{}", held.err);
    let web = machine.web(&manager).await;
    assert_eq!(web.get("one.localhost", "/").send().await.text(), "first", "it serves on");
    assert_eq!(web.get("two.localhost", "/").send().await.text(), "two");
    put(&manager, "one", "one.localhost", "mended", &["vm-1"]).await;
    assert_eq!(web.get("one.localhost", "/").send().await.text(), "mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_of_somebody_else_is_left_alone() {
    let (manager, stranger) = (manager().await, manager().await);
    let machine = Machine::start().await;
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", "one.localhost", "first", &["vm-1"]).await;
    let before = machine.status().await.unwrap();

    // The same machine twice, and in another installation.
    machine.add(&manager, "vm-2", &["--host-key", &machine.pin()]).await;
    machine.add(&stranger, "vm-1", &["--host-key", &machine.pin()]).await;
    for (manager, node, told) in
        [(&manager, "vm-2", "is node `vm-1`"), (&stranger, "vm-1", "another installation")]
    {
        apply(manager, "two", "two.localhost", "second", &[node], "--no-wait").await;
        eventually(told, async || {
            let shown = json(manager, &["node", "show", node]).await;
            shown["facts"]["error"].as_str()?.contains(told).then_some(())
        })
        .await;
    }
    assert_eq!(machine.status().await.unwrap()["digest"], before["digest"]);

    // A host that shows another key is told nothing.
    let mut machine = machine;
    let logins = machine.sshd.logins();
    machine.sshd.kill_sessions().unwrap();
    machine.sshd.kill().unwrap();
    machine.sshd.change_host_keys().unwrap();
    machine.sshd.start().unwrap();
    apply(&manager, "one", "one.localhost", "changed", &["vm-1"], "--no-wait").await;
    eventually("the other key to be told", async || {
        let shown = json(&manager, &["node", "show", "vm-1"]).await;
        (shown["facts"]["offered_host_key"] == json!(machine.pin())).then_some(())
    })
    .await;
    assert_eq!(machine.sshd.logins(), logins, "nobody logged in");
    assert_eq!(machine.status().await.unwrap()["digest"], before["digest"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_edge_lacks_is_said_with_what_helps() {
    let manager = manager().await;
    let forbidden = SshdOptions::default().with("AllowStreamLocalForwarding no");
    let mut machine = Machine::without_edge(forbidden);
    machine.add(&manager, "vm-1", &["--host-key", &machine.pin()]).await;
    let found = ends(&manager, &["node", "check", "vm-1"], 3).await;
    assert!(found.err.contains("no edge is on the node"), "{}", found.err);
    assert!(found.err.contains("portway node install vm-1"), "{}", found.err);
    std::fs::create_dir(machine.folder().join("run")).unwrap();
    let found = ends(&manager, &["node", "check", "vm-1"], 3).await;
    assert!(found.err.contains("no edge runs on the node"), "{}", found.err);
    machine.start_edge().await;
    let found = ends(&manager, &["node", "check", "vm-1"], 3).await;
    assert!(found.err.contains("AllowStreamLocalForwarding"), "{}", found.err);
}

/// Writes a site that answers a text, and waits until its nodes have it.
async fn put(manager: &Manager, name: &str, host: &str, text: &str, nodes: &[&str]) {
    apply(manager, name, host, text, nodes, "--wait").await;
}

async fn apply(manager: &Manager, name: &str, host: &str, text: &str, nodes: &[&str], wait: &str) {
    let spec = json!({"hosts": [host], "respond": {"body": text}, "nodes": nodes});
    let path = file(manager, &format!("{name}.yaml"), &json!({"sites": {name: spec}}).to_string());
    ok(manager, &["apply", "-f", &path, wait]).await;
}

/// Returns how many deployments there were to a node.
async fn deployments_to(manager: &Manager, node: &str) -> usize {
    let all = get(&manager.data().join("portway.sock"), "/api/v1/deployments?limit=500").await;
    let all = all.unwrap();
    all["items"].as_array().unwrap().iter().filter(|one| one["node"] == node).count()
}
