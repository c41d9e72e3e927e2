//! Rollouts, events and the steps of deployments.

use std::collections::BTreeMap;

use portway_model::{
    Id, RevisionNumber, Stage,
    rollout::{RolloutState, Standing, Strategy, WhyBack},
};
use portway_store::{
    ChangeDraft, CommitError, DeploymentRow, EventDraft, Expected, PageRequest, RolloutDraft,
    StepRow, Visible,
};
use serde_json::json;

use crate::support::{TestDb, draft, id, later, name, now, site};

fn rollout() -> RolloutDraft {
    let nodes = ["web-2", "web-1", "web-3"].into_iter().zip([1, 0, 1]);
    RolloutDraft {
        strategy: Strategy { patience: 7, ..Strategy::default() },
        nodes: nodes.map(|(node, wave)| (id(), name(node), wave)).collect(),
    }
}

async fn begin(db: &TestDb, host: &str) -> RevisionNumber {
    let site = ChangeDraft::site(id(), Expected::New, site(&format!("s-{host}"), None, &[host]));
    let draft = draft(vec![site]);
    let revisions = db.store.revisions();
    revisions.commit_with(&draft, Some(&rollout()), Visible::All, now()).await.unwrap()
}

pub(crate) async fn a_rollout_is_there_with_its_revision_or_not_at_all(db: &TestDb) {
    let number = begin(db, "a.example").await;
    let taken = ChangeDraft::site(id(), Expected::New, site("s-a.example", None, &["b.example"]));

    let refused = db
        .store
        .revisions()
        .commit_with(&draft(vec![taken]), Some(&rollout()), Visible::All, now())
        .await;

    assert!(matches!(refused, Err(CommitError::NameTaken { .. })), "{refused:?}");
    let deciding = db.store.rollouts().deciding().await.unwrap();
    assert_eq!(deciding.iter().map(|row| row.revision).collect::<Vec<_>>(), [number]);
    let row = db.store.rollouts().get(number).await.unwrap().unwrap();
    assert_eq!((row.state, row.strategy.patience, row.version), (RolloutState::Queued, 7, 1));
    let places: Vec<_> = row.nodes.iter().map(|node| (node.name.as_str(), node.wave)).collect();
    assert_eq!(places, [("web-1", 0), ("web-2", 1), ("web-3", 1)]);
}

pub(crate) async fn of_two_that_take_a_rollout_on_one_does(db: &TestDb) {
    let number = begin(db, "a.example").await;
    let mut row = db.store.rollouts().get(number).await.unwrap().unwrap();
    let late = row.clone();
    row.state = RolloutState::Running { wave: 0, forgiven: 0 };
    row.nodes[0].standing = Standing::Working;
    row.nodes[0].let_in_at = Some(now());
    row.nodes[0].before = BTreeMap::from([(id(), None), (id(), Some(RevisionNumber(3)))]);
    let event = EventDraft {
        at: now(),
        kind: "rollout".to_owned(),
        revision: Some(number),
        body: json!({ "state": "running" }),
    };

    let (rollouts, events) = (db.store.rollouts(), std::slice::from_ref(&event));
    assert!(rollouts.record(&late, &row, events).await.unwrap());
    assert!(!rollouts.record(&late, &late, events).await.unwrap());

    let known = db.store.rollouts().get(number).await.unwrap().unwrap();
    row.version += 1;
    assert_eq!(known, row);
    let events = db.store.events().since(0, 10).await.unwrap();
    assert_eq!(events.iter().map(|row| &row.event).collect::<Vec<_>>(), [&event]);
    assert_eq!(db.store.events().latest().await.unwrap(), events[0].id);
    assert!(db.store.events().since(events[0].id, 10).await.unwrap().is_empty());
}

pub(crate) async fn what_nodes_had_is_read_for_the_one_that_goes_back(db: &TestDb) {
    let number = begin(db, "a.example").await;
    let was = db.store.rollouts().get(number).await.unwrap().unwrap();
    let mut row = was.clone();
    row.state = RolloutState::Running { wave: 0, forgiven: 0 };
    for place in &mut row.nodes {
        place.before = BTreeMap::from([(id(), Some(RevisionNumber(3)))]);
    }
    assert!(db.store.rollouts().record(&was, &row, &[]).await.unwrap());
    row.version += 1;
    let read = async |node| db.store.rollouts().gates(node).await.unwrap().pop().unwrap();
    let had = |row: &portway_store::RolloutRow| {
        row.nodes.iter().map(|place| !place.before.is_empty()).collect::<Vec<_>>()
    };
    let one = row.nodes[1].node;

    assert_eq!(had(&read(Some(one)).await), [false; 3], "nobody goes back");
    let mut back = row.clone();
    back.state = RolloutState::GoingBack { why: WhyBack::Asked };
    back.nodes[2].standing = Standing::Working;
    assert!(db.store.rollouts().record(&row, &back, &[]).await.unwrap());

    assert_eq!(had(&read(None).await), [false; 3]);
    let gates = read(Some(one)).await;
    assert_eq!(had(&gates), [false, true, false]);
    assert_eq!(gates.nodes[1], row.nodes[1]);
    assert_eq!((gates.state, gates.nodes[2].standing), (back.state, Standing::Working));
    let all = db.store.rollouts().get(number).await.unwrap().unwrap();
    assert_eq!(all.nodes, back.nodes, "what did not change is as it was");
}

