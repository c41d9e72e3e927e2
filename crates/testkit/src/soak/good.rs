//! Clients that keep the rules, each of whose requests is to be answered well.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ground::{FILES, FIXED, Ground, LONE, PAIR, SECURE, STEADY},
    tally::Kind,
};
use crate::client::{Outcome, Speech, Web};

/// How long a byte that is due may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The size of a slow download, and of the pieces in which it is read.
const DOWNLOAD: usize = 3_000_000;
const PIECE: usize = 32 * 1024;
/// The size of an upload: more than is read before a target is taken.
const UPLOAD: usize = 2_000_000;
/// How many messages pass through one tunnel.
const MESSAGES: u64 = 100;

/// Starts them.
pub(super) fn spawn(ground: &Arc<Ground>, clients: &mut JoinSet<anyhow::Result<()>>) {
    let (plain, tls, http2) = (&Speech::Http1, &ground.tls, &ground.http2);
    for (name, kind, speech, host) in [
        ("plain", Kind::Kept, plain, STEADY),
        ("plain-too", Kind::Kept, plain, STEADY),
        ("tls", Kind::Kept, tls, SECURE),
        ("http2", Kind::Kept, http2, SECURE),
        ("http2-too", Kind::Kept, http2, SECURE),
        ("new", Kind::New, plain, STEADY),
        ("new-tls", Kind::New, tls, SECURE),
        ("new-http2", Kind::New, http2, SECURE),
        ("pair", Kind::Pair, plain, PAIR),
        ("pair-http2", Kind::Pair, http2, PAIR),
        ("lone", Kind::Lone, plain, LONE),
        ("lone-http2", Kind::Lone, http2, LONE),
    ] {
        let client = Client { ground: Arc::clone(ground), name, kind, host };
        clients.spawn(client.ask(speech.clone()));
    }
    clients.spawn(content(Arc::clone(ground)));
    clients.spawn(upload(Arc::clone(ground)));
    clients.spawn(download(Arc::clone(ground)));
    clients.spawn(tunnel(Arc::clone(ground)));
}

struct Client {
    ground: Arc<Ground>,
    name: &'static str,
    kind: Kind,
    host: &'static str,
}

impl Client {
    /// Asks again and again, each time something else.
    async fn ask(self, speech: Speech) -> anyhow::Result<()> {
        let port = match speech {
            Speech::Http1 => self.ground.http.port(),
            Speech::Http1Tls(_) | Speech::Http2(_) => self.ground.https.port(),
        };
        let mut web = Web::new(port, speech.clone());
        for number in 0_u64.. {
            if self.kind == Kind::New {
                web = Web::new(port, speech.clone());
            }
            self.exchange(&mut web, number).await;
            rest(self.ground.pause, number).await;
        }
        Ok(())
    }

    async fn exchange(&self, web: &mut Web, number: u64) {
        let id = format!("{}-{number}-", self.name);
        // What is not idempotent may be lost with the target that has it.
        let posts = number.is_multiple_of(3) && self.kind != Kind::Pair;
        let (method, path, body) = if posts {
            (Method::POST, "/".to_owned(), id.clone() + &"x".repeat(length(number)))
        } else {
            (Method::GET, format!("/{id}"), String::new())
        };
        let outcome = web.ask(method.clone(), self.host, &path, Bytes::from(body)).await;
        let tally = &self.ground.tally;
        match outcome {
            Ok(Outcome::Answered(answer)) => {
                let told = String::from_utf8_lossy(&answer.body);
                let is_right = answer.status == StatusCode::OK && told.contains(&id);
                // The proxy says so when no target answers.
                let is_excused = self.kind == Kind::Lone && answer.status.is_server_error();
                if is_right || is_excused {
                    tally.done(self.kind);
                } else {
                    let told = told.chars().take(200).collect::<String>();
                    tally.failed(self.kind, &format!("{method} {id}: {}: {told}", answer.status));
                }
            }
            // Between two requests a connection may end; a new one may not.
            Ok(Outcome::NotSent) if self.kind != Kind::New => {}
            Ok(Outcome::NotSent) => tally.failed(self.kind, "a new connection was closed"),
            Ok(Outcome::Lost(_)) if self.kind == Kind::Lone => {}
            Ok(Outcome::Lost(why)) => tally.failed(self.kind, &format!("{method} {id}: {why}")),
            Err(error) => tally.failed(self.kind, &format!("{error:#}")),
        }
    }
}

