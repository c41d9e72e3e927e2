//! Sites on machines with different engines.

use std::os::unix::fs::PermissionsExt as _;

use camino::Utf8Path;
use portway_testkit::{
    manager::Manager,
    nginx::Nginx,
    origin::{Origin, Speaks},
    peer::Peer,
};
use serde_json::{Value, json};

use super::machine::{Engine, Machine, get, put};
use crate::support::{ends, eventually, file, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn one_site_is_served_by_nginx_caddy_and_traefik() {
    const TEST: &str =
        "portway-cli::e2e fleet::engines::one_site_is_served_by_nginx_caddy_and_traefik";
    let (Some(caddy), Some(traefik)) = (Peer::caddy(TEST).unwrap(), Peer::traefik(TEST).unwrap())
    else {
        return;
    };
    let own = caddy.own();
    let manager = manager().await;
    let machines = [
        ("one", Machine::with(Engine::Nginx(Nginx::start().unwrap()))),
        ("two", Machine::with(Engine::Other(caddy))),
        ("three", Machine::with(Engine::Other(traefik))),
    ];
    for (name, machine) in &machines {
        machine.add(&manager, name, &["--host-key", &machine.pin(), "--group", "web"]).await;
        let seen = json(&manager, &["node", "check", name]).await;
        assert_eq!(seen["ready"], json!(true), "{name}: {seen}");
    }
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site =
        |host: &str| json!({"hosts": [host], "to": to, "https": false, "nodes": ["group:web"]});

    put(&manager, "app", &site("app.example")).await;
    for (name, machine) in &machines {
        let status = machine.get("app.example", "/").await.map(|(status, _)| status);
        assert_eq!(status, Some(200), "{name}: it is there when the command returns");
    }
    put(&manager, "app", &site("new.example")).await;
    for (name, machine) in &machines {
        machine.serves("new.example", &(200, "")).await;
        machine.serves("app.example", &(404, "")).await;
        let shown = json(&manager, &["node", "show", name]).await;
        assert_eq!(shown["state"], json!("ready"), "{shown}");
    }
    ok(&manager, &["site", "rm", "app"]).await;
    for (_, machine) in &machines {
        machine.serves("new.example", &(404, "")).await;
    }
    assert_eq!(
        get(own, "own.example", "/").await.map(|(_, body)| body),
        Some("its own".to_owned())
    );

    for (name, machine) in &machines {
        let home = machine.engine.folder().join("portway");
        for folder in ["objects", "releases"] {
            let mode = std::fs::metadata(home.join(folder)).unwrap().permissions().mode();
            assert_eq!(mode & 0o007, 0, "{name}: {folder} is closed to other users");
        }
        ok(&manager, &["node", "remove", name, "--clean"]).await;
        if *name == "two" {
            only_an_empty_file_is_left(&home).await;
            comes_back(&manager, machine, &site).await;
            continue;
        }
        eventually(&format!("{name} is clean"), async || (!home.exists()).then_some(())).await;
    }
    assert_eq!(
        get(own, "own.example", "/").await.map(|(_, body)| body),
        Some("its own".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caddy_that_cannot_be_told_keeps_a_configuration_that_it_can_read() {
    const TEST: &str = "portway-cli::e2e fleet::engines::a_caddy_that_cannot_be_told_keeps_a_configuration_that_it_can_read";
    let Some(caddy) = Peer::caddy(TEST).unwrap() else { return };
    let manager = manager().await;
    let machine = Machine::with(Engine::Other(caddy));
    let folder = machine.engine.folder().to_owned();
    let usual = std::fs::read_to_string(machine.engine.top_level()).unwrap();
    let (there, elsewhere) = (format!("{folder}/admin.sock"), format!("{folder}/nobody.sock"));
    std::fs::write(machine.engine.top_level(), usual.replace(&there, &elsewhere)).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    let site = json!({
        "hosts": ["app.example"], "respond": {"body": "here"}, "https": false, "nodes": ["web-1"],
    });
    let sites = file(&manager, "app.yaml", &json!({"sites": {"app": site}}).to_string());

    let ended = ends(&manager, &["apply", "-f", &sites], 8).await;

    assert!(ended.err.contains("not everywhere"), "{}", ended.err);
    assert!(ended.err.contains("nobody.sock"), "what Caddy said is told: {}", ended.err);
    assert!(!ended.err.contains("\"level\""), "without its log: {}", ended.err);
    let include = folder.join("portway/current.caddy");
    assert_eq!(std::fs::read_to_string(&include).unwrap(), "", "it insists on that file");

    std::fs::write(machine.engine.top_level(), usual).unwrap();
    ok(&manager, &["node", "deploy", "web-1"]).await;
    machine.serves("app.example", &(200, "here")).await;
}

/// Caddy insists on the file that its configuration names.
async fn only_an_empty_file_is_left(home: &Utf8Path) {
    eventually("only an empty file is left", async || {
        let names: Vec<_> = std::fs::read_dir(home).unwrap().flatten().collect();
        let [only] = names.as_slice() else { return None };
        std::fs::read(only.path()).is_ok_and(|bytes| bytes.is_empty()).then_some(())
    })
    .await;
}

/// A node that is declared anew where one was cleaned keeps what it gets.
async fn comes_back(manager: &Manager, machine: &Machine, site: &impl Fn(&str) -> Value) {
    machine.add(manager, "back", &["--host-key", &machine.pin()]).await;
    let mut there = site("back.example");
    there["nodes"] = json!(["back"]);
    put(manager, "back", &there).await;
    machine.serves("back.example", &(200, "")).await;
    ok(manager, &["node", "deploy", "back"]).await;
    machine.serves("back.example", &(200, "")).await;
}
