//! Timings with many sites, printed for people; a slow machine fails nothing.
//!
//! `PORTWAY_STORE_SITES=100000 cargo nextest run -p portway-store timings --no-capture` shows them
//! for as many sites as a large installation has.

use std::time::{Duration, Instant};

use portway_model::{HostPattern, RevisionNumber};
use portway_store::{Backend, ChangeDraft, Expected, PageRequest, SiteFilter, Visible};

use crate::support::{TestDb, add_many, commit, site};

pub(crate) async fn timings_with_many_sites(db: &TestDb) {
    let count: usize =
        std::env::var("PORTWAY_STORE_SITES").map_or(20_000, |count| count.parse().unwrap());
    let started = Instant::now();
    let mut ids = Vec::new();
    while ids.len() < count {
        let prefix = format!("site-{:03}", ids.len() / 5000);
        ids.extend(add_many(&db.store, &prefix, 5000.min(count - ids.len())).await);
    }
    println!("{}: {count} sites written in {:?}", db.store.backend(), started.elapsed());
    let store = &db.store;
    store.tidy().await.unwrap();
    let page = PageRequest::first(50);
    let list = async |filter: SiteFilter| {
        store.sites().list(Visible::All, &filter, &page).await.unwrap();
    };
    let text = |text: &str| SiteFilter { text: Some(text.to_owned()), ..SiteFilter::default() };

    measure("first page", async |_| list(SiteFilter::default()).await).await;
    let mut at = page.clone();
    measure("next page", async |_| {
        let read = store.sites().list(Visible::All, &SiteFilter::default(), &at).await.unwrap();
        at = at.next(&read).unwrap();
    })
    .await;
    measure("search: common", async |_| list(text("example.org")).await).await;
    measure("search: one name", async |n| list(text(&format!("-000-{:05}", n * 37))).await).await;
    measure("search: one host", async |n| list(text(&format!("h{}.exa", n * 37))).await).await;
    measure("search: a hundred", async |n| list(text(&format!("00-{n:03}"))).await).await;
    measure("search: nothing", async |_| list(text("nowhere.example")).await).await;
    measure("search: two letters", async |_| list(text("si")).await).await;
    measure("search: nothing, two letters", async |_| list(text("qq")).await).await;
    measure("search: last names, two letters", async |_| list(text("zz")).await).await;
    measure("search: one letter", async |_| list(text("q")).await).await;
    measure("by host", async |n| {
        let host: HostPattern = format!("h{n}.example.org").parse().unwrap();
        list(SiteFilter { host: Some(host), ..SiteFilter::default() }).await;
    })
    .await;
    measure("by id", async |n| {
        store.sites().get(Visible::All, ids[n * 7]).await.unwrap();
    })
    .await;
    measure("count", async |_| {
        store.sites().count(Visible::All).await.unwrap();
    })
    .await;
    measure("one change", async |n| {
        let id = ids[n];
        let row = store.sites().get(Visible::All, id).await.unwrap().unwrap();
        let version = site(row.name.as_str(), None, &[&format!("changed-{n}.example.org")]);
        let change = ChangeDraft::site(id, Expected::At(row.revision), version);
        commit(store, vec![change]).await.unwrap();
    })
    .await;
    let latest = store.revisions().latest().await.unwrap();
    measure("what the last revision changed", async |_| {
        let since = RevisionNumber(latest.0 - 1);
        store.revisions().changes_since(since, &page).await.unwrap();
    })
    .await;
}

pub(crate) async fn many_changes_bring_new_statistics(db: &TestDb) {
    let store = &db.store;
    add_many(store, "first", 1500).await;
    assert!(!store.tidy_when_due().await.unwrap());
    add_many(store, "second", 500).await;
    assert!(store.tidy_when_due().await.unwrap());

    assert!(!store.tidy_when_due().await.unwrap());
    let known = match store.backend() {
        Backend::Sqlite => "SELECT DISTINCT tbl FROM sqlite_stat1 WHERE tbl = 'sites'",
        Backend::Postgres => {
            "SELECT DISTINCT tablename::text FROM pg_stats WHERE tablename = 'sites'"
        }
    };
    assert_eq!(db.rows(known).await, ["sites"]);
    add_many(store, "third", 2000).await;
    assert!(store.tidy_when_due().await.unwrap());
}

/// Prints the median and the 99th percentile of 100 runs.
async fn measure(what: &str, mut run: impl AsyncFnMut(usize)) {
    let mut times: Vec<Duration> = Vec::new();
    for n in 0..100 {
        let started = Instant::now();
        run(n).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    println!("  {what:32} median {:>10.2?}  p99 {:>10.2?}", times[50], times[98]);
}
