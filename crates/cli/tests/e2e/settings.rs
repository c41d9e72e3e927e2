//! What a manager was started with is known to the commands that are typed later.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};

use crate::{
    support::{PASSWORD, PROGRAM, ends, eventually, file, json, ok},
    web::{Web, api},
};

#[tokio::test(flavor = "multi_thread")]
async fn later_commands_know_the_options_of_serve() {
    let mut manager = Manager::new(PROGRAM).unwrap();
    let database = format!("sqlite:{}/elsewhere/other.db", manager.folder());
    manager = manager.with(format!("--database={database}")).with("--public-https-port=4443");
    manager.serve().await.unwrap();

    // The addresses that are printed are those under which clients come.
    let added = ok(&manager, &["site", "add", "app.localhost", "--to", "9"]).await;
    assert_eq!(added.out.trim(), "https://app.localhost:4443/");
    // A key is only changed while the manager is stopped.
    let running = ends(&manager, &["key", "rotate"], 6).await;
    assert!(running.err.contains("the manager is running"), "{}", running.err);
    manager.stop().await.unwrap();
    let rotated = ok(&manager, &["key", "rotate"]).await;
    assert!(rotated.err.contains(&database) && rotated.err.contains("used it last"), "{rotated:?}");
    assert!(!manager.data().join("portway.db").exists(), "no other database was touched");
    manager.serve().await.unwrap();
    assert_eq!(json(&manager, &["site", "show", "app.localhost"]).await["state"], "live");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cdn_is_trusted_by_its_name() {
    let manager = Manager::new(PROGRAM).unwrap();
    let mut manager = manager.with("--trusted-proxies=127.0.0.1,cloudflare");
    manager.serve().await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    ok(&manager, &["site", "add", "app.localhost", "--to", &to]).await;
    let web = Web::of(&manager).await;

    for http2 in [false, true] {
        let ask = web.get("app.localhost", "/");
        let ask = if http2 { ask.http2() } else { ask };
        // The visitor claims the first, the CDN wrote the second, a balancer of one's own the third.
        let came = "198.51.100.1, 203.0.113.9, 104.16.0.9";
        let echo = ask.header("x-forwarded-for", came).send().await.json();

        let headers = &echo["headers"];
        assert_eq!(headers["x-real-ip"], "203.0.113.9", "{headers}");
        assert_eq!(headers["x-forwarded-for"], format!("{came}, 127.0.0.1"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_socket_is_found_and_another_database_can_be_named() {
    let mut manager = Manager::start(PROGRAM).await.unwrap();
    manager.stop().await.unwrap();
    let socket = manager.folder().join("other.sock");
    let words = manager.serve_words();
    let words: Vec<&str> =
        words.iter().map(String::as_str).chain(["--socket", socket.as_str()]).collect();
    let mut serving = manager.command(&words).kill_on_drop(true).spawn().unwrap();
    eventually("the manager", async || {
        (manager.run(&["whoami"]).await.unwrap().code == 0).then_some(())
    })
    .await;
    let whoami = ok(&manager, &["whoami"]).await;
    assert!(whoami.out.contains("other.sock"), "{}", whoami.out);
    serving.kill().await.unwrap();

    let kept: Value = serde_json::from_str(
        &std::fs::read_to_string(manager.data().join("manager.json")).unwrap(),
    )
    .unwrap();
    assert_eq!(kept["stopped_at"], Value::Null, "one that was killed could not say so");
    let empty = format!("sqlite:{}/empty.db", manager.folder());
    let refused = ends(&manager, &["key", "rotate", "--database", &empty], 1).await;
    assert!(refused.err.contains(&empty) && refused.err.contains("as you say"), "{}", refused.err);
    assert!(refused.err.contains("holds no installation"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_written_down_is_for_those_who_may() {
    let mut manager = Manager::start(PROGRAM).await.unwrap();
    let mode =
        |name: &str| manager.data().join(name).metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("manager.json"), 0o600);
    assert_eq!(mode("manager.database"), 0o600);
    let read = |name: &str| std::fs::read_to_string(manager.data().join(name)).unwrap();
    assert!(!read("manager.json").contains("portway.db"));
    assert!(read("manager.database").contains("portway.db"));
    manager.stop().await.unwrap();
    let kept = std::fs::read_to_string(manager.data().join("manager.json")).unwrap();
    let kept: Value = serde_json::from_str(&kept).unwrap();
    assert!(kept["stopped_at"].is_string(), "{kept:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_key_leaves_nothing_behind_and_starts_nothing() {
    let mut manager = Manager::start(PROGRAM).await.unwrap();
    let edge = manager.edge_pid().await.unwrap();
    manager.stop().await.unwrap();
    ok(&manager, &["edge", "--stop"]).await;
    eventually("the edge to stop", async || (!portway_testkit::manager::runs(edge)).then_some(()))
        .await;
    let key = manager.data().join("master.key");
    std::fs::rename(&key, manager.folder().join("aside.key")).unwrap();
    let listing = || {
        let names = manager.data().read_dir_utf8().unwrap();
        let mut names: Vec<String> =
            names.map(|entry| entry.unwrap().file_name().to_owned()).collect();
        // What SQLite keeps beside a database comes and goes.
        names.retain(|name| !name.starts_with("portway.db-"));
        names.sort();
        names
    };
    let before = listing();

    let words = manager.serve_words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let refused = ends(&manager, &words, 1).await;
    assert!(refused.err.contains("portway key import"), "{}", refused.err);
    assert_eq!(listing(), before);
    assert!(manager.edge().await.is_err(), "no edge was started");
    // Not even the folder is made where a database elsewhere is meant.
    let fresh = manager.folder().join("fresh");
    let database = format!("--database=sqlite:{}/portway.db", manager.data());
    let words = [&["--data", fresh.as_str()], &words[..], &[database.as_str()]].concat();
    let output = tokio::process::Command::new(PROGRAM).args(&words).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!fresh.exists());

    std::fs::rename(manager.folder().join("aside.key"), &key).unwrap();
    manager.serve().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn root_leaves_no_file_that_the_managers_user_cannot_use() {
    const NOBODY: u32 = 65534;
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: root_leaves_no_file_that_the_managers_user_cannot_use: needs root");
        return;
    }
    // What is built, and where files come and go, may be for root's eyes only.
    let place = tempfile::tempdir_in("/tmp").unwrap();
    let program = place.path().join("portway");
    std::fs::copy(PROGRAM, &program).unwrap();
    for path in [place.path(), &program] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut manager = Manager::within(place.path(), &program).unwrap();
    manager.serve().await.unwrap();
    manager.stop().await.unwrap();
    std::fs::set_permissions(manager.folder(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let files = || {
        let all = manager.data().read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path());
        all.chain([manager.data()])
    };
    for path in files() {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
    }

    let rotated = ok(&manager, &["key", "rotate"]).await;
    assert!(rotated.out.contains("sealed with a new key"), "{rotated:?}");
    let export = manager.folder().join("exported.key").into_string();
    let words = ["key", "export", "-o", &export, "--passphrase-stdin"];
    let exported = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(exported.code, 0, "{exported:?}");
    assert_eq!(std::fs::metadata(&export).unwrap().uid(), 0, "the export is the caller's");
    std::fs::remove_file(manager.data().join("master.key")).unwrap();
    let words = ["key", "import", &export, "--passphrase-stdin"];
    let imported = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(imported.code, 0, "{imported:?}");
    let failed = manager.run_with(&["key", "rotate", "--database=sqlite:/x"], "", &[]).await;
    assert_eq!(failed.unwrap().code, 1, "how it ended is passed on");

    for path in files().filter(|path| !path.ends_with("edge")) {
        assert_eq!(path.metadata().unwrap().uid(), NOBODY, "{path}");
    }
    let mode = manager.data().join("master.key").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_of_the_console_is_declared_nowhere() {
    let manager = Manager::start(PROGRAM).await.unwrap();
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap().to_string();
    ok(&manager, &["site", "add", "echo.localhost", "--to", &to]).await;
    let words = ["setup", "--name", "ann", "--password-stdin"];
    let words = [&words[..], &["--console-host", "console.localhost"]].concat();
    let made = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(made.code, 0, "{made:?}");
    let console = std::fs::read_to_string(manager.data().join("console.json")).unwrap();
    let console: Value = serde_json::from_str(&console).unwrap();
    let key = console["key"].as_str().unwrap();

    let web = Web::of(&manager).await;
    let log_in = async |key: Option<&str>| {
        let origin = format!("https://console.localhost:{}", manager.https_port());
        let login = json!({ "name": "ann", "password": PASSWORD }).to_string();
        let ask = web.ask("POST", "console.localhost", "/api/v1/session").header("origin", &origin);
        let ask = key.into_iter().fold(ask, |ask, key| ask.header("x-portway-edge", key));
        ask.body("application/json", &login).send().await.status
    };
    eventually("the console", async || (log_in(None).await == 200).then_some(())).await;
    // What a visitor claims in the edge's place never arrives, at the console or elsewhere.
    assert_eq!(log_in(Some("guessed")).await, 200);
    let echo = web.get("echo.localhost", "/").header("x-portway-edge", key).send().await;
    assert_eq!(echo.json()["headers"]["x-portway-edge"], Value::Null);

    for path in [
        "/api/v1/sites/portway-console",
        "/api/v1/sites?limit=100",
        "/api/v1/export",
        "/api/v1/revisions?limit=100",
        "/api/v1/diff?from=0",
        "/api/v1/audit?limit=100",
    ] {
        let answer = api_local(&manager, path).await;
        assert!(!answer.contains(key), "{path}: {answer}");
    }
    for words in ["export", "site show portway-console", "diff 0", "history", "audit"] {
        let words: Vec<&str> = words.split(' ').collect();
        let ran = ok(&manager, &words).await;
        assert!(!ran.out.contains(key) && !ran.out.to_lowercase().contains("x-portway-edge"));
    }
    // Nobody can declare it either.
    let text = "sites: { app: { hosts: [app.localhost], to: 9, headers: { request: { set: { \
                X-Portway-Edge: mine } } } } }\n";
    let refused = ends(&manager, &["apply", "-f", &file(&manager, "app.yaml", text)], 3).await;
    assert!(refused.err.contains("x-portway-edge"), "{}", refused.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_name_of_the_console_keeps_who_may_use_it() {
    let manager = Manager::start(PROGRAM).await.unwrap();
    let words = ["setup", "--name", "ann", "--password-stdin"];
    let words = [&words[..], &["--console-host", "console.localhost"]].concat();
    assert_eq!(manager.run_with(&words, PASSWORD, &[]).await.unwrap().code, 0);
    let exported = ok(&manager, &["export"]).await.out;
    let to = format!("to: {}", manager.api());
    assert!(exported.contains(&to), "{exported}");
    let closed = exported.replace(&to, &format!("{to}\n    access: {{ allow: [192.0.2.0/24] }}"));
    ok(&manager, &["apply", "-f", &file(&manager, "all.yaml", &closed)]).await;

    ok(&manager, &["setup", "--console-host", "other.localhost"]).await;

    let shown = json(&manager, &["site", "show", "portway-console"]).await;
    assert_eq!(shown["hosts"], json!(["other.localhost"]));
    assert_eq!(shown["spec"]["access"]["allow"], json!(["192.0.2.0/24"]), "{shown:#}");
    assert_eq!(api(&manager, "GET", "/api/v1/health", None).await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_for_a_user_is_made_on_the_machine_and_nowhere_else() {
    let manager = Manager::start(PROGRAM).await.unwrap();
    for name in ["ann", "eve"] {
        let words = ["user", "add", name, "--role", "admin", "--password-stdin"];
        assert_eq!(manager.run_with(&words, PASSWORD, &[]).await.unwrap().code, 0);
    }
    let add = ["token", "add", "reader", "--scope", "read:sites"];
    let nobodys = ends(&manager, &add, 2).await;
    assert!(nobodys.err.contains("--user NAME"), "{}", nobodys.err);
    let anns = [&add[..], &["--user", "ann"]].concat();
    let made = json(&manager, &anns).await;
    assert_eq!(made["owner"], "ann");
    let audit = json(&manager, &["audit", "--action", "token.create"]).await;
    assert_eq!(audit[0]["detail"], "for ann", "{audit:#}");
    ends(&manager, &[&add[..], &["--user", "nobody"]].concat(), 4).await;

    let server = format!("http://{}", manager.api());
    let token = [("PORTWAY_TOKEN", made["token"].as_str().unwrap())];
    let with = async |words: &[&str]| {
        let words = [&["--server", &server], words].concat();
        manager.run_with(&words, "", &token).await.unwrap().code
    };
    assert_eq!(with(&["site", "list"]).await, 0);
    assert_eq!(with(&["user", "list"]).await, 5);
    // An administrator elsewhere makes tokens of their own alone.
    let login = ["login", &server, "--user", "eve", "--password-stdin"];
    assert_eq!(manager.run_with(&login, PASSWORD, &[]).await.unwrap().code, 0);
    let elsewhere = [&["--server", &server], &anns[..]].concat();
    let refused = ends(&manager, &elsewhere, 5).await;
    assert!(refused.err.contains("on the manager's own machine"), "{}", refused.err);
    let own = [&["--server", &server], &add[..], &["--user", "eve"]].concat();
    assert_eq!(json(&manager, &own).await["owner"], "eve");
}

/// Asks the API over the local socket, as an administrator of the machine.
async fn api_local(manager: &Manager, path: &str) -> String {
    let answer = portway_testkit::manager::get(&manager.data().join("portway.sock"), path).await;
    answer.unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_input_is_answered_with_what_to_write_instead() {
    let manager = Manager::start(PROGRAM).await.unwrap();
    let said = async |words: &[&str], code: i32, part: &str| {
        let ran = ends(&manager, words, code).await;
        assert!(ran.err.contains(part), "{words:?}: {}", ran.err);
        assert!(ran.err.ends_with('\n') && !ran.err.ends_with("\n\n"), "{words:?}: {:?}", ran.err);
    };
    let add = |option: &'static str, value: &'static str| {
        ["site", "add", "app.localhost", "--to", "9", option, value]
    };
    said(&add("--basic", "ann"), 2, "--basic 'ann:HASH'").await;
    said(&add("--allow", "10.0.0/8"), 3, "`10.0.0.0/8`").await;
    said(&["site", "revert", "hello", "--to", "99"], 4, "no revision `99`").await;
    said(&["diff", "99"], 4, "no revision `99`").await;
    said(&["site", "list", "-n", "0"], 2, "from 1 on").await;
    said(&["token", "rm", "reader"], 2, "portway token list").await;
    said(&["user", "add", "a b"], 3, "name").await;
    said(&["logs", "hello", "--status", "9xx"], 2, "404 or 5xx").await;
    said(&["logout"], 2, "portway logout https://").await;
    said(&["setup", "--console-host", "bad name"], 2, "console.example.org").await;
    assert_eq!(json(&manager, &["status"]).await["set_up"], false, "nothing was done before");

    for words in ["status", "site list", "site list zzz", "diff", "diff 1", "history", "export"] {
        let words: Vec<&str> = words.split(' ').collect();
        for format in ["--output=table", "--output=json"] {
            let ran = ok(&manager, &[&[format], &words[..]].concat()).await;
            let is_line = ran.out.is_empty() || ran.out.ends_with('\n');
            assert!(is_line && !ran.out.ends_with("\n\n"), "{words:?} {format}: {:?}", ran.out);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bare_port_is_shown_as_what_it_means() {
    let manager = Manager::start(PROGRAM).await.unwrap();
    let added = ok(&manager, &["site", "add", "app.localhost", "--to", "9"]).await;
    assert!(added.err.contains("requests go to 127.0.0.1:9"), "{}", added.err);
    let shown = json(&manager, &["site", "show", "app.localhost"]).await;
    assert_eq!(shown["target"], "127.0.0.1:9");
}
