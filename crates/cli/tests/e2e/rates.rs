//! Limits of requests through the real program: what a site file says holds over HTTP/1.1 and HTTP/2
//! together, outlives a change, and is told in answers, logs, metrics and by `explain`.

use crate::{
    support::{file, log_line, manager, ok},
    web::Web,
};

const SITE: &str = "
sites:
  app:
    hosts: [app.localhost]
    rate_limit: {rate: 4/h, exempt: [127.0.0.9]}
    routes:
      - path: /
        respond: {body: BODY}
      - path: /tried
        respond: {body: tried}
        rate_limit: {rate: 1/h, dry_run: true}
      - path: /free
        respond: {body: free}
        rate_limit: false
";

#[tokio::test(flavor = "multi_thread")]
async fn a_limit_holds_over_both_protocols_together_and_outlives_a_change() {
    let manager = manager().await;
    let apply = async |body: &str| {
        let path = file(&manager, "app.yaml", &SITE.replace("BODY", body));
        ok(&manager, &["apply", "-f", &path]).await;
    };
    apply("first").await;
    let web = Web::of(&manager).await;
    let get = |http2: bool, path: &str| {
        let ask = web.get("app.localhost", path);
        if http2 { ask.http2() } else { ask }
    };
    for (http2, left) in [(false, 3), (true, 2), (false, 1), (true, 0)] {
        let answer = get(http2, "/").send().await;
        assert_eq!((answer.status, answer.text().as_str()), (200, "first"));
        assert_eq!(answer.header("ratelimit-policy"), "\"client\";q=4;w=3600");
        let told = format!("\"client\";r={left};t=");
        assert!(answer.header("ratelimit").starts_with(&told), "{}", answer.header("ratelimit"));
    }
    apply("second").await;
    for http2 in [false, true] {
        let refused = get(http2, "/").send().await;
        assert_eq!(refused.status, 429);
        let wait: u64 = refused.header("retry-after").parse().unwrap();
        assert!((800..=900).contains(&wait), "{wait}");
        for _ in 0..3 {
            assert_eq!(get(http2, "/free").send().await.status, 200);
            assert_eq!(get(http2, "/tried").send().await.status, 200);
        }
        assert_eq!(get(http2, "/").from([127, 0, 0, 9]).send().await.status, 200);
    }
    let line = log_line(&manager, "main.access.log", r#""code":"rate_limited""#).await;
    assert_eq!((&line["way"]["limit"], &line["way"]["stage"]), (&"client".into(), &"limit".into()));
    log_line(&manager, "main.error.log", "more than 4/h by 127.0.0.1").await;
    let told = ok(&manager, &["explain", "GET", "https://app.localhost/"]).await;
    assert!(told.out.contains("more than 4/h by 127.0.0.1 (rate_limited)"), "{}", told.out);
}
