//! HTTP/1.1 byte by byte: what is refused, what a connection may carry after what, and what neither
//! side's framing can do to the other's.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use portway_model::site::{Action, Upstream};
use portway_testkit::origin::{Origin, Speaks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use crate::support::{TestEdge, eventually, respond, route, site, tcp, to};

#[tokio::test]
async fn ambiguous_framing_is_refused_and_nothing_of_it_reaches_an_application() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    for (head, status) in [
        ("Content-Length: 5\r\nTransfer-Encoding: chunked", 400),
        ("Transfer-Encoding: chunked\r\nContent-Length: 5", 400),
        ("Content-Length: 5\r\nContent-Length: 5", 400),
        ("Content-Length: +5", 400),
        ("Transfer-Encoding: gzip, chunked", 501),
        ("Transfer-Encoding: xchunked", 400),
        ("Transfer-Encoding : chunked", 400),
        ("X: a\r\n folded: b", 400),
        ("X: a\nY: b", 400),
        ("Host: b.example", 400),
        ("Expect: miracles", 417),
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: a.example\r\n{head}\r\n\r\nhello");
        let answer = exchange(edge.http(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{head}: {answer}");
        assert!(answer.contains("connection: close"), "{head}: {answer}");
        assert!(answer.contains("x-request-id: "), "{head}: {answer}");
    }
    assert!(origin.seen().is_empty(), "{:?}", origin.seen());
    let line = edge.log_has("main.error.log", "both Content-Length and Transfer-Encoding").await;
    assert!(line.contains("malformed_request"), "{line}");
}

#[tokio::test]
async fn a_head_may_be_as_large_as_is_declared_and_no_larger() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("fixed"))])]).await;
    let get = |path: &str, headers: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n{headers}\r\n")
    };
    let of_bytes = |bytes: usize| get("/", &format!("X: {}\r\n", "x".repeat(bytes)));
    let of_fields = |fields: usize| get("/", &"X: y\r\n".repeat(fields));
    let of_target = |bytes: usize| get(&format!("/{}", "x".repeat(bytes)), "");
    for (request, status) in [
        (of_bytes(60_000), 200),
        (of_bytes(64_001), 431),
        (of_fields(126), 200),
        (of_fields(127), 431),
        (of_target(7_999), 200),
        (of_target(8_000), 414),
    ] {
        let answer = exchange(edge.http(), request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{status}: {answer}");
    }
}

