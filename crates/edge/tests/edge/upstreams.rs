//! Upstreams that are gone, slow, full, forbidden, or speak something else than HTTP/1.1.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portway_model::{
    Seconds,
    site::{Action, HostHeader, Target, Upstream, UpstreamProtocol, UpstreamTls},
};
use portway_policy::NetworkGuard;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    TestEdge, client, eventually, request, respond, route, send, site, tcp, to, upstream,
};

#[tokio::test]
async fn a_socket_that_is_gone_is_502_and_back_again_is_200() {
    let edge = TestEdge::start().await;
    let socket = edge.dir.join("app.sock");
    let put = vec![
        site("a", &["a.example"], vec![route("/", unix(socket.as_str()))]),
        site("b", &["b.example"], vec![route("/", respond("b"))]),
    ];
    edge.put(put).await;

    let mut asked = request("GET", "a.example", "/", "");
    asked.headers_mut().insert("accept", "application/json".parse().unwrap());
    let gone = edge.ask(asked).await;
    assert_eq!(gone.status, 502);
    assert_eq!(gone.header("content-type"), "application/problem+json");
    assert!(gone.body.contains(gone.header("x-request-id")));
    assert!(!gone.body.contains("app.sock"), "{}", gone.body);
    let line = edge.log_has("main.error.log", gone.header("x-request-id")).await;
    assert!(line.contains("app.sock"), "{line}");
    assert_eq!(edge.get("b.example", "/").await.body, "b");

    let origin = Origin::unix(socket.as_std_path()).unwrap();
    assert_eq!(edge.get("a.example", "/").await.status, 200);
    drop(origin);
    std::fs::remove_file(&socket).unwrap();
    // Each worker may have kept a connection, which the origin's end closed.
    for _ in 0..8 {
        assert_eq!(edge.get("a.example", "/").await.status, 502);
    }
    let _origin = Origin::unix(socket.as_std_path()).unwrap();
    assert_eq!(edge.get("a.example", "/").await.status, 200);
}

#[tokio::test]
async fn a_post_is_never_sent_twice_and_a_get_is_repeated() {
    let edge = TestEdge::start().await;
    let (address, posts) = fickle().await;
    let action = Action::Proxy(Upstream::of(tcp(address)));
    edge.put(vec![site("a", &["a.example"], vec![route("/", action)])]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    // The first request opens a connection, over which the fickle origin then drops the next one.
    assert_eq!(send(&mut client, request("GET", "a.example", "/", "")).await.status, 200);
    assert_eq!(send(&mut client, request("GET", "a.example", "/", "")).await.status, 200);
    let post = send(&mut client, request("POST", "a.example", "/", "pay")).await;
    assert_eq!(post.status, 502);
    assert_eq!(posts.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn targets_take_turns_and_the_next_one_answers_for_one_that_is_down() {
    let edge = TestEdge::start().await;
    let (one, two) =
        (Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::Http1).await.unwrap());
    let addresses = [one.address().unwrap(), two.address().unwrap(), closed_port().await];
    let targets = addresses.map(|address| tcp(address).into());
    let both = Upstream::new(targets.into(), UpstreamProtocol::Http1);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(both))])]).await;

    for _ in 0..12 {
        assert_eq!(edge.get("a.example", "/").await.status, 200);
    }
    assert!(one.seen().len() >= 4 && two.seen().len() >= 4);
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(metrics.contains("portway_edge_upstream_up"), "{metrics}");
}

#[tokio::test]
async fn an_upstream_that_does_not_answer_in_time_is_504() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut hasty = upstream(&origin);
    hasty.timeouts.first_byte = Seconds(1);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(hasty))])]).await;

    let answer = edge.get("a.example", "/hang").await;
    assert_eq!(answer.status, 504);
    eventually("the connection is closed", || (origin.open_connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_full_upstream_is_503_with_retry_after_until_one_is_done() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut small = upstream(&origin);
    small.max_in_flight = Some(1);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(small))])]).await;
    let mut first = client(TcpStream::connect(edge.http()).await.unwrap()).await;
    let hanging = tokio::spawn(async move {
        let asked = request("GET", "a.example", "/hang", "");
        first.send_request(asked).await.is_ok()
    });
    eventually("the first request", || (!origin.seen().is_empty()).then_some(())).await;

    let full = edge.get("a.example", "/").await;
    assert_eq!(full.status, 503);
    assert!(!full.header("retry-after").is_empty());
    hanging.abort();
    eventually("the place is free", || (origin.open_connections() == 0).then_some(())).await;
    let mut last = 503;
    while last == 503 {
        last = edge.get("a.example", "/").await.status;
    }
    assert_eq!(last, 200);
}

