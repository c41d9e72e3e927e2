//! Logging in, by program and by browser, and setting up.

use portway_api::Peer;
use portway_model::{Bounds, Location, Role};
use portway_wire::{
    ProblemCode,
    auth::{Tokens, Whoami},
    system::Health,
};
use serde_json::{Value, json};

use crate::support::{Bed, EDGE_KEY, PASSWORD};

const ORIGIN: &str = "http://localhost:8900";
const NEW_PASSWORD: &str = "twelve loud herons sing at dawn";

/// Returns the fields of the findings of a refusal; each finding says how to mend it.
fn fields(reply: &crate::support::Reply) -> Vec<String> {
    assert_eq!(reply.code(), (422, ProblemCode::Invalid), "{}", reply.text);
    let findings = reply.problem().findings;
    assert!(findings.iter().all(|finding| finding.remedy.is_some()), "{findings:?}");
    let field = |at: &Location| {
        let Location::Field { path, .. } = at else { panic!("{at:?}") };
        path.to_string()
    };
    findings.iter().map(|finding| field(&finding.at)).collect()
}

/// Returns the token of a one-time link.
fn link_token(reply: &crate::support::Reply) -> String {
    let link: Value = reply.read(200);
    link["url"].as_str().unwrap().split_once('=').unwrap().1.to_owned()
}

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
    assert_eq!(weak.code(), (422, ProblemCode::Invalid));
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
async fn the_eleventh_wrong_login_locks_out_nobody_who_comes_from_elsewhere() {
    let bed = bed().await;
    let log_in = async |client: &str, password: &str| {
        let body = json!({ "name": "ann", "password": password });
        let call = bed.through_the_edge("POST", "/api/v1/login").header("x-real-ip", client);
        call.json(&body).send().await.status
    };
    for last in 1..=10 {
        // Whoever has an address of IPv6 has all of its /64.
        assert_eq!(log_in(&format!("2001:db8:1:2::{last}"), "not the password").await, 401);
    }
    assert_eq!(log_in("2001:db8:1:2:ffff::1", PASSWORD).await, 429);
    assert_eq!(log_in("2001:db8:1:3::1", PASSWORD).await, 200);
    assert_eq!(log_in("203.0.113.9", PASSWORD).await, 200);
}

#[tokio::test]
async fn who_tries_many_names_is_stopped_too() {
    let bed = bed().await;
    let log_in = async |client: &str, name: &str| {
        let body = json!({ "name": name, "password": PASSWORD });
        let call = bed.through_the_edge("POST", "/api/v1/login").header("x-real-ip", client);
        call.json(&body).send().await.status
    };
    for number in 0..100 {
        assert_eq!(log_in("203.0.113.9", &format!("guess-{number}")).await, 401);
    }
    assert_eq!(log_in("203.0.113.9", "guess-100").await, 429);
    assert_eq!(log_in("203.0.113.9", "ann").await, 429);
    assert_eq!(log_in("203.0.113.10", "ann").await, 200);
}

#[tokio::test]
async fn strangers_send_little() {
    let bed = bed().await;
    let long = json!({ "name": "ann", "password": "x".repeat(70_000) });
    for path in ["/setup", "/login", "/session", "/login/refresh", "/links/redeem"] {
        let reply = bed.call("POST", &format!("/api/v1{path}")).json(&long).send().await;
        assert_eq!(reply.status, 413, "{path}: {}", reply.text);
        assert!(reply.problem().detail.contains("64 KiB"), "{}", reply.text);
    }
}

#[tokio::test]
async fn a_browser_that_logs_in_anew_leaves_no_session_behind() {
    let bed = bed().await;
    let before = bed.session("ann").await;
    let login = json!({ "name": "ann", "password": PASSWORD });
    let again = bed.call("POST", "/api/v1/session").header("cookie", &before).json(&login);
    assert_eq!(again.send().await.status, 200);
    let old = bed.call("GET", "/api/v1/whoami").header("cookie", &before).send().await;
    assert_eq!(old.status, 401);
}

