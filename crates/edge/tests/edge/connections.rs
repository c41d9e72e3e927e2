//! Connections to upstreams: for whom they are, how many there are, and how long they are kept.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Response;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use portway_model::{
    Seconds,
    site::{Action, ClientCertificate, ClientKey, Pool, ProxyProtocol, Upstream, UpstreamTls},
};
use portway_policy::bundle::Change;
use portway_testkit::{
    announced::Announced,
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
};

use crate::support::{
    Sent, TestEdge, change, client, eventually, id, request, route, send, sent, site, tcp,
    trusting, upstream, upstream2,
};

#[tokio::test]
async fn the_proxy_protocol_tells_each_client_apart_on_connections_that_are_kept() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    for (version, host) in [(ProxyProtocol::V1, "one.example"), (ProxyProtocol::V2, "two.example")]
    {
        let behind = Announced::start(version, origin.address().unwrap()).await.unwrap();
        let told =
            Upstream { proxy_protocol: Some(version), ..Upstream::of(tcp(behind.address())) };
        edge.put(vec![site(host, &[host], vec![route("/", Action::Proxy(told))])]).await;

        let mut expected = Vec::new();
        for _ in 0..2 {
            let stream = TcpStream::connect(edge.http()).await.unwrap();
            expected.push(announced(version, stream.local_addr().unwrap(), edge.http()));
            let mut client = client(stream).await;
            for _ in 0..3 {
                assert_eq!(send(&mut client, request("GET", host, "/", "")).await.status, 200);
            }
        }

        assert_eq!(behind.heard(), expected, "each once, in the order of their arrival");
    }
}

#[tokio::test]
async fn the_proxy_protocol_tells_the_client_that_a_trusted_proxy_told() {
    let edge = TestEdge::start().await;
    let settings = Some(trusting(&["127.0.0.0/8"]));
    edge.change(Change { settings, ..change() }).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let v1 = ProxyProtocol::V1;
    let behind = Announced::start(v1, origin.address().unwrap()).await.unwrap();
    let told = Upstream { proxy_protocol: Some(v1), ..Upstream::of(tcp(behind.address())) };
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(told))])]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    for visitor in ["192.0.2.7", "192.0.2.8", "192.0.2.7"] {
        let mut asked = request("GET", "a.example", "/", "");
        asked.headers_mut().insert("x-forwarded-for", visitor.parse().unwrap());
        assert_eq!(send(&mut client, asked).await.status, 200);
    }

    let port = edge.http().port();
    let line = |visitor| format!("PROXY TCP4 {visitor} 127.0.0.1 0 {port}\r\n").into_bytes();
    assert_eq!(behind.heard(), [line("192.0.2.7"), line("192.0.2.8")]);
}

#[tokio::test]
async fn an_upstream_that_asks_for_a_certificate_gets_the_declared_one() {
    let edge = TestEdge::start().await;
    let (ca, other) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let origin =
        Origin::tcp(Speaks::Tls(ca.demanding_server("app.internal").unwrap())).await.unwrap();
    let with = |authority: &TestCa, client: Option<ClientCertificate>| {
        let ca_pem = Some(authority.root_pem());
        let server_name = Some("app.internal".to_owned());
        let tls = Some(UpstreamTls { verify: true, ca_pem, server_name });
        Action::Proxy(Upstream { tls, client, ..upstream(&origin) })
    };
    let routes = vec![
        route("/known", with(&ca, Some(client_certificate(&ca)))),
        route("/nobody", with(&ca, None)),
        route("/stranger", with(&ca, Some(client_certificate(&other)))),
        route("/elsewhere", with(&other, Some(client_certificate(&ca)))),
    ];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    for _ in 0..4 {
        assert_eq!(edge.get("a.example", "/known").await.status, 200);
    }
    for (path, reason) in [
        ("/nobody", "CertificateRequired"),
        ("/stranger", "received fatal alert"),
        ("/elsewhere", "its certificate is not accepted; `tls` names the authority"),
    ] {
        let refused = edge.get("a.example", path).await;
        assert_eq!(refused.status, 502, "{path}");
        let line = edge.log_has("main.error.log", refused.header("x-request-id")).await;
        assert!(line.contains(reason), "{path}: {line}");
    }
}

