//! Bodies that are read ahead: of slow clients before a target is taken, and for slow readers after it
//! was.

use std::time::Duration;

use bytes::Bytes;
use camino::Utf8Path;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use portway_model::{
    ByteSize,
    site::{Action, Queue, Upstream, UpstreamProtocol},
};
use portway_policy::bundle::Change;
use portway_testkit::{
    backend::{Backend, Behaviour},
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
};

use super::support::*;

#[tokio::test]
async fn a_body_is_read_before_a_target_is_taken_and_has_a_length() {
    let (edge, origin) = proxied(|_| {}).await;
    for (head, first, last) in [
        ("content-length: 6", "abc", "def"),
        ("transfer-encoding: chunked", "3\r\nabc\r\n", "3\r\ndef\r\n0\r\n\r\n"),
    ] {
        let before = origin.seen().len();
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        let head = format!("POST / HTTP/1.1\r\nhost: a.example\r\n{head}\r\n\r\n{first}");
        stream.write_all(head.as_bytes()).await.unwrap();
        eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes > 0).await;
        assert_eq!(origin.seen().len(), before, "no target is taken yet");
        stream.write_all(last.as_bytes()).await.unwrap();
        let answer = read_answer(&mut stream).await;
        let echo: Echo = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
        assert_eq!((echo.body.as_str(), echo.headers["content-length"].as_str()), ("abcdef", "6"));
        assert!(!echo.headers.contains_key("transfer-encoding"), "{echo:?}");
    }
    eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes == 0).await;
}

#[tokio::test]
async fn over_http2_a_slow_body_takes_no_target_either() {
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let ca = put_https(&edge, upstream(&origin)).await;
    let mut client = client2(tls(edge.https(), &ca, "a.example", &["h2"]).await.unwrap()).await;
    let (pieces, body) = pieces();
    let asked = Request::post("https://a.example/").header("content-length", "6").body(body);
    let answered = tokio::spawn(client.send_request(asked.unwrap()));
    pieces.send("abc").unwrap();
    eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes > 0).await;
    assert_eq!(origin.connections(), 0);
    pieces.send("def").unwrap();
    drop(pieces);
    let echo = read(answered.await.unwrap().unwrap()).await.echoed();
    assert_eq!((echo.body.as_str(), echo.headers["content-length"].as_str()), ("abcdef", "6"));
}

