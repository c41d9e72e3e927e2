//! How long heads take to read and write, beside httparse with the same map of headers.
//!
//! `cargo bench -p portway-http1` prints the best of many rounds in nanoseconds; the best is the
//! round that the rest of the machine disturbed least. A word behind `--` chooses what to run.

#![expect(clippy::unwrap_used, reason = "the messages are good ones")]
#![expect(clippy::print_stdout, reason = "the figures are what this is for")]

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use portway_http1::{
    Framing, Limits,
    body::{Decoder, Encoder},
    request,
    response::{self, Answer, Asked},
};

/// What a browser sends for a page, with 12 headers.
const BROWSER: &[u8] = b"GET /articles/2026/how-to-read?page=2&order=asc HTTP/1.1\r\n\
    Host: www.example.org\r\n\
    User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0\r\n\
    Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n\
    Accept-Language: en-GB,en;q=0.5\r\n\
    Accept-Encoding: gzip, deflate, br, zstd\r\n\
    Connection: keep-alive\r\n\
    Referer: https://www.example.org/articles/2026\r\n\
    Cookie: session=0123456789abcdef0123456789abcdef; theme=dark\r\n\
    Upgrade-Insecure-Requests: 1\r\n\
    Sec-Fetch-Dest: document\r\n\
    Sec-Fetch-Mode: navigate\r\n\
    Sec-Fetch-Site: same-origin\r\n\r\n";

/// What load generators send.
const SHORT: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n";

/// What an application answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\n\
    Server: gunicorn\r\n\
    Date: Sat, 21 Nov 2026 14:00:00 GMT\r\n\
    Content-Type: application/json; charset=utf-8\r\n\
    Content-Length: 1024\r\n\
    Cache-Control: private, max-age=0\r\n\
    ETag: W/\"1f2e3d4c5b6a\"\r\n\
    Vary: Accept-Encoding, Cookie\r\n\
    X-Request-Id: 0197a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b\r\n\r\n";

fn main() {
    let limits = Limits::default();
    let asked = Asked::plain(Method::GET);
    for (name, bytes) in [("browser, 12 headers", BROWSER), ("short, 1 header", SHORT)] {
        let mut parser = request::Parser::new();
        report(&format!("read request ({name})"), || {
            let mut input = received(bytes);
            black_box(parser.parse(&mut input, &limits).unwrap().unwrap());
        });
        report(&format!("  the same, with its map recycled ({name})"), || {
            let mut input = received(bytes);
            let head = parser.parse(&mut input, &limits).unwrap().unwrap();
            portway_http1::recycle(black_box(head).headers);
        });
        report(&format!("  httparse and a map ({name})"), || {
            black_box(with_httparse(received(bytes)));
        });
        report(&format!("  only receiving it ({name})"), || {
            black_box(received(bytes));
        });
    }
    let mut parser = response::Parser::new();
    report("read response (8 headers)", || {
        let mut input = received(ANSWER);
        black_box(parser.parse(&mut input, &asked, &limits).unwrap().unwrap());
    });
    write_heads(&limits, &asked);
    bodies(&limits);
}

fn write_heads(limits: &Limits, asked: &Asked) {
    let head = request::Parser::new().parse(&mut received(BROWSER), limits).unwrap().unwrap();
    let mut out = BytesMut::with_capacity(4096);
    report("write request (browser, 12 headers)", || {
        out.clear();
        request::write(black_box(&head), &mut out).unwrap();
    });
    let answer = response::Parser::new().parse(&mut received(ANSWER), asked, limits);
    let Some(Answer::Final(head)) = answer.unwrap() else { return };
    report("write response (8 headers)", || {
        out.clear();
        response::write(black_box(&head), asked, &mut out).unwrap();
    });
}

fn bodies(limits: &Limits) {
    let data = vec![b'x'; 16 * 1024];
    let mut out = BytesMut::with_capacity(128 * 1024);
    report("write 64 KiB in 4 chunks and read them", || {
        let mut encoder = Encoder::new(Framing::Chunked);
        out.reserve(128 * 1024);
        for _ in 0..4 {
            encoder.data(&data, &mut out).unwrap();
        }
        encoder.end(&HeaderMap::new(), &mut out).unwrap();
        let mut decoder = Decoder::new(Framing::Chunked, limits);
        while let Some(frame) = decoder.decode(&mut out).unwrap() {
            black_box(frame);
        }
    });
}

/// A buffer as it is after a read: with room to spare.
fn received(bytes: &[u8]) -> BytesMut {
    let mut input = BytesMut::with_capacity(4096);
    input.extend_from_slice(bytes);
    input
}

/// The same head with httparse, as hyper does it: names are hashed, values share the input.
fn with_httparse(mut input: BytesMut) -> (Method, Uri, HeaderMap) {
    let mut fields = [httparse::EMPTY_HEADER; 100];
    let mut request = httparse::Request::new(&mut fields);
    let end = request.parse(&input).unwrap().unwrap();
    let method = Method::from_bytes(request.method.unwrap().as_bytes()).unwrap();
    let start = input.as_ptr() as usize;
    let place = |text: &[u8]| {
        let at = text.as_ptr() as usize - start;
        at..at + text.len()
    };
    let target = place(request.path.unwrap().as_bytes());
    let names: Vec<_> = request
        .headers
        .iter()
        .map(|field| (HeaderName::from_bytes(field.name.as_bytes()).unwrap(), place(field.value)))
        .collect();
    let head: Bytes = input.split_to(end).freeze();
    let mut headers = HeaderMap::with_capacity(names.len());
    for (name, value) in names {
        headers.append(name, HeaderValue::from_maybe_shared(head.slice(value)).unwrap());
    }
    (method, Uri::from_maybe_shared(head.slice(target)).unwrap(), headers)
}

/// Prints the time of one call.
fn report(name: &str, mut call: impl FnMut()) {
    const CALLS: u32 = 2_000;
    let mut chosen = std::env::args().skip(1).filter(|word| !word.starts_with('-'));
    if chosen.any(|word| !name.contains(&word)) {
        return;
    }
    let mut best = Duration::MAX;
    for _ in 0..200 {
        let start = Instant::now();
        for _ in 0..CALLS {
            call();
        }
        best = best.min(start.elapsed());
    }
    let nanoseconds = best.as_nanos() / u128::from(CALLS);
    println!("{nanoseconds:>6} ns  {name}");
}
