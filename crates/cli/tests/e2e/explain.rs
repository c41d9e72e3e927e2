//! Why a request was answered as it was, told by the real program from its logs.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};
use serde_json::{Value, json};

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
    ends(&bed.manager, &["explain", "short"], 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_see_a_site_finds_none_of_its_requests() {
    let bed = Bed::new().await;
    let add = ["user", "add", "carl", "--role", "client", "--password-stdin"];
    assert_eq!(bed.manager.run_with(&add, PASSWORD, &[]).await.unwrap().code, 0);
    let login = json!({ "name": "carl", "password": PASSWORD });
    let login = api(&bed.manager, "POST", "/api/v1/login", Some(&login)).await.json();
    let token = login["access_token"].as_str().unwrap();
    let answer = bed.web.get("files.localhost", "/").send().await;
    let id = answer.header("x-request-id").to_owned();
    bed.told(&id).await;

    let ask = async |id: &str, rest: &str| {
        let path = format!("/api/v1/requests/{id}{rest}");
        let answer = api_as(&bed.manager, "GET", &path, None, Some(token)).await;
        let problem: Value = answer.json();
        (answer.status, problem["detail"].as_str().unwrap().replace(id, "ID"))
    };
    let foreign = ask(&id, "").await;
    let last = if id.ends_with('0') { "1" } else { "0" };
    let unknown = ask(&format!("{}{last}", &id[..31]), "").await;

    assert_eq!(foreign.0, 404);
    assert_eq!(foreign, unknown, "nothing tells another's id from none");
    assert_eq!(ask(&id, "?site=files").await.0, 404);
}

/// An installation with a site for each end of a request.
struct Bed {
    manager: Manager,
    web: Web,
    _origin: Origin,
}

impl Bed {
    async fn new() -> Self {
        let manager = manager().await;
        let web = Web::of(&manager).await;
        let origin = Origin::tcp(Speaks::Http1).await.unwrap();
        let (to, dead) = (origin.address().unwrap(), [dead().await, dead().await]);
        let root = file(&manager, "root/index.html", "hello");
        let root = root.trim_end_matches("/index.html");
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
  combined: {{hosts: [combined.localhost], respond: {{body: ok}}, log: {{format: combined}}}}
",
            dead[0], dead[1], dead[0]
        );
        ok(&manager, &["apply", &file(&manager, "sites.yaml", &text), "--yes"]).await;
        Self { manager, web, _origin: origin }
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
