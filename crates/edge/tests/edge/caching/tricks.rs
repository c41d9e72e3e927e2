//! Cache deception and poisoning: an application that answers each user with their own page wherever it
//! can be made to, and strangers who try to be given, or to plant, what is somebody else's.

use std::{collections::BTreeSet, net::SocketAddr};

use http::Request;
use portway_model::site::{Cache, CookieRule};
use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use tokio::net::TcpStream;

use super::{
    HOST, keeping,
    planned::{Asked, Plan, Planned},
    ten_minutes,
};
use crate::support::{Answer, Sent, TestEdge, client, request, send, site};

/// A way to ask for an own page so that a cache may take it for everybody's.
type Trick = (&'static str, &'static str, &'static [(&'static str, &'static str)]);

const TRICKS: [Trick; 44] = [
    ("GET", "/account", &[]),
    ("GET", "/account/x.css", &[]),
    ("GET", "/account/x.js", &[]),
    ("GET", "/account.png", &[]),
    ("GET", "/account/..%2fstatic%2fx.css", &[]),
    ("GET", "/static/..%2faccount", &[]),
    ("GET", "/account%2fx.css", &[]),
    ("GET", "/account;x.css", &[]),
    ("GET", "/account%3bx.css", &[]),
    ("GET", "/account%3fx.css", &[]),
    ("GET", "/account%23x.css", &[]),
    ("GET", "/account%0ax.css", &[]),
    ("GET", "/account%00x.css", &[]),
    ("GET", "/account%20x.css", &[]),
    ("GET", "/account%09.css", &[]),
    ("GET", "/account.", &[]),
    ("GET", "/account..", &[]),
    ("GET", "/account/", &[]),
    ("GET", "/account//", &[]),
    ("GET", "/account/.", &[]),
    ("GET", "/account/x/../y.css", &[]),
    ("GET", "/ACCOUNT", &[]),
    ("GET", "/%61ccount", &[]),
    ("GET", "/account?x.css", &[]),
    ("GET", "/account?utm_content=1;user=ann", &[]),
    ("GET", "/account?a=1&a=2", &[]),
    ("GET", "/account?", &[]),
    ("GET", "/static/x.css", &[("x-original-url", "/account")]),
    ("GET", "/static/x.css", &[("x-rewrite-url", "/account")]),
    ("GET", "/static/x.css", &[("x-forwarded-uri", "/account")]),
    ("GET", "/static/x.css", &[("x-http-method-override", "POST")]),
    ("GET", "/static/x.css", &[("x-forwarded-host", "evil.example")]),
    ("GET", "/static/x.css", &[("x-forwarded-scheme", "http")]),
    ("GET", "/static/x.css", &[("x-host", "evil.example")]),
    ("GET", "/static/x.css", &[("forwarded", "host=evil.example")]),
    ("GET", "/static/x.css", &[("connection", "cookie")]),
    ("GET", "/account", &[("connection", "cookie, authorization")]),
    ("GET", "/account", &[("cache-control", "max-stale=999")]),
    ("GET", "/account", &[("cache-control", "only-if-cached")]),
    ("GET", "/account", &[("range", "bytes=0-3")]),
    ("GET", "/account", &[("if-none-match", "*")]),
    ("HEAD", "/account", &[]),
    ("OPTIONS", "/account", &[]),
    ("POST", "/account", &[]),
];

/// How a user says who they are.
#[derive(Clone, Copy, Debug)]
enum Says {
    Cookie,
    Authorization,
    Nothing,
}

/// Answers with the asker's own page wherever the path, or what a header makes of it, begins like one.
/// It says nothing of caches, or what it should not: that its pages have a time.
fn careless(asked: &Asked) -> Plan {
    let user = user(asked);
    let by_header = ["x-original-url", "x-rewrite-url", "x-forwarded-uri"];
    let path = by_header.iter().map(|name| asked.header(name)).find(|path| !path.is_empty());
    let path = path.unwrap_or(&asked.target).to_ascii_lowercase();
    let reflected = ["x-forwarded-scheme", "x-host", "x-http-method-override"];
    let reflected = reflected.iter().map(|name| asked.header(name)).collect::<String>();
    let body = if path.contains("account") || !reflected.is_empty() {
        format!("page of {user} {reflected}")
    } else {
        "page of all".to_owned()
    };
    let timed = asked.target.len().is_multiple_of(2);
    let headers: &[_] = if timed { &[("cache-control", "max-age=600")] } else { &[] };
    Plan::of(body, headers)
}

fn user(asked: &Asked) -> String {
    let cookie = asked.header("cookie").strip_prefix("sid=").map(str::to_owned);
    let authorization = asked.header("authorization").strip_prefix("Bearer ").map(str::to_owned);
    cookie.or(authorization).unwrap_or_else(|| "nobody".to_owned())
}

fn asking(trick: &Trick, user: &str, says: Says) -> Request<Sent> {
    let (method, path, headers) = trick;
    let mut request = request(method, HOST, path, "");
    for (name, value) in *headers {
        request.headers_mut().insert(*name, value.parse().unwrap());
    }
    match says {
        Says::Cookie => {
            request.headers_mut().insert("cookie", format!("sid={user}").parse().unwrap());
        }
        Says::Authorization => {
            let value = format!("Bearer {user}").parse().unwrap();
            request.headers_mut().insert("authorization", value);
        }
        Says::Nothing => {}
    }
    request
}

/// Tells whether an answer shows what is somebody else's, or what another one planted.
fn is_foreign(answer: &Answer, trick: &Trick, user: &str, says: Says) -> bool {
    let Some(rest) = answer.body.strip_prefix("page of ") else { return false };
    let (owner, planted) = rest.split_once(' ').unwrap_or((rest, ""));
    let user = if matches!(says, Says::Nothing) { "nobody" } else { user };
    let planted_by_us = trick.2.iter().any(|(_, value)| *value == planted);
    !(["all", "nobody", user].contains(&owner) && (planted.is_empty() || planted_by_us))
}

/// So many users ask at the same time, so that some wait for what others ask for.
const AT_ONCE: usize = 8;

/// What became of requests.
#[derive(Default)]
struct Outcome {
    /// What was somebody else's.
    foreign: BTreeSet<String>,
    /// How often the cache hit.
    hits: usize,
}

/// Lets many users try all tricks in any order.
async fn try_all(cache: Cache, requests: usize) -> Outcome {
    let origin = Planned::start(careless).await;
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &[HOST], vec![keeping(&origin, cache)])]).await;
    let http = edge.http();
    let trying = (0..AT_ONCE).map(|lane| try_some(http, lane, requests / AT_ONCE));
    let outcomes = futures_util::future::join_all(trying).await;
    outcomes.into_iter().fold(Outcome::default(), |mut all, some| {
        all.foreign.extend(some.foreign);
        all.hits += some.hits;
        all
    })
}