#[tokio::test]
async fn larger_bodies_and_those_of_upstreams_without_a_buffer_stream() {
    for (buffer, first) in [(0, 1), (1000, 1001)] {
        let (edge, origin) = proxied(|upstream| upstream.buffer = ByteSize(buffer)).await;
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        let head = "POST /sink HTTP/1.1\r\nhost: a.example\r\ncontent-length: 2000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; first]).await.unwrap();
        eventually("the target", || (origin.connections() == 1).then_some(())).await;
        stream.write_all(&vec![b'x'; 2000 - first]).await.unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.ends_with("2000"), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_leave_gets_it_before_a_target_is_taken() {
    let (edge, origin) = proxied(|_| {}).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head =
        "PUT / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 3\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    assert_eq!(&leave, b"HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(origin.connections(), 0);
    stream.write_all(b"abc").await.unwrap();
    assert!(read_answer(&mut stream).await.contains(r#""body":"abc""#));
}

#[tokio::test]
async fn a_client_that_goes_away_in_its_body_costs_no_target_and_is_told_of() {
    let (edge, origin) = proxied(|_| {}).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nhost: a.example\r\ncontent-length: 6\r\n\r\nabc";
    stream.write_all(head.as_bytes()).await.unwrap();
    eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes > 0).await;
    drop(stream);
    edge.log_has("main.error.log", "client_gone").await;
    let line = edge.log_has("main.access.log", r#""status":499"#).await;
    assert!(line.contains(r#""bytes_in":3"#), "{line}");
    eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes == 0).await;
    assert_eq!(origin.connections(), 0);
}

#[tokio::test]
async fn a_put_whose_body_was_read_is_sent_to_another_target_and_a_post_is_not() {
    let edge = TestEdge::start().await;
    let body = "x".repeat(100_000);
    for (method, statuses) in [("PUT", [200, 200]), ("DELETE", [200, 200]), ("POST", [200, 502])] {
        let [dropping, sound] = Backend::several::<2>().await.unwrap();
        dropping.behave(Behaviour { drops: true, ..Behaviour::default() });
        let targets = [&dropping, &sound].map(|backend| tcp(backend.address()).into());
        put(&edge, Upstream::new(targets.to_vec(), UpstreamProtocol::Http1)).await;
        let mut got = [0; 2];
        for status in &mut got {
            *status = edge.ask(request(method, "a.example", "/", &body)).await.status;
        }
        got.sort_unstable();
        assert_eq!(got, statuses, "{method}");
        let answered = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(sound.requests(), answered, "{method}");
        assert!(dropping.requests() > 0, "{method} came to who drops it");
        if method == "POST" {
            assert_eq!(dropping.requests() + sound.requests(), 2, "each came once");
        }
    }
}

#[tokio::test]
async fn the_memory_of_all_bodies_is_bounded_and_what_finds_none_streams() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = Utf8Path::from_path(temporary.path()).unwrap().to_owned();
    let edge = TestEdge::start_in(dir, |config| config.body_memory = 200_000).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    put(&edge, upstream(&origin)).await;
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        let head = "POST /sink HTTP/1.1\r\nhost: a.example\r\ncontent-length: 60000\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&vec![b'x'; 50_000]).await.unwrap();
        clients.push(stream);
    }
    eventually_metric(&edge, "portway_edge_body_memory_refused_total", |count| count >= 10).await;
    eventually("targets", || (origin.connections() >= 10).then_some(())).await;
    let used = metric(&edge, "portway_edge_body_memory_bytes").await;
    assert!((50_000..400_000).contains(&used), "{used} bytes");
    for stream in &mut clients {
        stream.write_all(&vec![b'x'; 10_000]).await.unwrap();
        assert!(read_answer(stream).await.ends_with("60000"));
    }
    eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes == 0).await;
}

#[tokio::test]
async fn an_answer_is_read_ahead_of_a_slow_reader_and_its_place_is_free() {
    const SIZE: u64 = 20_000_000;
    for (buffer, free) in [(30_000_000, true), (0, false)] {
        let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
        let one = Upstream {
            max_in_flight: Some(1),
            queue: free.then(Queue::default),
            buffer: ByteSize(buffer),
            ..upstream(&origin)
        };
        let ca = put_https(&edge, one).await;
        let ask = format!("/big/{SIZE}");

        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(edge.http()).await.unwrap();
        let mut slow = client(stream).await;
        let slow = slow.send_request(request("GET", "b.example", &ask, "")).await.unwrap();
        assert_eq!(edge.get("b.example", "/").await.status, if free { 200 } else { 503 });

        let stream = tls(edge.https(), &ca, "a.example", &["h2"]).await.unwrap();
        let mut client = client2(stream).await;
        let asked =
            |path: &str| Request::get(format!("https://a.example{path}")).body(sent(vec![]));
        let slow2 = client.send_request(asked(&ask).unwrap()).await.unwrap();
        let second = client.send_request(asked("/").unwrap()).await.unwrap();
        assert_eq!(second.status(), if free { 200 } else { 503 });
        if free {
            // Nothing is lost of what waited in memory.
            for slow in [slow, slow2] {
                let body = slow.into_body().collect().await.unwrap().to_bytes();
                assert_eq!(body.len() as u64, SIZE);
            }
            eventually_metric(&edge, "portway_edge_body_memory_bytes", |bytes| bytes == 0).await;
        }
    }
}

/// An edge before an application, with settings of its own.
async fn proxied(edit: impl FnOnce(&mut Upstream)) -> (TestEdge, Origin) {
    let (edge, origin) = (TestEdge::start().await, Origin::tcp(Speaks::Http1).await.unwrap());
    let mut upstream = upstream(&origin);
    edit(&mut upstream);
    put(&edge, upstream).await;
    (edge, origin)
}

async fn put(edge: &TestEdge, upstream: Upstream) {
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(upstream))])]).await;
}

/// Serves it as `a.example` over HTTPS and as `b.example` without.
async fn put_https(edge: &TestEdge, upstream: Upstream) -> TestCa {
    let ca = TestCa::new().unwrap();
    let own = certificate(&ca, &["a.example"]);
    let routes = || vec![route("/", Action::Proxy(upstream.clone()))];
    let put = vec![
        with_https(site("a", &["a.example"], routes()), &own),
        site("b", &["b.example"], routes()),
    ];
    let report = edge.change(Change { put, certificates: vec![own], ..change() }).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
    ca
}

/// A body of pieces, each sent when it is told.
fn pieces() -> (mpsc::UnboundedSender<&'static str>, Sent) {
    let (tell, mut told) = mpsc::unbounded_channel();
    let frames = futures_util::stream::poll_fn(move |cx| {
        told.poll_recv(cx).map(|piece: Option<&'static str>| {
            piece.map(|piece| Ok(Frame::data(Bytes::from_static(piece.as_bytes()))))
        })
    });
    (tell, StreamBody::new(frames).boxed_unsync())
}

/// Reads an answer that says how long it is.
async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        loop {
            let text = String::from_utf8_lossy(&answer).to_lowercase();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let length = head.split("content-length: ").nth(1).unwrap();
                if body.len() == length.lines().next().unwrap().parse::<usize>().unwrap() {
                    break;
                }
            }
            assert_ne!(stream.read_buf(&mut answer).await.unwrap(), 0, "{text}");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), reading).await.expect("no answer in time");
    String::from_utf8(answer).unwrap()
}

async fn metric(edge: &TestEdge, name: &str) -> u64 {
    let text = edge.control("GET", "/v1/metrics", vec![]).await.1;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().unwrap()
}

async fn eventually_metric(edge: &TestEdge, name: &str, holds: impl Fn(u64) -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    loop {
        let value = metric(edge, name).await;
        if holds(value) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{name} stays {value}");
        tokio::task::yield_now().await;
    }
}
