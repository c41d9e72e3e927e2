//! Clients that take too long or ask too much, through the real program: what a site file allows them
//! over HTTP/1.1 and HTTP/2, and what no client of HTTP/2 may do. Sizes are in [`super::strict`].

use std::{net::Ipv4Addr, time::Duration};

use portway_testkit::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
        WINDOW_UPDATE, fields, frame,
    },
    manager::Manager,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    time::{Instant, interval, timeout},
};

use crate::{
    support::{apply, log_line, log_lines, manager},
    web::{VERSIONS, Web},
};

const PATIENCE: Duration = Duration::from_secs(20);
/// How often a slow client sends something.
const DRIP: Duration = Duration::from_millis(100);
/// More than kernels keep for a client that reads nothing.
const BIG: usize = 20_000_000;
/// What a stream may be sent before its client takes something (RFC 9113 §6.9.2).
const WINDOW: usize = 65_535;

const SITES: &str = "
sites:
  hasty:
    hosts: [hasty.localhost]
    limits: {header_time: 1s}
    respond: {body: fixed}
  slow:
    hosts: [slow.localhost]
    limits: {body_grace: 1s, http2_streams: 2}
    routes:
      - {path: /, to: APPLICATION}
      - {path: /fixed, respond: {body: fixed}}
  stalled:
    hosts: [stalled.localhost]
    log: {name: stalled}
    limits: {write_stall: 1s}
    routes:
      - {path: /, files: 'FOLDER'}
      - {path: /fixed, respond: {body: fixed}}
  flooded:
    hosts: [flooded.localhost]
    to: APPLICATION
";

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_take_too_long_are_cut_off() {
    let (manager, web, _origin) = bed().await;
    heads_in_time(&manager, &web).await;
    answers_taken(&manager, &web).await;

    // Over HTTP/1.1 a slow body is in `super::strict`.
    let mut slow = web.frames("slow.localhost").await;
    slow.post(1, "/").await;
    slow.send(DATA, 0, 1, b"x").await;
    assert_eq!(slow.status(1).await, Ok(408), "a slow body");
    slow.get(3, "/fixed").await;
    assert_eq!(slow.status(3).await, Ok(200), "the connection goes on");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_http2_connection_has_its_streams_and_no_floods() {
    let (manager, web, _origin) = bed().await;
    let mut client = web.frames("slow.localhost").await;
    for stream in [1, 3, 5] {
        client.post(stream, "/").await;
    }
    assert_eq!(client.status(5).await, Err("RST_STREAM 7".to_owned()), "REFUSED_STREAM");
    client.send(DATA, END_STREAM, 1, b"x").await;
    assert_eq!(client.status(1).await, Ok(200), "the others go on");

    let mut client = web.frames("flooded.localhost").await;
    let head = client.block("GET", "/hang", &[]);
    let begun = frame(HEADERS, 0, 1, &head);
    let posted = frame(HEADERS, END_HEADERS, 1, &client.block("POST", "/", &[]));
    let resets = (1..2_001).step_by(2).flat_map(|stream| {
        let asked = frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
        [asked, frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())].concat()
    });
    let more = frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]));
    for (flood, reason) in [
        (resets.collect(), "reset more streams"),
        (frame(SETTINGS, 0, 0, &[]).repeat(500), "too many SETTINGS"),
        (frame(PING, 0, 0, &[0; 8]).repeat(3_000), "too many PING"),
        ([posted, frame(DATA, 0, 1, &[]).repeat(500)].concat(), "too many empty frames"),
        ([begun, more.repeat(20_000)].concat(), "broke the rules of HTTP/2"),
    ] {
        let flood: Vec<u8> = flood;
        client.raw(&flood).await;
        let code = client.goaway().await;
        // A client that floods may miss what it is told.
        assert!(matches!(code, Some(11) | None), "ENHANCE_YOUR_CALM: {code:?}, {reason}");
        let line = log_line(&manager, "main.error.log", reason).await;
        assert_eq!(line["code"], "http2_flood", "{line}");
        client = web.frames("flooded.localhost").await;
    }
    for version in VERSIONS {
        let answer = web.get("flooded.localhost", "/").over(version).send().await;
        assert_eq!(answer.status, 200, "others are served over {version:?}");
    }
}

/// Heads whose bytes never stop coming are cut off all the same.
async fn heads_in_time(manager: &Manager, web: &Web) {
    let begun = Instant::now();
    let mut stream =
        web.connect("hasty.localhost", Ipv4Addr::LOCALHOST, b"http/1.1").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: hasty.localhost\r\nX: ").await.unwrap();
    let mut answer = Vec::new();
    let mut drip = interval(DRIP);
    let answered = async {
        loop {
            tokio::select! {
                read = stream.read_buf(&mut answer) => return read,
                _ = drip.tick() => {}
            }
            stream.write_all(b"x").await?;
            stream.flush().await?;
        }
    };
    timeout(PATIENCE, answered).await.expect("it is cut").unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(9), "the site's own second holds, not ten: {took:?}");

    // A head of one frame, which goes on for long.
    let mut client = web.frames("hasty.localhost").await;
    let block = client.block("GET", "/", &[("x", &"y".repeat(10_000))]);
    let head = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block);
    let is_cut = || {
        let lines = log_lines(manager, "main.error.log");
        lines.iter().any(|line| line.contains("http2_flood") && line.contains("took too long"))
    };
    let mut pieces = head.chunks(20);
    let mut drip = interval(DRIP);
    while !is_cut() {
        drip.tick().await;
        client.raw(pieces.next().expect("a head over HTTP/2 is cut")).await;
    }
}

/// Who takes nothing of an answer is cut off: over HTTP/2 the stream, and not its connection.
async fn answers_taken(manager: &Manager, web: &Web) {
    let mut stream =
        web.connect("stalled.localhost", Ipv4Addr::LOCALHOST, b"http/1.1").await.unwrap();
    stream.write_all(b"GET /big HTTP/1.1\r\nHost: stalled.localhost\r\n\r\n").await.unwrap();
    stream.flush().await.unwrap();
    let line = log_line(manager, "stalled.error.log", "client_stalled").await;
    assert!(line["message"].as_str().unwrap().contains("took nothing of the answer"), "{line}");
    drop(stream);

    // The client opens the window of its connection, and never that of the stream.
    let mut client = web.frames("stalled.localhost").await;
    client.send(WINDOW_UPDATE, 0, 0, &1_000_000_u32.to_be_bytes()).await;
    client.get(1, "/big").await;
    assert_eq!(client.status(1).await, Ok(200));
    assert_eq!(client.taken_until_reset(1).await, Ok(WINDOW));
    client.get(3, "/fixed").await;
    assert_eq!(client.status(3).await, Ok(200), "the connection goes on");
}

async fn bed() -> (Manager, Web, Origin) {
    let manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let folder = manager.folder().join("www");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("big"), vec![b'x'; BIG]).unwrap();
    let to = origin.address().unwrap().to_string();
    apply(&manager, &SITES.replace("APPLICATION", &to).replace("FOLDER", folder.as_str())).await;
    let web = Web::of(&manager).await;
    (manager, web, origin)
}
