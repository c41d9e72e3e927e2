//! Connections to upstreams as a site file declares them, through the real program.

use portway_model::site::ProxyProtocol;
use portway_testkit::{
    announced::Announced,
    backend::Backend,
    ca::TestCa,
    origin::{Origin, Speaks},
};

use crate::{
    support::{apply, eventually, file, log_line, manager, ok, targets},
    web::{VERSIONS, Web},
};

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_learns_who_we_are_and_who_the_client_is() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let ca = TestCa::new().unwrap();
    let ledger = origin(Speaks::Tls(ca.demanding_server("ledger.internal").unwrap())).await;
    let plain = origin(Speaks::Http1).await;
    let told = |version| Announced::start(version, plain.address().unwrap());
    let text = told(ProxyProtocol::V1).await.unwrap();
    let binary = told(ProxyProtocol::V2).await.unwrap();
    let client = ca.issue(&["edge"]).unwrap();
    file(&manager, "ca.pem", &ca.root_pem());
    file(&manager, "edge.pem", &client.chain_pem);
    file(&manager, "edge.key", &client.key_pem);
    let sites = format!(
        "sites:\n  ledger:\n    hosts: [ledger.localhost]\n    to:\n      targets: \
         [\"https://{}\"]\n      tls: {{ca: ca.pem, server_name: ledger.internal, \
         client_certificate: edge.pem, client_key: edge.key}}\n      pool: {{max_connections: 2, \
         max_requests: 3}}\n  text:\n    hosts: [text.localhost]\n    to: {{targets: [\"{}\"], \
         proxy_protocol: v1}}\n  binary:\n    hosts: [binary.localhost]\n    to: {{targets: [\"{}\"], \
         proxy_protocol: v2}}\n",
        ledger.address().unwrap(),
        text.address(),
        binary.address()
    );
    apply(&manager, &sites).await;

    for version in VERSIONS {
        for host in ["ledger.localhost", "text.localhost", "binary.localhost"] {
            for _ in 0..3 {
                let ask = web.get(host, "/").over(version).from([127, 0, 0, 7]);
                assert_eq!(ask.send().await.status, 200, "{host} over {version:?}");
            }
        }
    }

    assert_eq!(ledger.seen().len(), 6);
    assert!(ledger.connections() >= 2, "three requests each");
    let [lines, frames] = [text.heard(), binary.heard()];
    assert_eq!((lines.len(), frames.len()), (6, 6), "one for each client's connection");
    for line in lines {
        assert!(line.starts_with(b"PROXY TCP4 127.0.0.7 127.0.0.1 "), "{line:?}");
    }
    for frame in frames {
        let begins = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\x7f\0\0\x07\x7f\0\0\x01";
        assert!(frame.starts_with(begins), "{frame:?}");
    }
    let exported = ok(&manager, &["export"]).await.out;
    assert!(exported.contains("client_key") && !exported.contains("PRIVATE KEY"), "{exported}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_its_checks_gets_no_requests_and_the_log_says_why() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let (one, two) = (origin(Speaks::Http1).await, origin(Speaks::Http1).await);
    let text = format!(
        "sites:\n  shop:\n    hosts: [shop.localhost]\n    to:\n      targets: [\"{}\", \
         \"{}\"]\n      health: {{path: /health, interval: 1s, fall: 1, rise: 1, host: shop.internal, \
         body: '\"host\":\"shop.internal\"'}}\n",
        one.address().unwrap(),
        two.address().unwrap(),
    );
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text)]).await;
    assert_eq!(web.get("shop.localhost", "/").send().await.status, 200);
    let asked = |origin: &Origin| origin.seen().iter().any(|seen| seen.target == "/health");
    eventually("both are asked", async || (asked(&one) && asked(&two)).then_some(())).await;

    drop(two);
    let line = log_line(&manager, "main.error.log", "target_down").await;
    assert!(line["message"].as_str().unwrap().contains("nobody listens there"), "{line}");

    for http2 in [false, true] {
        for _ in 0..6 {
            let ask = web.get("shop.localhost", "/");
            let ask = if http2 { ask.http2() } else { ask };
            assert_eq!(ask.send().await.status, 200);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_or_a_handshake_can_be_the_check_and_a_target_comes_back() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let ca = TestCa::new().unwrap();
    let [comes, stays] = Backend::several::<2>().await.unwrap();
    let secure = origin(Speaks::Tls(ca.server("app.internal", &[]).unwrap())).await;
    let plain = origin(Speaks::Http1).await;
    // Only checks take targets out here, so a target that is out was found so by them.
    let strict = "eject: false, retries: false";
    let text = format!(
        "sites:\n  tcp:\n    hosts: [tcp.localhost]\n    to: {{targets: {}, \
         {strict}, health: {{tcp: true, interval: 1s, fall: 2, rise: 2}}}}\n  tls:\n    hosts: \
         [tls.localhost]\n    to: {{targets: [\"https://{}\", \
         \"https://{}\"], {strict}, tls: {{verify: false}}, health: {{tls: true, interval: 1s, \
         fall: 1}}}}\n",
        targets(&[&comes, &stays]),
        secure.address().unwrap(),
        plain.address().unwrap(),
    );
    apply(&manager, &text).await;
    for host in ["tcp.localhost", "tls.localhost"] {
        // The first request of a site begins its checks.
        web.get(host, "/").send().await;
    }
    let fails = format!("{} fails its checks", plain.address().unwrap());
    let down = log_line(&manager, "main.error.log", &fails).await;
    assert_eq!(down["code"], "target_down", "{down}");
    is_well(&web, "tls.localhost").await;

    comes.die().await;
    let fails = format!("{} fails its checks", comes.address());
    let down = log_line(&manager, "main.error.log", &fails).await;
    assert!(down["message"].as_str().unwrap().contains("nobody listens there"), "{down}");
    is_well(&web, "tcp.localhost").await;

    comes.revive().await.unwrap();
    let passes = format!("{} passes its checks", comes.address());
    log_line(&manager, "main.error.log", &passes).await;
    comes.requests_since();
    is_well(&web, "tcp.localhost").await;
    assert!(comes.requests() > 0, "it is used again");
}

/// Asks over both versions; no request may fail.
async fn is_well(web: &Web, host: &str) {
    for version in VERSIONS {
        for _ in 0..4 {
            let answer = web.get(host, "/").over(version).send().await;
            assert_eq!(answer.status, 200, "{host} over {version:?}");
        }
    }
}

async fn origin(speaks: Speaks) -> Origin {
    Origin::tcp(speaks).await.unwrap()
}
