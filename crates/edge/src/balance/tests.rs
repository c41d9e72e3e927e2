//! Upstreams as a whole: who gets which request, whatever happens to targets.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use portway_model::{
    Seconds,
    site::{
        Action, Balance, Ejection, HashKey, Health, Queue as QueueRule, Retries, Sticky, Upstream,
        UpstreamProtocol, WeightedTarget, check,
    },
};
use proptest::prelude::*;

use super::*;

/// An upstream with its states and a clock that is turned by hand.
struct Bed {
    balancer: Arc<Balancer>,
    states: States,
    now: Moment,
}

fn targets(count: u32) -> Vec<WeightedTarget> {
    let target = |n| format!("10.0.{}.{}:80", n / 256, n % 256);
    let tcp = |text: String| portway_model::site::Target::Tcp(text.parse().unwrap()).into();
    (0..count).map(target).map(tcp).collect()
}

fn upstream(count: u32) -> Upstream {
    Upstream::new(targets(count), UpstreamProtocol::Http1)
}

fn client(n: u32) -> IpAddr {
    IpAddr::from(n.to_be_bytes())
}

impl Bed {
    fn new(upstream: Upstream) -> Self {
        let states = States::default();
        let now = Moment::from_millis(1_000_000);
        let balancer = Self::balancer(upstream, &states, now);
        Self { balancer, states, now }
    }

    fn balancer(upstream: Upstream, states: &States, now: Moment) -> Arc<Balancer> {
        let key = StickyKey::new([3; 32]);
        Arc::new(Balancer::new(Arc::new(upstream), states, "/", &key, "blog", now))
    }

    /// Changes the site and keeps what is known.
    fn change(&mut self, upstream: Upstream) {
        self.balancer = Self::balancer(upstream, &self.states, self.now);
    }

    fn pass(&mut self, seconds: u64) {
        self.now = self.now.after(Duration::from_secs(seconds));
    }

    fn pick(&self) -> Pick {
        self.try_pick().unwrap()
    }

    fn try_pick(&self) -> Result<Pick, Refusal> {
        self.balancer.pick(self.now, &Facts::default(), &Tried::default())
    }

    /// Answers so many requests, one after the other, and counts who got them.
    fn serve(&self, requests: u32) -> BTreeMap<u32, u32> {
        let mut counts = BTreeMap::new();
        for _ in 0..requests {
            *counts.entry(self.pick().target().index()).or_default() += 1;
        }
        counts
    }

    fn check(&self, target: usize, good: bool) {
        self.balancer.targets()[target].checked(self.now, good, self.balancer.settings());
    }

    /// Lets every request to a target fail until it is out.
    fn fail(&self, target: usize) {
        for _ in 0..1_000 {
            if self.balancer.targets()[target].condition().is_ejected(self.now) {
                return;
            }
            let pick = self.pick();
            if pick.target().index() as usize == target {
                pick.failed(self.now, Failure::Connect);
            }
        }
        panic!("it is not out");
    }
}

fn checked(count: u32) -> Upstream {
    Upstream { health: Some(Health::http("/")), ..upstream(count) }
}

#[test]
fn targets_take_turns_by_weight() {
    let mut weighted = upstream(3);
    weighted.targets[0].weight = 3;
    let bed = Bed::new(weighted);
    assert_eq!(bed.serve(500), [(0, 300), (1, 100), (2, 100)].into());
}

#[test]
fn least_requests_goes_to_the_idlest_for_its_weight() {
    let mut least = upstream(3);
    least.balance = Balance::LeastRequests;
    least.targets[2].weight = 2;
    let bed = Bed::new(least);
    let held: Vec<Pick> = (0..8).map(|_| bed.pick()).collect();
    let in_flight: Vec<u32> = bed.balancer.targets().iter().map(|it| it.in_flight()).collect();
    assert_eq!(in_flight, [2, 2, 4]);
    drop(held);
    assert!(bed.balancer.targets().iter().all(|target| target.in_flight() == 0));
}

