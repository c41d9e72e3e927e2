//! Revisions: nothing is lost, nothing comes between, everything can be read back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex},
};

use portway_model::{Id, ResourceKind, RevisionNumber, Site};
use portway_store::{
    AuditFilter, ChangeDraft, CommitError, Expected, IdempotencyKey, PageRequest, SealedSecret,
    SecretKind, SiteFilter, Visible,
};
use serde_json::json;

use crate::support::{
    TestDb, add_many, add_site, all_pages, commit, draft, id, later, now, site, site_names,
};

pub(crate) async fn an_update_of_an_older_version_is_refused(db: &TestDb) {
    let store = &db.store;
    let shop = add_site(store, site("shop", None, &["one.example"])).await;
    let update =
        |expected, host: &str| vec![ChangeDraft::site(shop, expected, site("shop", None, &[host]))];
    let first = RevisionNumber(1);

    let second = commit(store, update(Expected::At(first), "two.example")).await.unwrap();
    let lost = commit(store, update(Expected::At(first), "three.example")).await.unwrap_err();

    let CommitError::Stale { name, expected, found, .. } = lost else { panic!("{lost:?}") };
    assert_eq!((name.as_str(), expected, found), ("shop", Expected::At(first), Some(second)));
    let row = store.sites().get(Visible::All, shop).await.unwrap().unwrap();
    assert_eq!(row.spec["hosts"], json!(["two.example"]));
    let new = commit(store, update(Expected::New, "four.example")).await;
    assert!(matches!(new, Err(CommitError::Stale { .. })), "{new:?}");
    let gone = vec![ChangeDraft::site(id(), Expected::At(first), site("x", None, &[]))];
    let gone = commit(store, gone).await;
    assert!(matches!(gone, Err(CommitError::Stale { found: None, .. })), "{gone:?}");
}

pub(crate) async fn what_was_judged_before_any_other_change_is_refused(db: &TestDb) {
    let store = &db.store;
    add_site(store, site("shop", None, &["shop.example"])).await;
    let new = |name: &str| vec![ChangeDraft::site(id(), Expected::New, site(name, None, &[name]))];
    let judged_at = Some(store.revisions().latest().await.unwrap());
    let mut draft = draft(new("blog.example"));
    draft.judged_at = judged_at;
    commit(store, new("other.example")).await.unwrap();

    let late = store.revisions().commit(&draft, Visible::All, now()).await;
    draft.judged_at = Some(RevisionNumber(2));
    let judged_anew = store.revisions().commit(&draft, Visible::All, now()).await;

    assert!(matches!(late, Err(CommitError::Overtaken { newest: RevisionNumber(2) })), "{late:?}");
    assert_eq!(judged_anew.unwrap(), RevisionNumber(3));
}

pub(crate) async fn a_refused_revision_leaves_nothing(db: &TestDb) {
    let store = &db.store;
    add_site(store, site("shop", None, &["shop.example"])).await;
    let (all, page) = (AuditFilter::default(), PageRequest::first(10));
    let fine = id();
    let mut draft = draft(vec![
        ChangeDraft::site(fine, Expected::New, site("fine", None, &["fine.example"])),
        ChangeDraft::site(id(), Expected::New, site("shop", None, &["other.example"])),
    ]);
    draft.secrets.push(secret("password-1", Some(fine)));
    draft.idempotency = Some(key("k1"));

    let refused = store.revisions().commit(&draft, Visible::All, now()).await;

    assert!(matches!(refused, Err(CommitError::NameTaken { .. })), "{refused:?}");
    assert_eq!(store.revisions().latest().await.unwrap(), RevisionNumber(1));
    assert_eq!(store.sites().get(Visible::All, fine).await.unwrap(), None);
    assert!(store.secrets().get(&["password-1"]).await.unwrap().is_empty());
    let log = store.audit().list(Visible::All, &all, &page).await.unwrap();
    assert_eq!(log.items.len(), 1);

    draft.changes.pop();
    let number = store.revisions().commit(&draft, Visible::All, now()).await.unwrap();
    assert_eq!(number, RevisionNumber(2));
    assert_eq!(store.secrets().get(&["password-1"]).await.unwrap().len(), 1);
    let log = store.audit().list(Visible::All, &all, &page).await.unwrap();
    assert_eq!(log.items[0].revision, Some(number));
}

fn secret(reference: &str, site: Option<Id<Site>>) -> SealedSecret {
    SealedSecret {
        reference: reference.to_owned(),
        kind: SecretKind::PasswordHash,
        owner: None,
        site,
        sealed: vec![1, 2, 3],
        key_id: "k".to_owned(),
        created_at: now(),
    }
}

fn key(text: &str) -> IdempotencyKey {
    IdempotencyKey {
        actor: "ann".to_owned(),
        key: text.to_owned(),
        request_digest: b"digest".to_vec(),
        attempt: uuid::Uuid::now_v7(),
    }
}

