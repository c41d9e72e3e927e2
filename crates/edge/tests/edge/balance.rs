//! Which target answers: ways to choose, weights, backups, cookies and splits.

use std::collections::BTreeMap;

use portway_model::{
    Seconds,
    site::{
        Action, Balance, Ejection, HashKey, Side, SideRule, Split, Sticky, Upstream,
        UpstreamProtocol, Wanted,
    },
};
use portway_policy::{NodeSettings, StickyKey, bundle::Change};
use portway_testkit::{
    backend::{Backend, Behaviour},
    ca::TestCa,
};

use super::support::*;

#[tokio::test]
async fn requests_are_shared_out_in_every_way() {
    let edge = TestEdge::start().await;
    let three = Backend::several::<3>().await.unwrap();
    for (balance, least) in
        [(Balance::RoundRobin, 20), (Balance::LeastRequests, 20), (Balance::TwoChoices, 8)]
    {
        put(&edge, Upstream { balance, ..of(&three) }).await;
        for _ in 0..60 {
            assert_eq!(edge.get("a.example", "/").await.status, 200);
        }
        let counts = three.each_ref().map(Backend::requests_since);
        assert!(counts.iter().all(|count| *count >= least), "{counts:?}");
    }
}

#[tokio::test]
async fn least_requests_leaves_a_busy_target_alone() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    let gate = std::sync::Arc::new(tokio::sync::Semaphore::new(0));
    two[0].behave(Behaviour { gate: Some(gate), ..Behaviour::default() });
    put(&edge, Upstream { balance: Balance::LeastRequests, ..of(&two) }).await;
    let mut waiting = tokio::task::JoinSet::new();
    while two[0].requests() == 0 {
        let mut client = client(tokio::net::TcpStream::connect(edge.http()).await.unwrap()).await;
        let asked = request("GET", "a.example", "/", "");
        waiting.spawn(async move { client.send_request(asked).await.is_ok() });
        let arrived = || (two[0].requests() + two[1].requests() >= waiting.len()).then_some(());
        eventually("the request", arrived).await;
    }
    two[1].requests_since();
    for _ in 0..10 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    assert_eq!((two[0].requests(), two[1].requests()), (1, 10));
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    let line = format!(r#"upstream_in_flight{{site="a",target="{}"}} 1"#, two[0].address());
    assert!(metrics.contains(&line), "{line} is not in {metrics}");
}

#[tokio::test]
async fn the_same_key_goes_to_the_same_target() {
    let edge = TestEdge::start().await;
    let three = Backend::several::<3>().await.unwrap();
    put(&edge, Upstream { balance: Balance::Hash(HashKey::Client), ..of(&three) }).await;
    for _ in 0..12 {
        edge.get("a.example", "/").await;
    }
    let mut counts = three.each_ref().map(Backend::requests_since);
    counts.sort_unstable();
    assert_eq!(counts, [0, 0, 12], "one client, one target");
    for (key, name, value) in [
        (HashKey::Header("x-user".into()), "x-user", "u"),
        (HashKey::Cookie("user".into()), "cookie", "user=u"),
    ] {
        put(&edge, Upstream { balance: Balance::Hash(key), ..of(&three) }).await;
        let mut first = BTreeMap::new();
        for round in 0..2 {
            for user in 0..30 {
                let value = format!("{value}{user}");
                ask_with(&edge, "/", &[(name, &value)]).await;
                let at = three.each_ref().map(Backend::requests_since);
                let before = first.entry(user).or_insert(at);
                assert_eq!(*before, at, "user {user} in round {round}");
            }
        }
        let used: std::collections::BTreeSet<_> = first.into_values().collect();
        assert_eq!(used.len(), 3, "all targets have a share");
    }
}

#[tokio::test]
async fn weights_and_backups_are_kept() {
    let edge = TestEdge::start().await;
    let three = Backend::several::<3>().await.unwrap();
    let mut weighted = of(&three);
    weighted.targets[0].weight = 3;
    weighted.targets[2].backup = true;
    weighted.eject = Some(Ejection { failures: 2, lasts: Seconds(60), ..Ejection::default() });
    put(&edge, weighted).await;
    for _ in 0..40 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    assert_eq!(three.each_ref().map(Backend::requests_since), [30, 10, 0]);

    three[0].die().await;
    three[1].die().await;
    for _ in 0..20 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    assert_eq!(three[2].requests(), 20, "the backup answers while no other can");
}

#[tokio::test]
async fn a_cookie_keeps_a_client_with_its_target_and_cannot_be_forged() {
    let edge = TestEdge::start().await;
    let three = Backend::several::<3>().await.unwrap();
    let sticky = Some(Sticky { cookie: "t".into(), ttl: Some(Seconds(60)) });
    put(&edge, Upstream { sticky, ..of(&three) }).await;
    let first = edge.get("a.example", "/").await;
    let cookie = first.header("set-cookie").to_owned();
    assert!(cookie.ends_with("; Path=/; HttpOnly; SameSite=Lax; Max-Age=60"), "{cookie}");
    let own = three.each_ref().map(Backend::requests_since);
    let pair = cookie.split(';').next().unwrap();
    for _ in 0..10 {
        let answer = ask_with(&edge, "/", &[("cookie", &format!("a=b; {pair}"))]).await;
        assert_eq!(answer.header("set-cookie"), "", "it has it already");
    }
    assert_eq!(three.each_ref().map(Backend::requests_since), own.map(|count| count * 10));

    let forged = format!("{}x", pair.strip_suffix(|_| true).unwrap());
    for _ in 0..9 {
        let answer = ask_with(&edge, "/", &[("cookie", &forged)]).await;
        assert!(!answer.header("set-cookie").is_empty(), "it means nothing, so there is another");
    }
    assert_eq!(three.each_ref().map(Backend::requests_since), [3, 3, 3]);
}

