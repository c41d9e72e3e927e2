//! Targets that fail, through the real program over HTTP/1.1 and HTTP/2: who is left alone and for how
//! long, who takes over, and what is tried again.

use portway_testkit::backend::{Backend, Behaviour};
use tokio::time::Instant;

use crate::{
    support::{apply, eventually, log_line, log_lines, manager, targets},
    web::{VERSIONS, Web},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_target_that_fails_is_left_alone_unless_most_do() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [bad, good] = Backend::several::<2>().await.unwrap();
    let three = Backend::several::<3>().await.unwrap();
    let eject = |failures: u8| {
        format!("{{failures: {failures}, within: 5m, for: 5m, statuses: [500-599]}}")
    };
    let text = format!(
        "sites:\n  ejects:\n    hosts: [ejects.localhost]\n    to: {{targets: {}, eject: {}}}\n    \
         log: {{name: ejects}}\n  panics:\n    hosts: [panics.localhost]\n    to: {{targets: {}, eject: \
         {}}}\n    log: {{name: panics}}\n",
        targets(&[&bad, &good]),
        eject(3),
        targets(&three),
        eject(1),
    );
    apply(&manager, &text).await;
    let fails = || Behaviour { status: 503, ..Behaviour::default() };

    bad.behave(fails());
    let mut statuses = Vec::new();
    for n in 0..20 {
        let ask = web.get("ejects.localhost", "/").over(VERSIONS[n % 2]);
        statuses.push(ask.send().await.status);
    }
    let failed = statuses.iter().filter(|status| **status == 503).count();
    assert_eq!(failed, 3, "after three it is out: {statuses:?}");
    assert_eq!((bad.requests(), good.requests()), (3, 17));
    let line = log_line(&manager, "ejects.error.log", "target_ejected").await;
    let message = line["message"].as_str().unwrap();
    assert!(message.contains(&bad.address().to_string()), "{message}");

    for bad in &three[1..] {
        bad.behave(fails());
    }
    eventually("most of them to be out", async || {
        web.get("panics.localhost", "/").send().await;
        let lines = log_lines(&manager, "panics.error.log");
        lines.iter().any(|line| line.contains("all_targets_used")).then_some(())
    })
    .await;
    for version in VERSIONS {
        for target in &three {
            target.requests_since();
        }
        for _ in 0..9 {
            web.get("panics.localhost", "/").over(version).send().await;
        }
        let got = three.each_ref().map(Backend::requests);
        assert!(got.iter().all(|count| *count > 0), "all are used over {version:?}: {got:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_stands_in_and_who_returns_is_spared_at_first() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [usual, backup] = Backend::several::<2>().await.unwrap();
    let slow = Backend::several::<2>().await.unwrap();
    let quick = Backend::several::<2>().await.unwrap();
    let eject = "eject: {failures: 1, within: 5m, for: 1s, statuses: [500-599]}";
    let text = format!(
        "sites:\n  backup:\n    hosts: [backup.localhost]\n    to: {{targets: [{}, {{to: {}, backup: \
         true}}], {eject}}}\n  slow:\n    hosts: [slow.localhost]\n    to: {{targets: {}, {eject}, \
         slow_start: 1m}}\n  quick:\n    hosts: [quick.localhost]\n    to: {{targets: {}, {eject}, \
         slow_start: 2s}}\n",
        usual.address(),
        backup.address(),
        targets(&slow),
        targets(&quick)
    );
    apply(&manager, &text).await;
    let ask = async |host: &str, count: usize| {
        for n in 0..count {
            let ask = web.get(host, "/").over(VERSIONS[n % 2]);
            assert_eq!(ask.send().await.status, 200, "{host}, request {n}");
        }
    };

    ask("backup.localhost", 4).await;
    assert_eq!((usual.requests_since(), backup.requests_since()), (4, 0));
    usual.die().await;
    ask("backup.localhost", 8).await;
    assert_eq!(backup.requests_since(), 8, "the backup answers while no other can");
    usual.revive().await.unwrap();
    ask_until(&web, "backup.localhost", "it returns", || usual.requests() > 0).await;
    backup.requests_since();
    ask("backup.localhost", 4).await;
    assert_eq!(backup.requests(), 0, "and no longer");

    for (host, two) in [("slow.localhost", &slow), ("quick.localhost", &quick)] {
        two[0].behave(Behaviour { status: 503, ..Behaviour::default() });
        while two[0].requests() == 0 {
            web.get(host, "/").send().await;
        }
        two[0].behave(Behaviour::default());
        ask_until(&web, host, "it returns", || two[0].requests() > 1).await;
        two[0].requests_since();
    }
    let share = async |host: &str, target: &Backend, count: usize| {
        target.requests_since();
        ask(host, count).await;
        target.requests_since()
    };
    let early = share("slow.localhost", &slow[0], 40).await;
    assert!(early <= 14, "{early} of 40 soon after its return");
    eventually("the whole share", async || {
        (share("quick.localhost", &quick[0], 10).await >= 4).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_safe_is_tried_again_within_a_budget() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [dropping, sound] = Backend::several::<2>().await.unwrap();
    let budget = Backend::several::<2>().await.unwrap();
    let off = Backend::several::<2>().await.unwrap();
    let text = format!(
        "sites:\n  again:\n    hosts: [again.localhost]\n    to: {{targets: {}, eject: false}}\n  \
         budget:\n    hosts: [budget.localhost]\n    to: {{targets: {}, eject: false, retries: \
         {{attempts: 1, budget: 20%}}}}\n  off:\n    hosts: [off.localhost]\n    to: {{targets: {}, \
         eject: false, retries: false}}\n",
        targets(&[&dropping, &sound]),
        targets(&budget),
        targets(&off)
    );
    apply(&manager, &text).await;
    for target in [&dropping].into_iter().chain(&budget).chain(&off) {
        target.behave(Behaviour { drops: true, ..Behaviour::default() });
    }

    let mut sent = 0;
    for version in VERSIONS {
        for _ in 0..6 {
            let answer = web.get("again.localhost", "/").over(version).send().await;
            assert_eq!(answer.status, 200, "a GET is tried elsewhere over {version:?}");
        }
        for n in 0..6 {
            let ask = web.ask("POST", "again.localhost", &format!("/{n}")).over(version);
            let status = ask.body("text/plain", "pay").send().await.status;
            assert!([200, 502].contains(&status), "{status} over {version:?}");
        }
        let posts = [&dropping, &sound].map(|target| {
            let seen = target.seen();
            seen.iter()
                .filter(|(asked, _)| asked.starts_with("POST"))
                .map(|(_, n)| n)
                .sum::<usize>()
        });
        sent += 6;
        assert_eq!(posts[0] + posts[1], sent, "a POST is sent once over {version:?}");
    }
    log_line(&manager, "main.access.log", r#""tries":2"#).await;

    let all = |two: &[Backend; 2]| two.iter().map(Backend::requests).sum::<usize>();
    for version in VERSIONS {
        let mut kept = web.kept(version);
        for _ in 0..50 {
            assert_eq!(kept.get("budget.localhost").await.unwrap().status, 502, "{version:?}");
        }
        assert_eq!(web.get("off.localhost", "/").over(version).send().await.status, 502);
    }
    let arrived = all(&budget);
    // Each could be tried twice. Ten retries are there from the start, and each request earns a fifth.
    assert!((105..=150).contains(&arrived), "{arrived} for 100 requests");
    assert_eq!(all(&off), 2, "without retries each is tried once");
}

/// Asks over both versions in turn until a condition holds; no request may fail.
async fn ask_until(web: &Web, host: &str, what: &str, condition: impl Fn() -> bool) {
    let begun = Instant::now();
    let mut asked = 0;
    while !condition() {
        let ask = web.get(host, "/").over(VERSIONS[asked % 2]);
        assert_eq!(ask.send().await.status, 200, "{host} until {what}");
        asked += 1;
        assert!(begun.elapsed().as_secs() < 60, "waited in vain until {what}");
    }
}
