//! Nodes that are declared, what is known of them, and who works on them.

use portway_model::{EngineKind, Id, NodeSelector, Origin, ResourceKind, RevisionNumber, Stage};
use portway_store::{
    ChangeDraft, CommitError, ContentRead, DeploymentRow, Expected, Lease, MachineRead,
    NodeDeletion, NodeFacts, NodeFilter, NodeReading, NodeReads, NodeRow, NodeVersion, PageRequest,
    SiteFilter, Store, Visible,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    TestDb, add_site, all_pages, commit, draft, id, later, name, now, site, site_names,
};

fn page() -> PageRequest {
    PageRequest::first(100)
}

fn selectors(texts: &[&str]) -> Vec<NodeSelector> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// A node that is chosen by its name and by `also`.
fn version(node: &str, engine: EngineKind, also: &[&str]) -> NodeVersion {
    NodeVersion {
        name: name(node),
        engine,
        origin: Origin::Api,
        spec: json!({ "engine": engine, "ssh": "root@192.0.2.7" }),
        active: true,
        selectors: selectors(&[&[node], also].concat()),
    }
}

async fn add(store: &Store, version: NodeVersion) -> Id<NodeRow> {
    let node = id();
    commit(store, vec![ChangeDraft::node(node, Expected::New, version)]).await.unwrap();
    node
}

async fn found(store: &Store, filter: NodeFilter) -> Vec<String> {
    let rows = all_pages(1, |page| {
        let (store, filter) = (store.clone(), filter.clone());
        async move { store.nodes().find(&filter, &page).await }
    });
    rows.await.into_iter().map(|row| row.name.to_string()).collect()
}

fn edge() -> NodeRow {
    NodeRow {
        id: id(),
        name: name("edge-home"),
        engine: "edge".to_owned(),
        deployed: RevisionNumber(0),
        digest: None,
        created_at: now(),
        updated_at: now(),
        declared: None,
    }
}

pub(crate) async fn a_declared_node_is_read_back_and_found_by_what_it_is(db: &TestDb) {
    let store = &db.store;
    store.nodes().ensure(&edge()).await.unwrap();
    let web = version("web-1", EngineKind::Nginx, &["group:web", "label:tier=front", "zone:eu"]);
    let web_id = add(store, web.clone()).await;
    let other = NodeVersion { active: false, ..version("db-1", EngineKind::Caddy, &["zone:eu"]) };
    add(store, other).await;

    let row = store.nodes().get(web_id).await.unwrap().unwrap();
    assert_eq!(store.nodes().by_name(&name("web-1")).await.unwrap(), Some(row.clone()));
    let declared = row.declared.unwrap();
    assert_eq!((row.engine.as_str(), row.deployed), ("nginx", RevisionNumber(0)));
    assert_eq!(
        (&declared.spec, &declared.origin, declared.active),
        (&web.spec, &Origin::Api, true)
    );
    let (web_1, gone) = (name("web-1"), name("gone"));
    let by_names = store.nodes().by_names(&[&web_1, &gone]).await.unwrap();
    assert_eq!(by_names.keys().collect::<Vec<_>>(), [&web_1]);

    let by = |chosen_by: &[&str]| NodeFilter {
        chosen_by: selectors(chosen_by),
        ..NodeFilter::default()
    };
    assert_eq!(found(store, NodeFilter::default()).await, ["db-1", "edge-home", "web-1"]);
    assert_eq!(found(store, by(&["zone:eu"])).await, ["db-1", "web-1"]);
    assert_eq!(found(store, by(&["zone:eu", "label:tier=front"])).await, ["web-1"]);
    assert_eq!(found(store, by(&["group:db"])).await, [""; 0]);
    assert_eq!(found(store, by(&["local"])).await, ["edge-home"]);
    assert_eq!(found(store, by(&["web-1"])).await, ["web-1"]);
    let filter = NodeFilter { active: Some(true), ..NodeFilter::default() };
    assert_eq!(found(store, filter).await, ["web-1"]);
    let filter = NodeFilter { engine: Some(EngineKind::Caddy), ..NodeFilter::default() };
    assert_eq!(found(store, filter).await, ["db-1"]);
    let filter = NodeFilter { declared: Some(true), ..NodeFilter::default() };
    assert_eq!(found(store, filter).await, ["db-1", "web-1"]);
    let asked = selectors(&["zone:eu", "zone:us", "group:web"]);
    let had = store.nodes().choosing(&asked).await.unwrap();
    assert_eq!(had.into_iter().collect::<Vec<_>>(), selectors(&["group:web", "zone:eu"]));

    // What it no longer has chooses it no longer; what was deployed there stays.
    store.nodes().deployed(web_id, RevisionNumber(2), "d", &[], &[], later(1)).await.unwrap();
    let changed =
        NodeVersion { active: false, ..version("web-1", EngineKind::Nginx, &["zone:us"]) };
    let at = Expected::At(declared.revision);
    commit(store, vec![ChangeDraft::node(web_id, at, changed.clone())]).await.unwrap();
    assert_eq!(found(store, by(&["group:web"])).await, [""; 0]);
    assert_eq!(found(store, by(&["zone:us"])).await, ["web-1"]);
    let row = store.nodes().get(web_id).await.unwrap().unwrap();
    assert_eq!((row.digest.as_deref(), row.deployed), (Some("d"), RevisionNumber(2)));
    let late = commit(store, vec![ChangeDraft::node(web_id, at, changed)]).await;
    assert!(matches!(late, Err(CommitError::Stale { .. })), "{late:?}");
    let (thing, page) = ((ResourceKind::Node, web_id.uuid()), page());
    let history = store.revisions().list(Visible::All, Some(thing), &page);
    assert_eq!(history.await.unwrap().items.len(), 2);
}

