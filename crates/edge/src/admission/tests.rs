//! Limits as routes have them.

use portway_model::{Seconds, site};

use super::*;

const NOW: u64 = 1_000_000_000;

fn limit(requests: u32, by: CountedBy) -> RateLimit {
    RateLimit {
        rate: site::Rate { requests, period: Seconds(60) },
        burst: requests,
        by,
        exempt: Vec::new(),
        dry_run: false,
        headers: true,
        scope: LimitScope::Route,
    }
}

fn by_client() -> CountedBy {
    CountedBy::Client { ipv6_prefix: 64 }
}

fn compile(rates: &[RateLimit]) -> Admission {
    Admission::compile(rates, None, "/").unwrap().unwrap()
}

/// Tells which of many requests of a client come through.
fn come(admission: &Admission, tally: &Arc<Tally>, client: &str, times: usize) -> usize {
    let headers = HeaderMap::new();
    let asked = Asked { client: client.parse().unwrap(), headers: &headers, now: NOW };
    (0..times).filter(|_| admission.admit(tally, &asked).is_ok()).count()
}

#[test]
fn clients_are_counted_apart_and_ipv6_by_its_network() {
    let (admission, tally) = (compile(&[limit(3, by_client())]), Arc::default());
    assert_eq!(come(&admission, &tally, "192.0.2.1", 5), 3);
    assert_eq!(come(&admission, &tally, "192.0.2.2", 5), 3);
    assert_eq!(come(&admission, &tally, "2001:db8:1:2::1", 2), 2);
    assert_eq!(come(&admission, &tally, "2001:db8:1:2:ffff::9", 2), 1, "the same network");
    assert_eq!(come(&admission, &tally, "2001:db8:1:3::1", 2), 2, "another network");
}

#[test]
fn values_of_a_header_are_counted_apart_and_those_without_it_together() {
    let (admission, tally) =
        (compile(&[limit(2, CountedBy::Header("x-api-key".into()))]), Arc::default());
    let ask = |values: &[&'static str], client: &str| {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append("x-api-key", HeaderValue::from_static(value));
        }
        let asked = Asked { client: client.parse().unwrap(), headers: &headers, now: NOW };
        admission.admit(&tally, &asked).map(|_| ())
    };
    assert!(ask(&["a"], "192.0.2.1").is_ok() && ask(&["a"], "192.0.2.2").is_ok());
    let exceeded = ask(&["a"], "192.0.2.3").unwrap_err();
    assert!(!exceeded.reason.contains("`a`"), "keys are secrets: {}", exceeded.reason);
    assert!(ask(&["b"], "192.0.2.1").is_ok());
    assert!(ask(&["a", "b"], "192.0.2.1").is_ok(), "several values are one");
    assert!(ask(&[], "192.0.2.1").is_ok() && ask(&[], "192.0.2.2").is_ok());
    assert!(ask(&[], "192.0.2.3").is_err());
}

#[test]
fn a_request_that_one_limit_refuses_is_counted_by_none() {
    let (admission, tally) =
        (compile(&[limit(10, CountedBy::Site), limit(2, by_client())]), Arc::default());
    assert_eq!(come(&admission, &tally, "192.0.2.1", 9), 2);
    assert_eq!(come(&admission, &tally, "192.0.2.2", 9), 2);
    for last in 3..=5 {
        assert_eq!(come(&admission, &tally, &format!("192.0.2.{last}"), 9), 2);
    }
    assert_eq!(come(&admission, &tally, "192.0.2.9", 9), 0, "the site has had ten");
}

#[test]
fn what_is_exempt_is_not_counted_and_what_is_tried_out_is_only_told() {
    let mut exempt = limit(1, by_client());
    exempt.exempt = vec!["10.0.0.0/8".parse().unwrap()];
    let (admission, tally) = (compile(&[exempt]), Arc::default());
    assert_eq!(come(&admission, &tally, "10.1.2.3", 50), 50);

    let mut dry = limit(1, by_client());
    dry.dry_run = true;
    let admission = compile(&[dry]);
    let headers = HeaderMap::new();
    let asked = Asked { client: "192.0.2.1".parse().unwrap(), headers: &headers, now: NOW };
    assert_eq!(admission.admit(&tally, &asked).unwrap().tried, []);
    let admitted = admission.admit(&tally, &asked).unwrap();
    assert_eq!(admitted.tried, [(Kind::Rate, "client".to_owned())]);
    assert!(admitted.told.is_none());
}

#[test]
fn a_limit_of_the_site_is_one_for_all_routes_and_one_of_a_route_its_own() {
    let tally = Arc::default();
    let at = |place: &str, scope| {
        let limit = RateLimit { scope, ..limit(3, by_client()) };
        Admission::compile(&[limit], None, place).unwrap().unwrap()
    };
    assert_eq!(come(&at("/a", LimitScope::Site), &tally, "192.0.2.1", 2), 2);
    assert_eq!(come(&at("/b", LimitScope::Site), &tally, "192.0.2.1", 2), 1);
    assert_eq!(come(&at("/a", LimitScope::Route), &tally, "192.0.2.1", 5), 3);
    assert_eq!(come(&at("/b", LimitScope::Route), &tally, "192.0.2.1", 5), 3);
    assert_eq!(come(&at("/b", LimitScope::Route), &tally, "192.0.2.1", 5), 0, "compiled anew");
}

#[test]
fn what_is_told_before_is_what_happens_and_counts_nothing() {
    let (admission, tally) = (compile(&[limit(1, by_client())]), Arc::default());
    let headers = HeaderMap::new();
    let asked = Asked { client: "192.0.2.1".parse().unwrap(), headers: &headers, now: NOW };
    for _ in 0..3 {
        let mut said = Vec::new();
        admission.foretell(&tally, &asked, |text| said.push(text)).unwrap();
        assert_eq!(said, ["limit client (1/min): 0 more at once after this one"]);
    }
    admission.admit(&tally, &asked).unwrap();
    let foretold = admission.foretell(&tally, &asked, |_| ()).unwrap_err();
    let exceeded = admission.admit(&tally, &asked).unwrap_err();
    assert_eq!(foretold.reason, exceeded.reason);
    assert_eq!(exceeded.retry_after, 60);
    assert_eq!(exceeded.reason, "more than 1/min by 192.0.2.1");
}

#[test]
fn requests_at_the_same_time_are_counted_until_they_end() {
    let limit = ConnectionLimit {
        most: 2,
        by: by_client(),
        exempt: Vec::new(),
        dry_run: false,
        scope: LimitScope::Site,
    };
    let admission = Admission::compile(&[], Some(&limit), "/").unwrap().unwrap();
    let (tally, headers) = (Arc::default(), HeaderMap::new());
    let asked = Asked { client: "192.0.2.1".parse().unwrap(), headers: &headers, now: NOW };
    let held: Vec<_> = (0..2).map(|_| admission.admit(&tally, &asked).unwrap()).collect();
    assert_eq!(admission.admit(&tally, &asked).unwrap_err().kind, Kind::Connections);
    assert!(admission.foretell(&tally, &asked, |_| ()).is_err());
    drop(held);
    assert!(admission.admit(&tally, &asked).is_ok());
}
