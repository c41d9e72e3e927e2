//! Clients that are in order and no good guests: slow ones, such as go away, and such as cannot agree
//! on TLS.

use std::{sync::Arc, time::Duration};

use anyhow::Context as _;
use rustls::ClientConfig;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{Instant, sleep, timeout},
};

use super::{
    good::rest,
    ground::{Ground, SECURE, STEADY},
    tally::Kind,
};
use crate::{
    ca::TestCa,
    client::{secure, trust},
    frames::{END_HEADERS, END_STREAM, HEADERS, PREFACE, RST_STREAM, SETTINGS, fields, frame},
};

/// A client that sends too slowly is to be cut off before this; ten seconds are in its favour.
const CUT: Duration = Duration::from_secs(40);
/// How long a client that takes or says nothing stays.
const STAY: Duration = Duration::from_secs(15);
/// How much is asked for by those who go away.
const LARGE: &str = "/big/50000000";

/// Starts them.
pub(super) fn spawn(ground: &Arc<Ground>, clients: &mut JoinSet<anyhow::Result<()>>) {
    clients.spawn(send_slowly(Arc::clone(ground), "GET / HTTP/1.1\r\nX-Slow: ".to_owned()));
    let post = format!("POST /sink HTTP/1.1\r\nHost: {STEADY}\r\nContent-Length: 1000\r\n\r\n");
    clients.spawn(send_slowly(Arc::clone(ground), post));
    clients.spawn(stay(Arc::clone(ground), String::new()));
    let ask = format!("GET {LARGE} HTTP/1.1\r\nHost: {STEADY}\r\n\r\n");
    clients.spawn(stay(Arc::clone(ground), ask));
    clients.spawn(leave(Arc::clone(ground)));
    clients.spawn(disagree(Arc::clone(ground)));
}

/// Sends what it begins with, and then a byte now and then.
async fn send_slowly(ground: Arc<Ground>, begins: String) -> anyhow::Result<()> {
    loop {
        let began = Instant::now();
        let mut stream = TcpStream::connect(ground.http).await?;
        stream.write_all(begins.as_bytes()).await?;
        let cut = timeout(CUT, async {
            let mut answer = [0; 1024];
            loop {
                tokio::select! {
                    read = stream.read(&mut answer) => if matches!(read, Ok(0) | Err(_)) { return },
                    () = sleep(Duration::from_millis(500)) => {}
                }
                if stream.write_all(b"x").await.is_err() {
                    return;
                }
            }
        });
        match cut.await {
            Ok(()) => ground.tally.done(Kind::Slow),
            Err(_) => {
                let seconds = began.elapsed().as_secs();
                ground.tally.failed(Kind::Slow, &format!("not cut off after {seconds} s"));
            }
        }
    }
}

/// Asks, or not, and takes nothing.
async fn stay(ground: Arc<Ground>, ask: String) -> anyhow::Result<()> {
    loop {
        let mut stream = TcpStream::connect(ground.http).await?;
        stream.write_all(ask.as_bytes()).await?;
        sleep(STAY).await;
        ground.tally.done(Kind::Slow);
    }
}

/// Goes away at every moment there is.
async fn leave(ground: Arc<Ground>) -> anyhow::Result<()> {
    let config = Arc::new(trust(&ground.root, b"h2")?);
    let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: {STEADY}\r\n\r\n");
    let post = format!("POST /sink HTTP/1.1\r\nHost: {STEADY}\r\nContent-Length: 90000\r\n\r\n");
    let messages = [
        (get(LARGE), 100_000),
        (get("/hang"), 0),
        (post + &"x".repeat(50_000), 0),
        ("GET / HTT".to_owned(), 0),
    ];
    for number in 0_u64.. {
        for (message, bytes) in &messages {
            abandon(&ground, message, *bytes).await?;
            ground.tally.done(Kind::Aborted);
            rest(ground.pause * 2, number).await;
        }
        abandon_stream(&ground, &config).await?;
        ground.tally.done(Kind::Aborted);
        rest(ground.pause * 2, number).await;
    }
    Ok(())
}

