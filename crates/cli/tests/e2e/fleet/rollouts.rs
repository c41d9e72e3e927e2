//! Rollouts over real machines: which of them serve what, and what is told of it.

use std::collections::BTreeMap;

use portway_testkit::{
    disk::SmallDisk,
    manager::{Manager, Ran},
};
use portway_wire::{
    ProblemCode,
    auth::Login,
    client::{Client, ClientConfig, Endpoint, IfMatch},
    rollout::EventQuery,
};
use serde_json::{Value, json};

use super::machine::{Machine, get};
use crate::support::{ends, eventually, file, json, manager, ok};

/// A host that a site gets and did not have before.
pub(super) const MORE: &str = "more.example";

/// Machines with nginx, called `web-1` and so on.
pub(super) struct Bed {
    pub(super) manager: Manager,
    /// Disks on which machines have Portway's folder, by their number; they go first.
    pub(super) disks: BTreeMap<usize, SmallDisk>,
    pub(super) machines: Vec<Machine>,
}

impl Bed {
    pub(super) async fn new(count: usize) -> Self {
        Self::with_small_disks(count, &[]).await
    }

    /// Does the same; machines of these numbers have Portway's folder on a disk that can be filled.
    pub(super) async fn with_small_disks(count: usize, small: &[usize]) -> Self {
        Self::of(manager().await, count, small).await
    }

    /// Does the same with a manager that runs.
    pub(super) async fn of(manager: Manager, count: usize, small: &[usize]) -> Self {
        let machines = (0..count).map(|_| Machine::start()).collect();
        Self::with_machines(manager, machines, small).await
    }

    /// Does the same with machines that run.
    pub(super) async fn with_machines(
        manager: Manager,
        machines: Vec<Machine>,
        small: &[usize],
    ) -> Self {
        let mut disks = BTreeMap::new();
        for (number, machine) in (1..).zip(&machines) {
            if small.contains(&number) {
                let home = machine.engine.folder().join("portway");
                disks.insert(number, SmallDisk::mount(&home, "128m").unwrap());
            }
            let name = format!("web-{number}");
            machine.add(&manager, &name, &["--group", "all", "--host-key", &machine.pin()]).await;
        }
        Self { manager, disks, machines }
    }

    /// Has the engine of a machine refuse every configuration; it goes on with the one that it read.
    pub(super) fn spoil(&self, number: usize) {
        let folder = self.machines[number - 1].engine.folder();
        std::fs::write(folder.join("conf.d/broken.conf"), "no_such_directive on;\n").unwrap();
    }

    /// Takes [`Bed::spoil`] back.
    pub(super) fn mend(&self, number: usize) {
        let folder = self.machines[number - 1].engine.folder();
        std::fs::remove_file(folder.join("conf.d/broken.conf")).unwrap();
    }

    /// Brings a version to the nodes.
    pub(super) async fn apply(&self, body: &str, hosts: &[&str], more: &[&str]) -> Ran {
        self.apply_to(&["group:all"], body, hosts, more).await
    }

    async fn apply_to(&self, nodes: &[&str], body: &str, hosts: &[&str], more: &[&str]) -> Ran {
        let hosts: Vec<&str> = [&["app.example"], hosts].concat();
        let site = json!({
            "hosts": hosts,
            "respond": { "body": body }, "https": false, "nodes": nodes,
        });
        let text = json!({ "sites": { "app": site } }).to_string();
        let path = file(&self.manager, "app.yaml", &text);
        self.manager.run(&[&["apply", "-f", &path], more].concat()).await.unwrap()
    }

    /// Returns what each machine serves now.
    pub(super) async fn serve(&self) -> Vec<String> {
        let mut bodies = Vec::new();
        for machine in &self.machines {
            let answer = machine.get("app.example", "/").await;
            bodies.push(answer.map(|(_, body)| body).unwrap_or_default());
        }
        bodies
    }

    pub(super) async fn assert_serve(&self, wanted: &[&str]) {
        // An old worker of nginx may answer a moment longer.
        eventually(&format!("{wanted:?}"), async || (self.serve().await == wanted).then_some(()))
            .await;
    }

