//! Restarts, kills, stops and reboots: what serves goes on serving.

use std::time::{Duration, Instant};

use crate::{bed::Bed, load::Load};

/// How long a service that was killed may be away. On a busy machine more than the second or so
/// that it takes on a quiet one.
const AWAY: Duration = Duration::from_secs(4);

#[test]
fn nothing_that_happens_to_the_manager_loses_a_request() {
    let test = "life::nothing_that_happens_to_the_manager_loses_a_request";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");
    let edge = bed.main_process("portway-edge");

    let load = Load::begin(&bed, "app.localhost");
    bed.sh("systemctl restart portway");
    bed.sh("portway status");
    load.go_on();
    let manager = bed.main_process("portway");
    bed.sh(&format!("kill -9 {manager}"));
    let away = bed.eventually("portway status");
    load.go_on();
    bed.sh("systemctl stop portway");
    load.go_on();
    bed.sh("systemctl start portway && portway status");
    let outcome = load.end();

    assert!(outcome.lost.is_empty(), "{:?}", outcome.lost);
    assert!(outcome.answered > 400, "{} requests were made", outcome.answered);
    assert!(away < AWAY, "a killed manager was away for {away:?}");
    assert_eq!(bed.main_process("portway-edge"), edge, "the same edge serves on");
}

#[test]
fn a_killed_edge_is_back_and_one_that_is_stopped_ends_what_it_began() {
    let test = "life::a_killed_edge_is_back_and_one_that_is_stopped_ends_what_it_began";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.sh("mkdir -p /srv/big && head -c 3000000 /dev/zero >/srv/big/file");
    let site = "sites: { big.localhost: { hosts: [big.localhost], files: /srv/big } }\n";
    bed.put("/srv/big.yaml", site);
    bed.sh("portway apply -f /srv/big.yaml");
    let ask = "curl -ksS --fail --max-time 2 -o /dev/null https://big.localhost/file";
    bed.sh(ask);

    let edge = bed.main_process("portway-edge");
    bed.sh(&format!("kill -9 {edge}"));
    let away = bed.eventually(ask);
    assert!(away < AWAY, "a killed edge was away for {away:?}");

    let slow = "curl -ksS --http1.1 --limit-rate 1500k -o /srv/got -w '%{size_download}' \
                https://big.localhost/file";
    let slow = bed.shell(slow).stdout(std::process::Stdio::piped()).spawn().unwrap();
    bed.eventually("[ -s /srv/got ]");
    let began = Instant::now();
    bed.sh("systemctl stop portway-edge");
    let took = began.elapsed();
    let got = slow.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&got.stdout), "3000000", "{:?}", got.status);
    assert!(took < Duration::from_secs(20), "to stop took {took:?}");
    assert_ne!(bed.try_sh(ask).code, 0, "one that was stopped stays so");
    assert_eq!(bed.try_sh("systemctl is-failed portway-edge").out.trim(), "inactive");

    bed.sh("systemctl start portway-edge");
    bed.sh(ask);
    bed.eventually("portway status");
}

#[test]
fn after_a_reboot_the_sites_are_there_before_the_manager() {
    let test = "life::after_a_reboot_the_sites_are_there_before_the_manager";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");

    bed.reboot();
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");
    bed.sh("portway status");
    let since = "systemctl show --property ActiveEnterTimestampMonotonic --value";
    let at =
        |service: &str| -> u64 { bed.sh(&format!("{since} {service}")).trim().parse().unwrap() };
    assert!(at("portway-edge") <= at("portway"), "the edge serves first");

    bed.sh("systemctl disable portway");
    bed.reboot();
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello", "it needs no manager");
    assert_eq!(bed.try_sh("systemctl is-active portway").out.trim(), "inactive");
    bed.sh("systemctl enable --now portway");
    bed.publish("app.localhost", "changed");
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "changed");
}
