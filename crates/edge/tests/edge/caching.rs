//! Kept answers, with real applications behind a real edge (RFC 9111).

mod changing;
mod planned;
mod stale;
mod told;
mod tricks;
mod waiting;

use std::sync::Arc;

use http::Request;
use portway_model::{
    Seconds,
    site::{
        Action, BasicAuth, Cache, CacheBypass, CacheKey, CacheQuery, CookieRule, Password, Route,
        Upstream,
    },
};
use portway_testkit::ca::TestCa;
use tokio::{net::TcpStream, sync::Semaphore};

use self::planned::{Plan, Planned, numbered};
use crate::support::{
    Answer, Sent, TestEdge, certificate, change, client, client2, eventually, id, read, request,
    respond, route, send, site, tcp, tls, with_https,
};

const HOST: &str = "a.example";
const MINUTE: &[(&str, &str)] = &[("cache-control", "max-age=60")];
/// Stale for ten seconds already when it comes.
const OLD: &str = "60";

fn keeping(planned: &Planned, cache: Cache) -> Route {
    let mut route = route("/", Action::Proxy(Upstream::of(tcp(planned.address))));
    route.filters.cache = Some(Box::new(cache));
    route
}

async fn edge_before(planned: &Planned, cache: Cache) -> TestEdge {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &[HOST], vec![keeping(planned, cache)])]).await;
    edge
}

fn asking(method: &str, path: &str, headers: &[(&str, &str)]) -> Request<Sent> {
    let mut request = request(method, HOST, path, "");
    for (name, value) in headers {
        let name = http::HeaderName::from_bytes(name.as_bytes()).unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    request
}

async fn get(edge: &TestEdge, path: &str, headers: &[(&str, &str)]) -> Answer {
    edge.ask(asking("GET", path, headers)).await
}

fn ten_minutes() -> Cache {
    Cache { ttl: Some(Seconds(600)), ..Cache::default() }
}

#[tokio::test]
async fn a_fresh_answer_is_given_again_with_its_age() {
    let origin = Planned::with(&[("cache-control", "max-age=60"), ("age", "7")]).await;
    let edge = edge_before(&origin, Cache::default()).await;

    let first = get(&edge, "/x?q=1", &[]).await;
    let second = get(&edge, "/%78?q=1", &[]).await;

    assert_eq!(first.header("cache-status"), "portway; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!((first.body.as_str(), second.body.as_str()), ("/x?q=1 1", "/x?q=1 1"));
    assert!(["7", "8"].contains(&second.header("age")), "{second:?}");
    assert!(second.header("cache-status").starts_with("portway; hit; ttl=5"), "{second:?}");
    assert_eq!(origin.count(), 1);
    let line = edge.log_has("main.access.log", "\"cache\":\"hit\"").await;
    assert!(line.contains("\"stage\":\"cache\""), "{line}");
    for (path, body) in [("/x?q=2", "/x?q=2 1"), ("/X?q=1", "/X?q=1 1"), ("/x/?q=1", "/x/?q=1 1")] {
        assert_eq!(get(&edge, path, &[]).await.body, body, "another URL");
    }
}

#[tokio::test]
async fn what_must_not_be_kept_is_asked_for_each_time() {
    for headers in [
        &[][..],
        &[("cache-control", "no-store, max-age=60")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "max-age=60"), ("set-cookie", "a=b")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
        &[("cache-control", "max-age=0")],
        &[("cache-control", "no-cache")],
        &[("last-modified", "Fri, 02 Jan 2026 03:04:05 GMT")],
    ] {
        let origin = Planned::with(headers).await;
        let edge = edge_before(&origin, Cache { debug: true, ..Cache::default() }).await;
        for n in 1..=3 {
            let answer = get(&edge, "/", &[]).await;
            assert_eq!(answer.body, format!("/ {n}"), "{headers:?}");
            assert!(answer.header("cache-status").contains("; detail="), "{answer:?}");
        }
    }
}

#[tokio::test]
async fn a_kept_answer_is_confirmed_and_its_headers_renewed() {
    let origin = Planned::start(|asked| {
        let number = asked.before.to_string();
        let mut plan = Plan::of("body", &[("etag", "\"a\""), ("cache-control", "no-cache")]);
        plan.headers.push(("x-number".to_owned(), number));
        plan
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    for n in 0..3 {
        let answer = get(&edge, "/", &[]).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "body"));
        assert_eq!(answer.header("x-number"), n.to_string());
        if n > 0 {
            let status = answer.header("cache-status");
            assert!(status.starts_with("portway; fwd=stale; fwd-status=304"), "{status}");
        }
    }
    assert!(origin.seen()[1..].iter().all(|asked| asked.header("if-none-match") == "\"a\""));

    origin.change(|_| Plan::of("other", &[("etag", "\"b\""), ("cache-control", "max-age=60")]));
    assert_eq!(get(&edge, "/", &[]).await.body, "other");
    assert_eq!(get(&edge, "/", &[]).await.body, "other");
    assert_eq!(origin.count(), 4);
}

#[tokio::test]
async fn a_304_for_another_answer_than_the_kept_one_is_not_taken_for_it() {
    let origin = Planned::with(&[("etag", "\"a\""), ("cache-control", "no-cache")]).await;
    let edge = edge_before(&origin, Cache::default()).await;
    get(&edge, "/", &[]).await;
    origin.change(|asked| {
        let confused = !asked.header("if-none-match").is_empty();
        let plan = Plan::of("whole", &[("etag", "\"b\""), ("cache-control", "no-cache")]);
        if confused { plan.with_status(304) } else { plan }
    });
    let answer = get(&edge, "/", &[]).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "whole"));
}