#[tokio::test]
async fn a_key_that_does_not_belong_to_its_certificate_is_refused_with_its_field() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut wrong = client_certificate(&ca);
    wrong.key = client_certificate(&ca).key;
    let tls = Some(UpstreamTls { verify: true, ca_pem: None, server_name: None });
    let wrong = Upstream { tls, client: Some(wrong), ..upstream(&origin) };
    let put = vec![site("a", &["a.example"], vec![route("/", Action::Proxy(wrong))])];

    let report = edge.change(Change { put, ..change() }).await;

    let findings = format!("{:?}", report.refused);
    assert!(findings.contains("the key does not belong"), "{findings}");
    assert!(findings.contains("client_key"), "{findings}");
}

#[tokio::test]
async fn no_more_connections_are_opened_than_may_be_and_the_others_wait_for_them() {
    let edge = TestEdge::start().await;
    let gate = Gate::start().await;
    let pool = Pool { max_connections: Some(2), ..Pool::default() };
    let bounded = Upstream { pool, ..Upstream::of(tcp(gate.address)) };
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(bounded))])]).await;
    let address = edge.http();
    let ask = || async move {
        let mut client = client(TcpStream::connect(address).await.unwrap()).await;
        send(&mut client, request("GET", "a.example", "/", "")).await.status
    };
    // Both worker threads come to have clients.
    let asking: Vec<_> = (0..24).map(|_| tokio::spawn(ask())).collect();
    gate.waiting(2).await;

    for _ in 0..24 {
        gate.open.add_permits(1);
    }
    for asked in asking {
        assert_eq!(asked.await.unwrap(), 200);
    }

    assert_eq!(gate.state.most_open.load(Ordering::SeqCst), 2);
    assert_eq!(gate.state.answered.load(Ordering::SeqCst), 24);
}

#[tokio::test]
async fn a_connection_that_none_becomes_free_for_is_503_in_time() {
    let edge = TestEdge::start().await;
    let gate = Gate::start().await;
    let pool = Pool { max_connections: Some(1), ..Pool::default() };
    let mut bounded = Upstream { pool, ..Upstream::of(tcp(gate.address)) };
    bounded.timeouts.connect = Seconds(1);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(bounded))])]).await;
    let address = edge.http();
    let hanging = tokio::spawn(async move {
        let mut client = client(TcpStream::connect(address).await.unwrap()).await;
        send(&mut client, request("GET", "a.example", "/", "")).await.status
    });
    gate.waiting(1).await;

    let full = edge.get("a.example", "/").await;

    assert_eq!((full.status, full.header("retry-after").is_empty()), (503, false));
    edge.log_has("main.error.log", "there are 1 connections to it, and none became free").await;
    gate.open.add_permits(2);
    assert_eq!(hanging.await.unwrap(), 200);
    assert_eq!(edge.get("a.example", "/").await.status, 200);
}

#[tokio::test]
async fn a_connection_carries_as_many_requests_as_it_may() {
    let edge = TestEdge::start().await;
    let (h1, h2) =
        (Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::H2c).await.unwrap());
    let pool = Pool { max_requests: Some(2), ..Pool::default() };
    let one = Upstream { pool, ..upstream(&h1) };
    let two = Upstream { pool, ..upstream2(&h2) };
    let routes = vec![route("/", Action::Proxy(one)), route("/h2", Action::Proxy(two))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    for path in ["/", "/h2"].repeat(6) {
        assert_eq!(send(&mut client, request("GET", "a.example", path, "")).await.status, 200);
    }

    assert_eq!((h1.connections(), h2.connections()), (3, 3));
}

