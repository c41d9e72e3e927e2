//! The codec's corpus of answers, played by a real upstream to a real edge: what the codec refuses
//! reaches no client as an answer, and no connection on which it came is used again. What the codec
//! accepts is passed on as the corpus says.
//!
//! Where nginx is installed the same upstreams play to it, and the table in `docs/benchmarks.md` is
//! written anew to the folder for temporary files of the build.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use portway_model::site::{Action, Upstream};
use portway_testkit::corpus::{self, Asked, Case};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{AT_ONCE, nginx::Nginx};
use crate::support::{TestEdge, eventually, route, site, tcp};

/// How long an answer of the edge may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long an answer of nginx may take, which waits for more after some cases.
const SHORT_PATIENCE: Duration = Duration::from_secs(2);

/// The body of the answer to whatever is asked after a case.
const CLEAN: &str = "clean";

#[tokio::test]
async fn a_malformed_answer_reaches_nobody_and_its_connection_is_not_used_again() {
    let cases: Vec<Case> = corpus::responses().unwrap().into_iter().map(beyond_limits).collect();
    assert!(cases.len() >= 100, "{} cases", cases.len());
    let edge = TestEdge::start().await;
    let upstreams = Scripted::of_all(&cases).await;
    let routes = upstreams.iter().enumerate().map(|(index, upstream)| {
        let target = Upstream::of(tcp(upstream.address));
        route(&format!("/{index}"), Action::Proxy(target))
    });
    edge.put(vec![site("a", &["*"], routes.collect())]).await;

    let ours = ask_all(edge.http(), &cases, PATIENCE).await;

    let mut wrong = String::new();
    for ((case, played), upstream) in cases.iter().zip(&ours).zip(&upstreams) {
        for fault in faults(case, played, upstream) {
            writeln!(wrong, "{} ({}): {fault}", case.name, case.expect).unwrap();
        }
    }
    assert!(wrong.is_empty(), "\n{wrong}");
    for (case, upstream) in cases.iter().zip(&upstreams).filter(|(case, _)| is_parted(case)) {
        let ended = || upstream.connections()[0].is_ended.then_some(());
        eventually(&format!("the connection of `{}` to be closed", case.name), ended).await;
    }
    if let Some(theirs) = ask_nginx(&cases).await {
        let table = compare(&cases, &ours, &theirs);
        std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("answers.md"), table).unwrap();
    }
}

/// What is to come of a case.
enum Expected {
    /// No upstream is asked so.
    NotAsked,
    /// The client is told that there is no answer, or gets one that is cut off.
    Refused,
    /// The answer is cut off, as the upstream's was.
    Cut(u16),
    /// The answer is passed on with this body.
    Passed(u16, String),
}

/// What a client got.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: Vec<u8>,
    /// Whether it came to its end, as a client can tell.
    is_whole: bool,
    /// Whether another request may follow on its connection.
    stays: bool,
}

/// What came of a case, and of the request after it.
struct Played {
    answer: Option<Answer>,
    after: Option<Answer>,
}

/// Makes heads that are too large for the codec's own limits too large for those of the edge, which
/// takes 64,000 bytes and 256 headers from applications.
fn beyond_limits(mut case: Case) -> Case {
    let (before, more) = match case.expect.as_str() {
        "HeadTooLarge" => ("aaaa", "a".repeat(30_000)),
        "TooManyFields" => ("Y: b", "X: a\r\n".repeat(156)),
        _ => return case,
    };
    let mut found = case.message.windows(before.len());
    let at = found.position(|found| found == before.as_bytes()).unwrap();
    case.message.splice(at..at, more.into_bytes());
    case
}

