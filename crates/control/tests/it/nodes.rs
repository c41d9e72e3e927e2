//! Nodes as they are declared: by administrators, by files, and by the sites that choose them.

use portway_control::{Control, ControlError, Precondition, Resource, rights::Operator};
use portway_model::{Bounds, Finding, FindingCode, Location, Role};
use portway_wire::{
    manage::ServiceNode,
    node::{
        ConfirmHostKey, EditNode, ImportNodes, ImportOutcome, InstallNode, NewNode, NodeQuery,
        NodeState, NodeView, NodesImported, RemoveNode,
    },
    revision::RevisionQuery,
    site::{EditSite, NewSite},
    user::AuditQuery,
};
use serde_json::{Value, json};

use crate::support::{Bed, bounds, config, new_site, open, proxy, root};

fn pin(of: char) -> String {
    format!("SHA256:{}A", of.to_string().repeat(42))
}

fn nginx() -> Value {
    json!({ "engine": "nginx", "ssh": "deploy@127.0.0.8" })
}

async fn with_operator<T>(
    control: &Control,
    work: impl AsyncFnOnce(Operator<'_>) -> Result<T, ControlError>,
) -> Result<T, ControlError> {
    let root = root();
    work(control.operator(&root, Resource::Nodes, "node.test").await.unwrap()).await
}

async fn add(control: &Control, name: &str, spec: Value) -> Result<NodeView, ControlError> {
    let new = NewNode { name: name.to_owned(), spec, message: None };
    with_operator(control, async |operator| operator.create_node(new).await).await
}

async fn edit(control: &Control, name: &str, spec: Value) -> Result<(), ControlError> {
    let edit = EditNode { spec, message: None };
    with_operator(control, async |operator| {
        operator.edit_node(name, edit, Precondition::Any).await.map(drop)
    })
    .await
}

async fn import(control: &Control, nodes: &Value, overwrite: bool) -> NodesImported {
    let import = ImportNodes {
        source: "lab".to_owned(),
        nodes: serde_json::from_value(nodes.clone()).unwrap(),
        overwrite,
    };
    with_operator(control, async |operator| operator.import_nodes(&import).await).await.unwrap()
}

async fn node(control: &Control, name: &str) -> NodeView {
    let root = root();
    let overseer = control.overseer(&root, Resource::Nodes, "node.read").await.unwrap();
    overseer.node(name).await.unwrap()
}

/// Where the errors are, and of what kind.
fn errors<T>(result: Result<T, ControlError>) -> Vec<(String, FindingCode)> {
    let Err(ControlError::Invalid(findings)) = result else { panic!("it was not refused") };
    let errors = findings.iter().filter(|finding| finding.is_error());
    errors.map(|finding| (path_of(finding), finding.code)).collect()
}

fn path_of(finding: &Finding) -> String {
    let Location::Field { path, .. } = &finding.at else { panic!("{finding:?}") };
    path.to_string()
}

#[tokio::test]
async fn a_node_is_declared_found_changed_and_removed() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let mut spec = nginx();
    spec["labels"] = json!({ "tier": "front" });
    let made = add(control, "web-1", spec).await.unwrap();
    assert_eq!(
        (made.address.as_str(), made.state),
        ("deploy@127.0.0.8:22", NodeState::Unconfirmed)
    );
    assert_eq!((made.engine.as_str(), made.deployed_revision), ("nginx", 0));
    add(control, "web-2", json!({ "engine": "caddy", "active": false })).await.unwrap();
    let taken = add(control, "web-1", nginx()).await;
    assert!(matches!(taken, Err(ControlError::Taken(_))), "{taken:?}");

    let root = root();
    let overseer = control.overseer(&root, Resource::Nodes, "node.read").await.unwrap();
    let names = async |query: NodeQuery| {
        let page = overseer.nodes(query).await.unwrap();
        page.items.into_iter().map(|node| node.name).collect::<Vec<_>>()
    };
    let all = names(NodeQuery::default()).await;
    assert!(all.len() == 3 && all[0].starts_with("edge-"), "{all:?}");
    let select = Some("label:tier=front".to_owned());
    assert_eq!(names(NodeQuery { select, ..NodeQuery::default() }).await, ["web-1"]);
    let engine = Some("caddy".to_owned());
    assert_eq!(names(NodeQuery { engine, ..NodeQuery::default() }).await, ["web-2"]);
    assert_eq!(names(NodeQuery { active: Some(true), ..NodeQuery::default() }).await, ["web-1"]);
    let odd = NodeQuery { select: Some("rack:1".to_owned()), ..NodeQuery::default() };
    assert!(matches!(overseer.nodes(odd).await, Err(ControlError::BadRequest(_))));

    // A local node is on a manager's machine, and says on whose.
    let local = node(control, "web-2").await;
    assert!(local.spec.unwrap().manager.is_some() && local.address.starts_with("on "));
    assert_eq!(local.state, NodeState::Inactive);

    let late = Precondition::Revision(made.revision.unwrap() - 1);
    let edit = EditNode { spec: nginx(), message: Some("plain".to_owned()) };
    let stale = with_operator(control, async |operator| {
        operator.edit_node("web-1", edit.clone(), late).await
    });
    assert!(matches!(stale.await, Err(ControlError::Stale { .. })));
    let changed = with_operator(control, async |operator| {
        operator.edit_node("web-1", edit.clone(), Precondition::Any).await
    });
    let changed = changed.await.unwrap();
    assert!(changed.revision > made.revision);
    let again = with_operator(control, async |operator| {
        operator.edit_node("web-1", edit, Precondition::Any).await
    });
    assert_eq!(again.await.unwrap().revision, None, "nothing was to be changed");

    let history = control.history(&root).await.unwrap();
    let newest = history.list(RevisionQuery::default()).await.unwrap().items.remove(0);
    assert_eq!((newest.message.as_str(), newest.changes[0].kind.as_str()), ("plain", "node"));

    let remove = with_operator(control, async |operator| {
        operator.remove_node("web-1", RemoveNode::default(), Precondition::Any).await
    });
    remove.await.unwrap();
    let gone = overseer.node("web-1").await;
    assert!(matches!(gone, Err(ControlError::NotFound { .. })), "{gone:?}");
    let own = with_operator(control, async |operator| {
        operator.remove_node(&all[0], RemoveNode::default(), Precondition::Any).await
    });
    assert!(matches!(own.await, Err(ControlError::Conflict(_))), "an edge of a manager stays");
}

