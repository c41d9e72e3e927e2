//! Tests of compression, against the decoders of the same library.

use std::time::Duration;

use async_compression::tokio::bufread::{BrotliDecoder, GzipDecoder, ZstdDecoder};
use bytes::Bytes;
use futures_util::stream;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use tokio::io::AsyncReadExt;

use super::*;
use crate::body::{self, BodyError, Side};

const ALL: &str = "gzip, deflate, br, zstd";

#[tokio::test]
async fn each_coding_decodes_to_what_was_sent() {
    let text = "all work and no play ".repeat(10_000);
    for coding in ["br", "zstd", "gzip"] {
        let response = compress(Some(&value(coding)), page(&text));
        assert_eq!(header(&response, "content-encoding"), Some(coding));
        assert_eq!(header(&response, "content-length"), None);
        assert_eq!(header(&response, "vary"), Some("accept-encoding"));
        assert_eq!(header(&response, "etag"), Some("W/\"x\""));
        assert_eq!(header(&response, "accept-ranges"), None);
        let coded = response.into_body().collect().await.unwrap().to_bytes();
        assert!(coded.len() < text.len() / 20, "{coding}: {}", coded.len());
        assert_eq!(decode(coding, &coded).await, text);
    }
}

#[test]
fn an_answer_with_secrets_that_another_site_asked_for_stays_as_long_as_it_is() {
    let (from, cookie) = (("sec-fetch-site", "cross-site"), ("cookie", "session=x"));
    for (fields, is_compressed) in [
        (&[from, cookie][..], false),
        (&[from, ("authorization", "Basic eDp5")], false),
        (&[from], true),
        (&[("sec-fetch-site", "same-origin"), cookie], true),
        (&[("sec-fetch-site", "same-site"), cookie], true),
        (&[("sec-fetch-site", "none"), cookie], true),
        (&[cookie], true),
    ] {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT_ENCODING, value("gzip"));
        for (name, text) in fields {
            headers.insert(*name, value(text));
        }
        let response = compress(acceptable(&headers), page(&"x".repeat(5000)));
        let coding = header(&response, "content-encoding");
        assert_eq!(coding.is_some(), is_compressed, "{fields:?}");
        assert_eq!(header(&response, "vary"), Some("accept-encoding"), "{fields:?}");
    }
}

#[test]
fn the_coding_is_what_the_client_prefers() {
    for (accept, coding) in [
        (ALL, Some("br")),
        ("gzip, zstd", Some("zstd")),
        ("br;q=0.5, gzip", Some("gzip")),
        ("x-gzip", Some("gzip")),
        ("*", Some("br")),
        ("*, br;q=0", Some("zstd")),
        ("gzip;q=0", None),
        ("deflate", None),
        ("identity", None),
        ("identity, gzip;q=0.5", None),
        ("identity;q=0.5, gzip", Some("gzip")),
        ("identity;q=0", None),
        ("identity;q=0, gzip;q=0.1", Some("gzip")),
        ("", None),
        ("GZIP", Some("gzip")),
    ] {
        let response = compress(Some(&value(accept)), page(&"x".repeat(5000)));
        assert_eq!(header(&response, "content-encoding"), coding, "{accept}");
        assert_eq!(header(&response, "vary"), Some("accept-encoding"), "{accept}");
    }
    let response = compress(None, page(&"x".repeat(5000)));
    assert_eq!(header(&response, "content-encoding"), None);
    assert_eq!(header(&response, "vary"), Some("accept-encoding"));
    assert_eq!(header(&response, "etag"), Some("\"x\""));
}

#[test]
fn what_gains_nothing_or_may_not_be_changed_passes_untouched() {
    type Change = fn(&mut Response<Body>);
    let changes: [(&str, Change); 9] = [
        ("an image", |r| set(r, "content-type", "image/png")),
        ("no type", |r| drop(r.headers_mut().remove("content-type"))),
        ("coded already", |r| set(r, "content-encoding", "gzip")),
        ("no-transform", |r| set(r, "cache-control", "public, No-Transform")),
        ("events", |r| set(r, "content-type", "text/event-stream; charset=utf-8")),
        ("a range", |r| *r.status_mut() = StatusCode::PARTIAL_CONTENT),
        ("no content", |r| *r.status_mut() = StatusCode::NO_CONTENT),
        ("a digest", |r| set(r, "repr-digest", "sha-256=:x:")),
        ("no such range", |r| set(r, "content-range", "bytes */9")),
    ];
    for (what, change) in changes {
        let mut response = page(&"x".repeat(5000));
        change(&mut response);
        let before = response.headers().clone();
        let response = compress(Some(&value(ALL)), response);
        assert_eq!(response.headers(), &before, "{what}");
    }
}

#[test]
fn small_bodies_are_left_alone_unless_the_client_refuses_them_plain() {
    let response = compress(Some(&value(ALL)), page("small"));
    assert_eq!(header(&response, "content-encoding"), None);
    assert_eq!(header(&response, "content-length"), Some("5"));
    assert_eq!(header(&response, "vary"), Some("accept-encoding"));
    let response = compress(Some(&value("gzip, *;q=0")), page("small"));
    assert_eq!(header(&response, "content-encoding"), Some("gzip"));
}

