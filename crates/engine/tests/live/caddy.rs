//! What Caddy answers for rendered sites.

use std::collections::BTreeMap;

use portway_engine::{Engine as _, Release, caddy::Caddy};
use portway_model::FindingCode;
use portway_policy::{Blocked, CompileInput, NetworkGuard, SitePolicy};
use serde_json::Value;

use crate::{
    bed::{Bed, Certificates, refusal, site},
    client::{get, send},
    hostile::{Case, cases, harmless},
    origin,
};

/// Starts Caddy with sites.
pub(crate) fn serve(sites: &[SitePolicy], certificates: &Certificates) -> Option<Bed> {
    let mut bed = Bed::new("caddy", "Caddyfile", "home/current.caddy")?;
    let release = bed.release(&Caddy, sites, certificates);
    assert!(release.held.is_empty(), "{:?}", release.held);
    bed.put(&release);
    start(&mut bed, &release);
    Some(bed)
}

pub(crate) fn top_level(bed: &Bed) -> String {
    let ports = &bed.facts.ports;
    format!(
        "{{\n\tadmin unix/{}/admin.sock\n\thttp_port {}\n\thttps_port {}\n}}\nimport {}\n",
        bed.root(),
        ports.http,
        ports.https,
        bed.facts.layout.reached_by
    )
}

fn start(bed: &mut Bed, release: &Release) {
    start_by(bed, release, &top_level(bed));
}

/// Starts Caddy by a configuration of the machine.
pub(crate) fn start_by(bed: &mut Bed, release: &Release, text: &str) {
    let (passed, said) = bed.test(&Caddy, release, text);
    let last: String = said
        .lines()
        .rev()
        .take(3)
        .map(|line| line.chars().take(2000).collect::<String>() + "\n")
        .collect();
    assert!(passed, "{last} {:#?}", Caddy.read_test_output(&said, release));
    std::fs::write(&bed.facts.layout.top_level, text).unwrap();
    bed.activate(&Caddy, release, text);
    let layout = bed.facts.layout.clone();
    let probe = Caddy.probe(release.digest, &bed.facts);
    let argv = [
        layout.program.as_str(),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        layout.top_level.as_str(),
    ];
    bed.start(&argv, &probe);
}

fn plain(spec: &str) -> SitePolicy {
    site("shop", spec, &CompileInput::default())
}

#[test]
fn a_path_rule_holds_in_every_spelling() {
    let origin = origin::start();
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "routes": [
            {{"path": "/", "to": "{origin}"}},
            {{"path": "/admin", "to": "{origin}", "access": {{"allow": []}}}}]}}"#
    );
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    for (path, status, seen) in [
        ("/", 200, "/"),
        ("/admin", 403, ""),
        ("/admin/x", 403, ""),
        ("/ADMIN/x", 200, "/ADMIN/x"),
        ("/administrator", 200, "/administrator"),
        ("/a/..%2fadmin/x", 400, ""),
        ("//admin", 403, ""),
        ("/admin;x", 200, "/admin;x"),
        ("/%61dmin", 403, ""),
        ("/admin%2f", 400, ""),
        ("/./admin", 403, ""),
        ("/admin/../x", 200, "/x"),
        ("/a/%2e%2e/admin", 403, ""),
        ("/a/.", 200, "/a/"),
        ("/a\\..\\admin", 400, ""),
        ("/%5cadmin", 400, ""),
        ("/%00", 400, ""),
        ("/%252e%252e/admin", 400, ""),
        ("/%25%32%66", 400, ""),
        ("/%ff", 400, ""),
        ("/%c0%af", 400, ""),
        ("/a/..;/admin", 400, ""),
        ("/100%25", 200, "/100%25"),
        ("/100%25off", 200, "/100%25off"),
        ("/%C3%A4?x=/../%2f", 200, "/%C3%A4?x=/../%2f"),
        ("/a%20b//c", 200, "/a%20b/c"),
        ("http://a.example/admin", 403, ""),
    ] {
        let answer = get(port, "a.example", path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 200 {
            assert!(answer.body.starts_with(&format!("GET {seen} ")), "{path}: {}", answer.body);
        }
    }
}

