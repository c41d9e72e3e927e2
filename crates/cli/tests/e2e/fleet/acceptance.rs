//! What a new user does with a handful of machines, from one end to the other: three are added by hand, an
//! example and an application come to them, one site is broken on purpose and taken back, a machine is away
//! and catches up; and an existing nginx is taken over.

use std::os::unix::fs::PermissionsExt as _;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use camino::{Utf8Path, Utf8PathBuf};
use portway_testkit::{
    nginx::Nginx,
    origin::{Origin, Speaks},
    peer::Peer,
    port::Port,
};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::machine::{Engine, Machine, ask, get, put, put_without_waiting};
use crate::support::{copy_folder, eventually, json, manager, ok, repository};

/// `secret`, at the least cost.
const HASH: &str = "$2y$04$XS0w5L8Do/BMcKJb1yqLTu/Z3HyVbBqVRDgLDzBW1Yxc7H5QvpyGa";
/// How many sites the existing nginx has.
const EXISTING: usize = 20;

#[tokio::test(flavor = "multi_thread")]
async fn an_example_and_an_application_live_through_a_broken_site_and_a_machine_that_is_away() {
    const TEST: &str = "portway-cli::e2e fleet::acceptance::an_example_and_an_application";
    let (Some(caddy), Some(traefik)) = (Peer::caddy(TEST).unwrap(), Peer::traefik(TEST).unwrap())
    else {
        return;
    };
    let manager = manager().await;
    let mut machines = [
        Machine::with(Engine::Nginx(Nginx::start().unwrap())),
        Machine::with(Engine::Other(caddy)),
        Machine::with(Engine::Other(traefik)),
    ];
    for (name, machine) in ["one", "two", "three"].into_iter().zip(&machines) {
        machine.add(&manager, name, &[]).await;
        ok(&manager, &["node", "confirm", name, "--host-key", &machine.pin()]).await;
        assert_eq!(json(&manager, &["node", "check", name]).await["ready"], json!(true), "{name}");
    }

    // The static parts of the example, on nginx and Caddy. Traefik serves no files.
    let example = Example::new();
    let words = ["apply", "-f", &example.file, "--set", &example.run_dir, "--wait"];
    ok(&manager, &words).await;
    for machine in &machines[..2] {
        example.assert_served(machine).await;
    }

    // An application, on all of them.
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let app = |host: &str, more: &Value| {
        let mut site = json!({
            "hosts": [host], "to": to, "https": false, "nodes": ["one", "two", "three"],
        });
        site.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        site
    };
    put(&manager, "app", &app("app.example", &json!({}))).await;
    serve(&machines, "app.example").await;

    // It is broken on purpose, in a way that only nginx can see: it is held there, and all else goes on.
    let broken = json!({"snippets": {"nginx": "no_such_directive on;"}});
    let said = put(&manager, "app", &app("broken.example", &broken)).await;
    assert!(said.contains("no_such_directive"), "{said}");
    put(&manager, "shop", &app("shop.example", &json!({}))).await;
    serve(&machines, "shop.example").await;
    machines[0].serves("app.example", &(200, "")).await;
    machines[0].serves("broken.example", &(404, "")).await;
    serve(&machines[1..], "broken.example").await;
    example.assert_served(&machines[0]).await;
    let held = json(&manager, &["site", "show", "app"]).await;
    assert_eq!(held["state"], json!("held"), "{held}");

    // What broke it is taken back, everywhere.
    let revision = held["revision"].to_string();
    ok(&manager, &["revert", &revision]).await;
    serve(&machines, "app.example").await;
    for machine in &machines {
        machine.serves("broken.example", &(404, "")).await;
    }
    eventually("the site is live again", async || {
        let shown = json(&manager, &["site", "show", "app"]).await;
        (shown["state"] == "live").then_some(())
    })
    .await;

    // One is away while the application changes, serves on, and catches up by itself.
    machines[1].sshd.kill_sessions().unwrap();
    machines[1].sshd.kill().unwrap();
    put_without_waiting(&manager, "app", &app("later.example", &json!({}))).await;
    machines[0].serves("later.example", &(200, "")).await;
    machines[2].serves("later.example", &(200, "")).await;
    eventually("it is told that one is away", async || {
        let shown = json(&manager, &["node", "show", "two"]).await;
        (shown["state"] == "failed").then_some(())
    })
    .await;
    machines[1].serves("app.example", &(200, "")).await;
    machines[1].sshd.start().unwrap();
    machines[1].serves("later.example", &(200, "")).await;
    eventually("it is well", async || {
        let shown = json(&manager, &["node", "show", "two"]).await;
        (shown["state"] == "ready").then_some(())
    })
    .await;
    example.assert_served(&machines[1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_existing_nginx_with_twenty_sites_is_scanned_taken_over_and_served() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let (own, www) = (Port::take().unwrap(), open_folder());
    let root = Utf8Path::from_path(www.path()).unwrap();
    for number in 0..EXISTING {
        let site = existing(number, own.number(), &origin.address().unwrap().to_string(), root);
        let path = machine.engine.folder().join(format!("conf.d/site-{number}.conf"));
        std::fs::write(path, site).unwrap();
    }
    machine.nginx_reads_anew();
    eventually("its own sites are served", async || {
        let last = get(own.number(), &existing_host(EXISTING - 1), "/").await?;
        (last.0 != 404).then_some(())
    })
    .await;
    let mut were = Vec::new();
    for (host, path) in asked() {
        were.push(answered(own.number(), &host, path).await.unwrap());
    }
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;

    let scanned = json(&manager, &["node", "scan", "web-1"]).await;
    assert_eq!(scanned["sites"].as_object().unwrap().len(), EXISTING, "{scanned}");
    let lost: Vec<_> = scanned["report"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|entry| entry["host"] != json!(null) && entry["became"] == "not_converted")
        .collect();
    assert!(lost.is_empty(), "{lost:#?}");
    let to = manager.folder().join("scanned");
    ok(&manager, &["node", "scan", "web-1", "--to", to.as_str(), "--apply", "--yes"]).await;

    for ((host, path), was) in asked().into_iter().zip(were) {
        eventually(&format!("{was:?} of {host}{path}"), async || {
            let is = answered(machine.engine.http(), &host, path).await?;
            (is == was).then_some(())
        })
        .await;
    }
    let shown = json(&manager, &["node", "show", "web-1"]).await;
    assert_eq!(shown["state"], json!("ready"), "{shown}");
}

/// Asks all of some machines for a host.
async fn serve(machines: &[Machine], host: &str) {
    for machine in machines {
        machine.serves(host, &(200, "")).await;
    }
}

/// The static parts of `examples/jwt-api`, in a folder that every engine may read.
struct Example {
    _folder: TempDir,
    file: String,
    run_dir: String,
}

impl Example {
    fn new() -> Self {
        let folder = open_folder();
        let root = Utf8Path::from_path(folder.path()).unwrap();
        let from = repository().join("examples/jwt-api");
        for part in ["close", "landing", "open"] {
            copy_folder(from.join(part).as_std_path(), root.join(part).as_std_path());
        }
        std::fs::write(root.join("htpasswd"), format!("ann:{HASH}\n")).unwrap();
        let text = std::fs::read_to_string(from.join("portway.yaml")).unwrap();
        // Without what needs the application to run.
        let (files, _) = text.split_once("      - path: /flask").unwrap();
        let on = "  jwt-api:\n    https: false\n    nodes: [one, two]\n";
        let text = files.replacen("  jwt-api:\n", on, 1);
        assert!(text.contains(on), "{text}");
        let file = root.join("portway.yaml");
        std::fs::write(&file, text).unwrap();
        let run_dir = format!("run_dir={root}");
        Self { file: file.into_string(), run_dir, _folder: folder }
    }

    async fn assert_served(&self, machine: &Machine) {
        let port = machine.engine.http();
        let login = format!("Basic {}", BASE64_STANDARD.encode("ann:secret"));
        let login = [("authorization", login.as_str())];
        for (path, headers, status, part) in [
            ("/", &[][..], 200, "<iframe"),
            ("/open/", &[][..], 200, "<html"),
            ("/open/style.css", &[][..], 200, "{"),
            ("/open/missing", &[][..], 404, ""),
            ("/close/", &[][..], 401, ""),
            ("/close/", &login[..], 200, "<html"),
        ] {
            let engine = machine.engine.folder();
            let (is, body) = ask(port, "demo.localhost", path, headers).await.unwrap();
            assert_eq!(is, status, "{engine}: {path}: {body}");
            assert!(body.contains(part), "{engine}: {path}: {body}");
        }
    }
}

/// Makes a folder that engines may read whose workers are other users.
fn open_folder() -> TempDir {
    let folder = tempfile::Builder::new().prefix("portway-www-").tempdir().unwrap();
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), mode).unwrap();
    folder
}

