//! What Traefik answers for rendered sites.

use portway_engine::{Engine as _, Release, Test, TopLevel, traefik::Traefik};
use portway_model::FindingCode;
use portway_policy::{Blocked, CompileInput, SitePolicy};

use crate::{
    bed::{Bed, Certificates, refusal, site},
    client::{get, send},
    origin,
};

pub(crate) fn bed() -> Option<Bed> {
    Bed::new("traefik", "traefik.yml", "watched/portway.yml")
}

fn serve(sites: &[SitePolicy]) -> Option<Bed> {
    serve_with(sites, &Certificates::new())
}

/// Starts Traefik with sites.
pub(crate) fn serve_with(sites: &[SitePolicy], certificates: &Certificates) -> Option<Bed> {
    let mut bed = bed()?;
    let release = bed.release(&Traefik, sites, certificates);
    assert!(release.held.is_empty(), "{:?}", release.held);
    start(&mut bed, &release);
    Some(bed)
}

pub(crate) fn top_level(bed: &Bed) -> String {
    let ports = &bed.facts.ports;
    format!(
        "global: {{checkNewVersion: false, sendAnonymousUsage: false}}\nentryPoints:\n  \
         web: {{address: \"127.0.0.1:{}\"}}\n  websecure: {{address: \"127.0.0.1:{}\"}}\n  \
         portway: {{address: \"127.0.0.1:{}\"}}\nproviders: {{file: {{directory: {}, watch: true}}}}\n",
        ports.http,
        ports.https,
        ports.probe,
        bed.facts.layout.reached_by.parent().unwrap()
    )
}

fn start(bed: &mut Bed, release: &Release) {
    start_by(bed, release, &top_level(bed));
}

/// Starts Traefik by a configuration of the machine.
pub(crate) fn start_by(bed: &mut Bed, release: &Release, text: &str) {
    bed.put(release);
    let (passed, said) = bed.test(&Traefik, release, text);
    assert!(passed, "{said}\n{}", bed.log());
    std::fs::write(&bed.facts.layout.top_level, text).unwrap();
    bed.activate(&Traefik, release, text);
    let settings = format!("--configFile={}", bed.facts.layout.top_level);
    let program = bed.facts.layout.program.clone();
    bed.start(&[program.as_str(), &settings], &Traefik.probe(release.digest, &bed.facts));
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
            {{"path": "/admin", "to": "{origin}", "access": {{"allow": []}}}},
            {{"path": "/a@b", "to": "{origin}", "access": {{"allow": []}}}}]}}"#
    );
    let Some(bed) = serve(&[plain(&spec)]) else { return };
    for (path, status, seen) in [
        ("/", 200, "/"),
        ("/admin", 403, ""),
        ("/admin/x", 403, ""),
        ("/ADMIN/x", 200, "/ADMIN/x"),
        ("/administrator", 200, "/administrator"),
        ("/a/..%2fadmin/x", 403, ""),
        ("/a/..%2Fadmin/x", 403, ""),
        ("//admin", 403, ""),
        ("/admin;x", 200, "/admin;x"),
        ("/%61dmin", 403, ""),
        ("/admin%2f", 403, ""),
        ("/./admin", 403, ""),
        ("/admin/../x", 200, "/x"),
        ("/a/%2e%2e/admin", 403, ""),
        ("/a%40b/x", 403, ""),
        ("/a@b", 403, ""),
        ("/%5cadmin", 403, ""),
        ("/a\\..\\admin", 403, ""),
        ("/%00", 403, ""),
        ("/%252e%252e/admin", 403, ""),
        ("/%25%32%66", 403, ""),
        ("/%ff", 403, ""),
        ("/%c0%af", 403, ""),
        ("/a/..;/admin", 403, ""),
        ("/a/..%3b/admin", 403, ""),
        ("/100%25", 200, "/100%25"),
        ("/%C3%A4?x=/../%2f", 200, "/%C3%A4?x=/../%2f"),
        ("/a%20b//c", 200, "/a%20b/c"),
        ("http://a.example/admin", 403, ""),
    ] {
        let answer = get(bed.facts.ports.http, "a.example", path);
        // What is not even a request is answered 400.
        assert!(
            answer.status == status || (status == 403 && answer.status == 400),
            "{path}: {answer:?}"
        );
        if status == 200 {
            assert!(answer.body.starts_with(&format!("GET {seen} ")), "{path}: {}", answer.body);
        }
    }
}

