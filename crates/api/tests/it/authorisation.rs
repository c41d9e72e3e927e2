//! Every operation of the description, called as everyone: nobody, a stranger (another client), the
//! owner (a client), a viewer and an administrator. An operation without a row fails the test.

use portway_model::{Bounds, Role};
use serde_json::{Value, json};

use crate::support::{Bed, PASSWORD, pin, proxy, zone};

/// Nobody, stranger, owner, viewer, administrator.
type Expected = [u16; 5];

const CALLERS: [&str; 5] = ["nobody", "stranger", "owner", "viewer", "admin"];

const EVERYONE: Expected = [200; 5];
const KNOWN: Expected = [401, 200, 200, 200, 200];
/// What one may not see is not found.
const SEEN: Expected = [401, 404, 200, 200, 200];
const CHANGED: Expected = [401, 404, 200, 403, 200];
const OVERSEEN: Expected = [401, 403, 403, 200, 200];
const OPERATED: Expected = [401, 403, 403, 403, 200];
/// The machine does not answer.
const MANAGED: Expected = [401, 403, 403, 403, 409];

const TABLE: [(&str, Expected); 94] = [
    // Public, and proven by what they carry; here they carry nothing that opens anything.
    ("POST /api/v1/setup", [409; 5]),
    ("POST /api/v1/login", EVERYONE),
    ("POST /api/v1/login/refresh", [401; 5]),
    ("POST /api/v1/session", EVERYONE),
    ("POST /api/v1/links/redeem", [409; 5]),
    ("GET /api/v1/health", EVERYONE),
    ("GET /api/v1/ca", EVERYONE),
    ("GET /api/v1/ca/roots", EVERYONE),
    ("GET /metrics", EVERYONE),
    // One's own account. The new password is a bad one, so that the old one stays.
    ("POST /api/v1/logout", [401, 204, 204, 204, 204]),
    ("DELETE /api/v1/session", [401, 204, 204, 204, 204]),
    ("GET /api/v1/whoami", KNOWN),
    ("POST /api/v1/password", [401, 422, 422, 422, 422]),
    // Sites. A stranger's own zone is another one.
    ("GET /api/v1/sites", KNOWN),
    ("POST /api/v1/sites", [401, 422, 201, 403, 201]),
    ("GET /api/v1/sites/{site}", SEEN),
    ("PUT /api/v1/sites/{site}", CHANGED),
    ("DELETE /api/v1/sites/{site}", CHANGED),
    ("POST /api/v1/sites/{site}/block", OPERATED),
    ("POST /api/v1/sites/{site}/unblock", OPERATED),
    ("POST /api/v1/sites/{site}/revert", CHANGED),
    ("GET /api/v1/sites/{site}/logs", SEEN),
    // No edge runs here, which is told.
    ("GET /api/v1/sites/{site}/cache", SEEN),
    ("POST /api/v1/sites/{site}/cache/purge", CHANGED),
    // Nobody made a request of this id.
    ("GET /api/v1/requests/{id}", [401, 404, 404, 404, 404]),
    // No edge runs here.
    ("POST /api/v1/explain", [401, 503, 503, 503, 503]),
    ("POST /api/v1/plan", KNOWN),
    ("GET /api/v1/plan", OVERSEEN),
    ("POST /api/v1/apply", [401, 422, 200, 403, 200]),
    ("GET /api/v1/export", KNOWN),
    // Nodes. The bed has no file of nodes.
    ("GET /api/v1/engines", KNOWN),
    ("GET /api/v1/nodes", OVERSEEN),
    ("POST /api/v1/nodes", [401, 403, 403, 403, 201]),
    ("GET /api/v1/nodes/{node}", OVERSEEN),
    ("PUT /api/v1/nodes/{node}", OPERATED),
    ("DELETE /api/v1/nodes/{node}", OPERATED),
    ("POST /api/v1/nodes/{node}/activate", OPERATED),
    ("POST /api/v1/nodes/{node}/check", OPERATED),
    ("POST /api/v1/nodes/{node}/scan", [401, 403, 403, 403, 409]),
    ("POST /api/v1/nodes/{node}/deactivate", OPERATED),
    ("POST /api/v1/nodes/{node}/deploy", OPERATED),
    ("POST /api/v1/nodes/{node}/drain", OPERATED),
    ("POST /api/v1/nodes/{node}/undrain", OPERATED),
    // Nobody has confirmed its host key, so it cannot be read.
    ("GET /api/v1/nodes/{node}/drift", [401, 403, 403, 403, 409]),
    ("GET /api/v1/nodes/{node}/adopt", [401, 403, 403, 403, 409]),
    ("POST /api/v1/nodes/{node}/adopt", [401, 403, 403, 403, 409]),
    ("POST /api/v1/nodes/{node}/host-key", OPERATED),
    ("GET /api/v1/nodes/{node}/statistics", OVERSEEN),
    ("GET /api/v1/nodes/{node}/logs", OPERATED),
    ("GET /api/v1/statistics", OVERSEEN),
    // Nobody has confirmed its host key, so nothing is done there.
    ("POST /api/v1/nodes/{node}/exec", MANAGED),
    ("POST /api/v1/nodes/{node}/service", MANAGED),
    ("POST /api/v1/nodes/{node}/sudoers", MANAGED),
    // Proven by a token, and this is none.
    ("POST /api/v1/join", [401; 5]),
    ("GET /api/v1/join-tokens", OPERATED),
    ("POST /api/v1/join-tokens", [401, 403, 403, 403, 201]),
    ("DELETE /api/v1/join-tokens/{id}", [401, 403, 403, 403, 404]),
    ("GET /api/v1/nodes/{node}/install", MANAGED),
    ("POST /api/v1/nodes/{node}/install", MANAGED),
    ("POST /api/v1/nodes/{node}/pin", OPERATED),
    ("POST /api/v1/nodes/{node}/release", OPERATED),
    ("POST /api/v1/nodes/{node}/rollback", [401, 403, 403, 403, 409]),
    ("GET /api/v1/ssh-key", OVERSEEN),
    ("POST /api/v1/discovery", OPERATED),
    ("POST /api/v1/discovery/import", OPERATED),
    // History.
    ("GET /api/v1/revisions", KNOWN),
    ("GET /api/v1/revisions/{number}", SEEN),
    ("GET /api/v1/revisions/{number}/progress", SEEN),
    ("POST /api/v1/revisions/{number}/revert", OPERATED),
    ("GET /api/v1/diff", KNOWN),
    // Rollouts. The change had none. Streams of events have no end, and are tried by themselves; here
    // they are asked for from a place that is none.
    ("GET /api/v1/rollouts", OVERSEEN),
    ("GET /api/v1/rollouts/{revision}", [401, 403, 403, 404, 404]),
    ("POST /api/v1/rollouts/{revision}/pause", [401, 403, 403, 403, 404]),
    ("POST /api/v1/rollouts/{revision}/resume", [401, 403, 403, 403, 404]),
    ("POST /api/v1/rollouts/{revision}/abort", [401, 403, 403, 403, 404]),
    ("GET /api/v1/events", [401, 400, 400, 400, 400]),
    // Users.
    ("GET /api/v1/users", OVERSEEN),
    ("POST /api/v1/users", [401, 403, 403, 403, 201]),
    ("GET /api/v1/users/{user}", OVERSEEN),
    ("PATCH /api/v1/users/{user}", OPERATED),
    ("DELETE /api/v1/users/{user}", [401, 403, 403, 403, 204]),
    ("POST /api/v1/users/{user}/reset", OPERATED),
    ("GET /api/v1/tokens", KNOWN),
    ("POST /api/v1/tokens", [401, 201, 201, 201, 201]),
    ("DELETE /api/v1/tokens/{id}", [401, 404, 204, 404, 204]),
    ("GET /api/v1/audit", KNOWN),
    // The installation. No deployment has this id.
    ("POST /api/v1/ca/renew", [401, 403, 403, 403, 201]),
    ("POST /api/v1/ca/activate", OPERATED),
    ("GET /api/v1/tasks", OVERSEEN),
    ("GET /api/v1/certificates", OVERSEEN),
    ("GET /api/v1/deployments", OVERSEEN),
    ("GET /api/v1/deployments/{id}", [401, 403, 403, 404, 404]),
    ("GET /api/v1/deployments/{id}/steps", [401, 403, 403, 404, 404]),
    ("GET /api/v1/deployments/{id}/events", [401, 403, 403, 404, 404]),
];

