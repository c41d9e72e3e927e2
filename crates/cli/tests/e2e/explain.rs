//! Why a request was answered as it was, told by the real program from its logs.

use std::net::Ipv4Addr;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::{
    support::{PASSWORD, ends, eventually, file, json, manager, ok},
    web::{Ask, Web, api, api_as},
};

#[tokio::test(flavor = "multi_thread")]
async fn every_end_of_a_request_is_told_by_its_id() {
    let bed = Bed::new().await;
    for http2 in [false, true] {
        bed.check(http2, "dead.localhost", 502, &["did not answer", "upstream_refused"]).await;
        bed.check(http2, "half.localhost", 200, &["did not answer", "began its answer after"])
            .await;
        bed.check(http2, "locked.localhost", 401, &["refused at access", "unauthorized"]).await;
        bed.check(http2, "inside.localhost", 403, &["127.0.0.0/8 is denied", "address_denied"])
            .await;
        bed.check(http2, "moved.localhost", 302, &["sent on by the route's redirect"]).await;
        bed.check(http2, "files.localhost", 200, &["answered from files", "site files, route /"])
            .await;
    }
    let nobody = bed.web.get("nobody.localhost", "/").plain().send().await;
    assert_eq!(nobody.status, 404);
    let told = bed.told(nobody.header("x-request-id")).await;
    assert!(told.contains("refused at the host") && told.contains("no_site"), "{told}");
    let plain = bed.web.get("half.localhost", "/").plain().send().await;
    assert_eq!(plain.status, 301);
    let told = bed.told(plain.header("x-request-id")).await;
    assert!(told.contains("plain HTTP is sent on to HTTPS"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_dead_targets_are_named_and_programs_read_the_records() {
    let bed = Bed::new().await;
    let answer = bed.web.get("dead.localhost", "/a?b=c").send().await;
    let id = answer.header("x-request-id");
    let told = bed.told(id).await;
    assert_eq!(told.matches("did not answer").count(), 2, "{told}");
    assert!(told.contains("GET https://dead.localhost"), "{told}");
    assert!(told.contains("/a?b=c came from 127.0.0.1 over TLS 1.3 and HTTP/1.1"), "{told}");

    let read = json(&bed.manager, &["explain", id]).await;

    assert_eq!((&read["site"], &read["status"]), (&json!("dead"), &json!(502)));
    assert_eq!((&read["stage"], &read["code"]), (&json!("upstream"), &json!("upstream_refused")));
    assert_eq!(read["access"]["request_id"], id);
    assert_eq!(read["access"]["way"]["failed"].as_array().map(Vec::len), Some(2), "{read}");
    assert_eq!(read["errors"][0]["request_id"], id);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_steps_that_took_time_are_told_with_it() {
    let bed = Bed::new().await;
    let wrong = format!("Basic {}", BASE64_STANDARD.encode("ada:wrong"));
    for http2 in [false, true] {
        let asked = bed.ask(http2, "locked.localhost").header("authorization", &wrong);
        let told = bed.told(asked.send().await.header("x-request-id")).await;
        assert!(told.contains("checking the password took "), "{told}");
        let answer = bed.ask(http2, "many.localhost").send().await;
        assert_eq!(answer.status, 200);
        let id = answer.header("x-request-id");
        let told = bed.told(id).await;
        assert!(told.contains("answered from files\n") && told.contains(" for the disk"), "{told}");
        let read = json(&bed.manager, &["explain", id]).await;
        let steps = read["steps"].as_array().unwrap();
        let disk = steps.iter().find(|step| step["stage"] == "files" && step["ms"].is_number());
        let disk = disk.unwrap_or_else(|| panic!("{read}"));
        assert_eq!(disk["ms"], read["access"]["way"]["files_ms"]);
    }

    let mut stream =
        bed.web.connect("half.localhost", Ipv4Addr::LOCALHOST, b"http/1.1").await.unwrap();
    let head = "POST /slow HTTP/1.1\r\nhost: half.localhost\r\ncontent-length: 3\r\n\
                expect: 100-continue\r\nconnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut leave = [0; 25];
    stream.read_exact(&mut leave).await.unwrap();
    // The edge waits for the body now, while it answers this.
    bed.web.get("half.localhost", "/between").send().await;
    stream.write_all(b"abc").await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let id = answer.lines().find_map(|line| line.strip_prefix("x-request-id: ")).unwrap();
    let told = bed.told(id).await;
    assert!(told.contains("its body was read for "), "{told}");
    assert!(told.contains(" before a target was taken"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_found_is_said_with_its_causes() {
    let bed = Bed::new().await;
    let unknown = "0190c2c4d1f27c3e8a5b6d7e8f901234";
    let old = ends(&bed.manager, &["explain", unknown], 4).await;
    assert!(old.err.contains("there are no lines at all"), "{}", old.err);
    let combined = bed.web.get("combined.localhost", "/").send().await;
    assert_eq!(combined.status, 200);
    let id = combined.header("x-request-id");
    let cause = eventually("the cause", async || {
        let ran = bed.manager.run(&["explain", id]).await.unwrap();
        ran.err.contains("combined format hold no ids (sites: combined)").then_some(ran)
    })
    .await;
    assert_eq!(cause.code, 4);
    let old = ends(&bed.manager, &["explain", unknown], 4).await;
    assert!(old.err.contains("was removed with old files"), "{}", old.err);
    ends(&bed.manager, &["explain", "short"], 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_site_finds_none_of_its_requests() {
    let bed = Bed::new().await;
    let token = bed.client().await;
    let answer = bed.web.get("files.localhost", "/").send().await;
    let id = answer.header("x-request-id").to_owned();
    bed.told(&id).await;

    let ask = async |id: &str, rest: &str| {
        let path = format!("/api/v1/requests/{id}{rest}");
        let answer = api_as(&bed.manager, "GET", &path, None, Some(&token)).await;
        let problem: Value = answer.json();
        (answer.status, problem["detail"].as_str().unwrap().replace(id, "ID"))
    };
    let foreign = ask(&id, "").await;
    let (begin, last) = id.split_at(31);
    let unknown = ask(&format!("{begin}{}", if last == "0" { "1" } else { "0" }), "").await;

    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, unknown, "nothing tells another's id from none");
    assert_eq!(ask(&id, "?site=files").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_not_sent_is_led_through_the_same_stages() {
    let bed = Bed::new().await;
    let told = async |words: &[&str]| {
        let words = [&["explain"], words].concat();
        ok(&bed.manager, &words).await.out
    };
    let asked = bed.origin.seen().len();
    for (words, parts) in [
        (&["https://dead.localhost/a"][..], &["path /a", ": well", "would be asked first"][..]),
        (&["https://locked.localhost/"], &["a name and password are asked for", "401"]),
        (&["https://inside.localhost/"], &["127.0.0.0/8 is denied", "403"]),
        (&["--from", "192.0.2.7", "https://inside.localhost/"], &["allowed (0.0.0.0/0)", "200"]),
        (&["https://moved.localhost/"], &["302: sent on to https://there.example"]),
        (&["https://files.localhost/a.txt"], &["open to everybody", "/pages/a.txt"]),
        (&["http://half.localhost/x?y"], &["301: sent on to https://half.localhost"]),
        (&["http://nobody.localhost/"], &["no site answers to this host", "404"]),
        (&["TRACE", "https://half.localhost/"], &["TRACE is not forwarded", "405"]),
        (
            &["https://routes.localhost/api"],
            &["takes the path, but it is for POST only", "route /"],
        ),
        (
            &["POST", "-H", "X-A: 1", "https://routes.localhost/api"],
            &["route /api", "fixed answer"],
        ),
    ] {
        let told = told(words).await;
        for part in parts {
            assert!(told.contains(part), "{part} of {words:?} is not in {told}");
        }
    }
    assert_eq!(bed.origin.seen().len(), asked, "nothing was sent");
    let read = json(&bed.manager, &["explain", "https://inside.localhost/"]).await;
    assert_eq!((&read["stage"], &read["status"]), (&json!("access"), &json!(403)));
    assert_eq!(read["code"], "address_denied");
    ends(&bed.manager, &["explain", "GET", "app.localhost"], 2).await;

    let token = bed.client().await;
    let ask = async |host: &str| {
        let body = json!({ "from": "192.0.2.7", "url": format!("https://{host}/") });
        let answer = api_as(&bed.manager, "POST", "/api/v1/explain", Some(&body), Some(&token));
        let answer = answer.await;
        let problem: Value = answer.json();
        (answer.status, problem["detail"].as_str().unwrap_or_default().replace(host, "HOST"))
    };
    let foreign = ask("half.localhost").await;
    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, ask("nobody.localhost").await, "nothing tells another's host from none");
}

/// An installation with a site for each end of a request.
struct Bed {
    manager: Manager,
    web: Web,
    origin: Origin,
}

impl Bed {
    async fn new() -> Self {
        let manager = manager().await;
        let web = Web::of(&manager).await;
        let origin = Origin::tcp(Speaks::Http1).await.unwrap();
        let (to, dead) = (origin.address().unwrap(), [dead().await, dead().await]);
        let root = file(&manager, "pages/index.html", "hello");
        let root = root.trim_end_matches("/index.html");
        let many = manager.folder().join("many");
        std::fs::create_dir(&many).unwrap();
        for number in 0..2_000 {
            std::fs::write(format!("{many}/{number}"), "").unwrap();
        }
        let text = format!(
            "sites:
  dead: {{hosts: [dead.localhost], to: {{targets: [{}, {}]}}}}
  half: {{hosts: [half.localhost], to: {{targets: [{to}, {{to: {}, weight: 100}}], eject: false}}}}
  locked:
    hosts: [locked.localhost]
    respond: {{body: in}}
    access: {{basic: {{users: {{ada: {{password: \"{PASSWORD}\"}}}}}}}}
  inside:
    hosts: [inside.localhost]
    respond: {{body: in}}
    access: {{allow: [0.0.0.0/0], deny: [10.0.0.0/8, 127.0.0.0/8]}}
  moved: {{hosts: [moved.localhost], redirect: {{to: \"https://there.example\", status: 302}}}}
  files: {{hosts: [files.localhost], files: {root}}}
  many: {{hosts: [many.localhost], files: {{root: {many}, listing: true}}}}
  routes:
    hosts: [routes.localhost]
    routes:
    - {{path: /api, methods: [POST], respond: {{body: posted}}}}
    - {{path: /, respond: {{body: other}}}}
  combined: {{hosts: [combined.localhost], respond: {{body: ok}}, log: {{format: combined}}}}
",
            dead[0], dead[1], dead[0]
        );
        ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text)]).await;
        Self { manager, web, origin }
    }

    fn ask(&self, http2: bool, host: &str) -> Ask<'_> {
        let ask = self.web.get(host, "/");
        if http2 { ask.http2() } else { ask }
    }

    /// Asks, and checks what is told of it.
    async fn check(&self, http2: bool, host: &str, status: u16, parts: &[&str]) {
        let answer = self.ask(http2, host).send().await;
        assert_eq!(answer.status, status, "{host}");
        let told = self.told(answer.header("x-request-id")).await;
        let protocol = if http2 { "HTTP/2" } else { "HTTP/1.1" };
        for part in parts.iter().chain([&protocol, &format!("{status}, ").as_str()]) {
            assert!(told.contains(part), "{part} of {host} is not in {told}");
        }
    }

    /// Logs in a client that has no site.
    async fn client(&self) -> String {
        let add = ["user", "add", "carl", "--role", "client", "--password-stdin"];
        assert_eq!(self.manager.run_with(&add, PASSWORD, &[]).await.unwrap().code, 0);
        let login = json!({ "name": "carl", "password": PASSWORD });
        let login = api(&self.manager, "POST", "/api/v1/login", Some(&login)).await.json();
        login["access_token"].as_str().unwrap().to_owned()
    }

    /// Waits until a request is told; its line is written soon after its end.
    async fn told(&self, id: &str) -> String {
        eventually("the story", async || {
            let ran = self.manager.run(&["explain", id]).await.unwrap();
            (ran.code == 0 && ran.out.contains(" in all")).then_some(ran.out)
        })
        .await
    }
}

/// An address where nobody listens.
async fn dead() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
