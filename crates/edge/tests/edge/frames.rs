//! An HTTP/2 client that writes its frames by hand, so that it can do what no client may.

use std::time::Duration;

use portway_testkit::ca::TestCa;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::support;

pub(crate) use portway_testkit::frames::{
    ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE, PRIORITY,
    RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame, settings_payload,
};

/// How long a frame is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection on which nothing happens by itself.
pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    host: String,
}

impl Client {
    /// Makes a connection on which nothing was said.
    pub(crate) async fn silent(address: std::net::SocketAddr, ca: &TestCa, host: &str) -> Self {
        let stream = support::tls(address, ca, host, &["h2"]).await.unwrap();
        Self { stream, host: host.to_owned() }
    }

    /// Makes a connection with these settings. Indexed fields are switched off, so that every
    /// answer's status can be read by itself.
    pub(crate) async fn with(
        address: std::net::SocketAddr,
        ca: &TestCa,
        host: &str,
        settings: &[(u16, u32)],
    ) -> Self {
        let mut client = Self::silent(address, ca, host).await;
        client.raw(PREFACE).await;
        let mut all = vec![(1, 0)];
        all.extend_from_slice(settings);
        client.send(SETTINGS, 0, 0, &settings_payload(&all)).await;
        loop {
            let frame = client.frame().await.expect("the edge speaks HTTP/2");
            if frame.kind == SETTINGS && frame.flags & ACK == 0 {
                client.send(SETTINGS, ACK, 0, &[]).await;
            } else if frame.kind == SETTINGS {
                return client;
            }
        }
    }

    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        // The edge may have closed already, which is for the reader to see.
        drop(self.stream.write_all(bytes).await);
        drop(self.stream.flush().await);
    }

    pub(crate) async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        self.raw(&frame(kind, flags, stream, payload)).await;
    }

    /// Asks for a path, without a body.
    pub(crate) async fn get(&mut self, stream: u32, path: &str) {
        let block = self.block("GET", path, &[]);
        self.send(HEADERS, END_STREAM | END_HEADERS, stream, &block).await;
    }

    /// Begins a request with a body.
    pub(crate) async fn post(&mut self, stream: u32, path: &str) {
        let block = self.block("POST", path, &[]);
        self.send(HEADERS, END_HEADERS, stream, &block).await;
    }

    /// Returns the head of a request.
    pub(crate) fn block(&self, method: &str, path: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let pseudo = [
            (":method", method),
            (":scheme", "https"),
            (":path", path),
            (":authority", &*self.host),
        ];
        fields(pseudo.iter().chain(more))
    }

    /// Reads a frame; nothing when the edge has closed.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        timeout(PATIENCE, self.next()).await.expect("no frame in time")
    }

    async fn next(&mut self) -> Option<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head).await.ok()?;
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).await.ok()?;
        let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
        Some(Frame { kind: head[3], flags: head[4], stream, payload })
    }

    /// Reads until a stream has its answer, and returns the status. What else happens is passed
    /// over; a reset or the end of the connection gives an error that says so.
    pub(crate) async fn status(&mut self, stream: u32) -> Result<u16, String> {
        loop {
            let Some(frame) = self.frame().await else { return Err("closed".to_owned()) };
            match frame.kind {
                HEADERS if frame.stream == stream => return Ok(status(&frame.payload)),
                RST_STREAM if frame.stream == stream => return Err(frame.tell()),
                GOAWAY => return Err(frame.tell()),
                _ => {}
            }
        }
    }

    /// Reads until the connection is ended and returns the code of the last GOAWAY.
    pub(crate) async fn goaway(&mut self) -> Option<u32> {
        let mut code = None;
        while let Some(frame) = self.frame().await {
            if frame.kind == GOAWAY {
                code = frame.code();
            }
        }
        code
    }
}

impl Frame {
    /// Returns the error code of a `GOAWAY` or `RST_STREAM`.
    pub(crate) fn code(&self) -> Option<u32> {
        let at = match self.kind {
            RST_STREAM => 0,
            GOAWAY => 4,
            _ => return None,
        };
        Some(u32::from_be_bytes(self.payload.get(at..at + 4)?.try_into().ok()?))
    }

    fn tell(&self) -> String {
        let kind = if self.kind == GOAWAY { "GOAWAY" } else { "RST_STREAM" };
        format!("{kind} {}", self.code().unwrap_or(u32::MAX))
    }
}

/// Reads the status, which comes first: from the static table, or as three digits with or without
/// Huffman codes (RFC 7541, appendices A and B).
fn status(block: &[u8]) -> u16 {
    // The size of the table was changed before.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        0x88 => return 200,
        0x89 => return 204,
        0x8a => return 206,
        0x8b => return 304,
        0x8c => return 400,
        0x8d => return 404,
        0x8e => return 500,
        _ => {}
    }
    let (huffman, length) = (block[1] & 0x80 != 0, usize::from(block[1] & 0x7f));
    let text = &block[2..2 + length];
    if !huffman {
        return std::str::from_utf8(text).unwrap().parse().unwrap();
    }
    let bits: Vec<u8> =
        text.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let (mut at, mut status) = (0, 0);
    let take = |at: usize, count: usize| {
        bits[at..at + count].iter().fold(0, |sum, bit| sum * 2 + u16::from(*bit))
    };
    for _ in 0..3 {
        let short = take(at, 5);
        let (digit, used) = if short < 3 { (short, 5) } else { (take(at, 6) - 0b01_1001 + 3, 6) };
        status = status * 10 + digit;
        at += used;
    }
    status
}
