//! Applications that break the rules of HTTP/2: what they answer reaches a client wholly and rightly or
//! not at all, and costs no other request. Each plays its part frame by frame, to clients of both
//! versions. Answers of HTTP/1.1 are in `corpus::answers`.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{Request, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use portway_model::site::{Action, Upstream, UpstreamProtocol};
use portway_policy::bundle::Change;
use portway_testkit::{
    ca::TestCa,
    frames::{
        ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PREFACE, RST_STREAM,
        SETTINGS, WINDOW_UPDATE, client::Frame, fields, frame, settings_payload,
    },
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use crate::support::{
    TestEdge, certificate, change, client, client2, request, route, sent, site, tcp, tls,
    with_https,
};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// What clients speak.
const VERSIONS: [&str; 2] = ["http/1.1", "h2"];
/// What an application answers that keeps to the rules.
const CLEAN: &str = "clean";
/// What belongs to an answer that breaks them.
const FOUL: &str = "foul";

const PUSH_PROMISE: u8 = 5;
const PADDED: u8 = 8;
const NO_ERROR: u32 = 0;
const INTERNAL_ERROR: u32 = 2;
const REFUSED_STREAM: u32 = 7;
const CANCEL: u32 = 8;

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    /// 502.
    Refused,
    /// An answer that does not come to its end, or 502.
    Cut,
    /// The answer, without what does not belong there: h2 leaves it out.
    Mended,
    /// The answer that keeps to the rules.
    Clean,
}

use Expect::{Clean, Cut, Mended, Refused};

/// What an application sends for a stream.
type Part = fn(u32) -> Vec<u8>;

