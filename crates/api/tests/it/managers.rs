//! Two API servers on one database: what one knows, the other knows, too.

use portway_api::Peer;
use portway_model::{Bounds, Role};
use portway_wire::{ProblemCode, auth::Tokens, site::SiteView};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{Bed, PASSWORD, proxy, root};

#[tokio::test]
async fn a_login_with_one_is_a_login_with_both() {
    let one = Bed::new().await;
    let two = one.beside().await;
    one.user("ann", Role::Admin, Bounds::default()).await;
    let tokens = one.log_in("ann").await;
    let cookie = one.session("ann").await;
    let whoami = async |bed: &Bed| {
        bed.call("GET", "/api/v1/whoami").bearer(&tokens.access_token).send().await
    };
    let by_cookie =
        async |bed: &Bed| bed.call("GET", "/api/v1/whoami").header("cookie", &cookie).send().await;
    assert_eq!(whoami(&two).await.status, 200);
    assert_eq!(by_cookie(&two).await.status, 200);

    let refresh = json!({ "refresh_token": tokens.refresh_token });
    let renewed = two.call("POST", "/api/v1/login/refresh").json(&refresh).send().await;
    let renewed: Tokens = renewed.read(200);
    let used = one.call("POST", "/api/v1/login/refresh").json(&refresh).send().await;
    assert_eq!(used.status, 401, "a refresh token works once, wherever");
    let stolen = one.call("GET", "/api/v1/whoami").bearer(&renewed.access_token).send().await;
    assert_eq!(stolen.status, 401, "and one that is used again ends the login");

    let end = two.call("DELETE", "/api/v1/session").header("cookie", &cookie);
    let end = end.header("origin", "http://localhost:8900").send().await;
    assert_eq!(end.status, 204, "{}", end.text);
    assert_eq!(by_cookie(&one).await.status, 401);
}

#[tokio::test]
async fn wrong_passwords_are_counted_together() {
    let one = Bed::new().await;
    let two = one.beside().await;
    one.user("ann", Role::Admin, Bounds::default()).await;
    let wrong = json!({ "name": "ann", "password": "not the password of ann" });
    for number in 0..10 {
        let bed = if number % 2 == 0 { &one } else { &two };
        let reply = bed.call("POST", "/api/v1/login").json(&wrong).send().await;
        assert_eq!(reply.status, 401, "{}", reply.text);
    }
    let right = json!({ "name": "ann", "password": PASSWORD });
    for bed in [&one, &two] {
        let reply = bed.call("POST", "/api/v1/login").json(&right).send().await;
        assert_eq!(reply.code(), (429, ProblemCode::TooManyAttempts));
    }
}

#[tokio::test]
async fn what_is_made_is_made_once_by_both() {
    let one = Bed::new().await;
    let two = one.beside().await;
    one.user("ann", Role::Admin, Bounds::default()).await;
    let token = one.log_in("ann").await.access_token;
    let site = |name: &str| json!({ "name": name, "spec": proxy(&format!("{name}.example")) });
    let user = |name: &str| json!({ "name": name, "role": "viewer" });
    let api_token = |name: &str| json!({ "name": name, "scopes": ["read:sites"] });
    let requests = [
        ("/api/v1/sites", 201, Some((site("shop"), site("other")))),
        ("/api/v1/users", 201, Some((user("bob"), user("other")))),
        ("/api/v1/tokens", 201, Some((api_token("ci"), api_token("other")))),
        ("/api/v1/users/bob/reset", 200, None),
    ];
    for (path, status, bodies) in requests {
        let send = async |bed: &Bed, body: Option<&Value>| {
            let call = bed.call("POST", path).bearer(&token).header("idempotency-key", path);
            match body {
                Some(body) => call.json(body).send().await,
                None => call.send().await,
            }
        };
        let body = bodies.as_ref().map(|(body, _)| body);
        let (first, again) = (send(&one, body).await, send(&two, body).await);
        assert_eq!(first.read::<Value>(status), again.read::<Value>(status), "{path}");
        if let Some((_, other)) = &bodies {
            let reused = send(&two, Some(other)).await;
            assert_eq!(reused.code(), (409, ProblemCode::Conflict), "{path}");
        }
    }
    let sites: Value = two.call("GET", "/api/v1/sites").bearer(&token).send().await.read(200);
    assert_eq!(sites["items"].as_array().unwrap().len(), 1);
    let tokens: Value = one.call("GET", "/api/v1/tokens").bearer(&token).send().await.read(200);
    assert_eq!(tokens["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_repeats_a_request_of_a_manager_that_died_learns_what_came_of_it() {
    let one = Bed::new().await;
    let two = one.beside().await;
    let body = json!({ "name": "shop", "spec": proxy("shop.example") }).to_string();
    // The path as the handlers see it.
    let digest = Sha256::new().chain_update("POST /sites").chain_update([0]);
    let digest: [u8; 32] = digest.chain_update(&body).finalize().into();
    let send = async || {
        let call = two.call("POST", "/api/v1/sites").peer(Peer::Unix { uid: 0, gids: vec![0] });
        let call = call.header("idempotency-key", "k").header("content-type", "application/json");
        call.body(body.clone()).send().await
    };
    // The first manager has begun, and nobody knows yet whether it lives.
    let actor = root();
    let claimed = one.control.idempotent(&actor, "k", digest).await.unwrap();
    let early = send().await;
    assert_eq!(early.code(), (409, ProblemCode::Conflict));
    assert!(early.header("retry-after").parse::<u64>().unwrap() <= 5);

    // It wrote the site and died before it could keep the answer.
    let portway_control::Idempotency::New(claimed) = claimed else { panic!("it is new") };
    let new = serde_json::from_str(&body).unwrap();
    let editor = one.control.editor(&actor).await.unwrap();
    let made = claimed.carry_out(Box::pin(editor.create(new))).await.unwrap();
    drop(claimed);
    let told: SiteView = send().await.read(201);
    assert_eq!(told.summary.id, made.summary.id);
    assert_eq!(told.summary.revision, made.summary.revision);
}