#[test]
fn the_most_specific_route_whose_conditions_hold_answers() {
    let spec = r#"{"hosts": ["a.example"], "https": false, "routes": [
        {"path": "/", "respond": {"body": "root"}},
        {"path": "/a b", "respond": {"body": "no"}},
        {"path": "/q", "match_query": {"k": "a b", "l": "ü"}, "respond": {"body": "both"}},
        {"path": "/q", "match_query": {"k": "a b"}, "respond": {"body": "one"}},
        {"path": "/h", "match_headers": {"X-A": "{x}", "X-B": "1"}, "respond": {"body": "headers"}},
        {"path": "/h", "methods": ["POST"], "respond": {"body": "post"}},
        {"path": "/h", "respond": {"body": "h"}},
        {"exact": "/v1/x", "respond": {"body": "exact"}},
        {"regex": "^/v\\d{1,2}/", "respond": {"body": "regex"}}]}"#
        .replace("/a b", "/a%20b");
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    for (request, body) in [
        ("GET / HTTP/1.1", "root"),
        ("GET /a%20b/c HTTP/1.1", "no"),
        ("GET /q?l=%C3%bc&k=a+b HTTP/1.1", "both"),
        ("GET /q?k=%61%20b&l=u HTTP/1.1", "one"),
        ("GET /q?xk=a+b HTTP/1.1", "root"),
        ("GET /h HTTP/1.1\r\nX-A: {x}\r\nX-B: 2\r\nX-B: 1", "headers"),
        ("GET /h HTTP/1.1\r\nX-A: x\r\nX-B: 1", "h"),
        ("POST /h HTTP/1.1", "post"),
        ("GET /v1/x HTTP/1.1", "exact"),
        ("GET /v12/x HTTP/1.1", "regex"),
        ("GET /v123/x HTTP/1.1", "root"),
    ] {
        let answer = send(port, &format!("{request}\r\nHost: a.example"), "").unwrap();
        assert_eq!(answer.body, body, "{request}");
    }
    assert_eq!(get(port, "other.example", "/").status, 404);
    assert_eq!(get(port, "A.example", "/").status, 200);
}

#[test]
fn who_may_is_judged_by_address_then_by_password() {
    // The password is `secret`.
    let spec = r#"{"hosts": ["a.example"], "https": false, "routes": [
        {"path": "/", "respond": {"body": "in"}, "access": {"basic": {"realm": "staff only", "users":
            {"ada": "HASH"}}}},
        {"path": "/far", "respond": {"body": "in"}, "access": {"allow": ["10.0.0.0/8"], "basic": {"users":
            {"ada": "HASH"}}}},
        {"path": "/not", "respond": {"body": "in"}, "access": {"deny": ["127.0.0.0/8"]}},
        {"path": "/near", "respond": {"body": "in"}, "access": {"allow": ["127.0.0.1", "::1"]}}]}"#
        .replace("HASH", &bcrypt::hash("secret", 4).unwrap());
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    let right = "Authorization: Basic YWRhOnNlY3JldA==";
    let wrong = "Authorization: Basic YWRhOnNlY3JlVA==";
    for (path, header, status) in [
        ("/", "X-A: 1", 401),
        ("/", right, 200),
        ("/", wrong, 401),
        ("/far", right, 403),
        ("/far", "X-Forwarded-For: 10.1.1.1", 403),
        ("/not", right, 403),
        ("/near", wrong, 200),
    ] {
        let head = format!("GET {path} HTTP/1.1\r\nHost: a.example\r\n{header}");
        let answer = send(port, &head, "").unwrap();
        assert_eq!(answer.status, status, "{path} {header}: {answer:?}");
        if status == 401 {
            assert_eq!(answer.header("WWW-Authenticate"), Some("Basic realm=\"staff only\""));
        }
    }
}