/// Answers that break the rules, and some that only look so.
const CASES: &[(&str, Expect, Part)] = &[
    ("no status", Refused, |s| head(s, &[("x", "y")])),
    ("two statuses", Refused, |s| head(s, &[(":status", "200"), (":status", "200")])),
    ("a status of letters", Refused, |s| head(s, &[(":status", "abc")])),
    ("a status of two digits", Refused, |s| head(s, &[(":status", "20")])),
    ("a status of four digits", Refused, |s| head(s, &[(":status", "2000")])),
    ("a request's pseudo-header", Mended, |s| head(s, &[OK, (":path", "/")])),
    ("an unknown pseudo-header", Refused, |s| head(s, &[OK, (":other", "1")])),
    ("a pseudo-header after a header", Refused, |s| head(s, &[("x", "y"), OK])),
    ("an upper-case name", Refused, |s| head(s, &[OK, ("X-Upper", "1")])),
    ("a space in a name", Refused, |s| head(s, &[OK, ("a b", "1")])),
    ("an empty name", Refused, |s| head(s, &[OK, ("", "1")])),
    ("a line break in a value", Refused, |s| head(s, &[OK, ("x", "a\r\nset-cookie: b=c")])),
    ("NUL in a value", Refused, |s| head(s, &[OK, ("x", "a\0b")])),
    ("connection", Refused, |s| head(s, &[OK, ("connection", "close")])),
    ("keep-alive", Refused, |s| head(s, &[OK, ("keep-alive", "timeout=5")])),
    ("proxy-connection", Refused, |s| head(s, &[OK, ("proxy-connection", "close")])),
    ("transfer-encoding", Refused, |s| head(s, &[OK, ("transfer-encoding", "chunked")])),
    ("upgrade", Refused, |s| head(s, &[OK, ("upgrade", "h2c")])),
    ("a length of letters", Refused, |s| answer(s, &[("content-length", "4x")], FOUL)),
    ("a length with a sign", Refused, |s| answer(s, &[("content-length", "+4")], FOUL)),
    ("two lengths", Refused, |s| {
        answer(s, &[("content-length", "4"), ("content-length", "3")], FOUL)
    }),
    ("less than its length", Cut, |s| answer(s, &[("content-length", "5")], FOUL)),
    ("more than its length", Cut, |s| answer(s, &[("content-length", "3")], FOUL)),
    ("a length and no body", Cut, |s| {
        frame(HEADERS, END_HEADERS | END_STREAM, s, &fields(&[OK, ("content-length", "4")]))
    }),
    ("switching protocols", Refused, |s| head(s, &[(":status", "101")])),
    ("data before its head", Refused, |s| frame(DATA, 0, s, FOUL.as_bytes())),
    ("the end before its head", Refused, |s| frame(DATA, END_STREAM, s, FOUL.as_bytes())),
    ("nothing but an informational head", Refused, |s| {
        frame(HEADERS, END_HEADERS | END_STREAM, s, &fields(&[(":status", "103")]))
    }),
    ("a reset before its head", Refused, |s| reset(s, INTERNAL_ERROR)),
    ("a cancellation before its head", Refused, |s| reset(s, CANCEL)),
    ("a reset without an error before its head", Refused, |s| reset(s, NO_ERROR)),
    ("a reset in its middle", Cut, |s| begun(s, &reset(s, INTERNAL_ERROR))),
    ("a cancellation in its middle", Cut, |s| begun(s, &reset(s, CANCEL))),
    ("a refusal in its middle", Cut, |s| begun(s, &reset(s, REFUSED_STREAM))),
    ("a reset without an error in its middle", Cut, |s| begun(s, &reset(s, NO_ERROR))),
    ("a reset without an error within its length", Cut, |s| {
        let head = fields(&[OK, ("content-length", "9")]);
        let head = frame(HEADERS, END_HEADERS, s, &head);
        [head, frame(DATA, 0, s, FOUL.as_bytes()), reset(s, NO_ERROR)].concat()
    }),
    ("the end of the connection in its middle", Cut, |s| begun(s, HANG_UP)),
    ("a GOAWAY for it before its head", Refused, |_| {
        [goaway(0, INTERNAL_ERROR), HANG_UP.to_vec()].concat()
    }),
    ("a GOAWAY with an error in its middle", Cut, |s| {
        begun(s, &[goaway(s, INTERNAL_ERROR), HANG_UP.to_vec()].concat())
    }),
    ("trailers with a pseudo-header", Mended, |s| {
        begun(s, &frame(HEADERS, END_HEADERS | END_STREAM, s, &fields(&[(":status", "200")])))
    }),
    ("trailers without an end", Cut, |s| {
        begun(
            s,
            &[frame(HEADERS, END_HEADERS, s, &fields(&[("x", "y")])), HANG_UP.to_vec()].concat(),
        )
    }),
    ("a promise", Cut, |s| begun(s, &frame(PUSH_PROMISE, END_HEADERS, s, &[0, 0, 0, 2]))),
    ("a frame that is too large", Cut, |s| begun(s, &frame(DATA, 0, s, &[b'x'; 1 << 20]))),
    ("more padding than there is", Cut, |s| begun(s, &frame(DATA, PADDED, s, &[200, b'x']))),
    ("an update of nothing", Cut, |s| begun(s, &frame(WINDOW_UPDATE, 0, s, &[0; 4]))),
    ("settings of odd length", Cut, |s| begun(s, &frame(SETTINGS, 0, 0, &[0; 5]))),
    ("the rest of a head that did not begin", Cut, |s| {
        begun(s, &frame(CONTINUATION, END_HEADERS, s, &fields(&[("x", "y")])))
    }),
    ("data in the middle of a head", Refused, |s| {
        let head = frame(HEADERS, 0, s, &fields(&[OK]));
        [head, frame(DATA, END_STREAM, s, FOUL.as_bytes())].concat()
    }),
    ("a head without an end", Refused, |s| {
        let more = frame(CONTINUATION, 0, s, &fields(&[("x", "y")]));
        [frame(HEADERS, 0, s, &fields(&[OK])), more.repeat(100_000)].concat()
    }),
    ("a head that is too large", Refused, |s| {
        let value = "y".repeat(16_000);
        let field = fields(&[("x", value.as_str())]);
        let more = frame(CONTINUATION, 0, s, &field).repeat(200);
        let last = frame(CONTINUATION, END_HEADERS, s, &[]);
        [frame(HEADERS, 0, s, &fields(&[OK])), more, last].concat()
    }),
    ("an index that there is not", Refused, |s| frame(HEADERS, END_HEADERS, s, &[0xff, 0x7f])),
    ("an answer for nobody", Refused, |_| answer(99, &[], FOUL)),
    ("HTTP/1.1", Refused, |_| {
        let text = format!("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{FOUL}");
        [text.as_bytes(), HANG_UP].concat()
    }),
    ("hints before the answer", Clean, |s| {
        let hints = fields(&[(":status", "103"), ("link", "</a>; rel=preload")]);
        [frame(HEADERS, END_HEADERS, s, &hints), clean(s)].concat()
    }),
    ("a frame of a kind that nobody knows", Clean, |s| {
        [frame(0x42, 0, s, b"x"), clean(s)].concat()
    }),
    ("a farewell before the answer", Clean, |s| [goaway(s, NO_ERROR), clean(s)].concat()),
    ("a farewell after the answer", Clean, |s| [clean(s), goaway(s, NO_ERROR)].concat()),
    ("a reset without an error after the answer", Clean, |s| {
        [clean(s), reset(s, NO_ERROR)].concat()
    }),
    ("a head after the end", Clean, |s| [clean(s), head(s, &[OK])].concat()),
];

const OK: (&str, &str) = (":status", "200");

/// Stands for the end of the connection.
const HANG_UP: &[u8] = b"\xff\xff\xffhang up";

