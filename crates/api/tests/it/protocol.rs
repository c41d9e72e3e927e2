//! What every request and every answer has in common.

use portway_api::Peer;
use portway_model::{Bounds, Role};
use portway_wire::ProblemCode;
use serde_json::json;

use crate::support::{Bed, EDGE_KEY};

#[tokio::test]
async fn what_is_not_there_is_a_problem_with_a_stable_code() {
    let bed = Bed::new().await;
    for path in ["/nothing", "/api/v1/nothing", "/api/v2/sites", "/assets/none.js"] {
        let reply = bed.call("GET", path).send().await;
        assert_eq!(reply.code(), (404, ProblemCode::NotFound), "{path}");
    }
    let method = bed.call("PATCH", "/api/v1/sites").send().await;
    assert_eq!(method.code(), (405, ProblemCode::BadRequest));
    assert_eq!(method.header("allow"), "GET,HEAD,POST");
}

#[tokio::test]
async fn what_is_malformed_is_told_what_is_wrong() {
    let bed = Bed::new().await;
    let login = || bed.call("POST", "/api/v1/login");
    let json =
        |text: &str| login().header("content-type", "application/json").body(text.to_owned());

    let broken = json(r#"{"name":"ann","password":}"#).send().await;
    assert_eq!(broken.code(), (400, ProblemCode::BadRequest));
    assert!(broken.problem().detail.contains("line 1 column 26"), "{}", broken.text);
    let unknown = json(r#"{"name":"ann","password":"x","remember":true}"#).send().await;
    assert!(unknown.problem().detail.contains("`remember`"), "{}", unknown.text);

    let form = login().header("content-type", "application/x-www-form-urlencoded");
    assert_eq!(form.body("name=ann&password=x").send().await.status, 415);
    assert_eq!(login().body("{}").send().await.status, 415);
    let root = Peer::Unix { uid: 0, gids: Vec::new() };
    let users = bed.call("POST", "/api/v1/users").peer(root);
    let long = users.header("content-type", "application/json");
    let long = long.body(" ".repeat((16 << 20) + 1)).send().await;
    assert_eq!(long.code(), (413, ProblemCode::BadRequest));
    assert!(long.problem().detail.contains("16 MiB"));
}

#[tokio::test]
async fn an_id_that_is_none_names_nothing() {
    let bed = Bed::new().await;
    bed.user("ann", Role::Admin, Bounds::default()).await;
    let token = bed.log_in("ann").await.access_token;
    for path in ["/api/v1/revisions/first", "/api/v1/deployments/7", "/api/v1/sites/no%20site"] {
        let reply = bed.call("GET", path).bearer(&token).send().await;
        assert_eq!(reply.code(), (404, ProblemCode::NotFound), "{path}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_this_machine_is_not_ours() {
    let bed = Bed::new().await;
    for host in ["evil.example", "evil.example:8900", "console.example", "192.0.2.1:8900"] {
        for path in ["/", "/api/v1/health", "/metrics", "/nothing"] {
            let reply = bed.call("GET", path).host(host).send().await;
            assert_eq!(reply.code(), (421, ProblemCode::BadRequest), "{host}{path}");
        }
    }
    for host in ["localhost", "127.0.0.1:8900", "[::1]:8900"] {
        assert_eq!(bed.call("GET", "/api/v1/health").host(host).send().await.status, 200, "{host}");
    }
}

#[tokio::test]
async fn the_console_is_answered_when_the_edge_brings_it() {
    let bed = Bed::new().await;
    bed.user("ann", Role::Admin, Bounds::default()).await;
    let through = |path: &str| {
        let call = bed.call("GET", path).host("console.example");
        call.header("x-portway-edge", EDGE_KEY).header("x-forwarded-proto", "https")
    };
    assert_eq!(through("/api/v1/health").send().await.status, 200);
    // Metrics are open to this machine, not to the world.
    assert_eq!(through("/metrics").send().await.code(), (401, ProblemCode::Unauthenticated));
    let token = bed.log_in("ann").await.access_token;
    assert_eq!(through("/metrics").bearer(&token).send().await.status, 200);
    let new = json!({ "name": "x", "scopes": ["read:sites"] });
    let made = bed.call("POST", "/api/v1/tokens").bearer(&token).json(&new).send().await;
    let made: serde_json::Value = made.read(201);
    let narrow = through("/metrics").bearer(made["token"].as_str().unwrap()).send().await;
    assert_eq!(narrow.code(), (403, ProblemCode::Forbidden));
}

#[tokio::test]
async fn every_answer_is_guarded_against_browsers() {
    let bed = Bed::new().await;
    for path in ["/", "/api/v1/health", "/api/v1/sites", "/nothing", "/api/docs/", "/metrics"] {
        let reply = bed.call("GET", path).send().await;
        let policy = reply.header("content-security-policy");
        assert!(policy.starts_with("default-src 'none'"), "{path}: {policy}");
        assert!(policy.contains("frame-ancestors 'none'"), "{path}: {policy}");
        assert!(!policy.contains("script-src 'unsafe"), "{path}: {policy}");
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(reply.header("referrer-policy"), "no-referrer", "{path}");
        assert!(!reply.headers.contains_key("access-control-allow-origin"), "{path}");
    }
    let api = bed.call("GET", "/api/v1/health").send().await;
    assert_eq!(api.header("cache-control"), "no-store");
}

#[tokio::test]
async fn a_request_keeps_its_id() {
    let bed = Bed::new().await;
    let id = "0af7651916cd43dd8448eb211c80319c";
    let kept = bed.call("GET", "/api/v1/sites").header("x-request-id", id).send().await;
    assert_eq!(kept.header("x-request-id"), id);
    assert_eq!(kept.problem().request_id.as_deref(), Some(id));
    let made = bed.call("GET", "/api/v1/sites").header("x-request-id", "a b").send().await;
    assert_eq!(made.header("x-request-id").len(), 32);
}

#[tokio::test]
async fn requests_are_counted_by_route_and_not_by_path() {
    let bed = Bed::new().await;
    bed.call("GET", "/api/v1/sites/one-of-many").send().await;
    bed.call("GET", "/secret-path").send().await;
    bed.call("BREW", "/").send().await;
    let metrics = bed.call("GET", "/metrics").send().await;
    assert!(metrics.header("content-type").starts_with("text/plain"));
    assert!(metrics.text.contains("/api/v1/sites/{site}"), "{}", metrics.text);
    for hidden in ["one-of-many", "secret-path", "BREW"] {
        assert!(!metrics.text.contains(hidden), "{hidden}");
    }
}

#[tokio::test]
async fn a_login_of_this_machine_comes_by_the_socket_alone() {
    let bed = Bed::new().await;
    let whoami = |uid: u32, gids: Vec<u32>| {
        bed.call("GET", "/api/v1/whoami").host("anything").peer(Peer::Unix { uid, gids })
    };
    let root: portway_wire::auth::Whoami = whoami(0, vec![0]).send().await.read(200);
    assert_eq!((root.name.as_str(), root.via.as_str()), ("root", "local"));
    let other = whoami(4_000_000, vec![4_000_000]).send().await;
    assert_eq!(other.code(), (401, ProblemCode::Unauthenticated));
    // A token counts before the login of the machine.
    let wrong = whoami(0, vec![0]).bearer("pwt_wrong").send().await;
    assert_eq!(wrong.status, 401);
}

#[tokio::test]
async fn the_root_certificate_is_for_everyone() {
    let bed = Bed::new().await;
    let reply = bed.call("GET", "/api/v1/ca").send().await;
    assert_eq!(reply.header("content-type"), "application/x-pem-file");
    assert!(reply.text.starts_with("-----BEGIN CERTIFICATE-----"), "{}", reply.text);
    assert!(!reply.text.contains("PRIVATE"));
}
