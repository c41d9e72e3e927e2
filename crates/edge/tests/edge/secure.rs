//! HTTPS: which certificate answers, HTTP/2, and the way from HTTP.

use std::sync::Arc;

use portway_model::site::TlsVersion;
use portway_policy::{NodeSettings, bundle::Change};
use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use rustls::{
    NamedGroup,
    crypto::{
        CryptoProvider, SupportedKxGroup,
        aws_lc_rs::{self, kx_group},
    },
};
use tokio::net::TcpStream;

use crate::support::{
    TestEdge, certificate, change, client, client2, read, request, respond, route, send, sent,
    site, tls, to, with_https,
};

#[tokio::test]
async fn the_server_name_chooses_the_certificate_and_without_one_the_address() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let (a, b) = (certificate(&ca, &["a.example"]), certificate(&ca, &["*.b.example"]));
    let ip = certificate(&ca, &["127.0.0.1"]);
    let put = vec![
        with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &a),
        with_https(site("b", &["*.b.example"], vec![route("/", respond("b"))]), &b),
        with_https(site("ip", &["127.0.0.1"], vec![route("/", respond("ip"))]), &ip),
    ];
    let report = edge.change(Change { put, certificates: vec![a, b, ip], ..change() }).await;
    assert!(report.refused.is_empty(), "{:?}", report.refused);

    for (name, body) in [("a.example", "a"), ("x.b.example", "b"), ("127.0.0.1", "ip")] {
        let stream = tls(edge.https(), &ca, name, &[]).await.unwrap();
        let answer = send(&mut client(stream).await, request("GET", name, "/", "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{name}");
    }
}

#[tokio::test]
async fn keys_are_agreed_on_so_that_no_later_computer_finds_them_where_the_client_can() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example"]);
    let put = vec![with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &own)];
    edge.change(Change { put, certificates: vec![own], ..change() }).await;
    let group = async |groups: Vec<&'static dyn SupportedKxGroup>| {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(ca.root()).unwrap();
        let provider = CryptoProvider { kx_groups: groups, ..aws_lc_rs::default_provider() };
        let config = rustls::ClientConfig::builder_with_provider(Arc::new(provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = TcpStream::connect(edge.https()).await.unwrap();
        let name = "a.example".try_into().unwrap();
        let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
        let stream = connector.connect(name, stream).await.unwrap();
        stream.get_ref().1.negotiated_key_exchange_group().unwrap().name()
    };
    let (hybrid, plain) = (kx_group::X25519MLKEM768, kx_group::X25519);
    assert_eq!(group(vec![hybrid, plain]).await, NamedGroup::X25519MLKEM768);
    assert_eq!(group(vec![plain, hybrid]).await, NamedGroup::X25519);
    assert_eq!(group(vec![kx_group::SECP384R1]).await, NamedGroup::secp384r1);
}

#[tokio::test]
async fn a_name_that_no_site_has_is_refused_unless_there_is_a_fallback() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    assert!(tls(edge.https(), &ca, "a.example", &[]).await.is_err());
    edge.log_has("main.error.log", "no site answers to this name").await;

    let fallback = certificate(&ca, &["a.example"]);
    let settings =
        NodeSettings { fallback_certificate: Some(fallback.digest()), ..NodeSettings::default() };
    let certificates = vec![fallback];
    edge.change(Change { settings: Some(settings), certificates, ..change() }).await;
    let stream = tls(edge.https(), &ca, "a.example", &[]).await.unwrap();
    let answer = send(&mut client(stream).await, request("GET", "a.example", "/", "")).await;
    assert_eq!(answer.status, 404);
}

#[tokio::test]
async fn a_failed_handshake_stands_in_the_log_of_its_site() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example"]);
    let put = vec![with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &own)];
    edge.change(Change { put, certificates: vec![own], ..change() }).await;

    assert!(tls(edge.https(), &TestCa::new().unwrap(), "a.example", &[]).await.is_err());

    let line = edge.log_has("main.error.log", "handshake").await;
    assert!(line.contains("a.example"), "{line}");
    let folder = std::fs::read_dir(edge.dir.join("logs")).unwrap().flatten();
    assert!(folder.into_iter().any(|f| f.file_name().to_string_lossy().starts_with("a-")));
}

