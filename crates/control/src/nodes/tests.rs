//! A node that a newer manager declared, among others: what it says there is not understood.

use portway_model::{EngineKind, Origin};
use portway_store::{ChangeDraft, Expected, NodeVersion};
use portway_wire::{
    node::{NodeQuery, NodeState},
    site::SiteQuery,
};
use serde_json::json;

use super::write::NodeDraft;
use crate::{
    Resource,
    observe::Whose,
    plan::tests::{Bed, shop_on},
};

#[tokio::test]
async fn a_node_that_is_not_understood_stops_nothing_that_concerns_others() {
    let bed = Bed::new().await;
    let control = &bed.control;
    for name in ["web-1", "web-2"] {
        bed.node(name, "nginx").await;
    }
    written_by_a_newer_one(&bed, "web-1").await;
    let sites = shop_on(&["group:web"]);

    let plan = bed.plan(&sites).await;
    let revision = bed.apply(&sites).await.unwrap().revision.unwrap();

    assert!(plan.effects.iter().any(|effect| effect.nodes == ["web-2"]), "{:?}", plan.effects);
    let listed = control.sites(&bed.root).await.unwrap().list(SiteQuery::default()).await.unwrap();
    assert_eq!(listed.items.len(), 1);
    let overseer = control.overseer(&bed.root, Resource::Nodes, "node.read").await.unwrap();
    let statistics = overseer.statistics(NodeQuery::default()).await.unwrap();
    assert_eq!(statistics.items.len(), 3, "with the edge of the manager");
    for whose in [Whose::Own, Whose::Reached] {
        control.observe_nodes(whose).await.unwrap();
    }
    control.bring_nodes().await.unwrap();
    let concerned = control.nodes_of_revision(portway_model::RevisionNumber(revision)).await;
    assert_eq!(concerned.unwrap(), [bed.row("web-2").await.id].into());
    let shown = overseer.nodes(NodeQuery::default()).await.unwrap();
    let odd = shown.items.iter().find(|node| node.name == "web-1").unwrap();
    assert_eq!(odd.state, NodeState::Failed);
    let text: String = odd.findings.iter().map(|finding| finding.text.as_str()).collect();
    assert!(text.contains("`made_later`") && text.contains("upgrade"), "{text}");
    let other = shown.items.iter().find(|node| node.name == "web-2").unwrap();
    assert_ne!(other.state, NodeState::Failed);
}

/// Writes a node as a manager would that knows a field which this one does not.
async fn written_by_a_newer_one(bed: &Bed, name: &str) {
    let row = bed.row(name).await;
    let declared = row.declared.clone().unwrap();
    let mut spec = declared.spec;
    spec["made_later"] = json!(true);
    let version = NodeVersion {
        name: row.name.clone(),
        engine: EngineKind::Nginx,
        origin: Origin::Api,
        spec,
        active: true,
        selectors: vec!["group:web".parse().unwrap()],
    };
    let draft = NodeDraft {
        action: "node.update",
        name,
        message: "as a newer manager writes it".to_owned(),
        origin: Origin::Api,
        changes: vec![ChangeDraft::node(row.id, Expected::At(declared.revision), version)],
        secrets: Vec::new(),
    };
    bed.control.commit_nodes(&bed.root, draft).await.unwrap();
}