#[tokio::test]
async fn requests_that_come_at_once_are_answered_in_their_order() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let routes =
        vec![route("/", to(&origin)), route("/one", respond("ONE")), route("/two", respond("TWO"))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    let requests = "GET /one HTTP/1.1\r\nHost: a.example\r\n\r\n\
                    POST /x HTTP/1.1\r\nHost: a.example\r\nContent-Length: 3\r\n\r\nabc\
                    GET /two HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let answer = exchange(edge.http(), requests.as_bytes()).await;
    let (one, two) = (answer.find("ONE").unwrap(), answer.find("TWO").unwrap());
    let echoed = answer.find(r#""body":"abc""#).unwrap();
    assert!(one < echoed && echoed < two, "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 3, "{answer}");
    assert_eq!(answer.matches("connection: close").count(), 1, "{answer}");
}

#[tokio::test]
async fn a_body_in_any_pieces_arrives_whole_and_is_framed_anew() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let request = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\
                   Connection: close\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n";
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in request.as_bytes().chunks(1) {
        stream.write_all(byte).await.unwrap();
        tokio::task::yield_now().await;
    }
    let answer = to_end(&mut stream).await;
    assert!(answer.contains(r#""body":"hello!""#), "{answer}");
    assert!(!answer.contains("x=y"), "{answer}");
}

#[tokio::test]
async fn http_1_0_gets_no_chunks_and_keeps_a_connection_only_when_it_asks() {
    let edge = TestEdge::start().await;
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let (address, _) = scripted(chunked).await;
    let action = Action::Proxy(Upstream::of(tcp(address)));
    let routes = vec![route("/", action), route("/fixed", respond("fixed"))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    let answer = exchange(edge.http(), b"GET / HTTP/1.0\r\nHost: a.example\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 ") && answer.ends_with("\r\n\r\nabc"), "{answer}");
    let twice = "GET /fixed HTTP/1.0\r\nHost: a.example\r\nConnection: keep-alive\r\n\r\n\
                 GET /fixed HTTP/1.0\r\nHost: a.example\r\n\r\n";
    let answer = exchange(edge.http(), twice.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.0 200 ").count(), 2, "{answer}");
    assert_eq!(answer.matches("connection: keep-alive").count(), 1, "{answer}");
}

#[tokio::test]
async fn an_upstreams_ambiguous_answer_is_502_and_its_connection_is_never_used_again() {
    let edge = TestEdge::start().await;
    let follows = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen";
    for (name, script) in [
        ("both", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok"),
        ("twice", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok"),
        ("folded", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok"),
        (
            "unasked",
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        ),
        ("nonsense", "SSH-2.0-OpenSSH_9.2\r\n\r\n"),
        ("lf", "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    ] {
        let (address, connections) = scripted(&format!("{script}{follows}")).await;
        let host = format!("{name}.example");
        let action = Action::Proxy(Upstream::of(tcp(address)));
        edge.put(vec![site(name, &[&host], vec![route("/", action)])]).await;
        for asked in 1..=3 {
            let answer = edge.get(&host, "/").await;
            assert_eq!(answer.status, 502, "{name}: {answer:?}");
            assert!(!answer.body.contains("stolen"), "{name}: {answer:?}");
            assert_eq!(connections.load(Ordering::SeqCst), asked, "{name}");
        }
    }
}

#[tokio::test]
async fn what_an_upstream_sends_beyond_its_answer_is_nobodys_answer() {
    let edge = TestEdge::start().await;
    let script = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n\
                  Content-Length: 6\r\n\r\nstolen";
    let (address, connections) = scripted(script).await;
    let action = Action::Proxy(Upstream::of(tcp(address)));
    edge.put(vec![site("a", &["a.example"], vec![route("/", action)])]).await;
    for asked in 1..=3 {
        assert_eq!(edge.get("a.example", "/").await.body, "ok");
        assert_eq!(connections.load(Ordering::SeqCst), asked);
    }
}

#[tokio::test]
async fn a_clean_answer_leaves_its_connection_for_the_next_request() {
    let edge = TestEdge::start().await;
    for (name, script) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
        (
            "interim",
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        ),
    ] {
        let (address, connections) = scripted(script).await;
        let host = format!("{name}.example");
        let action = Action::Proxy(Upstream::of(tcp(address)));
        edge.put(vec![site(name, &[&host], vec![route("/", action)])]).await;
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        for _ in 0..5 {
            let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let end = if name == "interim" { "\r\n\r\n" } else { "ok" };
            let answer = until(&mut stream, end).await;
            assert!(answer.starts_with("HTTP/1.1 20"), "{name}: {answer}");
        }
        assert_eq!(connections.load(Ordering::SeqCst), 1, "{name}");
    }
}

#[tokio::test]
async fn an_answer_that_ends_early_ends_the_clients_connection_too() {
    let edge = TestEdge::start().await;
    for (name, script) in [
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf"),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf"),
    ] {
        let (address, _) = closing(script).await;
        let host = format!("{name}.example");
        let action = Action::Proxy(Upstream::of(tcp(address)));
        edge.put(vec![site(name, &[&host], vec![route("/", action)])]).await;
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n");
        let answer = exchange(edge.http(), request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{name}: {answer}");
        assert!(!answer.ends_with("0\r\n\r\n"), "{name}: {answer}");
    }
    edge.log_has("main.error.log", "answer_broke_off").await;
}

#[tokio::test]
async fn an_answer_before_the_whole_request_reaches_a_client_that_is_still_sending() {
    let edge = TestEdge::start().await;
    let refusal =
        "HTTP/1.1 413 Content Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig";
    let (address, _) = scripted(refusal).await;
    let action = Action::Proxy(Upstream::of(tcp(address)));
    edge.put(vec![site("a", &["a.example"], vec![route("/", action)])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 50000000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![b'x'; 64 * 1024];
        // Ends when the edge has closed.
        while writing.write_all(&piece).await.is_ok() {}
    });
    let answer = until(&mut reading, "big").await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    timeout(PATIENCE, sending).await.expect("the edge closes").unwrap();
}

#[tokio::test]
async fn leave_to_send_a_body_is_given_when_it_is_wanted_and_not_before() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let routes = vec![route("/", to(&origin)), route("/fixed", respond("fixed"))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    let head = |path: &str| {
        format!(
            "POST {path} HTTP/1.1\r\nHost: a.example\r\nContent-Length: 4\r\n\
             Expect: 100-continue\r\n\r\n"
        )
    };
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(head("/").as_bytes()).await.unwrap();
    assert_eq!(until(&mut stream, "\r\n\r\n").await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"body").await.unwrap();
    let answer = until(&mut stream, r#""body":"body""#).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");

    let answer = exchange(edge.http(), head("/fixed").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("connection: close"), "the client may or may not send it: {answer}");
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_answer_is_awaited() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(b"GET /hang HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    eventually("the origin is asked", || (origin.open_connections() > 0).then_some(())).await;
    drop(stream);
    let line = edge.log_has("main.access.log", "/hang").await;
    assert!(line.contains(r#""status":499"#), "{line}");
    eventually("the origin is let go", || (origin.open_connections() == 0).then_some(())).await;
}

#[tokio::test]
async fn a_client_that_leaves_is_noticed_while_its_answer_pauses() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    until(&mut stream, "data: 1").await;
    assert_eq!(origin.open_connections(), 1);
    drop(stream);
    eventually("the origin is let go", || (origin.open_connections() == 0).then_some(())).await;
    edge.log_has("main.error.log", r#""code":"client_gone""#).await;
}

#[tokio::test]
async fn a_tunnel_begins_after_101_with_what_was_sent_too_early() {
    let edge = TestEdge::start().await;
    let (address, _) = switching().await;
    let action = Action::Proxy(Upstream::of(tcp(address)));
    edge.put(vec![site("a", &["a.example"], vec![route("/", action)])]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let asked = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n";
    stream.write_all(format!("{asked}early ").as_bytes()).await.unwrap();
    let answer = until(&mut stream, "hello early ").await;
    assert!(answer.starts_with("HTTP/1.1 101 "), "{answer}");
    assert!(answer.contains("upgrade: echo") && answer.contains("connection: upgrade"), "{answer}");
    stream.write_all(b"late").await.unwrap();
    assert_eq!(until(&mut stream, "late").await, "late");
    drop(stream);
    let line = edge.log_has("main.access.log", r#""status":101"#).await;
    assert!(line.contains(r#""bytes_in":10"#) && line.contains(r#""bytes_out":16"#), "{line}");
}

const PATIENCE: Duration = Duration::from_secs(20);

/// Sends bytes, and reads what comes until the edge closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    to_end(&mut stream).await
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    read.unwrap_or_else(|_| panic!("not closed after {:?}", String::from_utf8_lossy(&answer)))
        .unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

/// Reads until what was read ends so.
async fn until(stream: &mut (impl tokio::io::AsyncRead + Unpin), end: &str) -> String {
    let mut answer = Vec::new();
    while !answer.ends_with(end.as_bytes()) && !String::from_utf8_lossy(&answer).contains(end) {
        let read = timeout(PATIENCE, stream.read_buf(&mut answer)).await;
        let seen = String::from_utf8_lossy(&answer).into_owned();
        assert!(read.expect(&seen).expect(&seen) > 0, "closed after {seen:?}");
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// An upstream that answers every request with these bytes, and its number of connections.
async fn scripted(answer: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    serve(answer.to_owned(), Then::Next).await
}

/// An upstream that closes after its answer.
async fn closing(answer: &str) -> (SocketAddr, Arc<AtomicUsize>) {
    serve(answer.to_owned(), Then::Close).await
}

/// An upstream that leaves HTTP, says hello and repeats what it hears.
async fn switching() -> (SocketAddr, Arc<AtomicUsize>) {
    let head =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\nhello ";
    serve(head.to_owned(), Then::Echo).await
}

#[derive(Clone, Copy)]
enum Then {
    Next,
    Close,
    Echo,
}

async fn serve(answer: String, then: Then) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::<AtomicUsize>::default();
    let counter = Arc::clone(&connections);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(play(stream, answer.clone(), then));
        }
    });
    (address, connections)
}

async fn play(mut stream: TcpStream, answer: String, then: Then) -> std::io::Result<()> {
    let mut read = Vec::new();
    loop {
        while !read.windows(4).any(|end| end == b"\r\n\r\n") {
            if stream.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
        }
        let end = read.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
        read.drain(..end);
        stream.write_all(answer.as_bytes()).await?;
        match then {
            Then::Next => {}
            Then::Close => return stream.shutdown().await,
            Then::Echo => break,
        }
    }
    stream.write_all(&read).await?;
    let (mut reading, mut writing) = stream.split();
    tokio::io::copy(&mut reading, &mut writing).await?;
    Ok(())
}
