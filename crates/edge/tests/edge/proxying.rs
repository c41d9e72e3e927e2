//! Bodies, tunnels and headers on their way through the edge.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use futures_util::stream;
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use hyper_util::rt::TokioIo;
use portway_model::{
    ByteSize, Seconds,
    site::{Action, Upstream},
};
use portway_testkit::origin::{Origin, Speaks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

use crate::support::{
    Sent, TestEdge, client, eventually, read, request, respond, route, send, settled, site, tcp, to,
};

const CHUNK: u64 = 64 * 1024;
const SIZE: u64 = 200 << 20;

#[tokio::test]
async fn large_bodies_stream_both_ways() {
    let (edge, origin) = proxied().await;
    let (upload, _) = endless(SIZE);
    let request = Request::post("/sink").header("host", "a.example").body(upload).unwrap();
    assert_eq!(edge.ask(request).await.body, SIZE.to_string());

    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
    let asked = request_for(&format!("/big/{SIZE}"));
    let mut body = client.send_request(asked).await.unwrap().into_body();
    let mut received = 0;
    while let Some(frame) = body.frame().await {
        received += frame.unwrap().into_data().unwrap().len() as u64;
    }
    assert_eq!(received, SIZE);
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn a_slow_reader_slows_the_origin_and_fills_no_memory() {
    let (edge, origin) = proxied().await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let ask = b"GET /big/10000000000 HTTP/1.1\r\nhost: a.example\r\n\r\n";
    stream.write_all(ask).await.unwrap();
    let mut first = [0; 15];
    stream.read_exact(&mut first).await.unwrap();
    assert_eq!(&first, b"HTTP/1.1 200 OK");
    let before = resident();

    // Nothing is read: all buffers between here and the origin fill, and then nothing moves.
    let produced = settled("the origin stops", || origin.produced()).await;

    assert!((1..64 << 20).contains(&produced), "{produced} bytes are on the way");
    let grown = resident().saturating_sub(before);
    assert!(grown < 64 << 20, "grew by {grown} bytes");
    drop(stream);
    eventually("the origin is let go", || (origin.open_connections() == 0).then_some(())).await;
    let line = edge.log_has("main.error.log", "client_gone").await;
    assert!(line.contains("the client left during the answer"), "{line}");
}

#[tokio::test]
async fn an_upload_waits_for_an_upstream_that_does_not_read_and_ends_in_time() {
    let edge = TestEdge::start().await;
    let origin = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut patient = Upstream::of(tcp(origin.local_addr().unwrap()));
    patient.timeouts.send = Seconds(1);
    let mut open = route("/", Action::Proxy(patient));
    open.filters.max_body = ByteSize(u64::MAX);
    edge.put(vec![site("a", &["a.example"], vec![open])]).await;
    let (upload, taken) = endless(10 << 30);
    let request = Request::post("/").header("host", "a.example").body(upload).unwrap();
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;

    // The origin does not read, so what is taken is what the buffers hold. Whether the client sees
    // the answer before the end of its connection is up to the network.
    let (answer, accepted) = tokio::join!(client.send_request(request), origin.accept());

    assert!(answer.is_err() || answer.is_ok_and(|answer| answer.status() == 504));
    let taken = taken.load(Ordering::SeqCst);
    assert!(taken < 64 << 20, "{taken} bytes were taken");
    edge.log_has("main.error.log", "did not take the request within 1 seconds").await;
    let mut rest = Vec::new();
    let read = accepted.unwrap().0.read_to_end(&mut rest).await;
    assert!(read.is_err() || rest.len() < 64 << 20, "the origin is let go");
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_by_its_length_and_while_it_streams() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut limited = route("/", to(&origin));
    limited.filters.max_body = ByteSize(1000);
    edge.put(vec![site("a", &["a.example"], vec![limited])]).await;

    let told = edge.ask(request("POST", "a.example", "/sink", &"x".repeat(1001))).await;
    assert_eq!(told.status, 413);
    assert!(origin.seen().is_empty());
    let (upload, _) = endless(CHUNK);
    let streamed = Request::post("/sink").header("host", "a.example").body(upload).unwrap();
    assert_eq!(edge.ask(streamed).await.status, 413);
    let within = edge.ask(request("POST", "a.example", "/sink", &"x".repeat(1000))).await;
    assert_eq!(within.body, "1000");
}

#[tokio::test]
async fn a_websocket_becomes_a_tunnel_only_after_the_upstreams_101() {
    let (edge, origin) = proxied().await;
    let upgrade = |path: &str| {
        let mut asked = request_for(path);
        let headers = asked.headers_mut();
        headers.insert("connection", "keep-alive, Upgrade".parse().unwrap());
        headers.insert("upgrade", "websocket".parse().unwrap());
        headers.insert("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==".parse().unwrap());
        asked
    };
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
    let refused = send(&mut client, upgrade("/plain")).await;
    assert_eq!(refused.status, 200);
    assert_eq!(refused.echoed().headers["upgrade"], "websocket");

    let response = client.send_request(upgrade("/ws")).await.unwrap();
    assert_eq!(response.status(), 101);
    assert_eq!(response.headers()["upgrade"], "websocket");
    let mut tunnel = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
    for n in 0..100_u32 {
        tunnel.write_all(&n.to_be_bytes()).await.unwrap();
        assert_eq!(tunnel.read_u32().await.unwrap(), n);
    }
    drop(tunnel);
    let line = edge.log_has("main.access.log", r#""status":101"#).await;
    assert!(line.contains(r#""bytes_in":400"#) && line.contains(r#""bytes_out":400"#), "{line}");
    assert_eq!(origin.seen().len(), 2);
}

#[tokio::test]
async fn an_upgrade_to_another_http_is_not_passed_on() {
    let (edge, _origin) = proxied().await;
    let mut asked = request_for("/ws");
    let headers = asked.headers_mut();
    headers.insert("connection", "Upgrade, HTTP2-Settings".parse().unwrap());
    headers.insert("upgrade", "h2c".parse().unwrap());
    headers.insert("http2-settings", "AAMAAABkAAQAAP__".parse().unwrap());
    // What the origin answers to a request that does not ask to leave HTTP.
    assert_eq!(edge.ask(asked).await.status, 426);
}

#[tokio::test]
async fn trailers_pass_and_a_head_answer_has_no_body() {
    let (edge, _origin) = proxied().await;
    let frames = [
        Ok(Frame::data(Bytes::from_static(b"body"))),
        Ok(Frame::trailers(
            [("x-sum".parse().unwrap(), "7".parse().unwrap())].into_iter().collect(),
        )),
    ];
    let body = StreamBody::new(stream::iter(frames)).boxed_unsync();
    let asked = Request::post("/trailers").header("host", "a.example").header("trailer", "x-sum");
    assert_eq!(edge.ask(asked.body(body).unwrap()).await.body, r#"{"x-sum":"7"}"#);

    let head = edge.ask(request("HEAD", "a.example", "/", "")).await;
    assert_eq!((head.status, head.body.as_str()), (200, ""));
}

#[tokio::test]
async fn answers_are_compressed_when_the_client_takes_it_and_the_upstream_did_not() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut text = route("/text", respond(&"compress me ".repeat(1000)));
    text.filters.compress = true;
    let mut proxied = route("/", to(&origin));
    proxied.filters.compress = true;
    edge.put(vec![site("a", &["a.example"], vec![text, proxied])]).await;
    let ask = |path: &str| {
        let mut asked = request("GET", "a.example", path, "");
        asked.headers_mut().insert("accept-encoding", "gzip".parse().unwrap());
        edge.ask(asked)
    };

    let compressed = ask("/text").await;
    assert_eq!(compressed.header("content-encoding"), "gzip");
    assert!(compressed.body.len() < 1000);
    assert_eq!(ask("/gzip").await.body, "not really compressed");
    assert_eq!(edge.get("a.example", "/text").await.header("content-encoding"), "");
}

async fn proxied() -> (TestEdge, Origin) {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut open = route("/", to(&origin));
    open.filters.max_body = ByteSize(u64::MAX);
    edge.put(vec![site("a", &["a.example"], vec![open])]).await;
    (edge, origin)
}

fn request_for(path: &str) -> Request<Sent> {
    request("GET", "a.example", path, "")
}

/// A body of unknown length, and how much of it was taken.
fn endless(size: u64) -> (Sent, Arc<AtomicU64>) {
    let taken = Arc::<AtomicU64>::default();
    let counter = Arc::clone(&taken);
    let chunk = Bytes::from(vec![b'x'; usize::try_from(CHUNK).unwrap()]);
    let chunks = (0..size / CHUNK).map(move |_| {
        counter.fetch_add(CHUNK, Ordering::SeqCst);
        Ok(Frame::data(chunk.clone()))
    });
    (StreamBody::new(stream::iter(chunks)).boxed_unsync(), taken)
}

/// The memory of this process, in bytes.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test]
async fn an_answer_is_read_whole_from_a_kept_connection() {
    let (edge, origin) = proxied().await;
    let mut client = client(TcpStream::connect(edge.http()).await.unwrap()).await;
    for n in 0..20 {
        let answer = send(&mut client, request("PUT", "a.example", "/x", &n.to_string())).await;
        assert_eq!(answer.echoed().body, n.to_string());
    }
    assert_eq!(origin.connections(), 1);
    let response = client.send_request(request_for("/big/100000")).await.unwrap();
    assert_eq!(read(response).await.body.len(), 100_000);
}