#[test]
fn two_choices_avoid_a_busy_target() {
    let bed = Bed::new(Upstream { balance: Balance::TwoChoices, ..upstream(4) });
    let mut held = Vec::new();
    while bed.balancer.targets()[0].in_flight() < 50 {
        let pick = bed.pick();
        if pick.target().index() == 0 {
            held.push(pick);
        }
    }
    // It is drawn against itself only.
    let busy = bed.serve(16_000).get(&0).copied().unwrap_or_default();
    assert!(busy < 1_500, "{busy}");
}

#[test]
fn a_key_stays_with_its_target_and_only_those_of_a_dead_one_move() {
    let hash = Balance::Hash(HashKey::Client);
    let bed = Bed::new(Upstream { balance: hash, ..checked(5) });
    let owners = || -> Vec<u32> {
        let owner = |n| {
            let facts = bed.balancer.facts(client(n), &HeaderMap::new());
            bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap().target().index()
        };
        (0..2_000).map(owner).collect()
    };
    let before = owners();
    bed.check(2, false);
    let after = owners();
    let moved = before.iter().zip(&after).filter(|(before, after)| before != after);
    assert!(moved.clone().all(|(before, _)| *before == 2));
    assert!((250..550).contains(&moved.count()));
    bed.check(2, true);
    bed.check(2, true);
    assert_eq!(owners(), before);
}

#[test]
fn keys_come_from_headers_and_cookies() {
    let mut headers = HeaderMap::new();
    headers.insert("x-user", HeaderValue::from_static("ada"));
    headers.insert(header::COOKIE, HeaderValue::from_static("a=b; s=ada"));
    for key in [HashKey::Header("x-user".to_owned()), HashKey::Cookie("s".to_owned())] {
        let bed = Bed::new(Upstream { balance: Balance::Hash(key), ..upstream(5) });
        let facts = bed.balancer.facts(client(1), &headers);
        assert_eq!(facts, bed.balancer.facts(client(2), &headers));
        let pick = || bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap();
        let first = pick().target().index();
        assert!((0..20).all(|_| pick().target().index() == first));
        assert_eq!(bed.serve(5).len(), 5, "without a key they take turns");
    }
}

#[test]
fn a_backup_is_used_only_while_no_other_can_be() {
    let mut backed = checked(3);
    backed.targets[2].backup = true;
    let bed = Bed::new(backed);
    assert_eq!(bed.serve(10), [(0, 5), (1, 5)].into());
    bed.check(0, false);
    assert_eq!(bed.serve(10), [(1, 10)].into());
    bed.check(1, false);
    assert_eq!(bed.serve(10), [(2, 10)].into());
    assert!(!bed.balancer.is_panicking());
    bed.check(0, true);
    bed.check(0, true);
    assert_eq!(bed.serve(10), [(0, 10)].into());
}

#[test]
fn when_more_than_half_would_be_out_all_are_used_and_it_is_said_once() {
    let bed = Bed::new(checked(4));
    bed.check(0, false);
    bed.check(1, false);
    assert_eq!(bed.serve(10), [(2, 5), (3, 5)].into(), "half is not more than half");
    bed.check(2, false);
    assert_eq!(bed.pick().notice(), Some(Notice::Panic));
    assert_eq!(bed.pick().notice(), None);
    assert_eq!(bed.serve(8), [(0, 2), (1, 2), (2, 2), (3, 2)].into());
    bed.check(2, true);
    bed.check(2, true);
    assert_eq!(bed.pick().notice(), Some(Notice::Recovered));
    assert_eq!(bed.serve(10), [(2, 5), (3, 5)].into());
}

#[test]
fn half_is_counted_by_weight() {
    let mut weighted = checked(3);
    weighted.targets[0].weight = 5;
    let bed = Bed::new(weighted);
    bed.check(1, false);
    bed.check(2, false);
    assert_eq!(bed.serve(4), [(0, 4)].into());
}