    pub(super) async fn newest(&self) -> Value {
        json(&self.manager, &["rollout", "list", "-n", "1"]).await[0].clone()
    }

    async fn revision(&self) -> String {
        self.newest().await["revision"].to_string()
    }

    pub(super) async fn comes_to(&self, state: &str) -> Value {
        eventually(state, async || {
            let newest = self.newest().await;
            (newest["state"] == state).then_some(newest)
        })
        .await
    }
}

fn standings(rollout: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let nodes = rollout["nodes"].as_array().unwrap().iter();
    let mut all: Vec<_> =
        nodes.map(|node| (text(&node["node"]), text(&node["standing"]))).collect();
    all.sort();
    all
}

pub(super) fn stand(rollout: &Value) -> Vec<String> {
    standings(rollout).into_iter().map(|(_, standing)| standing).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_fails_does_what_the_rollout_says() {
    let bed = Bed::new(3).await;
    let client = bed.manager.client().unwrap();
    let mut events = client.events(&EventQuery::default()).await.unwrap();
    assert_eq!(bed.apply("old", &[], &[]).await.code, 0);
    bed.assert_serve(&["old", "old", "old"]).await;
    bed.spoil(2);

    // The canary fails: nobody else gets it, and it waits for somebody to decide.
    let ran = bed.apply("canary", &[MORE], &["--canary", "web-2", "--patience", "20s"]).await;
    assert_eq!(ran.code, 8, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("paused, because a node failed"), "{}", ran.err);
    assert!(ran.err.contains("rollout resume"), "{}", ran.err);
    let paused = bed.newest().await;
    assert_eq!(stand(&paused), ["waiting", "failed", "waiting"], "{paused}");
    let told = paused["nodes"].to_string();
    assert!(told.contains("no_such_directive"), "{told}");
    assert_eq!(bed.serve().await, ["old", "old", "old"]);

    // All or nothing, in the second wave.
    let flags = ["--canary", "web-1", "--waves", "100%", "--all-or-nothing", "--patience", "20s"];
    let ran = bed.apply("all", &[MORE], &flags).await;
    assert_eq!(ran.code, 8, "{}{}", ran.out, ran.err);
    let undone = bed.newest().await;
    assert_eq!((&undone["state"], &undone["why"]), (&json!("undone"), &json!("failure")));
    assert_eq!(stand(&undone), ["back", "back", "back"], "{undone}");
    bed.assert_serve(&["old", "old", "old"]).await;
    assert!(ran.err.contains("went back"), "{}", ran.err);

    // As far as it goes.
    let flags = ["--waves", "1,2", "--best-effort", "--patience", "20s"];
    let ran = bed.apply("most", &[MORE], &flags).await;
    assert_eq!(ran.code, 8, "{}{}", ran.out, ran.err);
    let partial = bed.newest().await;
    assert_eq!(partial["state"], json!("partial"), "{partial}");
    assert_eq!(stand(&partial), ["has", "failed", "has"], "{partial}");
    bed.assert_serve(&["most", "old", "most"]).await;

    // Whoever listens was told of each of the three, and how it ended.
    let mut told = Vec::new();
    while told.last().is_none_or(|(_, state)| state != "partial") {
        let event = events.next().await.unwrap().unwrap().rollout.unwrap();
        told.push((event.revision, event.state));
    }
    let states: Vec<&str> = told.iter().map(|(_, state)| state.as_str()).collect();
    assert_eq!(
        states,
        [
            "running",
            "paused",
            "superseded",
            "running",
            "running",
            "going_back",
            "undone",
            "running",
            "running",
            "running",
            "partial"
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_is_paused_resumed_aborted_and_taken_back() {
    let bed = Bed::new(3).await;
    assert_eq!(bed.apply("one", &[], &[]).await.code, 0);

    let by_hand = ["--canary", "web-3", "--waves", "100%", "--pause-after", "canary"];
    let ran = bed.apply("two", &[], &by_hand).await;
    assert_eq!(ran.code, 8, "{}{}", ran.out, ran.err);
    assert!(ran.err.contains("paused, a wave is done"), "{}", ran.err);
    bed.assert_serve(&["one", "one", "two"]).await;
    let revision = bed.revision().await;
    ok(&bed.manager, &["rollout", "resume", &revision, "--wait"]).await;
    assert_eq!(bed.newest().await["state"], json!("done"));
    bed.assert_serve(&["two", "two", "two"]).await;
    ends(&bed.manager, &["rollout", "pause", &revision], 6).await;

    bed.apply("three", &[], &by_hand).await;
    bed.assert_serve(&["two", "two", "three"]).await;
    let revision = bed.revision().await;
    ok(&bed.manager, &["rollout", "abort", &revision]).await;
    assert_eq!(bed.newest().await["state"], json!("aborted"));
    bed.assert_serve(&["two", "two", "three"]).await;
    let held = json(&bed.manager, &["site", "show", "app"]).await;
    let held = eventually("the site is held", async || {
        let shown = json(&bed.manager, &["site", "show", "app"]).await;
        (shown["state"] == "held").then_some(shown)
    })
    .await
    .to_string()
        + &held.to_string();
    assert!(held.contains("ended before it came to every node"), "{held}");
    ok(&bed.manager, &["rollout", "abort", &revision, "--back", "--wait"]).await;
    assert_eq!(bed.newest().await["state"], json!("undone"));
    bed.assert_serve(&["two", "two", "two"]).await;

    // A newer version of the site goes past the one that waits.
    bed.apply("four", &[], &by_hand).await;
    bed.assert_serve(&["two", "two", "four"]).await;
    assert_eq!(bed.apply("five", &[], &[]).await.code, 0);
    bed.assert_serve(&["five", "five", "five"]).await;
    bed.comes_to("superseded").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_outlives_its_manager() {
    let mut bed = Bed::new(3).await;
    assert_eq!(bed.apply("one", &[], &[]).await.code, 0);
    let slowly = ["--waves", "1,2,3", "--no-wait"];

    assert_eq!(bed.apply("two", &[], &slowly).await.code, 0);
    eventually("the first one has it", async || (bed.serve().await[0] == "two").then_some(()))
        .await;
    bed.manager.kill().await.unwrap();
    bed.manager.serve().await.unwrap();

    bed.comes_to("done").await;
    bed.assert_serve(&["two", "two", "two"]).await;
    let steps = json(&bed.manager, &["rollout", "show", &bed.revision().await]).await;
    assert_eq!(stand(&steps), ["has", "has", "has"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_of_the_manager_is_a_node_of_a_rollout() {
    let bed = Bed::new(1).await;
    let nodes = ["local", "web-1"];
    let port = bed.manager.http_port();
    let edge = async || get(port, "app.example", "/").await.map(|(_, body)| body);
    assert_eq!(bed.apply_to(&nodes, "one", &[], &[]).await.code, 0);
    assert_eq!(edge().await.as_deref(), Some("one"));

    let by_hand = ["--canary", "web-1", "--pause-after", "canary"];
    assert_eq!(bed.apply_to(&nodes, "two", &[], &by_hand).await.code, 8);
    bed.assert_serve(&["two"]).await;
    assert_eq!(edge().await.as_deref(), Some("one"), "the edge waits");
    let revision = bed.revision().await;
    ok(&bed.manager, &["rollout", "resume", &revision, "--wait"]).await;
    assert_eq!(edge().await.as_deref(), Some("two"));

    // The edge first, and back.
    let by_hand = ["--canary", "local", "--pause-after", "canary"];
    assert_eq!(bed.apply_to(&nodes, "three", &[MORE], &by_hand).await.code, 8);
    assert_eq!(edge().await.as_deref(), Some("three"));
    bed.assert_serve(&["two"]).await;
    let revision = bed.revision().await;
    ok(&bed.manager, &["rollout", "abort", &revision, "--back", "--wait"]).await;
    assert_eq!(edge().await.as_deref(), Some("two"));
    assert_eq!(get(port, MORE, "/").await.map(|(status, _)| status), Some(404));
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changes_become_few_deployments() {
    let bed = Bed::new(1).await;
    assert_eq!(bed.apply("start", &[], &[]).await.code, 0);
    let before = json(&bed.manager, &["node", "show", "web-1"]).await;
    let client = bed.manager.client().unwrap();
    let count = async || {
        let page = client.deployments(&portway_wire::PageQuery::default()).await.unwrap();
        page.items.into_iter().filter(|row| row.node == "web-1").count()
    };
    let began_with = count().await;

    for number in 1..=20 {
        let site = json!({
            "hosts": [format!("h{number}.example")], "respond": { "body": format!("{number}") },
            "https": false, "nodes": ["web-1"],
        });
        let new = serde_json::from_value(json!({ "name": format!("s{number}"), "spec": site }));
        client.create_site(&new.unwrap(), uuid::Uuid::now_v7()).await.unwrap();
    }

    for number in [1, 7, 20] {
        let host = format!("h{number}.example");
        bed.machines[0].serves(&host, &(200, &number.to_string())).await;
    }
    let made = count().await - began_with;
    assert!(made <= 10, "20 changes were {made} deployments; {before}");
    // Each with every command, what it printed, and how long it took; live, and after its end.
    let page = client.deployments(&portway_wire::PageQuery::default()).await.unwrap();
    let last = page.items.iter().find(|row| row.node == "web-1").unwrap();
    let mut steps = client.deployment_events(last.id).await.unwrap();
    let mut said = Vec::new();
    while let Some(step) = steps.next().await.unwrap() {
        said.push(step);
    }
    assert!(said.iter().any(|step| step.action.contains("nginx") && step.action.contains("-t")));
    let numbers: Vec<u32> = said.iter().map(|step| step.number).collect();
    assert_eq!(numbers, (1..=u32::try_from(said.len()).unwrap()).collect::<Vec<_>>());
}

/// The stream of a client ends with the client's login.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_hears_of_its_own_sites_alone_and_starts_no_rollout() {
    let manager = manager().await;
    let root = manager.client().unwrap();
    let carol = json!({
        "name": "carol", "role": "client", "password": crate::support::PASSWORD,
        "bounds": { "hosts": ["carol.example"], "max_sites": 3 },
    });
    root.create_user(&serde_json::from_value(carol).unwrap()).await.unwrap();
    let api = format!("http://{}", manager.api()).parse().unwrap();
    let nobody = Client::new(ClientConfig::new(Endpoint::Http(api))).unwrap();
    let login = Login { name: "carol".to_owned(), password: crate::support::PASSWORD.to_owned() };
    let token = nobody.log_in(&login).await.unwrap().access_token;
    let client = nobody.with_token(&token).unwrap();
    let mut events = client.events(&EventQuery::default()).await.unwrap();

    for (host, owner) in [("other.example", None), ("carol.example", Some("carol"))] {
        let spec = json!({ "hosts": [host], "respond": { "body": "x" }, "https": false });
        let name = owner.unwrap_or("other");
        let rollout = json!({ "canary": ["local"] });
        let new = json!({ "name": name, "spec": spec, "owner": owner, "rollout": rollout });
        let new = serde_json::from_value(new).unwrap();
        root.create_site(&new, uuid::Uuid::now_v7()).await.unwrap();
    }
    let own = root.site("carol").await.unwrap().summary.revision;
    let mut states = Vec::new();
    while states.last().is_none_or(|state| state != "done") {
        let told = events.next().await.unwrap().unwrap().rollout.unwrap();
        assert_eq!(told.revision, own, "only what touched the client's own");
        states.push(told.state);
    }
    assert_eq!(states, ["running", "done"]);

    let spec = json!({ "hosts": ["carol.example"], "respond": { "body": "y" }, "https": false });
    let edit = json!({ "spec": spec, "rollout": {} });
    let edit = serde_json::from_value(edit).unwrap();
    let refused = client.edit_site("carol", &edit, IfMatch::Any).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code, ProblemCode::Forbidden);
    let missing = json!({ "spec": spec, "rollout": { "canary": ["nowhere"] } });
    let missing = serde_json::from_value(missing).unwrap();
    let refused = root.edit_site("carol", &missing, IfMatch::Any).await.unwrap_err();
    assert_eq!(refused.problem().unwrap().code, ProblemCode::BadRequest);

    client.log_out().await.unwrap();
    let end = tokio::time::timeout(std::time::Duration::from_secs(20), events.next()).await;
    assert!(end.unwrap().unwrap().is_none(), "the stream ends with the login");
}
