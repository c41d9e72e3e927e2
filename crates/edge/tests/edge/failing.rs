//! Targets that fail: ejection, retries, budgets, and what clients see of it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use portway_model::{
    Seconds,
    site::{Action, Ejection, Retries, Upstream, UpstreamProtocol},
};
use portway_testkit::backend::{Backend, Behaviour};
use tokio::{net::TcpStream, task::JoinSet, time::Instant};

use super::support::*;

#[tokio::test]
async fn a_target_that_answers_badly_is_ejected_and_returns() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    let statuses = vec!["500-599".parse().unwrap()];
    let eject = Ejection { failures: 3, lasts: Seconds(1), statuses, ..Ejection::default() };
    put(&edge, Upstream { eject: Some(eject), ..of(&two) }).await;
    two[0].behave(Behaviour { status: 503, ..Behaviour::default() });
    let mut bad = 0;
    for _ in 0..20 {
        bad += usize::from(edge.get("a.example", "/").await.status == 503);
    }
    assert_eq!(bad, 3, "after three it is out");
    let metric = format!(r#"upstream_ejected{{site="a",target="{}"}} 1"#, two[0].address());
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(metrics.contains(&metric), "{metric} is not in {metrics}");
    edge.log_has("main.error.log", "gets no requests until").await;

    two[0].behave(Behaviour::default());
    let deadline = Instant::now() + Duration::from_secs(20);
    two[0].requests_since();
    while two[0].requests() == 0 {
        assert!(Instant::now() < deadline, "it does not return");
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
}

#[tokio::test]
async fn a_target_that_returns_gets_its_share_little_by_little() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    let statuses = vec!["500-599".parse().unwrap()];
    let eject = Ejection { failures: 1, lasts: Seconds(1), statuses, ..Ejection::default() };
    let slow_start = Seconds(3);
    put(&edge, Upstream { eject: Some(eject), slow_start, ..of(&two) }).await;
    two[0].behave(Behaviour { status: 503, ..Behaviour::default() });
    while two[0].requests() == 0 {
        edge.get("a.example", "/").await;
    }
    two[0].behave(Behaviour::default());
    while two[0].requests() == 1 {
        edge.get("a.example", "/").await;
    }
    two[1].requests_since();
    let share = async |requests: usize| {
        two[0].requests_since();
        for _ in 0..requests {
            edge.get("a.example", "/").await;
        }
        two[0].requests_since()
    };
    let early = share(40).await;
    assert!(early <= 12, "{early} of 40 just after its return");
    let deadline = Instant::now() + Duration::from_secs(20);
    while share(10).await != 5 {
        assert!(Instant::now() < deadline, "it does not get its whole share");
    }
}

