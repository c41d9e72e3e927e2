//! The program of the edge is replaced under a load, and its ports are opened by systemd.

use crate::{
    bed::{Bed, documented, shown_files},
    load::Load,
};

#[test]
fn a_reload_upgrades_the_edge_and_loses_no_request() {
    let test = "upgrade::a_reload_upgrades_the_edge_and_loses_no_request";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");
    let load = Load::begin(&bed, "app.localhost");
    let mut edge = bed.main_process("portway-edge");
    for _ in 0..3 {
        bed.sh("cp /usr/local/bin/portway /usr/local/bin/new && \
                mv /usr/local/bin/new /usr/local/bin/portway");
        bed.sh("systemctl reload portway-edge");
        let next = bed.main_process("portway-edge");
        assert_ne!(next, edge, "another process is the service");
        assert_eq!(bed.sh(&format!("ps -o user= -p {next}")).trim(), "portway-edge");
        assert_eq!(bed.sh("systemctl is-active portway-edge").trim(), "active");
        load.go_on();
        edge = next;
    }
    // As those who know nginx do it.
    bed.sh("systemctl kill --kill-who=main --signal=USR2 portway-edge");
    bed.eventually(&format!(
        "[ $(systemctl show --property MainPID --value portway-edge) != {edge} ]"
    ));
    load.go_on();
    let outcome = load.end();

    assert!(outcome.lost.is_empty(), "{:?}", outcome.lost);
    bed.publish("app.localhost", "changed");
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "changed");
    // It is watched like the first one.
    let edge = bed.main_process("portway-edge");
    bed.sh(&format!("kill -9 {edge}"));
    bed.eventually("[ \"$(curl -ksS --max-time 2 https://app.localhost/)\" = changed ]");
    assert_ne!(bed.main_process("portway-edge"), edge);
    bed.sh("systemctl stop portway-edge");
    assert_ne!(bed.try_sh("pgrep -u portway-edge").code, 0, "nothing of it is left");
}

#[test]
fn a_reload_that_fails_says_so_and_the_edge_serves_on() {
    let test = "upgrade::a_reload_that_fails_says_so_and_the_edge_serves_on";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");
    let edge = bed.main_process("portway-edge");
    bed.sh("systemd-run --quiet --unit squatter /opt/portway --data /srv/other serve \
            --http-port 8081 --https-port 8443 --api 127.0.0.1:8901");
    bed.eventually("curl -sS -o /dev/null http://hello.localhost:8081/");
    bed.sh("/opt/portway serve --install --http-port 8081 && systemctl daemon-reload");

    let failed = bed.try_sh("systemctl reload portway-edge");

    assert_ne!(failed.code, 0, "{failed:?}");
    assert_eq!(bed.main_process("portway-edge"), edge);
    assert_eq!(bed.sh("systemctl is-active portway-edge").trim(), "active");
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");
    let log = bed.sh("journalctl --no-pager --output cat --unit portway-edge");
    assert!(log.contains("another program listens there"), "{log}");
    bed.sh("systemctl stop squatter");
    bed.eventually("systemctl reload portway-edge");
    assert_ne!(bed.main_process("portway-edge"), edge);
    bed.sh("curl -sS -o /dev/null http://app.localhost:8081/");
}

#[test]
fn ports_that_systemd_opened_need_no_right_and_outlive_the_edge() {
    let test = "upgrade::ports_that_systemd_opened_need_no_right_and_outlive_the_edge";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.publish("app.localhost", "hello");
    let heading = "## Ports that systemd opens";
    for (path, content) in shown_files(heading) {
        bed.sh(&format!("mkdir -p $(dirname {path})"));
        bed.put(&path, content);
    }
    for command in documented(heading) {
        bed.sh(&command);
    }

    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");
    let edge = bed.main_process("portway-edge");
    let capabilities = bed.sh(&format!("grep CapEff /proc/{edge}/status"));
    assert!(capabilities.trim().ends_with("0000000000000000"), "{capabilities}");

    // Nobody is refused while it is restarted, and a reload loses nothing here, too.
    let load = Load::begin(&bed, "app.localhost");
    bed.sh("systemctl reload portway-edge");
    load.go_on();
    let outcome = load.end();
    assert!(outcome.lost.is_empty(), "{:?}", outcome.lost);
    let edge = bed.main_process("portway-edge");
    bed.sh(&format!("kill -9 {edge}"));
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");
}