#[test]
fn the_most_specific_route_whose_conditions_hold_answers() {
    let origin = origin::start();
    let to = |name: &str| {
        format!(r#""to": "{origin}", "headers": {{"request": {{"set": {{"X-Route": "{name}"}}}}}}"#)
    };
    let spec = format!(
        r#"{{"hosts": ["a.example", "*.b.example"], "https": false, "routes": [
        {{"path": "/", {}}},
        {{"path": "/q", "match_query": {{"k": "a b", "l": "ü"}}, {}}},
        {{"path": "/q", "match_query": {{"k": "a b"}}, {}}},
        {{"path": "/h", "match_headers": {{"X-A": "{{{{x}}}}`"}}, {}}},
        {{"path": "/h", "match_headers": {{"X-B": ""}}, "match_query": {{"e": ""}}, {}}},
        {{"path": "/h", "methods": ["POST", "PUT"], {}}},
        {{"exact": "/v1/x", {}}},
        {{"regex": "^/v\\d{{1,2}}/", {}}}]}}"#,
        to("root"),
        to("both"),
        to("one"),
        to("headers"),
        to("empty"),
        to("post"),
        to("exact"),
        to("regex")
    );
    let Some(bed) = serve(&[plain(&spec)]) else { return };
    let port = bed.facts.ports.http;
    for (request, name) in [
        ("GET / HTTP/1.1", "root"),
        ("GET /q?l=%C3%bc&k=a+b HTTP/1.1", "both"),
        ("GET /q?k=%61%20b&l=u HTTP/1.1", "one"),
        ("GET /q?xk=a+b HTTP/1.1", "root"),
        ("GET /h HTTP/1.1\r\nX-A: {{x}}`", "headers"),
        ("GET /h HTTP/1.1\r\nX-A: x", "root"),
        ("GET /h?e HTTP/1.1\r\nX-B:", "empty"),
        ("GET /h?e=1 HTTP/1.1\r\nX-B:", "root"),
        ("PUT /h HTTP/1.1", "post"),
        ("GET /v1/x HTTP/1.1", "exact"),
        ("GET /v12/x HTTP/1.1", "regex"),
        ("GET /v123/x HTTP/1.1", "root"),
    ] {
        let answer = send(port, &format!("{request}\r\nHost: a.example"), "").unwrap();
        let seen = answer.body.to_ascii_lowercase();
        assert!(seen.contains(&format!("x-route: {name}\r\n")), "{request}: {answer:?}");
    }
    for (host, status) in [
        ("other.example", 404),
        ("A.EXAMPLE", 200),
        ("x.b.example", 200),
        ("b.example", 404),
        ("x.y.b.example", 404),
    ] {
        assert_eq!(get(port, host, "/").status, status, "{host}");
    }
}