#[test]
fn a_target_that_fails_is_left_out_and_comes_back_by_itself() {
    let mut bed = Bed::new(upstream(3));
    bed.fail(1);
    assert_eq!(bed.serve(10), [(0, 5), (2, 5)].into());
    bed.pass(29);
    assert_eq!(bed.serve(10).get(&1), None);
    bed.pass(1);
    assert_eq!(bed.serve(9), [(0, 3), (1, 3), (2, 3)].into());
}

#[test]
fn answers_count_only_where_they_are_named() {
    let statuses = vec!["500-599".parse().unwrap()];
    let named = Ejection { failures: 1, statuses, ..Ejection::default() };
    let bed = Bed::new(Upstream { eject: Some(named), ..upstream(2) });
    assert_eq!(bed.pick().answered(|| bed.now, 404), None);
    assert!(matches!(bed.pick().answered(|| bed.now, 503), Some(Change::Ejected { .. })));
    let silent = Bed::new(upstream(2));
    assert!((0..100).all(|_| silent.pick().answered(|| silent.now, 503).is_none()));
    let off = Bed::new(Upstream { eject: None, ..upstream(2) });
    assert!((0..100).all(|_| off.pick().failed(off.now, Failure::Timeout).is_none()));
}

#[test]
fn a_target_that_came_back_gets_its_share_little_by_little() {
    let mut bed = Bed::new(Upstream { slow_start: Seconds(100), ..checked(2) });
    bed.check(0, false);
    bed.check(0, true);
    bed.check(0, true);
    let mut shares = Vec::new();
    for _ in 0..11 {
        shares.push(bed.serve(1_100).get(&0).copied().unwrap_or_default());
        bed.pass(10);
    }
    assert!(shares.is_sorted(), "{shares:?}");
    assert_eq!((shares[0], shares[9], shares[10]), (100, 550, 550));
}

#[test]
fn a_request_is_tried_with_another_target_each_time_and_then_with_the_reserve() {
    let mut backed = upstream(3);
    backed.targets[2].backup = true;
    backed.retries = Retries { attempts: 3, budget: 100 };
    let bed = Bed::new(backed);
    let mut tried = Tried::default();
    let mut order = Vec::new();
    loop {
        let pick = bed.balancer.pick(bed.now, &Facts::default(), &tried).unwrap();
        order.push(pick.target().index());
        tried.add(&pick);
        if !bed.balancer.may_retry(bed.now, &tried) {
            break;
        }
    }
    order.truncate(3);
    assert!(order == [0, 1, 2] || order == [1, 0, 2], "{order:?}");
    assert!(!bed.balancer.may_retry(bed.now, &Tried::default()), "there was no attempt yet");
}

#[test]
fn retries_can_be_off_and_have_a_budget() {
    let off = Upstream { retries: Retries { attempts: 0, budget: 20 }, ..upstream(3) };
    let tried = |bed: &Bed| {
        let mut tried = Tried::default();
        tried.add(&bed.pick());
        bed.balancer.may_retry(bed.now, &tried)
    };
    assert!(!tried(&Bed::new(off)));
    let bed = Bed::new(upstream(3));
    let retries = (0..1_000).filter(|_| tried(&bed)).count();
    assert_eq!(retries, 10 + 200);
}

#[test]
fn no_target_gets_more_than_it_may_and_the_upstream_neither() {
    let per_target = Upstream { max_in_flight_per_target: Some(2), ..upstream(3) };
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices] {
        let bed = Bed::new(Upstream { balance, ..per_target.clone() });
        let held: Vec<Pick> = (0..6).map(|_| bed.pick()).collect();
        assert_eq!(bed.try_pick().unwrap_err(), Refusal::Full);
        assert!(bed.balancer.targets().iter().all(|target| target.in_flight() == 2));
        drop(held);
        bed.pick();
    }
    let whole = Bed::new(Upstream { max_in_flight: Some(4), ..upstream(3) });
    let held: Vec<Pick> = (0..4).map(|_| whole.pick()).collect();
    assert_eq!(whole.try_pick().unwrap_err(), Refusal::Full);
    drop(held);
    whole.pick();
}

