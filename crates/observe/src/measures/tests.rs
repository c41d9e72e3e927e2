//! From two samples to numbers, and what is unknown with its reason.

use std::collections::BTreeMap;

use portway_engine::Counts;

use super::*;
use crate::sample::{Memory, Traffic};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_781_524_800 + seconds).unwrap()
}

fn sample(seconds: i64) -> Sample {
    let grown = u64::try_from(seconds).unwrap();
    Sample {
        at: at(seconds),
        cpu: Ok(Cpu { busy: 1000 + grown * 50, total: 9000 + grown * 200 }),
        load: Ok([0.5, 0.25, 0.125]),
        memory: Ok(Memory { total: 4096, available: 1024 }),
        disks: BTreeMap::new(),
        network: Ok(Traffic { received: 10_000 * grown, sent: 500 * grown }),
        uptime: Ok(77.5),
        clock: Ok(0.0),
        service: Err("hidden".to_owned()),
        counts: Counts { connections: Ok(3), requests: Ok(100 + grown * 7) },
        answer: Err("silent".to_owned()),
        ports: Vec::new(),
        forbids_forwarding: false,
    }
}

fn certificate() -> Timestamp {
    at(3600)
}

#[test]
fn rates_need_two_readings() {
    let first = sample(0);
    let known = measures(None, None, &first, Ok(certificate()));
    assert_eq!(known[&Quantity::Load5].value(), Some(0.25));
    assert_eq!(known[&Quantity::Connections].value(), Some(3.0));
    assert_eq!(known[&Quantity::CertificateLeft].value(), Some(3600.0));
    for rate in [Quantity::CpuPercent, Quantity::RequestsRate, Quantity::NetworkSentRate] {
        assert_eq!(known[&rate].value(), None, "{rate}");
    }

    let next = measures(Some(&first), Some(&known), &sample(10), Ok(certificate()));

    for (quantity, wanted) in [
        (Quantity::CpuPercent, 25.0),
        (Quantity::RequestsRate, 7.0),
        (Quantity::NetworkReceivedRate, 10_000.0),
        (Quantity::NetworkSentRate, 500.0),
    ] {
        let value = next[&quantity].value().unwrap();
        assert!((value - wanted).abs() < 1e-9, "{quantity}: {value}");
    }
    assert_eq!(next.len(), Quantity::ALL.len(), "every quantity is told");
}

#[test]
fn a_counter_that_begins_anew_is_no_rate() {
    let first = sample(10);
    let known = measures(None, None, &first, Ok(certificate()));
    let mut next = sample(20);
    next.counts.requests = Ok(2);
    next.cpu = Ok(Cpu { busy: 1, total: 2 });
    let next = measures(Some(&first), Some(&known), &next, Ok(certificate()));
    assert_eq!(next[&Quantity::Requests].value(), Some(2.0));
    for quantity in [Quantity::RequestsRate, Quantity::CpuPercent] {
        let Measured::Unknown { unknown, .. } = &next[&quantity] else { panic!("{quantity}") };
        assert!(unknown.contains("anew"), "{unknown}");
    }
}

#[test]
fn what_is_unknown_is_so_since_it_was_last_known() {
    let first = sample(0);
    let known = measures(None, None, &first, Ok(certificate()));
    let away = unseen(Some(&known), "no route", at(15));
    let longer = unseen(Some(&away), "no answer", at(30));
    let load = Measured::Unknown { unknown: "no answer".to_owned(), since: at(15) };
    assert_eq!(longer[&Quantity::Load1], load);
    let service = Measured::Unknown { unknown: "no answer".to_owned(), since: at(0) };
    assert_eq!(longer[&Quantity::ServiceUp], service, "it was never known");
    let back = measures(Some(&first), Some(&longer), &sample(45), Ok(certificate()));
    assert_eq!(back[&Quantity::Load1].value(), Some(0.5));
}
