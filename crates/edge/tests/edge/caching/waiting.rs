//! Requests for the same, of which one asks and the others wait.

use std::sync::Arc;

use portway_model::{ByteSize, Seconds, site::Cache};
use tokio::{net::TcpStream, sync::Semaphore};

use super::{
    MINUTE, asking, edge_before, get,
    planned::{Plan, Planned, numbered},
    ten_minutes,
};
use crate::support::{client, eventually, send};

#[tokio::test]
async fn many_requests_for_the_same_are_one_for_the_upstream() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Planned::start({
        let gate = Arc::clone(&gate);
        move |asked| Plan::of(numbered(asked), MINUTE).gated(&gate)
    })
    .await;
    let edge = Arc::new(edge_before(&origin, Cache::default()).await);
    let asking: Vec<_> = (0..30)
        .map(|_| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { get(&edge, "/", &[]).await })
        })
        .collect();
    eventually("the first request", || (origin.count() > 0).then_some(())).await;
    gate.add_permits(1);
    let mut collapsed = 0;
    for answer in asking {
        let answer = answer.await.unwrap();
        assert_eq!(answer.body, "/ 1");
        collapsed += usize::from(answer.header("cache-status").contains("collapsed"));
    }
    assert_eq!(origin.count(), 1);
    assert!(collapsed > 0, "nobody waited");
}

#[tokio::test]
async fn nobody_waits_for_what_is_for_somebody_else() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Planned::start({
        let gate = Arc::clone(&gate);
        move |asked| Plan::of(numbered(asked), &[("cache-control", "private")]).gated(&gate)
    })
    .await;
    let edge = Arc::new(edge_before(&origin, Cache::default()).await);
    let ask = || {
        let edge = Arc::clone(&edge);
        tokio::spawn(async move { get(&edge, "/", &[]).await.body })
    };
    let first: Vec<_> = (0..5).map(|_| ask()).collect();
    eventually("the first request", || (origin.count() == 1).then_some(())).await;
    gate.add_permits(1);
    eventually("all of them", || (origin.count() == 5).then_some(())).await;
    // It is known of this URL from now on.
    let later: Vec<_> = (0..5).map(|_| ask()).collect();
    eventually("the later ones at once", || (origin.count() == 10).then_some(())).await;
    gate.add_permits(9);
    let mut bodies = Vec::new();
    for answer in first.into_iter().chain(later) {
        bodies.push(answer.await.unwrap());
    }
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), 10, "each its own: {bodies:?}");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_rules_say() {
    let (origin, gate) = Planned::whose_first_answer_waits(MINUTE).await;
    let edge = Arc::new(edge_before(&origin, Cache { wait: Seconds(1), ..Cache::default() }).await);
    let first = tokio::spawn({
        let edge = Arc::clone(&edge);
        async move { get(&edge, "/", &[]).await.body }
    });
    eventually("the first request", || (origin.count() == 1).then_some(())).await;
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 2", "it went by itself");
    let line = edge.log_has("main.access.log", "\"cache_ms\":").await;
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert!(line["way"]["cache_ms"].as_f64().unwrap() > 500.0, "{line}");
    gate.add_permits(1);
    assert_eq!(first.await.unwrap(), "/ 1");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 1", "the first one's answer is kept");
}

#[tokio::test]
async fn who_says_nothing_waits_for_nobody_who_says_who_they_are() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Planned::start({
        let gate = Arc::clone(&gate);
        move |asked| {
            let plan = Plan::of(numbered(asked), &[]);
            if asked.header("cookie").is_empty() { plan } else { plan.gated(&gate) }
        }
    })
    .await;
    let edge = Arc::new(edge_before(&origin, ten_minutes()).await);
    let known = tokio::spawn({
        let edge = Arc::clone(&edge);
        async move { get(&edge, "/", &[("cookie", "sid=1")]).await.body }
    });
    eventually("the one with a cookie", || (origin.count() == 1).then_some(())).await;
    let anonymous = get(&edge, "/", &[]).await;
    assert_eq!(anonymous.body, "/ 2");
    assert!(anonymous.header("cache-status").contains("stored"), "{anonymous:?}");
    gate.add_permits(1);
    assert_eq!(known.await.unwrap(), "/ 1");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 2", "and it is kept for others");
}

#[tokio::test]
async fn when_the_one_that_asked_goes_away_another_one_asks() {
    let (origin, _gate) = Planned::whose_first_answer_waits(MINUTE).await;
    let edge =
        Arc::new(edge_before(&origin, Cache { wait: Seconds(60), ..Cache::default() }).await);
    let http = edge.http();
    let leader = tokio::spawn(async move {
        let mut connection = client(TcpStream::connect(http).await.unwrap()).await;
        send(&mut connection, asking("GET", "/", &[])).await
    });
    eventually("the first request", || (origin.count() == 1).then_some(())).await;
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { get(&edge, "/", &[]).await.body })
        })
        .collect();
    leader.abort();
    for answer in waiting {
        assert_eq!(answer.await.unwrap(), "/ 2");
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn who_waits_is_let_go_when_a_body_turns_out_to_be_too_large() {
    let gate = Arc::new(Semaphore::new(0));
    let origin = Planned::start({
        let gate = Arc::clone(&gate);
        move |_| Plan::of("x".repeat(20_000), MINUTE).gated(&gate).in_pieces()
    })
    .await;
    let cache = Cache { max_object: ByteSize(10_000), wait: Seconds(60), ..Cache::default() };
    let edge = Arc::new(edge_before(&origin, cache).await);
    let all: Vec<_> = (0..5)
        .map(|_| {
            let edge = Arc::clone(&edge);
            tokio::spawn(async move { get(&edge, "/", &[]).await.body.len() })
        })
        .collect();
    eventually("the first request", || (origin.count() == 1).then_some(())).await;
    gate.add_permits(1);
    eventually("all at once", || (origin.count() == 5).then_some(())).await;
    gate.add_permits(4);
    for length in all {
        assert_eq!(length.await.unwrap(), 20_000);
    }
}
