//! Clients that break the rules: the corpus of requests over HTTP/1.1, and heads and frames that
//! HTTP/2 forbids. None of them may be answered as if it were in order.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use rustls::ClientConfig;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};

use super::{
    ground::{Ground, SECURE},
    tally::{Kind, Tally},
};
use crate::{
    client::{secure, trust},
    corpus::{self, Case},
    frames::{
        self, ACK, CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEADERS, PING, PREFACE,
        PRIORITY, RST_STREAM, SETTINGS, WINDOW_UPDATE, fields, frame,
    },
};

/// One request of so many is malformed.
const SHARE: u64 = 20;
/// How many are under way at once. Some are waited for in vain.
const AT_ONCE: usize = 8;
/// How long an answer may take; what is not complete gets none.
const PATIENCE: Duration = Duration::from_secs(2);
/// As much of an answer is read.
const ENOUGH: usize = 64 * 1024;

/// What is sent.
struct Arms {
    ground: Arc<Ground>,
    http1: Vec<Case>,
    http2: Vec<(&'static str, Vec<u8>)>,
    tls1: Arc<ClientConfig>,
    tls2: Arc<ClientConfig>,
    next: AtomicUsize,
}

/// Starts them.
pub(super) fn spawn(
    ground: &Arc<Ground>,
    clients: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let arms = Arc::new(Arms {
        ground: Arc::clone(ground),
        http1: corpus::requests()?.into_iter().filter(Case::is_malformed).collect(),
        http2: against_http2(),
        tls1: Arc::new(trust(&ground.root, b"http/1.1")?),
        tls2: Arc::new(trust(&ground.root, b"h2")?),
        next: AtomicUsize::new(0),
    });
    for _ in 0..AT_ONCE {
        clients.spawn(attack(Arc::clone(&arms)));
    }
    Ok(())
}

/// Sends one case after the other, as long as they are few among the requests.
async fn attack(arms: Arc<Arms>) -> anyhow::Result<()> {
    loop {
        if !is_due(&arms.ground.tally) {
            sleep(Duration::from_millis(20)).await;
            continue;
        }
        let number = arms.next.fetch_add(1, Relaxed);
        let (kind, name, outcome) = match number % 4 {
            0 | 2 => {
                let Some(case) = cycle(&arms.http1, number / 2) else { continue };
                let over_tls = number % 4 == 2;
                (Kind::Malformed1, case.name.as_str(), arms.http1(case, over_tls).await)
            }
            _ => {
                let Some((name, bytes)) = cycle(&arms.http2, number / 2) else { continue };
                (Kind::Malformed2, *name, arms.http2(bytes).await)
            }
        };
        match outcome {
            Ok(Met::Answered(status)) if (200..400).contains(&status) => {
                arms.ground.tally.failed(kind, &format!("{name}: answered with {status}"));
            }
            Ok(Met::Answered(_) | Met::Refused) => {}
            Err(error) => arms.ground.tally.failed(kind, &format!("{name}: {error}")),
        }
        arms.ground.tally.done(kind);
    }
}

fn is_due(tally: &Tally) -> bool {
    tally.sum(Kind::is_malformed) * (SHARE - 1) < tally.sum(Kind::is_request)
}

fn cycle<T>(all: &[T], number: usize) -> Option<&T> {
    all.get(number % all.len().max(1))
}

/// What a request met with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// An answer.
    Answered(u16),
    /// A refusal without one, or nothing at all.
    Refused,
}

impl Arms {
    async fn http1(&self, case: &Case, over_tls: bool) -> anyhow::Result<Met> {
        let address = if over_tls { self.ground.https } else { self.ground.http };
        let stream = TcpStream::connect(address).await?;
        if over_tls {
            let stream = secure(&self.tls1, SECURE, stream).await?;
            Ok(converse(stream, &case.message, http1).await)
        } else {
            Ok(converse(stream, &case.message, http1).await)
        }
    }

    async fn http2(&self, bytes: &[u8]) -> anyhow::Result<Met> {
        let stream = TcpStream::connect(self.ground.https).await?;
        let stream = secure(&self.tls2, SECURE, stream).await?;
        // Without a table, every status can be read by itself.
        let settings = frame(SETTINGS, 0, 0, &frames::settings_payload(&[(1, 0)]));
        let message = [PREFACE, &settings, bytes].concat();
        Ok(converse(stream, &message, http2).await)
    }
}

/// Sends a message and reads until `judge` knows what it met with.
async fn converse<S>(mut stream: S, message: &[u8], judge: fn(&[u8]) -> Option<Met>) -> Met
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut answer = Vec::new();
    let exchange = async {
        // What is refused early may be closed before all of it was taken.
        if let Err(error) = stream.write_all(message).await {
            drop::<io::Error>(error);
        } else {
            stream.flush().await?;
        }
        while answer.len() < ENOUGH {
            if let Some(met) = judge(&answer) {
                return Ok(met);
            }
            if stream.read_buf(&mut answer).await? == 0 {
                break;
            }
        }
        io::Result::Ok(judge(&answer).unwrap_or(Met::Refused))
    };
    // Closed, reset, or nothing in time: all are refusals.
    timeout(PATIENCE, exchange).await.map_or(Met::Refused, |met| met.unwrap_or(Met::Refused))
}