#[tokio::test]
async fn heads_parts_and_conditions_are_answered_from_a_kept_whole() {
    let headers =
        &[("cache-control", "max-age=60"), ("etag", "\"a\""), ("content-type", "text/plain")];
    let origin = Planned::start(|_| Plan::of("0123456789", headers)).await;
    let edge = edge_before(&origin, Cache::default()).await;
    let part = get(&edge, "/", &[("range", "bytes=2-4")]).await;
    assert!(part.header("cache-status").contains("uri-miss"), "parts are not kept: {part:?}");
    get(&edge, "/", &[]).await;
    let asked = origin.count();

    let head = edge.ask(asking("HEAD", "/", &[])).await;
    assert_eq!((head.status, head.body.as_str(), head.header("content-length")), (200, "", "10"));
    let known = get(&edge, "/", &[("if-none-match", "W/\"a\"")]).await;
    assert_eq!((known.status, known.body.as_str(), known.header("etag")), (304, "", "\"a\""));
    assert_eq!(known.header("content-type"), "");
    let part = get(&edge, "/", &[("range", "bytes=2-4")]).await;
    assert_eq!((part.status, part.body.as_str()), (206, "234"));
    assert_eq!(part.header("content-range"), "bytes 2-4/10");
    let other = get(&edge, "/", &[("range", "bytes=2-4"), ("if-range", "\"b\"")]).await;
    assert_eq!((other.status, other.body.as_str()), (200, "0123456789"));
    let beyond = get(&edge, "/", &[("range", "bytes=20-")]).await;
    assert_eq!((beyond.status, beyond.header("content-range")), (416, "bytes */10"));
    assert_eq!(origin.count(), asked, "the upstream was not asked again");
}

#[tokio::test]
async fn a_client_that_has_an_answer_fills_the_cache_for_others() {
    let origin = Planned::with(&[("cache-control", "max-age=60"), ("etag", "\"a\"")]).await;
    let edge = edge_before(&origin, Cache::default()).await;
    let known = get(&edge, "/", &[("if-none-match", "\"a\"")]).await;
    assert_eq!((known.status, known.body.as_str()), (304, ""));
    assert_eq!(origin.seen()[0].header("if-none-match"), "", "the whole answer is wanted");
    let whole = get(&edge, "/", &[]).await;
    assert_eq!((whole.status, whole.body.as_str(), origin.count()), (200, "/ 1", 1));
}