#[tokio::test]
async fn a_guard_keeps_a_site_from_dialling_what_its_owner_may_not() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let socket = edge.dir.join("app.sock");
    let _unix = Origin::unix(socket.as_std_path()).unwrap();
    let guard = NetworkGuard { allowed: vec![], denied: vec!["127.0.0.0/8".parse().unwrap()] };
    let named = Upstream::of(Target::Tcp(
        format!("localhost:{}", origin.address().unwrap().port()).parse().unwrap(),
    ));
    let free = site("free", &["free.example"], vec![route("/", to(&origin))]);
    let mut bound = site(
        "bound",
        &["bound.example"],
        vec![
            route("/", to(&origin)),
            route("/unix", unix(socket.as_str())),
            route("/name", Action::Proxy(named)),
        ],
    );
    bound.guard = Some(guard);
    edge.put(vec![free, bound]).await;

    // A connection that the free site left behind must not serve the bound one.
    for _ in 0..4 {
        assert_eq!(edge.get("free.example", "/").await.status, 200);
        let answer = edge.get("bound.example", "/").await;
        assert_eq!(answer.status, 502);
        assert!(!answer.body.contains("bounds"), "{}", answer.body);
    }
    assert_eq!(edge.get("bound.example", "/unix").await.status, 502);
    let before = origin.seen().len();
    assert_eq!(edge.get("bound.example", "/name").await.status, 502);
    assert_eq!(origin.seen().len(), before);
    edge.log_has("main.error.log", "outside the bounds").await;
}

#[tokio::test]
async fn h2c_carries_many_requests_over_few_connections() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::H2c).await.unwrap();
    let target = tcp(origin.address().unwrap()).into();
    let h2c = Upstream::new(vec![target], UpstreamProtocol::H2c);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(h2c))])]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    for n in 0..20 {
        let answer = send(&mut client, request("POST", "a.example", "/x", &n.to_string())).await;
        assert_eq!(answer.echoed().body, n.to_string());
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn tls_to_an_upstream_is_verified_unless_told_otherwise() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let origin = Origin::tcp(Speaks::Tls(ca.server("app.internal", &[]).unwrap())).await.unwrap();
    let with = |tls: UpstreamTls| {
        let mut upstream = upstream(&origin);
        upstream.tls = Some(tls);
        upstream.host = HostHeader::Set("app.internal".into());
        Action::Proxy(upstream)
    };
    let verified =
        |ca_pem, name: &str| UpstreamTls { verify: true, ca_pem, server_name: Some(name.into()) };
    let routes = vec![
        route("/right", with(verified(Some(ca.root_pem()), "app.internal"))),
        route("/name", with(verified(Some(ca.root_pem()), "other.internal"))),
        route("/machine", with(verified(None, "app.internal"))),
        route("/anyone", with(UpstreamTls { verify: false, ca_pem: None, server_name: None })),
    ];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    let right = edge.get("a.example", "/right").await;
    assert_eq!(right.echoed().headers["host"], "app.internal");
    assert_eq!(edge.get("a.example", "/name").await.status, 502);
    assert_eq!(edge.get("a.example", "/machine").await.status, 502);
    assert_eq!(edge.get("a.example", "/anyone").await.status, 200);
}

fn unix(path: &str) -> Action {
    Action::Proxy(Upstream::of(Target::Unix(path.into())))
}

async fn closed_port() -> std::net::SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// An origin that answers the first request of a connection and hangs up on the second.
async fn fickle() -> (std::net::SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let posts = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&posts);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(be_fickle(stream, Arc::clone(&counter)));
        }
    });
    (address, posts)
}

async fn be_fickle(mut stream: TcpStream, posts: Arc<AtomicUsize>) -> io::Result<()> {
    for answered in [true, false] {
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).await?;
            head.extend(byte);
        }
        posts.fetch_add(usize::from(head.starts_with(b"POST")), Ordering::SeqCst);
        if answered {
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
        } else {
            // What was sent is read, so that the end arrives as an end and not as a reset.
            let mut rest = [0; 1024];
            let reading = stream.read(&mut rest);
            tokio::time::timeout(Duration::from_millis(50), reading).await.ok();
        }
    }
    Ok(())
}
