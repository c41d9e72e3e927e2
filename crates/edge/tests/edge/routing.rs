//! Which site and route answer.

use portway_policy::Blocked;
use portway_testkit::origin::{Origin, Speaks};

use crate::support::{TestEdge, request, respond, route, site, to};

#[tokio::test]
async fn the_host_chooses_the_site_exact_before_wildcard_before_any() {
    let edge = TestEdge::start().await;
    edge.put(vec![
        site("exact", &["a.example.org"], vec![route("/", respond("exact"))]),
        site("wild", &["*.example.org"], vec![route("/", respond("wild"))]),
        site("address", &["127.0.0.1"], vec![route("/", respond("address"))]),
    ])
    .await;

    assert_eq!(edge.get("A.Example.org.:80", "/").await.body, "exact");
    assert_eq!(edge.get("b.example.org", "/").await.body, "wild");
    assert_eq!(edge.get("127.0.0.1", "/").await.body, "address");
    assert_eq!(edge.get("c.b.example.org", "/").await.status, 404);
    assert_eq!(edge.get("example.org", "/").await.status, 404);

    edge.put(vec![site("any", &["*"], vec![route("/", respond("any"))])]).await;
    assert_eq!(edge.get("elsewhere.test", "/").await.body, "any");
    assert_eq!(edge.get("a.example.org", "/").await.body, "exact");
}

#[tokio::test]
async fn sites_share_a_host_by_disjoint_prefixes() {
    let edge = TestEdge::start().await;
    edge.put(vec![
        site("whole", &["a.example"], vec![route("/", respond("whole"))]),
        site("api", &["a.example"], vec![route("/api", respond("api"))]),
    ])
    .await;

    assert_eq!(edge.get("a.example", "/x").await.body, "whole");
    assert_eq!(edge.get("a.example", "/api/x").await.body, "api");
    assert_eq!(edge.get("a.example", "/apix").await.body, "whole");
    assert_eq!(edge.get("a.example", "/x/%2e%2e/api/").await.body, "api");
}

#[tokio::test]
async fn a_request_that_has_no_safe_meaning_is_refused() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;

    assert_eq!(edge.get("a.example", "/x%2fy").await.status, 400);
    assert_eq!(edge.get("a.example", "/%00").await.status, 400);
    let mut twice = request("GET", "a.example", "/", "");
    twice.headers_mut().append("host", "b.example".parse().unwrap());
    assert_eq!(edge.ask(twice).await.status, 400);
    assert_eq!(edge.ask(request("TRACE", "a.example", "/", "")).await.status, 405);
}

#[tokio::test]
async fn a_blocked_site_answers_403_with_the_reason() {
    let edge = TestEdge::start().await;
    let mut blocked = site("a", &["a.example"], vec![route("/", respond("a"))]);
    blocked.blocked = Some(Blocked { reason: "unpaid & closed".into() });
    edge.put(vec![blocked, site("b", &["b.example"], vec![route("/", respond("b"))])]).await;

    let answer = edge.get("a.example", "/").await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("unpaid & closed"), "{}", answer.body);
    assert_eq!(edge.get("b.example", "/").await.status, 200);
}

#[tokio::test]
async fn a_site_without_the_route_answers_404_with_the_request_id() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/only", respond("a"))])]).await;

    let answer = edge.get("a.example", "/other").await;
    assert_eq!(answer.status, 404);
    assert!(answer.body.contains(answer.header("x-request-id")), "{}", answer.body);
    let line = edge.log_has("main.access.log", answer.header("x-request-id")).await;
    assert!(line.contains(r#""status":404"#), "{line}");
}

#[tokio::test]
async fn a_stripped_prefix_is_told_to_the_upstream() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut stripped = route("/flask", to(&origin));
    stripped.filters.strip_prefix = true;
    edge.put(vec![site("a", &["a.example"], vec![stripped, route("/", to(&origin))])]).await;

    let echo = edge.get("a.example", "/flask/api/ping?x=1").await.echoed();
    assert_eq!(echo.target, "/api/ping?x=1");
    assert_eq!(echo.headers["x-forwarded-prefix"], "/flask");
    let echo = edge.get("a.example", "/flask").await.echoed();
    assert_eq!(echo.target, "/");
    let echo = edge.get("a.example", "/other//x").await.echoed();
    assert_eq!(echo.target, "/other/x");
    assert!(!echo.headers.contains_key("x-forwarded-prefix"));
}