#[tokio::test]
async fn plain_http_is_sent_on_to_https_without_losing_the_method() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example"]);
    let put = vec![with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &own)];
    edge.change(Change { put, certificates: vec![own], ..change() }).await;

    let port = edge.https().port();
    let got = edge.get("a.example:8080", "/x?y=1").await;
    assert_eq!(got.status, 301);
    assert_eq!(got.header("location"), format!("https://a.example:{port}/x?y=1"));
    assert_eq!(edge.ask(request("HEAD", "a.example", "/", "")).await.status, 301);
    assert_eq!(edge.ask(request("POST", "a.example", "/", "body")).await.status, 308);
}

#[tokio::test]
async fn http2_serves_many_requests_and_refuses_a_site_of_another_certificate() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let both = certificate(&ca, &["a.example", "b.example"]);
    let other = certificate(&ca, &["c.example"]);
    let put = vec![
        with_https(site("a", &["a.example"], vec![route("/", to(&origin))]), &both),
        with_https(site("b", &["b.example"], vec![route("/", respond("b"))]), &both),
        with_https(site("c", &["c.example"], vec![route("/", respond("c"))]), &other),
    ];
    edge.change(Change { put, certificates: vec![both, other], ..change() }).await;
    let stream = tls(edge.https(), &ca, "a.example", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
    let client = client2(stream).await;

    let ask = |host: &str, body: &str| {
        let uri = format!("https://{host}/x");
        let asked = http::Request::post(uri).body(sent(body.as_bytes().to_vec())).unwrap();
        let mut client = client.clone();
        async move { read(client.send_request(asked).await.unwrap()).await }
    };
    let answers =
        futures_util::future::join_all((0..100).map(|n| ask("a.example", &n.to_string())));
    for (n, answer) in answers.await.into_iter().enumerate() {
        assert_eq!(answer.status, 200);
        let echo = answer.echoed();
        assert_eq!((echo.method.as_str(), echo.body), ("POST", n.to_string()));
        assert_eq!(echo.headers["host"], "a.example");
        assert_eq!(echo.headers["x-forwarded-proto"], "https");
        assert_eq!(echo.headers["x-forwarded-port"], "443");
    }
    assert_eq!(ask("b.example", "").await.body, "b");
    assert_eq!(ask("c.example", "").await.status, 421);
}

#[tokio::test]
async fn a_site_without_http2_or_with_a_stricter_version_gets_its_own_handshake() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example", "b.example"]);
    let mut plain = with_https(site("a", &["a.example"], vec![route("/", respond("a"))]), &own);
    plain.https.as_mut().unwrap().http2 = false;
    let mut strict = with_https(site("b", &["b.example"], vec![route("/", respond("b"))]), &own);
    strict.https.as_mut().unwrap().min_version = TlsVersion::V1_3;
    edge.change(Change { put: vec![plain, strict], certificates: vec![own], ..change() }).await;

    let stream = tls(edge.https(), &ca, "a.example", &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"http/1.1".as_slice()));
    let mut client = client(stream).await;
    assert_eq!(send(&mut client, request("GET", "a.example", "/", "")).await.status, 200);
    assert_eq!(send(&mut client, request("GET", "b.example", "/", "")).await.status, 421);
}

#[tokio::test]
async fn a_site_without_https_is_not_there_for_tls() {
    let (edge, ca) = (TestEdge::start().await, TestCa::new().unwrap());
    let own = certificate(&ca, &["a.example"]);
    let secure = with_https(site("s", &["a.example"], vec![route("/s", respond("s"))]), &own);
    let plain = site("p", &["a.example"], vec![route("/p", respond("p"))]);
    edge.change(Change { put: vec![secure, plain], certificates: vec![own], ..change() }).await;

    assert_eq!(edge.get("a.example", "/p").await.body, "p");
    let stream = tls(edge.https(), &ca, "a.example", &[]).await.unwrap();
    let mut client = client(stream).await;
    assert_eq!(send(&mut client, request("GET", "a.example", "/p", "")).await.status, 404);
    assert_eq!(send(&mut client, request("GET", "a.example", "/s", "")).await.body, "s");
}
