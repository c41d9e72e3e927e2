//! Directives of an engine's own that a site brings: on real engines, and from the plan to what is told.

use portway_testkit::{
    nginx::Nginx,
    origin::{Origin, Speaks},
    peer::Peer,
};
use serde_json::{Value, json};

use super::machine::{Engine, Machine, get, put};
use crate::support::{ends, file, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_snippet_goes_to_its_engine_and_a_bad_one_holds_its_site_alone() {
    const TEST: &str = "portway-cli::e2e fleet::snippets::a_snippet_goes_to_its_engine";
    let Some(caddy) = Peer::caddy(TEST).unwrap() else { return };
    let manager = manager().await;
    let machines = [
        ("one", Machine::with(Engine::Nginx(Nginx::start().unwrap()))),
        ("two", Machine::with(Engine::Other(caddy))),
    ];
    for (name, machine) in &machines {
        machine.add(&manager, name, &["--host-key", &machine.pin(), "--group", "web"]).await;
    }
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let site = |name: &str, nginx: &str, caddy: &str| {
        json!({
            "hosts": [format!("{name}.example")], "to": to, "https": false,
            "nodes": ["group:web", "local"], "snippets": {"nginx": nginx, "caddy": caddy},
        })
    };
    let nginx = "location = /hello { return 203 \"nginx says hello }\"; }";
    let caddy = "handle /hello {\n  respond \"Caddy says hello }\" 203\n}";

    let said = put(&manager, "app", &site("app", nginx, caddy)).await;
    assert!(said.contains("Portway does not understand these directives"), "{said}");
    for (name, machine) in &machines {
        let (status, body) = machine.get("app.example", "/hello").await.unwrap();
        assert_eq!(status, 203, "{name}: {body}");
        assert!(body.contains("says hello }"), "{name}: {body}");
        assert_eq!(machine.get("app.example", "/").await.unwrap().0, 200, "{name}");
    }
    let edge = get(manager.http_port(), "app.example", "/hello").await.unwrap();
    assert_eq!(edge.0, 200, "the edge has nothing of it");
    let shown = json(&manager, &["site", "show", "app"]).await;
    assert!(shown["findings"].to_string().contains("access rules"), "{shown}");

    // The plan shows what changes.
    let changed = site("app", "add_header X-New yes;", caddy);
    let text = json!({"sites": {"app": changed}}).to_string();
    let planned = ok(&manager, &["plan", "-f", &file(&manager, "plan.yaml", &text)]).await;
    assert!(planned.out.contains("+add_header X-New yes;"), "{}", planned.out);
    assert!(planned.out.contains("-location = /hello"), "{}", planned.out);

    // What only the engine can see holds the site, and no other one.
    put(&manager, "app", &site("app", "no_such_directive on;", "no_such_directive on")).await;
    let good = site("good", "gzip_vary on;", "header X-Good yes");
    put(&manager, "good", &good).await;
    let shown = json(&manager, &["site", "show", "app"]).await;
    assert_eq!(shown["state"], json!("held"), "{shown}");
    let findings = shown["findings"].to_string();
    assert!(findings.contains("no_such_directive"), "{findings}");
    for (name, machine) in &machines {
        assert_eq!(machine.get("app.example", "/hello").await.unwrap().0, 203, "{name}");
        assert_eq!(machine.get("good.example", "/").await.unwrap().0, 200, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snippet_that_leaves_its_block_is_never_written() {
    let manager = manager().await;
    let site = |snippets: Value| json!({"hosts": ["app.example"], "respond": {"body": "x"}, "snippets": snippets});
    for snippets in [
        json!({"nginx": "}\nserver { listen 80 default_server;"}),
        json!({"nginx": "server_name other.example;"}),
        json!({"caddy": "}\n:80 {\n  respond hijacked"}),
        json!({"caddy": "import /etc/passwd"}),
    ] {
        let text = json!({"sites": {"app": site(snippets.clone())}}).to_string();
        let ran = manager.run(&["apply", "-f", &file(&manager, "app.yaml", &text)]).await.unwrap();
        assert_ne!(ran.code, 0, "{snippets}: {}", ran.out);
        assert!(format!("{}{}", ran.out, ran.err).contains("snippets."), "{}{}", ran.out, ran.err);
    }
    ends(&manager, &["site", "show", "app"], 4).await;
}
