//! Logging in, by program and by browser, and setting up.

use portway_api::Peer;
use portway_model::{Bounds, Role};
use portway_wire::{
    ProblemCode,
    auth::{Tokens, Whoami},
    system::Health,
};
use serde_json::{Value, json};

use crate::support::{Bed, EDGE_KEY, PASSWORD};

const ORIGIN: &str = "http://localhost:8900";

async fn bed() -> Bed {
    let bed = Bed::new().await;
    bed.user("ann", Role::Admin, Bounds::default()).await;
    bed
}

async fn refresh(bed: &Bed, token: &str) -> crate::support::Reply {
    let body = json!({ "refresh_token": token });
    bed.call("POST", "/api/v1/login/refresh").json(&body).send().await
}

async fn whoami(bed: &Bed, token: &str) -> u16 {
    bed.call("GET", "/api/v1/whoami").bearer(token).send().await.status
}

#[tokio::test]
async fn the_first_administrator_is_made_once() {
    let bed = Bed::new().await;
    let health: Health = bed.call("GET", "/api/v1/health").send().await.read(200);
    assert!(!health.set_up && health.checks.is_empty());
    let link = bed.control.setup_link().await.unwrap().unwrap();
    let token = link.url.split_once("?token=").unwrap().1;
    let setup = |password: &str| json!({ "token": token, "name": "ann", "password": password });

    let weak = bed.call("POST", "/api/v1/setup").json(&setup("password1234")).send().await;
    assert_eq!(weak.code(), (400, ProblemCode::BadRequest));
    let made = bed.call("POST", "/api/v1/setup").json(&setup(PASSWORD)).send().await;
    let tokens: Tokens = made.read(200);
    assert_eq!((tokens.user.name.as_str(), tokens.expires_in), ("ann", 3600));
    assert_eq!(whoami(&bed, &tokens.access_token).await, 200);

    let again = bed.call("POST", "/api/v1/setup").json(&setup(PASSWORD)).send().await;
    assert_eq!(again.code(), (409, ProblemCode::Setup));
    assert!(bed.control.setup_link().await.unwrap().is_none());
}

#[tokio::test]
async fn a_refresh_token_works_once_and_its_copy_ends_the_login() {
    let bed = bed().await;
    let first = bed.log_in("ann").await;
    let second: Tokens = refresh(&bed, &first.refresh_token).await.read(200);
    assert_ne!(first.refresh_token, second.refresh_token);
    assert_eq!(whoami(&bed, &second.access_token).await, 200);

    assert_eq!(refresh(&bed, &first.refresh_token).await.code().0, 401);
    assert_eq!(refresh(&bed, &second.refresh_token).await.code().0, 401);
    assert_eq!(whoami(&bed, &second.access_token).await, 401);
}

#[tokio::test]
async fn who_logs_out_is_out() {
    let bed = bed().await;
    let tokens = bed.log_in("ann").await;
    let out = bed.call("POST", "/api/v1/logout").bearer(&tokens.access_token).send().await;
    assert_eq!(out.status, 204);
    assert_eq!(whoami(&bed, &tokens.access_token).await, 401);
    assert_eq!(refresh(&bed, &tokens.refresh_token).await.status, 401);
}

#[tokio::test]
async fn the_eleventh_wrong_login_is_refused_whatever_the_password() {
    let bed = bed().await;
    let log_in = async |name: &str, password: &str| {
        let body = json!({ "name": name, "password": password });
        bed.call("POST", "/api/v1/login").json(&body).send().await
    };
    for _ in 0..10 {
        let wrong = log_in("ann", "not the password").await;
        assert_eq!(wrong.code(), (401, ProblemCode::Unauthenticated));
    }
    let eleventh = log_in("ann", PASSWORD).await;
    assert_eq!(eleventh.code(), (429, ProblemCode::TooManyAttempts));
    let wait: u64 = eleventh.header("retry-after").parse().unwrap();
    assert!((1..=15 * 60).contains(&wait), "{wait}");

    // Neither the way in of browsers nor another loopback address is a way around.
    let body = json!({ "name": "ann", "password": PASSWORD });
    let browser = bed.call("POST", "/api/v1/session").json(&body).send().await;
    assert_eq!(browser.status, 429);
    let peer = Peer::Tcp("127.0.0.77:1".parse().unwrap());
    let elsewhere = bed.call("POST", "/api/v1/login").peer(peer).json(&body).send().await;
    assert_eq!(elsewhere.status, 429);
    let forwarded = bed.call("POST", "/api/v1/login").header("x-forwarded-for", "192.0.2.1");
    assert_eq!(forwarded.json(&body).send().await.status, 429);
}

#[tokio::test]
async fn a_wrong_name_and_a_wrong_password_look_the_same() {
    let bed = bed().await;
    let mut answers = Vec::new();
    for name in ["ann", "nobody", "", "no such/name"] {
        let body = json!({ "name": name, "password": "not the password" });
        let reply = bed.call("POST", "/api/v1/login").json(&body).send().await;
        answers.push((reply.status, reply.problem().detail));
    }
    answers.dedup();
    assert_eq!(answers.len(), 1, "{answers:?}");
}

