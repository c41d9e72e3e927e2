//! What clients may send and must take, by site, over HTTP/1.1 and HTTP/2.

use std::time::{Duration, Instant};

use portway_model::{
    ByteSize, Seconds,
    site::{Action, FileRoot, Limits},
};
use portway_policy::SitePolicy;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::{
    frames::{self, Client, DATA, END_STREAM},
    support::{TestEdge, certificate, change, respond, route, site, tls, to, with_https},
};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_head_may_be_as_large_as_its_site_says() {
    let edge = TestEdge::start().await;
    let large = Limits {
        header_bytes: ByteSize(200_000),
        headers: 500,
        target_bytes: ByteSize(60_000),
        ..Limits::default()
    };
    let small = Limits {
        header_bytes: ByteSize(1_000),
        headers: 16,
        target_bytes: ByteSize(256),
        ..Limits::default()
    };
    let (ca, certificate) = secured(&["large.example", "small.example", "usual.example"]);
    let sites = [("large", large), ("small", small), ("usual", Limits::default())];
    let sites = sites.map(|(name, limits)| {
        let mut site = plain(name, limits);
        site.https = with_https(site.clone(), &certificate).https;
        site.https.as_mut().unwrap().redirect = false;
        site
    });
    put(&edge, sites.to_vec(), certificate).await;
    for (site, bytes, fields, target, status) in [
        ("large", 190_000, 1, 1, 200),
        ("large", 200_000, 1, 1, 431),
        ("large", 1, 490, 1, 200),
        ("large", 1, 1, 59_900, 200),
        ("usual", 60_000, 1, 1, 200),
        ("usual", 65_000, 1, 1, 431),
        ("usual", 1, 130, 1, 431),
        ("usual", 1, 1, 8_100, 414),
        ("small", 700, 1, 1, 200),
        ("small", 1_100, 1, 1, 431),
        ("small", 1, 17, 1, 431),
        ("small", 1, 1, 300, 414),
    ] {
        let host = format!("{site}.example");
        let case = format!("{site}: {bytes} bytes, {fields} fields, target of {target}");
        let path = format!("/{}", "p".repeat(target));
        let value = "v".repeat(bytes);
        let mut head =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nX: {value}\r\n");
        head.push_str(&"Y: z\r\n".repeat(fields));
        head.push_str("\r\n");
        let answer = exchange(&edge, &head).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{case}: {answer}");

        let mut client = frames::client(edge.https(), &ca, &host, &[]).await;
        let mut more = vec![("x", &*value)];
        more.extend(std::iter::repeat_n(("y", "z"), fields));
        let block = client.block("GET", &path, &more);
        head_in_pieces(&mut client, 1, &block).await;
        assert_eq!(client.status(1).await, Ok(status), "{case} over HTTP/2");
    }
    let line = edge.log_has("main.error.log", "the site takes 1000").await;
    assert!(line.contains("small.example") && line.contains("bytes of headers"), "{line}");
}

#[tokio::test]
async fn a_head_must_be_there_in_the_time_of_its_site() {
    let edge = TestEdge::start().await;
    let (ca, certificate) = secured(&["hasty.example", "usual.example"]);
    let hasty = Limits { header_time: Seconds(1), ..Limits::default() };
    let sites = [plain("hasty", hasty), plain("usual", Limits::default())];
    let secured = sites.map(|site| {
        let mut site = with_https(site, &certificate);
        site.https.as_mut().unwrap().redirect = false;
        site
    });
    put(&edge, secured.to_vec(), certificate).await;

    // The handshake names the site: no further byte is waited for.
    let begun = Instant::now();
    let mut stream = tls(edge.https(), &ca, "hasty.example", &["http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hasty").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());

    // Without a handshake the site is known once its name is there.
    for (host, status) in [("hasty.example", 408), ("usual.example", 200)] {
        let mut stream = TcpStream::connect(edge.http()).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n").await.unwrap();
        sleep(Duration::from_millis(1_300)).await;
        let rest = format!("Host: {host}\r\nConnection: close\r\n\r\n");
        stream.write_all(rest.as_bytes()).await.unwrap();
        let answer = to_end(&mut stream).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{host}: {answer}");
    }
}

#[tokio::test]
async fn a_body_of_a_byte_now_and_then_is_answered_408() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let (ca, certificate) = secured(&["a.example"]);
    let limits = Limits { body_grace: Seconds(1), ..Limits::default() };
    let mut site =
        site("a", &["a.example"], vec![route("/", to(&origin)), route("/fixed", respond("fixed"))]);
    site.limits = limits;
    let mut site = with_https(site, &certificate);
    site.https.as_mut().unwrap().redirect = false;
    put(&edge, vec![site], certificate).await;

    let begun = Instant::now();
    let stream = TcpStream::connect(edge.http()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let head = "POST /slow HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n";
    writing.write_all(head.as_bytes()).await.unwrap();
    let dripping = tokio::spawn(async move {
        while writing.write_all(b"x").await.is_ok() {
            sleep(Duration::from_millis(200)).await;
        }
    });
    let mut answer = Vec::new();
    let read = timeout(PATIENCE, reading.read_buf(&mut answer)).await.unwrap().unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    dripping.abort();
    let line = edge.log_has("main.error.log", "less than 1000 bytes a second").await;
    assert!(line.contains("request_timeout"), "{line}");

    let mut client = frames::client(edge.https(), &ca, "a.example", &[]).await;
    client.post(1, "/slow").await;
    client.send(DATA, 0, 1, b"x").await;
    client.get(3, "/fixed").await;
    assert_eq!(client.status(3).await, Ok(200), "the other streams go on");
    assert_eq!(client.status(1).await, Ok(408));
    client.get(5, "/fixed").await;
    assert_eq!(client.status(5).await, Ok(200), "the connection goes on");
}