/// From one byte to some thousand.
fn length(number: u64) -> usize {
    usize::try_from(number * 7_919 % 6_000).unwrap_or(0)
}

/// Rests, from half as long to one and a half times as long as is said.
pub(super) async fn rest(pause: Duration, number: u64) {
    let tenths = u32::try_from(5 + number * 7 % 11).unwrap_or(10);
    sleep(pause * tenths / 10).await;
}

/// What the edge answers by itself, over both protocols.
async fn content(ground: Arc<Ground>) -> anyhow::Result<()> {
    let mut webs =
        [&ground.tls, &ground.http2].map(|speech| Web::new(ground.https.port(), speech.clone()));
    let asked = [
        (FIXED, "/", "fixed".to_owned()),
        (FILES, "/small.txt", "small".repeat(200)),
        (FILES, "/large.txt", "large".repeat(100_000)),
    ];
    for number in 0_u64.. {
        for web in &mut webs {
            for (host, path, wanted) in &asked {
                // Each host has a certificate of its own, and so a connection.
                web.close();
                match web.ask(Method::GET, host, path, Bytes::new()).await {
                    Ok(Outcome::Answered(answer)) if answer.is(wanted) => {
                        ground.tally.done(Kind::Content);
                    }
                    other => {
                        let told = format!("{host}{path}: {other:?}");
                        ground.tally.failed(Kind::Content, told.get(..300).unwrap_or(&told));
                    }
                }
            }
        }
        rest(ground.pause * 20, number).await;
    }
    Ok(())
}

async fn upload(ground: Arc<Ground>) -> anyhow::Result<()> {
    let body = Bytes::from(vec![b'u'; UPLOAD]);
    let mut webs = [
        (Web::new(ground.http.port(), Speech::Http1), STEADY),
        (Web::new(ground.https.port(), ground.http2.clone()), SECURE),
    ];
    for number in 0_u64.. {
        for (web, host) in &mut webs {
            match web.ask(Method::POST, host, "/sink", body.clone()).await {
                Ok(Outcome::Answered(answer)) if answer.is(&UPLOAD.to_string()) => {
                    ground.tally.done(Kind::Upload);
                }
                Ok(Outcome::NotSent) => {}
                other => ground.tally.failed(Kind::Upload, &format!("{host}: {other:?}")),
            }
        }
        rest(ground.pause * 20, number).await;
    }
    Ok(())
}

/// Downloads that are read more slowly than they come.
async fn download(ground: Arc<Ground>) -> anyhow::Result<()> {
    loop {
        match read_slowly(&ground).await {
            Ok(read) if read > DOWNLOAD => ground.tally.done(Kind::Download),
            Ok(read) => ground.tally.failed(Kind::Download, &format!("ended after {read} bytes")),
            Err(error) => ground.tally.failed(Kind::Download, &error.to_string()),
        }
    }
}

async fn read_slowly(ground: &Ground) -> std::io::Result<usize> {
    let mut stream = TcpStream::connect(ground.http).await?;
    let ask =
        format!("GET /big/{DOWNLOAD} HTTP/1.1\r\nHost: {STEADY}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await?;
    let mut piece = vec![0; PIECE];
    let mut read = 0;
    loop {
        match timeout(PATIENCE, stream.read(&mut piece)).await?? {
            0 => return Ok(read),
            more => read += more,
        }
        sleep(Duration::from_millis(30)).await;
    }
}

/// Tunnels that are left after some messages.
async fn tunnel(ground: Arc<Ground>) -> anyhow::Result<()> {
    loop {
        if let Err(error) = talk(&ground).await {
            ground.tally.failed(Kind::Tunnel, &error.to_string());
        }
    }
}

async fn talk(ground: &Ground) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(ground.http).await?;
    let ask = format!(
        "GET /ws HTTP/1.1\r\nHost: {STEADY}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(ask.as_bytes()).await?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(timeout(PATIENCE, stream.read_u8()).await??);
    }
    if !head.starts_with(b"HTTP/1.1 101") {
        return Err(std::io::Error::other(String::from_utf8_lossy(&head).into_owned()));
    }
    for number in 0..MESSAGES {
        stream.write_u64(number).await?;
        if timeout(PATIENCE, stream.read_u64()).await?? != number {
            return Err(std::io::Error::other("something else came back"));
        }
        ground.tally.done(Kind::Tunnel);
        rest(ground.pause, number).await;
    }
    Ok(())
}
