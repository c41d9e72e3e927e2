//! What a deployment is proven by: by the first request that comes after it, and by the probes of sites,
//! on every engine.

use std::net::SocketAddr;

use portway_testkit::{
    manager::Manager,
    nginx::Nginx,
    origin::{Origin, Speaks},
    peer::Peer,
    port::Port,
};
use serde_json::{Value, json};

use super::{
    machine::{Engine, Machine, get, put},
    rollouts::{Bed, stand},
};
use crate::support::{eventually, file, json, manager, ok};

/// How often something is deployed, unless `PORTWAY_DEPLOYMENTS` says otherwise.
const DEPLOYMENTS: usize = 5;

/// Returns machines with every engine that is there, and the name of each as a node.
async fn machines(test: &str, manager: &Manager) -> Option<Vec<(&'static str, Machine)>> {
    let (caddy, traefik) = (Peer::caddy(test).unwrap()?, Peer::traefik(test).unwrap()?);
    let machines = vec![
        ("one", Machine::with(Engine::Nginx(Nginx::start().unwrap()))),
        ("two", Machine::with(Engine::Other(caddy))),
        ("three", Machine::with(Engine::Other(traefik))),
    ];
    for (name, machine) in &machines {
        machine.add(manager, name, &["--host-key", &machine.pin(), "--group", "web"]).await;
    }
    Some(machines)
}

