//! Traces through the real program: from a client through the edge to the application, and what a
//! collector is told of it.

use std::sync::Arc;

use portway_testkit::{
    ca::TestCa,
    collector::{Collector, Span},
    manager::Manager,
    origin::{Origin, Speaks},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::{
    support::{PROGRAM, eventually, file, log_line, ok},
    web::Web,
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00f067aa0ba902b7";

#[tokio::test(flavor = "multi_thread")]
async fn client_edge_and_application_are_one_chain_of_spans() {
    let collector = Collector::start().await.unwrap();
    let endpoint = format!("http://127.0.0.1:{}", collector.port());
    let manager = exporting(&endpoint).with("--trusted-proxies=127.0.0.1/32");
    let (manager, origin) = serving(manager).await;
    let web = Web::of(&manager).await;
    let incoming = format!("00-{TRACE}-{PARENT}-01");

    let asked = web.get("app.localhost", "/hello?token=secret").header("traceparent", &incoming);
    let echo = asked.header("tracestate", "vendor=1").send().await.json();

    let onward = echo["headers"]["traceparent"].as_str().unwrap();
    let span = exported(&collector, |span| span.trace == TRACE).await;
    assert_eq!(onward, format!("00-{TRACE}-{}-01", span.id), "the application is a child of it");
    assert_eq!(echo["headers"]["tracestate"], "vendor=1");
    assert_eq!((span.parent.as_str(), span.tracestate.as_str()), (PARENT, "vendor=1"));
    assert_eq!((span.service.as_str(), span.name.as_str()), ("portway-edge", "GET /"));
    assert!(span.is_server && !span.is_error && span.time.1 > span.time.0, "{span:?}");
    let target = origin.address().unwrap().to_string();
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/"),
        ("http.response.status_code", "200"),
        ("url.scheme", "https"),
        ("url.path", "/hello"),
        ("server.address", "app.localhost"),
        ("portway.site", "app.localhost"),
        ("portway.upstream.target", target.as_str()),
    ] {
        assert_eq!(span.attribute(name), value, "{name}");
    }
    assert!(!format!("{span:?}").contains("secret"));
    let line = log_line(&manager, "main.access.log", TRACE).await;
    assert_eq!(line["trace_id"], TRACE);

    // A stranger's wish to be sampled is not heard, nor its trace continued.
    let asked = web.get("app.localhost", "/stranger").from([127, 0, 0, 9]);
    let echo = asked.header("traceparent", &incoming).send().await.json();
    let onward = echo["headers"]["traceparent"].as_str().unwrap();
    let span = exported(&collector, |span| span.attribute("url.path") == "/stranger").await;
    assert!(onward.contains(&span.id) && onward.contains(&span.trace), "{onward} {span:?}");
    assert_ne!(span.trace, TRACE);
    assert_eq!((span.parent.as_str(), span.links.as_slice()), ("", &[TRACE.to_owned()][..]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failing_upstream_is_an_error_and_the_api_has_spans_of_its_own() {
    let collector = Collector::start().await.unwrap();
    let endpoint = format!("http://127.0.0.1:{}", collector.port());
    let (manager, origin) = serving(exporting(&endpoint)).await;
    let web = Web::of(&manager).await;
    drop(origin);

    let answer = eventually("the origin to be gone", async || {
        let answer = web.get("app.localhost", "/gone").send().await;
        (answer.status == 502).then_some(answer)
    })
    .await;

    let span = exported(&collector, |span| span.is_error).await;
    assert_eq!(span.attribute("http.response.status_code"), answer.status.to_string());
    assert!(span.attribute("error.type").starts_with("upstream_"), "{span:?}");

    let mut api = TcpStream::connect(manager.api()).await.unwrap();
    let request = format!(
        "GET /api/v1/health HTTP/1.1\r\nhost: {}\r\ntraceparent: 00-{TRACE}-{PARENT}-01\r\n\
         connection: close\r\n\r\n",
        manager.api()
    );
    api.write_all(request.as_bytes()).await.unwrap();
    api.read_to_end(&mut Vec::new()).await.unwrap();
    let span = exported(&collector, |span| span.trace == TRACE).await;
    assert_eq!((span.service.as_str(), span.parent.as_str()), ("portway", PARENT));
    assert_eq!(span.name, "GET /api/v1/health");
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_reach_a_collector_with_a_private_authority_that_asks_who_is_there() {
    let ca = TestCa::new().unwrap();
    let collector = Collector::start_tls(server(&ca)).await.unwrap();
    let endpoint = format!("https://localhost:{}", collector.port());
    let manager = exporting(&endpoint);
    let own = ca.issue(&["portway.test"]).unwrap();
    let root = file(&manager, "collector-root.pem", &ca.root_pem());
    let certificate = file(&manager, "own.pem", &own.chain_pem);
    let key = file(&manager, "own.key", &own.key_pem);
    let manager = manager
        .with_variable("OTEL_EXPORTER_OTLP_CERTIFICATE", root)
        .with_variable("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificate)
        .with_variable("OTEL_EXPORTER_OTLP_CLIENT_KEY", key);
    let (manager, _origin) = serving(manager).await;

    let web = Web::of(&manager).await;
    assert_eq!(web.get("app.localhost", "/private").send().await.status, 200);

    let span = exported(&collector, |span| span.attribute("url.path") == "/private").await;
    assert_eq!(span.service, "portway-edge");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_setting_of_traces_is_named_and_nothing_starts() {
    for (name, value) in [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/nowhere/root.pem"),
        ("PORTWAY_CONTINUE_TRACES", "all"),
    ] {
        let mut manager = exporting("https://localhost:4318").with_variable(name, value);
        let refused = manager.serve().await.unwrap_err().to_string();
        assert!(refused.contains(value), "{refused}");
    }
}

/// Returns a manager that exports its spans, and those of its edge, at once.
fn exporting(endpoint: &str) -> Manager {
    Manager::new(PROGRAM)
        .unwrap()
        .with_variable("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .with_variable("OTEL_BSP_SCHEDULE_DELAY", "50")
}

/// Starts a manager that publishes an application.
async fn serving(mut manager: Manager) -> (Manager, Origin) {
    manager.serve().await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    ok(&manager, &["site", "add", "app.localhost", "--to", &to]).await;
    (manager, origin)
}

async fn exported(collector: &Collector, is_it: impl Fn(&Span) -> bool) -> Span {
    eventually("the span", async || collector.spans().into_iter().find(&is_it)).await
}

/// Returns the TLS of a collector that wants certificates of the same authority.
fn server(ca: &TestCa) -> Arc<rustls::ServerConfig> {
    let issued = ca.issue(&["localhost"]).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(ca.root()).unwrap();
    let clients = rustls::server::WebPkiClientVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::clone(&provider),
    );
    let chain = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes());
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_client_cert_verifier(clients.build().unwrap())
        .with_single_cert(chain.collect::<Result<_, _>>().unwrap(), key)
        .unwrap();
    Arc::new(config)
}