/// Returns all that went wrong with a case.
fn faults(case: &Case, played: &Played, upstream: &Scripted) -> Vec<String> {
    let mut faults = Vec::new();
    let is_right = match (&played.answer, &expected(case)) {
        (Some(found), Expected::NotAsked) => matches!(found.status, 400..=405),
        (Some(found), Expected::Refused) => found.status == 502 || !found.is_whole,
        (Some(found), Expected::Cut(status)) => found.status == *status && !found.is_whole,
        (Some(found), Expected::Passed(status, body)) => {
            found.status == *status && found.is_whole && text(&found.body) == *body
        }
        (None, _) => false,
    };
    if !is_right {
        faults.push(format!("the client got {:?}", played.answer));
    }
    if !played.after.as_ref().is_some_and(is_clean) {
        faults.push(format!("the next request got {:?}", played.after));
    }
    let asked: &[&[&str]] = match case.asked {
        Asked::Connect => &[&["after"]],
        Asked::Get | Asked::Upgrade | Asked::Head if is_parted(case) => &[&["case"], &["after"]],
        Asked::Get | Asked::Upgrade | Asked::Head => &[&["case", "after"]],
    };
    let found: Vec<_> = upstream.connections().into_iter().map(|found| found.asked).collect();
    if found != asked {
        faults.push(format!("its connections carried {found:?}"));
    }
    faults
}

fn is_clean(answer: &Answer) -> bool {
    answer.status == 200 && answer.is_whole && answer.body == CLEAN.as_bytes()
}

fn expected(case: &Case) -> Expected {
    if case.asked == Asked::Connect {
        return Expected::NotAsked;
    }
    if case.is_malformed() || case.expect == "incomplete" {
        return Expected::Refused;
    }
    let mut read = case.expect.split(" + ").next().unwrap();
    while let Some(rest) = read.strip_prefix("interim ") {
        read = rest.split_once(", ").unwrap().1;
    }
    let mut words = read.strip_prefix("tunnel ").unwrap_or(read).split(' ');
    let status = words.next().unwrap().parse().unwrap();
    if words.next() == Some("length") && read.ends_with(" unfinished") {
        return Expected::Cut(status);
    }
    if case.asked == Asked::Upgrade && status == 101 {
        return Expected::Passed(status, text(tunnelled(case)));
    }
    Expected::Passed(status, read.split('"').nth(1).unwrap_or_default().to_owned())
}

/// Tells whether the upstream sends nothing more after the case.
fn ends_there(case: &Case) -> bool {
    case.expect == "incomplete" || case.expect.contains(" unfinished")
}

/// Tells whether the edge is to part with the connection on which an upstream played a case.
fn is_parted(case: &Case) -> bool {
    let parting = [" close", " + ", " unfinished"];
    let is_parting = parting.into_iter().any(|part| case.expect.contains(part));
    let is_refused = case.is_malformed() || case.expect == "incomplete";
    case.asked != Asked::Connect && (is_refused || is_parting)
}