#[tokio::test]
async fn a_byte_in_four_seconds_is_cut_within_fifteen_at_the_usual_limits() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let (ca, certificate) = secured(&["a.example"]);
    let mut site =
        with_https(site("a", &["a.example"], vec![route("/", to(&origin))]), &certificate);
    site.https.as_mut().unwrap().redirect = false;
    put(&edge, vec![site], certificate).await;
    let begun = Instant::now();

    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head = "POST /slow HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut client = frames::client(edge.https(), &ca, "a.example", &[]).await;
    client.post(1, "/slow").await;
    for _ in 0..3 {
        stream.write_all(b"x").await.unwrap();
        client.send(DATA, 0, 1, b"x").await;
        sleep(Duration::from_secs(4)).await;
    }
    let answer = to_end(&mut stream).await;
    let status = client.status(1).await;

    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert_eq!(status, Ok(408));
}

#[tokio::test]
async fn a_body_at_any_pace_is_taken_where_the_site_says_so() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut site = site("a", &["a.example"], vec![route("/", to(&origin))]);
    site.limits = Limits { body_rate: ByteSize(0), body_grace: Seconds(1), ..Limits::default() };
    edge.put(vec![site]).await;
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let head =
        "POST / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nContent-Length: 3\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    for _ in 0..3 {
        sleep(Duration::from_millis(700)).await;
        stream.write_all(b"x").await.unwrap();
    }
    let answer = to_end(&mut stream).await;
    assert!(answer.contains(r#""body":"xxx""#), "{answer}");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answer_is_cut() {
    let edge = TestEdge::start().await;
    let (ca, certificate) = secured(&["a.example"]);
    let folder = edge.dir.join("files");
    std::fs::create_dir(&folder).unwrap();
    for name in ["one", "two"] {
        std::fs::write(folder.join(name), vec![b'x'; 20_000_000]).unwrap();
    }
    let files = Action::Files(FileRoot::of(folder));
    let routes = vec![route("/", files), route("/fixed", respond("fixed"))];
    let mut site = site("a", &["a.example"], routes);
    site.limits = Limits { write_stall: Seconds(1), ..Limits::default() };
    let mut site = with_https(site, &certificate);
    site.https.as_mut().unwrap().redirect = false;
    put(&edge, vec![site], certificate).await;

    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    stream.write_all(b"GET /one HTTP/1.1\r\nHost: a.example\r\n\r\n").await.unwrap();
    let line = edge.log_has("main.error.log", "client_stalled").await;
    assert!(line.contains("took nothing of the answer for 1 seconds"), "{line}");

    // The client opens the window of its connection, and never that of the stream.
    let mut client = frames::client(edge.https(), &ca, "a.example", &[]).await;
    client.send(frames::WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()).await;
    client.get(1, "/two").await;
    assert_eq!(client.status(1).await, Ok(200));
    assert_eq!(client.taken_until_reset(1).await, Ok(65_535));
    client.get(3, "/fixed").await;
    assert_eq!(client.status(3).await, Ok(200), "the connection goes on");
    let line = edge.log_has("main.access.log", "/two").await;
    assert!(line.contains(r#""status":200"#), "{line}");
}

#[tokio::test]
async fn an_http2_connection_has_as_many_streams_as_its_site_says() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let (ca, certificate) = secured(&["a.example"]);
    let mut site = site("a", &["a.example"], vec![route("/", to(&origin))]);
    site.limits = Limits { http2_streams: 2, ..Limits::default() };
    put(&edge, vec![with_https(site, &certificate)], certificate).await;
    let mut client = frames::client(edge.https(), &ca, "a.example", &[]).await;
    for stream in [1, 3, 5] {
        client.post(stream, "/").await;
    }
    assert_eq!(client.status(5).await, Err("RST_STREAM 7".to_owned()), "REFUSED_STREAM");
    client.send(DATA, END_STREAM, 1, b"x").await;
    assert_eq!(client.status(1).await, Ok(200));
}

/// Sends a head in a HEADERS frame and as many CONTINUATION frames as it takes.
async fn head_in_pieces(client: &mut Client, stream: u32, block: &[u8]) {
    let pieces: Vec<&[u8]> = block.chunks(16_384).collect();
    for (index, piece) in pieces.iter().enumerate() {
        let kind = if index == 0 { frames::HEADERS } else { frames::CONTINUATION };
        let mut flags = if index == 0 { END_STREAM } else { 0 };
        if index + 1 == pieces.len() {
            flags |= frames::END_HEADERS;
        }
        client.send(kind, flags, stream, piece).await;
    }
}

fn plain(name: &str, limits: Limits) -> SitePolicy {
    let mut site = site(name, &[&format!("{name}.example")], vec![route("/", respond("fixed"))]);
    site.limits = limits;
    site
}

fn secured(names: &[&str]) -> (TestCa, portway_policy::CertificateObject) {
    let ca = TestCa::new().unwrap();
    let certificate = certificate(&ca, names);
    (ca, certificate)
}

async fn put(
    edge: &TestEdge,
    sites: Vec<SitePolicy>,
    certificate: portway_policy::CertificateObject,
) {
    let change =
        portway_policy::bundle::Change { certificates: vec![certificate], put: sites, ..change() };
    let report = edge.change(change).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);
}

async fn exchange(edge: &TestEdge, request: &str) -> String {
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    // A head that is refused before its end is not read to it.
    drop(stream.write_all(request.as_bytes()).await);
    to_end(&mut stream).await
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.unwrap().unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}