#[tokio::test]
async fn a_changed_password_keeps_this_login_and_ends_all_others() {
    let bed = bed().await;
    let (here, elsewhere) = (bed.log_in("ann").await, bed.log_in("ann").await);
    let browser = bed.session("ann").await;
    let new = json!({ "name": "ci", "scopes": ["read:sites"] });
    let call = bed.call("POST", "/api/v1/tokens").bearer(&here.access_token).json(&new);
    let api_token: Value = call.send().await.read(201);
    let change = json!({ "current": PASSWORD, "new": NEW_PASSWORD });

    let call = bed.call("POST", "/api/v1/password").bearer(&here.access_token).json(&change);
    assert_eq!(call.send().await.status, 204);

    assert_eq!(whoami(&bed, &here.access_token).await, 200);
    assert_eq!(refresh(&bed, &here.refresh_token).await.status, 200);
    assert_eq!(whoami(&bed, &elsewhere.access_token).await, 401);
    assert_eq!(refresh(&bed, &elsewhere.refresh_token).await.status, 401);
    let cookie = bed.call("GET", "/api/v1/whoami").header("cookie", &browser).send().await;
    assert_eq!(cookie.status, 401);
    assert_eq!(whoami(&bed, api_token["token"].as_str().unwrap()).await, 200);
    let login = json!({ "name": "ann", "password": PASSWORD });
    let old = bed.call("POST", "/api/v1/login").json(&login).send().await;
    assert_eq!(old.status, 401);
    let login = json!({ "name": "ann", "password": NEW_PASSWORD });
    assert_eq!(bed.call("POST", "/api/v1/login").json(&login).send().await.status, 200);
}

#[tokio::test]
async fn a_browser_keeps_its_session_over_a_new_password() {
    let bed = bed().await;
    let (here, elsewhere) = (bed.session("ann").await, bed.session("ann").await);
    let change = json!({ "current": PASSWORD, "new": NEW_PASSWORD });
    let call = bed.call("POST", "/api/v1/password").header("cookie", &here);
    assert_eq!(call.header("origin", ORIGIN).json(&change).send().await.status, 204);
    for (cookie, status) in [(&here, 200), (&elsewhere, 401)] {
        let reply = bed.call("GET", "/api/v1/whoami").header("cookie", cookie).send().await;
        assert_eq!(reply.status, status);
    }
}

#[tokio::test]
async fn a_password_is_changed_only_by_who_knows_it() {
    let bed = bed().await;
    let token = bed.log_in("ann").await.access_token;
    let change = async |current: &str| {
        let body = json!({ "current": current, "new": NEW_PASSWORD });
        bed.call("POST", "/api/v1/password").bearer(&token).json(&body).send().await
    };
    for _ in 0..10 {
        let wrong = change("a guess").await;
        assert_eq!(fields(&wrong), ["current"]);
    }
    assert_eq!(change(PASSWORD).await.code(), (429, ProblemCode::TooManyAttempts));
    assert_eq!(whoami(&bed, &token).await, 200);
}

#[tokio::test]
async fn every_fault_of_a_new_user_is_a_finding_at_its_field() {
    let bed = Bed::new().await;
    let link = bed.control.setup_link().await.unwrap().unwrap();
    let token = link.url.split_once("?token=").unwrap().1;
    let setup = json!({ "token": token, "name": "No Name", "email": "no mail", "password": "x" });
    let refused = bed.call("POST", "/api/v1/setup").json(&setup).send().await;
    assert_eq!(fields(&refused), ["name", "email", "password"]);

    bed.user("ann", Role::Admin, Bounds::default()).await;
    let here = bed.log_in("ann").await.access_token;
    let new = json!({ "name": "bob", "role": "viewer", "password": "passwordpassword" });
    let refused = bed.call("POST", "/api/v1/users").bearer(&here).json(&new).send().await;
    assert_eq!(fields(&refused), ["password"]);
    let edit = json!({ "email": "no mail" });
    let refused = bed.call("PATCH", "/api/v1/users/ann").bearer(&here).json(&edit).send().await;
    assert_eq!(fields(&refused), ["email"]);
    let change = json!({ "current": PASSWORD, "new": "ann" });
    let refused = bed.call("POST", "/api/v1/password").bearer(&here).json(&change).send().await;
    assert_eq!(fields(&refused), ["new", "new"]);
    let reset = bed.call("POST", "/api/v1/users/ann/reset").bearer(&here).send().await;
    let redeem = json!({ "token": link_token(&reset), "password": "short" });
    let refused = bed.call("POST", "/api/v1/links/redeem").json(&redeem).send().await;
    assert_eq!(fields(&refused), ["password"]);
    assert_eq!(whoami(&bed, &here).await, 200);
}