#[test]
fn who_comes_later_does_not_get_in_before_those_that_wait() {
    let queue = Some(QueueRule { length: 1, timeout: Seconds(5) });
    let bed = Bed::new(Upstream { max_in_flight: Some(1), queue, ..upstream(1) });
    let held = bed.pick();
    assert_eq!(bed.try_pick().unwrap_err(), Refusal::Full);
    let ticket = bed.balancer.wait(bed.now).unwrap();
    assert!(bed.balancer.wait(bed.now).is_err(), "the queue is bounded");
    drop(held);
    assert_eq!(bed.try_pick().unwrap_err(), Refusal::Full, "another one waits");
    let served =
        bed.balancer.pick_in_turn(&ticket, bed.now, &Facts::default(), &Tried::default()).unwrap();
    drop((ticket, served));
    bed.pick();
    assert_eq!(bed.balancer.waiting(), 0);
}

#[tokio::test]
async fn a_place_that_becomes_free_wakes_the_first_in_line() {
    let queue = Some(QueueRule { length: 9, timeout: Seconds(5) });
    let bed = Bed::new(Upstream { max_in_flight: Some(2), queue, ..upstream(1) });
    let (bed, order) = (Arc::new(bed), Arc::new(std::sync::Mutex::new(Vec::new())));
    let held = [bed.pick(), bed.pick()];
    let mut waiting = tokio::task::JoinSet::new();
    for number in 0..9 {
        let ticket = bed.balancer.wait(bed.now).unwrap();
        let (bed, order) = (Arc::clone(&bed), Arc::clone(&order));
        waiting.spawn(async move {
            loop {
                ticket.turn().await;
                let facts = Facts::default();
                if let Ok(pick) =
                    bed.balancer.pick_in_turn(&ticket, bed.now, &facts, &Tried::default())
                {
                    drop(ticket);
                    order.lock().unwrap().push(number);
                    tokio::task::yield_now().await;
                    drop(pick);
                    return;
                }
            }
        });
    }
    tokio::task::yield_now().await;
    assert!(order.lock().unwrap().is_empty());
    drop(held);
    let all = async { while waiting.join_next().await.is_some() {} };
    tokio::time::timeout(Duration::from_secs(10), all).await.unwrap();
    assert_eq!(*order.lock().unwrap(), (0..9).collect::<Vec<_>>());
    assert_eq!(bed.balancer.targets()[0].in_flight(), 0);
}

#[test]
fn a_client_stays_with_its_target_while_that_can_be_used() {
    let sticky = Some(Sticky { cookie: "t".to_owned(), ttl: None });
    let bed = Bed::new(Upstream { sticky, ..checked(3) });
    let none = HeaderMap::new();
    let facts = bed.balancer.facts(client(1), &none);
    let pick = bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap();
    let own = pick.target().index();
    let cookie = bed.balancer.set_cookie(pick.target().index(), &facts, "/", true).unwrap();
    let mut headers = HeaderMap::new();
    let pair = cookie.split_once(';').unwrap().0;
    headers.insert(header::COOKIE, HeaderValue::from_str(pair).unwrap());
    let facts = bed.balancer.facts(client(1), &headers);
    for _ in 0..20 {
        let pick = bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap();
        assert_eq!(pick.target().index(), own);
        assert_eq!(bed.balancer.set_cookie(pick.target().index(), &facts, "/", true), None);
    }
    bed.check(own as usize, false);
    let other = bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap();
    assert_ne!(other.target().index(), own);
    assert!(bed.balancer.set_cookie(other.target().index(), &facts, "/", true).is_some());
}