#[tokio::test]
async fn everyone_may_what_the_table_says_and_no_more() {
    let cast = Cast::new().await;
    let mut wrong = Vec::new();
    for (operation, expected) in TABLE {
        for (caller, expected) in CALLERS.into_iter().zip(expected) {
            let (status, text) = cast.try_out(operation, caller).await;
            if status != expected {
                wrong.push(format!("{operation} as {caller}: {status}, not {expected}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_operation_has_its_row() {
    let described = operations();
    let rows: Vec<&str> = TABLE.iter().map(|(operation, _)| *operation).collect();
    let missing: Vec<&String> =
        described.iter().filter(|operation| !rows.contains(&operation.as_str())).collect();
    assert!(missing.is_empty(), "add a row to TABLE for {missing:?}");
    let gone: Vec<&&str> =
        rows.iter().filter(|row| !described.contains(&(**row).to_owned())).collect();
    assert!(gone.is_empty(), "these are no operations: {gone:?}");
}

#[tokio::test]
async fn a_client_sees_nothing_of_others_in_lists() {
    let cast = Cast::new().await;
    cast.bed.site("secret-site", "secret.owner.example", "owner").await;
    for path in [
        "/api/v1/sites",
        "/api/v1/sites?search=secret",
        "/api/v1/export",
        "/api/v1/revisions",
        "/api/v1/diff?from=0",
        "/api/v1/audit",
        "/api/v1/tokens",
    ] {
        let token = cast.token("stranger");
        let reply = cast.bed.call("GET", path).bearer(&token).send().await;
        assert_eq!(reply.status, 200, "{path}: {}", reply.text);
        assert!(!reply.text.contains("secret"), "{path}: {}", reply.text);
    }
}

#[tokio::test]
async fn an_api_token_may_what_its_scopes_say() {
    let cast = Cast::new().await;
    let admin = cast.token("admin");
    let new = json!({ "name": "reader", "scopes": ["read:sites"] });
    let made = cast.bed.call("POST", "/api/v1/tokens").bearer(&admin).json(&new).send().await;
    let made: Value = made.read(201);
    let token = made["token"].as_str().unwrap();
    for (method, path, expected) in [
        ("GET", "/api/v1/sites", 200),
        ("GET", "/api/v1/whoami", 200),
        ("GET", "/api/v1/users", 403),
        ("GET", "/api/v1/audit", 403),
        ("GET", "/api/v1/tasks", 403),
        ("GET", "/api/v1/revisions", 403),
        ("DELETE", "/api/v1/sites/none", 403),
    ] {
        let call = cast.bed.call(method, path).header("if-match", "*");
        let reply = call.bearer(token).send().await;
        assert_eq!(reply.status, expected, "{method} {path}: {}", reply.text);
    }
    let id = made["id"].as_str().unwrap();
    let path = format!("/api/v1/tokens/{id}");
    assert_eq!(cast.bed.call("DELETE", &path).bearer(&admin).send().await.status, 204);
    let revoked = cast.bed.call("GET", "/api/v1/sites").bearer(token).send().await;
    assert_eq!(revoked.status, 401);
}

#[tokio::test]
async fn a_token_in_the_address_opens_nothing() {
    let cast = Cast::new().await;
    let token = cast.token("admin");
    let path = format!("/api/v1/sites?token={token}&access_token={token}");
    assert_eq!(cast.bed.call("GET", &path).send().await.status, 401);
}

#[tokio::test]
async fn health_is_told_in_a_word_to_all_and_whole_to_those_who_oversee() {
    let cast = Cast::new().await;
    let admin = cast.token("admin");
    for (scope, sees) in [("read:sites", false), ("read:system", true)] {
        let new = json!({ "name": scope, "scopes": [scope] });
        let made = cast.bed.call("POST", "/api/v1/tokens").bearer(&admin).json(&new).send().await;
        let made: Value = made.read(201);
        let token = made["token"].as_str().unwrap();
        assert_eq!(sees_checks(&cast.bed, token).await, sees, "{scope}");
    }
    for (caller, sees) in CALLERS.into_iter().zip([false, false, false, true, true]) {
        assert_eq!(sees_checks(&cast.bed, &cast.token(caller)).await, sees, "{caller}");
    }
}

/// Asks for the health. Everybody is told that no edge runs here.
async fn sees_checks(bed: &Bed, token: &str) -> bool {
    let call = bed.call("GET", "/api/v1/health");
    let call = if token.is_empty() { call } else { call.bearer(token) };
    let health: Value = call.send().await.read(200);
    assert_eq!(health["status"], "failed");
    let version = health.get("version").is_some();
    assert_eq!(version, health.get("checks").is_some(), "{health}");
    version
}

/// A bed with one of everyone, logged in.
struct Cast {
    bed: Bed,
    tokens: Vec<(&'static str, String)>,
}

impl Cast {
    async fn new() -> Self {
        let bed = Bed::new().await;
        bed.user("stranger", Role::Client, zone("*.stranger.example")).await;
        bed.user("owner", Role::Client, zone("*.owner.example")).await;
        bed.user("viewer", Role::Viewer, Bounds::default()).await;
        bed.user("admin", Role::Admin, Bounds::default()).await;
        let mut tokens = Vec::new();
        for name in &CALLERS[1..] {
            tokens.push((*name, bed.log_in(name).await.access_token));
        }
        Self { bed, tokens }
    }

    fn token(&self, caller: &str) -> String {
        let found = self.tokens.iter().find(|(name, _)| *name == caller);
        found.map(|(_, token)| token.clone()).unwrap_or_default()
    }

    /// Calls an operation with things of its own that belong to the owner.
    async fn try_out(&self, operation: &str, caller: &str) -> (u16, String) {
        let (method, template) = operation.split_once(' ').unwrap();
        let mark = format!("x{:x}", fold(&format!("{operation} {caller}")));
        let (path, revision) = self.fill(template, &mark).await;
        let mut call = self.bed.call(method, &path).header("if-match", "*");
        if caller != "nobody" {
            let ends = operation.ends_with("/logout") || operation.ends_with("E /api/v1/session");
            let token =
                if ends { self.bed.log_in(caller).await.access_token } else { self.token(caller) };
            call = call.bearer(&token);
        }
        if let Some(body) = body(operation, &mark, revision) {
            call = call.json(&body);
        }
        let reply = call.send().await;
        (reply.status, reply.text)
    }

    /// Returns the path with things that are there, and the revision of the last one made.
    async fn fill(&self, template: &str, mark: &str) -> (String, i64) {
        let (mut path, mut revision) = (template.to_owned(), 0);
        if path.contains("{site}") || path.contains("{number}") {
            let site = self.bed.site(mark, &format!("{mark}.owner.example"), "owner").await;
            path = path.replace("{site}", mark);
            revision = site.summary.revision;
            path = path.replace("{number}", &revision.to_string());
        }
        if path.contains("{node}") {
            let new = json!({ "name": mark, "spec": node() });
            let made = self.bed.call("POST", "/api/v1/nodes").bearer(&self.token("admin"));
            let made: Value = made.json(&new).send().await.read(201);
            path = path.replace("{node}", made["name"].as_str().unwrap());
        }
        if path.contains("{user}") {
            self.bed.user(mark, Role::Viewer, Bounds::default()).await;
            path = path.replace("{user}", mark);
        }
        if path.contains("/v1/tokens/{id}") {
            let new = json!({ "name": mark, "scopes": ["read:sites"] });
            let token = self.token("owner");
            let made = self.bed.call("POST", "/api/v1/tokens").bearer(&token).json(&new);
            let made: Value = made.send().await.read(201);
            path = path.replace("{id}", made["id"].as_str().unwrap());
        }
        path = path.replace("{revision}", "1");
        path = path.replace("{id}", "0190163d-8694-739b-aea5-966c26f8ad91");
        match template {
            "/api/v1/diff" => path += "?from=0",
            "/api/v1/revisions/{number}/progress" => path += "?timeout=0",
            "/api/v1/events" => path += "?after=then",
            _ => {}
        }
        (path, revision)
    }
}

fn body(operation: &str, mark: &str, revision: i64) -> Option<Value> {
    let spec = proxy(&format!("{mark}.owner.example"));
    let sites = json!({ "source": mark, "sites": { mark: spec } });
    Some(match operation {
        "POST /api/v1/setup" => json!({ "token": "pwo_x", "name": mark, "password": PASSWORD }),
        "POST /api/v1/login" | "POST /api/v1/session" => {
            json!({ "name": "owner", "password": PASSWORD })
        }
        "POST /api/v1/login/refresh" => json!({ "refresh_token": "x" }),
        "POST /api/v1/links/redeem" => json!({ "token": "pwo_x", "password": PASSWORD }),
        "POST /api/v1/password" => json!({ "current": PASSWORD, "new": "short" }),
        "POST /api/v1/sites" => json!({ "name": mark, "spec": spec }),
        "PUT /api/v1/sites/{site}" => json!({ "spec": spec }),
        "POST /api/v1/explain" => json!({ "from": "192.0.2.7", "url": "https://a.example/" }),
        "POST /api/v1/sites/{site}/block" => json!({ "reason": "not paid" }),
        "POST /api/v1/sites/{site}/cache/purge" => json!({ "all": true }),
        "POST /api/v1/sites/{site}/revert" => json!({ "to": revision }),
        "POST /api/v1/plan" | "POST /api/v1/apply" => sites,
        "POST /api/v1/revisions/{number}/revert"
        | "POST /api/v1/rollouts/{revision}/abort"
        | "PATCH /api/v1/users/{user}" => json!({}),
        "POST /api/v1/nodes" => json!({ "name": mark, "spec": node() }),
        "PUT /api/v1/nodes/{node}" => json!({ "spec": node() }),
        "POST /api/v1/nodes/{node}/adopt" => json!({ "seen": mark }),
        "POST /api/v1/nodes/{node}/pin" => json!({ "revision": 1 }),
        "POST /api/v1/nodes/{node}/install" => json!({ "upgrade": true }),
        "POST /api/v1/nodes/{node}/host-key" => json!({ "fingerprint": pin('A') }),
        "POST /api/v1/join" => json!({ "token": "pwj_x", "name": mark, "host_keys": [pin('A')] }),
        "POST /api/v1/join-tokens" => json!({ "engine": "nginx" }),
        "POST /api/v1/nodes/{node}/exec" => json!({ "argv": ["id"] }),
        "POST /api/v1/nodes/{node}/service" => json!({ "action": "reload" }),
        "POST /api/v1/discovery/import" => json!({ "source": mark, "nodes": { mark: node() } }),
        "POST /api/v1/users" => json!({ "name": mark, "role": "viewer" }),
        "POST /api/v1/tokens" => json!({ "name": mark, "scopes": ["read:sites"] }),
        _ => return None,
    })
}

/// What a node is that is reached over SSH.
fn node() -> Value {
    json!({ "engine": "nginx", "ssh": "root@192.0.2.7" })
}

/// Returns all operations of the description, as the table names them.
fn operations() -> Vec<String> {
    let description = serde_json::to_value(portway_api::openapi()).unwrap();
    let paths = description["paths"].as_object().unwrap();
    let mut operations = Vec::new();
    for (path, item) in paths {
        for method in item.as_object().unwrap().keys() {
            operations.push(format!("{} {path}", method.to_uppercase()));
        }
    }
    operations
}

/// Folds a text into a short number, the same in every run (FNV-1a).
fn fold(text: &str) -> u32 {
    text.bytes().fold(2_166_136_261, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(16_777_619))
}
