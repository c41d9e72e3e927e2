//! What becomes of kept answers when what they answer for changes.

use portway_model::{Seconds, site::Cache};

use super::{
    MINUTE, OLD, asking, edge_before, get,
    planned::{Plan, Planned, numbered},
};

const TAGGED: &[(&str, &str)] = &[("cache-control", "no-cache"), ("etag", "\"a\"")];

#[tokio::test]
async fn what_is_somebodys_own_is_asked_for_with_their_conditions() {
    let origin = Planned::with(&[("cache-control", "private"), ("etag", "\"a\"")]).await;
    let edge = edge_before(&origin, Cache::default()).await;
    let known = [("if-none-match", "\"a\"")];
    for n in 0..3 {
        let answer = get(&edge, "/", &known).await;
        assert_eq!((answer.status, answer.body.as_str()), (304, ""), "{n}");
        // Once it is known that nothing is kept, the application decides itself.
        let expected = if n == 0 { "" } else { "\"a\"" };
        assert_eq!(origin.seen()[n].header("if-none-match"), expected, "{n}");
    }
    assert_eq!(get(&edge, "/", &[]).await.status, 200);
}

#[tokio::test]
async fn an_answer_that_is_confirmed_as_one_clients_own_is_kept_no_longer() {
    let origin = Planned::with(TAGGED).await;
    let edge = edge_before(&origin, Cache::default()).await;
    assert_eq!(get(&edge, "/", &[]).await.body, "/ 1");
    origin.change(|_| {
        Plan::of("", &[("cache-control", "private"), ("etag", "\"a\""), ("x-own", "ann")])
    });
    let own = get(&edge, "/", &[]).await;
    assert_eq!((own.status, own.body.as_str(), own.header("x-own")), (200, "/ 1", "ann"));
    origin.change(|asked| Plan::of(numbered(asked), MINUTE));
    let next = get(&edge, "/", &[]).await;
    assert_eq!((next.body.as_str(), next.header("x-own")), ("/ 3", ""));
    assert_eq!(origin.seen()[2].header("if-none-match"), "", "there is nothing to ask by");
}

#[tokio::test]
async fn a_cookie_that_comes_with_a_confirmation_is_for_its_client_alone() {
    let origin = Planned::with(TAGGED).await;
    let edge = edge_before(&origin, Cache::default()).await;
    get(&edge, "/", &[]).await;
    origin.change(|asked| {
        let cookie = ("set-cookie", "sid=1");
        let with = [TAGGED[0], TAGGED[1], cookie];
        Plan::of("", if asked.before == 1 { &with } else { TAGGED })
    });
    assert_eq!(get(&edge, "/", &[]).await.header("set-cookie"), "sid=1");
    let other = get(&edge, "/", &[]).await;
    assert_eq!((other.body.as_str(), other.header("set-cookie")), ("/ 1", ""));
}

#[tokio::test]
async fn what_is_gone_never_stands_in_for_itself() {
    let origin = Planned::start(|asked| {
        let old = &[("cache-control", "max-age=50"), ("age", OLD)];
        Plan::of(numbered(asked), old)
    })
    .await;
    let cache = Cache { stale_if_error: Seconds(3_600), ..Cache::default() };
    let edge = edge_before(&origin, cache).await;
    get(&edge, "/", &[]).await;
    origin.change(|_| Plan::of("gone", &[]).with_status(404));
    assert_eq!(get(&edge, "/", &[]).await.status, 404);
    origin.change(|_| Plan::of("bad", &[]).with_status(503));
    assert_eq!(get(&edge, "/", &[]).await.status, 503, "nothing is kept to stand in");
}

#[tokio::test]
async fn headers_that_differ_show_that_a_kept_answer_is_over() {
    let origin = Planned::with(&[("cache-control", "max-age=50"), ("age", OLD)]).await;
    let cache = Cache { stale_if_error: Seconds(3_600), ..Cache::default() };
    let edge = edge_before(&origin, cache).await;
    get(&edge, "/", &[]).await;
    origin.change(|_| Plan::of("", &[("etag", "\"new\"")]));
    edge.ask(asking("HEAD", "/", &[])).await;
    origin.change(|_| Plan::of("bad", &[]).with_status(503));
    assert_eq!(get(&edge, "/", &[]).await.status, 503);
}

#[tokio::test]
async fn what_an_upstream_says_of_one_request_is_not_kept_by_the_rules() {
    let origin = Planned::start(|asked| {
        let status = asked.path().trim_start_matches('/').parse().unwrap();
        Plan::of(numbered(asked), &[]).with_status(status)
    })
    .await;
    let statuses = "400-599".parse().unwrap();
    let ttl = Seconds(60);
    let statuses = vec![portway_model::site::StatusTtl { statuses, ttl }];
    let edge = edge_before(&origin, Cache { statuses, ..Cache::default() }).await;
    for (path, kept) in
        [("/404", true), ("/503", true), ("/400", false), ("/429", false), ("/431", false)]
    {
        get(&edge, path, &[]).await;
        let hit = get(&edge, path, &[]).await.header("cache-status").contains("hit");
        assert_eq!(hit, kept, "{path}");
    }
    let explicit = Planned::start(|asked| Plan::of(numbered(asked), MINUTE).with_status(429)).await;
    let edge = edge_before(&explicit, Cache::default()).await;
    for n in 1..3 {
        assert_eq!(get(&edge, "/", &[]).await.body, format!("/ {n}"));
    }
}
