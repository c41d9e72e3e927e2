//! What `serve --install` makes, who may use it, and how it goes away again.

use crate::bed::{Bed, documented};

/// The services, with the set of their capabilities (0x400 is `CAP_NET_BIND_SERVICE`) and the
/// exposure that `docs/security.md` states, as systemd rates it.
const SERVICES: [(&str, u64, f64); 2] = [("portway-edge", 0x400, 1.7), ("portway", 0, 1.4)];

#[test]
fn both_services_run_as_users_of_their_own_with_no_more_rights_than_they_need() {
    let test =
        "install::both_services_run_as_users_of_their_own_with_no_more_rights_than_they_need";
    let Some(bed) = Bed::with_portway(test) else { return };
    for (service, capabilities, exposure) in SERVICES {
        assert_eq!(bed.sh(&format!("systemctl is-active {service}")).trim(), "active");
        let process = bed.main_process(service);
        assert_eq!(bed.sh(&format!("ps -o user= -p {process}")).trim(), service);
        let status = bed.sh(&format!("cat /proc/{process}/status"));
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
            line.unwrap().trim().to_owned()
        };
        for set in ["CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            let value = u64::from_str_radix(&field(set), 16).unwrap();
            assert_eq!(value, capabilities, "{set} of {service}");
        }
        assert_eq!((field("NoNewPrivs"), field("Seccomp")), ("1".into(), "2".into()), "{service}");
        let judged = bed.sh(&format!("systemd-analyze security --no-pager {service}.service"));
        let level = judged.lines().find(|line| line.contains("Overall exposure level")).unwrap();
        let score: f64 =
            level.split(": ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!(score <= exposure, "{level}");
    }
}

#[test]
fn neither_service_reaches_what_is_not_its_own() {
    let test = "install::neither_service_reaches_what_is_not_its_own";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.sh("mkdir -p /home/ann /etc/portway && echo private >/home/ann/letter");
    let sees = |service: &str, line: &str| {
        let process = bed.main_process(service);
        // As root: what is out of sight is so for everyone in there.
        bed.try_sh(&format!("nsenter --target {process} --mount -- sh -c '{line}'")).code == 0
    };
    assert!(!sees("portway-edge", "ls /var/lib/portway/portway.db"), "the store");
    assert!(!sees("portway-edge", "ls /var/lib/portway/master.key"), "the master key");
    assert!(!sees("portway-edge", "ls /var/lib/portway/portway.sock"), "the local socket");
    assert!(sees("portway-edge", "cat /home/ann/letter"), "sites can be in home folders");
    assert!(!sees("portway-edge", "touch /home/ann/letter"));
    assert!(!sees("portway", "cat /home/ann/letter"));
    for service in ["portway", "portway-edge"] {
        for path in ["/etc/x", "/usr/local/bin/portway", "/opt/x", "/var/lib/x"] {
            assert!(!sees(service, &format!("touch {path}")), "{service} writes {path}");
        }
    }
    // And by their users' rights alone, were the walls to fall.
    for (user, path) in [
        ("portway-edge", "/var/lib/portway/portway.db"),
        ("portway-edge", "/var/lib/portway/master.key"),
        ("portway", "/var/lib/portway-edge/state"),
    ] {
        let ran = bed.try_sh(&format!("runuser -u {user} -- cat {path}"));
        assert!(ran.err.contains("Permission denied"), "{user}, {path}: {}", ran.err);
    }
    let modes = bed.sh("stat -c '%a %U' /var/lib/portway/master.key /var/lib/portway/portway.db");
    assert_eq!(modes, "600 portway\n600 portway\n");
}

