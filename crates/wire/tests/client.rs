//! The client against small servers that answer what they are told to.
#![expect(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "a failed assumption fails the test"
)]

use std::{sync::Arc, time::Duration};

use http::Uri;
use portway_wire::{
    ProblemCode,
    client::{Client, ClientConfig, ClientError, Deadlines, Endpoint, IfMatch},
    logs::LogQuery,
    site::{ApplySites, EditSite},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    task::JoinHandle,
};
use uuid::Uuid;

const CHANGED: &str = r#"{"revision":7,"sites":["app"],"findings":[]}"#;

#[tokio::test]
async fn a_write_names_the_version_it_expects_and_brings_its_token() {
    let (url, request) = serve_tcp(json(200, CHANGED)).await;
    let client = client(&url, Some("secret"));
    let edit = EditSite { spec: serde_json::json!({"hosts": ["a"]}), message: None, rollout: None };

    let changed = client.edit_site("my site/1", &edit, IfMatch::Revision(6)).await.unwrap();

    assert_eq!(changed.revision, Some(7));
    let request = request.await.unwrap();
    assert!(request.starts_with("PUT /api/v1/sites/my%20site%2F1 HTTP/1.1\r\n"), "{request}");
    assert!(request.contains("if-match: \"6\"\r\n"), "{request}");
    assert!(request.contains("authorization: Bearer secret\r\n"), "{request}");
    assert!(request.ends_with(r#"{"spec":{"hosts":["a"]}}"#), "{request}");
}

#[tokio::test]
async fn an_application_carries_its_key_over_the_local_socket() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("portway.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let request = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, json(200, CHANGED)).await
    });
    let client = Client::new(ClientConfig::new(Endpoint::Unix(path))).unwrap();
    let sites = ApplySites {
        rollout: None,
        source: "file".to_owned(),
        sites: indexmap::IndexMap::new(),
        prune: true,
        owner: None,
        message: None,
        basis: None,
    };

    client.apply(&sites, Uuid::nil()).await.unwrap();

    let request = request.await.unwrap();
    assert!(request.contains("idempotency-key: 00000000000000000000000000000000\r\n"), "{request}");
    assert!(request.contains("host: localhost\r\n"), "{request}");
    assert!(!request.contains("authorization"), "{request}");
}

#[tokio::test]
async fn a_problem_is_read_with_its_code() {
    let body =
        r#"{"title":"Changed by someone else","status":412,"code":"stale","detail":"now 8"}"#;
    let (url, _) = serve_tcp(json(412, body)).await;
    let error = client(&url, None).remove_site("a", IfMatch::Any).await.unwrap_err();
    let problem = error.problem().expect("a problem");
    assert_eq!((problem.code, problem.detail.as_str()), (ProblemCode::Stale, "now 8"));
}

#[tokio::test]
async fn what_is_not_portway_is_named() {
    let (url, _) = serve_tcp(json(404, "<h1>nginx</h1>")).await;
    let error = client(&url, None).health().await.unwrap_err();
    assert!(
        matches!(&error, ClientError::NotPortway { status: 404, text } if text.contains("nginx"))
    );
}

#[tokio::test]
async fn nobody_there_is_unreachable() {
    let folder = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Unix(folder.path().join("none.sock"));
    let error = Client::new(ClientConfig::new(endpoint)).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn an_answer_that_does_not_come_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        // Reads until the client goes away.
        stream.read_to_end(&mut Vec::new()).await.map(drop)
    });
    let deadlines = Deadlines { answer: Duration::from_millis(50), ..Deadlines::default() };
    let config =
        ClientConfig { deadlines, ..ClientConfig::new(Endpoint::Http(url.parse().unwrap())) };
    let error = Client::new(config).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Slow { .. }), "{error}");
    silent.await.unwrap().unwrap();
}

