//! From the first start on: set-up, the first site, and what happens when a part is killed.

use std::time::{Duration, Instant};

use portway_testkit::{
    manager::{Manager, runs, signal},
    origin::{Origin, Speaks},
};
use rustix::process::Signal;
use serde_json::json;
use tokio::process::Command;

use crate::{
    support::{PASSWORD, PROGRAM, ends, eventually, manager, ok},
    web::{Web, api, api_as},
};

/// How long an edge that was killed may be away. On a busy machine more than the second that it
/// takes on a quiet one.
const AWAY: Duration = Duration::from_secs(3);

#[tokio::test(flavor = "multi_thread")]
async fn the_first_start_prints_a_link_that_makes_one_administrator() {
    let mut manager = manager().await;
    let said = manager.said("out").unwrap();
    let start = format!("http://localhost:{}/setup?token=", manager.api().port());
    assert_eq!(said.matches(&start).count(), 1, "{said}");
    let token = said.split(&start).nth(1).unwrap().split_whitespace().next().unwrap();

    let url = format!("https://hello.localhost:{}/", manager.https_port());
    assert!(said.contains(&url), "there is something to open at once: {said}");
    let web = Web::of(&manager).await;
    let hello = eventually("the first site", async || {
        web.get("hello.localhost", "/").try_send().await.ok()
    })
    .await;
    assert_eq!(hello.status, 200);

    let setup = json!({ "token": token, "name": "ann", "password": PASSWORD });
    let weak = json!({ "token": token, "name": "ann", "password": "short" });
    let guess = json!({ "token": "guessed", "name": "eve", "password": PASSWORD });
    assert_eq!(api(&manager, "POST", "/api/v1/setup", Some(&weak)).await.status, 422);
    let guessed = api(&manager, "POST", "/api/v1/setup", Some(&guess)).await;
    assert!((400..500).contains(&guessed.status), "{}", guessed.text());
    let made = api(&manager, "POST", "/api/v1/setup", Some(&setup)).await;
    assert_eq!(made.status, 200, "{}", made.text());
    let again = api(&manager, "POST", "/api/v1/setup", Some(&setup)).await;
    assert_eq!(again.status, 409, "{}", again.text());

    let login = json!({ "name": "ann", "password": PASSWORD });
    let tokens = api(&manager, "POST", "/api/v1/login", Some(&login)).await.json();
    let token = tokens["access_token"].as_str().unwrap();
    let me = api_as(&manager, "GET", "/api/v1/whoami", None, Some(token)).await.json();
    assert_eq!((&me["name"], &me["role"]), (&json!("ann"), &json!("admin")));
    assert_eq!(api(&manager, "GET", "/api/v1/sites", None).await.status, 401);

    manager.stop().await.unwrap();
    manager.serve().await.unwrap();
    let said = manager.said("out").unwrap();
    assert!(!said.contains("token="), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_served_as_soon_as_it_is_added() {
    let manager = manager().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    let web = Web::of(&manager).await;

    let began = Instant::now();
    let added = ok(&manager, &["site", "add", "app.localhost", "--to", &to]).await;
    let answer = web.get("app.localhost", "/hello?a=b").send().await;
    let took = began.elapsed();

    assert_eq!(answer.status, 200);
    let url = format!("https://app.localhost:{}/", manager.https_port());
    assert_eq!(added.out.trim(), url, "the address can be opened as it stands");
    let echo = answer.json();
    assert_eq!(echo["target"], "/hello?a=b");
    assert_eq!(echo["headers"]["host"], format!("app.localhost:{}", manager.https_port()));
    assert_eq!(echo["headers"]["x-forwarded-proto"], "https");
    assert_eq!(echo["headers"]["x-forwarded-for"], "127.0.0.1");
    assert!(took < Duration::from_secs(5), "adding and asking took {took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_console_is_published_under_a_name_and_the_way_back_stays() {
    let manager = manager().await;
    let words = ["setup", "--name", "ann", "--password-stdin"];
    let words = [&words[..], &["--console-host", "console.localhost"]].concat();
    let made = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(made.code, 0, "{made:?}");

    let web = Web::of(&manager).await;
    let login = json!({ "name": "ann", "password": PASSWORD }).to_string();
    // The API begins anew under its name; until then it does not know it.
    let session = eventually("the console", async || {
        let ask = web.ask("POST", "console.localhost", "/api/v1/session");
        let origin = format!("https://console.localhost:{}", manager.https_port());
        let answer = ask.header("origin", &origin).body("application/json", &login).send().await;
        (answer.status == 200).then_some(answer)
    })
    .await;
    let cookie = session.header("set-cookie");
    assert!(cookie.contains("Secure") && cookie.contains("HttpOnly"), "{cookie}");
    let page = web.get("console.localhost", "/").http2().send().await;
    assert!(page.text().contains("Portway runs here"), "{}", page.text());
    let metrics = web.get("console.localhost", "/metrics").send().await;
    assert!([401, 403, 404].contains(&metrics.status), "{metrics:?}");
    assert_eq!(api(&manager, "GET", "/api/v1/health", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_manager_takes_nothing_with_it_and_the_next_one_adopts_the_edge() {
    let mut manager = manager().await;
    let web = Web::of(&manager).await;
    site(&manager, "app.localhost", "one").await;
    let edge = manager.edge_pid().await.unwrap();

    manager.kill().await.unwrap();
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one");
    let gone = ends(&manager, &["status"], 7).await;
    assert!(gone.err.contains("portway serve"), "{}", gone.err);
    manager.serve().await.unwrap();

    assert_eq!(manager.edge_pid().await.unwrap(), edge, "the same edge serves on");
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one");
    site(&manager, "next.localhost", "two").await;
    assert_eq!(web.get("next.localhost", "/").send().await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_edge_is_back_with_what_it_had() {
    let mut manager = manager().await;
    let web = Web::of(&manager).await;
    site(&manager, "app.localhost", "one").await;

    // First an edge that this manager started, then one that it adopted.
    for how in ["started", "adopted"] {
        let edge = manager.edge_pid().await.unwrap();
        signal(edge, Signal::KILL).unwrap();
        let killed = Instant::now();
        let answer = eventually("the edge to be back", async || {
            web.get("app.localhost", "/").try_send().await.ok()
        })
        .await;
        let away = killed.elapsed();
        assert_eq!(answer.text(), "one");
        assert!(away < AWAY, "an edge that was {how} was away for {away:?}");
        assert_ne!(manager.edge_pid().await.unwrap(), edge);
        manager.stop().await.unwrap();
        manager.serve().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_its_manager_a_restarted_edge_serves_from_its_own_disk() {
    let mut manager = manager().await;
    let web = Web::of(&manager).await;
    site(&manager, "app.localhost", "one").await;
    manager.stop().await.unwrap();
    let edge = manager.edge_pid().await.unwrap();
    ok(&manager, &["edge", "--stop"]).await;
    eventually("the edge to stop", async || (!runs(edge)).then_some(())).await;

    let ports = [
        format!("--http-port={}", manager.http_port()),
        format!("--https-port={}", manager.https_port()),
    ];
    let words = ["edge", "--bind=127.0.0.1", &ports[0], &ports[1]];
    let mut edge = manager.command(&words).kill_on_drop(true).spawn().unwrap();
    let answer = eventually("the edge to serve", async || {
        web.get("app.localhost", "/").try_send().await.ok()
    })
    .await;

    assert_eq!(answer.text(), "one");
    signal(edge.id().unwrap(), Signal::TERM).unwrap();
    assert!(edge.wait().await.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manager_with_another_key_refuses_and_says_how_to_bring_the_right_one() {
    let mut manager = manager().await;
    let web = Web::of(&manager).await;
    site(&manager, "app.localhost", "one").await;
    let export = manager.folder().join("exported.key").into_string();
    let words = ["key", "export", "-o", &export, "--passphrase-stdin"];
    let exported = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(exported.code, 0, "{exported:?}");
    manager.stop().await.unwrap();
    let key = manager.data().join("master.key");
    std::fs::remove_file(&key).unwrap();

    let refused = manager.serve().await.unwrap_err().to_string();
    assert!(refused.contains("sealed with a master key, but there is none"), "{refused}");
    assert!(refused.contains("portway key import"), "{refused}");
    assert_eq!(web.get("app.localhost", "/").send().await.text(), "one", "the edge serves on");

    let words = ["key", "import", &export, "--passphrase-stdin"];
    let wrong = manager.run_with(&words, "not this one, certainly", &[]).await.unwrap();
    assert_ne!(wrong.code, 0);
    let imported = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(imported.code, 0, "{imported:?}");
    manager.serve().await.unwrap();
    site(&manager, "next.localhost", "two").await;
    assert_eq!(web.get("next.localhost", "/").send().await.text(), "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_manager_on_the_same_data_is_refused() {
    let manager = manager().await;
    let words = manager.serve_words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let second = ends(&manager, &words, 6).await;
    assert!(second.err.contains("a manager already runs"), "{}", second.err);
    assert!(manager.health().await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_data_folder_that_cannot_be_written_is_named() {
    // Nobody can make a folder there, root included.
    let output = Command::new(PROGRAM)
        .args(["--data", "/proc/portway", "serve", "--api", "127.0.0.1:0"])
        .output()
        .await
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot use the folder /proc/portway"), "{said}");
    assert!(said.contains("--data"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_is_named() {
    let first = manager().await;
    let second = Manager::new(PROGRAM).unwrap();
    let words = second.serve_words().join(" ");
    let words = words.replace(&second.api().to_string(), &first.api().to_string());
    let words: Vec<&str> = words.split(' ').collect();
    let refused = ends(&second, &words, 1).await.err;
    assert!(refused.contains(&format!("cannot listen on {}", first.api())), "{refused}");
    assert!(refused.contains("--api"), "{refused}");
}

/// Makes a site that answers with a text.
async fn site(manager: &Manager, host: &str, text: &str) {
    let name = host.split('.').next().unwrap();
    let spec = format!("sites: {{ {name}: {{ hosts: [{host}], respond: {{ body: {text} }} }} }}\n");
    let file = crate::support::file(manager, &format!("{name}.yaml"), &spec);
    ok(manager, &["apply", "-f", &file]).await;
}
