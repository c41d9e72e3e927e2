//! What is told of kept answers, and taken away by order.

use portway_model::site::Cache;
use portway_policy::bundle::{CacheStats, PurgeReport, PurgeWhat, Trial, TrialReport};
use serde_json::json;

use super::{
    HOST, MINUTE, edge_before, get,
    planned::{Plan, Planned, numbered},
};
use crate::support::{TestEdge, id};

#[tokio::test]
async fn what_is_purged_is_fetched_anew() {
    let headers = &[("cache-control", "max-age=60"), ("cache-tag", "product, p7")];
    let origin = Planned::start(|asked| {
        Plan::of(numbered(asked), if asked.path() == "/p" { headers } else { MINUTE })
    })
    .await;
    let edge = edge_before(&origin, Cache::default()).await;
    let all = ["/p", "/a", "/a/b", "/a?q=1"];
    let fill = async || {
        for path in all {
            get(&edge, path, &[]).await;
        }
    };
    for (what, count) in [
        (PurgeWhat::Url("/a".to_owned()), 1),
        // What is kept without a query may be the answer to any.
        (PurgeWhat::Url(format!("http://{HOST}/%61?q=1")), 2),
        (PurgeWhat::Prefix("/a".to_owned()), 3),
        (PurgeWhat::Tags(vec!["p7".to_owned()]), 1),
        (PurgeWhat::Tags(vec!["p8".to_owned()]), 0),
        (PurgeWhat::All, 4),
    ] {
        fill().await;
        let asked = origin.count();
        assert_eq!(purge(&edge, &what).await, count, "{what:?}");
        fill().await;
        assert_eq!(origin.count() - asked, usize::try_from(count).unwrap(), "{what:?}");
    }
    let body = serde_json::to_vec(&json!({"site": id("a")})).unwrap();
    let (_, text) = edge.control("POST", "/v1/cache/stats", body).await;
    let stats: CacheStats = serde_json::from_str(&text).unwrap();
    assert_eq!(stats.objects, 4);
    assert!(stats.bytes > 0 && stats.used >= stats.bytes && stats.capacity > stats.used);
    assert!(stats.requests["hit"] > 0 && stats.requests["miss"] > 0, "{stats:?}");
    let nonsense = serde_json::to_vec(&json!({"site": id("a"), "what": {"url": "nonsense"}}));
    let refused = edge.control("POST", "/v1/cache/purge", nonsense.unwrap()).await;
    assert_eq!(refused.0, 400, "{}", refused.1);
    let metrics = edge.control("GET", "/v1/metrics", vec![]).await.1;
    assert!(metrics.contains("portway_edge_cache_requests_total{site=\"a\",result=\"hit\"}"));
}

#[tokio::test]
async fn what_was_done_is_told_in_the_log_and_before_it_happens() {
    let origin = Planned::with(&[("cache-control", "private")]).await;
    let edge = edge_before(&origin, Cache::default()).await;
    get(&edge, "/private", &[]).await;
    let line = edge.log_has("main.access.log", "\"path\":\"/private\"").await;
    assert!(
        line.contains("\"cache\":\"miss\"") && line.contains("\"uncached\":\"private\""),
        "{line}"
    );
    origin.change(|asked| Plan::of(numbered(asked), MINUTE));
    assert!(explain(&edge, &[]).await.contains("nothing is kept under http://a.example/x"));
    get(&edge, "/x", &[]).await;
    let told = explain(&edge, &[]).await;
    assert!(told.contains("answered from the cache: http://a.example/x, fresh for"), "{told}");
    let told = explain(&edge, &[("cookie", "a=b")]).await;
    assert!(told.contains("is not for requests that say who asks"), "{told}");
}

async fn purge(edge: &TestEdge, what: &PurgeWhat) -> u64 {
    let body = serde_json::to_vec(&json!({"site": id("a"), "what": what})).unwrap();
    let (status, body) = edge.control("POST", "/v1/cache/purge", body).await;
    assert_eq!(status, 200, "{body}");
    serde_json::from_str::<PurgeReport>(&body).unwrap().purged
}

async fn explain(edge: &TestEdge, headers: &[(&str, &str)]) -> String {
    let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let trial = Trial {
        from: "127.0.0.1".parse().unwrap(),
        method: "GET".to_owned(),
        url: format!("http://{HOST}/x"),
        headers: headers.collect(),
    };
    let body = serde_json::to_vec(&trial).unwrap();
    let (status, text) = edge.control("POST", "/v1/explain", body).await;
    assert_eq!(status, 200, "{text}");
    let report: TrialReport = serde_json::from_str(&text).unwrap();
    report.steps.into_iter().map(|step| step.text).collect::<Vec<_>>().join("\n")
}
