//! Site files, history and undo.

use crate::support::{Bed, new_site, proxy, root};
use portway_control::{Control, ControlError, Precondition};
use portway_wire::{
    revision::{DiffQuery, RevertSite, RevisionQuery},
    site::{ApplySites, EditSite, PlannedAction, SiteQuery},
};
use serde_json::{Value, json};

fn file(sites: Vec<(&str, Value)>, prune: bool) -> ApplySites {
    ApplySites {
        rollout: None,
        source: "portway.yaml".into(),
        sites: sites.into_iter().map(|(name, spec)| (name.parse().unwrap(), spec)).collect(),
        prune,
        owner: None,
        message: None,
        basis: None,
    }
}

async fn names(control: &Control) -> Vec<String> {
    let root = root();
    let sites = control.sites(&root).await.unwrap();
    sites.list(SiteQuery::default()).await.unwrap().items.into_iter().map(|s| s.name).collect()
}

#[tokio::test]
async fn applying_the_same_file_again_changes_nothing() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    let closed = json!({
        "hosts": ["a.example"], "to": "5000",
        "access": {"basic": {"users": {
            "ann": {"password": "an open secret"},
            "bob": "$2y$10$abcdefghijklmnopqrstuuW9wYwCjQXkzVYj7mWsuBEIOZ3S/9Qp6",
        }}},
    });

    let first = editor.apply(&file(vec![("a", closed.clone())], false)).await.unwrap();
    let again = editor.apply(&file(vec![("a", closed)], false)).await.unwrap();
    let sites = bed.control.sites(&root).await.unwrap();
    let exported = sites.export().await.unwrap();
    let exported: Vec<_> = exported
        .sites
        .into_iter()
        .map(|(name, spec)| (name, serde_json::to_value(spec).unwrap()))
        .collect();
    let text = serde_json::to_string(&exported).unwrap();
    let exported = ApplySites { sites: exported.into_iter().collect(), ..file(vec![], false) };
    let plan = sites.plan(&exported).await.unwrap();

    assert_eq!(first.revision, Some(1));
    assert_eq!(again.revision, None);
    assert!(plan.changes.is_empty(), "{plan:?}");
    assert!(!text.contains("open secret") && !text.contains("$2y$"), "{text}");
}

#[tokio::test]
async fn a_client_key_is_sealed_and_applied_again_changes_nothing() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    let key = "-----BEGIN PRIVATE KEY-----\nMIIDsecret\n-----END PRIVATE KEY-----";
    let to = |targets: &str| {
        json!({"targets": [targets], "tls": {
            "client_certificate": "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----",
            "client_key": key,
        }})
    };
    let mutual = json!({
        "hosts": ["a.example"],
        "split": [{"to": to("https://a")}, {"to": to("https://b")}],
        "mirror": {"to": to("https://c")},
    });

    let first = editor.apply(&file(vec![("a", mutual.clone())], false)).await.unwrap();
    let again = editor.apply(&file(vec![("a", mutual)], false)).await.unwrap();
    let sites = bed.control.sites(&root).await.unwrap();
    let exported = serde_json::to_string(&sites.export().await.unwrap().sites).unwrap();
    let shown = serde_json::to_string(&sites.get("a").await.unwrap()).unwrap();

    assert_eq!((first.revision, again.revision), (Some(1), None));
    for text in [exported, shown] {
        assert!(!text.contains("MIIDsecret"), "{text}");
        assert!(text.matches("credential-").count() >= 3, "{text}");
    }
}

#[tokio::test]
async fn pruning_removes_what_the_file_made_and_nothing_else() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    editor.create(new_site("by-hand", proxy("h.example", "5000"))).await.unwrap();
    let both = vec![("a", proxy("a.example", "5000")), ("b", proxy("b.example", "5000"))];
    editor.apply(&file(both, false)).await.unwrap();

    let kept = editor.apply(&file(vec![("a", proxy("a.example", "5000"))], false)).await.unwrap();
    assert_eq!(names(&bed.control).await, ["a", "b", "by-hand"]);
    assert_eq!(kept.findings.len(), 1);
    editor.apply(&file(vec![("a", proxy("a.example", "5000"))], true)).await.unwrap();
    assert_eq!(names(&bed.control).await, ["a", "by-hand"]);
}

