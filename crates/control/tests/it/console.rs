//! The console's site, and the key that an earlier version wrote into its declaration.

use std::collections::BTreeMap;

use jiff::Timestamp;
use portway_control::{CONSOLE_SITE, StartError, check_key};
use portway_model::{Id, Origin};
use portway_store::{
    AuditEntry, AuditOutcome, ChangeDraft, Expected, RevisionDraft, SiteVersion, Store,
};
use serde_json::json;
use uuid::Uuid;

use crate::support::{Bed, config, root};

#[tokio::test]
async fn a_declared_key_of_the_edge_is_taken_out_once() {
    let bed = Bed::new().await;
    declare_as_before(&bed).await;

    assert!(bed.control.forget_declared_edge_key().await.unwrap());

    let root = root();
    let site = bed.control.sites(&root).await.unwrap().get(CONSOLE_SITE).await.unwrap();
    assert_eq!(site.spec.headers, None, "the declaration has it no more");
    assert_eq!(site.spec.description.as_deref(), Some("mine"), "and the rest stays");
    assert!(!bed.control.forget_declared_edge_key().await.unwrap());
}

#[tokio::test]
async fn an_installation_without_a_console_has_nothing_to_forget() {
    let bed = Bed::new().await;
    assert!(!bed.control.forget_declared_edge_key().await.unwrap());
}

#[tokio::test]
async fn a_database_is_judged_without_a_trace() {
    let bed = Bed::new().await;
    let config = config(&bed.path());
    check_key(&config.key_file, &config.database).await.unwrap();

    let missing = bed.path().join("missing.key");
    let error = check_key(&missing, &config.database).await.unwrap_err();
    assert!(matches!(error, StartError::NoKey { .. }), "{error}");
    assert!(error.to_string().contains("portway key import"), "{error}");
    assert!(!missing.exists());

    let other = bed.path().join("other.key");
    portway_secrets::key_file::load_or_create(&other).unwrap();
    let error = check_key(&other, &config.database).await.unwrap_err();
    assert!(matches!(error, StartError::WrongKey { .. }), "{error}");

    let fresh = bed.path().join("fresh.db");
    let database = format!("sqlite:{fresh}").parse().unwrap();
    check_key(&missing, &database).await.unwrap();
    assert!(!fresh.exists());
}

/// Writes the console's site as the first version did, past today's checks.
async fn declare_as_before(bed: &Bed) {
    let store = Store::open(&config(&bed.path()).database).await.unwrap();
    let now = Timestamp::now();
    let spec = json!({
        "hosts": ["console.example"],
        "to": "127.0.0.1:8900",
        "description": "mine",
        "headers": { "request": { "set": { "X-Portway-Edge": "a key" } } },
    });
    let version = SiteVersion {
        name: CONSOLE_SITE.parse().unwrap(),
        owner: None,
        origin: Origin::Api,
        spec,
        hosts: vec!["console.example".parse().unwrap()],
        tags: Vec::new(),
        nodes: Vec::new(),
    };
    let id = Id::from_uuid(Uuid::now_v7());
    let audit = AuditEntry {
        at: now,
        actor: None,
        actor_name: "root".to_owned(),
        owner: None,
        action: "site.create".to_owned(),
        resource_kind: None,
        resource_id: None,
        resource_name: CONSOLE_SITE.to_owned(),
        outcome: AuditOutcome::Done,
        detail: serde_json::Value::Null,
        address: None,
        request_id: None,
    };
    let draft = RevisionDraft {
        author: None,
        author_name: "root".to_owned(),
        message: "publish the console".to_owned(),
        origin: Origin::Api,
        changes: vec![ChangeDraft::site(id, Expected::New, version)],
        judged_at: None,
        site_limits: BTreeMap::new(),
        secrets: Vec::new(),
        audit,
        idempotency: None,
    };
    let visible = portway_store::Visible::All;
    store.revisions().commit(&draft, visible, now).await.unwrap();
    store.close().await.unwrap();
}