#[tokio::test]
async fn log_lines_are_followed_to_the_end() {
    let line =
        |text: &str| format!("data: {{\"site\":\"a\",\"log\":\"main\",\"line\":\"{text}\"}}\n\n");
    let body = format!(": hello\n\n{}{}", line("one"), line("two"));
    let (url, request) = serve_tcp(format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    ))
    .await;
    let mut stream = client(&url, None).follow_logs("a", &LogQuery::default()).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = stream.next().await.unwrap() {
        lines.push(line.line);
    }
    assert_eq!(lines, ["one", "two"]);
    assert!(request.await.unwrap().contains("follow=true"));
}

#[tokio::test]
async fn tls_is_verified_against_the_given_authority() {
    let (ca_pem, url, served) =
        serve_tls(json(200, r#"{"status":"ok","version":"1","set_up":true}"#)).await;
    let endpoint = Endpoint::Http(url.parse().unwrap());
    let trusting = ClientConfig { ca_pem: Some(ca_pem), ..ClientConfig::new(endpoint) };
    let health = Client::new(trusting).unwrap().health().await.unwrap();
    assert!(health.set_up);
    served.await.unwrap();
}

#[tokio::test]
async fn tls_of_a_stranger_is_refused() {
    let (_, url, served) = serve_tls(json(200, "{}")).await;
    let (other_ca, _) = authority();
    let endpoint = Endpoint::Http(url.parse().unwrap());
    let config =
        ClientConfig { ca_pem: Some(other_ca.into_bytes()), ..ClientConfig::new(endpoint) };
    let error = Client::new(config).unwrap().health().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    served.abort();
}

#[test]
fn a_token_never_leaves_the_machine_in_clear_text() {
    let make = |url: &str| {
        let endpoint = Endpoint::Http(url.parse::<Uri>().unwrap());
        Client::new(ClientConfig::new(endpoint)).map(drop)
    };
    assert!(matches!(make("http://portway.example"), Err(ClientError::Insecure { .. })));
    assert!(matches!(make("http://127.0.0.1.evil.example"), Err(ClientError::Insecure { .. })));
    assert!(matches!(make("ftp://localhost"), Err(ClientError::Url { .. })));
    assert!(matches!(make("https://a@b.example"), Err(ClientError::Url { .. })));
    assert!(matches!(make("http://localhost/path"), Err(ClientError::Url { .. })));
    for url in ["http://localhost:8900", "http://127.0.0.1", "http://[::1]:8900/"] {
        assert!(make(url).is_ok(), "{url}");
    }
}

#[test]
fn a_socket_path_beyond_the_systems_limit_is_refused() {
    let endpoint = Endpoint::Unix(format!("/tmp/{}/portway.sock", "a".repeat(100)).into());
    let error = Client::new(ClientConfig::new(endpoint)).unwrap_err();
    assert!(matches!(error, ClientError::SocketPath { .. }), "{error}");
}

fn client(url: &str, token: Option<&str>) -> Client {
    let endpoint = Endpoint::Http(url.parse().unwrap());
    let token = token.map(str::to_owned);
    Client::new(ClientConfig { token, ..ClientConfig::new(endpoint) }).unwrap()
}

fn json(status: u16, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

/// Answers one request on a free port; the task returns the request as it came.
async fn serve_tcp(response: String) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        answer(stream, response).await
    });
    (url, task)
}

async fn serve_tls(response: String) -> (Vec<u8>, String, JoinHandle<()>) {
    let (ca_pem, issuer) = authority();
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            rustls_pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let task = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        if let Ok(stream) = acceptor.accept(stream).await {
            answer(stream, response).await;
        }
    });
    (ca_pem.into_bytes(), url, task)
}

fn authority() -> (String, rcgen::Issuer<'static, rcgen::KeyPair>) {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    (pem, rcgen::Issuer::new(params, key))
}

async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, response: String) -> String {
    let mut request = Vec::new();
    while !is_whole(&request) {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap();
        assert_ne!(read, 0, "the request ended early");
        request.extend_from_slice(&chunk[..read]);
    }
    stream.write_all(response.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    String::from_utf8(request).unwrap()
}

fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.trim().parse().unwrap())
}
