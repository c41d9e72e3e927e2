//! How many requests may come, and how many at the same time.

use std::time::Duration;

use http::{Request, Uri};
use portway_model::{
    Seconds,
    site::{ConnectionLimit, CountedBy, LimitScope, Rate, RateLimit, Route},
};
use portway_policy::bundle::Change;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};

use crate::{
    explaining::explain,
    support::{
        TestEdge, certificate, change, client, client2, eventually, read, request, respond, route,
        send, sent, site, tls, to, trusting, with_https,
    },
};

fn by_client() -> CountedBy {
    CountedBy::Client { ipv6_prefix: 64 }
}

/// So many in an hour, so that none is added while a test runs.
fn limit(requests: u32) -> RateLimit {
    RateLimit {
        rate: Rate { requests, period: Seconds(3_600) },
        burst: requests,
        by: by_client(),
        exempt: Vec::new(),
        dry_run: false,
        headers: true,
        scope: LimitScope::Site,
    }
}

fn limited(mut route: Route, limit: RateLimit) -> Route {
    route.filters.rate_limits = vec![limit];
    route
}

#[tokio::test]
async fn more_requests_than_may_come_are_answered_429_and_told_when_to_come_again() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![limited(route("/", respond("in")), limit(2))])])
        .await;

    let first = edge.get("a.example", "/").await;
    assert_eq!((first.status, first.header("ratelimit-policy")), (200, "\"client\";q=2;w=3600"));
    assert_eq!(first.header("ratelimit"), "\"client\";r=1;t=1800");
    assert_eq!(edge.get("a.example", "/").await.status, 200);
    let refused = edge.get("a.example", "/").await;
    assert_eq!(refused.status, 429, "{refused:?}");
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1700..=1800).contains(&wait), "{wait}");
    assert!(refused.header("ratelimit").starts_with("\"client\";r=0;t="), "{refused:?}");
    assert!(refused.body.contains("more requests than it may"), "{refused:?}");

    let line = edge.log_has("main.access.log", r#""status":429"#).await;
    assert!(line.contains(r#""code":"rate_limited""#), "{line}");
    assert!(line.contains(r#""limit":"client""#) && line.contains(r#""stage":"limit""#), "{line}");
    edge.log_has("main.error.log", "more than 2/h by 127.0.0.1").await;
    let (_, metrics) = edge.control("GET", "/v1/metrics", vec![]).await;
    let counted =
        r#"portway_edge_limited_requests_total{site="a",limit="rate",outcome="refused"} 1"#;
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test]
async fn what_was_counted_outlives_a_change_of_the_site() {
    let edge = TestEdge::start().await;
    let put = async |body: &str, burst| {
        let limit = RateLimit { burst, ..limit(2) };
        edge.put(vec![site("a", &["a.example"], vec![limited(route("/", respond(body)), limit)])])
            .await;
    };
    put("before", 2).await;
    for status in [200, 200, 429] {
        assert_eq!(edge.get("a.example", "/").await.status, status);
    }
    put("after", 2).await;
    assert_eq!(edge.get("a.example", "/").await.status, 429);
    // A larger burst has room for more.
    put("after", 4).await;
    for status in [200, 200, 429] {
        assert_eq!(edge.get("a.example", "/").await.status, status);
    }
}

#[tokio::test]
async fn clients_behind_a_trusted_proxy_are_counted_apart_and_strangers_claim_nothing() {
    let edge = TestEdge::start().await;
    let routes = vec![limited(route("/", respond("in")), limit(1))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    let ask = async |client: &str| {
        let mut asked = request("GET", "a.example", "/", "");
        asked.headers_mut().insert("x-forwarded-for", client.parse().unwrap());
        edge.ask(asked).await.status
    };
    assert_eq!(ask("192.0.2.1").await, 200);
    assert_eq!(ask("192.0.2.2").await, 429, "who says so is a stranger");
    let settings = Some(trusting(&["127.0.0.0/8"]));
    edge.change(Change { settings, ..change() }).await;
    assert_eq!(ask("192.0.2.1").await, 200);
    assert_eq!(ask("192.0.2.2").await, 200);
    assert_eq!(ask("192.0.2.2").await, 429);
    assert_eq!(ask("2001:db8:1:2::1").await, 200);
    assert_eq!(ask("2001:db8:1:2::2").await, 429);
}

#[tokio::test]
async fn a_limit_that_is_tried_out_refuses_nothing_and_is_told_in_the_log() {
    let edge = TestEdge::start().await;
    let dry = RateLimit { dry_run: true, ..limit(1) };
    edge.put(vec![site("a", &["a.example"], vec![limited(route("/", respond("in")), dry)])]).await;
    for _ in 0..3 {
        let answer = edge.get("a.example", "/").await;
        assert_eq!((answer.status, answer.header("ratelimit")), (200, ""));
    }
    let line = edge.log_has("main.access.log", r#""limit":"client""#).await;
    assert!(line.contains(r#""status":200"#), "{line}");
    let (_, metrics) = edge.control("GET", "/v1/metrics", vec![]).await;
    assert!(metrics.contains(r#"limit="rate",outcome="dry_run"} 2"#), "{metrics}");
}

#[tokio::test]
async fn explaining_a_request_tells_what_is_left_and_counts_nothing() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![limited(route("/", respond("in")), limit(1))])])
        .await;
    let explain = async || explain(&edge, "http://a.example/").await;
    for _ in 0..2 {
        let report = explain().await;
        assert_eq!(report.status, Some(200));
        let told = report.steps.iter().any(|step| {
            step.stage == "limit"
                && step.text == "limit client (1/h): 0 more at once after this one"
        });
        assert!(told, "{report:?}");
    }
    assert_eq!(edge.get("a.example", "/").await.status, 200);
    let report = explain().await;
    assert_eq!((report.status, report.code.as_deref()), (Some(429), Some("rate_limited")));
}

#[tokio::test]
async fn requests_at_the_same_time_are_counted_over_all_connections_and_streams() {
    let ca = TestCa::new().unwrap();
    let certificate = certificate(&ca, &["a.example"]);
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let mut slow = route("/", to(&origin));
    slow.filters.connection_limit = Some(Box::new(ConnectionLimit {
        most: 2,
        by: by_client(),
        exempt: Vec::new(),
        dry_run: false,
        scope: LimitScope::Site,
    }));
    let policy = with_https(site("a", &["a.example"], vec![slow]), &certificate);
    let report = edge
        .change(Change { put: vec![policy], certificates: vec![certificate], ..change() })
        .await;
    assert!(report.refused.is_empty(), "{report:?}");

    // Streams of one connection of HTTP/2.
    let stream = tls(edge.https(), &ca, "a.example", &["h2"]).await.unwrap();
    let mut http2 = client2(stream).await;
    let ask2 = |path: &str| {
        let uri: Uri = format!("https://a.example{path}").parse().unwrap();
        Request::get(uri).body(sent(vec![])).unwrap()
    };
    http2.ready().await.unwrap();
    let held: Vec<_> = (0..2).map(|_| tokio::spawn(http2.send_request(ask2("/hang")))).collect();
    eventually("the requests", || (origin.seen().len() == 2).then_some(())).await;
    let refused = read(http2.send_request(ask2("/")).await.unwrap()).await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, "1"));
    // A connection of HTTP/1.1 of the same client.
    let stream = tls(edge.https(), &ca, "a.example", &["http/1.1"]).await.unwrap();
    let mut http1 = client(stream).await;
    assert_eq!(send(&mut http1, request("GET", "a.example", "/", "")).await.status, 429);

    // Clients that go away make room.
    held.iter().for_each(tokio::task::JoinHandle::abort);
    drop(http2);
    let mut statuses = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while statuses.last() != Some(&200) {
        assert!(tokio::time::Instant::now() < deadline, "there is no room again: {statuses:?}");
        statuses.push(send(&mut http1, request("GET", "a.example", "/", "")).await.status);
    }
    edge.log_has("main.access.log", r#""code":"connection_limited""#).await;
}
