//! Clients that ask without pause in every way there is, and an exact account of what was lost.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::Full;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portway_testkit::client::{Answer, Outcome, chain, settle};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
};

use crate::{support::eventually, web::Web};

/// How long an answer may take before it counts as lost.
const PATIENCE: Duration = Duration::from_secs(20);
/// The size of a body that is posted.
const BODY: usize = 20_000;
/// The size of a download, and of the pieces in which it is read.
const DOWNLOAD: usize = 30_000_000;
const PIECE: usize = 64 * 1024;

/// Hosts of the two sites under load: plain HTTP, and HTTPS.
pub(crate) const PLAIN: &str = "plain.localhost";
pub(crate) const SECURE: &str = "secure.localhost";

/// A load that is under way.
pub(crate) struct Load {
    tally: Arc<Tally>,
    clients: JoinSet<()>,
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    stop: AtomicBool,
    /// Requests that were answered as they should be, by kind.
    counts: [AtomicU64; KINDS.len()],
    lost: Mutex<Vec<String>>,
}

/// The kinds of load.
const KINDS: [&str; 6] = ["kept", "new", "post", "http2", "download", "tunnel"];

impl Load {
    /// Begins, and returns when each kind of client has its first answer.
    pub(crate) async fn begin(web: &Web, http: u16) -> Self {
        let tally = Arc::<Tally>::default();
        let mut clients = JoinSet::new();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, http));
        for _ in 0..4 {
            clients.spawn(keep(address, Arc::clone(&tally), Method::GET));
        }
        for _ in 0..2 {
            clients.spawn(keep(address, Arc::clone(&tally), Method::POST));
            clients.spawn(renew(address, Arc::clone(&tally)));
            clients.spawn(multiplex(web.clone(), Arc::clone(&tally)));
        }
        clients.spawn(download(address, Arc::clone(&tally)));
        clients.spawn(tunnel(address, Arc::clone(&tally)));
        let load = Self { tally, clients };
        load.go_on(1).await;
        load
    }

    /// Waits until each kind of client, downloads aside, has so many more answers.
    pub(crate) async fn go_on(&self, more: u64) {
        let kinds = [0, 1, 2, 3, 5];
        let seen: Vec<u64> = kinds.iter().map(|kind| self.tally.count(*kind)).collect();
        eventually("the load to go on", async || {
            let enough =
                kinds.iter().zip(&seen).all(|(kind, seen)| self.tally.count(*kind) >= seen + more);
            (enough || self.tally.has_lost()).then_some(())
        })
        .await;
    }

    /// Ends it, asserts that nothing was lost, and says how many requests there were.
    pub(crate) async fn end(mut self) -> u64 {
        self.tally.stop.store(true, Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        let counts: Vec<u64> = (0..KINDS.len()).map(|kind| self.tally.count(kind)).collect();
        eprintln!("answered {:?}", KINDS.iter().zip(&counts).collect::<Vec<_>>());
        let lost = self.tally.lost.lock().unwrap();
        assert!(lost.is_empty(), "{} lost: {lost:#?}", lost.len());
        counts.iter().sum()
    }
}

impl Tally {
    fn goes_on(&self) -> bool {
        !self.stop.load(Relaxed)
    }

    fn count(&self, kind: usize) -> u64 {
        self.counts[kind].load(Relaxed)
    }

    fn has_lost(&self) -> bool {
        !self.lost.lock().unwrap().is_empty()
    }

    fn answered(&self, kind: &str) {
        let place = KINDS.iter().position(|known| *known == kind).unwrap();
        self.counts[place].fetch_add(1, Relaxed);
    }

    fn lose(&self, kind: &str, why: &str) {
        self.lost.lock().unwrap().push(format!("{kind}: {why}"));
    }

    /// Notes what became of a request. One that was not written because the connection was closed
    /// before is nobody's loss.
    fn note(&self, kind: &str, outcome: &Outcome, wanted: usize) {
        match outcome {
            Outcome::Answered(Answer { status, body }) => {
                if *status == StatusCode::OK && body.len() >= wanted {
                    self.answered(kind);
                } else {
                    self.lose(kind, &format!("{status} with {} bytes: {body:?}", body.len()));
                }
            }
            Outcome::NotSent => {}
            Outcome::Lost(why) => self.lose(kind, why),
        }
    }
}

type Plain = http1::SendRequest<Full<Bytes>>;

async fn open(address: SocketAddr) -> Result<Plain, String> {
    let stream = TcpStream::connect(address).await.map_err(|error| format!("connect: {error}"))?;
    stream.set_nodelay(true).unwrap();
    let (sender, connection) =
        http1::handshake(TokioIo::new(stream)).await.map_err(|error| chain(&error))?;
    tokio::spawn(connection);
    Ok(sender)
}

