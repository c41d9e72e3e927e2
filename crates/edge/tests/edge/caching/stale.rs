//! Answers that are given after their time.

use std::sync::Arc;

use portway_model::{Seconds, site::Cache};
use tokio::sync::Semaphore;

use super::{
    OLD, edge_before, get,
    planned::{Plan, Planned, numbered},
};
use crate::support::eventually;

#[tokio::test]
async fn a_stale_answer_is_given_while_one_request_fetches_a_new_one() {
    let gate = Arc::new(Semaphore::new(1));
    let origin = Planned::start({
        let gate = Arc::clone(&gate);
        move |asked| {
            let age = if asked.before == 0 { OLD } else { "0" };
            let said = ("cache-control", "max-age=50, stale-while-revalidate=30");
            Plan::of(numbered(asked), &[said, ("age", age)]).gated(&gate)
        }
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 1");
    for _ in 0..5 {
        let stale = get(&edge, "/", &[]).await;
        assert_eq!(stale.body, "/ 1");
        assert!(stale.header("cache-status").starts_with("portway; hit; ttl=-"), "{stale:?}");
    }
    eventually("the fetch", || (origin.count() == 2).then_some(())).await;
    gate.add_permits(1);
    for n in 0.. {
        assert!(n < 10_000, "the new one is never given");
        let answer = get(&edge, "/", &[]).await;
        if answer.body == "/ 2" {
            assert!(answer.header("cache-status").contains("hit"), "{answer:?}");
            break;
        }
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.count(), 2, "one request fetched it");
}

#[tokio::test]
async fn a_stale_answer_stands_in_where_the_upstream_fails() {
    let origin = Planned::start(|asked| match asked.before {
        0 => Plan::of("good", &[("cache-control", "max-age=50"), ("age", OLD)]),
        _ => Plan::of("bad", &[]).with_status(503),
    })
    .await;
    let cache = Cache { stale_if_error: Seconds(3_600), ..Cache::default() };
    let edge = edge_before(&origin, cache).await;
    assert_eq!(get(&edge, "/", &[]).await.body, "good");
    assert_eq!(get(&edge, "/other", &[]).await.body, "good");
    let stood_in = get(&edge, "/", &[]).await;
    assert_eq!((stood_in.status, stood_in.body.as_str()), (200, "good"));
    origin.stop();
    drop(origin);
    assert_eq!(get(&edge, "/other", &[]).await.body, "good");
    edge.log_has("main.access.log", "\"cache\":\"stale_if_error\"").await;
    assert_eq!(get(&edge, "/third", &[]).await.status, 502, "nothing is kept of it");
}

#[tokio::test]
async fn an_answer_that_forbids_it_never_stands_in() {
    let origin = Planned::start(|asked| match asked.before {
        0 => Plan::of(
            "good",
            &[
                ("cache-control", "max-age=50, must-revalidate, stale-if-error=999"),
                ("age", OLD),
                ("etag", "\"a\""),
            ],
        ),
        _ => Plan::of("bad", &[]).with_status(503),
    })
    .await;
    let edge =
        edge_before(&origin, Cache { stale_if_error: Seconds(9_999), ..Cache::default() }).await;
    get(&edge, "/", &[]).await;
    assert_eq!(get(&edge, "/", &[]).await.status, 503);
}
