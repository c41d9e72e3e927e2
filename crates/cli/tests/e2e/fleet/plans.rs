//! Plans of what comes to a machine: what they show, that they change nothing there, and that a plan
//! which was kept is carried out as it was made or not at all.

use std::{collections::BTreeMap, path::Path};

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};

use super::machine::{Machine, put};
use crate::support::{ends, file, json, manager, ok};

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_shows_what_a_machine_would_get_and_touches_nothing_there() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site(&to, None)).await;
    let own = machine.engine.folder().join("conf.d/own.conf");
    std::fs::write(&own, "# not Portway's\n").unwrap();
    let before = files_of(&machine);

    let changed = sites(&manager, &site(&to, Some("7MB")));
    let told = ok(&manager, &["plan", "-f", &changed]).await.out;
    let refreshed = ok(&manager, &["plan", "-f", &changed, "--refresh"]).await.out;
    let plan = json(&manager, &["plan", "-f", &changed]).await;

    assert!(told.contains("on web-1 (nginx 1."), "{told}");
    assert!(told.contains("~ change one") && told.contains("client_max_body_size"), "{told}");
    assert!(told.contains("1 to update"), "{told}");
    assert!(!told.contains("own.conf") && refreshed.contains(own.as_str()), "{refreshed}");
    assert!(refreshed.contains("read 0 seconds ago"), "{refreshed}");
    assert_eq!(plan["effects"][0]["action"], json!("change"), "{plan}");
    assert_eq!(plan["effects"][0]["note"], Value::Null, "what is there is known: {plan}");
    assert_eq!(before, files_of(&machine), "planning changed something on the machine");
    let nothing = ok(&manager, &["plan"]).await.out;
    assert!(nothing.contains("every node has what is declared"), "{nothing}");

    let kept = manager.folder().join("plan.json").into_string();
    ok(&manager, &["plan", "-f", &changed, "--keep", &kept]).await;
    ok(&manager, &["apply", "--plan", &kept]).await;
    assert_ne!(before, files_of(&machine));
    machine.serves("one.example", &(200, "")).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_kept_is_refused_when_the_world_has_moved_on() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    put(&manager, "one", &site(&to, None)).await;
    let kept = manager.folder().join("plan.json").into_string();
    let plan = async |more: &[&str]| {
        let changed = sites(&manager, &site(&to, Some("7MB")));
        ok(&manager, &[&["plan", "-f", &changed, "--keep", &kept], more].concat()).await;
    };
    let refused = async || ends(&manager, &["apply", "--plan", &kept], 6).await.err;

    plan(&[]).await;
    put(&manager, "one", &site(&to, Some("5MB"))).await;
    let site_changed = refused().await;
    assert!(site_changed.contains("`one` is at revision"), "{site_changed}");
    assert!(site_changed.contains("make the plan again"), "{site_changed}");

    plan(&[]).await;
    sites(&manager, &site(&to, Some("8MB")));
    let file_changed = refused().await;
    assert!(file_changed.contains("is not what was planned"), "{file_changed}");

    plan(&["--refresh"]).await;
    let object = machine.object_with("one.example");
    std::fs::write(&object, "# by hand\n").unwrap();
    let node_changed = refused().await;
    let name = object.file_name().unwrap();
    assert!(node_changed.contains("web-1") && node_changed.contains(name), "{node_changed}");
    let shown = json(&manager, &["site", "show", "one"]).await;
    assert_eq!(shown["spec"]["max_body"], json!("5MB"), "nothing was written: {shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_of_hosts_that_the_machines_own_configuration_has() {
    let manager = manager().await;
    let machine = Machine::start();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let own = machine.engine.folder().join("conf.d/own.conf");
    let server = format!(
        "server {{ listen {}; server_name old.example one.example; return 200 own; }}\n",
        machine.engine.http()
    );
    std::fs::write(&own, &server).unwrap();
    machine.add(&manager, "web-1", &["--host-key", &machine.pin()]).await;
    ok(&manager, &["node", "deploy", "web-1"]).await;
    ok(&manager, &["node", "check", "web-1"]).await;
    let planned = sites(&manager, &site(&to, None));

    let told = ok(&manager, &["plan", "-f", &planned]).await.out;
    let plan = json(&manager, &["plan", "-f", &planned]).await;

    assert!(told.contains(&format!("{own} on node web-1 has the host one.example too")), "{told}");
    assert!(told.contains("portway node scan web-1"), "{told}");
    assert_eq!(plan["effects"][0]["findings"][0]["severity"], json!("warning"), "{plan}");

    // As long as nobody looks, it is told as it was; a site with another host is not concerned.
    std::fs::write(&own, server.replace(" one.example", "")).unwrap();
    let as_it_was = ok(&manager, &["plan", "-f", &planned]).await.out;
    assert!(as_it_was.contains("has the host one.example"), "{as_it_was}");
    let refreshed = ok(&manager, &["plan", "-f", &planned, "--refresh"]).await.out;
    assert!(!refreshed.contains("has the host"), "{refreshed}");
}

fn site(to: &str, body: Option<&str>) -> Value {
    let mut site = json!({"hosts": ["one.example"], "to": to, "https": false, "nodes": ["web-1"]});
    if let Some(body) = body {
        site["max_body"] = json!(body);
    }
    site
}

fn sites(manager: &Manager, spec: &Value) -> String {
    file(manager, "planned.yaml", &json!({"sites": {"one": spec}}).to_string())
}

/// Everything of Portway's and of nginx's configuration on the machine: links by where they lead,
/// files by their bytes.
fn files_of(machine: &Machine) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    for part in ["portway", "conf.d"] {
        read(machine.engine.folder().join(part).as_std_path(), &mut all);
    }
    let top_level = machine.engine.top_level();
    all.insert(top_level.to_string(), std::fs::read(&top_level).unwrap());
    all
}

fn read(path: &Path, all: &mut BTreeMap<String, Vec<u8>>) {
    let name = path.display().to_string();
    let what = std::fs::symlink_metadata(path).unwrap();
    if what.is_dir() {
        all.insert(name, Vec::new());
        for entry in std::fs::read_dir(path).unwrap() {
            read(&entry.unwrap().path(), all);
        }
    } else if what.is_symlink() {
        all.insert(name, std::fs::read_link(path).unwrap().display().to_string().into_bytes());
    } else {
        all.insert(name, std::fs::read(path).unwrap());
    }
}