/// Reads the status of the first answer that is final.
fn http1(answer: &[u8]) -> Option<Met> {
    let text = String::from_utf8_lossy(answer);
    let text = text.strip_prefix("HTTP/1.1 100 Continue\r\n\r\n").unwrap_or(&text);
    let status = text.strip_prefix("HTTP/1.1 ")?.get(..3)?;
    status.parse().ok().map(Met::Answered)
}

/// Looks for an answer among frames, or for the end of the stream or connection.
fn http2(mut bytes: &[u8]) -> Option<Met> {
    while let Some((head, rest)) = bytes.split_first_chunk::<9>() {
        let [high, middle, low, kind, ..] = *head;
        let length = usize::from(high) << 16 | usize::from(middle) << 8 | usize::from(low);
        let (payload, rest) = rest.split_at_checked(length)?;
        match kind {
            HEADERS => return Some(Met::Answered(status(payload))),
            RST_STREAM | GOAWAY => return Some(Met::Refused),
            _ => bytes = rest,
        }
    }
    None
}

/// Reads the status, which comes first. Those of a success have places in the static table (RFC 7541,
/// appendix A); any other is told as 400.
fn status(block: &[u8]) -> u16 {
    let fields = block.iter().copied().find(|byte| byte & 0xe0 != 0x20);
    match fields {
        Some(0x88) => 200,
        Some(0x89) => 204,
        Some(0x8a) => 206,
        Some(0x8b) => 304,
        Some(_) | None => 400,
    }
}

/// Returns what HTTP/2 forbids: heads, and frames.
fn against_http2() -> Vec<(&'static str, Vec<u8>)> {
    heads().into_iter().chain(orders()).chain(sizes()).chain(floods()).collect()
}

fn heads() -> Vec<(&'static str, Vec<u8>)> {
    let (method, scheme, path) = ((":method", "GET"), (":scheme", "https"), (":path", "/"));
    let authority = (":authority", SECURE);
    let good = [method, scheme, path, authority];
    let with = |more: (&'static str, &'static str)| [&good[..], &[more]].concat();
    [
        ("connection", with(("connection", "close"))),
        ("keep-alive", with(("keep-alive", "1"))),
        ("proxy-connection", with(("proxy-connection", "close"))),
        ("transfer-encoding", with(("transfer-encoding", "chunked"))),
        ("upgrade", with(("upgrade", "h2c"))),
        ("te other than trailers", with(("te", "trailers, deflate"))),
        ("a second path", with((":path", "/"))),
        ("a response's pseudo-header", with((":status", "200"))),
        ("a pseudo-header after a header", vec![method, scheme, ("x", "1"), path, authority]),
        ("no method", vec![scheme, path, authority]),
        ("no scheme", vec![method, path, authority]),
        ("no path", vec![method, scheme, authority]),
        ("an empty path", vec![method, scheme, (":path", ""), authority]),
        ("an upper-case name", with(("X-Upper", "1"))),
        ("an unknown pseudo-header", with((":other", "1"))),
        ("a line break in a value", with(("x", "a\r\nb"))),
        ("NUL in a value", with(("x", "a\0b"))),
        ("a space in a name", with(("a b", "1"))),
        ("another host", with(("host", "other.localhost"))),
        ("a length without data", with(("content-length", "5"))),
        ("an encoded slash", vec![method, scheme, (":path", "/a%2fb"), authority]),
        ("a path without a slash", vec![method, scheme, (":path", "a"), authority]),
    ]
    .into_iter()
    .map(|(name, head)| (name, frame(HEADERS, END_HEADERS | END_STREAM, 1, &fields(&head))))
    .collect()
}

/// The head of a request that is in order.
fn head(method: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let pseudo =
        [(":method", method), (":scheme", "https"), (":path", "/sink"), (":authority", SECURE)];
    fields(pseudo.iter().chain(more))
}

