//! What holds for all bytes whatsoever. Each check takes bytes and panics where a promise is broken;
//! the tests call them with generated messages, the fuzz targets with whatever the fuzzer makes.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use portway_http1::{
    Framing, Limits,
    body::Encoder,
    request::{self, RequestHead},
    response::{self, Answer, Asked, ResponseHead},
};

use crate::outcome::{Outcome, read_chunked, read_request, read_response, tight};

/// The requests to which an answer is read differently.
pub(crate) fn all_asked() -> [Asked; 4] {
    [
        Asked::plain(Method::GET),
        Asked::plain(Method::HEAD),
        Asked::plain(Method::CONNECT),
        Asked { method: Method::GET, upgrade: true },
    ]
}

/// Checks everything that holds for the bytes of a request.
pub(crate) fn request(bytes: &[u8]) {
    for limits in [Limits::default(), tight()] {
        splits_change_nothing(bytes, |pieces| read_request(pieces, &limits));
    }
    let whole = read_request([bytes], &Limits::default());
    if let Some(head) = &whole.head {
        httparse_agrees_on_request(bytes, &whole, head);
        request_survives_writing(head);
    }
}

/// Checks everything that holds for the bytes of an answer.
pub(crate) fn response(bytes: &[u8]) {
    for asked in all_asked() {
        for limits in [Limits::default(), tight()] {
            splits_change_nothing(bytes, |pieces| read_response(pieces, &asked, &limits));
        }
        let whole = read_response([bytes], &asked, &Limits::default());
        if let Some(answer) = &whole.head {
            response_survives_writing(answer, &asked);
            if whole.interim.is_empty() {
                httparse_agrees_on_response(bytes, answer);
            }
        }
    }
}

/// Checks everything that holds for the bytes of a chunked body.
pub(crate) fn chunked(bytes: &[u8]) {
    for limits in [Limits::default(), tight()] {
        splits_change_nothing(bytes, |pieces| read_chunked(pieces, &limits));
    }
    let whole = read_chunked([bytes], &Limits::default());
    if whole.ended {
        body_survives_writing(&whole);
    }
}

/// The outcome is one and the same however the bytes are split: into single bytes, into two at every
/// place, or not at all.
fn splits_change_nothing<H: PartialEq + std::fmt::Debug>(
    bytes: &[u8],
    read: impl Fn(&mut dyn Iterator<Item = &[u8]>) -> Outcome<H>,
) {
    let whole = without_left(read(&mut std::iter::once(bytes)));
    let singly = without_left(read(&mut bytes.chunks(1)));
    assert_eq!(whole, singly, "byte by byte: {:?}", show(bytes));
    let step = bytes.len() / 64 + 1;
    for at in (0..bytes.len()).step_by(step) {
        let (first, second) = bytes.split_at(at);
        let twice = without_left(read(&mut [first, second].into_iter()));
        assert_eq!(whole, twice, "split at {at}: {:?}", show(bytes));
    }
}

/// What is left of a message that is not complete depends on the reads, and means nothing.
fn without_left<H>(mut outcome: Outcome<H>) -> Outcome<H> {
    if !outcome.ended {
        outcome.left.clear();
    }
    outcome
}

/// Whatever is read can be written, and is then read as the same.
fn request_survives_writing(head: &RequestHead) {
    let mut written = BytesMut::new();
    request::write(head, &mut written).unwrap_or_else(|error| panic!("{error}: {head:?}"));
    let again = read_request([&written[..]], &roomy());
    let read = again.head.unwrap_or_else(|| panic!("{:?}: {written:?}", again.refused));
    assert_eq!(without_owned(&read.headers), without_owned(&head.headers), "{written:?}");
    let mut expected = head.clone();
    expected.headers.clone_from(&read.headers);
    assert_eq!(read, expected, "{written:?}");
    let mut twice = BytesMut::new();
    request::write(&read, &mut twice).unwrap();
    assert_eq!(written, twice);
}

