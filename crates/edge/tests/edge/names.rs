//! Names of upstreams, looked up with a name server that changes its mind.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use portway_model::site::{Action, Target, Upstream};
use portway_testkit::{
    names::{NameServer, Says},
    origin::{Origin, Speaks},
};
use tokio::time::Instant;

use crate::support::{TestEdge, eventually, route, site};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

#[tokio::test]
async fn a_name_that_moves_takes_its_requests_and_kept_connections_along() {
    let names = NameServer::start(Says::Addresses(vec![ONE])).await.unwrap();
    let (edge, _folder) = edge(&names).await;
    let one = Origin::tcp(Speaks::Http1).await.unwrap();
    let port = one.address().unwrap().port();
    let two = Origin::at(SocketAddr::from((TWO, port)), Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to("app.test", port))])]).await;
    assert_eq!(edge.get("a.example", "/").await.status, 200);
    assert_eq!((one.seen().len(), two.seen().len()), (1, 0));

    names.say(Says::Addresses(vec![TWO]));

    let deadline = Instant::now() + Duration::from_secs(20);
    while two.seen().is_empty() {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
        assert!(Instant::now() < deadline, "the new address gets nothing");
    }
    eventually("no connection leads to the old address", || {
        (one.open_connections() == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn an_outage_of_the_name_server_is_not_one_of_the_site() {
    let names = NameServer::start(Says::Addresses(vec![ONE])).await.unwrap();
    let (edge, _folder) = edge(&names).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let port = origin.address().unwrap().port();
    let mut fresh = Upstream::of(target("app.test", port));
    fresh.pool.max_idle = 0;
    let routes = vec![route("/", Action::Proxy(fresh)), route("/new", to("new.test", port))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    // Both worker threads come to know the name.
    while origin.connections() < 40 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }

    names.say(Says::Failure);

    let asked = names.asked();
    while names.asked() < asked + 2 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    let unknown = edge.get("a.example", "/new").await;
    assert_eq!(unknown.status, 502);
    let line = edge.log_has("main.error.log", unknown.header("x-request-id")).await;
    assert!(line.contains("the name servers do not answer"), "{line}");
}

#[tokio::test]
async fn of_several_addresses_the_ones_that_answer_are_used() {
    let names = NameServer::start(Says::Addresses(vec![TWO, ONE])).await.unwrap();
    let (edge, _folder) = edge(&names).await;
    // Nobody listens on the other address.
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let port = origin.address().unwrap().port();
    let mut fresh = Upstream::of(target("app.test", port));
    fresh.pool.max_idle = 0;
    let routes = vec![route("/", Action::Proxy(fresh)), route("/none", to("none.test", port))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    for _ in 0..6 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    names.say(Says::Addresses(vec![]));
    let none = edge.get("a.example", "/none").await;
    assert_eq!(none.status, 502);
    let line = edge.log_has("main.error.log", none.header("x-request-id")).await;
    assert!(line.contains("the name has no address"), "{line}");
}

async fn edge(names: &NameServer) -> (TestEdge, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let dir = camino::Utf8Path::from_path(folder.path()).unwrap().to_owned();
    let address = names.address();
    (TestEdge::start_in(dir, |config| config.name_servers = vec![address]).await, folder)
}

fn target(host: &str, port: u16) -> Target {
    Target::Tcp(format!("{host}:{port}").parse().unwrap())
}

fn to(host: &str, port: u16) -> Action {
    Action::Proxy(Upstream::of(target(host, port)))
}