fn request(method: &Method, path: &str, body: Bytes) -> Request<Full<Bytes>> {
    let request = Request::builder().method(method).uri(path).header("host", PLAIN);
    request.body(Full::new(body)).unwrap()
}

/// One connection that is kept as long as it is open.
async fn keep(address: SocketAddr, tally: Arc<Tally>, method: Method) {
    let (kind, path, body, wanted) = if method == Method::POST {
        ("post", "/sink", Bytes::from(vec![b'x'; BODY]), 5)
    } else {
        ("kept", "/big/1000", Bytes::new(), 1000)
    };
    let mut kept: Option<Plain> = None;
    let mut pause = 0;
    while tally.goes_on() {
        let mut sender = match kept.take().filter(|sender| !sender.is_closed()) {
            Some(sender) => sender,
            None => match open(address).await {
                Ok(sender) => sender,
                Err(why) => {
                    tally.lose(kind, &why);
                    continue;
                }
            },
        };
        let outcome = match sender.ready().await {
            Ok(()) => {
                let request = request(&method, path, body.clone());
                settle(sender.try_send_request(request), PATIENCE).await
            }
            Err(_) => Outcome::NotSent,
        };
        if matches!(outcome, Outcome::Answered(_)) {
            kept = Some(sender);
        }
        tally.note(kind, &outcome, wanted);
        // Clients rest now and then, so that connections are found unused.
        pause = (pause + 7) % 40;
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }
}

/// A connection for each request.
async fn renew(address: SocketAddr, tally: Arc<Tally>) {
    while tally.goes_on() {
        let outcome = match open(address).await {
            Ok(mut sender) => {
                let request = request(&Method::GET, "/big/1000", Bytes::new());
                settle(sender.try_send_request(request), PATIENCE).await
            }
            Err(why) => Outcome::Lost(why),
        };
        let outcome = match outcome {
            // A fresh connection that is closed at once has lost its request.
            Outcome::NotSent => Outcome::Lost("a new connection was closed".to_owned()),
            other @ (Outcome::Answered(_) | Outcome::Lost(_)) => other,
        };
        tally.note("new", &outcome, 1000);
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

/// Several requests at once over one connection, over HTTP/2 and TLS.
async fn multiplex(web: Web, tally: Arc<Tally>) {
    while tally.goes_on() {
        let stream = match web.connect(SECURE, Ipv4Addr::LOCALHOST, b"h2").await {
            Ok(stream) => stream,
            Err(error) => {
                tally.lose("http2", &format!("connect: {error}"));
                continue;
            }
        };
        let (sender, connection) =
            match http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await {
                Ok(made) => made,
                Err(error) => {
                    tally.lose("http2", &chain(&error));
                    continue;
                }
            };
        tokio::spawn(connection);
        while tally.goes_on() && !sender.is_closed() {
            let mut streams = JoinSet::new();
            for _ in 0..4 {
                let mut sender = sender.clone();
                streams.spawn(async move {
                    let request = Request::builder().uri(format!("https://{SECURE}/big/1000"));
                    let request = request.body(Full::new(Bytes::new())).unwrap();
                    match sender.ready().await {
                        Ok(()) => settle(sender.try_send_request(request), PATIENCE).await,
                        Err(_) => Outcome::NotSent,
                    }
                });
            }
            while let Some(outcome) = streams.join_next().await {
                tally.note("http2", &outcome.unwrap(), 1000);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// Downloads that take longer than several upgrades.
async fn download(address: SocketAddr, tally: Arc<Tally>) {
    while tally.goes_on() {
        match slowly(address).await {
            Ok(got) if got >= DOWNLOAD => tally.answered("download"),
            Ok(got) => tally.lose("download", &format!("ended after {got} bytes")),
            Err(error) => tally.lose("download", &error.to_string()),
        }
    }
}

async fn slowly(address: SocketAddr) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = format!("GET /big/{DOWNLOAD} HTTP/1.1\r\nHost: {PLAIN}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut piece = vec![0; PIECE];
    let mut got = 0;
    loop {
        match tokio::time::timeout(PATIENCE, stream.read(&mut piece)).await?? {
            0 => return Ok(got),
            read => got += read,
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// One tunnel that stays open from the beginning to the end.
async fn tunnel(address: SocketAddr, tally: Arc<Tally>) {
    if let Err(error) = talk(address, &tally).await {
        tally.lose("tunnel", &error.to_string());
    }
}

async fn talk(address: SocketAddr, tally: &Tally) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {PLAIN}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(std::io::Error::other(String::from_utf8_lossy(&head).into_owned()));
    }
    let mut number = 0_u64;
    while tally.goes_on() {
        stream.write_u64(number).await?;
        let back = tokio::time::timeout(PATIENCE, stream.read_u64()).await??;
        if back != number {
            return Err(std::io::Error::other("something else came back"));
        }
        number += 1;
        tally.answered("tunnel");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