#[test]
fn who_may_is_judged_by_address_then_by_password() {
    let origin = origin::start();
    let spec = r#"{"hosts": ["a.example"], "https": false, "routes": [
        {"path": "/", TO, "access": {"basic": {"realm": "staff only", "users": {"ada": "HASH"}}}},
        {"path": "/far", TO, "access": {"allow": ["10.0.0.0/8"], "basic": {"users": {"ada": "HASH"}}}},
        {"path": "/not", TO, "access": {"deny": ["127.0.0.0/8"]}},
        {"path": "/near", TO, "access": {"allow": ["127.0.0.0/8", "::1"], "deny": ["127.0.0.2"]}}]}"#
        .replace("TO", &format!(r#""to": "{origin}""#))
        // Last: any letters may stand in it.
        .replace("HASH", &bcrypt::hash("secret", 4).unwrap());
    let Some(bed) = serve(&[plain(&spec)]) else { return };
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
        let answer = send(bed.facts.ports.http, &head, "").unwrap();
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
            "headers": {{"request": {{"remove": ["X-Gone"], "set": {{"X-Set": "{{{{env}}}} $x"}}}},
                "response": {{"remove": ["Server"], "set": {{"X-Origin": "no"}}}}}}}}]}}"#
    );
    let Some(bed) = serve(&[plain(&spec)]) else { return };
    let port = bed.facts.ports.http;
    let head = "GET /api/x?y=1 HTTP/1.1\r\nHost: a.example:99\r\nX-Forwarded-For: 6.6.6.6\r\n\
        X_Forwarded_For: 6.6.6.6\r\nX-Real-IP: 6.6.6.6\r\nForwarded: for=6.6.6.6\r\n\
        X-Forwarded-Host: evil\r\nX-Forwarded-Proto: https\r\nX-Forwarded-Prefix: /evil\r\n\
        X-Request-Id: evil-evil-evil\r\nX-Gone: 1\r\nX-Set: 0";
    let answer = send(port, head, "").unwrap();
    assert_eq!(answer.status, 200, "{answer:?}");
    let seen = answer.body.to_ascii_lowercase();
    assert!(seen.starts_with("get /x?y=1 "), "{seen}");
    for header in [
        "host: a.example:99",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-real-ip: 127.0.0.1",
        "x-forwarded-prefix: /api",
        "x-set: {{env}} $x",
    ] {
        assert!(seen.contains(&format!("{header}\r\n")), "{header} in {seen}");
    }
    for gone in ["6.6.6.6", "evil", "x-gone", "x-set: 0"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
    assert_eq!((answer.header("Server"), answer.header("X-Origin")), (None, Some("no")));
    for (path, seen) in [("/api", "/"), ("/api/", "/"), ("/%61pi/%61", "/a")] {
        let answer = get(port, "a.example", path);
        assert!(answer.body.starts_with(&format!("GET {seen} ")), "{path}: {}", answer.body);
    }
    let status =
        |body: &str| send(port, "POST /api HTTP/1.1\r\nHost: a.example", body).unwrap().status;
    assert_eq!((status("1234"), status("12345")), (200, 413));
    let chunked = |size: &str, body: &str| {
        let head = "POST /api HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\nConnection: close";
        send(port, &format!("{head}\r\n\r\n{size}\r\n{body}\r\n0"), "").unwrap().status
    };
    assert_eq!((chunked("4", "1234"), chunked("5", "12345")), (200, 413));
}

#[test]
fn clients_are_sent_on_where_the_route_says() {
    let spec = r#"{"hosts": ["a.example"], "https": false, "routes": [
        {"path": "/old", "redirect": {"to": "https://b.example/new/", "status": 301, "keep_path": true}},
        {"path": "/all", "redirect": {"to": "https://c.example", "status": 308}},
        {"path": "/x", "redirect": {"to": "https://b.example/$1?a=$b", "status": 302}}]}"#;
    let Some(bed) = serve(&[plain(spec)]) else { return };
    let port = bed.facts.ports.http;
    for (path, status, to) in [
        ("/old/a%20b/%3f?c=d", 301, "https://b.example/new/a%20b/%3F?c=d"),
        ("/old", 301, "https://b.example/new/"),
        ("/old/?x", 301, "https://b.example/new/?x"),
        ("/x/y", 302, "https://b.example/$1?a=$b"),
        ("/all", 301, "https://c.example"),
    ] {
        let answer = get(port, "a.example", path);
        assert_eq!((answer.status, answer.header("Location")), (status, Some(to)), "{path}");
    }
    let posted = send(port, "POST /all HTTP/1.1\r\nHost: a.example", "").unwrap();
    assert_eq!(posted.status, 308);
}

#[test]
fn a_blocked_site_answers_nothing() {
    let blocked = Some(Blocked { reason: "unpaid".to_owned() });
    let input = CompileInput { blocked, ..CompileInput::default() };
    let spec = r#"{"hosts": ["a.example", "*"], "https": false, "to": "5000"}"#;
    let Some(bed) = serve(&[site("shop", spec, &input)]) else { return };
    for (host, path) in [("a.example", "/"), ("a.example", "/.well-known/x"), ("b.example", "//")] {
        assert_eq!(get(bed.facts.ports.http, host, path).status, 403);
    }
}