pub(crate) async fn the_same_request_is_carried_out_once(db: &TestDb) {
    let store = &db.store;
    let request = |number: usize| {
        let version = site(&format!("shop-{number}"), None, &[]);
        let mut draft = draft(vec![ChangeDraft::site(id(), Expected::New, version)]);
        draft.idempotency = Some(key("k1"));
        draft
    };

    let mut tasks = tokio::task::JoinSet::new();
    let done_by = Arc::new(Mutex::new(None));
    for number in 0..8 {
        let (store, draft, done_by) = (store.clone(), request(number), Arc::clone(&done_by));
        tasks.spawn(async move {
            let result = store.revisions().commit(&draft, Visible::All, now()).await;
            if result.is_ok() {
                *done_by.lock().unwrap() = draft.idempotency;
            }
            result
        });
    }
    let results = tasks.join_all().await;

    let done: Vec<_> = results.iter().filter_map(|result| result.as_ref().ok()).collect();
    assert_eq!(done, [&RevisionNumber(1)]);
    for result in results.iter().filter(|result| result.is_err()) {
        let Err(CommitError::Repeated(record)) = result else { panic!("{result:?}") };
        assert_eq!((record.revision, record.status), (Some(RevisionNumber(1)), None));
    }
    let attempt = done_by.lock().unwrap().clone().unwrap();
    store.idempotency().answer(&attempt, 201, "{}").await.unwrap();
    let again = store.revisions().commit(&request(9), Visible::All, now()).await;
    let Err(CommitError::Repeated(record)) = again else { panic!("{again:?}") };
    assert_eq!((record.status, record.body.as_deref()), (Some(201), Some("{}")));

    let mut other = request(10);
    other.idempotency = Some(IdempotencyKey { request_digest: b"other".to_vec(), ..key("k1") });
    let other = store.revisions().commit(&other, Visible::All, now()).await;
    assert!(matches!(other, Err(CommitError::KeyReused)), "{other:?}");
    let next_day = store.revisions().commit(&request(11), Visible::All, later(90_000)).await;
    assert_eq!(next_day.unwrap(), RevisionNumber(2));
}

/// Plays changes on the store and on a map, then compares every state.
pub(crate) async fn history_shows_each_version_and_state(db: &TestDb) {
    let store = &db.store;
    let ids: Vec<Id<Site>> = (0..4).map(|_| id()).collect();
    let mut states: Vec<BTreeMap<uuid::Uuid, String>> = vec![BTreeMap::new()];
    for step in 0..24_usize {
        let mut state = states.last().unwrap().clone();
        let mut changes = Vec::new();
        for (number, id) in ids.iter().enumerate() {
            let host = format!("h{step}-{number}.example");
            match (step + number * 7) % 5 {
                0 if state.remove(&id.uuid()).is_some() => {
                    changes.push(ChangeDraft::delete_site(*id, Expected::Any));
                }
                1 | 2 => {
                    let version = site(&format!("site-{number}"), None, &[&host]);
                    changes.push(ChangeDraft::site(*id, Expected::Any, version));
                    state.insert(id.uuid(), host);
                }
                _ => {}
            }
        }
        commit(store, changes).await.unwrap();
        states.push(state);
    }

    for (number, expected) in states.iter().enumerate() {
        let number = RevisionNumber(i64::try_from(number).unwrap());
        let changes = all_pages(3, |page| {
            let store = store.clone();
            let kind = ResourceKind::Site;
            async move { store.revisions().state_at(Visible::All, kind, number, &page).await }
        });
        let state: BTreeMap<_, _> = changes
            .await
            .into_iter()
            .map(|change| {
                let host = change.spec.unwrap()["hosts"][0].as_str().unwrap().to_owned();
                (change.id, host)
            })
            .collect();
        assert_eq!(&state, expected, "at {number}");
        for id in &ids {
            let version = store
                .revisions()
                .version_at(Visible::All, ResourceKind::Site, id.uuid(), number)
                .await
                .unwrap()
                .and_then(|change| change.spec)
                .map(|spec| spec["hosts"][0].as_str().unwrap().to_owned());
            assert_eq!(version.as_ref(), expected.get(&id.uuid()), "at {number}");
        }
    }
    let revisions = all_pages(5, |page| {
        let store = store.clone();
        async move { store.revisions().list(Visible::All, None, &page).await }
    });
    let numbers: Vec<i64> = revisions.await.iter().map(|revision| revision.number.0).collect();
    assert_eq!(numbers, (1..=24).rev().collect::<Vec<_>>());
    let thing = Some((ResourceKind::Site, ids[0].uuid()));
    let of_one = all_pages(2, |page| {
        let store = store.clone();
        async move { store.revisions().list(Visible::All, thing, &page).await }
    });
    for revision in of_one.await {
        let page = PageRequest::first(10);
        let changes =
            store.revisions().changes_of(Visible::All, revision.number, &page).await.unwrap();
        assert!(changes.items.iter().any(|change| change.id == ids[0].uuid()));
    }
}

