//! What a client says about itself and its connection, and what the application is told in the end.

use std::collections::BTreeMap;

use portway_policy::bundle::Change;
use portway_testkit::origin::{Origin, Speaks};

use crate::support::{TestEdge, change, request, route, site, to, trusting};

#[tokio::test]
async fn connection_takes_nothing_away_that_the_edge_sets() {
    let edge = TestEdge::start().await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let mut prefixed = route("/app", to(&origin));
    prefixed.filters.strip_prefix = true;
    let set = [("x-of-site".to_owned(), "set".to_owned())];
    prefixed.filters.request_headers.set = BTreeMap::from(set);
    edge.put(vec![site("a", &["a.example"], vec![prefixed])]).await;
    for networks in [&["203.0.113.0/24"][..], &["127.0.0.0/8"]] {
        edge.change(Change { settings: Some(trusting(networks)), ..change() }).await;
        let plain = ask(&edge, None).await;
        // A `Forwarded` that its sender takes back is as good as none.
        let is_of_client = |name: &str| matches!(name, "x-own" | "forwarded");
        let set_by_edge: Vec<&String> = plain.keys().filter(|name| !is_of_client(name)).collect();
        for name in [
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-port",
            "x-forwarded-prefix",
            "x-forwarded-proto",
            "x-real-ip",
            "x-request-id",
            "traceparent",
            "forwarded",
            "content-length",
            "host",
            "x-of-site",
        ] {
            assert!(plain.contains_key(name), "{name} is set: {plain:?}");
        }
        let list: Vec<&str> = set_by_edge.iter().map(|name| name.as_str()).collect();
        let stripped = ask(&edge, Some(&format!("close, x-own, {}", list.join(", ")))).await;
        for name in set_by_edge {
            assert!(stripped.contains_key(name), "{name} was taken away: {stripped:?}");
        }
        assert!(!stripped.contains_key("x-own"), "what is the client's own goes");
    }
}

/// Posts, and returns the headers that the application saw.
async fn ask(edge: &TestEdge, connection: Option<&str>) -> BTreeMap<String, String> {
    let mut request = request("POST", "a.example", "/app/x", "body");
    let headers = request.headers_mut();
    headers.insert("x-own", "1".parse().unwrap());
    headers.insert("forwarded", "for=192.0.2.1".parse().unwrap());
    if let Some(list) = connection {
        headers.insert("connection", list.parse().unwrap());
    }
    edge.ask(request).await.echoed().headers
}