#[tokio::test]
async fn an_answer_that_breaks_the_rules_reaches_nobody_and_costs_no_other_request() {
    let edge = TestEdge::start().await;
    let ca = TestCa::new().unwrap();
    let mut applications = Vec::new();
    let mut routes = Vec::new();
    // Each version has applications of its own, so that no connection to one is kept from before.
    for version in VERSIONS {
        for (index, (_, _, part)) in CASES.iter().enumerate() {
            let application = Application::start(*part).await;
            let target = tcp(application.address).into();
            let upstream = Upstream::new(vec![target], UpstreamProtocol::H2c);
            routes.push(route(&format!("/{version}/{index}"), Action::Proxy(upstream)));
            applications.push(application);
        }
    }
    let own = certificate(&ca, &["a.example"]);
    let mut site = with_https(site("a", &["a.example"], routes), &own);
    site.https.as_mut().unwrap().redirect = false;
    let put = Change { certificates: vec![own], put: vec![site], ..change() };
    assert_eq!(edge.change(put).await.refused, []);

    let mut wrong = Vec::new();
    for version in VERSIONS {
        for (index, (name, expect, _)) in CASES.iter().enumerate() {
            let path = format!("/{version}/{index}");
            let got = ask(&edge, &ca, version, &path).await;
            let after = ask(&edge, &ca, version, &path).await;
            if !is_right(*expect, &got) || !is_right(Clean, &after) {
                wrong.push(format!("{name}, {expect:?}, {version}: {got:?}; {after:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What became of a request: the status and the body, unless that broke off.
type Got = Option<(u16, Option<String>)>;

fn is_right(expect: Expect, got: &Got) -> bool {
    let is_whole = |wanted: &str| matches!(got, Some((200, Some(body))) if body == wanted);
    // There may be a page of the edge's own.
    let is_refused = matches!(got, Some((502, Some(_))));
    match expect {
        Refused => is_refused,
        Cut => is_refused || matches!(got, Some((200, None)) | None),
        Mended => is_whole(FOUL),
        Clean => is_whole(CLEAN),
    }
}

async fn ask(edge: &TestEdge, ca: &TestCa, version: &str, path: &str) -> Got {
    let asked = async {
        if version == "h2" {
            let stream = tls(edge.https(), ca, "a.example", &["h2"]).await.unwrap();
            let asked = Request::get(format!("https://a.example{path}")).body(sent(vec![]));
            client2(stream).await.send_request(asked.unwrap()).await
        } else {
            let stream = TcpStream::connect(edge.http()).await.unwrap();
            client(stream).await.send_request(request("GET", "a.example", path, "")).await
        }
    };
    let read = async { read(asked.await.ok()?).await };
    timeout(PATIENCE, read).await.unwrap_or_else(|_| panic!("no answer to {path} in time"))
}

async fn read(response: Response<Incoming>) -> Got {
    let status = response.status().as_u16();
    let body = response.into_body().collect().await.ok();
    Some((status, body.map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())))
}

/// An application that plays its part to the first request and keeps to the rules after that.
struct Application {
    address: SocketAddr,
    _task: AbortOnDropHandle<()>,
}

impl Application {
    async fn start(part: Part) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::<AtomicUsize>::default();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(play(stream, part, Arc::clone(&asked)));
            }
        });
        Self { address, _task: AbortOnDropHandle::new(task) }
    }
}

async fn play(mut stream: TcpStream, part: Part, asked: Arc<AtomicUsize>) -> std::io::Result<()> {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await?;
    stream.write_all(&frame(SETTINGS, 0, 0, &settings_payload(&[]))).await?;
    loop {
        let came = Frame::read(&mut stream).await?;
        match came.kind {
            SETTINGS if came.flags & ACK == 0 => {
                stream.write_all(&frame(SETTINGS, ACK, 0, &[])).await?;
            }
            HEADERS => {
                let is_first = asked.fetch_add(1, Ordering::SeqCst) == 0;
                let bytes = if is_first { part(came.stream) } else { clean(came.stream) };
                let (bytes, hangs_up) = match bytes.strip_suffix(HANG_UP) {
                    Some(bytes) => (bytes, true),
                    None => (bytes.as_slice(), false),
                };
                stream.write_all(bytes).await?;
                if hangs_up {
                    return stream.shutdown().await;
                }
            }
            _ => {}
        }
    }
}

/// An answer of its own head, with the foul body.
fn head(stream: u32, head: &[(&str, &str)]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &fields(head));
    [head, frame(DATA, END_STREAM, stream, FOUL.as_bytes())].concat()
}

fn answer(stream: u32, more: &[(&str, &str)], body: &str) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &fields([OK].iter().chain(more)));
    [head, frame(DATA, END_STREAM, stream, body.as_bytes())].concat()
}

fn clean(stream: u32) -> Vec<u8> {
    answer(stream, &[], CLEAN)
}

/// An answer that has begun, and then something else.
fn begun(stream: u32, then: &[u8]) -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, stream, &fields(&[OK]));
    [&head, &frame(DATA, 0, stream, FOUL.as_bytes()), then].concat()
}

fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &code.to_be_bytes())
}

fn goaway(last: u32, code: u32) -> Vec<u8> {
    frame(GOAWAY, 0, 0, &[last.to_be_bytes(), code.to_be_bytes()].concat())
}
