//! Tunnels that live long: idle, half closed, many at once, through changes and beyond their edge;
//! and WebSocket where it is not offered.

use std::time::Duration;

use portway_model::{
    Seconds,
    site::{Action, Upstream},
};
use portway_policy::{CertificateObject, SitePolicy, bundle::Change};
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{HOST, tcp_to};
use crate::{
    frames::{self, END_HEADERS, END_STREAM, HEADERS},
    succession::succeed,
    support::{TestEdge, certificate, change, respond, route, site, tcp, tls, to, with_https},
};

const PATIENCE: Duration = Duration::from_secs(20);
const MANY: u8 = 100;

#[tokio::test]
async fn http2_offers_no_websocket_and_a_client_that_asks_is_told_so() {
    let Bed { edge, ca, origin: _origin, .. } = Bed::new().await;
    let mut client = frames::silent(edge.https(), &ca, HOST).await;
    client.raw(frames::PREFACE).await;
    client.send(frames::SETTINGS, 0, 0, &frames::settings_payload(&[(1, 0)])).await;
    let offered = client.frame().await.expect("it speaks HTTP/2");
    assert_eq!(offered.kind, frames::SETTINGS);
    // SETTINGS_ENABLE_CONNECT_PROTOCOL is 8 (RFC 8441 §3).
    assert!(offered.payload.chunks(6).all(|setting| setting[..2] != [0, 8]), "{offered:?}");

    let asked = [(":protocol", "websocket"), ("sec-websocket-version", "13")];
    let head = client.block("CONNECT", "/ws", &asked[..1]);
    client.send(HEADERS, END_HEADERS, 1, &head).await;
    assert_eq!(client.status(1).await, Err("RST_STREAM 1".to_owned()));
    let plain = client.block("GET", "/ws", &asked[1..]);
    client.send(HEADERS, END_HEADERS | END_STREAM, 3, &plain).await;
    assert_eq!(client.status(3).await, Ok(426), "the application's own answer");

    // What browsers do then: another connection, without HTTP/2.
    let mut other = tls(edge.https(), &ca, HOST, &["http/1.1"]).await.unwrap();
    begin(&mut other).await;
    assert!(is_alive(&mut other, 7).await);
}