/// Frames at a wrong time or place.
fn orders() -> Vec<(&'static str, Vec<u8>)> {
    let (get, post) = (head("GET", &[]), head("POST", &[]));
    let whole = |stream| frame(HEADERS, END_HEADERS | END_STREAM, stream, &get);
    let opened = frame(HEADERS, END_HEADERS, 1, &post);
    let lengthy =
        |length| frame(HEADERS, END_HEADERS, 1, &head("POST", &[("content-length", length)]));
    vec![
        ("a head on stream 0", whole(0)),
        ("a head on an even stream", whole(2)),
        ("data on stream 0", frame(DATA, 0, 0, b"x")),
        ("data on an idle stream", frame(DATA, 0, 1, b"x")),
        ("the end of an idle stream", frame(RST_STREAM, 0, 1, &[0; 4])),
        ("the rest of no head", frame(CONTINUATION, END_HEADERS, 1, &get)),
        (
            "a ping within a head",
            [frame(HEADERS, END_STREAM, 1, &get), frame(PING, 0, 0, &[0; 8])].concat(),
        ),
        ("a promise", frame(5, END_HEADERS, 1, &[&[0, 0, 0, 2][..], &get].concat())),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[])),
        ("a ping on a stream", frame(PING, 0, 1, &[0; 8])),
        ("a farewell on a stream", frame(GOAWAY, 0, 1, &[0; 8])),
        ("less data than was said", [lengthy("6"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
        ("more data than was said", [lengthy("4"), frame(DATA, END_STREAM, 1, b"hello")].concat()),
        ("a window of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 1])),
        ("a window that does not grow", frame(WINDOW_UPDATE, 0, 0, &[0; 4])),
        ("a window that is too large", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff])),
        (
            "a stream that depends on itself, and has no end",
            [opened, frame(PRIORITY, 0, 1, &[0, 0, 0, 1, 1]), frame(PING, 0, 1, &[])].concat(),
        ),
    ]
}

/// Frames of a wrong size, and settings that cannot be.
fn sizes() -> Vec<(&'static str, Vec<u8>)> {
    let settings = |id, value| frame(SETTINGS, 0, 0, &frames::settings_payload(&[(id, value)]));
    vec![
        ("a frame that is too large", frame(DATA, 0, 1, &[0; 16_385])),
        ("five bytes of settings", frame(SETTINGS, 0, 0, &[0; 5])),
        ("an acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6])),
        ("a ping of seven bytes", frame(PING, 0, 0, &[0; 7])),
        ("an end of three bytes", frame(RST_STREAM, 0, 1, &[0; 3])),
        ("a farewell of four bytes", frame(GOAWAY, 0, 0, &[0; 4])),
        ("a window of three bytes", frame(WINDOW_UPDATE, 0, 0, &[0; 3])),
        ("a switch that is neither on nor off", settings(2, 2)),
        ("a first window that is too large", settings(4, 0x8000_0000)),
        ("frames that are too small", settings(5, 1)),
        ("an index of nothing", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff, 0x80, 0x01])),
        ("a number without end", frame(HEADERS, END_HEADERS | END_STREAM, 1, &[0xff; 40])),
        ("more padding than there is", frame(HEADERS, END_HEADERS | 8, 1, &[200, 1, 2, 3])),
        ("noise", vec![0xa5; 400]),
    ]
}

/// Frames that are in order one by one.
fn floods() -> Vec<(&'static str, Vec<u8>)> {
    let get = head("GET", &[]);
    let mut resets = Vec::new();
    for stream in (1..1_001).step_by(2) {
        resets.extend(frame(HEADERS, END_HEADERS, stream, &get));
        resets.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    let begun = frame(HEADERS, END_HEADERS, 1, &head("POST", &[]));
    vec![
        ("rapid resets", resets),
        ("a flood of pings", frame(PING, 0, 0, &[0; 8]).repeat(3_000)),
        ("a flood of settings", frame(SETTINGS, 0, 0, &[]).repeat(500)),
        ("a flood of empty data", [begun, frame(DATA, 0, 1, &[]).repeat(500)].concat()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_told_from_a_refusal() {
        assert_eq!(http1(b"HTTP/1.1 20"), None);
        assert_eq!(http1(b"HTTP/1.1 400 Bad"), Some(Met::Answered(400)));
        let interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n";
        assert_eq!(http1(interim), Some(Met::Answered(200)));
        let settings = frame(SETTINGS, 0, 0, &[]);
        let good = [settings.clone(), frame(HEADERS, END_HEADERS, 1, &[0x20, 0x88])].concat();
        assert_eq!(http2(&good), Some(Met::Answered(200)));
        let bad = [settings.clone(), frame(HEADERS, END_HEADERS, 1, &[0x8c])].concat();
        assert_eq!(http2(&bad), Some(Met::Answered(400)));
        assert_eq!(
            http2(&[settings.clone(), frame(RST_STREAM, 0, 1, &[0; 4])].concat()),
            Some(Met::Refused)
        );
        assert_eq!(http2(&settings), None);
    }

    #[test]
    fn one_of_twenty_is_malformed() {
        let tally = Tally::default();
        for number in 1..=400 {
            if is_due(&tally) {
                tally.done(Kind::Malformed2);
            } else {
                tally.done(Kind::Kept);
            }
            assert!(tally.sum(Kind::is_malformed) <= number / 20 + 1);
        }
        assert_eq!(tally.sum(Kind::is_malformed), 20);
    }
}
