//! What readers are told of nodes that cannot be read, by who they are.

use std::time::Duration;

use jiff::Timestamp;
use portway_model::{
    FieldPath, Finding, FindingCode, Location, ResourceKind, ResourceRef, Severity,
};
use portway_store::NodeSiteRow;
use portway_wire::{
    logs::{LogLines, LogQuery},
    site::NewSite,
};
use serde_json::json;

use crate::{Actor, ControlError, plan::tests::Bed};

#[tokio::test]
async fn a_client_is_told_of_its_sites_and_not_of_the_way_to_a_node() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    let client = bed.client("dave").await;
    held_on(&bed, &client, "web-1", "other-tenant.example").await;

    let to_client = logs(&bed, &client, None).await.unwrap();
    let to_root = logs(&bed, &bed.root, None).await.unwrap();

    let told: Vec<_> = to_client.problems.iter().map(|told| told.problem.as_str()).collect();
    assert_eq!(told, ["the node cannot be read now; if that lasts, ask an administrator"]);
    assert!(to_root.problems[0].problem.contains("127.0.0.8"), "{:?}", to_root.problems);
}

#[tokio::test]
async fn a_node_that_is_there_is_no_more_told_than_one_that_is_not() {
    let bed = Bed::new().await;
    for name in ["web-1", "web-2"] {
        bed.node(name, "nginx").await;
    }
    let client = bed.client("dave").await;
    held_on(&bed, &client, "web-1", "").await;

    let refused = async |node: &str| {
        let refused = logs(&bed, &client, Some(node)).await.unwrap_err();
        assert!(matches!(refused, ControlError::NotFound { .. }), "{refused:?}");
        refused.to_string().replace(node, "NODE")
    };

    assert_eq!(refused("web-2").await, refused("nobody").await);
}

#[tokio::test]
async fn what_a_node_says_of_other_sites_is_not_shown_to_a_client() {
    let bed = Bed::new().await;
    bed.node("web-1", "nginx").await;
    let client = bed.client("dave").await;
    held_on(&bed, &client, "web-1", "other-tenant.example").await;

    for (actor, is_told) in [(&client, false), (&bed.root, true)] {
        let shown = bed.control.sites(actor).await.unwrap().get("shop").await.unwrap();
        let history = bed.control.history(actor).await.unwrap();
        let revision = shown.summary.revision;
        let progress = history.progress(revision, Duration::ZERO).await.unwrap();
        for findings in [&shown.findings, &progress.findings] {
            let text: String = findings.iter().map(|finding| finding.text.as_str()).collect();
            assert!(text.contains("could not serve it"), "{text}");
            assert_eq!(text.contains("other-tenant.example"), is_told, "{text}");
        }
    }
}

#[tokio::test]
async fn one_user_follows_so_many_logs_and_leaves_others_theirs() {
    let bed = Bed::new().await;
    let client = bed.client("dave").await;
    let spec = json!({"hosts": ["shop.example"], "to": "198.51.100.1:80", "https": false});
    let new =
        NewSite { name: Some("shop".to_owned()), owner: None, spec, message: None, rollout: None };
    bed.control.editor(&client).await.unwrap().create(new).await.unwrap();
    let follow = async |actor: &Actor| {
        let logs = bed.control.logs(actor).await.unwrap();
        logs.follow("shop", LogQuery::default()).await
    };

    let mut followed = Vec::new();
    for _ in 0..16 {
        followed.push(follow(&client).await.unwrap());
    }

    let refused = follow(&client).await.err().unwrap();
    assert!(refused.to_string().contains("end one of them"), "{refused}");
    drop(follow(&bed.root).await.unwrap());
    followed.pop();
    let patience = tokio::time::Instant::now() + Duration::from_secs(30);
    while follow(&client).await.is_err() {
        assert!(tokio::time::Instant::now() < patience, "the seat was not given back");
        tokio::task::yield_now().await;
    }
}

async fn logs(bed: &Bed, actor: &Actor, node: Option<&str>) -> Result<LogLines, ControlError> {
    let query = LogQuery { node: node.map(str::to_owned), ..LogQuery::default() };
    bed.control.logs(actor).await.unwrap().logs("shop", query).await
}

/// Makes a site of a client's, and does as if a node held it and had said something.
async fn held_on(bed: &Bed, client: &Actor, node: &str, said: &str) {
    let spec = json!({
        "hosts": ["shop.example"], "to": "198.51.100.1:80", "https": false, "nodes": [node],
    });
    let new =
        NewSite { name: Some("shop".to_owned()), owner: None, spec, message: None, rollout: None };
    bed.control.editor(client).await.unwrap().create(new).await.unwrap();
    let site = bed.site("shop").await;
    let finding = |kind, name: &str, text: &str| Finding {
        code: FindingCode::Held,
        severity: Severity::Error,
        at: Location::Field {
            resource: ResourceRef { kind, name: name.to_owned() },
            path: FieldPath::root(),
            source: None,
        },
        text: text.to_owned(),
        remedy: None,
    };
    let row = NodeSiteRow {
        site: site.id,
        revision: None,
        digest: None,
        held: Some(site.revision),
        findings: vec![
            finding(ResourceKind::Site, "shop", "node web-1 could not serve it"),
            finding(ResourceKind::Node, node, said),
        ],
        updated_at: Timestamp::now(),
    };
    let id = bed.row(node).await.id;
    bed.control.inner.store.nodes().put_sites(id, &[row]).await.unwrap();
}