/// Old workers, servers and routers of an engine live on for a moment beside the new ones.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_request_after_each_deployment_gets_what_was_deployed() {
    const TEST: &str = "portway-cli::e2e fleet::probes::the_first_request_after_each_deployment";
    let manager = manager().await;
    let Some(machines) = machines(TEST, &manager).await else { return };
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let turns = std::env::var("PORTWAY_DEPLOYMENTS").ok().and_then(|turns| turns.parse().ok());
    for turn in 0..turns.unwrap_or(DEPLOYMENTS) {
        let (old, new) = (format!("v{turn}.example"), format!("v{}.example", turn + 1));
        let site = json!({"hosts": [new], "to": to, "https": false, "nodes": ["group:web"]});
        put(&manager, "app", &site).await;
        for (name, machine) in &machines {
            for (host, wanted) in [(&new, 200), (&old, 404)] {
                let status = machine.get(host, "/").await.map(|(status, _)| status);
                assert_eq!(status, Some(wanted), "{turn}: {name} for {host}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_worse_on_nginx_goes_back_to_what_it_was() {
    goes_back(Engine::Nginx(Nginx::start().unwrap())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_worse_on_caddy_goes_back_to_what_it_was() {
    const TEST: &str = "portway-cli::e2e fleet::probes::what_answers_worse_on_caddy";
    let Some(caddy) = Peer::caddy(TEST).unwrap() else { return };
    goes_back(Engine::Other(caddy)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_worse_on_traefik_goes_back_to_what_it_was() {
    const TEST: &str = "portway-cli::e2e fleet::probes::what_answers_worse_on_traefik";
    let Some(traefik) = Peer::traefik(TEST).unwrap() else { return };
    goes_back(Engine::Other(traefik)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_answers_worse_on_the_edge_goes_back_to_what_it_was() {
    let manager = manager().await;
    proven(&manager, "local", manager.http_port()).await;
}

async fn goes_back(engine: Engine) {
    let manager = manager().await;
    let machine = Machine::with(engine);
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    proven(&manager, "web-1", machine.engine.http()).await;
}

/// Has a site come to a node in versions of which some have an upstream where nobody listens.
async fn proven(manager: &Manager, node: &str, port: u16) {
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let closed = Port::take().unwrap();
    let nobody = format!("127.0.0.1:{}", closed.number());
    let site = |to: &str, more: &str| {
        json!({
            "hosts": ["app.example", format!("{more}.example")], "to": to, "https": false,
            "nodes": [node], "probes": [{"url": "/", "tries": 1}],
        })
    };
    let status = async |host: &str| get(port, host, "/").await.map(|(status, _)| status);

    let said = put(manager, "app", &site(&nobody, "a")).await;
    assert!(said.contains("http://app.example/ answers 200-399: not so"), "{said}");
    assert_ne!(status("app.example").await, Some(502), "what is new and wrong does not stay");

    put(manager, "app", &site(&to, "b")).await;
    assert_eq!(status("app.example").await, Some(200));

    let said = put(manager, "app", &site(&nobody, "c")).await;
    assert!(said.contains("so it was before, and then it answers 502"), "{said}");
    assert!(said.contains("on node ") && (node == "local" || said.contains(node)), "{said}");
    assert_eq!(status("app.example").await, Some(200), "it is as it was");
    assert_eq!(status("b.example").await, Some(200));
    let shown = json(manager, &["site", "show", "app"]).await;
    assert_eq!(shown["state"], json!("held"), "{shown}");

    if node != "local" {
        let reserved: SocketAddr = nobody.parse().unwrap();
        drop(closed);
        let back = Origin::at(reserved, Speaks::Http1).await.unwrap();
        ok(manager, &["node", "deploy", node]).await;
        assert_eq!(status("c.example").await, Some(200), "who asks for it has it tried again");
        drop(back);
    }

    let mut closed_for_work = site(&to, "d");
    closed_for_work["maintenance"] = json!(true);
    put(manager, "app", &closed_for_work).await;
    assert_eq!(status("app.example").await, Some(503), "no probe is in the way of maintenance");

    put(manager, "app", &site(&to, "d")).await;
    assert_eq!(status("d.example").await, Some(200), "and it goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_wrong_before_keeps_nothing_back_and_is_told() {
    let bed = Bed::new(1).await;
    let (manager, machine) = (&bed.manager, &bed.machines[0]);
    let closed = Port::take().unwrap();
    let nobody = format!("127.0.0.1:{}", closed.number());
    let site = |hosts: Value, probes: Value| json!({"hosts": hosts, "to": nobody, "https": false, "nodes": ["web-1"], "probes": probes});
    put(manager, "app", &site(json!(["app.example"]), json!([]))).await;

    let probes = json!([{"url": "http://app.example/health", "tries": 1}]);
    let changed = site(json!(["app.example", "more.example"]), probes);
    let text = json!({"sites": {"app": changed}}).to_string();
    let path = file(manager, "plan.yaml", &text);
    let planned = ok(manager, &["plan", "-f", &path]).await;
    put(manager, "app", &changed).await;

    let told = "proven by: http://app.example/health answers 200-399";
    assert!(planned.out.contains(told), "{}", planned.out);
    let status = machine.get("more.example", "/").await.map(|(status, _)| status);
    assert_eq!(status, Some(502), "it came there");
    let shown = json(manager, &["site", "show", "app"]).await;
    assert_eq!(shown["state"], json!("live"), "{shown}");
    let told =
        "on node web-1, http://app.example/health answers 200-399: not so, before (it answers 502)";
    assert!(shown["findings"].to_string().contains(told), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_probe_goes_by_https_with_the_name_of_the_site() {
    let bed = Bed::new(1).await;
    let manager = &bed.manager;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let closed = Port::take().unwrap();
    let nobody = format!("127.0.0.1:{}", closed.number());
    let site = |to: &str, tag: &str| {
        json!({
            "hosts": ["*.app.example"], "to": to, "nodes": ["web-1"], "description": tag,
            "probes": [
                {"url": "https://www.app.example/", "tries": 1},
                {"url": "http://www.app.example/", "status": 301, "tries": 1},
            ],
        })
    };
    put(manager, "app", &site(&to, "a")).await;
    let shown = json(manager, &["site", "show", "app"]).await;
    assert_eq!(shown["state"], json!("live"), "{shown}");

    let said = put(manager, "app", &site(&nobody, "b")).await;

    assert!(said.contains("https://www.app.example/ answers 200-399: so it was before"), "{said}");
    assert!(!said.contains("answers 301: so it was"), "{said}");
}

/// Only the second machine answers otherwise, which nothing but a probe sees.
#[tokio::test(flavor = "multi_thread")]
async fn a_rollout_stops_at_the_node_that_answers_worse() {
    let bed = Bed::new(3).await;
    let second = bed.machines[1].engine.http();
    let apply = async |body: &str, snippet: Option<String>, more: &[&str]| {
        let site = json!({
            "hosts": ["app.example"], "respond": {"body": body}, "https": false,
            "nodes": ["group:all"], "probes": [{"url": "/", "tries": 1}],
            "snippets": {"nginx": snippet.unwrap_or_else(|| "gzip_vary on;".to_owned())},
        });
        let text = json!({"sites": {"app": site}}).to_string();
        let path = file(&bed.manager, "app.yaml", &text);
        bed.manager.run(&[&["apply", "-f", &path, "--wait"], more].concat()).await.unwrap()
    };
    apply("one", None, &[]).await;
    bed.assert_serve(&["one", "one", "one"]).await;

    let snippet = format!("if ($server_port = {second}) {{ return 503; }}\n");
    let waves = ["--canary", "web-1", "--waves", "2"];
    apply("two", Some(snippet), &waves).await;

    let paused = eventually("the rollout to stop", async || {
        let newest = bed.newest().await;
        (newest["state"] == "paused").then_some(newest)
    })
    .await;
    assert_eq!(stand(&paused), ["has", "failed", "waiting"], "{paused}");
    let told = paused["nodes"].to_string();
    assert!(told.contains("on node web-2") && told.contains("it answers 503"), "{told}");
    assert_eq!(bed.serve().await, ["two", "one", "one"]);
}
