//! More requests than targets take, through the real program over HTTP/1.1 and HTTP/2: places, the
//! queue before them, and its end.

use std::{sync::Arc, time::Duration};

use portway_testkit::backend::{Backend, Behaviour};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    support::{apply, eventually, manager, targets},
    web::{Answer, VERSIONS, Web},
};

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_there_are_places_wait_or_are_sent_away() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [full, late, none] = Backend::several::<3>().await.unwrap();
    let workers = Backend::several::<2>().await.unwrap();
    let text = format!(
        "sites:\n  full:\n    hosts: [full.localhost]\n    to: {{targets: [{}], max_in_flight: 1, \
         queue: {{length: 1, timeout: 30s}}}}\n  late:\n    hosts: [late.localhost]\n    to: \
         {{targets: [{}], max_in_flight: 1, queue: {{length: 5, timeout: 1s}}}}\n  none:\n    hosts: \
         [none.localhost]\n    to: {{targets: [{}], max_in_flight: 1, queue: false}}\n  \
         workers:\n    hosts: [workers.localhost]\n    to: {{targets: {}, \
         max_in_flight_per_target: 2, queue: {{length: 20, timeout: 30s}}}}\n",
        full.address(),
        late.address(),
        none.address(),
        targets(&workers)
    );
    apply(&manager, &text).await;
    let gate = Arc::new(Semaphore::new(0));
    for target in [&full, &late, &none] {
        let gate = Some(Arc::clone(&gate));
        target.behave(Behaviour { gate, ..Behaviour::default() });
    }
    for target in &workers {
        target.behave(Behaviour { thinks: Duration::from_millis(20), ..Behaviour::default() });
    }
    let ask = |asked: &mut JoinSet<Answer>, host: &'static str, version, count: usize| {
        for _ in 0..count {
            let web = web.clone();
            asked.spawn(async move { web.get(host, "/").over(version).send().await });
        }
    };

    for version in VERSIONS {
        // Of three one is at the target and one waits, whichever came first.
        let mut asked = JoinSet::new();
        ask(&mut asked, "full.localhost", version, 3);
        is_sent_away(&asked.join_next().await.unwrap().unwrap(), "a full queue");
        gate.add_permits(2);
        for answer in asked.join_all().await {
            assert_eq!(answer.status, 200, "who waited is served over {version:?}");
        }
        assert_eq!(full.most(), 1, "one at a time over {version:?}");

        for (target, host, least) in [(&late, "late.localhost", 900), (&none, "none.localhost", 0)]
        {
            let mut asked = JoinSet::new();
            target.requests_since();
            ask(&mut asked, host, version, 1);
            eventually("the first one", async || (target.requests() == 1).then_some(())).await;
            let begun = Instant::now();
            is_sent_away(&web.get(host, "/").over(version).send().await, host);
            let waited = begun.elapsed();
            assert!(waited >= Duration::from_millis(least), "{host}, {version:?}: {waited:?}");
            gate.add_permits(1);
            assert_eq!(asked.join_next().await.unwrap().unwrap().status, 200, "{host}");
        }

        let mut asked = JoinSet::new();
        ask(&mut asked, "workers.localhost", version, 10);
        for answer in asked.join_all().await {
            assert_eq!(answer.status, 200, "workers over {version:?}");
        }
        let most = workers.each_ref().map(Backend::most);
        assert!(most.iter().all(|most| *most <= 2), "{most:?} at once over {version:?}");
    }
}

fn is_sent_away(answer: &Answer, what: &str) {
    assert_eq!(answer.status, 503, "{what}");
    assert!(answer.header("retry-after").parse::<u32>().is_ok(), "{what}: {:?}", answer.headers);
}
