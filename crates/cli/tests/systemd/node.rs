//! A machine that becomes a node by SSH: the program comes to it, is upgraded, and leaves it.

use crate::{bed::Bed, load::Load};

/// A manager that is no service of the machine, so that the machine can be a node.
pub(crate) const PORTWAY: &str = "/opt/portway --data /srv/manager";

#[test]
fn an_edge_is_installed_over_ssh_upgraded_under_load_and_removed() {
    let test = "node::an_edge_is_installed_over_ssh_upgraded_under_load_and_removed";
    let Some(bed) = Bed::boot(test) else { return };
    start_ssh(&bed);
    start_manager(&bed, "/opt/portway");
    add(&bed, "deploy");

    // A user who may not do it is told the rule to the letter.
    let refused = bed.try_sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert_eq!(refused.code, 3, "{refused:?}");
    assert!(refused.err.contains("install -d -m 0711"), "{}", refused.err);
    bed.sh("install -d -m 0711 -o deploy /var/lib/portway");
    permit(&bed);
    let plan = bed.sh(&format!("{PORTWAY} node install vm-1 --dry-run"));
    assert!(plan.contains("edge --install --http-port 80"), "{plan}");
    assert_eq!(bed.try_sh("test -e /usr/local/bin/portway").code, 1, "nothing was done");

    let done = bed.sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert!(done.contains("add deploy to the group portway-edge"), "{done}");
    bed.put("/srv/site.yaml", site("hello"));
    bed.sh(&format!("{PORTWAY} apply -f /srv/site.yaml"));
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "hello");
    let edge = bed.main_process("portway-edge");
    assert_eq!(bed.sh(&format!("ps -o user= -p {edge}")).trim(), "portway-edge");
    assert_ne!(bed.try_sh_as("nobody", "test -x /run/portway-edge").code, 0);

    // The same again changes nothing.
    let again = bed.sh(&format!("{PORTWAY} node install vm-1 --yes"));
    assert!(again.contains("is installed here"), "{again}");
    assert_eq!(bed.main_process("portway-edge"), edge);

    // A manager of another program brings that program, and no request is lost.
    bed.sh("cp /opt/portway /opt/other && printf x >>/opt/other");
    bed.sh("systemctl stop manager && systemctl reset-failed manager || true");
    start_manager(&bed, "/opt/other");
    let load = Load::begin(&bed, "app.localhost");
    permit(&bed);
    bed.sh(&format!("{PORTWAY} node install vm-1 --yes"));
    load.go_on();
    let outcome = load.end();
    assert!(outcome.lost.is_empty(), "{:?}", outcome.lost);
    assert_ne!(bed.main_process("portway-edge"), edge, "another process is the service");
    bed.sh("cmp /opt/other /usr/local/bin/portway");
    bed.put("/srv/site.yaml", site("changed"));
    bed.sh(&format!("{PORTWAY} apply -f /srv/site.yaml"));
    assert_eq!(bed.sh("curl -ksS https://app.localhost/"), "changed");

    // It starts and serves without the manager.
    bed.sh("systemctl stop manager && systemctl restart portway-edge");
    bed.eventually("[ \"$(curl -ksS --max-time 2 https://app.localhost/)\" = changed ]");
    bed.sh("systemctl reset-failed manager || true");
    start_manager(&bed, "/opt/other");

    bed.put(
        "/etc/sudoers.d/portway",
        "deploy ALL=(root) NOPASSWD: /usr/bin/timeout -k 5 60 /usr/local/bin/portway edge --uninstall\n",
    );
    bed.sh(&format!("{PORTWAY} node remove vm-1 --clean --even-if-named --yes"));
    bed.eventually("[ ! -e /etc/systemd/system/portway-edge.service ]");
    bed.eventually("[ ! -e /usr/local/bin/portway ] && ! id portway-edge");
    assert_ne!(bed.try_sh("pgrep -u portway-edge").code, 0, "nothing of it runs");
    bed.eventually("[ -z \"$(ls /var/lib/portway/bin)\" ]");
}

