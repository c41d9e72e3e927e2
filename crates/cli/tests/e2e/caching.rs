//! Kept answers through the real program: told, purged by command, and explained.

use portway_testkit::{
    manager::Manager,
    origin::{Origin, Speaks},
};

use crate::{
    support::{ends, eventually, file, json, manager, ok},
    web::Web,
};

#[tokio::test(flavor = "multi_thread")]
async fn what_is_kept_is_given_over_both_versions_and_purged_by_command() {
    let (manager, web, origin) = bed("cache: 10m").await;
    for http2 in [false, true, false] {
        let ask = web.get("shop.localhost", "/a?b=c");
        let answer = if http2 { ask.http2() } else { ask }.send().await;
        assert_eq!((answer.status, answer.json()["target"].as_str()), (200, Some("/a?b=c")));
    }
    assert_eq!(origin.seen().len(), 1);
    let stats = json(&manager, &["cache", "stats", "shop"]).await;
    assert_eq!(stats[0]["objects"], 1, "{stats}");
    assert_eq!(stats[0]["requests"]["hit"], 2, "{stats}");

    for (what, count) in [
        (&["--url", "/other"][..], 0),
        (&["--url", "https://shop.localhost:1/a?b=c"], 0),
        (&["--url", "/a?b=c"], 1),
        (&["--prefix", "/a"], 1),
        (&["--all"], 1),
    ] {
        let words = [&["cache", "purge", "shop"], what].concat();
        let purged = json(&manager, &words).await;
        assert_eq!(purged["purged"], count, "{what:?}: {purged}");
        web.get("shop.localhost", "/a?b=c").send().await;
    }
    assert_eq!(origin.seen().len(), 4);
    ends(&manager, &["cache", "purge", "shop"], 2).await;
    ends(&manager, &["cache", "purge", "shop", "--url", "nonsense"], 2).await;
    ends(&manager, &["cache", "purge", "nobody", "--all"], 4).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn why_something_is_not_kept_is_explained() {
    let (manager, web, _origin) = bed("cache: true").await;
    let answer = web.get("shop.localhost", "/").send().await;
    let told = told(&manager, answer.header("x-request-id")).await;
    assert!(told.contains("not kept: neither the answer nor the rules say how long"), "{told}");
    let hidden = web.get("shop.localhost", "/").header("x-original-url", "/x").send().await;
    let told = self::told(&manager, hidden.header("x-request-id")).await;
    assert!(told.contains("passed by: a header of the request says"), "{told}");
    let trial = ok(&manager, &["explain", "GET", "https://shop.localhost/"]).await.out;
    assert!(trial.contains("nothing is kept under https://shop.localhost/"), "{trial}");
}

async fn told(manager: &Manager, id: &str) -> String {
    eventually("the record", async || {
        let ran = manager.run(&["explain", id]).await.unwrap();
        (ran.code == 0).then_some(ran.out)
    })
    .await
}

async fn bed(rule: &str) -> (Manager, Web, Origin) {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let origin = Origin::tcp(Speaks::Http1).await.unwrap();
    let to = origin.address().unwrap();
    let text = format!("sites:\n  shop:\n    hosts: [shop.localhost]\n    to: {to}\n    {rule}\n");
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text), "--yes"]).await;
    (manager, web, origin)
}