fn text(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// What follows the head.
fn tunnelled(case: &Case) -> &[u8] {
    let head = case.message.windows(4).position(|found| found == b"\r\n\r\n").unwrap();
    &case.message[head + 4..]
}

/// Asks for each case, and for something else after it.
async fn ask_all(proxy: SocketAddr, cases: &[Case], patience: Duration) -> Vec<Played> {
    let asking = cases.iter().enumerate().map(|(index, case)| ask(proxy, index, case, patience));
    stream::iter(asking).buffered(AT_ONCE).collect().await
}

async fn ask(proxy: SocketAddr, index: usize, case: &Case, patience: Duration) -> Played {
    let (method, headers) = match case.asked {
        Asked::Get => ("GET", ""),
        Asked::Head => ("HEAD", ""),
        Asked::Connect => ("CONNECT", ""),
        Asked::Upgrade => (
            "GET",
            "Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        ),
    };
    let request = format!("{method} /{index}/case HTTP/1.1\r\nHost: a\r\n{headers}\r\n");
    let mut client = connect(proxy).await;
    client.write_all(request.as_bytes()).await.unwrap();
    let reading = read_answer(&mut client, method, tunnelled_length(case));
    let answer = timeout(patience, reading).await.ok().flatten();
    if !answer.as_ref().is_some_and(|answer| answer.stays) {
        client = connect(proxy).await;
    }
    let request = format!("GET /{index}/after HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    client.write_all(request.as_bytes()).await.unwrap();
    let after = timeout(patience, read_answer(&mut client, "GET", 0)).await.ok().flatten();
    Played { answer, after }
}

fn tunnelled_length(case: &Case) -> usize {
    if case.expect.starts_with("tunnel ") { tunnelled(case).len() } else { 0 }
}

async fn connect(address: SocketAddr) -> BufReader<TcpStream> {
    BufReader::new(TcpStream::connect(address).await.unwrap())
}

/// Reads an answer as a client does that knows nothing of the codec.
async fn read_answer(
    client: &mut BufReader<TcpStream>,
    method: &str,
    tunnelled: usize,
) -> Option<Answer> {
    let (status, head) = loop {
        let head = read_head(client).await?;
        let status: u16 = head.split(' ').nth(1)?.parse().ok()?;
        if status == 101 || status >= 200 {
            break (status, head);
        }
    };
    let mut answer = Answer { status, body: Vec::new(), is_whole: true, stays: true };
    answer.stays = status != 101 && field(&head, "connection") != Some("close");
    if status == 101 {
        let read = client.take(tunnelled as u64).read_to_end(&mut answer.body).await;
        answer.is_whole = read.is_ok_and(|read| read == tunnelled);
    } else if method == "HEAD" || matches!(status, 204 | 304) {
        // There is none.
    } else if field(&head, "transfer-encoding") == Some("chunked") {
        answer.is_whole = read_chunks(client, &mut answer.body).await.is_some();
    } else if let Some(length) = field(&head, "content-length") {
        let length = length.parse().unwrap();
        let read = client.take(length).read_to_end(&mut answer.body).await;
        answer.is_whole = read.is_ok_and(|read| read as u64 == length);
    } else {
        answer.is_whole = client.read_to_end(&mut answer.body).await.is_ok();
        answer.stays = false;
    }
    answer.stays &= answer.is_whole;
    Some(answer)
}

/// Reads chunks to the last one; nothing if that does not come.
async fn read_chunks(client: &mut BufReader<TcpStream>, body: &mut Vec<u8>) -> Option<()> {
    loop {
        let mut line = String::new();
        client.read_line(&mut line).await.ok()?;
        let size = usize::from_str_radix(line.strip_suffix("\r\n")?, 16).ok()?;
        if size == 0 {
            return loop {
                line.clear();
                client.read_line(&mut line).await.ok()?;
                if line == "\r\n" {
                    break Some(());
                }
                line.strip_suffix("\r\n")?;
            };
        }
        let mut chunk = vec![0; size + 2];
        client.read_exact(&mut chunk).await.ok()?;
        body.extend_from_slice(&chunk[..size]);
    }
}

/// Reads to the first empty line.
async fn read_head(stream: &mut BufReader<TcpStream>) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_until(b'\n', &mut head).await.ok()? == 0 {
            return None;
        }
    }
    Some(String::from_utf8_lossy(&head).into_owned())
}

fn field<'a>(head: &'a str, wanted: &str) -> Option<&'a str> {
    let mut fields = head.lines().filter_map(|line| line.split_once(':'));
    fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
}

/// An upstream that plays one case, and answers cleanly whatever else it is asked.
struct Scripted {
    address: SocketAddr,
    log: Arc<Mutex<Vec<Connection>>>,
    _task: AbortOnDropHandle<()>,
}

/// A connection to an upstream.
#[derive(Clone, Default)]
struct Connection {
    /// The last words of the paths that were asked for on it.
    asked: Vec<String>,
    /// Whether the other side closed it.
    is_ended: bool,
}

/// What is to be played.
#[derive(Clone)]
struct Script {
    message: Vec<u8>,
    /// Whether nothing more is sent after it.
    ends: bool,
}

impl Scripted {
    async fn of_all(cases: &[Case]) -> Vec<Self> {
        stream::iter(cases).then(Self::start).collect().await
    }

    async fn start(case: &Case) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let script = Script { message: case.message.clone(), ends: ends_there(case) };
        let log = Arc::<Mutex<Vec<Connection>>>::default();
        let shared = Arc::clone(&log);
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(converse(stream, script.clone(), Arc::clone(&shared)));
            }
        });
        Self { address, log, _task: AbortOnDropHandle::new(task) }
    }

    fn connections(&self) -> Vec<Connection> {
        self.log.lock().unwrap().clone()
    }
}