#[test]
fn requests_are_divided_by_weight_and_by_rule() {
    let (one, other) = (origin::start(), origin::start());
    let spec = format!(
        r#"{{"hosts": ["a.example"], "https": false, "split": {{"sides": [
            {{"name": "stable", "weight": 3, "to": {{"targets": ["{one}"], "host": "target"}}}},
            {{"name": "canary", "weight": 1, "to": {{"targets": ["{other}"], "host": "target"}},
              "by": [{{"header": "X-Canary", "value": "yes"}}, {{"cookie": "canary", "value": "a.b"}}]}}]}}}}"#
    );
    let Some(bed) = serve(&[plain(&spec)]) else { return };
    let port = bed.facts.ports.http;
    let is_other = |body: &str| body.contains(&format!("Host: 127.0.0.1:{other}\r\n"));
    let count = (0..8).filter(|_| is_other(&get(port, "a.example", "/").body)).count();
    assert_eq!(count, 2);
    for (header, is_led) in [
        ("X-Canary: yes", true),
        ("Cookie: a=1; canary=a.b", true),
        ("Cookie: canary=a.b; a=1", true),
    ] {
        for _ in 0..4 {
            let head = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{header}");
            assert_eq!(is_other(&send(port, &head, "").unwrap().body), is_led, "{header}");
        }
    }
}

#[test]
fn what_traefik_cannot_do_is_refused_in_words() {
    let Some(bed) = bed() else { return };
    for (spec, words) in [
        (r#"{"hosts": ["a.example"], "files": "/srv"}"#, "serves no files"),
        (r#"{"hosts": ["a.example"], "respond": {"body": "x"}}"#, "no fixed answers"),
        (r#"{"hosts": ["a.example"], "to": "unix:/run/x"}"#, "unix sockets"),
        (
            r#"{"hosts": ["a.example"], "to": "5000", "limits": {"headers": 20}}"#,
            "limits of its own",
        ),
        (r#"{"hosts": ["*.a.example"], "to": "5000", "https": {"min_version": "1.3"}}"#, "no name"),
        (
            r#"{"hosts": ["a.example"], "to": "5000", "headers": {"request": {"add": {"X-A": "1"}}}}"#,
            "beside",
        ),
    ] {
        let why = refusal(&Traefik, &plain(spec), &bed.facts);
        assert!(why.as_ref().is_some_and(|why| why.contains(words)), "{spec}: {why:?}");
    }
    let site = plain(r#"{"hosts": ["a.example"], "to": "5000"}"#);
    let release = bed.release(&Traefik, &[site], &Certificates::new());
    for (text, words) in [
        ("", "directory:"),
        ("providers: WATCHED", "entry point `portway`"),
        ("WATCHED portway: 127.0.0.1:PROBE\nsanitizePath: false", "sanitizePath"),
    ] {
        let watched = bed.facts.layout.reached_by.parent().unwrap().as_str();
        let text =
            text.replace("WATCHED", watched).replace("PROBE", &bed.facts.ports.probe.to_string());
        let top = TopLevel { text, beside: Vec::new() };
        let error = Traefik.candidate(&top, &release, &bed.facts).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
}

#[test]
fn a_router_that_is_not_taken_fails_the_test() {
    let Some(bed) = bed() else { return };
    let site = plain(r#"{"hosts": ["a.example"], "https": false, "to": "5000"}"#);
    let release = bed.release(&Traefik, &[site], &Certificates::new());
    let top = TopLevel { text: top_level(&bed), beside: Vec::new() };
    let mut candidate = Traefik.candidate(&top, &release, &bed.facts).unwrap();
    for file in &mut candidate.files {
        file.text = file.text.replace("PathRegexp(\\\"^/\\\")", "PathRegexp(\\\"(\\\")");
    }
    let Test::Instance { files, command, mut probe } =
        Traefik.steps(candidate, &release, &bed.facts).test
    else {
        panic!("Traefik is tried by an instance");
    };
    probe.deadline = std::time::Duration::from_secs(3);
    let (passed, _) = bed.try_instance(&files, &command, &probe);
    let log = bed.log();
    assert!(!passed, "{log}");
    let findings = Traefik.read_test_output(&log, &release);
    let of_site = findings.iter().find(|finding| finding.code == FindingCode::Held);
    assert!(of_site.is_some_and(|finding| format!("{:?}", finding.at).contains("shop")), "{log}");
}
