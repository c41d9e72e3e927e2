//! One edge in the place of another: nothing that a client began is lost, and whatever goes wrong,
//! exactly one of them serves.

use std::{
    io::{Read as _, Write as _},
    num::NonZeroUsize,
    os::unix::net::UnixStream as StdStream,
    time::Duration,
};

use camino::Utf8PathBuf;
use http::{Request, StatusCode};
use portway_edge::{EdgeConfig, EdgeError, EdgeHandle};
use portway_policy::bundle::Change;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::support::{
    Sent, TestEdge, certificate, change, client, client2, eventually, read, request, respond,
    route, send, sent, site, tls, to, with_https,
};

/// Puts another edge in the place of one.
pub(crate) async fn succeed(
    edge: &TestEdge,
    edit: impl FnOnce(&mut EdgeConfig),
) -> Result<TestEdge, EdgeError> {
    let handle: EdgeHandle =
        portway_edge::succeed(config(edge, edit), CancellationToken::new()).await?;
    Ok(edge.like(handle))
}

fn config(edge: &TestEdge, edit: impl FnOnce(&mut EdgeConfig)) -> EdgeConfig {
    let mut config = EdgeConfig::below(&edge.dir);
    config.http = vec!["127.0.0.1:0".parse().unwrap()];
    config.https = vec!["127.0.0.1:0".parse().unwrap()];
    config.workers = NonZeroUsize::new(2);
    config.drain = Duration::from_secs(5);
    edit(&mut config);
    config
}

#[tokio::test]
async fn the_successor_has_the_addresses_and_the_sites_and_takes_changes() {
    let first = TestEdge::start().await;
    first.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;

    let second = succeed(&first, |_| {}).await.unwrap();

    assert_eq!((first.http(), first.https()), (second.http(), second.https()));
    assert_eq!(second.get("a.example", "/").await.body, "a");
    second.put(vec![site("b", &["b.example"], vec![route("/", respond("b"))])]).await;
    assert_eq!(second.get("b.example", "/").await.body, "b");
    first.handle.wait().await.unwrap();
    assert_eq!(second.get("b.example", "/").await.body, "b");
    assert_eq!(second.status().await.sites, 2);
}

#[tokio::test]
async fn a_kept_connection_is_answered_once_more_and_told_to_close() {
    let first = TestEdge::start().await;
    // Not asked for before: it is read when the state is the successor's already.
    first.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    let mut kept = client(TcpStream::connect(first.http()).await.unwrap()).await;
    assert_eq!(send(&mut kept, request("GET", "other.example", "/", "")).await.status, 404);

    let second = succeed(&first, |_| {}).await.unwrap();
    second.change(Change { remove: vec![crate::support::id("a")], ..change() }).await;

    // The predecessor learns a moment after the successor that it has let go.
    loop {
        let answer = send(&mut kept, request("GET", "a.example", "/", "")).await;
        assert_eq!(answer.body, "a");
        if answer.header("connection") == "close" {
            break;
        }
    }
    first.handle.wait().await.unwrap();
    assert_eq!(second.get("a.example", "/").await.status, 404);
}

#[tokio::test]
async fn a_connection_that_has_said_nothing_yet_is_served() {
    let first = TestEdge::start().await;
    first.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    let mut silent = TcpStream::connect(first.http()).await.unwrap();
    while first.status().await.connections == 0 {}
    let _second = succeed(&first, |_| {}).await.unwrap();
    let ask = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    silent.write_all(ask).await.unwrap();
    let mut answer = String::new();
    silent.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\na"), "{answer}");
}