#[tokio::test]
async fn unused_connections_are_closed_in_time_and_when_there_are_too_many() {
    let edge = TestEdge::start().await;
    let (brief, none) =
        (Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::Http1).await.unwrap());
    let shared = Origin::tcp(Speaks::H2c).await.unwrap();
    let brief_pool = Pool { idle_timeout: Seconds(1), ..Pool::default() };
    let with = |origin, pool| Upstream { pool, ..upstream(origin) };
    let h2c = Upstream { pool: brief_pool, ..upstream2(&shared) };
    let routes = vec![
        route("/brief", Action::Proxy(with(&brief, brief_pool))),
        route("/none", Action::Proxy(with(&none, Pool { max_idle: 0, ..Pool::default() }))),
        route("/shared", Action::Proxy(h2c)),
    ];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    for path in ["/brief", "/none", "/shared"].repeat(3) {
        assert_eq!(send(&mut client, request("GET", "a.example", path, "")).await.status, 200);
    }

    assert_eq!((brief.connections(), none.connections(), shared.connections()), (1, 3, 1));
    let open = || brief.open_connections() + none.open_connections() + shared.open_connections();
    eventually("all are closed", || (open() == 0).then_some(())).await;
}

#[tokio::test]
async fn connections_to_a_target_that_a_change_took_away_are_closed_soon() {
    let edge = TestEdge::start().await;
    let (gone, stays) =
        (Origin::tcp(Speaks::Http1).await.unwrap(), Origin::tcp(Speaks::H2c).await.unwrap());
    let put = vec![
        site("gone", &["gone.example"], vec![route("/", Action::Proxy(upstream(&gone)))]),
        site("stays", &["stays.example"], vec![route("/", Action::Proxy(upstream2(&stays)))]),
    ];
    edge.put(put).await;
    for host in ["gone.example", "stays.example"] {
        assert_eq!(edge.get(host, "/").await.status, 200);
    }
    assert_eq!((gone.open_connections(), stays.open_connections()), (1, 1));

    edge.change(Change { remove: vec![id("gone")], ..change() }).await;

    eventually("it is closed", || (gone.open_connections() == 0).then_some(())).await;
    assert_eq!(stays.open_connections(), 1);
}

fn announced(version: ProxyProtocol, from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let (from, to) = (from.port(), to.port());
    match version {
        ProxyProtocol::V1 => format!("PROXY TCP4 127.0.0.1 127.0.0.1 {from} {to}\r\n").into(),
        ProxyProtocol::V2 => [
            &b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x01\x7f\0\0\x01"[..],
            &from.to_be_bytes(),
            &to.to_be_bytes(),
        ]
        .concat(),
    }
}

/// An application that answers as often as it is allowed to.
struct Gate {
    address: SocketAddr,
    open: Arc<Semaphore>,
    state: Arc<GateState>,
}

#[derive(Default)]
struct GateState {
    waiting: AtomicUsize,
    answered: AtomicUsize,
    open: AtomicUsize,
    most_open: AtomicUsize,
}

impl Gate {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let gate = Self { address, open: Arc::new(Semaphore::new(0)), state: Arc::default() };
        let (open, state) = (Arc::clone(&gate.open), Arc::clone(&gate.state));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&open), Arc::clone(&state)));
            }
        });
        gate
    }

    async fn waiting(&self, count: usize) {
        let waiting = || self.state.waiting.load(Ordering::SeqCst);
        eventually("requests wait", || (waiting() == count).then_some(())).await;
    }
}

async fn converse(stream: TcpStream, gate: Arc<Semaphore>, state: Arc<GateState>) {
    let open = state.open.fetch_add(1, Ordering::SeqCst) + 1;
    state.most_open.fetch_max(open, Ordering::SeqCst);
    let counted = Arc::clone(&state);
    let service = service_fn(move |_| {
        let (gate, state) = (Arc::clone(&gate), Arc::clone(&state));
        async move {
            state.waiting.fetch_add(1, Ordering::SeqCst);
            gate.acquire().await.unwrap().forget();
            state.waiting.fetch_sub(1, Ordering::SeqCst);
            state.answered.fetch_add(1, Ordering::SeqCst);
            Ok::<Response<Sent>, std::io::Error>(Response::new(sent(b"ok".to_vec())))
        }
    });
    let served = hyper::server::conn::http1::Builder::new();
    served.serve_connection(TokioIo::new(stream), service).await.ok();
    counted.open.fetch_sub(1, Ordering::SeqCst);
}

fn client_certificate(ca: &TestCa) -> ClientCertificate {
    let issued = ca.issue(&["edge"]).unwrap();
    ClientCertificate { chain_pem: issued.chain_pem, key: ClientKey::Pem(issued.key_pem) }
}