#[test]
fn the_link_in_the_journal_makes_the_administrator_and_both_logs_are_there() {
    let test = "install::the_link_in_the_journal_makes_the_administrator_and_both_logs_are_there";
    let Some(bed) = Bed::with_portway(test) else { return };
    let log = bed.sh("journalctl --no-pager --output cat --unit portway");
    let link = "http://localhost:8900/setup?token=";
    let token = log.split(link).nth(1).unwrap().split_whitespace().next().unwrap();
    let body =
        format!(r#"{{"token":"{token}","name":"ann","password":"seven herons over the quay"}}"#);
    bed.put("/srv/setup.json", body);
    let ask = "curl -sS --fail -H 'content-type: application/json' --data @/srv/setup.json";
    bed.sh(&format!("{ask} http://localhost:8900/api/v1/setup"));
    assert!(bed.sh("portway user list").contains("ann"));
    assert!(bed.sh("portway status").starts_with("Portway"));
    let edge = bed.sh("journalctl --no-pager --output cat --unit portway-edge");
    assert!(edge.contains("the edge serves"), "{edge}");
    for log in [log, edge] {
        assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    }
}

#[test]
fn root_and_members_of_the_group_change_sites_and_nobody_else_does() {
    let test = "install::root_and_members_of_the_group_change_sites_and_nobody_else_does";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.sh("useradd --create-home ann && useradd --create-home eve");
    bed.sh(&documented("the group `portway` are administrators on the local socket:")[0]);
    bed.sh("mkdir -p /srv/app && echo from-a-file >/srv/app/index.html");

    bed.publish("root.localhost", "by-root");
    let site = "sites: { ann.localhost: { hosts: [ann.localhost], files: /srv/app } }";
    bed.sh_as("ann", &format!("echo '{site}' >~/site.yaml && portway apply -f ~/site.yaml"));
    let refused = bed.try_sh_as("eve", "portway site list");

    assert_eq!(bed.sh("curl -ksS https://root.localhost/"), "by-root");
    assert_eq!(bed.sh("curl -ksS https://ann.localhost/"), "from-a-file\n");
    let plain =
        bed.sh("curl -sS -o /dev/null -w '%{http_code} %{redirect_url}' http://ann.localhost/");
    assert_eq!(plain, "301 https://ann.localhost/");
    assert_eq!(refused.code, 5, "{refused:?}");
    assert!(refused.err.contains("/var/lib/portway/portway.sock"), "{}", refused.err);
    let logs = bed.sh_as("ann", "portway logs ann.localhost");
    assert!(logs.contains("GET"), "{logs}");
}

#[test]
fn a_second_installation_changes_only_what_differs_and_removal_leaves_nothing() {
    let test =
        "install::a_second_installation_changes_only_what_differs_and_removal_leaves_nothing";
    let Some(bed) = Bed::with_portway(test) else { return };
    let files = "stat -c '%n %i %Y' /usr/local/bin/portway /etc/systemd/system/portway*.service \
                 /etc/sysusers.d/portway.conf";
    let before = bed.sh(files);
    let said = bed.sh("/opt/portway serve --install");
    assert!(said.contains("Nothing has changed."), "{said}");
    assert_eq!(bed.sh(files), before);

    let said = bed.sh("/opt/portway serve --install --http-port 8081");
    assert!(said.contains("systemctl reload portway-edge.service"), "{said}");
    assert!(!said.contains("enable") && !said.contains("systemd-sysusers"), "{said}");
    bed.sh("systemctl daemon-reload && systemctl restart portway.service");
    bed.sh("systemctl reload portway-edge.service");
    bed.sh("curl -sS -o /dev/null http://hello.localhost:8081/");
    let said = bed.sh("/opt/portway serve --install");
    assert!(said.contains("Nothing has changed."), "the port of before holds: {said}");
    let elsewhere = bed.try_sh("/opt/portway --data /srv/portway serve --install");
    assert_eq!(elsewhere.code, 2, "{elsewhere:?}");

    for command in documented("### Remove it") {
        bed.sh(&command);
    }
    let left = bed.sh("find /etc /var /usr/local /run -xdev -name '*portway*'");
    assert_eq!(left, "");
    assert_eq!(bed.try_sh("grep portway /etc/passwd /etc/group").out, "");
    let units = bed.sh("systemctl list-units --all --no-legend 'portway*'");
    assert_eq!(units.trim(), "");
}

#[test]
fn a_service_that_cannot_start_says_so_where_it_is_started() {
    let test = "install::a_service_that_cannot_start_says_so_where_it_is_started";
    let Some(bed) = Bed::with_portway(test) else { return };
    bed.sh("systemctl stop portway-edge portway");
    bed.sh(
        "systemd-run --quiet --unit squatter /opt/portway --data /srv/other serve --http-port 80 \
            --https-port 8443 --api 127.0.0.1:8901",
    );
    bed.eventually("curl -sS -o /dev/null http://hello.localhost/");

    let failed = bed.try_sh("systemctl start portway-edge");

    assert_ne!(failed.code, 0, "port 80 is taken");
    let log = bed.sh("journalctl --no-pager --output cat --unit portway-edge");
    assert!(log.contains("80") && log.contains("Address already in use"), "{log}");
    bed.sh("systemctl stop squatter");
    bed.eventually("systemctl is-active portway-edge");
}