#[tokio::test]
async fn over_http2_what_began_ends_and_the_client_is_sent_away() {
    let first = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let ca = TestCa::new().unwrap();
    let of_a = certificate(&ca, &["a.example"]);
    let policy = with_https(site("a", &["a.example"], vec![route("/", to(&origin))]), &of_a);
    let put = Change { put: vec![policy], certificates: vec![of_a], ..change() };
    first.change(put).await;
    let stream = tls(first.https(), &ca, "a.example", &["h2"]).await.unwrap();
    let mut kept = client2(stream).await;
    let slow = kept.send_request(over_tls("/big/3000000")).await;

    let second = succeed(&first, |_| {}).await.unwrap();

    assert_eq!(read(slow.unwrap()).await.body.len(), 3_000_000);
    eventually("the connection to end", || kept.is_closed().then_some(())).await;
    first.handle.wait().await.unwrap();
    let stream = tls(second.https(), &ca, "a.example", &["h2"]).await.unwrap();
    let answer = client2(stream).await.send_request(over_tls("/")).await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

fn over_tls(path: &str) -> Request<Sent> {
    let request = Request::builder().uri(format!("https://a.example{path}"));
    request.body(sent(vec![])).unwrap()
}

#[tokio::test]
async fn another_number_of_workers_and_other_addresses_lose_nobody_who_waits() {
    let first = TestEdge::start().await;
    first.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    let old = first.http();
    let ask = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    let mut edges = vec![first];
    for workers in [1, 3, 2] {
        let waiting: Vec<_> = (0..20)
            .map(|_| {
                let mut stream = std::net::TcpStream::connect(old).unwrap();
                stream.write_all(ask).unwrap();
                stream
            })
            .collect();
        let edit = |config: &mut EdgeConfig| config.workers = NonZeroUsize::new(workers);
        let next = succeed(edges.last().unwrap(), edit).await.unwrap();
        edges.push(next);
        for mut stream in waiting {
            let answer = tokio::task::spawn_blocking(move || {
                let mut answer = String::new();
                stream.read_to_string(&mut answer).map(|_| answer)
            });
            let answer = answer.await.unwrap().unwrap();
            assert!(answer.ends_with("\r\na"), "{workers}: {answer}");
        }
    }
    let elsewhere = "127.0.0.2:0".parse().unwrap();
    let moved = succeed(edges.last().unwrap(), |config| config.http = vec![elsewhere]).await;
    let moved = moved.unwrap();
    assert_eq!(moved.get("a.example", "/").await.body, "a");
    let refused = || std::net::TcpStream::connect(old).err();
    eventually("the old address to be closed", refused).await;
}

#[tokio::test]
async fn a_successor_that_fails_leaves_the_one_that_serves_and_says_why() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();

    let failed = succeed(&edge, |config| config.http.push(address)).await;

    assert!(matches!(failed, Err(EdgeError::Bind(_))), "{:?}", failed.err());
    assert_eq!(edge.get("a.example", "/").await.body, "a");
    // Waits until the state was taken back.
    edge.put(vec![site("b", &["b.example"], vec![route("/", respond("b"))])]).await;
    assert_eq!(edge.get("b.example", "/").await.body, "b");
    let told = edge.status().await.failed_upgrade.unwrap();
    assert!(told.reason.contains(&address.to_string()), "{told:?}");
    let second = succeed(&edge, |_| {}).await.unwrap();
    assert_eq!(second.status().await.sites, 2);
}

#[tokio::test]
async fn a_process_that_asks_for_the_place_and_dies_changes_nothing() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("a"))])]).await;
    for messages in 0..2 {
        let (path, state) = (edge.handle.control_socket().clone(), edge.dir.join("state"));
        let asked = tokio::task::spawn_blocking(move || ask_and_die(&path, &state, messages));
        asked.await.unwrap();
        let name = format!("after-{messages}");
        let host = format!("{name}.example");
        edge.put(vec![site(&name, &[&host], vec![route("/", respond("after"))])]).await;
        assert_eq!(edge.get(&host, "/").await.body, "after");
    }
    let second = succeed(&edge, |_| {}).await.unwrap();
    assert_eq!(second.status().await.sites, 3);
}

/// Goes as far as some messages into the conversation, and closes the connection.
fn ask_and_die(socket: &Utf8PathBuf, state: &Utf8PathBuf, messages: usize) {
    let mut stream = StdStream::connect(socket).unwrap();
    let ask = "POST /v1/succeed HTTP/1.1\r\nHost: edge\r\nConnection: upgrade\r\n\
               Upgrade: portway-succession\r\nContent-Length: 0\r\n\r\n";
    stream.write_all(ask.as_bytes()).unwrap();
    let mut byte = [0];
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
    if messages > 0 {
        let state = state.canonicalize_utf8().unwrap();
        let hello = serde_json::json!({
            "says": "hello", "protocol": 1, "version": "9.9.9", "state_dir": state,
        });
        let hello = hello.to_string();
        stream.write_all(&u32::try_from(hello.len()).unwrap().to_le_bytes()).unwrap();
        stream.write_all(hello.as_bytes()).unwrap();
        // The length of the offer: the state was given away by then.
        stream.read_exact(&mut [0; 4]).unwrap();
    }
}

#[tokio::test]
async fn where_nobody_runs_there_is_no_place_to_take() {
    let folder = tempfile::tempdir().unwrap();
    let dir = Utf8PathBuf::from_path_buf(folder.path().to_owned()).unwrap();
    let config = EdgeConfig::below(&dir);
    let failed = portway_edge::succeed(config, CancellationToken::new()).await;
    assert!(matches!(failed, Err(EdgeError::Succession(_))), "{failed:?}");
}
