//! Odd spellings of paths: refused, or taken where a site says so, and never a way past a rule.

use portway_model::site::{Access, PathRules, Spelling};
use portway_policy::SitePolicy;
use portway_testkit::origin::{Origin, Speaks};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

use crate::support::{TestEdge, route, site, to};

const ALLOW: Spelling = Spelling::Allow;

#[tokio::test]
async fn an_odd_spelling_is_refused_unless_the_site_takes_it() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    for (name, path, sent, rules) in [
        ("slash", "/a%2fb", "/a%2Fb", PathRules { encoded_slash: ALLOW, ..PathRules::default() }),
        ("back", "/a%5cb", "/a%5Cb", PathRules { backslash: ALLOW, ..PathRules::default() }),
        ("plain", "/a\\b", "/a%5Cb", PathRules { backslash: ALLOW, ..PathRules::default() }),
        ("nul", "/a%00", "/a%00", PathRules { nul: ALLOW, ..PathRules::default() }),
        (
            "twice",
            "/a%252Fb",
            "/a%252Fb",
            PathRules { double_encoding: ALLOW, ..PathRules::default() },
        ),
    ] {
        let (strict, lenient) = (format!("strict-{name}.example"), format!("{name}.example"));
        let mut taking = site(name, &[&lenient], vec![route("/", to(&origin))]);
        taking.paths = rules;
        let refusing = site(&format!("strict-{name}"), &[&strict], vec![route("/", to(&origin))]);
        edge.put(vec![taking, refusing]).await;
        let answer = get(&edge, &strict, path).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        let answer = get(&edge, &lenient, path).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{path}: {answer}");
        assert!(answer.contains(&format!(r#""target":"{sent}""#)), "{path}: {answer}");
        edge.log_has("main.access.log", &format!(r#""path":"{sent}""#)).await;
    }
}

#[tokio::test]
async fn no_spelling_leads_past_a_rule_of_another_route() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    edge.put(vec![with_closed_folder(&origin)]).await;
    for path in [
        "/x/..%2Fadmin/",
        "/x%2F..%2F..%2Fadmin",
        "/%2Fadmin",
        "/admin%2Fx",
        "/x\\..\\admin",
        "/%5Cadmin",
        "/admin%00.png",
        "/x/%252e%252e/admin",
        "/%252Fadmin",
        "/x/%252e%252e%255cadmin",
        "/admin%252Fx",
    ] {
        let answer = get(&edge, "a.example", path).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{path}: {answer}");
        assert!(!answer.contains("target"), "{path}: {answer}");
    }
    for (path, status) in [("/x%2Fy", 200), ("/admin/x%2Fy", 403), ("/x%5Cy%00", 200)] {
        let answer = get(&edge, "a.example", path).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {answer}");
    }
    edge.log_has("main.error.log", "leads to different routes").await;
}

/// A site that takes every spelling, and lets nobody into `/admin`.
fn with_closed_folder(origin: &Origin) -> SitePolicy {
    let mut closed = route("/admin", to(origin));
    closed.filters.access = Some(Access { allow: Some(vec![]), deny: vec![], basic: None });
    let mut site = site("a", &["a.example"], vec![route("/", to(origin)), closed]);
    site.paths =
        PathRules { encoded_slash: ALLOW, backslash: ALLOW, nul: ALLOW, double_encoding: ALLOW };
    site
}

/// Asks byte by byte, as clients of libraries would not.
async fn get(edge: &TestEdge, host: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(edge.http()).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}