#[test]
fn an_edge_that_cannot_be_upgraded_is_put_back_to_what_it_was() {
    let test = "node::an_edge_that_cannot_be_upgraded_is_put_back_to_what_it_was";
    let Some(bed) = Bed::boot(test) else { return };
    bed.sh("/opt/portway edge --install --http-port 81 --https-port 444");
    let edge = bed.main_process("portway-edge");
    bed.sh("systemd-run --quiet --unit squatter /opt/portway --data /srv/other serve \
            --http-port 8081 --https-port 8443 --api 127.0.0.1:8901");
    bed.eventually("curl -sS -o /dev/null http://hello.localhost:8081/");
    bed.sh("cp /opt/portway /opt/other && printf x >>/opt/other");

    let failed = bed.try_sh("/opt/other edge --install --http-port 8081");

    assert_ne!(failed.code, 0, "{failed:?}");
    assert_eq!(bed.main_process("portway-edge"), edge, "it serves on");
    bed.sh("cmp /opt/portway /usr/local/bin/portway");
    bed.sh("grep -q -- '--http-port 81 ' /etc/systemd/system/portway-edge.service");
    // Without options it keeps its ports.
    bed.sh("/opt/other edge --install");
    assert_ne!(bed.main_process("portway-edge"), edge);
    bed.sh("curl -sS -o /dev/null http://hello.localhost:81/");
    bed.sh("/opt/other edge --uninstall");
    assert_eq!(bed.sh("/opt/other edge --uninstall").trim(), "no edge is installed here");
}

fn site(body: &str) -> String {
    format!(
        "sites: {{ app: {{ hosts: [app.localhost], respond: {{ body: {body} }}, nodes: [vm-1] }} }}\n"
    )
}

pub(crate) fn start_ssh(bed: &Bed) {
    bed.sh("useradd -m -s /bin/sh deploy && usermod -p '*' deploy && mkdir -p /run/sshd /srv/ssh");
    bed.sh("ssh-keygen -q -t ed25519 -N '' -f /srv/ssh/host");
    bed.sh("systemd-run --quiet --unit ssh-of-the-test /usr/sbin/sshd -D -e -f /dev/null -p 2222 \
            -h /srv/ssh/host -o UsePAM=no -o StrictModes=no -o PidFile=none \
            -o AuthorizedKeysFile=/srv/ssh/keys");
    bed.eventually("ssh-keyscan -p 2222 127.0.0.1 2>/dev/null | grep -q ed25519");
}

pub(crate) fn start_manager(bed: &Bed, program: &str) {
    bed.sh(&format!(
        "systemd-run --quiet --unit manager {program} --data /srv/manager serve \
         --http-port 8080 --https-port 8443 --api 127.0.0.1:8901"
    ));
    bed.eventually(&format!("{PORTWAY} status"));
}

fn add(bed: &Bed, user: &str) {
    bed.sh(&format!("{PORTWAY} node key >/srv/ssh/keys"));
    let pin = bed.sh("ssh-keygen -lf /srv/ssh/host.pub | cut -d ' ' -f 2");
    let pin = pin.trim();
    bed.sh(&format!(
        "{PORTWAY} node add vm-1 --engine edge --ssh {user}@127.0.0.1:2222 --host-key {pin}"
    ));
}

/// Writes the rule that the manager asks for, with the absolute path of `timeout`.
fn permit(bed: &Bed) {
    let told = bed.try_sh(&format!("{PORTWAY} node install vm-1 --dry-run"));
    let rule = told.err.split('`').find(|part| part.starts_with("deploy ALL=(root)"));
    let rule = rule.unwrap_or_default().replace(" timeout ", " /usr/bin/timeout ");
    assert!(!rule.is_empty(), "{told:?}");
    bed.put("/etc/sudoers.d/portway", rule + "\n");
    bed.sh("chmod 440 /etc/sudoers.d/portway && visudo -c -q");
}