pub(crate) async fn what_a_node_misses_comes_once_and_in_order(db: &TestDb) {
    let store = &db.store;
    let ids = add_many(store, "site", 20).await;
    for id in ids.iter().take(5) {
        let row = store.sites().get(Visible::All, *id).await.unwrap().unwrap();
        let again = site(row.name.as_str(), None, &[&format!("{}.new.example", row.name)]);
        commit(store, vec![ChangeDraft::site(*id, Expected::Any, again)]).await.unwrap();
    }
    commit(store, vec![ChangeDraft::delete_site(ids[6], Expected::Any)]).await.unwrap();

    let since = async |number: i64| {
        all_pages(3, |page| {
            let store = store.clone();
            async move { store.revisions().changes_since(RevisionNumber(number), &page).await }
        })
        .await
    };

    let all = since(0).await;
    assert_eq!(all.len(), 20);
    assert!(all.is_sorted_by_key(|change| (change.revision, change.id)));
    let distinct: BTreeSet<_> = all.iter().map(|change| change.id).collect();
    assert_eq!(distinct.len(), 20);
    let recent = since(4).await;
    let recent: Vec<_> = recent.iter().map(|change| (change.id, change.spec.is_some())).collect();
    assert_eq!(recent, [(ids[3].uuid(), true), (ids[4].uuid(), true), (ids[6].uuid(), false)]);
    assert!(since(7).await.is_empty());
}

pub(crate) async fn concurrent_writers_lose_nothing(db: &TestDb) {
    const WRITERS: i64 = 32;
    let store = &db.store;
    let counter = add_site(store, counter_at(0)).await;

    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..WRITERS {
        let store = store.clone();
        tasks.spawn(async move {
            loop {
                let row = store.sites().get(Visible::All, counter).await.unwrap().unwrap();
                let next = counter_at(row.spec["count"].as_i64().unwrap() + 1);
                let change = ChangeDraft::site(counter, Expected::At(row.revision), next);
                match commit(&store, vec![change]).await {
                    Ok(number) => return number,
                    Err(CommitError::Stale { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
        });
    }
    let numbers: BTreeSet<i64> = tasks.join_all().await.into_iter().map(|n| n.0).collect();

    assert_eq!(numbers, (2..=WRITERS + 1).collect());
    let row = store.sites().get(Visible::All, counter).await.unwrap().unwrap();
    assert_eq!(row.spec["count"], json!(WRITERS));
}

fn counter_at(count: i64) -> portway_store::SiteVersion {
    let mut version = site("counter", None, &["counter.example"]);
    version.spec = json!({ "count": count });
    version
}

pub(crate) async fn revisions_become_visible_in_their_order(db: &TestDb) {
    const WRITERS: usize = 8;
    const EACH: usize = 10;
    let store = &db.store;
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..WRITERS {
        let store = store.clone();
        writers.spawn(async move {
            for number in 0..EACH {
                add_site(&store, site(&format!("s-{writer}-{number}"), None, &[])).await;
            }
        });
    }

    let mut reached = RevisionNumber(0);
    let mut seen = BTreeSet::new();
    while seen.len() < WRITERS * EACH {
        let page = PageRequest::first(1000);
        let changes = store.revisions().changes_since(reached, &page).await.unwrap().items;
        for change in changes {
            assert!(change.revision > reached || seen.contains(&change.revision.0));
            reached = change.revision;
            seen.insert(change.revision.0);
        }
        let expected: BTreeSet<i64> = (1..=reached.0).collect();
        assert_eq!(seen, expected, "a revision was passed over");
        tokio::task::yield_now().await;
    }
    writers.join_all().await;
}

pub(crate) async fn a_large_revision_is_written_whole(db: &TestDb) {
    let store = &db.store;
    let ids = add_many(store, "many", 1501).await;

    assert_eq!(store.sites().count(Visible::All).await.unwrap(), 1501);
    let rows = store.sites().by_ids(Visible::All, &ids).await.unwrap();
    assert_eq!(rows.len(), 1501);
    let gone = ids.iter().map(|id| ChangeDraft::delete_site(*id, Expected::Any)).collect();
    let number = commit(store, gone).await.unwrap();
    assert!(site_names(store, Visible::All, &SiteFilter::default()).await.is_empty());
    let changes = all_pages(400, |page| {
        let store = store.clone();
        async move { store.revisions().changes_of(Visible::All, number, &page).await }
    });
    assert_eq!(changes.await.len(), 1501);
}

pub(crate) async fn a_revision_takes_few_statements(db: &TestDb) {
    let store = &db.store;
    let spent = async |changes: Vec<ChangeDraft>| {
        let before = store.statements();
        commit(store, changes).await.unwrap();
        store.statements() - before
    };
    let new: Vec<ChangeDraft> = (0..2000)
        .map(|n| {
            let version = site(&format!("site-{n:05}"), None, &[&format!("h{n}.example")]);
            ChangeDraft::site(id(), Expected::New, version)
        })
        .collect();
    let again = new.iter().map(|change| ChangeDraft { expected: Expected::Any, ..change.clone() });
    let again: Vec<ChangeDraft> = again.collect();
    let one = vec![again[7].clone()];

    // Six for each 500 sites, and a few for the revision.
    assert!(spent(new).await <= 30);
    assert!(spent(again).await <= 30);
    assert!(spent(one).await <= 8);
}