#[tokio::test]
async fn a_browser_gets_a_cookie_that_scripts_cannot_read() {
    let bed = bed().await;
    let login = json!({ "name": "ann", "password": PASSWORD });
    let plain = bed.call("POST", "/api/v1/session").json(&login).send().await;
    let cookie = plain.header("set-cookie");
    assert!(cookie.starts_with("portway_session=pws_"), "{cookie}");
    assert!(cookie.contains("HttpOnly") && cookie.contains("SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains("Secure"), "{cookie}");
    let whoami: Whoami = plain.read(200);
    assert_eq!((whoami.name.as_str(), whoami.via.as_str()), ("ann", "session"));

    let tls = bed
        .call("POST", "/api/v1/session")
        .host("console.example")
        .header("x-portway-edge", EDGE_KEY)
        .header("x-forwarded-proto", "https")
        .header("x-forwarded-for", "203.0.113.9")
        .header("origin", "https://console.example")
        .json(&login)
        .send()
        .await;
    let cookie = tls.header("set-cookie");
    assert!(cookie.starts_with("__Host-portway=pws_") && cookie.contains("; Secure"), "{cookie}");
    let session = cookie.split(';').next().unwrap();
    let through = bed
        .call("GET", "/api/v1/whoami")
        .host("console.example")
        .header("x-portway-edge", EDGE_KEY)
        .header("x-forwarded-proto", "https")
        .header("cookie", session);
    assert_eq!(through.send().await.status, 200);
    // The same cookie in clear text is nobody's.
    let clear = bed.call("GET", "/api/v1/whoami").header("cookie", session).send().await;
    assert_eq!(clear.status, 401);
}

#[tokio::test]
async fn a_cookie_changes_something_only_for_a_page_of_ours() {
    let bed = bed().await;
    let cookie = bed.session("ann").await;
    let create = |origin: Option<(&str, &str)>, name: &str| {
        let body = json!({ "name": name, "role": "viewer" });
        let call = bed.call("POST", "/api/v1/users").header("cookie", &cookie).json(&body);
        match origin {
            Some((header, value)) => call.header(header, value),
            None => call,
        }
    };
    let read = bed.call("GET", "/api/v1/users").header("cookie", &cookie).send().await;
    assert_eq!(read.status, 200);
    for origin in [
        None,
        Some(("origin", "http://evil.example")),
        Some(("origin", "http://localhost:5000")),
        Some(("origin", "null")),
        Some(("sec-fetch-site", "cross-site")),
        Some(("sec-fetch-site", "same-site")),
    ] {
        let refused = create(origin, "eve").send().await;
        assert_eq!(refused.code(), (403, ProblemCode::Forbidden), "{origin:?}");
    }
    assert_eq!(create(Some(("origin", ORIGIN)), "bob").send().await.status, 201);
    assert_eq!(create(Some(("sec-fetch-site", "same-origin")), "bill").send().await.status, 201);
}

#[tokio::test]
async fn a_foreign_page_cannot_log_a_browser_in() {
    let bed = bed().await;
    let login = json!({ "name": "ann", "password": PASSWORD });
    let call = bed.call("POST", "/api/v1/session").header("origin", "http://evil.example");
    let refused = call.json(&login).send().await;
    assert_eq!(refused.status, 403);
    assert!(!refused.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn a_session_ends_with_its_cookie() {
    let bed = bed().await;
    let cookie = bed.session("ann").await;
    let end = bed.call("DELETE", "/api/v1/session").header("cookie", &cookie);
    let ended = end.header("origin", ORIGIN).send().await;
    assert_eq!(ended.status, 204);
    assert!(ended.header("set-cookie").contains("Max-Age=0"));
    let after = bed.call("GET", "/api/v1/whoami").header("cookie", &cookie).send().await;
    assert_eq!(after.status, 401);
    // Whoever asks for something public is answered as nobody.
    let health = bed.call("GET", "/api/v1/health").header("cookie", &cookie).send().await;
    assert_eq!(health.status, 200);
}

#[tokio::test]
async fn a_changed_password_ends_all_logins() {
    let bed = bed().await;
    let (here, elsewhere) = (bed.log_in("ann").await, bed.log_in("ann").await);
    let change = json!({ "current": PASSWORD, "new": "twelve loud herons sing at dawn" });
    let call = bed.call("POST", "/api/v1/password").bearer(&here.access_token).json(&change);
    assert_eq!(call.send().await.status, 204);
    assert_eq!(whoami(&bed, &here.access_token).await, 401);
    assert_eq!(whoami(&bed, &elsewhere.access_token).await, 401);
    assert_eq!(refresh(&bed, &elsewhere.refresh_token).await.status, 401);
    let login = json!({ "name": "ann", "password": PASSWORD });
    let old = bed.call("POST", "/api/v1/login").json(&login).send().await;
    assert_eq!(old.status, 401);
}

#[tokio::test]
async fn an_invitation_sets_a_password_once() {
    let bed = bed().await;
    let token = bed.log_in("ann").await.access_token;
    let new = json!({ "name": "bob", "role": "viewer" });
    let made: Value =
        bed.call("POST", "/api/v1/users").bearer(&token).json(&new).send().await.read(201);
    let url = made["invitation"]["url"].as_str().unwrap();
    assert!(url.starts_with("http://localhost:8900/link?token="), "{url}");
    let redeem = json!({ "token": url.split_once('=').unwrap().1, "password": PASSWORD });
    let call = || bed.call("POST", "/api/v1/links/redeem").json(&redeem);
    assert_eq!(call().send().await.status, 204);
    assert_eq!(call().send().await.code(), (409, ProblemCode::Conflict));
    assert_eq!(bed.log_in("bob").await.user.name, "bob");
}
