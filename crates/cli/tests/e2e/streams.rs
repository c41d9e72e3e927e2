//! Applications that are spoken to in HTTP/2, as gRPC wants it, through the real program: with and
//! without TLS, by clients of HTTP/1.1 and HTTP/2, with trailers both ways.

use std::{convert::Infallible, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::{body::Frame, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::mpsc,
    time::timeout,
};

use crate::{
    support::{apply, file, manager},
    web::Web,
};

const PATIENCE: Duration = Duration::from_secs(30);
const HOSTS: [&str; 2] = ["plain.localhost", "secure.localhost"];

#[tokio::test(flavor = "multi_thread")]
async fn grpc_goes_both_ways_at_once_with_trailers() {
    let manager = manager().await;
    let ca = TestCa::new().unwrap();
    let tls = ca.server("app.internal", &["h2"]).unwrap();
    let plain = Origin::tcp(Speaks::H2c).await.unwrap();
    let secure = Origin::tcp(Speaks::Tls(tls)).await.unwrap();
    file(&manager, "ca.pem", &ca.root_pem());
    let text = format!(
        "sites:\n  plain:\n    hosts: [plain.localhost]\n    to: h2c://{}\n  secure:\n    hosts: \
         [secure.localhost]\n    to: {{targets: [\"https://{}\"], protocol: http2, tls: {{ca: ca.pem, \
         server_name: app.internal}}}}\n",
        plain.address().unwrap(),
        secure.address().unwrap()
    );
    apply(&manager, &text).await;
    let web = Web::of(&manager).await;

    for host in HOSTS {
        timeout(PATIENCE, call(&web, host)).await.expect("the call ends");
        timeout(PATIENCE, call_in_http1(&web, host)).await.expect("the call over HTTP/1.1 ends");
    }

    for origin in [&plain, &secure] {
        let seen = origin.seen();
        assert_eq!(seen.len(), 2);
        assert!(seen.iter().all(|seen| seen.headers["te"] == "trailers"), "{seen:?}");
    }
}

/// Sends each message only when the one before has come back, so that nothing on the way can have
/// waited for the end of the request.
async fn call(web: &Web, host: &str) {
    let stream = web.connect(host, [127, 0, 0, 1].into(), b"h2").await.unwrap();
    let (mut client, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let connection = tokio::spawn(connection);
    let (messages, mut queue) = mpsc::channel::<Frame<Bytes>>(1);
    let frames = futures_util::stream::poll_fn(move |cx| {
        queue.poll_recv(cx).map(|frame| frame.map(Ok::<_, Infallible>))
    });
    let request = Request::post(format!("https://{host}/duplex"))
        .header("te", "trailers")
        .header("content-type", "application/grpc");
    let request = request.body(StreamBody::new(frames)).unwrap();
    let response = client.send_request(request).await.unwrap();
    assert_eq!(response.status(), 200, "{host}");
    let mut body = response.into_body();
    for n in 0..5 {
        let message = Bytes::from(format!("message {n}"));
        messages.send(Frame::data(message.clone())).await.unwrap();
        let back = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(back, message, "{host}");
    }
    let trailers = HeaderMap::from_iter([("x-checksum".parse().unwrap(), HeaderValue::from(7))]);
    messages.send(Frame::trailers(trailers)).await.unwrap();
    drop(messages);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(trailers["x-checksum"], "7", "{host}");
    assert_eq!(trailers["grpc-status"], "0", "{host}");
    connection.abort();
}

/// The same in HTTP/1.1, where trailers come after the last chunk.
async fn call_in_http1(web: &Web, host: &str) {
    let mut stream = web.connect(host, [127, 0, 0, 1].into(), b"http/1.1").await.unwrap();
    let call = format!(
        "POST /duplex HTTP/1.1\r\nHost: {host}\r\nConnection: TE, close\r\nTE: trailers\r\n\
         Content-Type: application/grpc\r\nTransfer-Encoding: chunked\r\nTrailer: x-checksum\r\n\r\n\
         5\r\nhello\r\n0\r\nx-checksum: 7\r\n\r\n"
    );
    stream.write_all(call.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{host}: {answer}");
    assert!(answer.contains("\r\nhello\r\n0\r\n"), "{host}: {answer}");
    for trailer in ["x-checksum: 7\r\n", "grpc-status: 0\r\n"] {
        let (_, trailers) = answer.rsplit_once("\r\n0\r\n").unwrap();
        assert!(trailers.contains(trailer), "{host}: {answer}");
    }
}
