//! The example of three sites on one host, as its visitors meet it.

use std::{net::Ipv4Addr, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use portway_telemetry::access::{AccessRecord, ErrorKind, ErrorRecord};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::{
    example::{Example, HOST},
    support::{eventually, log_line, log_lines},
    web::Answer,
};

/// An address of this machine that the closed site does not list.
const STRANGER: [u8; 4] = [127, 0, 0, 2];

#[tokio::test(flavor = "multi_thread")]
async fn the_sites_are_open_closed_and_behind_a_login_as_declared() {
    let example = Example::publish().await;
    let (web, https) = (&example.web, example.manager.https_port());

    for host in [HOST, "127.0.0.1"] {
        let landing = web.get(host, "/").send().await;
        assert_eq!(landing.status, 200);
        assert!(landing.header("content-type").starts_with("text/html"), "{landing:?}");
        assert_eq!(landing.text().matches("<iframe").count(), 3);
        assert_eq!(web.get(host, "/open/").send().await.status, 200);
        assert_eq!(web.get(host, "/open/").http2().send().await.status, 200);
    }
    let unknown = web.get("other.localhost", "/").try_send().await;
    assert!(unknown.is_err(), "a name without a site has no trusted certificate: {unknown:?}");

    // The address is judged before the password: a stranger never learns whether it is right.
    let (user, password) = example.login("close");
    let right = basic(&user, &password);
    let wrong = basic(&user, "wrong");
    let knock = async |source: [u8; 4], credentials: Option<&str>| {
        let mut ask = web.get(HOST, "/close/").from(source);
        if let Some(credentials) = credentials {
            ask = ask.header("authorization", credentials);
        }
        ask.send().await
    };
    for credentials in [None, Some(wrong.as_str()), Some(right.as_str())] {
        let refused = knock(STRANGER, credentials).await;
        assert_eq!(refused.status, 403, "{credentials:?}");
        assert_eq!(refused.header("www-authenticate"), "");
    }
    let asked = knock([127, 0, 0, 1], None).await;
    assert_eq!(asked.status, 401);
    assert!(asked.header("www-authenticate").contains(r#"Basic realm="close""#), "{asked:?}");
    assert_eq!(knock([127, 0, 0, 1], Some(&wrong)).await.status, 401);
    assert_eq!(knock([127, 0, 0, 1], Some(&right)).await.status, 200);

    let pong = web.get(HOST, "/flask/api/ping").from([127, 0, 0, 3]).send().await.json();
    assert_eq!(pong["message"], "pong");
    assert_eq!(pong["client"], "127.0.0.3");
    assert_eq!(pong["url"], format!("https://{HOST}:{https}/flask/api/ping"));
    let swagger = web.get(HOST, "/flask/swagger/").send().await;
    assert_eq!(swagger.status, 200);
    assert!(swagger.text().contains("swagger-ui"), "{}", swagger.text());
    let description = web.get(HOST, "/flask/openapi.json").send().await.json();
    assert_eq!(description["servers"][0]["url"], "/flask");
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_http_leads_to_https_with_the_method_kept() {
    let example = Example::publish().await;
    let web = &example.web;
    for host in [HOST, "127.0.0.1"] {
        let to = format!("https://{host}:{}/open/?a=b", example.manager.https_port());
        for (method, status) in [("GET", 301), ("HEAD", 301), ("POST", 308), ("DELETE", 308)] {
            let moved = web.ask(method, host, "/open/?a=b").plain().send().await;
            assert_eq!((moved.status, moved.header("location")), (status, to.as_str()), "{method}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn static_files_are_compressed_cached_and_new_when_they_are_saved() {
    let example = Example::publish().await;
    let web = &example.web;
    let css = std::fs::read(example.folder.join("open/style.css")).unwrap();
    let path = "/open/style.css";

    let plain = web.get(HOST, path).send().await;
    assert_eq!((plain.status, plain.header("content-encoding")), (200, ""));
    assert_eq!(plain.body, css);
    for coding in ["gzip", "br", "zstd"] {
        let coded = web.get(HOST, path).header("accept-encoding", coding).send().await;
        assert_eq!(coded.header("content-encoding"), coding);
        assert!(coded.header("vary").to_lowercase().contains("accept-encoding"), "{coded:?}");
        assert!(coded.body.len() < css.len(), "{coding} is smaller");
        assert_eq!(coded.decoded().await, css, "{coding}");
    }
    let choice = web.get(HOST, path).header("accept-encoding", "gzip;q=0.5, zstd").send().await;
    assert_eq!(choice.header("content-encoding"), "zstd");

    assert_ne!(plain.header("cache-control"), "");
    for (name, value) in [
        ("if-none-match", plain.header("etag")),
        ("if-modified-since", plain.header("last-modified")),
    ] {
        assert_ne!(value, "", "{name}");
        let fresh = web.get(HOST, path).header(name, value).send().await;
        assert_eq!((fresh.status, fresh.body.len()), (304, 0), "{name}");
        assert_eq!(fresh.header("etag"), plain.header("etag"));
    }
    let part = web.get(HOST, path).header("range", "bytes=10-19").send().await;
    assert_eq!(part.status, 206);
    assert_eq!(part.header("content-range"), format!("bytes 10-19/{}", css.len()));
    assert_eq!(part.body, css[10..20]);
    let beyond = web.get(HOST, path).header("range", "bytes=9999999-").send().await;
    assert_eq!(beyond.status, 416);

    std::fs::write(example.folder.join("open/style.css"), "/* new */").unwrap();
    let stale = web.get(HOST, path).header("if-none-match", plain.header("etag")).send().await;
    assert_eq!((stale.status, stale.text().as_str()), (200, "/* new */"));
    std::fs::write(example.folder.join("open/new.html"), "<p>just made").unwrap();
    assert_eq!(web.get(HOST, "/open/new.html").send().await.text(), "<p>just made");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_part_writes_its_own_logs_with_the_reason_of_every_fault() {
    let example = Example::publish().await;
    let (manager, web) = (&example.manager, &example.web);
    let paths = [
        ("main", "/?visit=main"),
        ("open", "/open/?visit=open"),
        ("close", "/close/?visit=close"),
        ("flask", "/flask/api/ping?visit=flask"),
    ];
    for (log, path) in paths {
        let answer = web.get(HOST, path).header("user-agent", "a \"b\" \\c").send().await;
        let id = answer.header("x-request-id").to_owned();
        let line = log_line(manager, &format!("{log}.access.log"), &id).await;
        assert_eq!(line["status"], answer.status);
        assert_eq!(line["query"], format!("visit={log}"));
    }
    for (log, path) in paths {
        let lines = log_lines(manager, &format!("{log}.access.log"));
        assert_eq!(lines.len(), 1, "{log} has its own requests only: {lines:#?}");
        let record = AccessRecord::read(&lines[0]).unwrap();
        assert_eq!(format!("{}?{}", record.path, record.query.unwrap()), path);
        let line: Value = lines[0].parse().unwrap();
        assert!(line["time"].as_str().unwrap().ends_with('Z'), "times are UTC: {line}");
    }

    let refused = web.get(HOST, "/close/").from(STRANGER).send().await;
    let line = log_line(manager, "close.error.log", refused.header("x-request-id")).await;
    let record = ErrorRecord::read(&line.to_string()).unwrap();
    assert_eq!(record.kind, ErrorKind::Refused);
    assert_eq!(record.client.unwrap().to_string(), "127.0.0.2");
    assert!(record.message.contains("address"), "{line}");

    distrust(example.manager.https_port()).await;
    let line = log_line(manager, "main.error.log", "handshake").await;
    let record = ErrorRecord::read(&line.to_string()).unwrap();
    assert_eq!((record.kind, record.host.as_deref()), (ErrorKind::Handshake, Some(HOST)));
    assert!(record.message.to_lowercase().contains("unknownca"), "the reason is told: {line}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_goes_and_comes_back_takes_nothing_with_it() {
    let example = Example::publish().await;
    let web = &example.web;
    let ping = || web.get(HOST, "/flask/api/ping");

    let nobody = web.get(HOST, "/flask/api/count").send().await;
    assert_eq!(nobody.status, 401);
    assert_eq!(log_in(&example, "wrong").await.status, 401);
    let token = token(&example).await;
    let first = count(&example, &token).await;
    assert_eq!(count(&example, &token).await, first + 1);
    example.script("start.sh", &["app"]).await;
    assert_eq!(count(&example, &token).await, first + 2, "the app was restarted");
    example.script("start.sh", &["redis"]).await;
    assert_eq!(count(&example, &token).await, first + 3, "Redis was restarted");

    example.script("stop.sh", &["app"]).await;
    let problem = ping().header("accept", "application/json").send().await;
    assert_eq!(problem.status, 502);
    assert_eq!(problem.header("content-type"), "application/problem+json");
    assert_eq!(problem.json()["request_id"], problem.header("x-request-id"));
    let page = ping().header("accept", "text/html,*/*;q=0.8").send().await;
    assert_eq!(page.status, 502);
    assert!(page.header("content-type").starts_with("text/html"), "{page:?}");
    let id = page.header("x-request-id");
    assert!(id.len() >= 8 && page.text().contains(id), "{}", page.text());
    assert!(!page.text().contains("flask.sock"), "nothing internal is shown: {}", page.text());
    assert_eq!(web.get(HOST, "/open/").send().await.status, 200);
    let line = log_line(&example.manager, "flask.error.log", id).await;
    assert!(line["message"].as_str().unwrap().contains("flask.sock"), "{line}");

    example.script("start.sh", &["app"]).await;
    assert_eq!(ping().send().await.status, 200, "nothing else was restarted");
    assert_eq!(count(&example, &token).await, first + 4);
}

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

async fn log_in(example: &Example, password: &str) -> Answer {
    let (user, _) = example.login("api");
    let login = json!({ "user": user, "password": password }).to_string();
    let ask = example.web.ask("POST", HOST, "/flask/auth/login");
    ask.body("application/json", &login).send().await
}

async fn token(example: &Example) -> String {
    let (_, password) = example.login("api");
    let answer = log_in(example, &password).await.json();
    assert_eq!(answer["expires_in"], 3600);
    answer["access_token"].as_str().unwrap().to_owned()
}

/// Counts a visit. Redis may need a moment to read what it wrote.
async fn count(example: &Example, token: &str) -> u64 {
    let ask = async || {
        let count = example.web.get(HOST, "/flask/api/count");
        let answer = count.header("authorization", &format!("Bearer {token}")).send().await;
        (answer.status == 200).then(|| answer.json()["count"].as_u64().unwrap())
    };
    eventually("a counted visit", ask).await
}

/// Knocks as a client that trusts nobody.
async fn distrust(port: u16) {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await.unwrap();
    let name = ServerName::try_from(HOST).unwrap();
    let refused = TlsConnector::from(Arc::new(config)).connect(name, stream).await;
    assert!(refused.is_err());
}
