//! What is wrong with one site stays with that site, and a change loses no request.

use std::{
    net::Ipv4Addr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portway_testkit::{
    ca::TestCa,
    manager::Manager,
    origin::{Origin, Speaks},
};
use portway_wire::{
    client::{Client, ClientConfig, Endpoint, IfMatch},
    deploy::WaitQuery,
    site::EditSite,
};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    support::{ends, eventually, file, json, manager, ok},
    web::Web,
};

/// How many clients post at once, over each protocol.
const CLIENTS: usize = 4;
/// How many changes are made meanwhile.
const CHANGES: u32 = 50;

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_cannot_be_served_is_the_only_one_that_suffers() {
    let mut manager = manager().await;
    let web = Web::of(&manager).await;
    let missing = manager.folder().join("no/such/folder");
    let text = format!(
        "sites:\n  dead:\n    hosts: [dead.localhost]\n    to: 127.0.0.1:1\n  gone:\n    hosts: \
         [gone.localhost]\n    to: unix:{missing}/app.sock\n  rootless:\n    hosts: \
         [rootless.localhost]\n    files: {missing}\n  sound:\n    hosts: [sound.localhost]\n    \
         respond: {{ body: sound }}\n"
    );
    let path = file(&manager, "sites.yaml", &text);
    ok(&manager, &["apply", "-f", &path]).await;

    // The same holds after everything was started anew.
    for start in ["first", "second"] {
        for (host, status) in [("dead", 502), ("gone", 502), ("rootless", 404), ("sound", 200)] {
            let answer = web.get(&format!("{host}.localhost"), "/").send().await;
            assert_eq!(answer.status, status, "{host} at the {start} start");
        }
        manager.stop().await.unwrap();
        ok(&manager, &["edge", "--stop"]).await;
        eventually("the edge to stop", async || manager.edge().await.err()).await;
        manager.serve().await.unwrap();
    }
    let later = "sites: { later: { hosts: [later.localhost], respond: { body: later } } }\n";
    ok(&manager, &["apply", "-f", &file(&manager, "later.yaml", later)]).await;
    assert_eq!(web.get("later.localhost", "/").send().await.text(), "later");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_the_edge_refuses_is_held_and_the_others_go_on() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    let before = format!("sites: {{ app: {{ hosts: [app.localhost], to: \"{to}\" }} }}\n");
    ok(&manager, &["apply", "-f", &file(&manager, "app.yaml", &before)]).await;

    // Only the edge reads the certificate inside: the authority's text is cut in the middle.
    let pem = TestCa::new().unwrap().root_pem();
    let lines: Vec<&str> = pem.lines().collect();
    let cut = [lines[0], lines[1], lines[lines.len() - 1]].join("\\n");
    let broken = format!(
        "sites:\n  app:\n    hosts: [app.localhost]\n    to: {{ targets: [\"https://{to}\"], tls: \
         {{ ca: \"{cut}\\n\" }} }}\n  other:\n    hosts: [other.localhost]\n    respond: {{ body: \
         other }}\n"
    );
    let path = file(&manager, "app.yaml", &broken);
    let held = ends(&manager, &["apply", "-f", &path], 8).await;

    assert!(held.err.contains("the version before keeps serving"), "{}", held.err);
    assert_eq!(json(&manager, &["site", "show", "app"]).await["state"], "held");
    assert_eq!(web.get("app.localhost", "/").send().await.status, 200, "what was proven serves on");
    assert_eq!(web.get("other.localhost", "/").send().await.text(), "other");
    ok(&manager, &["apply", "-f", &file(&manager, "app.yaml", &before)]).await;
    assert_eq!(json(&manager, &["site", "show", "app"]).await["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn fifty_changes_lose_no_request() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    ok(&manager, &["site", "add", "app.localhost", "--to", &to, "--name", "app"]).await;

    let stop = Arc::new(AtomicBool::new(false));
    let posted = Arc::<AtomicU64>::default();
    let mut clients = JoinSet::new();
    for number in 0..CLIENTS * 2 {
        let client =
            Poster { web: web.clone(), stop: Arc::clone(&stop), posted: Arc::clone(&posted) };
        let port = manager.https_port();
        clients.spawn(async move {
            if number % 2 == 0 { client.over1(port).await } else { client.over2(port).await }
        });
    }
    change(&manager, &to).await;
    let during = posted.load(Ordering::SeqCst);
    stop.store(true, Ordering::SeqCst);
    let lost: Vec<String> = clients.join_all().await.into_iter().filter_map(Result::err).collect();

    assert!(lost.is_empty(), "{lost:?}");
    assert!(during > u64::from(CHANGES), "{during} posts were made during {CHANGES} changes");
    let answer = web.get("app.localhost", "/").send().await;
    assert_eq!(answer.header("x-change"), (CHANGES - 1).to_string(), "the last change is live");
}

/// Changes the site that is posted to, again and again.
async fn change(manager: &Manager, to: &str) {
    let socket = PathBuf::from(manager.data().join("portway.sock"));
    let client = Client::new(ClientConfig::new(Endpoint::Unix(socket))).unwrap();
    for number in 0..CHANGES {
        let spec: Value = json!({
            "hosts": ["app.localhost"],
            "to": to,
            "headers": { "response": { "set": { "X-Change": number.to_string() } } },
        });
        let edit = EditSite { spec, message: None, rollout: None };
        let changed = client.edit_site("app", &edit, IfMatch::Any).await.unwrap();
        let wait = WaitQuery { timeout: Some(10) };
        let progress = client.progress(changed.revision.unwrap(), &wait).await.unwrap();
        assert!(progress.done, "change {number} is carried out");
    }
}

/// A client that posts over one connection as long as it is let.
struct Poster {
    web: Web,
    stop: Arc<AtomicBool>,
    posted: Arc<AtomicU64>,
}

impl Poster {
    async fn over1(self, port: u16) -> Result<(), String> {
        let stream = self.connect(b"http/1.1").await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(text)?;
        tokio::spawn(connection);
        while !self.stop.load(Ordering::SeqCst) {
            sender.ready().await.map_err(text)?;
            let request = Request::post("/sink").header("host", format!("app.localhost:{port}"));
            let answer = sender.send_request(body(request)).await.map_err(text)?;
            self.judge(answer).await?;
        }
        Ok(())
    }

    async fn over2(self, port: u16) -> Result<(), String> {
        let stream = self.connect(b"h2").await?;
        let handshake = http2::handshake(TokioExecutor::new(), TokioIo::new(stream));
        let (mut sender, connection) = handshake.await.map_err(text)?;
        tokio::spawn(connection);
        while !self.stop.load(Ordering::SeqCst) {
            sender.ready().await.map_err(text)?;
            let request = Request::post(format!("https://app.localhost:{port}/sink"));
            let answer = sender.send_request(body(request)).await.map_err(text)?;
            self.judge(answer).await?;
        }
        Ok(())
    }

    async fn connect(
        &self,
        alpn: &[u8],
    ) -> Result<tokio_rustls::client::TlsStream<tokio::net::TcpStream>, String> {
        self.web.connect("app.localhost", Ipv4Addr::LOCALHOST, alpn).await.map_err(text)
    }

    async fn judge(&self, answer: http::Response<hyper::body::Incoming>) -> Result<(), String> {
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(text)?.to_bytes();
        if status != 200 || body != LETTER.len().to_string() {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&body)));
        }
        self.posted.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

const LETTER: &str = "a letter that must arrive";

fn body(request: http::request::Builder) -> Request<Full<Bytes>> {
    request.body(Full::from(LETTER)).unwrap()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