pub(crate) async fn a_name_is_had_by_one_node(db: &TestDb) {
    let store = &db.store;
    add(store, version("web-1", EngineKind::Nginx, &[])).await;
    let again = ChangeDraft::node(id(), Expected::New, version("web-1", EngineKind::Caddy, &[]));
    let taken = commit(store, vec![again]).await;
    let is_node = |kind: &ResourceKind| *kind == ResourceKind::Node;
    assert!(
        matches!(&taken, Err(CommitError::NameTaken { kind, .. }) if is_node(kind)),
        "{taken:?}"
    );
}

pub(crate) async fn an_edge_of_a_manager_is_not_declared(db: &TestDb) {
    let store = &db.store;
    let row = store.nodes().ensure(&edge()).await.unwrap();
    let deletion = NodeDeletion { even_if_named: true, clean: false };
    let delete = ChangeDraft::delete_node(row.id, Expected::Any, deletion);
    let refused = commit(store, vec![delete]).await;
    assert!(matches!(refused, Err(CommitError::NotFound { .. })), "{refused:?}");
    assert_eq!(store.nodes().get(row.id).await.unwrap(), Some(row));
}

pub(crate) async fn only_who_sees_everything_declares_nodes(db: &TestDb) {
    let change = ChangeDraft::node(id(), Expected::New, version("web-1", EngineKind::Nginx, &[]));
    let refused =
        db.store.revisions().commit(&draft(vec![change]), Visible::Owner(id()), now()).await;
    assert!(matches!(refused, Err(CommitError::NotFound { .. })), "{refused:?}");
}

