//! HTTP/2 frame by frame: what is malformed costs its stream, what is a flood its connection, and
//! nothing the other requests.

use std::time::Duration;

use portway_policy::bundle::Change;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::{
    frames::{
        self, CONTINUATION, Client, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PRIORITY,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, fields,
    },
    support::{TestEdge, certificate, change, respond, route, site, to, with_https},
};

const PATIENCE: Duration = Duration::from_secs(20);

/// RFC 9113 §7.
const ENHANCE_YOUR_CALM: Option<u32> = Some(11);

#[tokio::test]
async fn a_flood_ends_its_connection_and_stands_in_the_log_of_the_site() {
    let fixture = Fixture::start().await;
    let ping = frames::frame(PING, 0, 0, &[0; 8]);
    let settings = frames::frame(SETTINGS, 0, 0, &[]);
    let priority = frames::frame(PRIORITY, 0, 1, &[0, 0, 0, 3, 1]);
    let window = frames::frame(WINDOW_UPDATE, 0, 0, &1_u32.to_be_bytes());
    let unknown = frames::frame(0x42, 0, 1, &[]);
    for (flood, count, reason) in [
        (ping, 3_000, "PING, PRIORITY or unknown"),
        (settings, 500, "SETTINGS"),
        (priority, 3_000, "PING, PRIORITY or unknown"),
        (window, 5_000, "WINDOW_UPDATE"),
        (unknown, 3_000, "PING, PRIORITY or unknown"),
    ] {
        let mut client = fixture.client().await;
        client.raw(&flood.repeat(count)).await;
        assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM, "{reason}");
        let line = fixture.edge.log_has("main.error.log", reason).await;
        assert!(line.contains("http2_flood") && line.contains("a.example"), "{line}");
    }
}

#[tokio::test]
async fn rapid_resets_end_their_connection() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let block = client.block("GET", "/hang", &[]);
    let mut bytes = Vec::new();
    for stream in (1..2_001).step_by(2) {
        bytes.extend(frames::frame(HEADERS, END_HEADERS | END_STREAM, stream, &block));
        bytes.extend(frames::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    client.raw(&bytes).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    let line = fixture.edge.log_has("main.error.log", "reset more streams").await;
    assert!(line.contains("http2_flood"), "{line}");
}

#[tokio::test]
async fn a_client_that_makes_the_edge_reset_its_streams_is_ended() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    let mut bytes = Vec::new();
    for stream in (1..2_001).step_by(2) {
        let block = client.block("POST", "/hang", &[]);
        bytes.extend(frames::frame(HEADERS, END_HEADERS, stream, &block));
        // A window may not be opened beyond 2³¹ − 1 (RFC 9113 §6.9.1).
        let most = 0x7fff_ffff_u32.to_be_bytes();
        bytes.extend(frames::frame(WINDOW_UPDATE, 0, stream, &most));
    }
    client.raw(&bytes).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    fixture.edge.log_has("main.error.log", "made more streams be reset").await;
}

#[tokio::test]
async fn empty_frames_and_endless_heads_end_their_connection() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    client.post(1, "/").await;
    client.raw(&frames::frame(DATA, 0, 1, &[]).repeat(500)).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);

    let mut client = fixture.client().await;
    let block = client.block("GET", "/", &[]);
    client.send(HEADERS, END_STREAM, 1, &block).await;
    client.raw(&frames::frame(CONTINUATION, 0, 1, &fields(&[("x", "y")])).repeat(20_000)).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM);
    let line = fixture.edge.log_has("main.error.log", "broke the rules").await;
    assert!(line.contains("http2_flood"), "{line}");
}

#[tokio::test]
async fn a_small_head_that_decodes_to_a_large_one_is_431() {
    let fixture = Fixture::start().await;
    let ca = &fixture.ca;
    // The client lets the table be used, and names one large entry again and again.
    let mut client = frames::client(fixture.edge.https(), ca, "a.example", &[]).await;
    let mut block = client.block("GET", "/", &[]);
    block.extend([0x40, 1, b'x', 0x7f, 0xa1, 0x1e]);
    block.extend([b'y'; 4_000]);
    block.extend([0xbe; 5_000]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 1, &block).await;
    let answered = client.status(1).await;
    assert!(
        matches!(answered.as_ref().map_err(String::as_str), Ok(431) | Err("GOAWAY 11")),
        "{answered:?}"
    );
}