fn existing_host(number: usize) -> String {
    format!("site-{number}.example.org")
}

/// Returns a site as people write it: an application, files, an address that has moved, or an application of
/// which a part is closed.
fn existing(number: usize, port: u16, to: &str, www: &Utf8Path) -> String {
    let host = existing_host(number);
    let block = match number % 4 {
        0 => format!(
            "  location / {{\n    proxy_pass http://{to};\n    proxy_set_header Host $host;\n  }}\n"
        ),
        1 => {
            let root: Utf8PathBuf = www.join(&host);
            std::fs::create_dir(&root).unwrap();
            std::fs::write(root.join("index.html"), format!("start of {host}")).unwrap();
            std::fs::write(root.join("page.txt"), format!("page of {host}")).unwrap();
            format!("  root {root};\n  index index.html;\n")
        }
        2 => "  return 301 https://moved.example.org$request_uri;\n".to_owned(),
        _ => format!(
            "  location / {{\n    proxy_pass http://{to};\n  }}\n  location /page.txt {{\n    deny \
             all;\n    proxy_pass http://{to};\n  }}\n"
        ),
    };
    format!("server {{\n  listen 127.0.0.1:{port};\n  server_name {host};\n{block}}}\n")
}

/// Returns what is asked of the existing sites: host and path.
fn asked() -> Vec<(String, &'static str)> {
    let paths = |number| ["/", "/page.txt"].map(|path| (existing_host(number), path));
    (0..EXISTING).flat_map(paths).collect()
}

/// Returns status and body as far as they are compared: of the application what it was asked for, and of
/// nginx's own pages nothing.
async fn answered(port: u16, host: &str, path: &str) -> Option<(u16, String)> {
    let (status, body) = get(port, host, path).await?;
    let asked: Option<Value> = serde_json::from_str(&body).ok();
    let body = match asked {
        Some(asked) => format!("{} {}", asked["method"], asked["target"]),
        None if body.starts_with("<html>") => String::new(),
        None => body,
    };
    Some((status, body))
}