/// Sends something, reads at least so many bytes of the answer, and closes.
async fn abandon(ground: &Ground, message: &str, bytes: usize) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(ground.http).await?;
    stream.write_all(message.as_bytes()).await?;
    let mut left = bytes;
    let mut piece = vec![0; 16 * 1024];
    while left > 0 {
        let read = timeout(CUT, stream.read(&mut piece)).await??;
        anyhow::ensure!(read > 0, "a download ended by itself");
        left = left.saturating_sub(read);
    }
    Ok(())
}

/// Ends one stream of a connection, and leaves another as it is.
async fn abandon_stream(ground: &Ground, config: &Arc<ClientConfig>) -> anyhow::Result<()> {
    let stream = TcpStream::connect(ground.https).await?;
    let mut stream = secure(config, SECURE, stream).await?;
    let head = fields(&[
        (":method", "GET"),
        (":scheme", "https"),
        (":path", LARGE),
        (":authority", SECURE),
    ]);
    let ask = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &head);
    let message = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &ask(1), &ask(3)].concat();
    stream.write_all(&message).await?;
    stream.flush().await?;
    let mut piece = vec![0; 16 * 1024];
    for _ in 0..2 {
        let read = timeout(CUT, stream.read(&mut piece)).await??;
        anyhow::ensure!(read > 0, "a stream ended by itself");
    }
    stream.write_all(&frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await?;
    stream.flush().await?;
    Ok(())
}

/// Fails to agree on TLS, in every way there is.
async fn disagree(ground: Arc<Ground>) -> anyhow::Result<()> {
    let stranger = TestCa::new()?.root_pem();
    let distrusts = Arc::new(trust(&stranger, b"h2")?);
    let trusts = Arc::new(trust(&ground.root, b"h2")?);
    let speaks_otherwise = Arc::new(trust(&ground.root, b"smtp")?);
    let hello = [0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3, 1, 2, 3];
    for number in 0_u64.. {
        let agreed = match number % 6 {
            0 => shake(&ground, &distrusts, SECURE).await?,
            1 => shake(&ground, &trusts, "nobody.localhost").await?,
            2 => shake(&ground, &speaks_otherwise, SECURE).await?,
            3 => utter(&ground, &hello).await?,
            4 => utter(&ground, b"GET / HTTP/1.1\r\nHost: secure.localhost\r\n\r\n").await?,
            _ => utter(&ground, &[0x15; 200]).await?,
        };
        if agreed {
            ground.tally.failed(Kind::Handshake, &format!("way {} was agreed to", number % 6));
        }
        ground.tally.done(Kind::Handshake);
        rest(ground.pause * 2, number).await;
    }
    Ok(())
}

/// Tells whether a handshake succeeds.
async fn shake(ground: &Ground, config: &Arc<ClientConfig>, host: &str) -> anyhow::Result<bool> {
    let stream = TcpStream::connect(ground.https).await?;
    let shaken = timeout(CUT, secure(config, host, stream)).await;
    Ok(shaken.context("a handshake hangs")?.is_ok())
}

/// Says something else than a handshake, and goes away. Tells whether it was answered by HTTP.
async fn utter(ground: &Ground, bytes: &[u8]) -> anyhow::Result<bool> {
    let mut stream = TcpStream::connect(ground.https).await?;
    stream.write_all(bytes).await?;
    let mut answer = [0; 64];
    // Half of a greeting is waited for.
    let read = timeout(Duration::from_millis(200), stream.read(&mut answer)).await;
    let read = read.map_or(0, |read| read.unwrap_or(0));
    Ok(answer.get(..read).is_some_and(|answer| answer.starts_with(b"HTTP/1.1 200")))
}