pub(crate) async fn sites_are_found_by_the_nodes_they_choose(db: &TestDb) {
    let store = &db.store;
    add(store, version("web-1", EngineKind::Nginx, &["group:web"])).await;
    let on = |site_name: &str, nodes: &[&str]| {
        let mut version = site(site_name, None, &[]);
        version.nodes = selectors(nodes);
        version.spec = json!({ "nodes": nodes });
        version
    };
    let first = add_site(store, on("a", &["web-1", "local"])).await;
    add_site(store, on("b", &["group:web"])).await;
    add_site(store, site("c", None, &[])).await;
    let by = |nodes: &[&str]| SiteFilter { nodes: Some(selectors(nodes)), ..SiteFilter::default() };

    assert_eq!(site_names(store, Visible::All, &by(&["web-1", "group:web"])).await, ["a", "b"]);
    assert_eq!(site_names(store, Visible::All, &by(&["local"])).await, ["a"]);
    assert_eq!(site_names(store, Visible::All, &by(&[])).await, [""; 0]);
    let moved = ChangeDraft::site(first, Expected::Any, on("a", &["group:web"]));
    commit(store, vec![moved]).await.unwrap();
    assert_eq!(site_names(store, Visible::All, &by(&["web-1"])).await, [""; 0]);
    assert_eq!(site_names(store, Visible::All, &by(&["group:web"])).await, ["a", "b"]);
    let home = ChangeDraft::site(first, Expected::Any, site("a", None, &[]));
    commit(store, vec![home]).await.unwrap();
    assert_eq!(site_names(store, Visible::All, &by(&["group:web"])).await, ["b"]);
}

pub(crate) async fn a_site_names_only_nodes_that_are_there(db: &TestDb) {
    let store = &db.store;
    let edge = store.nodes().ensure(&edge()).await.unwrap();
    let mut shop = site("shop", None, &[]);
    shop.nodes = selectors(&["local", edge.name.as_str(), "group:nobody", "web-1"]);
    let add_shop = ChangeDraft::site(id(), Expected::New, shop.clone());

    let refused = commit(store, vec![add_shop.clone()]).await;
    assert!(
        matches!(&refused, Err(CommitError::UnknownNode { name }) if name == "web-1"),
        "{refused:?}"
    );
    // Both can come in one revision.
    let web = ChangeDraft::node(id(), Expected::New, version("web-1", EngineKind::Nginx, &[]));
    commit(store, vec![add_shop, web]).await.unwrap();
}

pub(crate) async fn a_node_that_sites_name_stays(db: &TestDb) {
    let store = &db.store;
    let web = add(store, version("web-1", EngineKind::Nginx, &["group:web"])).await;
    let mut shop = site("shop", None, &[]);
    shop.nodes = selectors(&["web-1"]);
    shop.spec = json!({ "nodes": ["web-1"] });
    let shop_id = add_site(store, shop).await;
    let mut blog = site("blog", None, &[]);
    blog.nodes = selectors(&["group:web"]);
    add_site(store, blog).await;
    let delete = |even_if_named| {
        let deletion = NodeDeletion { even_if_named, clean: false };
        ChangeDraft::delete_node(web, Expected::Any, deletion)
    };

    let refused = commit(store, vec![delete(false)]).await;
    let Err(CommitError::NodeNamed { name, sites }) = refused else { panic!("{refused:?}") };
    assert_eq!((name.as_str(), sites), ("web-1", vec!["shop".to_owned()]));
    // A site that goes elsewhere in the same revision does not keep it.
    let moved = ChangeDraft::site(shop_id, Expected::Any, site("shop", None, &[]));
    commit(store, vec![moved, delete(false)]).await.unwrap();
    assert_eq!(store.nodes().get(web).await.unwrap(), None);
    assert!(store.nodes().removals(&page()).await.unwrap().items.is_empty());
}

pub(crate) async fn a_node_is_remembered_until_it_is_cleaned(db: &TestDb) {
    let store = &db.store;
    let web = version("web-1", EngineKind::Nginx, &[]);
    let node = add(store, web.clone()).await;
    let deletion = NodeDeletion { even_if_named: false, clean: true };
    commit(store, vec![ChangeDraft::delete_node(node, Expected::Any, deletion)]).await.unwrap();

    let removals = store.nodes().removals(&page()).await.unwrap().items;
    assert_eq!(removals.len(), 1);
    assert_eq!(
        (removals[0].id, &removals[0].name, &removals[0].spec),
        (node, &web.name, &web.spec)
    );
    // The name is free again at once.
    let elsewhere = NodeVersion { spec: json!({ "engine": "caddy" }), ..web };
    add(store, elsewhere).await;
    assert!(store.nodes().cleaned(node).await.unwrap());
    assert!(!store.nodes().cleaned(node).await.unwrap());
    assert!(store.nodes().removals(&page()).await.unwrap().items.is_empty());
}