#[tokio::test]
async fn edges_with_one_key_know_each_others_cookies() {
    let (one, other) = (TestEdge::start().await, TestEdge::start().await);
    let two = Backend::several::<2>().await.unwrap();
    let sticky = Some(Sticky { cookie: "t".into(), ttl: None });
    let upstream = Upstream { sticky, ..of(&two) };
    let keyed = |key: u8| NodeSettings {
        sticky_key: Some(StickyKey::new([key; 32])),
        ..NodeSettings::default()
    };
    for edge in [&one, &other] {
        put(edge, upstream.clone()).await;
        edge.change(Change { settings: Some(keyed(1)), ..change() }).await;
    }
    let first = one.get("a.example", "/").await.header("set-cookie").to_owned();
    let pair = first.split(';').next().unwrap();
    let answer = ask_with(&other, "/", &[("cookie", pair)]).await;
    assert_eq!(answer.header("set-cookie"), "", "the other edge knows it");
    other.change(Change { settings: Some(keyed(2)), ..change() }).await;
    let answer = ask_with(&other, "/", &[("cookie", pair)]).await;
    assert!(!answer.header("set-cookie").is_empty(), "under another key it means nothing");
}

#[tokio::test]
async fn under_https_a_cookie_is_secure_and_has_the_path_of_its_route() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let two = Backend::several::<2>().await.unwrap();
    let sticky = Some(Sticky { cookie: "t".into(), ttl: None });
    let action = Action::Proxy(Upstream { sticky, ..of(&two) });
    let pair = certificate(&ca, &["a.example"]);
    let policy = with_https(site("a", &["a.example"], vec![route("/app", action)]), &pair);
    let put = Change { certificates: vec![pair], put: vec![policy], ..change() };
    assert_eq!(edge.change(put).await.refused, []);
    let stream = tls(edge.https(), &ca, "a.example", &["http/1.1"]).await.unwrap();
    let asked = request("GET", "a.example", "/app/x", "");
    let answer = send(&mut client(stream).await, asked).await;
    let cookie = answer.header("set-cookie");
    assert!(cookie.ends_with("; Path=/app; HttpOnly; SameSite=Lax; Secure"), "{cookie}");
}

#[tokio::test]
async fn requests_are_divided_between_sides() {
    let edge = TestEdge::start().await;
    let [stable, canary] = Backend::several::<2>().await.unwrap();
    let rule = SideRule::Header(Wanted { name: "x-canary".into(), value: Some("yes".into()) });
    let split = Split {
        sides: vec![side("stable", 90, vec![], &stable), side("canary", 10, vec![rule], &canary)],
        sticky: Some(Sticky { cookie: "side".into(), ttl: None }),
    };
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Split(split))])]).await;
    for _ in 0..400 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    let share = canary.requests_since();
    assert!((10..90).contains(&share), "a tenth of 400, by chance: {share}");
    assert_eq!(stable.requests_since() + share, 400);

    for _ in 0..20 {
        let answer = ask_with(&edge, "/", &[("x-canary", "yes")]).await;
        assert_eq!(answer.header("set-cookie"), "", "a rule says nothing about other requests");
    }
    assert_eq!((stable.requests_since(), canary.requests_since()), (0, 20));

    let first = edge.get("a.example", "/").await.header("set-cookie").to_owned();
    let own = (stable.requests_since(), canary.requests_since());
    for _ in 0..20 {
        ask_with(&edge, "/", &[("cookie", first.split(';').next().unwrap())]).await;
    }
    assert_eq!((stable.requests_since(), canary.requests_since()), (own.0 * 20, own.1 * 20));
    edge.log_has("main.access.log", r#""side":"canary""#).await;
}

fn side(name: &str, weight: u32, rules: Vec<SideRule>, backend: &Backend) -> Side {
    let upstream = Upstream::of(tcp(backend.address()));
    Side { name: name.parse().unwrap(), weight, rules, upstream }
}

fn of(backends: &[Backend]) -> Upstream {
    let targets = backends.iter().map(|backend| tcp(backend.address()).into()).collect();
    Upstream::new(targets, UpstreamProtocol::Http1)
}

async fn put(edge: &TestEdge, upstream: Upstream) {
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(upstream))])]).await;
}

async fn ask_with(edge: &TestEdge, path: &str, headers: &[(&str, &str)]) -> Answer {
    let mut asked = request("GET", "a.example", path, "");
    for (name, value) in headers {
        let name: http::HeaderName = name.parse().unwrap();
        asked.headers_mut().insert(name, value.parse().unwrap());
    }
    edge.ask(asked).await
}
