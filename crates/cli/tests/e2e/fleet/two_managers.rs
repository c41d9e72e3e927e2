//! Two managers on one PostgreSQL database, and nodes that both of them reach: whoever of them is asked,
//! plans and rollouts are the same, and either finishes what the other one began.

use std::time::{Duration, Instant};

use portway_testkit::manager::Manager;
use portway_wire::rollout::EventQuery;
use serde_json::{Value, json};

use super::machine::Machine;
use crate::{
    postgres::Database,
    support::{PROGRAM, ends, file, json, may_skip, ok},
};

/// A manager that died holds a node for less than a minute.
const TAKEN_OVER: Duration = Duration::from_secs(150);

/// Two managers of one installation.
struct Pair {
    database: Database,
    first: Manager,
    second: Manager,
}

impl Pair {
    async fn start(test: &str) -> Option<Self> {
        let Ok(server) = std::env::var("PORTWAY_TEST_POSTGRES") else {
            may_skip(test, "PORTWAY_TEST_POSTGRES");
            return None;
        };
        let database = Database::new(&server);
        let new = || Manager::new(PROGRAM).unwrap().with(format!("--database={}", database.url));
        let (mut first, mut second) = (new(), new());
        first.serve().await.unwrap();
        std::fs::create_dir_all(second.data()).unwrap();
        let key = "master.key";
        std::fs::copy(first.data().join(key), second.data().join(key)).unwrap();
        second.serve().await.unwrap();
        Some(Self { database, first, second })
    }

    /// Ends both, and their database.
    async fn end(mut self) {
        self.first.stop().await.unwrap();
        self.second.stop().await.unwrap();
        self.database.remove();
    }

    async fn machines(&self, count: usize) -> Vec<Machine> {
        let mut machines = Vec::new();
        for number in 1..=count {
            let machine = Machine::start();
            let name = format!("web-{number}");
            let more = ["--group", "all", "--host-key", &machine.pin()];
            machine.add(&self.first, &name, &more).await;
            machines.push(machine);
        }
        machines
    }
}

fn sites(manager: &Manager, body: &str) -> String {
    let site = json!({
        "hosts": ["app.example"], "respond": {"body": body}, "https": false, "nodes": ["group:all"],
    });
    file(manager, "app.yaml", &json!({"sites": {"app": site}}).to_string())
}

async fn serves(machine: &Machine, body: &str) -> bool {
    machine.get("app.example", "/").await.is_some_and(|(_, found)| found == body)
}