#[tokio::test]
async fn a_refused_connection_costs_no_request_and_is_told() {
    let edge = TestEdge::start().await;
    let five = Backend::several::<5>().await.unwrap();
    put(&edge, of(&five)).await;
    for dead in &five[1..] {
        dead.die().await;
    }
    for _ in 0..10 {
        let asked = request("POST", "a.example", "/", "pay");
        assert_eq!(edge.ask(asked).await.status, 200, "nothing was sent, so any method goes on");
    }
    assert_eq!(five[0].requests(), 10);
    let line = edge.log_has("main.access.log", r#""tries":"#).await;
    assert!(line.contains(&format!(r#""upstream":"{}""#, five[0].address())), "{line}");
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(!metrics.contains("portway_edge_retries_total{site=\"a\"} 0\n"), "{metrics}");
}

#[tokio::test]
async fn without_retries_a_refused_connection_is_502() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    let retries = Retries { attempts: 0, budget: 20 };
    put(&edge, Upstream { retries, eject: None, ..of(&two) }).await;
    two[0].die().await;
    let mut statuses = [0; 4];
    for status in &mut statuses {
        *status = edge.get("a.example", "/").await.status;
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 502, 502]);
}

#[tokio::test]
async fn an_idempotent_request_is_tried_elsewhere_and_another_is_not() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    put(&edge, Upstream { eject: None, ..of(&two) }).await;
    two[0].behave(Behaviour { drops: true, ..Behaviour::default() });
    for _ in 0..10 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    for n in 0..10 {
        edge.ask(request("POST", "a.example", &format!("/{n}"), "pay")).await;
    }
    let seen = [&two[0], &two[1]].map(Backend::seen);
    let posts = |seen: &std::collections::BTreeMap<String, usize>| {
        seen.iter().filter(|(asked, _)| asked.starts_with("POST")).map(|(_, n)| n).sum::<usize>()
    };
    assert_eq!(posts(&seen[0]) + posts(&seen[1]), 10, "each came once, to one of them");
}

#[tokio::test]
async fn a_budget_bounds_the_retries_of_a_storm() {
    const REQUESTS: usize = 300;
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    put(&edge, Upstream { eject: None, ..of(&two) }).await;
    for backend in &two {
        backend.behave(Behaviour { drops: true, ..Behaviour::default() });
    }
    for _ in 0..REQUESTS {
        assert_eq!(edge.get("a.example", "/").await.status, 502);
    }
    let arrived = two[0].requests() + two[1].requests();
    // Ten are there from the start, and each request earns a fifth of one.
    assert!((REQUESTS..=REQUESTS + 10 + REQUESTS / 5).contains(&arrived), "{arrived}");
}

#[tokio::test]
async fn when_most_are_out_all_are_used_and_it_is_said() {
    let edge = TestEdge::start().await;
    let three = Backend::several::<3>().await.unwrap();
    let statuses = vec!["500-599".parse().unwrap()];
    let eject = Ejection { failures: 1, lasts: Seconds(60), statuses, ..Ejection::default() };
    put(&edge, Upstream { eject: Some(eject), ..of(&three) }).await;
    for bad in &three[1..] {
        bad.behave(Behaviour { status: 500, ..Behaviour::default() });
    }
    for _ in 0..4 {
        edge.get("a.example", "/").await;
    }
    for backend in &three {
        backend.requests_since();
    }
    for _ in 0..9 {
        edge.get("a.example", "/").await;
    }
    assert_eq!(three.each_ref().map(Backend::requests_since), [3, 3, 3]);
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(metrics.contains("upstream_panic{site=\"a\"} 1\n"), "{metrics}");
    edge.log_has("main.error.log", "more than half of the targets").await;
}

#[tokio::test]
async fn what_is_known_of_targets_outlives_a_change_of_the_site() {
    let edge = TestEdge::start().await;
    let two = Backend::several::<2>().await.unwrap();
    let statuses = vec!["500-599".parse().unwrap()];
    let eject = Ejection { failures: 1, lasts: Seconds(60), statuses, ..Ejection::default() };
    let mut upstream = Upstream { eject: Some(eject), ..of(&two) };
    put(&edge, upstream.clone()).await;
    two[0].behave(Behaviour { status: 500, ..Behaviour::default() });
    for _ in 0..2 {
        edge.get("a.example", "/").await;
    }
    upstream.timeouts.first_byte = Seconds(7);
    put(&edge, upstream).await;
    for _ in 0..10 {
        assert_eq!(edge.get("a.example", "/").await.status, 200, "it is still out");
    }
}

/// An application may close a connection at any moment between two requests. What it did not answer
/// is asked again where that is safe, and nothing is done twice.
#[tokio::test]
async fn connections_that_close_at_will_duplicate_nothing_and_lose_no_get() {
    const CLIENTS: usize = 8;
    const EACH: usize = 150;
    let edge = TestEdge::start().await;
    let backend = Backend::start().await.unwrap();
    backend.behave(Behaviour { closes_after: Some(3), ..Behaviour::default() });
    put(&edge, Upstream::of(tcp(backend.address()))).await;
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
        clients.spawn(async move {
            let mut failed_gets = 0;
            for n in 0..EACH {
                let path = format!("/{number}/{n}");
                send(&mut client, request("POST", "a.example", &path, "pay")).await;
                let answer = send(&mut client, request("GET", "a.example", &path, "")).await;
                failed_gets += usize::from(answer.status != 200);
            }
            failed_gets
        });
    }
    assert_eq!(clients.join_all().await.into_iter().sum::<usize>(), 0, "GETs failed");
    let seen = backend.seen();
    let twice = seen.iter().filter(|(asked, times)| asked.starts_with("POST") && **times > 1);
    assert_eq!(twice.count(), 0);
    let posts = seen.keys().filter(|asked| asked.starts_with("POST")).count();
    assert!(posts > CLIENTS * EACH * 9 / 10, "most arrived: {posts}");
}

/// Only what was under way when a target died may fail.
#[tokio::test]
async fn a_target_that_dies_again_and_again_costs_what_was_in_flight() {
    const CLIENTS: usize = 8;
    let edge = TestEdge::start().await;
    let two = Arc::new(Backend::several::<2>().await.unwrap());
    let thinks = Duration::from_millis(2);
    for backend in two.iter() {
        backend.behave(Behaviour { thinks, ..Behaviour::default() });
    }
    put(&edge, of(two.as_slice())).await;
    let (over, outstanding) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS {
        let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
        let (over, outstanding) = (Arc::clone(&over), Arc::clone(&outstanding));
        clients.spawn(async move {
            let (mut failed, mut asked) = ((0, 0), 0);
            while !over.load(Ordering::SeqCst) {
                let method = if (asked + number) % 2 == 0 { "GET" } else { "POST" };
                outstanding.fetch_add(1, Ordering::SeqCst);
                let body = if method == "GET" { "" } else { "pay" };
                let answer = send(&mut client, request(method, "a.example", "/", body)).await;
                outstanding.fetch_sub(1, Ordering::SeqCst);
                asked += 1;
                let is_failed = usize::from(answer.status != 200);
                if method == "GET" { failed.0 += is_failed } else { failed.1 += is_failed }
            }
            (failed, asked)
        });
    }
    let mut at_deaths = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(200));
    tick.tick().await;
    for _ in 0..8 {
        tick.tick().await;
        at_deaths += outstanding.load(Ordering::SeqCst).max(1);
        two[0].die().await;
        tick.tick().await;
        two[0].revive().await.unwrap();
    }
    over.store(true, Ordering::SeqCst);
    let (mut gets, mut posts, mut all) = (0, 0, 0);
    for ((get, post), asked) in clients.join_all().await {
        (gets, posts, all) = (gets + get, posts + post, all + asked);
    }
    assert!(gets + posts <= at_deaths, "{gets} GETs, {posts} POSTs; in flight {at_deaths}");
    assert_eq!(gets, 0, "a GET is tried elsewhere");
    assert!(all > 500, "{all} requests");
}

fn of(backends: &[Backend]) -> Upstream {
    let targets = backends.iter().map(|backend| tcp(backend.address()).into()).collect();
    Upstream::new(targets, UpstreamProtocol::Http1)
}

async fn put(edge: &TestEdge, upstream: Upstream) {
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(upstream))])]).await;
}
