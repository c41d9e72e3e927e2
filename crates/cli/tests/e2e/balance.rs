//! Several targets behind one site, from its file to its visitors, through the real program.

use portway_testkit::origin::{Origin, Speaks};

use crate::{
    support::{file, log_line, manager, ok},
    web::Web,
};

#[tokio::test(flavor = "multi_thread")]
async fn targets_share_clients_stay_and_the_dead_are_passed_over() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [heavy, light, canary] = [origin().await, origin().await, origin().await];
    let (dead, address) = (dead().await, |origin: &Origin| origin.address().unwrap());
    let text = format!(
        "sites:\n  shop:\n    hosts: [shop.localhost]\n    to:\n      targets:\n      \
         - {{to: {}, weight: 3}}\n      - {}\n      - {{to: {dead}, backup: true}}\n  stay:\n    \
         hosts: [stay.localhost]\n    to: {{targets: [{dead}, {}, {}], sticky: true}}\n  new:\n    \
         hosts: [new.localhost]\n    split:\n    - {{to: {}}}\n    - {{to: {}, name: canary, by: \
         {{header: X-Canary}}}}\n",
        address(&heavy),
        address(&light),
        address(&heavy),
        address(&light),
        address(&heavy),
        address(&canary),
    );
    ok(&manager, &["apply", "-f", &file(&manager, "sites.yaml", &text)]).await;

    let before = (heavy.seen().len(), light.seen().len());
    for n in 0..8 {
        let ask = web.get("shop.localhost", "/");
        let ask = if n % 2 == 0 { ask.http2() } else { ask };
        assert_eq!(ask.send().await.status, 200);
    }
    assert_eq!((heavy.seen().len() - before.0, light.seen().len() - before.1), (6, 2));

    for http2 in [false, true] {
        let ask = || {
            let ask = web.get("stay.localhost", "/");
            if http2 { ask.http2() } else { ask }
        };
        let cookie = ask().send().await.header("set-cookie").to_owned();
        assert!(cookie.starts_with("portway_target=") && cookie.ends_with("; Secure"), "{cookie}");
        let before = (heavy.seen().len(), light.seen().len());
        for _ in 0..6 {
            let pair = cookie.split(';').next().unwrap();
            let answer = ask().header("cookie", pair).send().await;
            assert_eq!((answer.status, answer.header("set-cookie")), (200, ""));
        }
        let got = [heavy.seen().len() - before.0, light.seen().len() - before.1];
        assert!(got.contains(&6), "one target has them all: {got:?}");

        let canaries = canary.seen().len();
        let ask = web.get("new.localhost", "/").header("x-canary", "1");
        assert_eq!(if http2 { ask.http2() } else { ask }.send().await.status, 200);
        assert_eq!(canary.seen().len(), canaries + 1);
    }
    // One of three took no connection, so somebody was asked in its place.
    let line = log_line(&manager, "main.access.log", r#""tries":2"#).await;
    assert_eq!(line["status"], 200);
}

async fn origin() -> Origin {
    Origin::tcp(Speaks::Http1).await.unwrap()
}

/// An address where nobody listens.
async fn dead() -> std::net::SocketAddr {
    tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
