//! Connections to upstreams as a site file declares them, through the real program.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use portway_testkit::{
    ca::TestCa,
    origin::{Origin, Speaks},
};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::{TcpListener, TcpStream},
};

use crate::{
    support::{eventually, file, log_line, manager, ok},
    web::Web,
};

#[tokio::test(flavor = "multi_thread")]
async fn an_upstream_learns_who_we_are_and_who_the_client_is() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let ca = TestCa::new().unwrap();
    let ledger = origin(Speaks::Tls(ca.demanding_server("ledger.internal").unwrap())).await;
    let plain = origin(Speaks::Http1).await;
    let (told, heard) = listening_in(plain.address().unwrap()).await;
    let client = ca.issue(&["edge"]).unwrap();
    file(&manager, "ca.pem", &ca.root_pem());
    file(&manager, "edge.pem", &client.chain_pem);
    file(&manager, "edge.key", &client.key_pem);
    let text = format!(
        "sites:\n  ledger:\n    hosts: [ledger.localhost]\n    to:\n      targets: \
         [\"https://{}\"]\n      tls: {{ca: ca.pem, server_name: ledger.internal, \
         client_certificate: edge.pem, client_key: edge.key}}\n      pool: {{max_connections: 2, \
         max_requests: 3}}\n  told:\n    hosts: [told.localhost]\n    to: {{targets: [\"{told}\"], \
         proxy_protocol: v1}}\n",
        ledger.address().unwrap(),
    );
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text)]).await;

    for http2 in [false, true] {
        for host in ["ledger.localhost", "told.localhost"] {
            for _ in 0..3 {
                let ask = web.get(host, "/");
                let ask = if http2 { ask.http2() } else { ask };
                assert_eq!(ask.send().await.status, 200, "{host}, HTTP/2: {http2}");
            }
        }
    }

    assert_eq!(ledger.seen().len(), 6);
    assert!(ledger.connections() >= 2, "three requests each");
    let heard = heard.lock().unwrap().clone();
    assert!(!heard.is_empty());
    for line in heard {
        assert!(line.starts_with("PROXY TCP4 127.0.0.1 127.0.0.1 "), "{line}");
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

/// Passes everything on to an origin but the line that begins each connection, which is written
/// down.
async fn listening_in(origin: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let heard = Arc::<Mutex<Vec<String>>>::default();
    let all = Arc::clone(&heard);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let mut stream = BufReader::new(stream);
                let mut line = String::new();
                stream.read_line(&mut line).await.unwrap();
                all.lock().unwrap().push(line);
                let mut behind = TcpStream::connect(origin).await.unwrap();
                tokio::io::copy_bidirectional(&mut stream, &mut behind).await.ok();
                behind.shutdown().await.ok();
            });
        }
    });
    (address, heard)
}

async fn origin(speaks: Speaks) -> Origin {
    Origin::tcp(speaks).await.unwrap()
}
