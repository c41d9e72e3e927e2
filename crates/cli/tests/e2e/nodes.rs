//! Nodes through the command line, and sites that come to the edge and leave it with their nodes.

use serde_json::{Value, json};

use crate::{
    support::{ends, eventually, file, json, manager, ok},
    web::Web,
};

fn pin(of: char) -> String {
    format!("SHA256:{}A", of.to_string().repeat(42))
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_are_added_shown_changed_and_removed() {
    let manager = manager().await;
    let add = ["node", "add", "web-1", "--engine", "nginx", "--ssh", "deploy@127.0.0.8"];
    let added = ok(&manager, &[&add[..], &["--label", "tier=front"]].concat()).await;
    assert!(
        added.err.contains("ssh-ed25519 ") && added.err.contains("not known yet"),
        "{}",
        added.err
    );
    let key = ok(&manager, &["node", "key"]).await.out;
    assert!(added.err.contains(key.trim()), "the line to be copied is the manager's key");
    let again = ends(&manager, &add, 6).await;
    assert!(again.err.contains("taken"), "{}", again.err);

    let listed = json(&manager, &["node", "list", "label:tier=front"]).await;
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["name"]), (1, &json!("web-1")));
    let all = json(&manager, &["node", "ls"]).await;
    assert_eq!(all.as_array().unwrap().len(), 2, "the manager's own edge is a node too");
    assert_eq!((&all[0]["engine"], &all[0]["spec"]), (&json!("edge"), &Value::Null));

    ok(&manager, &["node", "set", "web-1", "--group", "web", "--http-port", "8080"]).await;
    let unseen = ends(&manager, &["node", "confirm", "web-1"], 2).await;
    assert!(unseen.err.contains("ssh-keygen"), "{}", unseen.err);
    ok(&manager, &["node", "confirm", "web-1", "--host-key", &pin('a')]).await;
    ok(&manager, &["node", "deactivate", "web-1"]).await;
    let shown = json(&manager, &["node", "show", "web-1"]).await;
    let spec = &shown["spec"];
    assert_eq!((&shown["state"], &spec["groups"]), (&json!("inactive"), &json!(["web"])));
    assert_eq!(spec["ssh"]["host_keys"], json!([pin('a')]));
    assert_eq!((&spec["ports"]["http"], &spec["labels"]["tier"]), (&json!(8080), &json!("front")));
    let human = ok(&manager, &["node", "show", "web-1"]).await.out;
    assert!(human.contains("As written:") && human.contains("tier: front"), "{human}");

    let wrong = ends(&manager, &["node", "set", "web-1", "--home", "var/x"], 3).await;
    assert!(wrong.err.contains("absolute"), "{}", wrong.err);
    ends(&manager, &["node", "add", "x", "--engine", "apache"], 2).await;
    let history = json(&manager, &["history", "-n", "1"]).await;
    assert_eq!(history[0]["message"], "deactivate node web-1");
    let audit = json(&manager, &["audit", "--action", "node.deactivate"]).await;
    assert_eq!(audit[0]["resource"], "node web-1");
    ok(&manager, &["node", "remove", "web-1", "--clean"]).await;
    ends(&manager, &["node", "show", "web-1"], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_leaves_the_edge_with_its_nodes_and_comes_back() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let serves = async || {
        let mut serves = Vec::new();
        for http2 in [false, true] {
            let ask = web.get("moving.localhost", "/");
            let answer = if http2 { ask.http2() } else { ask }.try_send().await;
            serves.push(answer.is_ok_and(|answer| answer.text() == "here"));
        }
        serves
    };
    let site = |nodes: &str| {
        let text = format!(
            "sites:\n  moving:\n    hosts: [moving.localhost]\n    respond: {{ body: here }}\n{nodes}"
        );
        file(&manager, "moving.yaml", &text)
    };
    let apply =
        async |nodes: &str, code| ends(&manager, &["apply", "-f", &site(nodes)], code).await;
    apply("", 0).await;
    assert_eq!(serves().await, [true, true]);

    let unknown = apply("    nodes: [web-1]\n", 3).await;
    assert!(unknown.err.contains("moving.yaml:5:13") && unknown.err.contains("no node `web-1`"));
    let add = ["node", "add", "web-1", "--engine", "nginx", "--ssh", "deploy@127.0.0.8"];
    ok(&manager, &[&add[..], &["--host-key", &pin('a'), "--inactive"]].concat()).await;
    manager.run(&["apply", "-f", &site("    nodes: [web-1]\n")]).await.unwrap();
    eventually("the edge to forget the site", async || {
        (serves().await == [false, false]).then_some(())
    })
    .await;
    let named = ends(&manager, &["node", "rm", "web-1"], 6).await;
    assert!(named.err.contains("moving"), "{}", named.err);

    apply("    nodes: [local, web-1]\n", 0).await;
    eventually("the edge to have it again", async || {
        (serves().await == [true, true]).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_of_nodes_is_taken_over_when_it_changes() {
    let manager = manager().await;
    let path = manager.data().join("nodes.yaml");
    let write = |text: &str| std::fs::write(&path, text).unwrap();
    let names = async || {
        let nodes = json(&manager, &["node", "list"]).await;
        let names = nodes.as_array().unwrap().iter().filter(|node| !node["spec"].is_null());
        names.map(|node| node["name"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    write("nodes:\n  a: {engine: nginx, ssh: root@127.0.0.1}\n  b: {engine: ngnix}\n");
    eventually("the node to be there", async || (names().await == ["a"]).then_some(())).await;
    let shown = json(&manager, &["node", "show", "a"]).await;
    assert_eq!(
        (&shown["state"], &shown["origin"]["name"]),
        (&json!("inactive"), &json!("nodes.yaml"))
    );

    write("nodes:\n  c: {engine: caddy, ssh: root@127.0.0.3}\n");
    let told = json(&manager, &["node", "discover"]).await;
    let outcome = |node: &str| {
        let entries = told["nodes"].as_array().unwrap().iter();
        entries.filter(|entry| entry["node"] == node).map(|entry| entry["outcome"].clone()).next()
    };
    assert_eq!(outcome("a"), Some(json!("gone")));
    assert_eq!(names().await, ["a", "c"], "nothing is removed");

    let exported = manager.folder().join("exported.yaml").into_string();
    ok(&manager, &["node", "export", "-o", &exported]).await;
    let kept = json(&manager, &["node", "import", &exported]).await;
    assert!(kept["nodes"].as_array().unwrap().iter().all(|entry| entry["outcome"] == "unchanged"));
    let wrong = file(&manager, "wrong.yaml", "nodes:\n  d:\n    engine: nginx\n    sshh: x\n");
    let refused = ends(&manager, &["node", "import", &wrong], 1).await;
    assert!(refused.err.contains("wrong.yaml:4:5"), "{}", refused.err);
}