pub(crate) async fn rollouts_are_listed_and_forgotten_when_they_decide_nothing(db: &TestDb) {
    let numbers = [begin(db, "a.example").await, begin(db, "b.example").await];
    let newest = db.store.rollouts().list(&PageRequest::first(1)).await.unwrap();
    assert_eq!((newest.items[0].revision, newest.items[0].nodes.len()), (numbers[1], 3));
    let request = PageRequest::first(1).next(&newest).unwrap();
    let older = db.store.rollouts().list(&request).await.unwrap();
    assert_eq!((older.items[0].revision, older.next), (numbers[0], None));

    for (number, decides) in numbers.into_iter().zip([true, false]) {
        let mut row = db.store.rollouts().get(number).await.unwrap().unwrap();
        row.state = RolloutState::Aborted { wave: None };
        (row.finished_at, row.decides) = (Some(now()), decides);
        let was = row.clone();
        assert!(db.store.rollouts().record(&was, &row, &[]).await.unwrap());
    }
    assert_eq!(db.store.rollouts().prune(later(60)).await.unwrap(), 1);
    assert!(db.store.rollouts().get(numbers[0]).await.unwrap().is_some(), "it decides still");
    assert!(db.store.rollouts().get(numbers[1]).await.unwrap().is_none());
}

pub(crate) async fn the_numbers_of_events_grow_as_they_are_seen(db: &TestDb) {
    let mut tasks = tokio::task::JoinSet::new();
    for writer in 0..4 {
        let store = db.store.clone();
        tasks.spawn(async move {
            for at in 0..10 {
                let body = json!({ "writer": writer, "at": at });
                let kind = "test".to_owned();
                let event = EventDraft { at: now(), kind, revision: None, body };
                store.events().tell(&event).await.unwrap();
            }
        });
    }
    let (mut after, mut heard) = (0, 0);
    while heard < 40 {
        for event in db.store.events().since(after, 7).await.unwrap() {
            assert!(event.id > after);
            after = event.id;
            heard += 1;
        }
    }
    while tasks.join_next().await.is_some() {}
    assert_eq!(db.store.events().prune(later(60)).await.unwrap(), 40);
}

pub(crate) async fn steps_are_kept_with_their_deployment(db: &TestDb) {
    let node = portway_store::NodeRow {
        id: id(),
        name: name("edge-1"),
        engine: "edge".to_owned(),
        deployed: RevisionNumber(0),
        digest: None,
        created_at: now(),
        updated_at: now(),
        declared: None,
    };
    db.store.nodes().ensure(&node).await.unwrap();
    let deployment = DeploymentRow {
        id: id::<DeploymentRow>(),
        node: node.id,
        from: RevisionNumber(0),
        to: RevisionNumber(1),
        stage: Stage::Live,
        started_at: now(),
        finished_at: Some(now()),
        findings: Vec::new(),
        digest: None,
        release: None,
        before: None,
        fence: None,
    };
    db.store.deployments().record(&deployment).await.unwrap();
    let step = |number| StepRow {
        number,
        at: now(),
        stage: Stage::Testing,
        action: "nginx -t".to_owned(),
        output: "ok".to_owned(),
        ok: true,
        milliseconds: 12,
    };
    let steps: Vec<_> = (1..=3).map(step).collect();

    db.store.deployments().add_steps(deployment.id, &steps).await.unwrap();
    let beyond = [step(portway_store::MAX_STEPS + 1)];
    db.store.deployments().add_steps(deployment.id, &beyond).await.unwrap();

    let deployments = db.store.deployments();
    assert_eq!(deployments.steps(deployment.id, 0).await.unwrap(), steps);
    assert_eq!(deployments.steps(deployment.id, 2).await.unwrap(), steps[2..]);
    assert!(deployments.steps(Id::from_uuid(uuid::Uuid::now_v7()), 0).await.unwrap().is_empty());
    assert_eq!(deployments.prune(later(60)).await.unwrap(), 1);
    assert!(deployments.steps(deployment.id, 0).await.unwrap().is_empty());
}