#[tokio::test]
async fn what_is_wrong_with_a_node_is_told_at_once() {
    let bed = Bed::new().await;
    let spec = json!({ "engine": "ngnix", "sshh": 1, "ssh": { "address": "web", "jumpp": [] } });
    let found = errors(add(&bed.control, "web-1", spec).await);
    let paths: Vec<&str> = found.iter().map(|(path, _)| path.as_str()).collect();
    for path in ["engine", "sshh", "ssh.address", "ssh.jumpp"] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    let spec = json!({ "engine": "nginx", "manager": "nobody" });
    let found = errors(add(&bed.control, "web-1", spec).await);
    assert_eq!(found, [("manager".to_owned(), FindingCode::InvalidValue)]);
    let reserved = errors(add(&bed.control, "edge-1", nginx()).await);
    assert_eq!(reserved[0].1, FindingCode::InvalidName);
}

#[tokio::test]
async fn secrets_are_sealed_never_shown_and_serve_their_own_node() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let with_password = |password: Value| {
        json!({ "engine": "nginx", "ssh": { "address": "root@web", "login": {
            "password": password } } })
    };
    let secret = json!("correct horse battery staple");
    let made = add(control, "web-1", with_password(secret.clone())).await.unwrap();
    let shown = serde_json::to_value(&made).unwrap();
    assert!(!shown.to_string().contains("horse"), "{shown}");
    let kept = shown["spec"]["ssh"]["login"]["password"].clone();
    assert!(kept["secret"].as_str().unwrap().starts_with("credential-"), "{kept}");

    // Sent again, as itself or by its reference, it is the same.
    let before = node(control, "web-1").await.revision;
    edit(control, "web-1", with_password(secret)).await.unwrap();
    edit(control, "web-1", with_password(kept.clone())).await.unwrap();
    assert_eq!(node(control, "web-1").await.revision, before);

    let stolen = errors(add(control, "web-2", with_password(kept)).await);
    let path = "ssh.login.password.secret".to_owned();
    assert_eq!(stolen, [(path, FindingCode::UnknownSecret)]);
}