#[tokio::test]
async fn what_browsers_do_is_no_flood() {
    let fixture = Fixture::start().await;
    let mut client = fixture.client().await;
    // A page is left while a hundred of its pictures load.
    for stream in (1..201).step_by(2) {
        client.get(stream, "/hang").await;
    }
    for stream in (1..201).step_by(2) {
        client.send(RST_STREAM, 0, stream, &8_u32.to_be_bytes()).await;
    }
    for _ in 0..50 {
        client.send(PING, 0, 0, &[1; 8]).await;
    }
    client.get(201, "/fixed").await;
    assert_eq!(client.status(201).await, Ok(200));
}

#[tokio::test]
async fn a_malformed_request_is_never_answered_by_a_site() {
    let fixture = Fixture::start().await;
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "https"), (":path", "/fixed"));
    let authority = (":authority", "a.example");
    let good = [method, scheme, path, authority];
    let with = |more: &[(&'static str, &'static str)]| [&good[..], more].concat();
    for (what, head) in [
        ("connection", with(&[("connection", "close")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("te other than trailers", with(&[("te", "trailers, deflate")])),
        ("a second path", with(&[(":path", "/")])),
        ("a response's pseudo-header", with(&[(":status", "200")])),
        ("a pseudo-header after a header", vec![method, scheme, ("x", "1"), path, authority]),
        ("no method", vec![scheme, path, authority]),
        ("no scheme", vec![method, path, authority]),
        ("no path", vec![method, scheme, authority]),
        ("an empty path", vec![method, scheme, (":path", ""), authority]),
    ] {
        let mut client = fixture.client().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&head)).await;
        let answered = client.status(1).await;
        let refused =
            matches!(answered.as_ref().map_err(String::as_str), Err("RST_STREAM 1") | Ok(400));
        assert!(refused, "{what}: {answered:?}");
        client.get(3, "/fixed").await;
        assert_eq!(client.status(3).await, Ok(200), "after {what}");
    }
    // What no field can be costs the connection, as RFC 9113 §5.4.2 leaves open.
    for (what, more) in [
        ("an upper-case name", ("X-Upper", "1")),
        ("an unknown pseudo-header", (":other", "1")),
        ("a line break in a value", ("x", "a\r\nb")),
        ("NUL in a value", ("x", "a\0b")),
        ("a space in a name", ("a b", "1")),
    ] {
        let mut client = fixture.client().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&with(&[more]))).await;
        assert_eq!(client.status(1).await, Err("GOAWAY 1".to_owned()), "{what}");
    }
    fixture.edge.log_has("main.error.log", "http2_violation").await;
}

#[tokio::test]
async fn host_and_authority_must_agree_and_a_site_is_found_by_either() {
    let fixture = Fixture::start().await;
    let head = |pairs: &[(&'static str, &'static str)]| {
        let first = [(":method", "GET"), (":scheme", "https"), (":path", "/fixed")];
        fields(&[&first[..], pairs].concat())
    };
    for (pairs, status) in [
        (&[(":authority", "a.example"), ("host", "a.example")][..], 200),
        (&[(":authority", "a.example"), ("host", "b.example")], 400),
        (&[(":authority", "a.example"), ("host", "a.example"), ("host", "a.example")], 400),
        (&[("host", "a.example")], 200),
        (&[("host", "a.example"), ("te", "trailers")], 200),
    ] {
        let mut client = fixture.client().await;
        client.send(HEADERS, END_HEADERS | END_STREAM, 1, &head(pairs)).await;
        assert_eq!(client.status(1).await, Ok(status), "{pairs:?}");
    }
}

#[tokio::test]
async fn a_length_that_disagrees_with_the_data_is_the_streams_fault() {
    let fixture = Fixture::start().await;
    for (length, data) in [("4", "hello"), ("6", "hello")] {
        let mut client = fixture.client().await;
        let block = client.block("POST", "/", &[("content-length", length)]);
        client.send(HEADERS, END_HEADERS, 1, &block).await;
        client.send(DATA, END_STREAM, 1, data.as_bytes()).await;
        let answered = client.status(1).await;
        assert!(
            matches!(answered.as_ref().map_err(String::as_str), Err("RST_STREAM 1") | Ok(400)),
            "{length}: {answered:?}"
        );
        client.get(3, "/fixed").await;
        assert_eq!(client.status(3).await, Ok(200));
    }
}

