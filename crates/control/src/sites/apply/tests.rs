//! Applying many sites: what it costs, and that parts make no difference.

use std::sync::Arc;

use camino::Utf8Path;
use jiff::Timestamp;
use serde_json::json;

use super::*;
use crate::{
    ControlConfig,
    actor::{Identity, Via},
};

/// Not a multiple of the size of a part.
const MANY: usize = 2 * BATCH + 1;

#[tokio::test]
async fn many_sites_take_few_statements() {
    let folder = tempfile::tempdir().unwrap();
    let control = open(folder.path()).await;
    let (root, file) = (root(), file("many", (0..MANY).map(plain)));
    let editor = control.editor(&root).await.unwrap();
    let sites = control.sites(&root).await.unwrap();
    let store = &control.inner.store;

    let mut at = store.statements();
    let mut spent = || {
        let before = std::mem::replace(&mut at, store.statements());
        at - before
    };
    sites.plan(&file).await.unwrap();
    let planned = spent();
    let first = editor.apply(&file).await.unwrap();
    let written = spent();
    let again = editor.apply(&file).await.unwrap();
    let unchanged = spent();

    assert_eq!((first.sites.len(), again.revision), (MANY, None));
    assert!(planned <= 15, "{planned} statements planned {MANY} sites");
    assert!(written <= 50, "{written} statements wrote {MANY} sites");
    assert!(unchanged <= 20, "{unchanged} statements compared {MANY} sites");
}

#[tokio::test]
async fn findings_stand_in_the_order_of_the_file_whatever_the_parts() {
    let folder = tempfile::tempdir().unwrap();
    let control = open(folder.path()).await;
    let root = root();
    let editor = control.editor(&root).await.unwrap();
    let before = [("elsewhere".to_owned(), json!({"hosts": ["h1000.example"], "to": "1"}))];
    editor.apply(&file("other", before)).await.unwrap();
    editor.apply(&file("many", [("gone".to_owned(), plain(0).1)])).await.unwrap();
    let mut specs: Vec<_> = (0..MANY).map(plain).collect();
    // The first of all, the last of the first part, the first of the second.
    specs[0].1 = json!({"hosts": ["h0.example"]});
    specs[BATCH - 1].1 = json!({"hosts": ["not a host"], "to": "1"});
    specs[BATCH].1 = json!({"hosts": ["h1.example"], "to": "1"});
    let file = file("many", specs);

    let sites = control.sites(&root).await.unwrap();
    let plan = sites.plan(&file).await.unwrap();
    let refused = editor.apply(&file).await.unwrap_err();

    let found: Vec<_> = plan.findings.iter().map(|found| (about(found), found.code)).collect();
    assert_eq!(
        found,
        [
            ("site-0000", plan.findings[0].code),
            ("site-0499", plan.findings[1].code),
            // Its route is that of a site which is not in the file.
            ("site-1000", FindingCode::RouteTaken),
            ("gone", FindingCode::Advice),
            // Its route is that of another site of the file, in another part.
            ("site-0500", FindingCode::RouteTaken),
        ],
        "{:#?}",
        plan.findings
    );
    assert_eq!(plan.changes.len(), MANY - 3);
    let ControlError::Invalid(findings) = refused else { panic!("{refused}") };
    assert_eq!(findings, plan.findings);
    assert_eq!(control.inner.store.sites().count(portway_store::Visible::All).await.unwrap(), 2);
}

#[tokio::test]
async fn a_plan_hashes_no_password() {
    let folder = tempfile::tempdir().unwrap();
    let control = open(folder.path()).await;
    let root = root();
    let closed = |n: usize| {
        let users = json!({"ann": {"password": format!("an open secret {n}")}});
        let (name, mut spec) = plain(n);
        spec["access"] = json!({"basic": {"users": users}});
        (name, spec)
    };
    // At 50 ms each these would take half a minute.
    let file = file("many", (0..MANY).map(closed));
    let sites = control.sites(&root).await.unwrap();

    let began = std::time::Instant::now();
    let plan = sites.plan(&file).await.unwrap();

    assert_eq!(plan.changes.len(), MANY);
    assert!(plan.changes.iter().all(|change| !change.diff.contains("open secret")));
    assert!(began.elapsed() < std::time::Duration::from_secs(25), "{:?}", began.elapsed());
}

#[test]
fn many_names_are_listed_in_short() {
    let names = |count: usize| (0..count).map(|n| plain(n).0).collect::<Vec<_>>();

    assert_eq!(listed(&names(0)), "");
    assert_eq!(listed(&names(2)), "site-0000, site-0001");
    let many = listed(&names(MANY));
    assert!(many.starts_with("site-0000, ") && many.len() < 256, "{many}");
    assert!(many.ends_with(" and 983 more"), "{many}");
}

fn plain(n: usize) -> (String, Value) {
    (format!("site-{n:04}"), json!({"hosts": [format!("h{n}.example")], "to": "1"}))
}

fn file(source: &str, sites: impl IntoIterator<Item = (String, Value)>) -> ApplySites {
    ApplySites {
        rollout: None,
        source: source.to_owned(),
        sites: sites.into_iter().map(|(name, spec)| (name.parse().unwrap(), spec)).collect(),
        prune: false,
        owner: None,
        message: None,
        basis: None,
    }
}

fn about(finding: &Finding) -> &str {
    let portway_model::Location::Field { resource, .. } = &finding.at else {
        panic!("{finding:?}")
    };
    &resource.name
}

fn root() -> Actor {
    Actor {
        identity: Identity::Machine("root".to_owned()),
        via: Via::Local,
        from: "local".to_owned(),
        request_id: None,
    }
}

async fn open(folder: &std::path::Path) -> Control {
    let folder = Utf8Path::from_path(folder).unwrap();
    let config = ControlConfig {
        data_dir: folder.to_owned(),
        log_dir: folder.join("logs"),
        key_file: folder.join("master.key"),
        database: portway_store::DatabaseUrl::file(folder.join("portway.db").as_str()),
        edge_socket: folder.join("edge.sock"),
        console_url: "http://localhost:8900".to_owned(),
        admin_group: None,
        trusted_proxies: Vec::new(),
        own_addresses: Vec::new(),
        observe_every: std::time::Duration::from_secs(15),
        node_exec: true,
        rollouts: None,
        health: portway_model::node::spec::ThresholdsSpec::default(),
        console: None,
    };
    Control::open(config, Arc::new(Timestamp::now)).await.unwrap()
}