#[tokio::test]
async fn answers_that_depend_on_headers_are_given_to_requests_that_are_alike_in_them() {
    let origin = Planned::start(|asked| {
        let language = asked.header("accept-language").to_owned();
        Plan::of(language, &[("cache-control", "max-age=60"), ("vary", "Accept-Language")])
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    for _ in 0..3 {
        for language in ["de", "fr", "en"] {
            assert_eq!(get(&edge, "/", &[("accept-language", language)]).await.body, language);
        }
    }
    assert_eq!(origin.count(), 3);
    let other = get(&edge, "/", &[("accept-language", "nl")]).await;
    assert!(other.header("cache-status").contains("vary-miss"), "{other:?}");
}

#[tokio::test]
async fn a_coded_answer_goes_only_to_those_who_take_the_coding() {
    let headers = &[("cache-control", "max-age=60"), ("content-encoding", "gzip")];
    let origin = Planned::start(|asked| {
        let takes = asked.header("accept-encoding").contains("gzip");
        let plain = &[("cache-control", "max-age=60"), ("vary", "accept-encoding")];
        Plan::of(numbered(asked), if takes { headers } else { plain })
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    let gzip = ("accept-encoding", "gzip, br");
    assert_eq!(get(&edge, "/", &[gzip]).await.header("content-encoding"), "gzip");
    let plain = get(&edge, "/", &[]).await;
    assert_eq!((plain.header("content-encoding"), plain.body.as_str()), ("", "/ 2"));
    let again = get(&edge, "/", &[("accept-encoding", "br, gzip;q=0.9")]).await;
    assert_eq!((again.header("content-encoding"), origin.count()), ("gzip", 2));
}

#[tokio::test]
async fn answers_to_somebody_are_kept_only_where_they_are_for_all() {
    for (said, shared) in [("max-age=60", false), ("public, max-age=60", true)] {
        for (name, one, other) in
            [("authorization", "Basic YTpi", "Basic Yzpk"), ("cookie", "sid=1", "sid=2")]
        {
            let origin =
                Planned::start(move |asked| Plan::of(numbered(asked), &[("cache-control", said)]))
                    .await;
            let edge = edge_before(&origin, ten_minutes()).await;
            assert_eq!(get(&edge, "/", &[(name, one)]).await.body, "/ 1");
            let second = get(&edge, "/", &[(name, other)]).await.body;
            assert_eq!(second, if shared { "/ 1" } else { "/ 2" }, "{name} {said}");
            let anonymous = get(&edge, "/", &[]).await.body;
            assert_eq!(anonymous, if shared { "/ 1" } else { "/ 3" }, "{name} {said}");
            // What is kept for nobody in particular is not for somebody either.
            let third = get(&edge, "/", &[(name, one)]).await.body;
            assert_eq!(third, if shared { "/ 1" } else { "/ 4" }, "{name} {said}");
        }
    }
}

#[tokio::test]
async fn the_rules_know_cookies_bypasses_and_further_keys() {
    let origin = Planned::with(&[]).await;
    let cache = Cache {
        bypass: CacheBypass {
            cookies: vec!["admin".to_owned()],
            headers: vec!["x-preview".to_owned()],
        },
        cookies: CookieRule::AllBut(vec!["_ga".to_owned()]),
        key: CacheKey { cookies: vec!["lang".to_owned()], ..CacheKey::default() },
        ..ten_minutes()
    };
    let edge = edge_before(&origin, cache).await;
    let cookie = |value| [("cookie", value)];
    assert_eq!(get(&edge, "/", &cookie("_ga=1")).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &cookie("_ga=2")).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &cookie("lang=de")).await.body, "/ 2");
    assert_eq!(get(&edge, "/", &cookie("_ga=3; lang=de")).await.body, "/ 2");
    let passed = get(&edge, "/", &cookie("admin=1")).await;
    assert_eq!(
        (passed.body.as_str(), passed.header("cache-status")),
        ("/ 3", "portway; fwd=bypass")
    );
    assert_eq!(get(&edge, "/", &[("x-preview", "1")]).await.body, "/ 4");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 1");
}

#[tokio::test]
async fn what_does_not_count_of_a_query_is_not_passed_on() {
    let origin = Planned::with(MINUTE).await;
    let query = CacheQuery::Listed(vec!["page".to_owned()]);
    let key = CacheKey { query, ..CacheKey::default() };
    let edge = edge_before(&origin, Cache { key, ..Cache::default() }).await;
    for (path, body) in [
        ("/?utm=1&page=1", "/?page=1 1"),
        ("/?page=1&utm=2", "/?page=1 1"),
        ("/?page=2", "/?page=2 1"),
        ("/?utm=3", "/ 1"),
        ("/", "/ 1"),
    ] {
        assert_eq!(get(&edge, path, &[]).await.body, body, "{path}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_is_not_kept() {
    let breaks = Arc::new(Semaphore::new(0));
    let origin = Planned::start({
        let breaks = Arc::clone(&breaks);
        move |asked| {
            let mut plan = Plan::of("x".repeat(10_000), MINUTE);
            plan.breaks = (asked.before == 0).then(|| Arc::clone(&breaks));
            plan
        }
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    let stream = TcpStream::connect(edge.http()).await.unwrap();
    let answer = client(stream).await.send_request(asking("GET", "/", &[])).await.unwrap();
    breaks.add_permits(1);
    assert!(http_body_util::BodyExt::collect(answer.into_body()).await.is_err());
    for _ in 0..2 {
        assert_eq!(get(&edge, "/", &[]).await.body.len(), 10_000);
    }
    assert_eq!(origin.count(), 2);
}

#[tokio::test]
async fn large_bodies_are_kept_up_to_the_bound() {
    let origin = Planned::start(|asked| {
        let length: usize = asked.path().trim_start_matches('/').parse().unwrap();
        let bytes: Vec<u8> = (0..length).map(|n| b'a' + u8::try_from(n % 23).unwrap()).collect();
        Plan::of(bytes, MINUTE)
    })
    .await;
    let max_object = portway_model::ByteSize(3_000_000);
    let edge = edge_before(&origin, Cache { max_object, ..Cache::default() }).await;
    for (path, asked) in [("/3000000", 1), ("/3000001", 3)] {
        let first = get(&edge, path, &[]).await.body;
        assert_eq!(first, get(&edge, path, &[]).await.body);
        assert_eq!(origin.count(), asked, "{path}");
    }
    let part = get(&edge, "/3000000", &[("range", "bytes=1048570-1048580")]).await;
    let whole = get(&edge, "/3000000", &[]).await.body;
    assert_eq!(part.body, whole.get(1_048_570..1_048_581).unwrap());
}

#[tokio::test]
async fn what_changes_a_resource_takes_its_kept_answers_away() {
    let origin = Planned::start(|asked| match asked.method.as_str() {
        "GET" => Plan::of(numbered(asked), MINUTE),
        "DELETE" => Plan::of("", &[]).with_status(500),
        _ => Plan::of("", &[("location", "/other")]).with_status(201),
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    let all = ["/", "/other", "/third"];
    for path in all {
        get(&edge, path, &[]).await;
    }
    assert_eq!(edge.ask(asking("DELETE", "/third", &[])).await.status, 500);
    let posted = edge.ask(asking("POST", "/", &[])).await;
    assert_eq!(posted.header("cache-status"), "portway; fwd=method");
    let mut hits = Vec::new();
    for path in all {
        hits.push(get(&edge, path, &[]).await.header("cache-status").contains("hit"));
    }
    assert_eq!(hits, [false, false, true], "a request that failed changed nothing");
}

#[tokio::test]
async fn what_another_route_of_the_site_changes_is_taken_away_too() {
    let origin = Planned::with(MINUTE).await;
    let edge = TestEdge::start().await;
    let mut posts = route("/", Action::Proxy(Upstream::of(tcp(origin.address))));
    posts.matches.methods = vec!["POST".to_owned()];
    edge.put(vec![site("a", &[HOST], vec![posts, keeping(&origin, Cache::default())])]).await;
    assert_eq!(get(&edge, "/x", &[]).await.body, "/x 1");
    let posted = edge.ask(asking("POST", "/x", &[])).await;
    assert_eq!(posted.header("cache-status"), "", "its route keeps nothing");
    assert_eq!(get(&edge, "/x", &[]).await.body, "/x 3");
}

#[tokio::test]
async fn an_answer_that_is_under_way_while_its_resource_changes_is_not_kept() {
    let (origin, gate) = Planned::whose_first_answer_waits(MINUTE).await;
    let edge = Arc::new(edge_before(&origin, Cache::default()).await);
    let first = tokio::spawn({
        let edge = Arc::clone(&edge);
        async move { get(&edge, "/", &[]).await.body }
    });
    eventually("the first request", || (origin.count() == 1).then_some(())).await;
    edge.ask(asking("POST", "/", &[])).await;
    gate.add_permits(1);
    assert_eq!(first.await.unwrap(), "/ 1");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 3");
}

#[tokio::test]
async fn requests_may_want_fresher_answers_or_kept_ones_only() {
    let origin = Planned::with(&[("cache-control", "max-age=60"), ("age", "10")]).await;
    let edge = edge_before(&origin, Cache::default()).await;
    let wanting = |value| [("cache-control", value)];
    assert_eq!(get(&edge, "/", &wanting("only-if-cached")).await.status, 504);
    assert_eq!(origin.count(), 0);
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &wanting("only-if-cached")).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &wanting("max-age=30")).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &wanting("max-age=5")).await.body, "/ 2");
    assert_eq!(get(&edge, "/", &wanting("min-fresh=55")).await.body, "/ 3");
    assert_eq!(get(&edge, "/", &wanting("no-cache")).await.body, "/ 4");
    assert_eq!(get(&edge, "/", &[("pragma", "no-cache")]).await.body, "/ 5");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 5", "what was fetched is kept");
    assert_eq!(get(&edge, "/", &wanting("no-store")).await.body, "/ 6");
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 5");
}

#[tokio::test]
async fn times_of_the_rules_count_where_an_answer_says_nothing_or_where_they_are_to() {
    let origin = Planned::start(|asked| {
        let plan = Plan::of(numbered(asked), &[]);
        match asked.path() {
            "/missing" => plan.with_status(404),
            "/brief" => Plan::of(numbered(asked), &[("cache-control", "max-age=0")]),
            "/private" => Plan::of(numbered(asked), &[("cache-control", "private")]),
            _ => plan,
        }
    })
    .await;
    let kept = async |cache: Cache, path: &str| {
        let edge = edge_before(&origin, cache).await;
        get(&edge, path, &[]).await;
        get(&edge, path, &[]).await.header("cache-status").contains("hit")
    };
    assert!(kept(ten_minutes(), "/").await);
    assert!(!kept(ten_minutes(), "/missing").await);
    assert!(!kept(ten_minutes(), "/brief").await);
    let greedy = Cache { overrides: true, ..ten_minutes() };
    assert!(kept(greedy.clone(), "/brief").await);
    assert!(!kept(greedy, "/private").await);
}

#[tokio::test]
async fn routes_that_ask_in_other_ways_and_sites_never_share_answers() {
    let origin = Planned::start(|asked| {
        Plan::of(format!("{} {}", asked.target, asked.header("x-from")), MINUTE)
    })
    .await;
    let edge = TestEdge::start().await;
    let from = |name: &str| {
        let mut route = keeping(&origin, Cache::default());
        route.filters.request_headers.set.insert("x-from".to_owned(), name.to_owned());
        route
    };
    let mut inside = from("inside");
    inside.matches.headers.insert("x-inside".to_owned(), "yes".to_owned());
    edge.put(vec![site("a", &[HOST], vec![inside, from("outside")])]).await;
    for _ in 0..2 {
        assert_eq!(get(&edge, "/", &[("x-inside", "yes")]).await.body, "/ inside");
        assert_eq!(get(&edge, "/", &[]).await.body, "/ outside");
    }
    // Another site takes the host over.
    let put = vec![site("b", &[HOST], vec![from("other")])];
    edge.change(portway_policy::bundle::Change { put, remove: vec![id("a")], ..change() }).await;
    assert_eq!(get(&edge, "/", &[]).await.body, "/ other");
}

#[tokio::test]
async fn who_may_is_judged_before_anything_is_given() {
    let origin = Planned::with(&[("cache-control", "public, max-age=60")]).await;
    let edge = TestEdge::start().await;
    let mut closed = keeping(&origin, Cache::default());
    let hash = bcrypt::hash("secret", 4).unwrap();
    closed.filters.access = Some(portway_model::site::Access {
        allow: None,
        deny: vec![],
        basic: Some(BasicAuth {
            realm: "r".to_owned(),
            users: [("ann".to_owned(), Password::Hash(hash))].into(),
        }),
    });
    edge.put(vec![site("a", &[HOST], vec![closed])]).await;
    let ann = ("authorization", "Basic YW5uOnNlY3JldA==");
    assert_eq!(get(&edge, "/", &[ann]).await.body, "/ 1");
    assert_eq!(get(&edge, "/", &[]).await.status, 401);
    assert_eq!(get(&edge, "/", &[("authorization", "Basic YW5uOng=")]).await.status, 401);
    assert_eq!(get(&edge, "/", &[ann]).await.body, "/ 1");
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn both_versions_of_http_share_what_is_kept() {
    let origin = Planned::with(MINUTE).await;
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let certificate = certificate(&ca, &[HOST]);
    let site =
        with_https(site("a", &[HOST], vec![keeping(&origin, Cache::default())]), &certificate);
    let change = portway_policy::bundle::Change {
        put: vec![site],
        certificates: vec![certificate],
        ..change()
    };
    assert!(edge.change(change).await.refused.is_empty());
    let stream = tls(edge.https(), &ca, HOST, &["http/1.1"]).await.unwrap();
    let mut http1 = client(stream).await;
    assert_eq!(send(&mut http1, asking("GET", "/x", &[])).await.body, "/x 1");
    let stream = tls(edge.https(), &ca, HOST, &["h2"]).await.unwrap();
    let mut http2 = client2(stream).await;
    for _ in 0..2 {
        let request = Request::get(format!("https://{HOST}/x")).body(crate::support::sent(vec![]));
        let answer = read(http2.send_request(request.unwrap()).await.unwrap()).await;
        assert_eq!(answer.body, "/x 1");
        assert!(answer.header("cache-status").starts_with("portway; hit"), "{answer:?}");
    }
    assert_eq!(origin.count(), 1);
}

#[tokio::test]
async fn kept_answers_are_compressed_for_those_who_take_it() {
    let origin = Planned::start(|_| {
        Plan::of(
            "word ".repeat(2_000),
            &[("cache-control", "max-age=60"), ("content-type", "text/plain")],
        )
    })
    .await;
    let edge = TestEdge::start().await;
    let mut route = keeping(&origin, Cache::default());
    route.filters.compress = true;
    edge.put(vec![site("a", &[HOST], vec![route, self::route("/r", respond("r"))])]).await;
    assert_eq!(get(&edge, "/", &[]).await.body.len(), 10_000);
    let coded = get(&edge, "/", &[("accept-encoding", "gzip")]).await;
    assert_eq!(coded.header("content-encoding"), "gzip");
    assert!(coded.header("cache-status").contains("hit"), "{coded:?}");
    assert_eq!(get(&edge, "/", &[]).await.body.len(), 10_000);
    assert_eq!(origin.count(), 1);
}
