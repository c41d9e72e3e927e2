//! HTTP/2 on both sides: streams that go both ways at once, and trailers, as gRPC has them.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::{Frame, Incoming};
use portway_model::site::{Action, Upstream, UpstreamTls};
use portway_policy::bundle::Change;
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::sync::mpsc;

use crate::support::{
    Sent, TestEdge, certificate, change, client2, route, site, tls, upstream2, with_https,
};

#[tokio::test]
async fn messages_go_both_ways_at_once_and_trailers_too_over_h2c_and_tls() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let plain = Origin::tcp(Speaks::H2c).await.unwrap();
    let secure =
        Origin::tcp(Speaks::Tls(ca.server("app.internal", &["h2"]).unwrap())).await.unwrap();
    let mut routes = Vec::new();
    for (path, origin, tls) in [("/plain", &plain, None), ("/secure", &secure, Some(trust(&ca)))] {
        let over = Upstream { tls, ..upstream2(origin) };
        let mut route = route(path, Action::Proxy(over));
        route.filters.strip_prefix = true;
        routes.push(route);
    }
    let own = certificate(&ca, &["a.example"]);
    let put = vec![with_https(site("a", &["a.example"], routes), &own)];
    let report = edge.change(Change { put, certificates: vec![own], ..change() }).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);

    for path in ["/plain/duplex", "/secure/duplex"] {
        let stream = tls(edge.https(), &ca, "a.example", &["h2"]).await.unwrap();
        let mut client = client2(stream).await;
        let (messages, body) = messages();
        let response = client.send_request(call(path, body)).await.unwrap();
        assert_eq!(response.status(), 200, "{path}");
        exchange(messages, response).await;
    }

    assert_eq!((plain.connections(), secure.connections()), (1, 1));
    for origin in [&plain, &secure] {
        assert_eq!(origin.seen()[0].headers["te"], "trailers");
    }
}

#[tokio::test]
async fn a_target_that_speaks_no_http2_over_tls_is_told_of() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let silent = Origin::tcp(Speaks::Tls(ca.server("app.internal", &[]).unwrap())).await.unwrap();
    let refusing =
        Origin::tcp(Speaks::Tls(ca.server("app.internal", &["http/1.1"]).unwrap())).await.unwrap();
    let over = |origin| {
        let tls = Some(trust(&ca));
        Action::Proxy(Upstream { tls, ..upstream2(origin) })
    };
    let routes = vec![route("/silent", over(&silent)), route("/refusing", over(&refusing))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    for path in ["/silent", "/refusing"] {
        let answer = edge.get("a.example", path).await;
        assert_eq!(answer.status, 502);
        let line = edge.log_has("main.error.log", answer.header("x-request-id")).await;
        assert!(line.contains("it does not speak HTTP/2 over TLS"), "{line}");
    }
}

#[tokio::test]
async fn requests_that_come_at_once_share_the_connection_that_the_first_one_opens() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::H2c).await.unwrap();
    let over = upstream2(&origin);
    edge.put(vec![site("a", &["a.example"], vec![route("/", Action::Proxy(over))])]).await;
    // The site is ready before they come.
    assert_eq!(edge.get("b.example", "/").await.status, 404);

    let asked = (0..40).map(|_| edge.get("a.example", "/"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.status, 200);
    }

    // One for each worker thread.
    assert!(origin.connections() <= 2, "{}", origin.connections());
}

/// Sends each message only when the one before has come back, so that nothing on the way can have
/// waited for the end of the request.
async fn exchange(messages: mpsc::Sender<Frame<Bytes>>, response: Response<Incoming>) {
    let mut body = response.into_body();
    for n in 0..5 {
        let message = Bytes::from(format!("message {n}"));
        messages.send(Frame::data(message.clone())).await.unwrap();
        let back = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert_eq!(back, message);
    }
    let mut trailers = HeaderMap::new();
    trailers.insert("x-checksum", HeaderValue::from_static("7"));
    messages.send(Frame::trailers(trailers)).await.unwrap();
    drop(messages);
    let trailers = body.frame().await.unwrap().unwrap().into_trailers().unwrap();
    assert_eq!(
        (&trailers["x-checksum"], &trailers["grpc-status"]),
        (&"7".parse().unwrap(), &"0".parse().unwrap())
    );
    assert!(body.frame().await.is_none());
}

fn messages() -> (mpsc::Sender<Frame<Bytes>>, Sent) {
    let (sender, mut receiver) = mpsc::channel(1);
    let frames = futures_util::stream::poll_fn(move |cx| receiver.poll_recv(cx).map(|f| f.map(Ok)));
    (sender, StreamBody::new(frames).boxed_unsync())
}

fn call(path: &str, body: Sent) -> Request<Sent> {
    let request = Request::post(format!("https://a.example{path}"));
    let request = request.header("te", "trailers").header("content-type", "application/grpc");
    request.body(body).unwrap()
}

fn trust(ca: &TestCa) -> UpstreamTls {
    let server_name = Some("app.internal".to_owned());
    UpstreamTls { verify: true, ca_pem: Some(ca.root_pem()), server_name }
}