#[test]
fn the_answer_to_head_has_the_headers_of_get_and_no_body() {
    let mut head = page(&"x".repeat(5000));
    *head.body_mut() = body::empty();
    let head = compress(Some(&value(ALL)), head);
    let get = compress(Some(&value(ALL)), page(&"x".repeat(5000)));
    assert_eq!(head.headers(), get.headers());
    assert!(head.body().is_end_stream());
}

#[test]
fn not_modified_carries_the_validator_of_the_compressed_answer() {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    set(&mut response, "etag", "\"x\"");
    let response = compress(Some(&value(ALL)), response);
    assert_eq!(header(&response, "etag"), Some("W/\"x\""));
    assert_eq!(header(&response, "vary"), Some("accept-encoding"));
}

#[test]
fn vary_is_named_once() {
    for (before, after) in [("Accept-Encoding", 1), ("*", 1), ("cookie", 2)] {
        let mut response = page("x");
        set(&mut response, "vary", before);
        let response = compress(None, response);
        assert_eq!(response.headers().get_all("vary").iter().count(), after, "{before}");
    }
}

#[tokio::test]
async fn what_is_streamed_arrives_before_the_source_goes_on() {
    for coding in ["br", "zstd", "gzip"] {
        let (send, receive) = tokio::sync::mpsc::channel::<&'static str>(1);
        let mut coded = compress(Some(&value(coding)), streamed(receive)).into_body();
        send.send("first line").await.unwrap();
        let mut seen = Vec::new();
        let wait = Duration::from_secs(10);
        let arrived = tokio::time::timeout(wait, async {
            while !decode_some(coding, &seen).await.starts_with("first line") {
                let frame = coded.frame().await.unwrap().unwrap();
                seen.extend_from_slice(frame.data_ref().unwrap());
            }
        });
        arrived.await.unwrap_or_else(|_| panic!("{coding} held the first line back"));
        drop(send);
        seen.extend_from_slice(&coded.collect().await.unwrap().to_bytes());
        assert_eq!(decode(coding, &seen).await, "first line");
    }
}

#[tokio::test]
async fn trailers_pass_and_an_error_keeps_its_side() {
    let mut trailers = HeaderMap::new();
    trailers.insert("x-sum", value("1"));
    let frames =
        [Ok(Frame::data(Bytes::from_static(b"text"))), Ok(Frame::trailers(trailers.clone()))];
    let body = coder::code(Body::new(StreamBody::new(stream::iter(frames))), Coding::Gzip);
    assert_eq!(body.collect().await.unwrap().trailers(), Some(&trailers));

    let silent = BodyError::Silent { side: Side::Upstream, after: Duration::from_secs(1) };
    let frames = [Ok(Frame::data(Bytes::from_static(b"text"))), Err(silent)];
    let body = coder::code(Body::new(StreamBody::new(stream::iter(frames))), Coding::Brotli);
    assert_eq!(body.collect().await.unwrap_err().side(), Side::Upstream);
}

fn page(text: &str) -> Response<Body> {
    let mut response = Response::new(body::full(text.to_owned()));
    set(&mut response, "content-type", "text/html; charset=utf-8");
    set(&mut response, "content-length", &text.len().to_string());
    set(&mut response, "accept-ranges", "bytes");
    set(&mut response, "etag", "\"x\"");
    response
}

fn streamed(receive: tokio::sync::mpsc::Receiver<&'static str>) -> Response<Body> {
    let frames = stream::unfold(receive, |mut receive| async move {
        let text = receive.recv().await?;
        Some((Ok(Frame::data(Bytes::from_static(text.as_bytes()))), receive))
    });
    let mut response = Response::new(Body::new(StreamBody::new(Box::pin(frames))));
    set(&mut response, "content-type", "text/html");
    response
}

async fn decode(coding: &str, coded: &[u8]) -> String {
    let mut text = String::new();
    let result = match coding {
        "br" => BrotliDecoder::new(coded).read_to_string(&mut text).await,
        "zstd" => ZstdDecoder::new(coded).read_to_string(&mut text).await,
        _ => GzipDecoder::new(coded).read_to_string(&mut text).await,
    };
    result.unwrap();
    text
}

/// Decodes as much as there is of an unfinished stream.
async fn decode_some(coding: &str, coded: &[u8]) -> String {
    let mut text = vec![0; 100];
    let result = match coding {
        "br" => BrotliDecoder::new(coded).read(&mut text).await,
        "zstd" => ZstdDecoder::new(coded).read(&mut text).await,
        _ => GzipDecoder::new(coded).read(&mut text).await,
    };
    text.truncate(result.unwrap_or(0));
    String::from_utf8(text).unwrap()
}

fn value(text: &str) -> HeaderValue {
    text.parse().unwrap()
}

fn set(response: &mut Response<Body>, name: &'static str, text: &str) {
    response.headers_mut().insert(name, value(text));
}

fn header<'a>(response: &'a Response<Body>, name: &str) -> Option<&'a str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}