#[tokio::test]
async fn a_host_key_is_confirmed_and_replaced_only_by_hand() {
    let bed = Bed::new().await;
    let control = &bed.control;
    add(control, "web-1", nginx()).await.unwrap();
    let confirm = async |fingerprint: String, keep| {
        let confirm = ConfirmHostKey { fingerprint, jump: None, keep };
        with_operator(control, async |operator| operator.confirm_host_key("web-1", confirm).await)
            .await
    };
    let keys = async || {
        let spec = serde_json::to_value(node(control, "web-1").await.spec).unwrap();
        spec["ssh"]["host_keys"].clone()
    };

    assert_eq!(errors(confirm("MD5:aa".to_owned(), false).await)[0].0, "fingerprint");
    confirm(pin('a'), false).await.unwrap();
    assert_eq!(keys().await, json!([pin('a')]));
    assert_eq!(node(control, "web-1").await.state, NodeState::Unknown, "nobody asked it yet");
    assert_eq!(confirm(pin('a'), false).await.unwrap().revision, None);
    confirm(pin('b'), true).await.unwrap();
    assert_eq!(keys().await, json!([pin('a'), pin('b')]));
    confirm(pin('c'), false).await.unwrap();
    assert_eq!(keys().await, json!([pin('c')]));
    add(control, "here", json!({ "engine": "nginx" })).await.unwrap();
    let local = with_operator(control, async |operator| {
        let confirm = ConfirmHostKey { fingerprint: pin('a'), jump: None, keep: false };
        operator.confirm_host_key("here", confirm).await
    });
    assert!(matches!(local.await, Err(ControlError::Conflict(_))));
}

/// The outcomes of an action in the audit log.
async fn audited(control: &Control, action: &str) -> Vec<String> {
    let query = AuditQuery { action: Some(action.to_owned()), ..AuditQuery::default() };
    let root = root();
    let lines = control.audit(&root).await.unwrap().list(query).await.unwrap();
    let lines = lines.items.into_iter().filter(|line| line.action == action);
    lines.map(|line| line.outcome).collect()
}

#[tokio::test]
async fn what_is_begun_on_a_node_ends_and_is_written_down_though_nobody_waits() {
    let bed = Bed::new().await;
    let control = &bed.control;
    // It lets the manager connect, and says nothing.
    let machine = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("deploy@{}", machine.local_addr().unwrap());
    let spec = |engine| json!({"engine": engine, "ssh": address, "active": true});
    add(control, "web-1", spec("nginx")).await.unwrap();
    add(control, "vm-1", spec("edge")).await.unwrap();

    let acts = [("node.stop", "web-1"), ("node.deploy", "web-1"), ("node.install", "vm-1")];
    for (action, node) in acts {
        let root = root();
        let operator = control.operator(&root, Resource::Nodes, "node.test").await.unwrap();
        let connection = {
            let stop = ServiceNode { action: "stop".to_owned() };
            let acting = Box::pin(async {
                match action {
                    "node.stop" => operator.service_node(node, &stop).await.map(drop),
                    "node.deploy" => operator.deploy_node(node).await.map(drop),
                    _ => {
                        let install = InstallNode::default();
                        operator.install_node(node, &install).await.map(drop)
                    }
                }
            });
            tokio::select! {
                ended = acting => panic!("{action} ended before the node answered: {ended:?}"),
                connection = machine.accept() => connection.unwrap().0,
            }
        };

        assert_eq!(audited(control, action).await, ["done"], "before it is done: {action}");
        drop(connection);
        let end = format!("{action}.end");
        let patience = tokio::time::Instant::now() + std::time::Duration::from_secs(30);
        while audited(control, &end).await.is_empty() {
            assert!(tokio::time::Instant::now() < patience, "{action} was left in the middle");
            tokio::task::yield_now().await;
        }
        assert_eq!(audited(control, &end).await, ["failed"], "{action}");
    }
}

