//! What a manager does about nodes that are not as they should be, and what it leaves to people.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use camino::Utf8PathBuf;
use portway_testkit::{
    origin::{Origin, Speaks},
    port::Port,
};
use serde_json::json;

use super::machine::{Machine, get, put, put_without_waiting};
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

#[tokio::test(flavor = "multi_thread")]
async fn what_is_deployed_again_and_again_goes_over_the_connection_that_stands() {
    let manager = manager().await;
    let machine = Machine::start();
    let site = |body: &str| {
        json!({
            "hosts": ["one.example"], "respond": {"body": body}, "https": false, "nodes": ["web-1"],
        })
    };
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site("first")).await;
    let logins = machine.sshd.logins();

    for body in ["second", "third"] {
        put(&manager, "one", &site(body)).await;
        ok(&manager, &["node", "deploy", "web-1"]).await;
        ok(&manager, &["node", "reload", "web-1"]).await;
    }
    assert_eq!(machine.sshd.logins(), logins);

    // A check looks whether one can log in; and a connection that was lost is made again.
    ok(&manager, &["node", "check", "web-1"]).await;
    assert_eq!(machine.sshd.logins(), logins + 1);
    machine.sshd.kill_sessions().unwrap();
    ok(&manager, &["node", "deploy", "web-1"]).await;
    assert_eq!(machine.sshd.logins(), logins + 2);
    machine.serves("one.example", &(200, "third")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_removed_and_cleaned_has_nothing_of_portways_and_serves_its_own() {
    let manager = manager().await;
    let machine = Machine::start();
    let own = Port::take().unwrap();
    let text = format!("server {{ listen 127.0.0.1:{}; return 200 own; }}\n", own.number());
    std::fs::write(machine.engine.folder().join("conf.d/own.conf"), text).unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = json!({"hosts": ["one.example"], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site).await;
    let before = get(own.number(), "own.example", "/").await;
    assert_eq!(before, Some((200, "own".to_owned())));

    ok(&manager, &["node", "remove", "web-1", "--clean", "--even-if-named"]).await;

    let home = machine.engine.folder().join("portway");
    eventually("Portway's folder is gone", async || (!home.exists()).then_some(())).await;
    let left: Vec<_> = std::fs::read_dir(machine.engine.folder().join("conf.d"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(left, ["own.conf"]);
    assert_eq!(get(own.number(), "own.example", "/").await, Some((200, "own".to_owned())));
    eventually("the site is served no more", async || {
        machine.get("one.example", "/").await.is_none().then_some(())
    })
    .await;

    // It can come back, whatever numbers the turns on it had.
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    machine.serves("one.example", &(200, "")).await;
}

/// The manager is killed at four points of a deployment.
#[tokio::test(flavor = "multi_thread")]
async fn a_manager_that_was_killed_in_a_deployment_finishes_it_when_it_is_back() {
    let mut manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["web-1"]});
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site("first.example")).await;
    let mut before = "first.example";
    for (host, point) in [
        ("turn.example", Point::Turn),
        ("sent.example", Point::Sent),
        ("linked.example", Point::Linked),
        ("served.example", Point::Served),
    ] {
        let seen = machine.seen();
        put_without_waiting(&manager, "one", &site(host)).await;
        while !machine.is_at(point, &seen, host).await {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        manager.kill().await.unwrap();
        // All of the one or all of the other; nginx's old workers may take a question beside the new.
        eventually(&format!("{before} or {host} is served"), async || {
            let (old, new) = (machine.get(before, "/").await, machine.get(host, "/").await);
            let serves = |answer: Option<(u16, String)>| answer.map(|(status, _)| status);
            [serves(old), serves(new)].contains(&Some(200)).then_some(())
        })
        .await;

        manager.serve().await.unwrap();
        let began = Instant::now();
        machine.serves(host, &(200, "")).await;
        machine.serves(before, &(404, "")).await;
        let shown = eventually("the node is as it should be", async || {
            let shown = json(&manager, &["node", "show", "web-1"]).await;
            (shown["state"] == "ready").then_some(shown)
        })
        .await;
        assert!(began.elapsed() < Duration::from_secs(10), "{host}: {shown}");
        before = host;
    }
}

/// How far a deployment is, as far as it can be seen on the machine.
#[derive(Clone, Copy, Debug)]
enum Point {
    Turn,
    Sent,
    Linked,
    Served,
}

impl Machine {
    fn names_in(&self, folder: &str) -> BTreeSet<String> {
        let path = self.engine.folder().join("portway").join(folder);
        let Ok(entries) = path.read_dir_utf8() else { return BTreeSet::new() };
        entries.map(|entry| entry.unwrap().file_name().to_owned()).collect()
    }

    /// Returns what is there before a deployment: notes, objects, and what is linked.
    fn seen(&self) -> [BTreeSet<String>; 3] {
        let link = self.engine.folder().join("portway/current.conf");
        let linked = std::fs::read_link(link).unwrap().to_string_lossy().into_owned();
        [self.names_in("turns"), self.names_in("objects"), [linked].into()]
    }

    /// Tells whether a deployment is at a point, or beyond it.
    async fn is_at(&self, point: Point, before: &[BTreeSet<String>; 3], host: &str) -> bool {
        let [turns, objects, linked] = self.seen();
        match point {
            Point::Turn => turns != before[0],
            Point::Sent => objects != before[1],
            Point::Linked => linked != before[2],
            Point::Served => self.get(host, "/").await.is_some_and(|(status, _)| status == 200),
        }
    }

    /// Returns the object of Portway's on the machine whose text has a part.
    pub(super) fn object_with(&self, part: &str) -> Utf8PathBuf {
        self.find_object(part).unwrap()
    }

    pub(super) fn find_object(&self, part: &str) -> Option<Utf8PathBuf> {
        let has_it = |path: &Utf8PathBuf| {
            std::fs::read_to_string(path).is_ok_and(|text| text.contains(part))
        };
        self.objects().into_iter().find(has_it)
    }

    /// Returns the object of Portway's on the machine whose name ends so.
    pub(super) fn object_named(&self, end: &str) -> Utf8PathBuf {
        self.objects().into_iter().find(|path| path.as_str().ends_with(end)).unwrap()
    }

    fn objects(&self) -> Vec<Utf8PathBuf> {
        let objects = self.engine.folder().join("portway/objects");
        let files = objects.read_dir_utf8().unwrap();
        files.map(|entry| entry.unwrap().into_path()).collect()
    }
}