async fn converse(stream: TcpStream, script: Script, log: Arc<Mutex<Vec<Connection>>>) {
    let index = {
        let mut log = log.lock().unwrap();
        log.push(Connection::default());
        log.len() - 1
    };
    let mut stream = BufReader::new(stream);
    while let Some(head) = read_head(&mut stream).await {
        let path = head.split(' ').nth(1).unwrap_or_default();
        let asked = path.rsplit('/').next().unwrap_or_default().to_owned();
        let is_case = asked == "case";
        log.lock().unwrap()[index].asked.push(asked);
        let clean = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{CLEAN}", CLEAN.len());
        let message = if is_case { &script.message } else { clean.as_bytes() };
        // What is refused early may be closed before all of it was taken.
        drop(stream.write_all(message).await);
        if is_case && script.ends {
            drop(stream.shutdown().await);
        }
    }
    log.lock().unwrap()[index].is_ended = true;
}

/// Returns what comes of the cases behind nginx, told to keep connections and to pass on upgrades.
async fn ask_nginx(cases: &[Case]) -> Option<Vec<Played>> {
    let upstreams = Scripted::of_all(cases).await;
    let (mut http, mut server) = (String::new(), String::new());
    for (index, upstream) in upstreams.iter().enumerate() {
        let address = upstream.address;
        writeln!(http, "upstream u{index} {{ server {address} max_fails=0; keepalive 2; }}")
            .unwrap();
        writeln!(
            server,
            "location /{index}/ {{ proxy_pass http://u{index}; proxy_http_version 1.1;
             proxy_set_header Connection $http_connection; proxy_set_header Upgrade $http_upgrade; }}"
        )
        .unwrap();
    }
    let nginx = Nginx::start(&http, &server).await?;
    Some(ask_all(nginx.address, cases, SHORT_PATIENCE).await)
}

/// Returns the table of what nginx passes on of that which is refused here, by rule, and the other way
/// round.
fn compare(cases: &[Case], ours: &[Played], theirs: &[Played]) -> String {
    let passes = |played: &Played| {
        played.answer.as_ref().is_some_and(|answer| answer.is_whole && answer.status < 500)
    };
    let (mut same, mut looser) = (0, BTreeMap::<&str, Vec<&str>>::new());
    let (mut stricter, mut poisoned) = (Vec::new(), Vec::new());
    for ((case, ours), theirs) in cases.iter().zip(ours).zip(theirs) {
        match (passes(ours), passes(theirs)) {
            (false, true) => looser.entry(&case.expect).or_default().push(&case.name),
            (true, false) => stricter.push((&case.name, &theirs.answer)),
            (true, true) | (false, false) => same += 1,
        }
        if !theirs.after.as_ref().is_some_and(is_clean) {
            poisoned.push((&case.name, &theirs.after));
        }
    }
    let mut table = format!("{} answers, {same} with the same outcome.\n\n", cases.len());
    table += "| refused or cut off here, passed on as whole by nginx | cases |\n|---|---|\n";
    for (rule, names) in looser {
        writeln!(table, "| {rule} ({}) | {} |", names.len(), names.join("; ")).unwrap();
    }
    table += "\n| passed on here, not by nginx | its answer |\n|---|---|\n";
    for (name, answer) in stricter {
        writeln!(table, "| {name} | {} |", told(answer.as_ref())).unwrap();
    }
    table +=
        "\n| the next request through nginx was not answered cleanly | its answer |\n|---|---|\n";
    for (name, answer) in poisoned {
        writeln!(table, "| {name} | {} |", told(answer.as_ref())).unwrap();
    }
    table
}

fn told(answer: Option<&Answer>) -> String {
    answer.map_or("none".to_owned(), |answer| {
        let cut = if answer.is_whole { "" } else { ", cut off" };
        format!("{}{cut} `{}`", answer.status, text(&answer.body))
    })
}
