//! Who may, and what is forwarded of who asks.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portway_model::site::{Access, BasicAuth, Password, PathMatch, Route};
use portway_policy::bundle::Change;
use portway_telemetry::TraceContext;
use portway_testkit::origin::{Origin, Speaks};
use tokio::net::TcpSocket;

use crate::support::{
    Answer, TestEdge, change, client, request, respond, route, send, site, to, trusting,
};

#[tokio::test]
async fn the_address_is_judged_before_the_password() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![closed()])]).await;

    assert_eq!(ask(&edge, "127.0.0.9", None).await.status, 403);
    assert_eq!(ask(&edge, "127.0.0.9", Some("ada:secret")).await.status, 403);
    let challenged = ask(&edge, "127.0.0.1", None).await;
    assert_eq!(challenged.status, 401);
    assert!(challenged.header("www-authenticate").starts_with(r#"Basic realm="inside""#));
    assert_eq!(ask(&edge, "127.0.0.1", Some("ada:wrong")).await.status, 401);
    assert_eq!(ask(&edge, "127.0.0.1", Some("bob:secret")).await.status, 401);
    assert_eq!(ask(&edge, "127.0.0.1", Some("ada:secret")).await.status, 200);
    let line = edge.log_has("main.access.log", r#""status":200"#).await;
    assert!(line.contains(r#""user":"ada""#), "{line}");
    edge.log_has("main.error.log", "127.0.0.9 is not allowed").await;
}

#[tokio::test]
async fn a_forged_address_does_not_open_a_closed_route() {
    let edge = TestEdge::start().await;
    edge.put(vec![site("a", &["a.example"], vec![closed()])]).await;
    let forged = |value: &str| {
        let mut forged = request("GET", "a.example", "/", "");
        forged.headers_mut().insert("x-forwarded-for", value.parse().unwrap());
        forged
    };
    let stream = connect_from(&edge, "127.0.0.9").await;
    assert_eq!(send(&mut client(stream).await, forged("127.0.0.1")).await.status, 403);

    let settings = Some(trusting(&["127.0.0.9/32"]));
    edge.change(Change { settings, ..change() }).await;
    let stream = connect_from(&edge, "127.0.0.9").await;
    assert_eq!(send(&mut client(stream).await, forged("127.0.0.1")).await.status, 401);
    let stream = connect_from(&edge, "127.0.0.9").await;
    assert_eq!(send(&mut client(stream).await, forged("127.0.0.8")).await.status, 403);
}

#[tokio::test]
async fn the_upstream_learns_who_asks_and_not_what_strangers_claim() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![site("a", &["a.example"], vec![route("/", to(&origin))])]).await;
    let mut asked = request("GET", "a.example:8080", "/", "");
    for (name, value) in [
        ("x-forwarded-for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "forged-forged"),
        ("connection", "x-forwarded-for, x-own"),
        ("x-own", "1"),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ("tracestate", "vendor=1"),
    ] {
        asked.headers_mut().insert(name, value.parse().unwrap());
    }

    let answer = edge.ask(asked).await;

    let headers = answer.echoed().headers;
    assert_eq!(headers["x-forwarded-for"], "127.0.0.1");
    assert_eq!(headers["x-real-ip"], "127.0.0.1");
    assert_eq!(headers["x-forwarded-proto"], "http");
    assert_eq!(headers["x-forwarded-host"], "a.example:8080");
    assert_eq!(headers["x-forwarded-port"], "8080");
    assert_eq!(headers["host"], "a.example:8080");
    assert_eq!(headers["x-request-id"], answer.header("x-request-id"));
    assert_ne!(headers["x-request-id"], "forged-forged");
    let begun: TraceContext = headers["traceparent"].parse().unwrap();
    assert!(!headers["traceparent"].contains("0af7651916cd43dd8448eb211c80319c"));
    assert!(!headers.contains_key("tracestate"));
    let line = edge.log_has("main.access.log", &headers["x-request-id"]).await;
    assert!(line.contains(&begun.trace_id().to_string()), "{line}");
    assert!(headers["forwarded"].starts_with("for=127.0.0.1;"), "{headers:?}");
    assert!(!headers.contains_key("x-own"));
}

#[tokio::test]
async fn the_trace_of_a_trusted_proxy_goes_on() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let settings = Some(trusting(&["127.0.0.0/8"]));
    let put = vec![site("a", &["a.example"], vec![route("/", to(&origin))])];
    edge.change(Change { put, settings, ..change() }).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
    let mut asked = request("GET", "a.example", "/", "");
    asked.headers_mut().insert("traceparent", trace.parse().unwrap());
    asked.headers_mut().insert("tracestate", "vendor=1".parse().unwrap());

    let headers = edge.ask(asked).await.echoed().headers;

    // Nothing is exported here, so no span of ours stands between proxy and application.
    assert_eq!(headers["traceparent"], trace);
    assert_eq!(headers["tracestate"], "vendor=1");
    edge.log_has("main.access.log", "0af7651916cd43dd8448eb211c80319c").await;
}

#[tokio::test]
async fn no_spelling_of_a_path_leads_past_its_rules() {
    let edge = TestEdge::start().await;
    let mut inside = closed();
    inside.matches.path = PathMatch::Prefix("/@admin,x".parse().unwrap());
    edge.put(vec![site("a", &["a.example"], vec![route("/", respond("open")), inside])]).await;

    for path in
        ["/@admin,x", "/%40admin,x", "/%40adm%69n%2Cx/y", "/a/../%40admin%2cx", "//@admin,x"]
    {
        let stream = connect_from(&edge, "127.0.0.9").await;
        let answer = send(&mut client(stream).await, request("GET", "a.example", path, "")).await;
        assert_eq!(answer.status, 403, "{path}");
    }
}

#[tokio::test]
async fn a_prefix_is_taken_away_however_it_is_spelled() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut stripped = route("/@me", to(&origin));
    stripped.filters.strip_prefix = true;
    edge.put(vec![site("a", &["a.example"], vec![stripped])]).await;

    for (path, seen) in [("/%40me/a%2Bb", "/a%2Bb"), ("/@me", "/"), ("/%40me/", "/")] {
        let answer = edge.ask(request("GET", "a.example", path, "")).await;
        assert!(answer.body.contains(&format!("\"{seen}\"")), "{path}: {}", answer.body);
    }
}

/// A route for one address with a password.
fn closed() -> Route {
    let mut closed = route("/", respond("inside"));
    closed.filters.access = Some(Access {
        allow: Some(vec!["127.0.0.1/32".parse().unwrap()]),
        deny: vec![],
        basic: Some(BasicAuth {
            realm: "inside".into(),
            users: [("ada".into(), Password::Hash(bcrypt::hash("secret", 4).unwrap()))].into(),
        }),
    });
    closed
}

async fn ask(edge: &TestEdge, from: &str, credentials: Option<&str>) -> Answer {
    let mut asked = request("GET", "a.example", "/", "");
    if let Some(credentials) = credentials {
        let value = format!("Basic {}", STANDARD.encode(credentials));
        asked.headers_mut().insert("authorization", value.parse().unwrap());
    }
    send(&mut client(connect_from(edge, from).await).await, asked).await
}

async fn connect_from(edge: &TestEdge, from: &str) -> tokio::net::TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(edge.http()).await.unwrap()
}