/// Whatever is read can be written, and is then read as the same.
fn response_survives_writing(answer: &Answer, asked: &Asked) {
    let (Answer::Final(head) | Answer::Interim(head) | Answer::Tunnel(head)) = answer;
    let mut written = BytesMut::new();
    response::write(head, asked, &mut written).unwrap_or_else(|error| panic!("{error}: {head:?}"));
    let again = read_response([&written[..]], asked, &roomy());
    let Some(Answer::Final(read) | Answer::Interim(read) | Answer::Tunnel(read)) = &again.head
    else {
        panic!("{:?}: {written:?}", again.refused)
    };
    assert_eq!(without_owned(&read.headers), without_owned(&head.headers), "{written:?}");
    let expected = ResponseHead {
        headers: read.headers.clone(),
        // A length of 0 where no body can be is not written.
        content_length: head.content_length.filter(|_| read.content_length.is_some()),
        // Only final answers speak of the connection's end.
        persistent: match answer {
            Answer::Final(_) => head.persistent,
            Answer::Interim(_) | Answer::Tunnel(_) => read.persistent,
        },
        ..head.clone()
    };
    assert_eq!(*read, expected, "{written:?}");
}

/// Whatever data is read, encoding it anew and decoding that gives the same data and trailers.
fn body_survives_writing(body: &Outcome<()>) {
    let mut encoder = Encoder::new(Framing::Chunked);
    let mut written = BytesMut::new();
    for piece in body.data.chunks(7) {
        encoder.data(piece, &mut written).unwrap();
    }
    let trailers = body.trailers.clone().unwrap_or_default();
    encoder.end(&trailers, &mut written).unwrap();
    written.extend_from_slice(&body.left);
    let again = read_chunked([&written[..]], &roomy());
    assert_eq!(*body, again, "{written:?}");
}

/// Whatever is accepted here, httparse accepts with the same meaning.
fn httparse_agrees_on_request(bytes: &[u8], ours: &Outcome<RequestHead>, head: &RequestHead) {
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Request::new(&mut fields);
    let status = theirs.parse(bytes);
    let Ok(httparse::Status::Complete(end)) = status else {
        panic!("httparse says {status:?} to {:?}", show(bytes));
    };
    assert_eq!(theirs.method, Some(head.method.as_str()));
    let minor = match head.version {
        portway_http1::Version::Http10 => 0,
        portway_http1::Version::Http11 => 1,
    };
    assert_eq!(theirs.version, Some(minor));
    let target = theirs.path.unwrap();
    let uri = head.target.clone().into_uri();
    assert!(target.parse::<http::Uri>().is_ok_and(|theirs| theirs == uri), "{target}");
    same_fields(theirs.headers, &head.headers);
    if head.framing == Framing::None {
        assert_eq!(ours.left, bytes[end..], "{:?}", show(bytes));
    }
}

/// Whatever is accepted here, httparse accepts with the same meaning.
fn httparse_agrees_on_response(bytes: &[u8], answer: &Answer) {
    let (Answer::Final(head) | Answer::Interim(head) | Answer::Tunnel(head)) = answer;
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut theirs = httparse::Response::new(&mut fields);
    let status = theirs.parse(bytes);
    assert!(status.is_ok_and(|status| status.is_complete()), "{status:?} to {:?}", show(bytes));
    assert_eq!(theirs.code, Some(head.status.as_u16()));
    same_fields(theirs.headers, &head.headers);
}

fn same_fields(theirs: &[httparse::Header<'_>], ours: &HeaderMap) {
    assert_eq!(theirs.len(), ours.len());
    for field in theirs {
        let found = ours.get_all(field.name).iter().any(|value| value.as_bytes() == field.value);
        assert!(found, "{}: {:?} is missing", field.name, show(field.value));
    }
}

fn without_owned(headers: &HeaderMap) -> HeaderMap {
    const OWNED: [&str; 7] = [
        "connection",
        "content-length",
        "expect",
        "keep-alive",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ];
    let mut headers = headers.clone();
    for name in OWNED {
        headers.remove(name);
    }
    headers
}

/// Writing may lengthen a head by what the codec adds, up to beyond the limits of what was read.
fn roomy() -> Limits {
    let limits = Limits::default();
    Limits { head: 2 * limits.head, fields: 2 * limits.fields, ..limits }
}

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}
