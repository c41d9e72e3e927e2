//! What objects say and do not say, and that older ones are still read.

use super::*;

fn tcp(address: &str) -> Target {
    Target::Tcp(address.parse().unwrap())
}

fn json(upstream: &Upstream) -> String {
    serde_json::to_string(upstream).unwrap()
}

/// What version 0.1 wrote for two targets.
const FIRST: &str = r#"{"targets":[{"tcp":"a:80"},{"unix":"/run/b.sock"}],"protocol":"http1","host":"preserve","timeouts":{"connect":60,"first_byte":60,"silence":60,"send":60},"max_in_flight":5}"#;

#[test]
fn an_upstream_without_newer_settings_has_the_bytes_it_always_had() {
    let upstream: Upstream = serde_json::from_str(FIRST).unwrap();
    assert_eq!(json(&upstream), FIRST);
    assert_eq!(upstream.of_first_format(), upstream);
}

#[test]
fn an_object_of_the_first_format_has_the_defaults() {
    let upstream: Upstream = serde_json::from_str(FIRST).unwrap();
    assert_eq!(upstream.eject, Some(Ejection::default()));
    assert_eq!(upstream.retries, Retries { attempts: 1, budget: 20 });
    assert_eq!(upstream.queue, Some(Queue::default()));
    assert_eq!(upstream.buffer, ByteSize(1_000_000));
    assert!(upstream.targets.iter().all(|target| target.weight == 1 && !target.backup));
}

#[test]
fn every_setting_survives() {
    let mut upstream =
        Upstream::new(vec![tcp("a:80").into(), tcp("b:80").into()], UpstreamProtocol::H2c);
    let [first, second] = &mut *upstream.targets else { panic!("two targets") };
    first.weight = 3;
    second.backup = true;
    upstream.balance = Balance::Hash(HashKey::Header("x-user".to_owned()));
    upstream.sticky = Some(Sticky { cookie: "s".to_owned(), ttl: Some(Seconds(60)) });
    upstream.health = Some(Health { port: Some(81), ..Health::http("/health") });
    upstream.eject = None;
    upstream.slow_start = Seconds(30);
    upstream.retries = Retries { attempts: 0, budget: 20 };
    upstream.max_in_flight_per_target = Some(4);
    upstream.buffer = ByteSize(7);
    upstream.pool.max_requests = Some(1000);
    upstream.proxy_protocol = Some(ProxyProtocol::V2);
    let key = ClientKey::Secret("credential-1".to_owned());
    upstream.client = Some(ClientCertificate { chain_pem: "PEM".to_owned(), key });
    let text = json(&upstream);
    assert!(text.contains(r#"{"tcp":"a:80","weight":3}"#), "{text}");
    assert!(text.contains(r#"{"tcp":"b:80","backup":true}"#), "{text}");
    assert!(text.contains(r#""eject":false"#), "{text}");
    assert_eq!(serde_json::from_str::<Upstream>(&text).unwrap(), upstream);
    assert_ne!(upstream.of_first_format(), upstream);
}

#[test]
fn a_queue_that_is_off_stays_off() {
    let mut upstream = Upstream::of(tcp("a:80"));
    upstream.max_in_flight = Some(1);
    assert_eq!(upstream.queue, None);
    assert_eq!(serde_json::from_str::<Upstream>(&json(&upstream)).unwrap(), upstream);
}

#[test]
fn a_range_of_statuses_is_read_as_it_is_written() {
    for text in ["200", "200-399", "500-599"] {
        assert_eq!(text.parse::<StatusRange>().unwrap().to_string(), text);
    }
    for text in ["", "2xx", "99", "600", "300-200", "200-", "-200", "+200", "0200"] {
        assert!(text.parse::<StatusRange>().is_err(), "{text}");
    }
    let range: StatusRange = "200-399".parse().unwrap();
    assert!(range.contains(200) && range.contains(399) && !range.contains(400));
}

#[test]
fn a_private_key_is_in_no_debug_output() {
    let key = ClientKey::Pem("secret".to_owned());
    assert_eq!(format!("{key:?}"), "Pem(…)");
}
