//! What the engine's own configuration lacks to read Portway's part: told with the very line, before
//! anything is deployed.

use portway_testkit::peer::Peer;
use serde_json::json;

use super::machine::{Engine, Machine, put};
use crate::support::{ends, json, manager, ok};

/// The exit code of a node that is not ready.
const FINDINGS: i32 = 3;

#[tokio::test(flavor = "multi_thread")]
async fn nginx_that_does_not_include_ours_is_told_by_a_check_with_the_line_that_helps() {
    let manager = manager().await;
    let machine = Machine::start();
    let top_level = machine.engine.top_level();
    let usual = std::fs::read_to_string(&top_level).unwrap();
    let folder = machine.engine.folder();
    let line = format!("include {folder}/conf.d/*.conf;");
    std::fs::write(&top_level, usual.replace(&line, "# nothing")).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;

    let found = ends(&manager, &["node", "check", "web-1"], FINDINGS).await.err;

    assert!(found.contains(&format!("{top_level} lacks")), "{found}");
    let helps = found.split('`').find(|words| words.starts_with("include ")).unwrap();
    assert_eq!(helps, format!("include {folder}/conf.d/portway.con[f];"));
    std::fs::write(&top_level, usual.replace(&line, helps)).unwrap();
    assert_eq!(json(&manager, &["node", "check", "web-1"]).await["ready"], json!(true));
    put(&manager, "one", &site("one.example")).await;
    machine.serves("one.example", &(200, "here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_that_does_not_import_ours_is_told_and_starts_with_an_empty_part() {
    const TEST: &str = "portway-cli::e2e fleet::ways_in::caddy_that_does_not_import_ours_is_told_and_starts_with_an_empty_part";
    let Some(caddy) = Peer::caddy(TEST).unwrap() else { return };
    let manager = manager().await;
    let machine = Machine::with(Engine::Other(caddy));
    let top_level = machine.engine.top_level();
    let usual = std::fs::read_to_string(&top_level).unwrap();
    let part = machine.engine.folder().join("portway/current.caddy");
    let line = format!("import {part}");
    std::fs::write(&top_level, usual.replace(&line, "")).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;

    let found = ends(&manager, &["node", "check", "web-1"], FINDINGS).await.err;

    assert!(found.contains(&format!("{top_level} lacks")), "{found}");
    assert!(found.contains(&format!("add the line `{line}`")), "{found}");
    // As user-data for cloud-init leaves it.
    std::fs::create_dir_all(part.parent().unwrap()).unwrap();
    std::fs::write(&part, "").unwrap();
    std::fs::write(&top_level, &usual).unwrap();
    assert_eq!(json(&manager, &["node", "check", "web-1"]).await["ready"], json!(true));
    put(&manager, "one", &site("one.example")).await;
    machine.serves("one.example", &(200, "here")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn traefik_without_our_entry_point_is_told() {
    const TEST: &str = "portway-cli::e2e fleet::ways_in::traefik_without_our_entry_point_is_told";
    let Some(traefik) = Peer::traefik(TEST).unwrap() else { return };
    let port = traefik.probe();
    let manager = manager().await;
    let machine = Machine::with(Engine::Other(traefik));
    let top_level = machine.engine.top_level();
    let usual = std::fs::read_to_string(&top_level).unwrap();
    let without: Vec<&str> =
        usual.lines().filter(|line| !line.trim_start().starts_with("portway:")).collect();
    std::fs::write(&top_level, without.join("\n")).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;

    let found = ends(&manager, &["node", "check", "web-1"], FINDINGS).await.err;

    let helps = format!("add the entry point `portway` with the address `127.0.0.1:{port}`");
    assert!(found.contains(&helps), "{found}");
    std::fs::write(&top_level, usual).unwrap();
    ok(&manager, &["node", "check", "web-1"]).await;
}

fn site(host: &str) -> serde_json::Value {
    json!({"hosts": [host], "respond": {"body": "here"}, "https": false, "nodes": ["web-1"]})
}