#[tokio::test]
async fn a_site_chooses_nodes_that_are_there() {
    let bed = Bed::new().await;
    let control = &bed.control;
    let mut spec = nginx();
    spec["groups"] = json!(["web"]);
    add(control, "web-1", spec).await.unwrap();
    let root = root();
    let editor = control.editor(&root).await.unwrap();
    let site = |nodes: Value| {
        let mut spec = proxy("shop.example", "198.51.100.1:80");
        spec["nodes"] = nodes;
        new_site("shop", spec)
    };

    let refused = editor.create(site(json!(["web-1", "web-11"]))).await;
    let Err(ControlError::Invalid(findings)) = refused else { panic!("{refused:?}") };
    let error = findings.iter().find(|finding| finding.is_error()).unwrap();
    assert_eq!((path_of(error), error.code), ("nodes[1]".to_owned(), FindingCode::UnknownNode));
    assert!(error.remedy.as_ref().unwrap().text.contains("`web-1`"), "{error:?}");

    // A group may still be empty; it is said, and forbids nothing.
    let made = editor.create(site(json!(["web-1", "group:web", "zone:mars", "local"]))).await;
    let advice = made.unwrap();
    assert_eq!(advice.effective.nodes.len(), 4);
    let remove = async |even_if_named| {
        let how = RemoveNode { even_if_named, clean: false };
        with_operator(control, async |operator| {
            operator.remove_node("web-1", how, Precondition::Any).await
        })
        .await
    };
    let named = remove(false).await;
    assert!(
        matches!(&named, Err(ControlError::Conflict(text)) if text.contains("shop")),
        "{named:?}"
    );
    remove(true).await.unwrap();
    // What names a node that is gone says so when it is changed.
    let mut spec = proxy("shop.example", "198.51.100.1:81");
    spec["nodes"] = json!(["web-1"]);
    let stale = editor
        .edit("shop", EditSite { spec, message: None, rollout: None }, Precondition::Any)
        .await;
    assert_eq!(errors(stale)[0].1, FindingCode::UnknownNode);
}

#[tokio::test]
async fn a_client_chooses_only_nodes_within_its_bounds() {
    let bed = Bed::new().await;
    let control = &bed.control;
    for (name, group) in [("mine-1", "mine"), ("other-1", "other")] {
        let mut spec = nginx();
        spec["groups"] = json!([group]);
        add(control, name, spec).await.unwrap();
    }
    let plain = bed.user("dave", Role::Client, bounds(&["*.dave.example"])).await;
    let with_nodes =
        Bounds { nodes: vec!["group:mine".parse().unwrap()], ..bounds(&["*.carol.example"]) };
    let carol = bed.user("carol", Role::Client, with_nodes).await;
    let site = |host: &str, nodes: &[&str]| -> NewSite {
        let mut spec = proxy(host, "198.51.100.1:80");
        spec["nodes"] = json!(nodes);
        new_site(host, spec)
    };

    let editor = control.editor(&plain).await.unwrap();
    for nodes in [&["mine-1"][..], &["group:mine"], &["nobody"], &["local", "zone:eu"]] {
        let refused = errors(editor.create(site("a.dave.example", nodes)).await);
        // What there is outside is not told: all of it is refused in the same words.
        assert_eq!(refused.last().unwrap().1, FindingCode::OutOfBounds, "{nodes:?}");
    }
    editor.create(site("a.dave.example", &["local"])).await.unwrap();

    let editor = control.editor(&carol).await.unwrap();
    for nodes in [&["other-1"][..], &["group:other"], &["label:a=b"], &["nobody"]] {
        let refused = errors(editor.create(site("a.carol.example", nodes)).await);
        assert_eq!(refused[0].1, FindingCode::OutOfBounds, "{nodes:?}");
    }
    editor.create(site("a.carol.example", &["mine-1", "group:mine", "local"])).await.unwrap();
}

#[tokio::test]
async fn the_managers_key_and_sealed_secrets_outlive_a_new_master_key() {
    let bed = Bed::new().await;
    let key = async |control: &Control| {
        let root = root();
        let overseer = control.overseer(&root, Resource::Nodes, "node.read").await.unwrap();
        overseer.ssh_key()
    };
    let spec = json!({ "engine": "nginx", "ssh": { "address": "root@web", "login": {
        "password": "hunter2 hunter2" } } });
    add(&bed.control, "web-1", spec).await.unwrap();
    let before = key(&bed.control).await;
    assert!(before.public_key.starts_with("ssh-ed25519 ") && before.fingerprint.len() == 50);
    let Bed { control, folder } = bed;
    drop(control);

    let path = camino::Utf8Path::from_path(folder.path()).unwrap();
    let config = config(path);
    let sealed = portway_control::rotate_key(&config.key_file, &config.database).await.unwrap();
    assert!(sealed >= 3, "{sealed}");

    assert_eq!(key(&open(path).await).await, before);
}