async fn try_some(http: SocketAddr, lane: usize, requests: usize) -> Outcome {
    let mut connection = client(TcpStream::connect(http).await.unwrap()).await;
    let mut random = StdRng::seed_from_u64(u64::try_from(lane).unwrap());
    let mut outcome = Outcome::default();
    for n in 0..requests {
        // Who asks for the same page next is somebody else.
        let trick = &TRICKS[random.random_range(0..TRICKS.len())];
        let user = format!("user{lane}-{n}");
        let says = [Says::Cookie, Says::Authorization, Says::Nothing][random.random_range(0..3)];
        if connection.is_closed() {
            connection = client(TcpStream::connect(http).await.unwrap()).await;
        }
        let answer = send(&mut connection, asking(trick, &user, says)).await;
        outcome.hits += usize::from(answer.header("cache-status").starts_with("portway; hit"));
        if is_foreign(&answer, trick, &user, says) {
            outcome.foreign.insert(format!("{trick:?} as {says:?}: {}", answer.body));
        }
    }
    outcome
}

#[tokio::test]
async fn nobody_is_given_what_is_somebody_elses_by_any_trick() {
    let Outcome { foreign, hits } = try_all(ten_minutes(), 10_000).await;
    assert!(foreign.is_empty(), "{foreign:#?}");
    assert!(hits > 500, "the cache was used at all: {hits}");
}

#[tokio::test]
async fn the_tricks_would_work_on_a_cache_that_is_told_to_ignore_who_asks() {
    let Outcome { foreign, .. } =
        try_all(Cache { cookies: CookieRule::None, ..ten_minutes() }, 1_500).await;
    assert!(foreign.len() > 10, "the test sees what it should: {foreign:#?}");
}