#[tokio::test]
async fn a_client_that_begins_and_goes_no_further_is_let_go() {
    let fixture = Fixture::with_head_time(1).await;
    let mut silent = frames::silent(fixture.edge.https(), &fixture.ca, "a.example").await;
    assert_eq!(silent.goaway().await, ENHANCE_YOUR_CALM, "no preface");
    let mut client = fixture.client().await;
    let block = client.block("GET", "/", &[]);
    client.send(HEADERS, END_STREAM, 1, &block).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM, "no end of the head");
    let mut client = fixture.client().await;
    let head = frames::frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    client.raw(&head[..head.len() - 1]).await;
    assert_eq!(client.goaway().await, ENHANCE_YOUR_CALM, "no end of its only frame");
    fixture.edge.log_has("main.error.log", "took too long").await;
}

#[tokio::test]
async fn http2_on_the_plain_port_is_declined_in_its_own_language() {
    let fixture = Fixture::start().await;
    let mut stream = TcpStream::connect(fixture.edge.http()).await.unwrap();
    stream.write_all(frames::PREFACE).await.unwrap();
    stream.write_all(&frames::frame(SETTINGS, 0, 0, &[])).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    assert_eq!(answer[..9], frames::frame(SETTINGS, 0, 0, &[]));
    assert_eq!((answer[12], answer[9 + 9 + 7]), (GOAWAY, 13), "HTTP_1_1_REQUIRED");
    assert!(String::from_utf8_lossy(&answer).contains("over TLS only"));
    let line = fixture.edge.log_has("main.error.log", "over TLS only").await;
    assert!(line.contains("malformed_request"), "{line}");
}

/// The suite that others are measured by; it is not packaged, so it runs where it was built
/// (`PORTWAY_H2SPEC`, see docs/benchmarks.md).
#[tokio::test]
#[ignore = "needs h2spec, which no registry has"]
async fn h2spec_finds_nothing() {
    let program = std::env::var_os("PORTWAY_H2SPEC").expect("PORTWAY_H2SPEC names the program");
    let fixture = Fixture::start().await;
    let port = fixture.edge.https().port().to_string();
    let run = tokio::task::spawn_blocking(move || {
        std::process::Command::new(program)
            .args(["-t", "-k", "-h", "127.0.0.1", "-o", "3", "-P", "/", "-p", &port])
            .output()
            .unwrap()
    });
    let run = run.await.unwrap();
    let text = String::from_utf8_lossy(&run.stdout);
    assert!(text.contains("146 tests, 146 passed"), "{text}");
}

struct Fixture {
    edge: TestEdge,
    ca: TestCa,
    _origin: Origin,
}

impl Fixture {
    async fn start() -> Self {
        Self::with_head_time(10).await
    }

    /// Starts an edge with a site that echoes, answers by itself below `/fixed`, and is the one that
    /// clients without a name mean.
    async fn with_head_time(seconds: u64) -> Self {
        let edge = TestEdge::start().await;
        let origin = Origin::tcp(Speaks::Http1).await.unwrap();
        let ca = TestCa::new().unwrap();
        let certificate = certificate(&ca, &["a.example", "127.0.0.1"]);
        let routes = vec![route("/", to(&origin)), route("/fixed", respond("fixed"))];
        let mut site = with_https(site("a", &["a.example", "*"], routes), &certificate);
        site.https.as_mut().unwrap().redirect = false;
        site.limits.header_time = portway_model::Seconds(seconds);
        let change = Change { certificates: vec![certificate], put: vec![site], ..change() };
        let report = edge.change(change).await;
        assert!(report.refused.is_empty(), "{:?}", report.refused);
        Self { edge, ca, _origin: origin }
    }

    async fn client(&self) -> Client {
        frames::client(self.edge.https(), &self.ca, "a.example", &[]).await
    }
}