/// Waits until a machine serves a body, for as long as a manager that died may hold it.
async fn comes_to_serve(machine: &Machine, body: &str) {
    let began = Instant::now();
    while !serves(machine, body).await {
        assert!(began.elapsed() < TAKEN_OVER, "waited in vain for `{body}`");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_goes_on_when_the_manager_that_began_it_is_killed() {
    let test = "a_rollout_goes_on_when_the_manager_that_began_it_is_killed";
    let Some(mut pair) = Pair::start(test).await else { return };
    let machines = pair.machines(4).await;
    ok(&pair.first, &["apply", "-f", &sites(&pair.first, "old"), "--wait"]).await;
    for machine in &machines {
        comes_to_serve(machine, "old").await;
    }
    let mut events = pair.second.client().unwrap().events(&EventQuery::default()).await.unwrap();

    let path = sites(&pair.first, "new");
    let waves = ["--canary", "web-1", "--waves", "1,2,3"];
    ok(&pair.first, &[&["apply", "-f", &path, "--no-wait"], &waves[..]].concat()).await;
    comes_to_serve(&machines[0], "new").await;
    // In the midst of the second wave, or of whatever comes first.
    pair.first.kill().await.unwrap();

    let mut told = Vec::new();
    while told.last().is_none_or(|state| state != "done") {
        let next = tokio::time::timeout(TAKEN_OVER, events.next()).await.expect("events go on");
        told.push(next.unwrap().unwrap().rollout.unwrap().state);
    }
    assert!(told.starts_with(&["running".to_owned()]), "{told:?}");
    for machine in &machines {
        comes_to_serve(machine, "new").await;
    }
    let rollout = json(&pair.second, &["rollout", "list", "-n", "1"]).await[0].clone();
    assert_eq!(rollout["state"], json!("done"), "{rollout}");
    assert_eq!(super::rollouts::stand(&rollout), ["has"; 4], "{rollout}");

    // Whoever comes back finds it done.
    pair.first.serve().await.unwrap();
    let same = json(&pair.first, &["rollout", "list", "-n", "1"]).await[0].clone();
    assert_eq!(same["updated_at"], rollout["updated_at"]);
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_manager_begins_the_other_one_steers_and_tells_of() {
    let test = "what_one_manager_begins_the_other_one_steers_and_tells_of";
    let Some(pair) = Pair::start(test).await else { return };
    let machines = pair.machines(2).await;
    ok(&pair.first, &["apply", "-f", &sites(&pair.first, "old"), "--wait"]).await;
    let mut events = pair.second.client().unwrap().events(&EventQuery::default()).await.unwrap();

    let path = sites(&pair.first, "new");
    let flags = ["--canary", "web-1", "--pause-after", "canary", "--wait"];
    ends(&pair.first, &[&["apply", "-f", &path], &flags[..]].concat(), 8).await;
    let mut event = events.next().await.unwrap().unwrap().rollout.unwrap();
    while event.state != "paused" {
        event = events.next().await.unwrap().unwrap().rollout.unwrap();
    }
    assert_eq!((event.counts.nodes, event.counts.have), (2, 1));
    assert!(serves(&machines[0], "new").await && serves(&machines[1], "old").await);
    let revision = event.revision.to_string();
    ok(&pair.second, &["rollout", "abort", &revision, "--back", "--wait"]).await;
    comes_to_serve(&machines[0], "old").await;
    let state = json(&pair.first, &["rollout", "show", &revision]).await["state"].clone();
    assert_eq!(state, json!("undone"));
    pair.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_of_one_manager_is_applied_by_the_other_one_and_of_two_at_once_one_wins() {
    let test = "a_plan_of_one_manager_is_applied_by_the_other_one_and_of_two_at_once_one_wins";
    let Some(pair) = Pair::start(test).await else { return };
    let machines = pair.machines(1).await;
    let path = sites(&pair.first, "one");
    ok(&pair.first, &["apply", "-f", &path, "--wait"]).await;
    let kept = pair.first.folder().join("plan.json").into_string();

    sites(&pair.first, "two");
    ok(&pair.first, &["plan", "-f", &path, "--refresh", "--keep", &kept]).await;
    ok(&pair.second, &["apply", "--plan", &kept, "--wait"]).await;
    comes_to_serve(&machines[0], "two").await;
    let late = ends(&pair.first, &["apply", "--plan", &kept], 6).await;
    assert!(late.err.contains("make the plan again"), "{}", late.err);

    // Two people carry out plans of the same moment.
    for round in 0..5 {
        let plans = [(&pair.first, "ann"), (&pair.second, "bob")].map(|(manager, who)| {
            (manager, format!("{who}-{round}"), manager.folder().join(format!("{who}.json")))
        });
        let mut paths = Vec::new();
        for (manager, body, kept) in &plans {
            let path = sites(manager, body);
            ok(manager, &["plan", "-f", &path, "--refresh", "--keep", kept.as_str()]).await;
            paths.push(path);
        }
        let run = |(manager, _, kept): &(&Manager, String, camino::Utf8PathBuf)| {
            let words = ["apply", "--plan", kept.as_str(), "--wait"].map(str::to_owned);
            let command = manager.command(&words).output();
            async move { command.await.unwrap() }
        };
        let (ann, bob) = tokio::join!(run(&plans[0]), run(&plans[1]));
        let codes = [ann.status.code().unwrap(), bob.status.code().unwrap()];
        let winner = match codes {
            [0, 6] => &plans[0].1,
            [6, 0] => &plans[1].1,
            other => panic!("{other:?}: {ann:?} {bob:?}"),
        };
        let loser = if codes[0] == 6 { &ann } else { &bob };
        let told = String::from_utf8_lossy(&loser.stderr);
        assert!(told.contains("`app` is at revision"), "{told}");
        comes_to_serve(&machines[0], winner).await;
        let shown: Value = json(&pair.second, &["site", "show", "app"]).await;
        assert_eq!(shown["spec"]["respond"]["body"], json!(winner));
    }

    // Two people edit what both of them read.
    let client = [pair.first.client().unwrap(), pair.second.client().unwrap()];
    let read = client[0].site("app").await.unwrap();
    let edit = |body: &str| {
        let spec = json!({
            "hosts": ["app.example"], "respond": {"body": body}, "https": false,
            "nodes": ["group:all"],
        });
        portway_wire::site::EditSite { spec, message: None, rollout: None }
    };
    let expected = portway_wire::client::IfMatch::Revision(read.summary.revision);
    let (ann, bob) = (edit("ann"), edit("bob"));
    let (one, other) = tokio::join!(
        client[0].edit_site("app", &ann, expected),
        client[1].edit_site("app", &bob, expected)
    );
    assert!(one.is_ok() != other.is_ok(), "{one:?} {other:?}");
    let told = one.err().or(other.err()).unwrap().to_string();
    assert!(told.contains("changed"), "{told}");
    pair.end().await;
}