#[tokio::test]
async fn a_file_with_one_fault_changes_nothing_and_all_faults_are_told() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    let sites = vec![
        ("good", proxy("a.example", "5000")),
        ("bad", json!({"hosts": ["https://b.example", "c.example:80"], "to": "5000"})),
        ("worse", json!({"hosts": [], "to": "nowhere:x"})),
    ];

    let error = editor.apply(&file(sites, false)).await.unwrap_err();

    let ControlError::Invalid(findings) = error else { panic!("{error}") };
    assert!(findings.len() >= 4, "{findings:?}");
    assert!(names(&bed.control).await.is_empty());
}

#[tokio::test]
async fn two_sites_of_a_file_may_exchange_their_hosts() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    let one = vec![("a", proxy("x.example", "5000")), ("b", proxy("y.example", "5000"))];
    let other = vec![("a", proxy("y.example", "5000")), ("b", proxy("x.example", "5000"))];
    editor.apply(&file(one, false)).await.unwrap();

    editor.apply(&file(other, false)).await.unwrap();

    let clash = vec![("a", proxy("x.example", "1")), ("b", proxy("x.example", "2"))];
    assert!(matches!(editor.apply(&file(clash, false)).await, Err(ControlError::Invalid(_))));
}

#[tokio::test]
async fn a_change_of_what_was_changed_meanwhile_is_refused() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    editor.create(new_site("a", proxy("a.example", "5000"))).await.unwrap();
    let edit =
        |port: &str| EditSite { spec: proxy("a.example", port), message: None, rollout: None };
    editor.edit("a", edit("5001"), Precondition::Revision(1)).await.unwrap();

    let late = editor.edit("a", edit("5002"), Precondition::Revision(1)).await.unwrap_err();

    assert!(matches!(late, ControlError::Stale { current: 2, .. }), "{late}");
}

#[tokio::test]
async fn a_site_goes_back_to_what_it_was() {
    let bed = Bed::new().await;
    let root = root();
    let editor = bed.control.editor(&root).await.unwrap();
    let history = bed.control.history(&root).await.unwrap();
    editor.create(new_site("a", proxy("a.example", "5000"))).await.unwrap();
    let edit =
        EditSite { spec: proxy("a.example", "5001"), message: Some("move".into()), rollout: None };
    editor.edit("a", edit, Precondition::Any).await.unwrap();

    editor.revert_site("a", RevertSite { to: 1, message: None }).await.unwrap();

    let now = bed.control.sites(&root).await.unwrap().get("a").await.unwrap();
    assert_eq!(serde_json::to_value(now.spec).unwrap()["to"], "5000");
    let list =
        history.list(RevisionQuery { site: Some("a".into()), ..Default::default() }).await.unwrap();
    let told: Vec<_> = list.items.iter().map(|r| (r.number, r.message.as_str())).collect();
    assert_eq!(told, [(3, "take a back to revision 1"), (2, "move"), (1, "add a")]);
    let second = history.get(2).await.unwrap();
    assert_eq!(second.changes[0].action, PlannedAction::Update);
    assert!(second.changes[0].diff.as_ref().unwrap().contains("5001"));
    let same = history.diff(DiffQuery { from: 1, to: Some(3), site: None }).await.unwrap();
    assert!(same.changes.is_empty());
}

#[tokio::test]
async fn a_fresh_installation_has_a_first_site_and_never_a_second() {
    let bed = Bed::new().await;

    let first = bed.control.welcome().await.unwrap();
    let again = bed.control.welcome().await.unwrap();

    assert_eq!((first, again), (Some("hello.localhost"), None));
    assert_eq!(names(&bed.control).await, ["hello"]);
}