#[test]
fn what_is_known_survives_a_change_of_the_site() {
    let mut bed = Bed::new(checked(3));
    bed.check(0, false);
    let held = bed.pick();
    let busy = held.target().index() as usize;
    let mut changed = checked(4);
    changed.timeouts.connect = Seconds(1);
    changed.targets.reverse();
    bed.change(changed);
    assert!(!bed.balancer.targets()[3].condition().is_well(bed.now));
    assert_eq!(bed.balancer.targets()[3 - busy].in_flight(), 1);
    drop(held);
    assert_eq!(bed.balancer.targets()[3 - busy].in_flight(), 0);
}

#[test]
fn what_is_known_survives_while_nobody_asks() {
    let bed = Bed::new(checked(3));
    bed.check(0, false);
    let Bed { balancer, states, now } = bed;
    drop(balancer);
    let balancer = Bed::balancer(checked(2), &states, now);
    states.forget_unused();
    assert!(!balancer.targets()[0].condition().is_well(now));
    drop(balancer);
    states.forget_unused();
    let balancer = Bed::balancer(checked(2), &states, now);
    assert!(balancer.targets()[0].condition().is_well(now), "it is forgotten with its site");
}

#[tokio::test]
async fn a_place_that_another_upstream_of_the_site_gives_back_is_taken() {
    let queue = Some(QueueRule { length: 1, timeout: Seconds(5) });
    let limited = Upstream { max_in_flight_per_target: Some(1), queue, ..upstream(1) };
    let states = States::default();
    let now = Moment::from_millis(1_000_000);
    let key = StickyKey::new([3; 32]);
    let settings = Arc::new(limited);
    let make =
        |place| Arc::new(Balancer::new(Arc::clone(&settings), &states, place, &key, "", now));
    let (one, other) = (make("/"), make("/api"));
    let (facts, untried) = (Facts::default(), Tried::default());
    let held = one.pick(now, &facts, &untried).unwrap();
    assert_eq!(other.pick(now, &facts, &untried).unwrap_err(), Refusal::Full);
    let ticket = other.wait(now).unwrap();
    ticket.turn().await;
    assert!(other.pick_in_turn(&ticket, now, &facts, &untried).is_err());
    drop(held);
    tokio::time::timeout(Duration::from_secs(10), ticket.turn()).await.unwrap();
    other.pick_in_turn(&ticket, now, &facts, &untried).unwrap();
}

#[test]
fn who_is_not_reached_costs_no_attempt() {
    let bed = Bed::new(Upstream { retries: Retries { attempts: 1, budget: 0 }, ..upstream(5) });
    let mut tried = Tried::default();
    let mut seen = std::collections::BTreeSet::new();
    while tried.is_empty() || bed.balancer.may_go_on(&tried) {
        let pick = bed.balancer.pick(bed.now, &Facts::default(), &tried).unwrap();
        seen.insert(pick.target().index());
        tried.add_unreached(&pick);
    }
    assert_eq!(seen.len(), 5, "each was asked once");
    let mut tried = Tried::default();
    tried.add_unreached(&bed.pick());
    tried.add(&bed.pick());
    assert!(bed.balancer.may_retry(bed.now, &tried));
    tried.add(&bed.pick());
    assert!(!bed.balancer.may_retry(bed.now, &tried), "one attempt more, and no third");
}

#[test]
fn judged_by_other_rules_a_target_begins_anew() {
    let mut bed = Bed::new(checked(2));
    bed.check(0, false);
    bed.change(Upstream { health: Some(Health::http("/other")), ..checked(2) });
    assert!(bed.balancer.targets()[0].condition().is_well(bed.now));
}

