//! What a reading makes of a node: well, not quite, or not at all, and when that is told.

use std::collections::BTreeMap;

use portway_engine::Counts;

use super::*;
use crate::{
    sample::{Cpu, Memory, Traffic},
    service::{Service, Told},
};

const RELEASE: &str = "0123456789abcdef";

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_781_524_800 + seconds).unwrap()
}

fn well() -> Sample {
    let disk = |free| Ok(Disk { total: 100 << 30, free });
    Sample {
        at: at(0),
        cpu: Ok(Cpu { busy: 1, total: 2 }),
        load: Ok([0.0; 3]),
        memory: Ok(Memory { total: 1000, available: 500 }),
        disks: BTreeMap::from([(Folder::Home, disk(50 << 30)), (Folder::Root, disk(50 << 30))]),
        network: Ok(Traffic { received: 1, sent: 1 }),
        uptime: Ok(1.0),
        clock: Ok(0.0),
        service: Ok(service(true)),
        counts: Counts::unknown("not asked"),
        answer: Ok(RELEASE.to_owned()),
        ports: vec![(80, Ok(())), (443, Ok(()))],
        forbids_forwarding: false,
    }
}

fn service(running: bool) -> Service {
    Service { running, since: None, told_by: Told::Systemd, state: "active (running)".to_owned() }
}

fn judge_with(
    sample: &Sample,
    release: Option<&str>,
    certificate: Option<Timestamp>,
) -> Vec<Judged> {
    let expected = Expected {
        engine: EngineKind::Nginx,
        release,
        certificate,
        thresholds: &Thresholds::default(),
    };
    judge(&expected, sample)
}

fn state(sample: &Sample) -> HealthState {
    state_of(&judge_with(sample, Some(RELEASE), Some(at(30 * 86_400))))
}

fn found(checks: &[Judged], check: Check) -> &Judged {
    checks.iter().find(|judged| judged.check == check).unwrap()
}

#[test]
fn a_node_that_serves_what_it_should_is_well() {
    assert_eq!(state(&well()), HealthState::Healthy);
    let unseen = Sample { memory: Err("hidden".to_owned()), ..well() };
    assert_eq!(state(&unseen), HealthState::Healthy, "what cannot be seen alarms nobody");
}

#[test]
fn a_node_that_does_not_serve_is_down() {
    let stopped = Sample { service: Ok(service(false)), ..well() };
    let silent = Sample { answer: Err("connection refused".to_owned()), ..well() };
    let closed = Sample { ports: vec![(80, Ok(())), (443, Err("refused".to_owned()))], ..well() };
    for sample in [stopped, silent, closed] {
        assert_eq!(state(&sample), HealthState::Down, "{sample:?}");
    }
    let checks = judge_with(&well(), Some(RELEASE), Some(at(-1)));
    assert_eq!(state_of(&checks), HealthState::Down, "a certificate has ended");
}

#[test]
fn what_deserves_attention_degrades_and_has_a_remedy() {
    let full = Sample {
        disks: BTreeMap::from([(Folder::Logs, Ok(Disk { total: 1000, free: 99 }))]),
        ..well()
    };
    let used = Sample { memory: Ok(Memory { total: 1000, available: 49 }), ..well() };
    let late = Sample { clock: Ok(-31.0), ..well() };
    let drifted = Sample { answer: Ok("fedcba".to_owned()), ..well() };
    let cases =
        [(full, Check::Disk), (used, Check::Memory), (late, Check::Clock), (drifted, Check::Probe)];
    for (sample, check) in cases {
        let checks = judge_with(&sample, Some(RELEASE), None);
        assert_eq!(state_of(&checks), HealthState::Degraded, "{check:?}");
        let judged = found(&checks, check);
        assert!(judged.verdict == Verdict::Warning && judged.remedy.is_some(), "{judged:?}");
    }
    let checks = judge_with(&well(), Some(RELEASE), Some(at(6 * 86_400)));
    assert_eq!(found(&checks, Check::Certificate).verdict, Verdict::Warning);
}

#[test]
fn a_node_that_was_given_nothing_is_not_asked_for_it() {
    let fresh = Sample {
        answer: Err("connection refused".to_owned()),
        ports: vec![(80, Err("connection refused".to_owned()))],
        ..well()
    };
    assert_eq!(state_of(&judge_with(&fresh, None, None)), HealthState::Healthy);
}

#[test]
fn a_machine_that_forwards_nothing_is_not_taken_for_one_that_is_down() {
    let blind = Sample {
        answer: Err("forbidden".to_owned()),
        ports: vec![(80, Err("forbidden".to_owned()))],
        forbids_forwarding: true,
        ..well()
    };
    let checks = judge_with(&blind, Some(RELEASE), None);
    assert_eq!(state_of(&checks), HealthState::Healthy);
    assert!(found(&checks, Check::Probe).remedy.as_ref().unwrap().contains("AllowTcpForwarding"));
}

#[test]
fn a_state_changes_when_readings_agree_and_one_lost_reading_changes_nothing() {
    let fine = || judge_with(&well(), Some(RELEASE), None);
    let lost = || judge_unseen("no answer", None);
    let down =
        || judge_with(&Sample { service: Ok(service(false)), ..well() }, Some(RELEASE), None);
    let first = Health::after(None, fine(), 2, at(0));
    assert_eq!((first.state, first.since), (HealthState::Healthy, at(0)));

    let one_lost = Health::after(Some(&first), lost(), 2, at(15));
    assert_eq!((one_lost.state, one_lost.since), (HealthState::Healthy, at(0)));
    assert_eq!(one_lost.checks, lost(), "what was seen is told at once");
    let back = Health::after(Some(&one_lost), fine(), 2, at(30));
    assert_eq!((back.state, back.pending), (HealthState::Healthy, None));

    let once = Health::after(Some(&back), down(), 2, at(45));
    let other = Health::after(Some(&once), lost(), 2, at(60));
    assert_eq!(other.state, HealthState::Healthy, "they do not agree");
    let again = Health::after(Some(&other), lost(), 2, at(75));
    assert_eq!((again.state, again.since), (HealthState::Unknown, at(75)));
    let at_once = Health::after(Some(&again), fine(), 1, at(90));
    assert_eq!(at_once.state, HealthState::Healthy);
}
