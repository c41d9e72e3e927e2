//! Messages that are nearly right: good and bad lines in any order, with single bytes changed.

use proptest::{collection::vec, prelude::*, sample::select};

const REQUEST_LINES: &[&str] = &[
    "GET / HTTP/1.1\r\n",
    "POST /a?b=c HTTP/1.1\r\n",
    "GET http://a.org/x HTTP/1.1\r\n",
    "GET http://a.org HTTP/1.1\r\n",
    "GET http://a.org?q HTTP/1.1\r\n",
    "CONNECT a.org:443 HTTP/1.1\r\n",
    "OPTIONS * HTTP/1.1\r\n",
    "HEAD / HTTP/1.0\r\n",
    "GET / HTTP/1.0\r\n",
    "\r\nGET / HTTP/1.1\r\n",
    "GET /\r\n",
    "GET / HTTP/2.0\r\n",
    "GET  / HTTP/1.1\r\n",
    "GET /#x HTTP/1.1\r\n",
    "GET / HTTP/1.1\n",
];

const STATUS_LINES: &[&str] = &[
    "HTTP/1.1 200 OK\r\n",
    "HTTP/1.1 200\r\n",
    "HTTP/1.0 200 OK\r\n",
    "HTTP/1.1 204 No Content\r\n",
    "HTTP/1.1 304 Not Modified\r\n",
    "HTTP/1.1 101 Switching Protocols\r\n",
    "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
    "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 404 Not Found\r\n",
    "HTTP/1.1 426 Upgrade Required\r\n",
    "HTTP/1.1 600 What\r\n",
    "HTTP/2 200\r\n",
    "HTTP/1.1  200 OK\r\n",
];

const FIELDS: &[&str] = &[
    "Host: a.org\r\n",
    "Host: a.org\r\n",
    "Host: a.org:443\r\n",
    "host: b.org\r\n",
    "Content-Length: 5\r\n",
    "Content-Length: 0\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: +5\r\n",
    "Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Connection: close\r\n",
    "Connection: keep-alive\r\n",
    "Connection: Upgrade\r\n",
    "Upgrade: websocket\r\n",
    "Expect: 100-continue\r\n",
    "TE: trailers\r\n",
    "X-Empty:\r\n",
    "x-a:  b \t\r\n",
    "X-Obs: \u{e4}\r\n",
    "Accept: */*\r\n",
    " folded\r\n",
    ": none\r\n",
    "Bare: \r\r\n",
    "Lf: x\n",
    "no colon\r\n",
];

const BODIES: &[&str] = &[
    "",
    "hello",
    "hello, world",
    "5\r\nhello\r\n0\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\nX-T: y\r\n\r\nnext",
    "5\r\nhello0\r\n\r\n",
    "0\r\nHost: a\r\n\r\n",
];

const CHUNK_PIECES: &[&str] = &[
    "5\r\nhello\r\n",
    "1\r\nx\r\n",
    "00a;n=v;q=\"\\\"\"\r\n0123456789\r\n",
    "2;aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\nab\r\n",
    "1;aaaaaaaaaaaaaaaa\r\nx\r\n",
    "0\r\n\r\n",
    "0\r\nX-T: y\r\n\r\n",
    "0\r\nContent-Length: 1\r\n\r\n",
    "0x1\r\n",
    "1\nx\n",
    "1 \r\nx\r\n",
    "\r\n",
    "ffffffffffffffff\r\n",
    "1\r\nxy\r\n",
];

/// Bytes that look like a request.
pub(crate) fn requests() -> impl Strategy<Value = Vec<u8>> {
    mutated(messages(REQUEST_LINES))
}

/// Bytes that look like an answer.
pub(crate) fn responses() -> impl Strategy<Value = Vec<u8>> {
    mutated(messages(STATUS_LINES))
}

/// Bytes that look like a chunked body.
pub(crate) fn chunked_bodies() -> impl Strategy<Value = Vec<u8>> {
    mutated(vec(select(CHUNK_PIECES), 0..6).prop_map(|pieces| pieces.concat()).boxed())
}

fn messages(first: &'static [&'static str]) -> BoxedStrategy<String> {
    let fields = vec(select(FIELDS), 0..8).prop_map(|fields| fields.concat());
    (select(first), fields, select(BODIES))
        .prop_map(|(first, fields, body)| format!("{first}{fields}\r\n{body}"))
        .boxed()
}

/// Leaves half of the messages as they are; in the others, some bytes are changed, put in or taken
/// out.
fn mutated(messages: BoxedStrategy<String>) -> impl Strategy<Value = Vec<u8>> {
    let byte = prop_oneof![select(b"\r\n\0 \t:;,/#\x7f\x80\xff0a".to_vec()), any::<u8>()];
    let change = (any::<prop::sample::Index>(), byte, 0..3_u8);
    let changes = prop_oneof![Just(Vec::new()), vec(change, 1..4)];
    (messages, changes).prop_map(|(message, changes)| {
        let mut bytes = message.into_bytes();
        for (place, byte, how) in changes {
            let place = place.index(bytes.len() + 1);
            match (how, bytes.get_mut(place)) {
                (0, Some(slot)) => *slot = byte,
                (1, Some(_)) => drop(bytes.remove(place)),
                _ => bytes.insert(place, byte),
            }
        }
        bytes
    })
}