#[test]
fn an_upstream_is_told_who_asks_and_nothing_that_strangers_claim() {
    let origin = origin::start();
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "routes": [{{"path": "/api", "strip_prefix": true,
            "to": "{origin}", "max_body": "4",
            "headers": {{"request": {{"remove": ["X-Gone"], "set": {{"X-Set": "{{env.HOME}} $x"}}, "add": {{"X-Set": "more"}}}},
                "response": {{"remove": ["Server"], "set": {{"X-Origin": "no {{http.request.host}}"}}, "add": {{"X-More": "1"}}}}}}}}]}}"#
    );
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    let head = "GET /api/x?y=1 HTTP/1.1\r\nHost: a.example:99\r\nX-Forwarded-For: 6.6.6.6\r\nX_Forwarded_For: 6.6.6.6\r\n\
        X-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\nX-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /evil\r\nX-Request-Id: evil-evil-evil\r\nX-Gone: 1\r\nX-Set: 0\r\nX-Portway-Edge: 1";
    let answer = send(port, head, "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.starts_with("get /x?y=1 "), "{seen}");
    for header in [
        "host: a.example:99",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: a.example:99",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-prefix: /api",
        "x-set: {env.home} $x",
        "x-set: more",
    ] {
        assert!(seen.contains(&format!("{header}\r\n")), "{header} in {seen}");
    }
    for gone in ["6.6.6.6", "evil", "x-gone", "x-set: 0", "portway-edge"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert_eq!(answer.header("Server"), None, "{}", answer.head);
    assert_eq!(answer.header("X-Origin"), Some("no {http.request.host}"));
    assert_eq!(answer.header("X-More"), Some("1"));
    for (path, seen) in [("/api", "/"), ("/api/", "/"), ("/%61pi/%61", "/%61")] {
        let answer = get(port, "a.example", path);
        assert!(answer.body.starts_with(&format!("GET {seen} ")), "{path}: {}", answer.body);
    }
    let status =
        |body: &str| send(port, "POST /api HTTP/1.1\r\nHost: a.example", body).unwrap().status;
    assert_eq!((status("1234"), status("12345")), (200, 413));
    let chunked = "POST /api HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n5\r\n12345\r\n0";
    assert_eq!(send(port, chunked, "").unwrap().status, 413);
}

#[test]
fn redirects_and_fixed_answers_say_what_was_written() {
    let spec = r#"{"hosts": ["a.example"], "https": false, "routes": [
        {"path": "/old", "redirect": {"to": "https://b.example/new/", "status": 308, "keep_path": true}},
        {"path": "/x", "redirect": {"to": "/$b?a=*"}},
        {"exact": "/b", "respond": {"status": 503, "body": "/back {at} {$HOME} `ten` \"x\" \\n", "content_type": "text/x; y=\"{z}\""}},
        {"exact": "/m", "respond": {"body": "@m"}}]}"#;
    let Some(bed) = serve(&[plain(spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    let answer = get(port, "a.example", "/old/a%20b/%3f?c=d");
    assert_eq!(
        (answer.status, answer.header("Location")),
        (308, Some("https://b.example/new/a%20b/%3f?c=d"))
    );
    let answer = get(port, "a.example", "/old");
    assert_eq!(answer.header("Location"), Some("https://b.example/new/"));
    let answer = get(port, "a.example", "/x");
    assert_eq!((answer.status, answer.header("Location")), (302, Some("/$b?a=*")));
    let answer = get(port, "a.example", "/b");
    assert_eq!((answer.status, answer.body.as_str()), (503, "/back {at} {$HOME} `ten` \"x\" \\n"));
    assert_eq!(answer.header("Content-Type"), Some("text/x; y=\"{z}\""));
    assert_eq!(get(port, "a.example", "/m").body, "@m");
    let trace = send(port, "TRACE / HTTP/1.1\r\nHost: a.example", "").unwrap();
    assert_eq!(trace.status, 405);
}

#[test]
fn a_blocked_site_answers_nothing_but_why() {
    let input = CompileInput {
        blocked: Some(Blocked { reason: "unpaid {x}".to_owned() }),
        ..CompileInput::default()
    };
    let spec = r#"{"hosts": ["a.example"], "https": false, "respond": {"body": "in"}}"#;
    let Some(bed) = serve(&[site("shop", spec, &input)], &Certificates::new()) else { return };
    for path in ["/", "/.well-known/x", "//"] {
        let answer = get(bed.facts.ports.http, "a.example", path);
        assert_eq!(answer.status, 403);
        assert!(answer.body.contains("unpaid {x}"), "{}", answer.body);
    }
}

#[test]
fn files_are_served_but_none_that_is_hidden() {
    let folder = tempfile::Builder::new().prefix("files").tempdir().unwrap();
    let root = folder.path();
    for (name, text) in [
        ("index.html", "index"),
        ("a b.txt", "space"),
        (".secret", "no"),
        (".well-known/x", "known"),
        ("sub/index.html", "sub"),
        ("empty/x.txt", "x"),
        (".git/config", "no"),
        ("big.css", "css"),
        ("big.css.gz", "packed"),
    ] {
        std::fs::create_dir_all(root.join(name).parent().unwrap()).unwrap();
        std::fs::write(root.join(name), text).unwrap();
    }
    let root = root.to_str().unwrap();
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "routes": [
            {{"path": "/", "files": {{"root": "{root}", "spa": true, "cache_control": "max-age=60"}}}},
            {{"path": "/pub", "files": {{"root": "{root}", "listing": true}}}}]}}"#
    );
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    for (path, status, body) in [
        ("/", 200, "index"),
        ("/a%20b.txt", 200, "space"),
        ("/.secret", 404, ""),
        ("/%2esecret", 404, ""),
        ("/.git/config", 404, ""),
        ("/.well-known/x", 200, "known"),
        ("/sub/", 200, "sub"),
        ("/gone.js", 404, ""),
        ("/some/view", 200, "index"),
        ("/pub/sub/", 200, "sub"),
        ("/pub/.secret", 404, ""),
        ("/pub/gone", 404, ""),
        ("/pub/../.secret", 404, ""),
    ] {
        let answer = get(port, "a.example", path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        if status == 200 {
            assert_eq!(answer.body, body, "{path}");
        }
    }
    assert_eq!(get(port, "a.example", "/big.css").header("Cache-Control"), Some("max-age=60"));
    assert_eq!(get(port, "a.example", "/view").header("Cache-Control"), Some("no-cache"));
    assert_eq!(get(port, "a.example", "/gone.js").header("Cache-Control"), None);
    let packed =
        send(port, "GET /big.css HTTP/1.1\r\nHost: a.example\r\nAccept-Encoding: gzip", "")
            .unwrap();
    assert_eq!((packed.body.as_str(), packed.header("Content-Encoding")), ("packed", Some("gzip")));
    let listed = get(port, "a.example", "/pub/empty/").body;
    assert!(listed.contains("x.txt"), "{listed}");
    assert!(!get(port, "a.example", "/pub/").body.contains(".secret"));
    let json = send(port, "GET /view HTTP/1.1\r\nHost: a.example\r\nAccept: application/json", "")
        .unwrap();
    assert_eq!(json.status, 404);
    assert_eq!(send(port, "POST /a%20b.txt HTTP/1.1\r\nHost: a.example", "").unwrap().status, 405);
}