#[tokio::test]
async fn another_role_a_block_and_a_removal_end_logins_at_once() {
    let bed = bed().await;
    let admin = bed.log_in("ann").await.access_token;
    for (method, edit) in [
        ("PATCH", json!({ "role": "admin" })),
        ("PATCH", json!({ "active": false })),
        ("DELETE", Value::Null),
    ] {
        bed.user("bob", Role::Viewer, Bounds::default()).await;
        let (tokens, cookie) = (bed.log_in("bob").await, bed.session("bob").await);
        assert_eq!(whoami(&bed, &tokens.access_token).await, 200);
        let call = bed.call(method, "/api/v1/users/bob").bearer(&admin);
        let call = if edit.is_null() { call } else { call.json(&edit) };
        assert!(call.send().await.status < 300, "{method} {edit}");

        assert_eq!(whoami(&bed, &tokens.access_token).await, 401, "{method} {edit}");
        assert_eq!(refresh(&bed, &tokens.refresh_token).await.status, 401, "{method} {edit}");
        let browser = bed.call("GET", "/api/v1/whoami").header("cookie", &cookie).send().await;
        assert_eq!(browser.status, 401, "{method} {edit}");
        if method == "PATCH" {
            // Once more active, the old logins stay ended.
            let back = json!({ "active": true, "role": "viewer" });
            let call = bed.call("PATCH", "/api/v1/users/bob").bearer(&admin).json(&back);
            assert_eq!(call.send().await.status, 200);
            assert_eq!(whoami(&bed, &tokens.access_token).await, 401);
            let gone = bed.call("DELETE", "/api/v1/users/bob").bearer(&admin).send().await;
            assert_eq!(gone.status, 204);
        }
    }
}

#[tokio::test]
async fn a_change_that_is_no_other_role_ends_no_login() {
    let bed = bed().await;
    let admin = bed.log_in("ann").await.access_token;
    let edit = json!({ "email": "ann@example.org", "role": "admin" });
    let call = bed.call("PATCH", "/api/v1/users/ann").bearer(&admin).json(&edit);
    assert_eq!(call.send().await.status, 200);
    assert_eq!(whoami(&bed, &admin).await, 200);
}

#[tokio::test]
async fn of_many_who_hold_a_link_at_once_one_uses_it() {
    let bed = bed().await;
    let admin = bed.log_in("ann").await.access_token;
    bed.user("bob", Role::Viewer, Bounds::default()).await;
    let reset = bed.call("POST", "/api/v1/users/bob/reset").bearer(&admin).send().await;
    let redeem = json!({ "token": link_token(&reset), "password": NEW_PASSWORD });
    let calls = (0..8).map(|_| bed.call("POST", "/api/v1/links/redeem").json(&redeem).send());
    let mut answers: Vec<u16> =
        futures_util::future::join_all(calls).await.iter().map(|reply| reply.status).collect();
    answers.sort_unstable();
    assert_eq!(answers, [204, 409, 409, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn of_many_who_hold_the_set_up_link_one_becomes_administrator() {
    let bed = Bed::new().await;
    let link = bed.control.setup_link().await.unwrap().unwrap();
    let token = link.url.split_once("?token=").unwrap().1;
    let bodies: Vec<Value> = (0..4)
        .map(|n| json!({ "token": token, "name": format!("admin-{n}"), "password": PASSWORD }))
        .collect();
    let calls = bodies.iter().map(|body| bed.call("POST", "/api/v1/setup").json(body).send());
    let replies = futures_util::future::join_all(calls).await;
    let made: Vec<Tokens> =
        replies.iter().filter(|reply| reply.status == 200).map(|reply| reply.read(200)).collect();
    assert_eq!(made.len(), 1, "{replies:?}");
    assert!(replies.iter().all(|reply| [200, 409].contains(&reply.status)), "{replies:?}");
    let call = bed.call("GET", "/api/v1/users").bearer(&made[0].access_token);
    let users: Value = call.send().await.read(200);
    assert_eq!(users["items"].as_array().unwrap().len(), 1, "{users}");
}

#[tokio::test]
async fn a_new_password_ends_the_links_that_lie_around() {
    let bed = bed().await;
    let token = bed.log_in("ann").await.access_token;
    let reset = bed.call("POST", "/api/v1/users/ann/reset").bearer(&token).send().await;
    let change = json!({ "current": PASSWORD, "new": NEW_PASSWORD });
    let call = bed.call("POST", "/api/v1/password").bearer(&token).json(&change);
    assert_eq!(call.send().await.status, 204);
    let redeem = json!({ "token": link_token(&reset), "password": PASSWORD });
    let late = bed.call("POST", "/api/v1/links/redeem").json(&redeem).send().await;
    assert_eq!(late.code(), (409, ProblemCode::Conflict));
}

#[tokio::test]
async fn a_link_of_who_is_blocked_opens_nothing() {
    let bed = bed().await;
    let admin = bed.log_in("ann").await.access_token;
    bed.user("bob", Role::Viewer, Bounds::default()).await;
    let reset = bed.call("POST", "/api/v1/users/bob/reset").bearer(&admin).send().await;
    let block = json!({ "active": false });
    let call = bed.call("PATCH", "/api/v1/users/bob").bearer(&admin).json(&block);
    assert_eq!(call.send().await.status, 200);
    let redeem = json!({ "token": link_token(&reset), "password": NEW_PASSWORD });
    let refused = bed.call("POST", "/api/v1/links/redeem").json(&redeem).send().await;
    assert_eq!(refused.status, 409);
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
