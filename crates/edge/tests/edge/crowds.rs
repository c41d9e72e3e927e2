//! More requests than targets take: places, queues and their ends.

use std::{sync::Arc, time::Duration};

use portway_model::{
    Seconds,
    site::{Action, Queue, Upstream, UpstreamProtocol},
};
use portway_testkit::backend::{Backend, Behaviour};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::Instant};

use super::support::*;

#[tokio::test]
async fn a_queue_that_is_full_and_a_wait_that_is_too_long_are_503() {
    let (edge, backend, gate) = gated(Queue { length: 1, timeout: Seconds(1) }).await;
    let mut held = JoinSet::new();
    held.spawn(ask(edge.http()));
    eventually("the first", || (backend.requests() == 1).then_some(())).await;
    let begun = Instant::now();
    let waiting = tokio::spawn(ask(edge.http()));
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 1").await;

    let full = edge.get("a.example", "/").await;
    assert_eq!((full.status, begun.elapsed() < Duration::from_millis(900)), (503, true));
    assert!(!full.header("retry-after").is_empty());
    let late = waiting.await.unwrap();
    assert_eq!(late.status, 503);
    assert!(!late.header("retry-after").is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    has_metric(&edge, r#"portway_edge_queue_refused_total{site="a",reason="full"} 1"#).await;
    has_metric(&edge, r#"portway_edge_queue_refused_total{site="a",reason="late"} 1"#).await;
    edge.log_has("main.error.log", "no place became free within 1 seconds").await;
    gate.add_permits(1);
    assert_eq!(held.join_next().await.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn who_waits_is_served_when_a_place_is_free() {
    let (edge, backend, gate) = gated(Queue { length: 5, timeout: Seconds(20) }).await;
    let mut all = JoinSet::new();
    for _ in 0..6 {
        all.spawn(ask(edge.http()));
    }
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 5").await;
    assert_eq!(backend.requests(), 1);
    gate.add_permits(6);
    assert!(all.join_all().await.iter().all(|answer| answer.status == 200));
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 0").await;
}

#[tokio::test]
async fn a_client_that_leaves_the_queue_gives_its_place_up() {
    let (edge, backend, gate) = gated(Queue { length: 2, timeout: Seconds(20) }).await;
    let mut held = JoinSet::new();
    held.spawn(ask(edge.http()));
    eventually("the first", || (backend.requests() == 1).then_some(())).await;
    let leaving = tokio::spawn(ask(edge.http()));
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 1").await;
    held.spawn(ask(edge.http()));
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 2").await;
    leaving.abort();
    has_metric(&edge, "portway_edge_queue_length{site=\"a\"} 1").await;
    gate.add_permits(2);
    assert!(held.join_all().await.iter().all(|answer| answer.status == 200));
    assert_eq!(backend.requests(), 2);
}

#[tokio::test]
async fn no_target_gets_more_at_once_than_it_may() {
    const CLIENTS: usize = 200;
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    for backend in &two {
        let thinks = Duration::from_millis(5);
        backend.behave(Behaviour { thinks, ..Behaviour::default() });
    }
    let targets = two.each_ref().map(|backend| tcp(backend.address()).into()).into();
    let mut limited = Upstream::new(targets, UpstreamProtocol::Http1);
    limited.max_in_flight_per_target = Some(3);
    limited.queue = Some(Queue { length: 200, timeout: Seconds(20) });
    put(&edge, limited).await;
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        clients.spawn(ask(edge.http()));
    }
    assert!(clients.join_all().await.iter().all(|answer| answer.status == 200));
    let most = two.each_ref().map(Backend::most);
    assert_eq!(most, [3, 3]);
    assert_eq!(two[0].requests() + two[1].requests(), CLIENTS);
}

/// An edge with one target that takes one request at a time, and answers as often as it is told.
async fn gated(queue: Queue) -> (TestEdge, Backend, Arc<Semaphore>) {
    let edge = TestEdge::start().await;
    let backend = Backend::start().await.unwrap();
    let gate = Arc::new(Semaphore::new(0));
    backend.behave(Behaviour { gate: Some(Arc::clone(&gate)), ..Behaviour::default() });
    let mut one = Upstream::of(tcp(backend.address()));
    one.max_in_flight = Some(1);
    one.queue = Some(queue);
    put(&edge, one).await;
    (edge, backend, gate)
}

async fn has_metric(edge: &TestEdge, line: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
        if metrics.lines().any(|found| found == line) {
            return;
        }
        assert!(Instant::now() < deadline, "{line} is not in {metrics}");
    }
}

async fn ask(address: std::net::SocketAddr) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    send(&mut client(stream).await, request("GET", "a.example", "/", "")).await
}

async fn put(edge: &TestEdge, upstream: Upstream) {
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(upstream))])]).await;
}