#[tokio::test]
async fn a_tunnel_is_open_for_as_long_as_both_sides_are_however_idle() {
    let bed = Bed::new().await;
    let mut hasty = Upstream::of(tcp(bed.origin.address().unwrap()));
    let timeouts = &mut hasty.timeouts;
    (timeouts.send, timeouts.first_byte, timeouts.silence) = (Seconds(1), Seconds(1), Seconds(1));
    let mut site = bed.policy(Action::Proxy(hasty));
    site.limits.write_stall = Seconds(1);
    site.limits.header_time = Seconds(1);
    bed.edge.put(vec![site]).await;
    let mut plain = tcp_to(bed.edge.http()).await;
    let mut secure = tls(bed.edge.https(), &bed.ca, HOST, &[]).await.unwrap();
    begin(&mut plain).await;
    begin(&mut secure).await;
    for round in 0..2 {
        assert!(is_alive(&mut plain, round).await && is_alive(&mut secure, round).await);
        // What is tested is that time passes, and twice as much as any of these limits.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    assert!(is_alive(&mut plain, 9).await && is_alive(&mut secure, 9).await);
}

#[tokio::test]
async fn each_side_may_end_first_and_still_hears_the_other() {
    let bed = Bed::new().await;
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Action::Proxy(Upstream::of(tcp(application.local_addr().unwrap())));
    bed.edge.put(vec![bed.policy(to)]).await;
    let Bed { edge, ca, .. } = &bed;
    for secure in [false, true] {
        for client_first in [false, true] {
            let applying = async {
                let (stream, _) = application.accept().await.unwrap();
                let mut stream = accepted(stream).await;
                exchange(&mut stream, !client_first).await
            };
            let asking = async {
                if secure {
                    let mut stream = tls(edge.https(), ca, HOST, &[]).await.unwrap();
                    begin(&mut stream).await;
                    exchange(&mut stream, client_first).await
                } else {
                    let mut stream = tcp_to(edge.http()).await;
                    begin(&mut stream).await;
                    exchange(&mut stream, client_first).await
                }
            };
            let both = timeout(PATIENCE, async { tokio::join!(applying, asking) }).await.unwrap();
            let what = format!("secure: {secure}, the client first: {client_first}");
            assert_eq!(both, ("said".to_owned(), "said".to_owned()), "{what}");
        }
    }
    let line = edge.log_has("main.access.log", "\"status\":101").await;
    assert!(line.contains("\"bytes_in\":4,\"bytes_out\":4"), "{line}");
}

#[tokio::test]
async fn an_application_that_closes_while_the_client_sends_is_heard_to_its_last_word() {
    let edge = TestEdge::start().await;
    let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let to = Action::Proxy(Upstream::of(tcp(application.local_addr().unwrap())));
    edge.put(vec![site("a", &[HOST], vec![route("/", to)])]).await;
    let applying = async {
        let (stream, _) = application.accept().await.unwrap();
        let mut stream = accepted(stream).await;
        stream.read_u8().await.unwrap();
        stream.write_all(b"1009: too much").await.unwrap();
        // What the client sent more is not read, so this is a reset.
    };
    let asking = async {
        let stream = {
            let mut stream = tcp_to(edge.http()).await;
            begin(&mut stream).await;
            stream
        };
        let (mut reading, mut writing) = stream.into_split();
        let sending =
            tokio::spawn(async move { while writing.write_all(&[0; 8192]).await.is_ok() {} });
        let mut heard = vec![0; 14];
        reading.read_exact(&mut heard).await.unwrap();
        sending.await.unwrap();
        String::from_utf8(heard).unwrap()
    };
    let both = timeout(PATIENCE, async { tokio::join!(applying, asking) }).await.unwrap();
    assert_eq!(both.1, "1009: too much");
    edge.log_has("main.error.log", "tunnel_broken").await;
    let line = edge.log_has("main.access.log", "\"status\":101").await;
    assert!(!line.contains("\"bytes_in\":0"), "{line}");
}

#[tokio::test]
async fn a_hundred_tunnels_outlive_changes_of_their_site_and_its_removal() {
    let bed = Bed::new().await;
    let Bed { edge, origin, .. } = &bed;
    let mut tunnels = bed.tunnels().await;
    for number in 0..20_u8 {
        let mut changed = bed.policy(to(origin));
        changed.routes.push(route(&format!("/{number}"), respond("new")));
        edge.put(vec![changed]).await;
        let mut alive = JoinSet::new();
        for mut tunnel in tunnels.drain(..) {
            alive.spawn(async move { (is_alive(&mut tunnel, number).await, tunnel) });
        }
        for (is_alive, tunnel) in alive.join_all().await {
            assert!(is_alive, "change {number}");
            tunnels.push(tunnel);
        }
    }
    edge.change(Change { remove: vec![crate::support::id("a")], ..change() }).await;
    assert_eq!(edge.get(HOST, "/").await.status, 404);
    for tunnel in &mut tunnels {
        assert!(is_alive(tunnel, 255).await);
    }
    assert_eq!(origin.connections(), usize::from(MANY), "each has one of its own");
}

#[tokio::test]
async fn tunnels_outlive_the_edge_that_made_them_until_its_time_is_over() {
    let temporary = tempfile::tempdir().unwrap();
    let dir = camino::Utf8Path::from_path(temporary.path()).unwrap().to_owned();
    let first = TestEdge::start_in(dir, |config| {
        config.drain_succeeded = Duration::from_secs(3);
    })
    .await;
    let bed = Bed::with(first).await;
    let first = &bed.edge;
    let mut tunnels = bed.tunnels().await;

    let second = succeed(first, |_| {}).await.unwrap();

    for tunnel in &mut tunnels {
        assert!(is_alive(tunnel, 1).await, "its edge ends what it began");
    }
    let mut new = tcp_to(second.http()).await;
    begin(&mut new).await;
    assert!(is_alive(&mut new, 2).await);
    // The others are cut when the time is over, and said to have been.
    for tunnel in &mut tunnels {
        let cut = timeout(PATIENCE, tunnel.read_u8()).await.expect("it is cut");
        assert!(cut.is_err());
    }
    assert!(is_alive(&mut new, 3).await);
    second.log_has("main.error.log", "tunnel_cut").await;
    let line = second.log_has("main.access.log", "\"status\":101").await;
    assert!(line.contains("\"bytes_in\":2,\"bytes_out\":2"), "{line}");
}

/// An edge with a site in front of an application whose `/ws` sends every byte back.
struct Bed {
    edge: TestEdge,
    ca: TestCa,
    own: CertificateObject,
    origin: Origin,
}

impl Bed {
    async fn new() -> Self {
        Self::with(TestEdge::start().await).await
    }

    async fn with(edge: TestEdge) -> Self {
        let ca = TestCa::new().unwrap();
        let own = certificate(&ca, &[HOST]);
        let origin = Origin::tcp(Speaks::Http1).await.unwrap();
        let bed = Self { edge, ca, own, origin };
        let put = vec![bed.policy(to(&bed.origin))];
        let put = Change { put, certificates: vec![bed.own.clone()], ..change() };
        assert!(bed.edge.change(put).await.refused.is_empty());
        bed
    }

    /// The site, over HTTP and HTTPS.
    fn policy(&self, action: Action) -> SitePolicy {
        let mut policy = with_https(site("a", &[HOST], vec![route("/", action)]), &self.own);
        policy.https.as_mut().unwrap().redirect = false;
        policy
    }

    /// A hundred tunnels, half of them over TLS.
    async fn tunnels(&self) -> Vec<Box<dyn Tunnel>> {
        let mut tunnels: Vec<Box<dyn Tunnel>> = Vec::new();
        for number in 0..MANY {
            let mut tunnel: Box<dyn Tunnel> = if number.is_multiple_of(2) {
                Box::new(tcp_to(self.edge.http()).await)
            } else {
                let alpn = ["http/1.1"];
                Box::new(tls(self.edge.https(), &self.ca, HOST, &alpn).await.unwrap())
            };
            begin(&mut tunnel).await;
            assert!(is_alive(&mut tunnel, 0).await);
            tunnels.push(tunnel);
        }
        tunnels
    }
}

trait Tunnel: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Tunnel for S {}

/// Leaves HTTP.
async fn begin(stream: &mut (impl AsyncRead + AsyncWrite + Unpin)) {
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {HOST}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let head = head(stream).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Leaves HTTP on the application's side.
async fn accepted(mut stream: TcpStream) -> TcpStream {
    head(&mut stream).await;
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\n\
                  Upgrade: websocket\r\n\r\n";
    stream.write_all(answer.as_bytes()).await.unwrap();
    stream
}

async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await.expect("no head in time").unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Tells whether a byte comes back.
async fn is_alive(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), byte: u8) -> bool {
    stream.write_u8(byte).await.unwrap();
    stream.flush().await.unwrap();
    timeout(PATIENCE, stream.read_u8()).await.expect("nothing came in time").unwrap() == byte
}

/// Says something and that it was all, before or after the other side did, and returns what that
/// said.
async fn exchange(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), first: bool) -> String {
    let mut heard = String::new();
    if !first {
        stream.read_to_string(&mut heard).await.unwrap();
    }
    stream.write_all(b"said").await.unwrap();
    stream.shutdown().await.unwrap();
    if first {
        stream.read_to_string(&mut heard).await.unwrap();
    }
    heard
}