#[test]
fn several_targets_take_turns_by_weight_and_leave_out_who_fails() {
    let Some(bed) = Bed::new("caddy", "Caddyfile", "home/current.caddy") else { return };
    if !bed.facts.is_at_least(2, 7, 0) {
        return;
    }
    let (one, other) = (origin::start(), origin::start());
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "to": {{"targets": [{{"to": "{one}", "weight": 3}}, "{other}"], "host": "target",
            "timeouts": {{"connect": "1s"}}, "eject": {{"failures": 2, "statuses": ["500-599", "429"]}}}}}}"#
    );
    let Some(bed) = serve(&[plain(&spec)], &Certificates::new()) else { return };
    let port = bed.facts.ports.http;
    let seen: Vec<String> = (0..8).map(|_| get(port, "a.example", "/").body).collect();
    let count = |port: u16| {
        seen.iter().filter(|body| body.contains(&format!("Host: 127.0.0.1:{port}\r\n"))).count()
    };
    assert_eq!((count(one), count(other)), (6, 2), "{seen:?}");
}

#[test]
fn bounds_and_what_caddy_cannot_do_are_refused_in_words() {
    let Some(bed) = Bed::new("caddy", "Caddyfile", "home/current.caddy") else { return };
    let guard = NetworkGuard { allowed: vec![], denied: vec!["10.0.0.0/8".parse().unwrap()] };
    let guarded = CompileInput { guard: Some(guard), ..CompileInput::default() };
    for (spec, words) in [
        (r#"{"hosts": ["a.example"], "to": "10.1.1.1:80"}"#, "out of the bounds"),
        (r#"{"hosts": ["a.example"], "to": "db.internal:80"}"#, "nobody judges it"),
        (r#"{"hosts": ["a.example"], "to": "5000", "limits": {"headers": 20}}"#, "global options"),
        (r#"{"hosts": ["a.example"], "split": [{"to": "5000"}, {"to": "6000"}]}"#, "divide"),
        (r#"{"hosts": ["a.example"], "routes": [{"regex": "\\bx", "to": "5000"}]}"#, "words"),
        (r#"{"hosts": ["a.example"], "to": "5000", "max_body": 0}"#, "any size"),
        (
            r#"{"hosts": ["a.example"], "to": "5000", "headers": {"request": {"set": {"*x": "1"}}}}"#,
            "instruction",
        ),
    ] {
        let why = refusal(&Caddy, &site("shop", spec, &guarded), &bed.facts);
        assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{spec}: {why:?}");
    }
    let fine = site("shop", r#"{"hosts": ["a.example"], "to": "5000"}"#, &guarded);
    assert_eq!(refusal(&Caddy, &fine, &bed.facts), None);
}

/// Every text stays in its place: Caddy itself reads from the file the same structure as for a harmless
/// text, and the answer has the text.
#[test]
fn hostile_texts_stay_texts() {
    let Some(mut bed) = Bed::new("caddy", "Caddyfile", "home/current.caddy") else { return };
    let (mut refused, mut taken) = (0, Vec::new());
    for case in cases() {
        match refusal(&Caddy, &case.site, &bed.facts) {
            Some(_) => refused += 1,
            None => taken.push(case),
        }
    }
    eprintln!("{} hostile sites taken, {refused} refused in words", taken.len());
    assert!(taken.len() > 1000, "{}", taken.len());
    let mut plain = harmless();
    plain.retain(|(_, site)| refusal(&Caddy, site, &bed.facts).is_none());
    let sites = taken.iter().map(|case| case.site.clone());
    let sites: Vec<SitePolicy> = sites.chain(plain.iter().map(|(_, site)| site.clone())).collect();
    let release = bed.release(&Caddy, &sites, &Certificates::new());
    bed.put(&release);
    start(&mut bed, &release);
    let adapted = adapt(&bed);
    let shape_of = |site: &SitePolicy| shape(&route_of(&adapted, &site.hosts[0].to_string()));
    let shapes: BTreeMap<&str, Value> =
        plain.iter().map(|(field, site)| (*field, shape_of(site))).collect();
    let is_left_out = |case: &Case| {
        let rendered = Caddy.render_site(&case.site, &Certificates::new(), &bed.facts).unwrap();
        rendered.findings.iter().any(|finding| finding.code == FindingCode::Unsupported)
    };
    let mut changed = Vec::new();
    // An empty text is left out of the structure, and means the same.
    for case in taken.iter().filter(|case| !case.payload.is_empty() && !is_left_out(case)) {
        let Some(expected) = shapes.get(case.field) else { continue };
        let found = shape_of(&case.site);
        if found != *expected {
            changed.push((case.field, case.payload, found.to_string(), expected.to_string()));
        }
    }
    let first = changed.first();
    let all: Vec<_> = changed.iter().map(|(field, payload, ..)| (field, payload)).collect();
    assert!(changed.is_empty(), "{all:?} such as {first:?}");
    let port = bed.facts.ports.http;
    for case in taken.iter().filter(|case| case.field == "respond.body") {
        let answer = get(port, &case.site.hosts[0].to_string(), "/");
        assert_eq!(answer.body, case.payload, "{:?}", case.payload);
    }
    for case in taken.iter().filter(|case| case.field == "blocked") {
        let answer = get(port, &case.site.hosts[0].to_string(), "/");
        assert!(answer.body.contains(case.payload), "{:?}: {}", case.payload, answer.body);
    }
    for case in taken.iter().filter(|case| case.field == "response.set") {
        let answer = get(port, &case.site.hosts[0].to_string(), "/");
        assert_eq!(answer.status, 502, "nobody listens: {:?}", case.payload);
    }
}

fn adapt(bed: &Bed) -> Value {
    let layout = &bed.facts.layout;
    let argv = ["adapt", "--adapter", "caddyfile", "--config", layout.top_level.as_str()];
    let output = std::process::Command::new(&layout.program).args(argv).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Returns what Caddy does with requests to a host.
fn route_of(adapted: &Value, host: &str) -> Value {
    let servers = adapted["apps"]["http"]["servers"].as_object().unwrap().values();
    let mut routes = servers.flat_map(|server| server["routes"].as_array().unwrap());
    let is_of = |route: &&Value| route["match"][0]["host"] == serde_json::json!([host]);
    let route = routes.find(is_of).unwrap_or_else(|| panic!("no route for {host}"));
    route["handle"].clone()
}

/// Returns an object with numbers for its keys, which are names of headers.
fn without_names(value: &Value) -> Value {
    let entries = value.as_object().into_iter().flatten().enumerate();
    Value::Object(entries.map(|(number, (_, value))| (number.to_string(), value.clone())).collect())
}

/// Returns the structure of a value: every text is the same.
fn shape(value: &Value) -> Value {
    match value {
        Value::String(_) => Value::String("text".to_owned()),
        Value::Array(all) => all.iter().map(shape).collect(),
        Value::Object(all) => {
            let entries = all.iter().map(|(key, value)| {
                let holds_names = ["set", "add", "header_regexp"].contains(&key.as_str());
                (
                    key.clone(),
                    shape(&if holds_names { without_names(value) } else { value.clone() }),
                )
            });
            Value::Object(entries.collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
    }
}

#[test]
fn what_caddy_does_not_take_is_told_with_its_site() {
    let Some(bed) = Bed::new("caddy", "Caddyfile", "home/current.caddy") else { return };
    let sound =
        site("sound", r#"{"hosts": ["a.example"], "to": "5000"}"#, &CompileInput::default());
    let input = CompileInput::default();
    let spec = r#"{"hosts": ["b.example"], "https": false, "files": "/srv"}"#;
    let broken = site("broken", spec, &input);
    let release = bed.release(&Caddy, &[sound, broken], &Certificates::new());
    bed.put(&release);
    let served = &release.sites.iter().find(|site| site.name.as_str() == "broken").unwrap().objects;
    let file = served
        .iter()
        .map(|name| bed.facts.layout.objects().join(name))
        .find(|path| std::fs::read_to_string(path).is_ok_and(|text| text.contains("file_server")));
    let file = file.unwrap();
    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, text.replace("root * /srv", "roof * /srv")).unwrap();
    let (passed, said) = bed.test(&Caddy, &release, &top_level(&bed));
    assert!(!passed);
    let findings = Caddy.read_test_output(&said, &release);
    let told = format!("{:?}", findings.iter().map(|finding| &finding.at).collect::<Vec<_>>());
    assert!(told.contains("broken") && told.contains("files"), "{told} {said}");
}