/// What was to be taken away would be taken from the new node.
pub(crate) async fn a_node_that_is_declared_again_is_not_cleaned(db: &TestDb) {
    let store = &db.store;
    let at = |name: &str, address: &str, home: &str| NodeVersion {
        spec: json!({ "engine": "caddy", "ssh": address, "paths": { "home": home } }),
        ..version(name, EngineKind::Caddy, &[])
    };
    let deletion = NodeDeletion { even_if_named: false, clean: true };
    let mut gone = Vec::new();
    for (name, address, home) in [
        ("one", "root@192.0.2.1", "/srv/portway"),
        ("two", "root@192.0.2.2", "/srv/portway"),
        ("three", "root@192.0.2.1", "/srv/other"),
    ] {
        let node = add(store, at(name, address, home)).await;
        commit(store, vec![ChangeDraft::delete_node(node, Expected::Any, deletion)]).await.unwrap();
        gone.push(node);
    }

    // By another name and login, with the port that is meant anyway.
    add(store, at("again", "deploy@192.0.2.1:22", "/srv/portway")).await;

    let removals = store.nodes().removals(&page()).await.unwrap().items;
    let left: Vec<_> = removals.iter().map(|removal| removal.id).collect();
    assert_eq!(left, gone[1..]);
}

pub(crate) async fn what_was_read_on_a_node_is_kept_apart(db: &TestDb) {
    let store = &db.store;
    let node = add(store, version("web-1", EngineKind::Nginx, &[])).await;
    let other = add(store, version("web-2", EngineKind::Nginx, &[])).await;
    let before = store.nodes().get(node).await.unwrap();
    let facts = NodeFacts {
        engine_version: Some("1.22.1".to_owned()),
        digest: Some("d1".to_owned()),
        read_at: Some(later(1)),
        error: None,
        error_at: None,
        offered_key: None,
        offered_by: None,
    };
    store.nodes().put_facts(node, &facts).await.unwrap();
    let failed = NodeFacts {
        error: Some(format!("nul \0 text, {}, and why", "/a/long/path".repeat(100))),
        error_at: Some(later(2)),
        offered_key: Some("SHA256:x".to_owned()),
        offered_by: Some("bastion.example.org:22".to_owned()),
        ..facts
    };
    store.nodes().put_facts(node, &failed).await.unwrap();

    let known = store.nodes().facts(&[node, other]).await.unwrap();
    let whole = failed.error.as_deref().map(|error| error.replace('\0', "\u{fffd}"));
    let expected = NodeFacts { error: whole, ..failed };
    assert_eq!(known, [(node, expected.clone())].into());
    let by_itself = NodeFacts { offered_by: None, ..expected };
    store.nodes().put_facts(node, &by_itself).await.unwrap();
    assert_eq!(store.nodes().facts(&[node]).await.unwrap(), [(node, by_itself)].into());
    assert_eq!(store.nodes().get(node).await.unwrap(), before);
}

pub(crate) async fn the_last_reading_of_a_node_is_kept(db: &TestDb) {
    let nodes = db.store.nodes();
    let node = add(&db.store, version("web-1", EngineKind::Nginx, &[])).await;
    let other = add(&db.store, version("web-2", EngineKind::Nginx, &[])).await;
    let reading = |at: i64| NodeReading {
        read_at: later(at),
        reading: serde_json::json!({"load_1": at, "odd": "\u{0} \"text\""}),
    };
    nodes.put_reading(node, &reading(1)).await.unwrap();
    nodes.put_reading(node, &reading(2)).await.unwrap();

    assert_eq!(nodes.readings(&[node, other]).await.unwrap(), [(node, reading(2))].into());
}

