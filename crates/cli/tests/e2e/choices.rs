//! Which target gets a request, in every way that a site file can name, through the real program over
//! HTTP/1.1 and HTTP/2. Turns, weights and sticky cookies are in [`super::balance`].

use std::{collections::BTreeSet, sync::Arc};

use portway_testkit::backend::{Backend, Behaviour};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    support::{apply, eventually, log_line, manager, targets},
    web::{Ask, VERSIONS, Web},
};

#[tokio::test(flavor = "multi_thread")]
async fn the_less_busy_target_gets_the_request() {
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let least = Backend::several::<2>().await.unwrap();
    let drawn = Backend::several::<2>().await.unwrap();
    let text = format!(
        "sites:\n  least:\n    hosts: [least.localhost]\n    to: {{targets: {}, balance: \
         least_requests}}\n  drawn:\n    hosts: [drawn.localhost]\n    to: {{targets: {}, balance: \
         two_choices}}\n",
        targets(&least),
        targets(&drawn)
    );
    apply(&manager, &text).await;

    let [busy, idle] = Held::by_one_of(&web, "least.localhost", &least).await.ask(6).await;
    assert_eq!((busy, idle), (0, 12), "least requests: none goes to the busy one");

    // Now and then both draws are of the busy one; a quarter of the time, by chance.
    let [busy, idle] = Held::by_one_of(&web, "drawn.localhost", &drawn).await.ask(32).await;
    assert!(busy < idle, "two choices: {busy} for the busy one, {idle} for the idle one");
    assert_eq!(busy + idle, 64);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_keeps_its_target_and_only_those_of_a_lost_one_move() {
    type Keyed = for<'a> fn(Ask<'a>, u8) -> Ask<'a>;
    let ways: [(&str, Keyed); 3] = [
        ("address", |ask, user| ask.from([127, 0, 1, user])),
        ("cookie", |ask, user| ask.header("cookie", &format!("a=b; user={user}"))),
        ("header", |ask, user| ask.header("x-user", &user.to_string())),
    ];
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let three = Backend::several::<3>().await.unwrap();
    let all_three = targets(&three);
    let text = format!(
        "sites:\n  by-address:\n    hosts: [address.localhost]\n    to: {{targets: {all_three}, balance: \
         {{hash: client}}}}\n  by-cookie:\n    hosts: [cookie.localhost]\n    to: {{targets: \
         {all_three}, balance: {{hash: {{cookie: user}}}}}}\n  by-header:\n    hosts: \
         [header.localhost]\n    to: {{targets: {all_three}, balance: {{hash: {{header: X-User}}}}}}\n"
    );
    apply(&manager, &text).await;
    let target_of = async |ask: Ask<'_>| {
        let before = three.each_ref().map(Backend::requests);
        assert_eq!(ask.send().await.status, 200);
        let got = |at: &usize| three[*at].requests() > before[*at];
        (0..3).find(got).expect("one of them has it")
    };

    let mut last = Vec::new();
    for (way, keyed) in ways {
        let host = format!("{way}.localhost");
        last.clear();
        for user in 1..=16 {
            let first = target_of(keyed(web.get(&host, "/"), user)).await;
            for version in VERSIONS {
                let again = target_of(keyed(web.get(&host, "/x").over(version), user)).await;
                assert_eq!(again, first, "by {way}: user {user} over {version:?}");
            }
            last.push(first);
        }
        let used: BTreeSet<usize> = last.iter().copied().collect();
        assert!(used.len() > 1, "by {way}: not all users have the same target");
    }

    let (way, keyed) = ways[2];
    let gone = last[0];
    three[gone].die().await;
    for (user, before) in (1..=16).zip(&last) {
        let version = VERSIONS[usize::from(user % 2)];
        let host = format!("{way}.localhost");
        let now = target_of(keyed(web.get(&host, "/").over(version), user)).await;
        let moved = now != *before;
        assert_eq!(moved, *before == gone, "user {user} over {version:?} was with {before}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_are_split_by_weight_header_and_cookie() {
    const EACH: usize = 80;
    let manager = manager().await;
    let web = Web::of(&manager).await;
    let [stable, canary] = Backend::several::<2>().await.unwrap();
    let text = format!(
        "sites:\n  shop:\n    hosts: [shop.localhost]\n    split:\n    - {{weight: 4, to: {}}}\n    - \
         {{name: canary, weight: 1, by: [{{header: X-Canary, value: \"yes\"}}, {{cookie: canary}}], \
         to: {}}}\n",
        stable.address(),
        canary.address()
    );
    apply(&manager, &text).await;
    for version in VERSIONS {
        let mut kept = web.kept(version);
        for _ in 0..EACH {
            assert!(kept.get("shop.localhost").await.unwrap().is("ok"));
        }
        let [most, some] = [&stable, &canary].map(Backend::requests_since);
        assert_eq!(most + some, EACH);
        assert!(0 < some && some < most, "by weight over {version:?}: {some} of {EACH}");

        for (name, value) in [("x-canary", "yes"), ("cookie", "a=b; canary=1")] {
            for _ in 0..4 {
                let ask = web.get("shop.localhost", "/").over(version).header(name, value);
                assert_eq!(ask.send().await.status, 200);
            }
            let got = [&stable, &canary].map(Backend::requests_since);
            assert_eq!(got, [0, 4], "by {name} over {version:?}");
        }
    }
    log_line(&manager, "main.access.log", r#""side":"canary""#).await;
}

/// Two targets, of which one is busy with a request.
struct Held<'a> {
    web: &'a Web,
    host: &'static str,
    busy: &'a Backend,
    idle: &'a Backend,
    gate: Arc<Semaphore>,
    request: JoinSet<u16>,
}

impl<'a> Held<'a> {
    async fn by_one_of(web: &'a Web, host: &'static str, two: &'a [Backend; 2]) -> Self {
        let gate = Arc::new(Semaphore::new(0));
        for target in two {
            let gate = Some(Arc::clone(&gate));
            target.behave(Behaviour { gate, ..Behaviour::default() });
        }
        let mut request = JoinSet::new();
        let client = web.clone();
        request.spawn(async move { client.get(host, "/").send().await.status });
        let [one, other] = two;
        let [busy, idle] =
            eventually("a target to be busy", async || match (one.requests(), other.requests()) {
                (1, 0) => Some([one, other]),
                (0, 1) => Some([other, one]),
                _ => None,
            })
            .await;
        for target in two {
            target.behave(Behaviour::default());
            target.requests_since();
        }
        Self { web, host, busy, idle, gate, request }
    }

    /// Asks so often over each version, and returns what the busy and the idle target got of it.
    async fn ask(mut self, each: usize) -> [usize; 2] {
        for version in VERSIONS {
            let mut kept = self.web.kept(version);
            for _ in 0..each {
                assert!(kept.get(self.host).await.unwrap().is("ok"), "over {version:?}");
            }
        }
        self.gate.add_permits(1);
        assert_eq!(self.request.join_next().await.unwrap().unwrap(), 200);
        [self.busy, self.idle].map(Backend::requests_since)
    }
}
