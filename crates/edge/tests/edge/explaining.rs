//! What the edge tells of the way of a request: in its access log, and of one that is not sent.

use portway_model::site::{Access, Action};
use portway_policy::bundle::{Trial, TrialReport};
use portway_testkit::origin::{Origin, Speaks};

use crate::support::{TestEdge, respond, route, site, tcp, to, upstream};

#[tokio::test]
async fn the_log_tells_what_was_not_plain_about_a_request() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut retried = upstream(&origin);
    retried.targets.insert(0, tcp(dead).into());
    retried.targets[0].weight = 100;
    retried.retries.attempts = 1;
    let mut inside = route("/inside", respond("in"));
    inside.filters.access = Some(denying());
    let routes = vec![
        inside,
        route("/fixed", respond("fixed")),
        route("/retried", Action::Proxy(retried)),
        route("/", to(&origin)),
    ];
    edge.put(vec![site("a", &["a.example"], routes)]).await;

    for (path, status, parts) in [
        ("/inside", 403, &["\"stage\":\"access\"", "\"code\":\"address_denied\""][..]),
        ("/fixed", 200, &["\"way\":{\"stage\":\"respond\"}"]),
        ("/retried", 200, &["\"failed\":[{\"target\":", "\"code\":\"upstream_refused\""]),
    ] {
        assert_eq!(edge.get("a.example", path).await.status, status, "{path}");
        let line = edge.log_has("main.access.log", &format!("\"path\":\"{path}\"")).await;
        for part in parts {
            assert!(line.contains(part), "{part} is not in {line}");
        }
    }
}

#[tokio::test]
async fn a_request_that_is_not_sent_changes_and_counts_nothing() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut posts = route("/api", respond("posted"));
    posts.matches.methods = vec!["POST".to_owned()];
    let mut inside = route("/inside", respond("in"));
    inside.filters.access = Some(denying());
    let routes = vec![posts, inside, route("/", to(&origin))];
    edge.put(vec![site("a", &["a.example"], routes)]).await;
    edge.get("a.example", "/before").await;
    edge.log_has("main.access.log", "/before").await;

    let api = explain(&edge, "http://a.example/api").await;
    let denied = explain(&edge, "http://a.example/inside").await;
    let nobody = explain(&edge, "http://b.example/").await;

    assert_eq!((api.site.as_deref(), api.route.as_deref()), (Some("a"), Some("/")));
    let told = texts(&api);
    assert!(told.contains("route /api takes the path, but it is for POST only"), "{told}");
    let target = origin.address().unwrap();
    assert!(told.contains(&format!("target {target}: well, 0 in flight")), "{told}");
    assert!(told.contains(&format!("{target} would be asked first")), "{told}");
    assert_eq!(api.stage.as_deref(), Some("upstream"));
    assert_eq!((denied.status, denied.code.as_deref()), (Some(403), Some("address_denied")));
    assert_eq!((nobody.site, nobody.status), (None, Some(404)));
    assert_eq!(origin.seen().len(), 1, "nothing was sent");
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(metrics.contains("requests_total{site=\"a\",status_class=\"2xx\"} 1"), "{metrics}");
    let wrong = edge.control("POST", "/v1/explain", b"nonsense".to_vec()).await;
    assert_eq!(wrong.0, 400);
}

fn denying() -> Access {
    Access { allow: None, deny: vec!["0.0.0.0/0".parse().unwrap()], basic: None }
}

pub(crate) async fn explain(edge: &TestEdge, url: &str) -> TrialReport {
    let trial = Trial {
        from: [127, 0, 0, 1].into(),
        method: "GET".to_owned(),
        url: url.to_owned(),
        headers: Vec::new(),
    };
    let (status, text) =
        edge.control("POST", "/v1/explain", serde_json::to_vec(&trial).unwrap()).await;
    assert_eq!(status, 200, "{text}");
    serde_json::from_str(&text).unwrap()
}

fn texts(report: &TrialReport) -> String {
    let texts: Vec<&str> = report.steps.iter().map(|step| step.text.as_str()).collect();
    texts.join("\n")
}