#[test]
fn threads_share_places_exactly() {
    let bed = Bed::new(Upstream { max_in_flight_per_target: Some(3), ..upstream(2) });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..2_000 {
                    if let Ok(pick) = bed.try_pick() {
                        assert!(pick.target().in_flight() <= 3);
                    }
                }
            });
        }
    });
    assert!(bed.balancer.targets().iter().all(|target| target.in_flight() == 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happens: every request gets a target while there is a place, nobody that is out gets
    /// one unless too many are, and every place is given back.
    #[test]
    fn a_request_gets_a_usable_target_whatever_happens(
        count in 1_u32..6,
        way in 0_usize..4,
        events in proptest::collection::vec((0_u8..6, 0_u32..6, any::<bool>()), 0..120),
    ) {
        let ways = [
            Balance::RoundRobin,
            Balance::LeastRequests,
            Balance::TwoChoices,
            Balance::Hash(HashKey::Client),
        ];
        let mut settings = checked(count);
        settings.balance = ways[way].clone();
        settings.eject = Some(Ejection { failures: 2, ..Ejection::default() });
        settings.slow_start = Seconds(20);
        let mut bed = Bed::new(settings);
        let mut held = Vec::new();
        for (event, target, good) in events {
            let target = target % count;
            match event {
                0 => bed.check(target as usize, good),
                1 => bed.pass(u64::from(target) * 7),
                2 => { held.pop(); }
                _ => {
                    let facts = bed.balancer.facts(client(target), &HeaderMap::new());
                    let pick = bed.balancer.pick(bed.now, &facts, &Tried::default()).unwrap();
                    let well = bed.balancer.targets().iter()
                        .filter(|target| target.condition().is_well(bed.now)).count();
                    let is_well = pick.target().condition().is_well(bed.now);
                    prop_assert_eq!(bed.balancer.is_panicking(), 2 * well < count as usize);
                    prop_assert!(is_well || bed.balancer.is_panicking());
                    if !good {
                        pick.failed(bed.now, Failure::Invalid);
                    }
                    held.push(pick);
                }
            }
        }
        let in_flight: u32 = bed.balancer.targets().iter().map(|it| it.in_flight()).sum();
        prop_assert_eq!(in_flight as usize, held.len());
        drop(held);
        prop_assert!(bed.balancer.targets().iter().all(|it| it.in_flight() == 0));
    }
}

#[test]
fn a_declared_upstream_is_made_ready_as_it_is() {
    let spec = r#"{"hosts": ["a.example"], "to": {"targets": ["a:80", {"to": "b:80", "weight": 3}],
        "balance": "least_requests", "sticky": true, "health": "/health"}}"#;
    let spec = serde_json::from_str(spec).unwrap();
    let (site, _) = check(&"blog".parse().unwrap(), &spec);
    let mut routes = site.unwrap().routes;
    let Action::Proxy(upstream) = routes.remove(0).action else { panic!("a proxy") };
    let bed = Bed::new(upstream);
    assert_eq!(bed.serve(4).values().sum::<u32>(), 4);
    assert_eq!(bed.balancer.targets()[1].declared().weight, 3);
}

/// Run with `--run-ignored all --no-capture` and optimisation.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stderr, reason = "its result is read by people")]
fn a_pick_is_cheap() {
    let hash = Balance::Hash(HashKey::Client);
    for balance in [Balance::RoundRobin, Balance::LeastRequests, Balance::TwoChoices, hash] {
        for count in [1, 4, 100] {
            let bed = Bed::new(Upstream { balance: balance.clone(), ..checked(count) });
            let headers = HeaderMap::new();
            let rounds = 1_000_000;
            let begun = std::time::Instant::now();
            for n in 0..rounds {
                let facts = bed.balancer.facts(client(n), &headers);
                let pick = bed.balancer.pick(bed.now, &facts, &Tried::default());
                assert!(std::hint::black_box(pick).is_ok());
            }
            let nanos = begun.elapsed().as_nanos() / u128::from(rounds);
            eprintln!("{balance:?}, {count} targets: {nanos} ns");
        }
    }
}