fn outcomes(imported: &NodesImported) -> Vec<(&str, ImportOutcome)> {
    imported.nodes.iter().map(|entry| (entry.node.as_str(), entry.outcome)).collect()
}

#[tokio::test]
async fn a_file_makes_and_changes_nodes_and_loses_nothing_that_was_done_by_hand() {
    use ImportOutcome::{Created, Gone, Kept, Refused, Unchanged, Updated};
    let bed = Bed::new().await;
    let control = &bed.control;
    let mut nodes = json!({
        "web-1": { "engine": "nginx", "ssh": "root@127.0.0.1" },
        "web-2": { "engine": "caddy", "ssh": { "address": "root@127.0.0.2",
            "host_keys": [pin('a')] }, "active": true },
        "web-3": { "engine": "nginx", "ssh": "root@127.0.0.3", "active": true },
        "web-4": { "engine": "apache" },
    });

    let first = import(control, &nodes, false).await;
    let made = [("web-1", Created), ("web-2", Created), ("web-3", Created)];
    let mut expected = made.to_vec();
    expected.insert(3, ("web-4", Refused));
    let mut found = outcomes(&first);
    found.sort_by_key(|(name, _)| *name);
    assert_eq!(found, expected);
    assert!(first.findings.iter().any(|finding| path_of(finding) == "engine"));
    // Only what is known by its key is activated by a file.
    assert!(first.findings.iter().any(|finding| path_of(finding) == "active"));
    let is_active = async |name| node(control, name).await.spec.unwrap().active.unwrap();
    assert!(!is_active("web-1").await && is_active("web-2").await && !is_active("web-3").await);
    let origin = serde_json::to_value(node(control, "web-1").await.origin).unwrap();
    assert_eq!(origin, json!({ "kind": "file", "name": "lab" }));

    // What a person confirms and switches stays, and the file is none the worse for it.
    nodes.as_object_mut().unwrap().remove("web-4");
    let confirm = ConfirmHostKey { fingerprint: pin('b'), jump: None, keep: false };
    with_operator(control, async |operator| {
        operator.confirm_host_key("web-1", confirm).await?;
        operator.activate_node("web-1").await
    })
    .await
    .unwrap();
    let second = import(control, &nodes, false).await;
    let unchanged = [("web-1", Unchanged), ("web-2", Unchanged), ("web-3", Unchanged)];
    assert_eq!(outcomes(&second), unchanged);
    nodes["web-1"]["zone"] = json!("eu");
    assert_eq!(outcomes(&import(control, &nodes, false).await)[0], ("web-1", Updated));
    let web = node(control, "web-1").await;
    let spec = serde_json::to_value(web.spec.unwrap()).unwrap();
    assert_eq!((&spec["zone"], &spec["ssh"]["host_keys"]), (&json!("eu"), &json!([pin('b')])));
    assert_eq!(spec["active"], true);

    // What was changed by hand is not overwritten unless it is said.
    edit(control, "web-2", json!({ "engine": "caddy", "ssh": "root@127.0.0.9" })).await.unwrap();
    nodes["web-2"]["zone"] = json!("eu");
    nodes.as_object_mut().unwrap().remove("web-3");
    let third = import(control, &nodes, false).await;
    assert_eq!(outcomes(&third), [("web-1", Unchanged), ("web-2", Kept), ("web-3", Gone)]);
    assert_eq!(third.findings.len(), 2, "{:?}", third.findings);
    assert_eq!(node(control, "web-2").await.address, "root@127.0.0.9:22");
    assert_eq!(outcomes(&import(control, &nodes, true).await)[1], ("web-2", Updated));
    assert_eq!(node(control, "web-2").await.address, "root@127.0.0.2:22");
    node(control, "web-3").await;
}