pub(crate) async fn what_was_seen_of_a_node_is_kept_with_its_time(db: &TestDb) {
    let nodes = db.store.nodes();
    let node = add(&db.store, version("web-1", EngineKind::Nginx, &[])).await;
    let other = add(&db.store, version("web-2", EngineKind::Nginx, &[])).await;
    let mut machine = MachineRead {
        at: later(1),
        machine: json!({ "version": "1.22.1", "modules": ["a"] }),
        beside: vec!["/etc/nginx/conf.d/\0.conf".to_owned()],
    };
    let mut content = ContentRead {
        at: later(2),
        linked: Some("d1".to_owned()),
        serves: Some("d1".to_owned()),
        changed: vec!["objects/x was changed".to_owned()],
    };
    nodes.put_content(node, &content).await.unwrap();
    let half = nodes.reads(&[node, other]).await.unwrap();
    assert_eq!((half.len(), &half[&node].machine), (1, &None));
    nodes.put_machine(node, &machine).await.unwrap();
    (content.at, content.linked, content.changed) = (later(3), None, Vec::new());
    nodes.put_content(node, &content).await.unwrap();

    let whole = nodes.reads(&[node, other]).await.unwrap();
    machine.beside = vec!["/etc/nginx/conf.d/\u{fffd}.conf".to_owned()];
    let expected = NodeReads { machine: Some(machine), content: Some(content) };
    assert_eq!(whole, [(node, expected)].into());
}

pub(crate) async fn a_node_is_held_by_one_manager_under_growing_numbers(db: &TestDb) {
    let nodes = db.store.nodes();
    let (node, ann, bob): (Id<NodeRow>, _, _) = (id(), Uuid::now_v7(), Uuid::now_v7());
    let hold = async |holder, at: i64| {
        let lease = Lease { holder, manager: "m", until: later(at + 60) };
        nodes.hold(node, lease, later(at)).await.unwrap()
    };
    assert_eq!(nodes.lease(node).await.unwrap(), None);

    let (one, two) = tokio::join!(hold(ann, 0), hold(bob, 0));
    assert!(one.is_some() != two.is_some(), "of two that take it at once, one does");
    let (holder, other) = if one.is_some() { (ann, bob) } else { (bob, ann) };
    let first = one.or(two).unwrap();
    assert_eq!(hold(other, 59).await, None);
    assert!(nodes.hold_on(node, first, later(100)).await.unwrap());
    assert_eq!(hold(other, 99).await, None, "the lease was renewed");
    let second = hold(other, 100).await.unwrap(); // It ended by itself.
    assert!(second > first);
    assert!(!nodes.hold_on(node, first, later(500)).await.unwrap(), "it is another's by now");
    assert!(!nodes.let_go(node, first, later(101)).await.unwrap());

    // The same manager, started again, takes it at once; its work from before counts no more.
    let third = hold(other, 100).await.unwrap();
    assert!(third > second, "at the same time too");
    assert!(!nodes.hold_on(node, second, later(500)).await.unwrap());
    assert!(nodes.let_go(node, third, later(120)).await.unwrap());
    let fourth = hold(holder, 120).await.unwrap();
    assert!(fourth > third);
    let lease = nodes.lease(node).await.unwrap().unwrap();
    assert_eq!((lease.holder, lease.fence, lease.until), (holder, fourth, later(180)));

    // A node that was declared anew has seen the numbers of its time before.
    let again = Lease { holder: ann, manager: "m", until: later(260) };
    assert!(nodes.hold(id(), again, later(200)).await.unwrap() > Some(fourth));
}

pub(crate) async fn a_deployment_keeps_its_release(db: &TestDb) {
    let node = add(&db.store, version("web-1", EngineKind::Nginx, &[])).await;
    let mut deployment = DeploymentRow {
        id: id(),
        node,
        from: RevisionNumber(0),
        to: RevisionNumber(3),
        stage: Stage::Staging,
        started_at: now(),
        finished_at: None,
        findings: Vec::new(),
        digest: None,
        release: None,
        before: Some("r0".to_owned()),
        fence: Some(7),
    };
    db.store.deployments().record(&deployment).await.unwrap();
    deployment.release = Some("r1".to_owned());
    db.store.deployments().record(&deployment).await.unwrap();
    let read = db.store.deployments().get(deployment.id).await.unwrap();
    assert_eq!(read, Some(deployment));
}
