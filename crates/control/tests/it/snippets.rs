//! Snippets are administrators' alone, by whatever way a site is written.

use crate::support::{Bed, bounds, new_site, root};
use portway_control::{Actor, ControlError, Precondition};
use portway_model::{FindingCode, Role};
use portway_wire::{
    revision::RevertSite,
    site::{ApplySites, EditSite, NewSite},
};
use serde_json::{Value, json};

const SNIPPET: &str = "gzip_vary on;";

fn site(snippet: Option<&str>) -> Value {
    let mut spec = json!({"hosts": ["a.carol.example"], "to": "198.51.100.1:80"});
    if let Some(text) = snippet {
        spec["snippets"] = json!({"nginx": text});
    }
    spec
}

fn edit(spec: Value) -> EditSite {
    EditSite { spec, message: None, rollout: None }
}

fn file(name: &str, spec: Value) -> ApplySites {
    ApplySites {
        rollout: None,
        source: "x".into(),
        sites: [(name.parse().unwrap(), spec)].into_iter().collect(),
        prune: false,
        owner: None,
        message: None,
        basis: None,
    }
}

/// Makes sure that something was refused because of its snippet.
fn refused<T: std::fmt::Debug>(what: &str, result: Result<T, ControlError>) {
    let findings = match result {
        Err(ControlError::Invalid(findings)) => findings,
        other => panic!("{what}: {other:?}"),
    };
    let is_it = |code| findings.iter().any(|finding: &portway_model::Finding| finding.code == code);
    assert!(is_it(FindingCode::OutOfBounds), "{what}: {findings:?}");
}

async fn carol(bed: &Bed) -> Actor {
    bed.user("carol", Role::Client, bounds(&["*.carol.example"])).await
}

#[tokio::test]
async fn only_an_administrator_brings_a_snippet() {
    let bed = Bed::new().await;
    let client = carol(&bed).await;
    let editor = bed.control.editor(&client).await.unwrap();

    refused("new", editor.create(new_site("mine", site(Some(SNIPPET)))).await);
    refused("by a file", editor.apply(&file("mine", site(Some(SNIPPET)))).await);
    editor.create(new_site("mine", site(None))).await.unwrap();
    let put = edit(site(Some(SNIPPET)));
    refused("later", editor.edit("mine", put, Precondition::Any).await);
    refused("later, by a file", editor.apply(&file("mine", site(Some(SNIPPET)))).await);
}

#[tokio::test]
async fn a_client_keeps_what_an_administrator_wrote_and_changes_the_rest() {
    let bed = Bed::new().await;
    let client = carol(&bed).await;
    let admin = root();
    let new = NewSite { owner: Some("carol".into()), ..new_site("mine", site(Some(SNIPPET))) };
    bed.control.editor(&admin).await.unwrap().create(new).await.unwrap();
    let editor = bed.control.editor(&client).await.unwrap();

    let mut changed = site(Some(SNIPPET));
    changed["max_body"] = json!("7MB");
    editor.edit("mine", edit(changed), Precondition::Any).await.unwrap();
    for (what, snippet) in [("another", Some("gzip_vary off;")), ("none", None)] {
        let result = editor.edit("mine", edit(site(snippet)), Precondition::Any).await;
        refused(what, result);
        refused(what, editor.apply(&file("mine", site(snippet))).await);
    }
    let mut moved = site(Some(SNIPPET));
    moved["hosts"] = json!(["b.carol.example"]);
    refused("copied to another site", editor.create(new_site("other", moved)).await);
}

#[tokio::test]
async fn what_an_administrator_took_away_does_not_come_back_by_a_revert() {
    let bed = Bed::new().await;
    let client = carol(&bed).await;
    let admin = root();
    let operator = bed.control.editor(&admin).await.unwrap();
    let new = NewSite { owner: Some("carol".into()), ..new_site("mine", site(Some(SNIPPET))) };
    let made = operator.create(new).await.unwrap();
    operator.edit("mine", edit(site(None)), Precondition::Any).await.unwrap();
    let editor = bed.control.editor(&client).await.unwrap();
    let back = || RevertSite { to: made.summary.revision, message: None };

    refused("by its owner", editor.revert_site("mine", back()).await);
    operator.revert_site("mine", back()).await.unwrap();
}

#[tokio::test]
async fn a_snippet_that_does_not_end_where_it_should_is_refused_to_everybody() {
    let bed = Bed::new().await;
    let admin = root();
    let editor = bed.control.editor(&admin).await.unwrap();
    for text in ["}", "location / {", "server_name x.example;", "}\nserver {\n"] {
        let error = editor.create(new_site("mine", site(Some(text)))).await.unwrap_err();
        let ControlError::Invalid(findings) = error else { panic!("{error}") };
        let at = serde_json::to_string(&findings).unwrap();
        assert!(at.contains("snippets"), "{text}: {at}");
    }
}
