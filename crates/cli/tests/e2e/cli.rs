//! The command line against a running manager.

use std::{process::Stdio, time::Duration};

use portway_testkit::manager::{Manager, Ran};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::Command,
};

use crate::{
    support::{PASSWORD, PROGRAM, ends, file, json, log_line, manager, may_skip, ok},
    web::{Answer, Web, api},
};

/// Two sites, one of them with a word that can be changed.
fn sites(word: &str) -> String {
    format!(
        "sites:\n  greeter:\n    hosts: [greeter.localhost]\n    respond: {{ body: {word} }}\n  \
         other:\n    hosts: [other.localhost]\n    respond: {{ body: other }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn what_engines_make_of_settings_is_told() {
    let manager = manager().await;
    let engines = json(&manager, &["engine", "list"]).await;
    let names: Vec<&str> = list(&engines).map(|engine| engine["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["nginx", "caddy", "traefik"]);
    let files = json(&manager, &["engine", "show", "traefik", "--field", "files"]).await;
    assert!(list(&files).count() > 3);
    for setting in list(&files) {
        let is_told = setting["detail"].as_str().is_some_and(|why| why.contains("serves no files"));
        assert!(is_told && setting["support"] != "exact", "{setting:#}");
    }
    let table = ok(&manager, &["engine", "show", "caddy", "--differing"]).await.out;
    assert!(table.contains("rate_limit") && !table.contains("access.allow"), "{table}");
    let edge = manager.run_with(&["engine", "show", "edge"], "", &[]).await.unwrap();
    assert!(edge.err.contains("an edge carries out every setting"), "{}", edge.err);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_tells_an_application_makes_and_a_second_one_changes_nothing() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let path = file(&manager, "sites.yaml", &sites("hello"));

    let declared = async || {
        let sites = json(&manager, &["site", "list"]).await;
        let facts = |site: &Value| (site["name"].clone(), site["revision"].clone());
        sites.as_array().unwrap().iter().map(facts).collect::<Vec<_>>()
    };
    let before = declared().await;
    let plan = json(&manager, &["plan", "-f", &path]).await;
    assert_eq!(actions(&plan), [("greeter", "create"), ("other", "create")]);
    assert_eq!(declared().await, before, "a plan changes nothing");
    let applied = json(&manager, &["apply", "-f", &path, "-m", "first"]).await;
    assert!(applied["revision"].is_i64() && applied["held"] == false, "{applied:#}");
    assert_eq!(web.get("greeter.localhost", "/").send().await.text(), "hello");

    let plan = json(&manager, &["plan", "-f", &path]).await;
    assert_eq!((actions(&plan).len(), &plan["unchanged"]), (0, &json!(2)));
    assert_eq!(json(&manager, &["apply", "-f", &path]).await["revision"], Value::Null);

    let exported = manager.folder().join("export.yaml").into_string();
    ok(&manager, &["export", "-o", &exported]).await;
    let plan = json(&manager, &["plan", "-f", &exported]).await;
    let declared = list(&json(&manager, &["site", "list"]).await).count();
    assert_eq!((actions(&plan).len(), &plan["unchanged"]), (0, &json!(declared)), "{plan:#}");

    let path = file(&manager, "sites.yaml", &sites("servus"));
    let plan = ok(&manager, &["plan", "-f", &path]).await.out;
    assert!(plan.contains("~ update greeter") && plan.contains("1 unchanged"), "{plan}");
    assert!(plan.lines().any(|line| line.contains('-') && line.contains("hello")), "{plan}");
    assert!(plan.lines().any(|line| line.contains('+') && line.contains("servus")), "{plan}");
    ok(&manager, &["apply", "-f", &path]).await;
    assert_eq!(web.get("greeter.localhost", "/").send().await.text(), "servus");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_the_same_file_made_is_pruned_and_only_when_told() {
    let manager = manager().await;
    let path = file(&manager, "sites.yaml", &sites("hello"));
    ok(&manager, &["apply", "-f", &path]).await;
    ok(&manager, &["site", "add", "own.localhost", "--to", "9"]).await;
    let fewer = sites("hello").split("  other").next().unwrap().to_owned();
    file(&manager, "sites.yaml", &fewer);

    assert!(actions(&json(&manager, &["plan", "-f", &path]).await).is_empty());
    let unsaid = ends(&manager, &["apply", "-f", &path, "--prune"], 2).await;
    assert!(unsaid.err.contains("--yes"), "{}", unsaid.err);
    ok(&manager, &["apply", "-f", &path, "--prune", "--yes"]).await;

    let left = json(&manager, &["site", "list"]).await;
    let names: Vec<&str> = list(&left).map(|site| site["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["greeter", "hello", "own.localhost"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_tells_what_changed_and_takes_it_back() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let says = async || web.get("greeter.localhost", "/").send().await.text();
    let path = file(&manager, "sites.yaml", &sites("one"));
    let first = json(&manager, &["apply", "-f", &path]).await["revision"].as_i64().unwrap();
    file(&manager, "sites.yaml", &sites("two"));
    let applied = json(&manager, &["apply", "-f", &path, "-m", "say two"]).await;
    let second = applied["revision"].as_i64().unwrap();
    assert_eq!(says().await, "two");

    let history = json(&manager, &["history"]).await;
    let newest = list(&history).next().unwrap();
    assert_eq!((&newest["number"], &newest["message"]), (&json!(second), &json!("say two")));
    let diff = ok(&manager, &["diff"]).await.out;
    assert!(diff.contains("one") && diff.contains("two") && !diff.contains("other"), "{diff}");
    let numbers = [first.to_string(), second.to_string()];
    let between = ok(&manager, &["diff", &numbers[0], &numbers[1]]).await.out;
    assert_eq!(between, diff);

    ok(&manager, &["revert", &numbers[1], "-m", "too soon"]).await;
    assert_eq!(says().await, "one");
    let newest = json(&manager, &["history", "-n", "1"]).await;
    assert_eq!(newest[0]["message"], "too soon");
    assert!(newest[0]["number"].as_i64().unwrap() > second, "undo is a revision of its own");
    ok(&manager, &["site", "revert", "greeter", "--to", &numbers[1]]).await;
    assert_eq!(says().await, "two");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_site_tells_why_until_it_is_unblocked() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let path = file(&manager, "sites.yaml", &sites("hello"));
    ok(&manager, &["apply", "-f", &path]).await;

    ok(&manager, &["site", "block", "greeter", "--reason", "closed for the winter"]).await;
    let blocked = web.get("greeter.localhost", "/").header("accept", "text/html").send().await;
    assert_eq!(blocked.status, 403);
    assert!(blocked.text().contains("closed for the winter"), "{}", blocked.text());
    assert_eq!(json(&manager, &["site", "show", "greeter"]).await["state"], "blocked");
    assert_eq!(web.get("other.localhost", "/").send().await.status, 200);
    ok(&manager, &["site", "unblock", "greeter"]).await;
    assert_eq!(web.get("greeter.localhost", "/").send().await.text(), "hello");
    ok(&manager, &["site", "rm", "greeter"]).await;
    assert!(web.get("greeter.localhost", "/").try_send().await.is_err(), "its name is gone");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_is_edited_in_the_users_editor() {
    if !installed("script") && may_skip("editing", "`script` to make a terminal") {
        return;
    }
    let manager = manager().await;
    let web = Web::of(&manager).await;
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &sites("hello"))]).await;

    let sound = file(&manager, "sound.sh", "sed -i s/hello/edited/ \"$1\"\n");
    let edited = edit(&manager, &format!("sh {sound}"), "").await;
    assert_eq!(edited.code, 0, "{edited:?}");
    assert_eq!(web.get("greeter.localhost", "/").send().await.text(), "edited");

    // The first visit makes a mistake; the second one finds it explained, and mends it.
    let twice = file(
        &manager,
        "twice.sh",
        "if grep -q bodi \"$1\"; then cp \"$1\" \"$0.seen\"; sed -i s/bodi:/body:/ \"$1\"\n\
         else sed -i -e s/body:/bodi:/ -e s/edited/mended/ \"$1\"; fi\n",
    );
    let mended = edit(&manager, &format!("sh {twice}"), "y\n").await;
    assert_eq!(mended.code, 0, "{mended:?}");
    let seen = std::fs::read_to_string(format!("{twice}.seen")).unwrap();
    assert!(seen.contains("#: ") && seen.contains("did you mean `body`"), "{seen}");
    assert_eq!(web.get("greeter.localhost", "/").send().await.text(), "mended");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_exit_code_tells_what_went_wrong() {
    let mut manager = manager().await;
    let typo = "sites:\n  app:\n    host: [app.localhost]\n    to: 127.0.0.1:5000\n";
    let path = file(&manager, "wrong.yaml", typo);
    let findings = ends(&manager, &["apply", "-f", &path], 3).await;
    assert!(findings.err.contains("wrong.yaml:3:5"), "{}", findings.err);
    assert!(findings.err.contains("did you mean `hosts`"), "{}", findings.err);
    let only_server = "sites:\n  app:\n    hosts: [one.localhost]\n    to: 9\n  app2:\n    hosts: \
                       [one.localhost]\n    to: 9\n";
    let path = file(&manager, "twice.yaml", only_server);
    let findings = ends(&manager, &["apply", "-f", &path], 3).await;
    assert!(findings.err.contains("twice.yaml:"), "{}", findings.err);

    ends(&manager, &["site", "show", "nobody"], 4).await;
    ends(&manager, &["site", "rm", "nobody"], 4).await;
    ends(&manager, &["logs", "nobody"], 4).await;
    ok(&manager, &["site", "add", "app.localhost", "--to", "9", "--name", "app"]).await;
    ends(&manager, &["site", "add", "b.localhost", "--to", "9", "--name", "app"], 6).await;
    let server = format!("http://{}", manager.api());
    ends(&manager, &["--server", &server, "site", "list"], 5).await;
    let guessed = manager
        .run_with(&["--server", &server, "site", "list"], "", &[("PORTWAY_TOKEN", "guessed")])
        .await
        .unwrap();
    assert_eq!(guessed.code, 5, "{guessed:?}");
    manager.stop().await.unwrap();
    ends(&manager, &["site", "list"], 7).await;
    let login = ["login", &server, "--user", "ann", "--password-stdin"];
    assert_eq!(manager.run_with(&login, PASSWORD, &[]).await.unwrap().code, 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_json_for_programs() {
    let manager = manager().await;
    set_up(&manager).await;
    let path = file(&manager, "sites.yaml", &sites("hello"));
    let apply = json(&manager, &["apply", "-f", &path]).await;
    assert!(apply["urls"][0].as_str().unwrap().starts_with("https://"), "{apply:#}");
    for words in [
        "status",
        "tasks",
        "whoami",
        "history",
        "diff",
        "audit",
        "export",
        "site list",
        "site show greeter",
        "logs greeter",
        "user list",
        "user show ann",
        "token list",
        "cert list",
        "ca show",
        "ca trust --dry-run",
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let value = json(&manager, &words).await;
        assert!(value.is_object() || value.is_array(), "{words:?}: {value}");
    }
    let whoami = json(&manager, &["whoami"]).await;
    assert_eq!(whoami["role"], "admin", "{whoami}");
    let failed = ends(&manager, &["--output=json", "site", "show", "nobody"], 4).await;
    let error: Value = serde_json::from_str(&failed.err).unwrap();
    assert_eq!(error["error"]["exit"], "not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn logs_are_found_by_what_is_known_of_a_request() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let text = "sites:\n  app:\n    hosts: [app.localhost]\n    routes:\n      - path: /\n        \
                respond: { body: root }\n      - path: /gone\n        log: gone\n        \
                respond: { status: 410, body: gone }\n      - path: /closed\n        access: { \
                allow: [192.0.2.1] }\n        respond: { body: closed }\n";
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", text)]).await;
    let get = async |path: &str| web.get("app.localhost", path).send().await;
    let root = get("/first").await;
    let gone = get("/gone").await;
    let closed = get("/closed").await;
    assert_eq!((root.status, gone.status, closed.status), (200, 410, 403));
    log_line(&manager, "main.access.log", id(&closed)).await;
    log_line(&manager, "gone.access.log", id(&gone)).await;
    log_line(&manager, "main.error.log", id(&closed)).await;

    let ids = async |filter: &str| {
        let words = format!("logs app {filter}");
        let words: Vec<&str> = words.split_whitespace().collect();
        let lines = json(&manager, &words).await;
        let id = |line: &Value| {
            let line: Value = line["line"].as_str().unwrap().parse().unwrap();
            line["request_id"].as_str().unwrap().to_owned()
        };
        list(&lines).map(id).collect::<Vec<_>>()
    };
    let (root, gone, closed) = (id(&root), id(&gone), id(&closed));
    assert_eq!(ids("").await, [root, gone, closed], "oldest first, over all logs");
    assert_eq!(ids("-n 1").await, [closed]);
    assert_eq!(ids("--log gone").await, [gone]);
    assert_eq!(ids("--route main --status 2xx").await, [root]);
    assert_eq!(ids("--status 4xx").await, [gone, closed]);
    assert_eq!(ids("--status 403").await, [closed]);
    assert_eq!(ids(&format!("--request-id {gone}")).await, [gone]);
    assert_eq!(ids("--errors").await, [closed]);
    assert_eq!(ids("--since 1h").await.len(), 3);
    assert!(ids("--until 2020-01-31").await.is_empty());
    ends(&manager, &["logs", "app", "--since", "yesterday"], 2).await;

    let mut follow = manager
        .command(&["logs", "app", "-f", "-n", "1"])
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(follow.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = tokio::time::timeout(Duration::from_secs(20), lines.next_line()).await;
        line.expect("no line in time").unwrap().unwrap()
    };
    assert!(next().await.contains(closed));
    let late = get("/late").await;
    assert!(next().await.contains(id(&late)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_administrator_is_rescued_on_the_machine_itself() {
    let manager = manager().await;
    set_up(&manager).await;
    let reset = ok(&manager, &["user", "reset", "ann"]).await;
    let token = reset.out.trim().split("token=").nth(1).unwrap();
    let fresh = "another heron over the quay";
    let redeem = json!({ "token": token, "password": fresh });
    let redeemed = api(&manager, "POST", "/api/v1/links/redeem", Some(&redeem)).await;
    assert_eq!(redeemed.status, 204, "{}", redeemed.text());
    assert_ne!(api(&manager, "POST", "/api/v1/links/redeem", Some(&redeem)).await.status, 204);

    let server = format!("http://{}", manager.api());
    let login = ["login", &server, "--user", "ann", "--password-stdin"];
    let old = manager.run_with(&login, PASSWORD, &[]).await.unwrap();
    assert_eq!(old.code, 5, "{old:?}");
    let new = manager.run_with(&login, fresh, &[]).await.unwrap();
    assert_eq!(new.code, 0, "{new:?}");
    let me = json(&manager, &["--server", &server, "whoami"]).await;
    assert_eq!((&me["name"], &me["role"]), (&json!("ann"), &json!("admin")));
    ok(&manager, &["--server", &server, "site", "add", "a.localhost", "--to", "9"]).await;
    let audit = json(&manager, &["audit"]).await.to_string();
    assert!(audit.contains("ann"), "{audit}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_does_what_it_is_for_and_no_more() {
    let manager = manager().await;
    set_up(&manager).await;
    let server = format!("http://{}", manager.api());
    let login = ["login", &server, "--user", "ann", "--password-stdin"];
    assert_eq!(manager.run_with(&login, PASSWORD, &[]).await.unwrap().code, 0);
    let words = ["--server", &server, "token", "add", "reader", "--scope", "read:sites"];
    let made = json(&manager, &words).await;
    let token = made["token"].as_str().unwrap();
    let with = async |words: &[&str]| -> Ran {
        let words = [&["--server", &server], words].concat();
        let environment = [("PORTWAY_TOKEN", token)];
        manager.run_with(&words, "", &environment).await.unwrap()
    };
    assert_eq!(with(&["site", "list"]).await.code, 0);
    assert_eq!(with(&["site", "add", "a.localhost", "--to", "9"]).await.code, 5);
    assert_eq!(with(&["user", "list"]).await.code, 5);
}

/// Makes the administrator `ann`.
async fn set_up(manager: &Manager) {
    let words = ["setup", "--name", "ann", "--password-stdin"];
    let made = manager.run_with(&words, PASSWORD, &[]).await.unwrap();
    assert_eq!(made.code, 0, "{made:?}");
}

/// Edits the site `greeter` at a terminal, with answers typed at it.
async fn edit(manager: &Manager, editor: &str, answers: &str) -> Ran {
    let data = manager.data();
    let environment = [
        ("EDITOR", editor),
        ("PORTWAY_DATA", data.as_str()),
        ("PROGRAM", PROGRAM),
        ("HOME", manager.folder().as_str()),
    ];
    let mut child = Command::new("script")
        .args(["--quiet", "--return", "--command", "exec \"$PROGRAM\" site edit greeter"])
        .arg("/dev/null")
        .env_clear()
        .env("PATH", std::env::var_os("PATH").unwrap())
        .env("SHELL", "/bin/sh")
        .envs(environment)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    // Held open: the end of the input would hang up the terminal.
    let mut stdin = child.stdin.take().unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut stdin, answers.as_bytes()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(30), child.wait_with_output()).await;
    drop(stdin);
    let output = ended.expect("the edit does not end").unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ran {
        code: output.status.code().unwrap_or(-1),
        out: text(&output.stdout),
        err: text(&output.stderr),
    }
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn actions(plan: &Value) -> Vec<(&str, &str)> {
    list(&plan["changes"])
        .map(|change| (change["site"].as_str().unwrap(), change["action"].as_str().unwrap()))
        .collect()
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn id(answer: &Answer) -> &str {
    answer.header("x-request-id")
}
