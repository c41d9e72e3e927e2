//! Copies of requests: what a mirror gets, and that nobody notices when it does not.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use portway_model::{
    ByteSize,
    site::{Action, Mirror, Upstream},
};
use portway_testkit::{
    backend::{Backend, Behaviour},
    origin::{Origin, Speaks},
};

use super::support::*;

#[tokio::test]
async fn a_mirror_gets_what_the_upstream_gets_with_a_mark() {
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let mirror = Origin::tcp(Speaks::Http1).await.unwrap();
    // With a buffer the body is there; without one it is copied while it passes.
    for (round, buffer) in [1_000_000, 0].into_iter().enumerate() {
        let buffered = Upstream { buffer: ByteSize(buffer), ..upstream(&origin) };
        put(&edge, buffered, copies(upstream(&mirror), 100)).await;
        let mut asked = request("POST", "a.example", "/x?y=z", "hello");
        let forged = HeaderValue::from_static("1");
        asked.headers_mut().insert("x-portway-mirror", forged);
        asked.headers_mut().insert("authorization", HeaderValue::from_static("Bearer abc"));
        assert_eq!(edge.ask(asked).await.echoed().body, "hello");
        let chunks = [Ok(Frame::data(Bytes::from("hel"))), Ok(Frame::data(Bytes::from("lo")))];
        let body = StreamBody::new(futures_util::stream::iter(chunks)).boxed_unsync();
        let asked = Request::post("/x?y=z").header("host", "a.example").body(body).unwrap();
        assert_eq!(edge.ask(asked).await.echoed().body, "hello");

        eventually("the copies", || (mirror.seen().len() == 2 * (round + 1)).then_some(())).await;
        has_metric(&edge, "sent", 2 * (round + 1)).await;
        assert_eq!(origin.seen().len(), 2 * (round + 1));
    }
    // Copies arrive in any order.
    let mirrored = mirror.seen();
    for at_origin in &origin.seen() {
        let id = &at_origin.headers["x-request-id"];
        let at_mirror = mirrored.iter().find(|copy| copy.headers["x-request-id"] == *id).unwrap();
        let mut headers = at_mirror.headers.clone();
        assert_eq!(headers.remove("x-portway-mirror").as_deref(), Some("1"));
        let mut original = at_origin.headers.clone();
        for headers in [&mut headers, &mut original] {
            headers.remove("content-length");
            headers.remove("transfer-encoding");
        }
        assert!(!original.contains_key("x-portway-mirror"), "a client's own is dropped");
        assert_eq!((&at_origin.method, &at_origin.target), (&at_mirror.method, &at_mirror.target));
        assert_eq!(original, headers);
        assert_eq!(at_mirror.headers["content-length"], "5", "copies have a length");
    }
}

#[tokio::test]
async fn a_mirror_that_is_dead_slow_or_drops_is_not_noticed() {
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let mirror = Backend::start().await.unwrap();
    put(&edge, upstream(&origin), copies(Upstream::of(tcp(mirror.address())), 100)).await;
    let ask = async || {
        assert_eq!(edge.ask(request("PUT", "a.example", "/", "x")).await.status, 200);
    };
    mirror.behave(Behaviour { drops: true, ..Behaviour::default() });
    ask().await;
    has_metric(&edge, "failed", 1).await;
    mirror.die().await;
    ask().await;
    has_metric(&edge, "failed", 2).await;

    mirror.revive().await.unwrap();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    let hangs = Behaviour { gate: Some(std::sync::Arc::clone(&gate)), ..Behaviour::default() };
    mirror.behave(hangs);
    for _ in 0..110 {
        ask().await;
    }
    has_metric(&edge, "busy", 10).await;
    gate.add_permits(100);
    has_metric(&edge, "sent", 100).await;
    assert_eq!(origin.seen().len(), 112);
}

#[tokio::test]
async fn shares_and_sizes_are_kept() {
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let mirror = Origin::tcp(Speaks::Http1).await.unwrap();
    let small = Mirror { max_body: ByteSize(10), ..copies(upstream(&mirror), 100) };
    put(&edge, Upstream { buffer: ByteSize(0), ..upstream(&origin) }, small).await;
    let large = "x".repeat(11);
    assert_eq!(edge.ask(request("POST", "a.example", "/sink", &large)).await.body, "11");
    has_metric(&edge, "too_large", 1).await;
    let frames = [Ok(Frame::data(Bytes::from(large))), Ok(Frame::trailers(HeaderMap::new()))];
    let body = StreamBody::new(futures_util::stream::iter(frames)).boxed_unsync();
    let asked = Request::post("/sink").header("host", "a.example").body(body).unwrap();
    assert_eq!(edge.ask(asked).await.body, "11");
    has_metric(&edge, "too_large", 2).await;
    assert!(mirror.seen().is_empty());

    put(&edge, upstream(&origin), copies(upstream(&mirror), 20)).await;
    for _ in 0..200 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    let share = settled("the copies", || mirror.seen().len() as u64).await;
    assert!((10..=80).contains(&share), "a fifth of 200, by chance: {share}");
}

fn copies(upstream: Upstream, percent: u8) -> Mirror {
    Mirror { upstream, percent, max_body: ByteSize(1_000_000) }
}

async fn put(edge: &TestEdge, upstream: Upstream, mirror: Mirror) {
    let mut copied = route("/", Action::Proxy(upstream));
    copied.filters.mirror = Some(Box::new(mirror));
    edge.put(vec![site("a", &["a.example"], vec![copied])]).await;
}

async fn has_metric(edge: &TestEdge, outcome: &str, count: usize) {
    let line =
        format!(r#"portway_edge_mirror_requests_total{{site="a",outcome="{outcome}"}} {count}"#);
    let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let text = edge.control("GET", "/v1/metrics", vec![]).await.1;
        if text.lines().any(|found| found == line) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{line} is not in {text}");
        tokio::task::yield_now().await;
    }
}
