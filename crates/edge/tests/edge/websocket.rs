//! WebSocket by the book: the cases of the Autobahn test suite, sent by a client of our own to a
//! server that sends everything back, directly and through the edge. What comes of each must be
//! right, and the same.
//!
//! The sizes are small. With `PORTWAY_WEBSOCKET_WHOLE` set they are those of Autobahn.

mod case;
mod cases;
mod deflate;
mod frames;
mod tunnels;
mod utf8;

use std::net::SocketAddr;

use futures_util::{StreamExt as _, stream};
use portway_model::site::{Action, Upstream};
use portway_policy::bundle::Change;
use portway_testkit::{ca::TestCa, websocket::WebSocketEcho};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
};

use self::case::{Case, Outcome};
use crate::support::{TestEdge, certificate, change, route, site, tcp, tls, with_https};

/// The sites of these tests.
const HOST: &str = "a.example";

/// How many cases are carried out at once, of which each has three connections.
const AT_ONCE: usize = 6;

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_faults_come_out_through_the_edge_as_directly() {
    let Some(bed) = Bed::start().await else { return };
    bed.check(cases::cases(whole())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn compressed_messages_come_out_through_the_edge_as_directly() {
    let Some(bed) = Bed::start().await else { return };
    bed.check(deflate::cases(whole())).await;
}

#[test]
fn every_case_has_the_number_that_people_know() {
    let cases = [cases::cases(false), deflate::cases(false)].concat();
    let of = |chapter: &str| cases.iter().filter(|case| case.number.starts_with(chapter)).count();
    let chapters = ["1.", "2.", "3.", "4.", "5.", "6.", "7.", "9.", "10.", "12.", "13."];
    assert_eq!(chapters.map(of), [16, 11, 7, 10, 20, 145, 37, 54, 1, 90, 126]);
    let mut numbers: Vec<&str> = cases.iter().map(|case| &*case.number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), cases.len(), "each number stands for one case");
}

fn whole() -> bool {
    std::env::var_os("PORTWAY_WEBSOCKET_WHOLE").is_some()
}

/// A server that sends everything back, and an edge in front of it.
struct Bed {
    echo: WebSocketEcho,
    edge: TestEdge,
    ca: TestCa,
}

/// A way to the server.
#[derive(Clone, Copy, Debug)]
enum Way {
    Direct,
    Plain,
    Tls,
}

impl Bed {
    /// Starts both, unless there is no such server on this machine.
    async fn start() -> Option<Self> {
        let Some(echo) = WebSocketEcho::start().await.unwrap() else {
            eprintln!("skipped: there is no Python environment (scripts/setup test)");
            return None;
        };
        let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
        let own = certificate(&ca, &[HOST]);
        let to = Action::Proxy(Upstream::of(tcp(echo.address())));
        let mut site = with_https(site("a", &[HOST], vec![route("/", to)]), &own);
        site.https.as_mut().unwrap().redirect = false;
        let put = Change { put: vec![site], certificates: vec![own], ..change() };
        assert!(edge.change(put).await.refused.is_empty());
        Some(Self { echo, edge, ca })
    }

    /// Carries out cases on all ways, and panics about all that did not come out alike.
    async fn check(&self, cases: Vec<Case>) {
        let total = cases.len();
        let faults: Vec<String> = stream::iter(cases)
            .map(|case| async move {
                let fault = self.fault(&case).await;
                fault.map(|fault| format!("{}: {fault}", case.number))
            })
            .buffer_unordered(AT_ONCE)
            .filter_map(|fault| async { fault })
            .collect()
            .await;
        let alike = total - faults.len();
        assert!(faults.is_empty(), "{alike} of {total}\n{}", faults.join("\n"));
    }

    /// Says what is wrong with what came of a case, if anything is.
    async fn fault(&self, case: &Case) -> Option<String> {
        let direct = self.outcome(case, Way::Direct).await;
        if let Err(wrong) = case.judge(&direct) {
            return Some(format!("directly: {wrong}"));
        }
        for way in [Way::Plain, Way::Tls] {
            let through = self.outcome(case, way).await;
            let alike = case.judge(&through).and_then(|()| case.differ(&direct, &through));
            if let Err(wrong) = alike {
                return Some(format!("{way:?}: {wrong}"));
            }
        }
        None
    }

    async fn outcome(&self, case: &Case, way: Way) -> Outcome {
        match way {
            Way::Direct => run(case, tcp_to(self.echo.address()).await).await,
            Way::Plain => run(case, tcp_to(self.edge.http()).await).await,
            Way::Tls => {
                let alpn = ["http/1.1"];
                let stream = tls(self.edge.https(), &self.ca, HOST, &alpn).await.unwrap();
                stream.get_ref().0.set_nodelay(true).unwrap();
                run(case, stream).await
            }
        }
    }
}

async fn tcp_to(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

async fn run<S>(case: &Case, mut stream: S) -> Outcome
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let agreed = open(&mut stream, case.offer).await;
    case.run(stream, agreed).await
}

/// Opens a WebSocket, and returns the extensions that were agreed on.
async fn open(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), offer: &str) -> String {
    let mut ask = format!(
        "GET /echo HTTP/1.1\r\nHost: {HOST}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    );
    if !offer.is_empty() {
        ask.extend(["Sec-WebSocket-Extensions: ", offer, "\r\n"]);
    }
    ask.push_str("\r\n");
    stream.write_all(ask.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    let head = String::from_utf8(head).unwrap();
    let (status, fields) = head.split_once("\r\n").unwrap();
    assert!(status.starts_with("HTTP/1.1 101 "), "{head}");
    let field = |name: &str| {
        let lines = fields.lines().filter_map(|line| line.split_once(": "));
        let mut values = lines.filter(|(found, _)| found.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value.to_owned()).unwrap_or_default()
    };
    assert_eq!(field("upgrade"), "websocket");
    assert!(field("connection").eq_ignore_ascii_case("upgrade"), "{head}");
    // That of the key above (RFC 6455 §1.3).
    assert_eq!(field("sec-websocket-accept"), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    field("sec-websocket-extensions")
}
