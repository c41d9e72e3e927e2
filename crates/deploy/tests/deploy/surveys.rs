//! What a look at a node finds, and what of it keeps the node from being used.

use std::collections::{BTreeMap, BTreeSet};

use portway_deploy::{Entrance, Folder, preflight, survey};
use portway_engine::Version;
use portway_model::{
    EngineKind, Finding, Node,
    node::{Connection, NodePaths, Ports},
};
use portway_transport::Local;

use crate::bed::Bed;

#[tokio::test]
async fn a_node_as_it_should_be_has_no_faults() {
    let bed = Bed::start().await;

    let seen = survey(&Local::new(), &node(&bed), jiff::Timestamp::now).await.unwrap();

    let engine = seen.engine.as_ref().unwrap();
    assert!(engine.version >= Version::new(1, 18, 0));
    assert!(engine.modules.contains("http_v2_module"), "{:?}", engine.modules);
    assert_eq!(seen.home, Ok(Folder::CanBeMade));
    assert_eq!(seen.entrance, Ok(Entrance::Free));
    assert_eq!(seen.state, Ok(None));
    assert!(seen.clock.as_ref().unwrap().abs() <= 1);
    assert!(seen.free.as_ref().unwrap() > &0);
    assert_eq!(faults(&bed).await, Vec::<String>::new());

    bed.deploy("one", 1).await;
    let seen = survey(&Local::new(), &node(&bed), jiff::Timestamp::now).await.unwrap();
    assert_eq!(seen.home, Ok(Folder::Ours));
    assert_eq!(seen.entrance, Ok(Entrance::Ours));
    assert_eq!(seen.state.unwrap().unwrap().release, Some(bed.release("one").digest));
    assert_eq!(faults(&bed).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_is_in_the_way_is_told_all_at_once() {
    let bed = Bed::start().await;
    std::fs::write(&bed.facts.layout.reached_by, "no_such_directive;\n").unwrap();
    let mut node = node(&bed);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    node.ports.http = taken.local_addr().unwrap().port();

    let faults = faults_of(&node).await;

    let has = |field: &str, words: &str| {
        faults.iter().any(|fault| fault.starts_with(field) && fault.contains(words))
    };
    assert!(has("paths.include", "is in the way"), "{faults:?}");
    assert!(has("paths.config", "no_such_directive"), "{faults:?}");
    assert!(has("ports.http", "is taken by"), "{faults:?}");
}

#[tokio::test]
async fn an_engine_that_is_missing_is_told_with_how_to_get_it() {
    let bed = Bed::start().await;
    let node = Node { engine: EngineKind::Traefik, ..node(&bed) };

    let seen = survey(&Local::new(), &node, jiff::Timestamp::now).await.unwrap();
    let findings = preflight(&node, &seen);

    let finding = findings.iter().find(|finding| finding.text.contains("not found")).unwrap();
    assert!(finding.is_error());
    assert!(finding.remedy.as_ref().unwrap().text.contains("install"), "{finding:?}");
}

#[tokio::test]
async fn an_engine_whose_configuration_is_missing_is_told() {
    let bed = Bed::start().await;
    std::fs::remove_file(&bed.facts.layout.top_level).unwrap();

    let faults = faults(&bed).await;

    assert!(faults.iter().any(|fault| fault.contains("is not there")), "{faults:?}");
}

async fn faults(bed: &Bed) -> Vec<String> {
    faults_of(&node(bed)).await
}

async fn faults_of(node: &Node) -> Vec<String> {
    let seen = survey(&Local::new(), node, jiff::Timestamp::now).await.unwrap();
    let errors = preflight(node, &seen).into_iter().filter(Finding::is_error);
    errors.map(|finding| format!("{} {}", path(&finding), finding.text)).collect()
}

fn path(finding: &Finding) -> String {
    let portway_model::Location::Field { path, .. } = &finding.at else { panic!("{finding:?}") };
    path.to_string()
}

fn node(bed: &Bed) -> Node {
    let (layout, ports) = (&bed.facts.layout, &bed.facts.ports);
    Node {
        name: "web1".parse().unwrap(),
        engine: EngineKind::Nginx,
        connection: Connection::Local(None),
        labels: BTreeMap::new(),
        zone: None,
        groups: BTreeSet::new(),
        active: true,
        pinned: None,
        draining: false,
        ports: Ports { http: ports.http, https: ports.https, probe: ports.probe },
        paths: NodePaths {
            home: layout.home.clone(),
            config: Some(layout.top_level.clone()),
            include: Some(layout.reached_by.clone()),
            logs: Some(layout.logs.clone()),
            socket: None,
            program: None,
        },
        trusted_proxies: Vec::new(),
        health: portway_model::node::Thresholds::default(),
        description: None,
    }
}
